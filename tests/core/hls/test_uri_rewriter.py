"""URI rewriting, compared with an independent player that has other expressions and resolves with urllib."""

import re
from urllib.parse import urljoin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.core.hls.playlist import parse
from m3uproxy.core.hls.playlist_lines import NotAPlaylist
from m3uproxy.core.hls.uri_rewriter import (
    MAX_REWRITTEN,
    ResourceKind,
    ResourceRole,
    absolute_url,
    encode_playlist,
    rewrite,
)

URL = "http://tv.example:8080/live/joe/s3cret/index.m3u8?token=a%2Bb%3D&n=1"


def rewrite_uri(kind: ResourceKind, url: str, role: ResourceRole = ResourceRole.MAIN) -> str:
    return f"/{kind.value}/{url.encode().hex()}"


def rewritten(text: str, url: str = URL, imported: dict[str, str] | None = None) -> str:
    playlist = parse(text.encode("utf-8", "surrogateescape"))
    pieces = rewrite(playlist, url, rewrite_uri, imported)
    assert len(pieces) == len(playlist.lines)
    return encode_playlist(playlist.bom, pieces).decode("utf-8", "surrogateescape")


def rewritten_uri(kind: str, url: str) -> str:
    return f"/{kind}/{url.encode().hex()}"


BASE = "http://tv.example:8080/live/joe/s3cret"
PRELOAD = 'ID="p",CLASS="com.apple.hls.preload"'


@pytest.mark.parametrize(
    ("line", "kind", "reference"),
    [
        ('#EXT-X-KEY:METHOD=AES-128,URI="{}",IV=0x01', "key", "key.bin"),
        ("#EXT-X-KEY:METHOD=AES-128,URI={},IV=0x01", "key", "key.bin"),
        ('#EXT-X-KEY:METHOD=SAMPLE-AES,KEYFORMAT="a,URI=b",URI="{}"', "key", "k?a=%2B"),
        ('#EXT-X-MAP:URI="{}",BYTERANGE="10@0"', "map", "init.mp4"),
        ('#EXT-X-PART:DURATION=1,URI="{}",INDEPENDENT=YES', "segment", "p1.mp4"),
        ('#EXT-X-PRELOAD-HINT:TYPE=PART,URI="{}"', "segment", "p2.mp4"),
        ('#EXT-X-PRELOAD-HINT:URI="{}",TYPE=MAP', "map", "init2.mp4"),
        ('#EXT-X-PRELOAD-HINT:TYPE=KEY,URI="{}"', "key", "k2"),
        ('#EXT-X-RENDITION-REPORT:URI="{}",LAST-MSN=3', "playlist", "../1M/x.m3u8"),
        ('#EXT-X-DATERANGE:ID="a",X-ASSET-URI="{}"', "asset", "ad.m3u8"),
        ('#EXT-X-DATERANGE:ID="a",X-ASSET-LIST="{}",X-RESUME-OFFSET=0', "assets", "ads.json"),
        ('#EXT-X-DATERANGE:X-URI="{}",CLASS="com.apple.hls.daterange-schedule"', "schedule", "day?x=1"),
        (f'#EXT-X-DATERANGE:{PRELOAD},X-TARGET-CLASS="com.apple.hls.daterange-schedule",X-URI="{{}}"', "schedule", "d"),
        (f'#EXT-X-DATERANGE:{PRELOAD},X-TARGET-CLASS="com.apple.hls.interstitial",X-URI="{{}}"', "asset", "ad.m3u8"),
        (f'#EXT-X-DATERANGE:{PRELOAD},X-URI="{{}}",X-TARGET-ID="b"', "assets", "ads.json?u=1.m3u8"),
        ("#EXT-X-PREFETCH:{}", "segment", "next.ts"),
        ("#EXT-X-TWITCH-PREFETCH:{}", "segment", "next.ts"),
        ("{}", "segment", "seg 1.ts"),
        ("  {}\t", "segment", "a:b/../c.ts"[2:]),
        ("{}", "playlist", "nested.m3u8?x=y"),
    ],
)
def test_uris_of_a_media_playlist_are_rewritten(line: str, kind: str, reference: str) -> None:
    head, tail = "#EXTM3U\n#EXTINF:6,\n", "\n#EXT-X-ENDLIST"
    expected = rewritten_uri(kind, urljoin(URL, reference))
    assert rewritten(head + line.format(reference) + tail) == head + line.format(expected) + tail


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ('#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="a, b",URI="{}"', "playlist"),
        ('#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1,URI="{}"', "playlist"),
        ('#EXT-X-IMAGE-STREAM-INF:BANDWIDTH=1,URI="{}"', "playlist"),
        ('#EXT-X-STREAM-INF:BANDWIDTH=1,URI="{}",AUDIO="a"', "playlist"),
        ('#EXT-X-SESSION-KEY:METHOD=AES-128,URI="{}"', "key"),
        ('#EXT-X-SESSION-DATA:DATA-ID="a",URI="{}"', "data"),
        ('#EXT-X-CONTENT-STEERING:SERVER-URI="{}",PATHWAY-ID="."', "steering"),
        ("#EXT-X-STREAM-INF:BANDWIDTH=1\r\n# a comment\r\n\r\n{}", "playlist"),
        ("#EXT-X-STREAM-INF:BANDWIDTH=1\r\n#EXT-X-VENDOR:a=b\r\n#EXTVLCOPT:x\r\n#EXTGRP:y\r\n{}", "playlist"),
        ('#EXT-X-STREAM-INF:BANDWIDTH=1\r\n#EXT-X-SESSION-DATA:DATA-ID="a",VALUE="b"\r\n{}', "playlist"),
        ("{}", "playlist"),
    ],
)
def test_uris_of_a_multivariant_playlist_are_rewritten(line: str, kind: str) -> None:
    head = "\ufeff#EXTM3U\r\n#EXT-X-STREAM-INF:BANDWIDTH=2\r\n"
    text = head + "low\r\n" + line + "\r\n"
    expected = head + rewritten_uri("playlist", f"{BASE}/low") + "\r\n" + line + "\r\n"
    assert rewritten(text.format("x/y?z=%2B%3D")) == expected.format(rewritten_uri(kind, f"{BASE}/x/y?z=%2B%3D"))


def test_uri_line_is_what_the_last_tag_of_a_uri_line_says() -> None:
    text = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n#EXT-X-VENDOR\na\n#EXT-X-STREAM-INF:BANDWIDTH=1\n#EXTINF:6,\nb\nc\n"
    kinds = ("playlist", "a"), ("segment", "b"), ("segment", "c")
    assert [line for line in rewritten(text).splitlines() if line[0] != "#"] == [
        rewritten_uri(kind, f"{BASE}/{name}") for kind, name in kinds
    ]


@pytest.mark.parametrize(
    "line",
    [
        '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://key"',
        '#EXT-X-KEY:METHOD=AES-128,URI="data:text/plain;base64,AAAA"',
        '#EXT-X-KEY:METHOD=AES-128,URI=""',
        "#EXT-X-KEY:METHOD=NONE",
        '#EXT-X-VENDOR:URI="a.ts",URL="http://a/"',
        '#EXTVLCOPT:http-referrer="http://a/"',
        "#KODIPROP:inputstream.adaptive.license_key=http://a/|b",
        "#EXTGRP:URI=a",
        "# URI=a http://a/",
        "file:///etc/passwd",
        "rtmp://a/b",
        "http:///a",
        '#EXT-X-MEDIA:TYPE=CLOSED-CAPTIONS,GROUP-ID="cc",INSTREAM-ID="CC1"',
        '#EXT-X-DATERANGE:ID="a",X-COM-URI="http://a/"',
        '#EXT-X-DATERANGE:ID="a",X-URI="http://a/"',
        '#EXT-X-DATERANGE:ID="a",CLASS="com.vendor",X-URI="http://a/",X-TARGET-CLASS="com.apple.hls.daterange-schedule"',
        "#EXT-X-PROGRAM-DATE-TIME:2026-11-21T18:00:00Z",
        "# in Latin-1: \udce4",
    ],
)
def test_other_lines_stay(line: str) -> None:
    text = f"#EXTM3U\r#EXT-X-TARGETDURATION:6\r{line}\r#EXTINF:6.000,"
    assert rewritten(text) == text


@pytest.mark.parametrize(
    ("reference", "absolute"),
    [
        ("http://o.example/a?b=%2B#frag", "http://o.example/a?b=%2B"),
        ("HTTPS://o.example/a/../b", "HTTPS://o.example/a/../b"),
        ("//o.example/x", "http://o.example/x"),
        ("/x/./y/../z?", "http://tv.example:8080/x/z?"),
        ("?other", f"{BASE}/index.m3u8?other"),
        ("from=http://o.example/a/../b?c=%2B#frag", f"{BASE}/from=http://o.example/b?c=%2B"),
        ('a b="https://o.example"', f'{BASE}/a b="https://o.example"'),
        ("12:30//s.ts", f"{BASE}/12:30//s.ts"),
        ("", None),
        ("data:,x", None),
        ("http:x", None),
    ],
)
def test_absolute_url(reference: str, absolute: str | None) -> None:
    assert absolute_url(URL, reference) == absolute


def test_base_without_a_path() -> None:
    assert absolute_url("http://tv.example", "a.ts") == "http://tv.example/a.ts"


def test_variables_are_substituted_in_uris_only() -> None:
    text = (
        '#EXTM3U\n#EXT-X-DEFINE:NAME="host",VALUE="o.example"\n#EXT-X-DEFINE:NAME="dir",VALUE="{$host}/d"\n'
        '#EXT-X-DEFINE:IMPORT="auth"\n#EXT-X-DEFINE:IMPORT="lost"\n'
        '#EXT-X-KEY:METHOD=AES-128,URI="http://{$host}/k?{$auth}"\n#EXTINF:6,{$host}\nhttp://{$dir}/{$lost}.ts\n'
    )
    expected = text.replace("http://{$host}/k?{$auth}", rewritten_uri("key", "http://o.example/k?t=1"))
    expected = expected.replace("http://{$dir}/{$lost}.ts", rewritten_uri("segment", "http://o.example/d/{$lost}.ts"))
    assert rewritten(text, imported={"auth": "t=1", "other": "x"}) == expected


def test_variable_applies_after_its_definition() -> None:
    text = '#EXTM3U\n#EXTINF:1,\n{$a}.ts\n#EXT-X-DEFINE:NAME="a",VALUE="b"\n#EXTINF:1,\n{$a}.ts\n'
    expected = text.replace("{$a}.ts", rewritten_uri("segment", f"{BASE}/{{$a}}.ts"), 1)
    assert rewritten(text) == expected.replace("{$a}.ts", rewritten_uri("segment", f"{BASE}/b.ts"))


def test_query_parameter_is_replaced_by_its_value() -> None:
    text = '#EXTM3U\n#EXT-X-DEFINE:QUERYPARAM="token"\n#EXTINF:1,\na.ts?t={$token}\n'
    assert rewritten(text) == (
        '#EXTM3U\n#EXT-X-DEFINE:NAME="token",VALUE="a+b="\n#EXTINF:1,\n'
        + rewritten_uri("segment", f"{BASE}/a.ts?t=a+b=")
        + "\n"
    )


@pytest.mark.parametrize("query", ["", "?tok=1", "?token=%22%0A"])
def test_unquotable_query_parameter_stays(query: str) -> None:
    text = '#EXTM3U\n#EXT-X-DEFINE:QUERYPARAM="token"\n#EXT-X-TARGETDURATION:6\n'
    assert rewritten(text, "http://a.example/x.m3u8" + query) == text


def test_nested_definitions_are_limited_to_url_length() -> None:
    lines = ["#EXTM3U", '#EXT-X-DEFINE:NAME="a0",VALUE="0123456789"']
    lines += [f'#EXT-X-DEFINE:NAME="a{n + 1}",VALUE="{{$a{n}}}{{$a{n}}}"' for n in range(18)]
    text = "\n".join([*lines, "#EXTINF:1,", "{$a18}", "#EXTINF:1,", "{$a9}", ""])
    long, short = rewritten(text).split("#EXTINF:1,\n")[1:]
    assert len(long) < 60_000
    assert (b"0123456789" * 512).hex() in short


def test_too_long_result_is_refused() -> None:
    """Each of many URIs is short, but their replacements are long."""
    for line in ("#EXT-X-KEY:" + "URI=a," * 100, "a\n" * 100):
        playlist = parse(f"#EXTM3U\n#EXT-X-TARGETDURATION:6\n{line}".encode())
        assert "x" * 1000 in rewrite(playlist, BASE, lambda kind, url, role: "x" * 1000)[2]
        with pytest.raises(NotAPlaylist, match="after rewriting"):
            rewrite(playlist, BASE, lambda kind, url, role: "x" * (MAX_REWRITTEN // 99))


# Properties. The generator makes input that an RFC 8216 player must accept. The player below shares no code with the
# package.

_PIECE = st.text("abcXYZ019-_~%2B%3D", min_size=1, max_size=8).filter(lambda text: "%" not in text[-2:])
_PATH = st.lists(_PIECE | st.sampled_from(["..", "."]), min_size=1, max_size=4).map("/".join)
_QUERY = st.just("") | _PIECE.map(lambda text: f"?sig={text}%2B%3D&x=%2f%26+")
_REFERENCE = st.builds(
    lambda front, path, query: front + path + query,
    st.sampled_from(["", "", "/", "../", "//cdn.example/", "https://cdn.example:444/", "http://u:p@cdn.example/"]),
    _PATH,
    _QUERY,
) | _PIECE.map(lambda text: f"?{text}=%2B%3D")
_TAG = st.sampled_from(
    [
        '#EXT-X-KEY:METHOD=AES-128,URI="{}",IV=0xAB',
        '#EXT-X-MAP:BYTERANGE="1@2",URI="{}"',
        '#EXT-X-PART:URI="{}",DURATION=0.5',
        '#EXT-X-MEDIA:NAME="x,URI=",TYPE=AUDIO,URI="{}"',
        '#EXT-X-DATERANGE:X-ASSET-URI="{}"',
        '#EXT-X-DATERANGE:CLASS="com.apple.hls.preload",X-URI="{}"',
        '#EXT-X-DATERANGE:ID="X-ASSET-LIST=",X-ASSET-LIST="{}",X-RESUME-OFFSET=0',
        '#EXT-X-SESSION-KEY:METHOD=AES-128,URI="{}"',
        '#EXT-X-SESSION-DATA:DATA-ID="URI=",URI="{}"',
        '#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1,URI="{}"',
        '#EXT-X-IMAGE-STREAM-INF:BANDWIDTH=1,URI="{}"',
        '#EXT-X-PRELOAD-HINT:TYPE=PART,URI="{}",BYTERANGE-START=0',
        '#EXT-X-RENDITION-REPORT:URI="{}",LAST-MSN=3,LAST-PART=1',
        '#EXT-X-CONTENT-STEERING:SERVER-URI="{}",PATHWAY-ID="a"',
        "#EXT-X-PREFETCH:{}",
        "{}",
        "{} ",
    ]
)
_OTHER_LINE = st.sampled_from(
    [
        "#EXTINF:6.000000,",
        "#EXTINF:6 tvg-id='1',",
        '#EXTINF:-1 tvg-logo="http://a.example/x.png",Channel, 1',
        "# comment ä, in Latin-1: \udce4",
        "",
        " ",
        "#EXTVLCOPT:http-referrer=http://a.example/?b=%2B",
        '#KODIPROP:inputstream.adaptive.license_key=http://a.example/|URI="x"',
        "#EXTGRP:URI=x",
        '#EXT-X-FOO:URI="x"',
        '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://x"',
        "#EXT-X-VERSION:9",
    ]
)
_ENDING = st.sampled_from(["\n", "\r\n", "\r"])
_HEAD = st.sampled_from(
    [
        "#EXTM3U|#EXT-X-TARGETDURATION:6",
        "\ufeff#EXTM3U|#EXT-X-TARGETDURATION:6",
        "#EXT-X-TARGETDURATION:6",
        "||#EXTM3U x-tvg-url=http://a.example/|#EXT-X-TARGETDURATION:6",
    ]
).map(lambda text: text.split("|"))
_LINES = st.lists(st.tuples(_TAG, _REFERENCE) | st.tuples(_OTHER_LINE, st.just("")), max_size=20)
_BASES = st.builds(
    lambda path, query: f"http://tv.example/{path}{query}", _PATH.filter(lambda path: "." not in path), _QUERY
)

_PLAYER_URI = re.compile(
    r"^#EXT-X-(?:(?:SESSION-)?KEY|MAP|PART|MEDIA|DATERANGE|SESSION-DATA|I-FRAME-STREAM-INF|IMAGE-STREAM-INF|PRELOAD-HINT"
    r'|RENDITION-REPORT|CONTENT-STEERING):(?:[A-Z-]+=(?:"[^"]*"|[^",]*),)*?(?:X-ASSET-|X-|SERVER-)?(?:URI|LIST)="([^"]*)"'
    r"|^(?:#EXT-X-PREFETCH:)?([^#\s].*?)\s*$"
)


def urls_of_a_player(text: str, url: str) -> list[str]:
    """Return the URLs that a player requests, in order."""
    matches = (_PLAYER_URI.match(line) for line in re.split("\r\n|\n|\r", text.removeprefix("\ufeff")))
    asked = [urljoin(url, match[1] or match[2]) for match in matches if match]
    return [one for one in asked if one.startswith("http")]


@given(_LINES, _ENDING, _BASES, _HEAD)
def test_player_requests_the_same_urls(lines: list[tuple[str, str]], ending: str, url: str, head: list[str]) -> None:
    text = ending.join([*head, *(line.format(uri) for line, uri in lines), ""])
    new = rewritten(text, url)
    asked = [path.rpartition("/")[2] for path in urls_of_a_player(new, "http://proxy.example/")]
    assert [bytes.fromhex(name).decode() for name in asked] == urls_of_a_player(text, url)
    assert len(asked) == sum("{}" in line for line, _ in lines)


@given(_LINES, _ENDING, _HEAD)
def test_all_other_bytes_stay(lines: list[tuple[str, str]], ending: str, head: list[str]) -> None:
    text = ending.join([*head, *(line.format(uri) for line, uri in lines)])
    expected = [line.format("\0") if "{}" in line else line for line, _ in lines]
    new = re.sub(r"/(?:key|map|segment|playlist|data|steering|assets?)/[0-9a-f]+", "\0", rewritten(text))
    assert new == ending.join([*head, *expected])


@given(st.text(st.sampled_from('#EXTINFM3U-X:,\n\r "=URKY{$}abc/?%'), max_size=300))
def test_any_line_without_rewritten_uri_stays(text: str) -> None:
    whole = '#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXT-X-KEY:URI="' + text
    new = rewritten(whole)
    for old_line, new_line in zip(re.split("[\r\n]", whole), re.split("[\r\n]", new), strict=True):
        assert old_line == new_line or re.search(r"/(?:key|segment|playlist)/[0-9a-f]+", new_line)
