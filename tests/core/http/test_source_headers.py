"""Headers behind a URL, as playlists for Kodi have them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.core.http.redact import redact
from m3uproxy.core.http.source_headers import merged_headers, split_headers
from m3uproxy.core.stream_kind import StreamKind, kind_of

URL = "http://host/live/1.ts"


@pytest.mark.parametrize(
    ("behind", "headers"),
    [
        ("User-Agent=VLC%2F3&Referer=http%3A%2F%2Fx%2F", (("User-Agent", "VLC/3"), ("Referer", "http://x/"))),
        ("User-Agent=VLC/3 (x; y)", (("User-Agent", "VLC/3 (x; y)"),)),
        ("user-agent=a+b", (("user-agent", "a b"),)),
        ("X-Token=%252F", (("X-Token", "%2F"),)),
        ("X-Token=a=b==", (("X-Token", "a=b=="),)),
        ("X%2DKey=1&", (("X-Key", "1"),)),
        ("X-Key=", (("X-Key", ""),)),
        ("X-Key=a|b", (("X-Key", "a|b"),)),
        ("seekable=0&verifypeer=false&X-Key=1", (("X-Key", "1"),)),
    ],
)
def test_headers_are_split_and_decoded_once(behind: str, headers: object) -> None:
    assert split_headers(f"{URL}|{behind}") == (URL, headers)
    assert split_headers(f"\t {URL} |{behind}\r\n") == (URL, headers)


@pytest.mark.parametrize(
    "behind",
    [
        "Host=x",
        "connection=close",
        "Content-Length=5",
        "Transfer%2DEncoding=chunked",
        "User Agent=x",
        "X-Key=a%0D%0AHost:%20x",
        "X-Key=%00",
        "X-Key=1&nothing",
        "%0AX=1",
        "X%3A=1",
    ],
)
def test_unusable_headers_are_refused(behind: str) -> None:
    with pytest.raises(ValueError, match="header") as refused:
        split_headers(f"{URL}|{behind}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "url", [URL, "http://host/a|b.ts", "http://host/a|", "http://host/a|b.ts?x=1", "http://h/|/?a=b"]
)
def test_a_bar_without_headers_belongs_to_the_url(url: str) -> None:
    assert split_headers(url) == (url, ())


@given(st.text())
def test_any_text_is_split_or_refused(behind: str) -> None:
    try:
        plain, headers = split_headers(f"{URL}|{behind}")
    except ValueError:
        return
    assert plain.startswith(URL)
    assert all("\n" not in name + value and "\r" not in name + value for name, value in headers)


def test_registered_headers_replace_those_behind_the_url() -> None:
    behind = (("User-Agent", "VLC"), ("X-Key", "1"))
    assert merged_headers(behind, (("user-agent", "TV"),)) == (("X-Key", "1"), ("user-agent", "TV"))


def test_the_kind_follows_the_url_alone() -> None:
    assert kind_of("http://host/1.m3u8|User-Agent=VLC") is StreamKind.HLS
    assert kind_of("http://host/1.m3u8?a=b|User-Agent=VLC") is StreamKind.HLS
    assert kind_of("http://host/1.ts|Referer=http://x/1.m3u8") is StreamKind.LIVE


def test_logs_show_no_header() -> None:
    assert redact("http://host/live/a/b/1.ts|X-Key=secret") == "http://host/live/***/***/1.ts|***"
    assert redact("http://host/1.ts?id=5|X-Key=secret&Cookie=secret") == "http://host/1.ts?id=***|***"
