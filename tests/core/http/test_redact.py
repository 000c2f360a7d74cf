import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from m3uproxy.core.http.redact import redact


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://tv.example:8080/live/joe/s3cret/42.ts", "http://tv.example:8080/live/***/***/42.ts"),
        ("HTTP://tv.example/LIVE/joe/s3cret/42.m3u8", "http://tv.example/LIVE/***/***/42.m3u8"),
        ("http://tv.example/movie/joe/s3cret/7.mkv", "http://tv.example/movie/***/***/7.mkv"),
        ("http://tv.example/series/joe/s3cret/7.mp4", "http://tv.example/series/***/***/7.mp4"),
        (
            "http://tv.example/timeshift/joe/s3cret/60/2024-01-01/9.ts",
            "http://tv.example/timeshift/***/***/***/***/9.ts",
        ),
        ("http://tv.example/c/live/joe/s3cret/42.ts", "http://tv.example/c/live/***/***/42.ts"),
        ("http://tv.example//live//joe//s3cret//42.ts", "http://tv.example//live//***//***//42.ts"),
        ("http://tv.example/hlsr/T1/joe/s3cret/42/h4/0.ts", "http://tv.example/hlsr/***/***/***/***/***/0.ts"),
        ("http://tv.example/joe/s3cret/42", "http://tv.example/***/***/42"),
        ("http://tv.example/joe/s3cret/42.ts", "http://tv.example/***/***/42.ts"),
        ("http://tv.example/live/joe/s3cret", "http://tv.example/live/***/***"),
        ("http://tv.example/live/bbc.ts", "http://tv.example/live/bbc.ts"),
        ("http://tv.example/bbc/index.m3u8", "http://tv.example/bbc/index.m3u8"),
        ("http://joe:s3cret@tv.example/a.ts", "http://***@tv.example/a.ts"),
        ("http://joe:s3@cret@tv.example/a.ts", "http://***@tv.example/a.ts"),
        ("http://joe:s3/cret@tv.example/a.ts", "http://***/***/a.ts"),
        ("http://[2001:db8::1]:8080/a.ts", "http://[2001:db8::1]:8080/a.ts"),
        ("http://tv.example/a.ts?token=xyz&type=ts", "http://tv.example/a.ts?token=***&type=ts"),
        ("http://tv.example/get.php?username=joe&password=p", "http://tv.example/get.php?username=***&password=***"),
        ("http://tv.example/a.ts?s3cret", "http://tv.example/a.ts?***"),
        ("http://tv.example/a.ts;sid=s3cret?x=", "http://tv.example/a.ts;***?x="),
        ("http://tv.example/a.ts#s3cret", "http://tv.example/a.ts"),
        ("http://tv.example/0123456789abcdef/a/b/c.ts", "http://tv.example/***/a/b/c.ts"),
        ("http://tv.example/play/" + "f" * 40, "http://tv.example/play/***"),
        ("http://tv.example", "http://tv.example"),
        ("/live/joe/s3cret/42.ts", "/live/***/***/42.ts"),
        ("joe:s3cret", "***"),
        ("", "***"),
    ],
)
def test_examples(url: str, shown: str) -> None:
    assert redact(url) == shown


@given(st.text())
def test_any_text_is_accepted(text: str) -> None:
    redact(text)
    redact("http://" + text)
    redact("/" + text)


def test_what_no_log_line_may_hold_is_replaced() -> None:
    assert redact("http://tv.example/a\udcff\x1b\r\n.ts") == "http://tv.example/a____.ts"


SECRET = st.text("QZ0123456789", min_size=6, max_size=30).map(lambda s: "Z" + s + "Q")
WORD = st.sampled_from(["live", "movie", "c", "hls", "a.b", "x"])
KEY = st.sampled_from(["token", "password", "user", "sig", "k", "a b", "", "X-Amz-Signature", "e", "st"])


@given(
    user=SECRET,
    password=SECRET,
    extra=SECRET,
    front=st.lists(WORD, max_size=1),
    prefix=st.sampled_from(["live", "movie", "series", "timeshift", "Live"]),
    key=KEY,
    slash=st.sampled_from(["/", "//"]),
    channel=st.sampled_from(["1.ts", "77", "2.m3u8"]),
)
def test_no_secret_survives(user, password, extra, front, prefix, key, slash, channel) -> None:
    assume(len({user, password, extra}) == 3)
    urls = [
        f"http://{user}:{password}@h.example/{channel}?{key}={extra}",
        slash.join(["http://h.example", *front, prefix, user, password, channel]) + f"?{extra}",
        f"https://h.example:81/{user}/{password}/{channel}#{extra}",
        f"http://{user}:{password}/{extra}@h.example/{channel}",
        f"http://h.example/x.ts;{key}={extra}?user={user};pass={password}",
        f"http://h.example/{key}={extra}/{channel}?{user}&{password}",
        f"http:/{user}:{password}@h.example/{channel}?{extra}",
        f"http:{user}:{password}@h.example?{extra}",
    ]
    for url in urls:
        shown = redact(url)
        for secret in (user, password, extra):
            assert secret not in shown, (url, shown)
