"""Station lists as web pages of radio stations link to them."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.core.http.station_list import is_other_body, may_be_list, station_url
from m3uproxy.errors import Reason, SourceError

URL = "http://radio.example:8000/stream?a=1&b=2;x"


@pytest.mark.parametrize(
    "text",
    [
        f"[playlist]\nNumberOfEntries=1\nFile1={URL}\nTitle1=Radio\nLength1=-1\nVersion=2\n",
        f"[Playlist]\r\nfile2=http://b/\r\nFILE1 = {URL} \r\n",
        f"\ufeff[playlist]\rFile1={URL}",
        f"[playlist]\nFile1=mms://b/\nFile2={URL}",
        f"#EXTM3U\n#EXTINF:-1,Radio\n{URL}\nhttp://b/\n",
        f"#EXTM3U\n#EXTVLCOPT:http-user-agent=x\n{URL}",
        f"{URL}\n",
        f"\n  {URL}\r\n{URL}2",
        f"#EXTM3U\nrtsp://b/\n{URL}",
        f'<asx version="3.0"><title>Radio</title><entry><ref href="{URL}"/></entry></asx>',
        f"<ASX VERSION='3'>\n<Entry>\n<Ref Href = '{URL.replace('&', '&amp;')}' />\n</Entry></ASX>",
        f'<?xml version="1.0"?>\n<!-- radio -->\n<asx><entryref count="1" href="{URL}"/></asx>',
        f'<asx><entry><ref href="mms://b/"/><ref href="{URL}"/></entry></asx>',
        f"[Reference]\nRef1={URL}\nRef2=http://b/",
    ],
)
def test_the_first_url_is_taken(text: str) -> None:
    assert station_url(text.encode()) == URL


def test_a_url_may_be_relative() -> None:
    assert station_url(b"#EXTM3U\nlisten.mp3") == "listen.mp3"
    assert station_url(b"[playlist]\nFile1=/listen.mp3") == "/listen.mp3"


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:6,\nhttp://a/1.ts\n",
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhttp://a/1.m3u8\n",
        "<html><body>http://a/</body></html>",
        '<?xml version="1.0"?><rss><ref href="http://a/"/></rss>',
        "No more connections",
        '{"url": "http://a/"}',
        "",
        "G" * 400,
    ],
)
def test_other_bodies_are_no_lists(text: str) -> None:
    assert station_url(text.encode()) is None


@pytest.mark.parametrize(
    "text",
    [
        "[playlist]\nNumberOfEntries=0\n",
        "#EXTM3U\n",
        "<asx></asx>",
        '<asx><entry><ref href="mms://a/"/></entry></asx>',
        '<!DOCTYPE asx [<!ENTITY a "http://a/">]><asx><ref href="http://b/"/></asx>',
        '<asx><!ENTITY a "http://a/"><ref href="http://b/"/></asx>',
    ],
)
def test_lists_without_a_usable_url_are_errors(text: str) -> None:
    with pytest.raises(SourceError) as caught:
        station_url(text.encode())
    assert caught.value.reason is Reason.NOT_VIDEO


def test_references_are_not_expanded() -> None:
    assert (
        station_url(b'<asx><ref href="http://a/?x=1&copy=2&amp;lt;&#65;&b;"/></asx>')
        == "http://a/?x=1&copy=2&lt;&#65;&b;"
    )


@pytest.mark.parametrize(
    ("path", "content_type", "may_be"),
    [
        ("/listen.pls", "", True),
        ("/listen.PLS", "application/octet-stream", True),
        ("/listen.m3u", "audio/mpeg", False),
        ("/listen.m3u", "audio/x-mpegurl", True),
        ("/listen", "audio/x-scpls", True),
        ("/listen", "video/x-ms-asf", True),
        ("/listen", "text/plain", True),
        ("/listen", "audio/mpeg", False),
        ("/listen", "", False),
        ("/1.ts", "video/mp2t", False),
    ],
)
def test_type_or_extension_announce_a_list(path: str, content_type: str, may_be: bool) -> None:
    assert may_be_list(path, content_type) is may_be


@pytest.mark.parametrize("data", [b"G" + bytes(187), b"\xff\xfb\x90\x00" * 20, b"#EXTM3U\n#EXT-X-TARGETDURATION:6\n"])
def test_media_and_hls_are_known_by_their_beginning(data: bytes) -> None:
    assert is_other_body(data)


@pytest.mark.parametrize(
    "data", [b"", b"[play", b"#EXTM3U\n#EXTINF:-1,x\n", b"<asx version='3'>", b"http://radio.example/"]
)
def test_a_beginning_may_be_open(data: bytes) -> None:
    assert not is_other_body(data)


@given(
    st.lists(
        st.sampled_from(["[playlist]", "\n", "File1=", "<asx>", "<ref href='", "'", "http://a/", "#EXTM3U", "<!--"])
    )
)
def test_any_text_is_read(parts: list[str]) -> None:
    try:
        url = station_url("".join(parts).encode())
    except SourceError:
        return
    assert url is None or url


@pytest.mark.parametrize(
    "text",
    ["<asx>" + "<ref " * 13_000, "<!--" * 16_000, "<asx>" + "<ref href='" * 6000, "[playlist]\n" + "File1 " * 10_000],
)
def test_large_lists_take_little_time(text: str) -> None:
    began = time.process_time()
    try:
        station_url(text.encode())
    except SourceError:
        pass
    assert time.process_time() - began < 0.05
