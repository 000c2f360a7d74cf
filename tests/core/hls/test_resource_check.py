"""Pages in place of resources, and resources that look like pages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.core.hls.resource_check import GZIP, ResourceCheck
from m3uproxy.core.hls.uri_rewriter import ResourceKind
from m3uproxy.core.http.body_sniffing import SNIFF_BYTES
from m3uproxy.errors import Reason

TS = (b"\x47\x40\x00\x10" + b"\xff" * 184) * 4
BOX = b"\x00\x00\x00\x18"
ID3 = b"ID3\x04\x00\x00\x00\x00\x00\x3fPRIV\x00\x00\x00\x35\x00\x00com.apple.streaming.transportStreamTimestamp\x00"
MEDIA = {
    "TS": TS,
    "one packet": TS[:188],
    "a packet of one letter": b"G" * 188,
    "init": BOX + b"ftypiso5\x00\x00\x02\x00iso5iso6mp41",
    "fMP4": BOX + b"stypmsdh\x00\x00\x00\x00msdhmsix" + BOX + b"moof",
    "moof": BOX + b"moof\x00\x00\x00\x10mfhd\x00\x00\x00\x00\x00\x00\x00\x01",
    "ADTS": b"\xff\xf1\x50\x80\x2e\x7f\xfc\x21\x00" + b"L" * 100,
    "ID3": ID3 + bytes(8) + b"\xff\xf1\x50\x80",
    "MP3": b"\xff\xfb\x90\x64\x00" + b"Lavf" * 10,
    "AC-3": b"\x0b\x77" + b"text" * 20,
    "JPEG": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00",
    "encrypted": bytes((n * 7919 + n * n) % 256 for n in range(512)),
    "short data": b"data",
}
SUBTITLES = {
    "WebVTT": b"WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:900000,LOCAL:00:00:00.000\n\n",
    "WebVTT with a mark": b"\xef\xbb\xbfWEBVTT\n",
    "WebVTT in UTF-16": "\ufeffWEBVTT\n\n".encode("utf-16-le"),
    "WebVTT behind empty lines": b"\r\n\nWEBVTT - a title\n",
    "SubRip": b"1\r\n00:00:01,000 --> 00:00:02,000\r\nHello\r\n",
    "TTML": b'<?xml version="1.0"?>\n<tt xmlns="http://www.w3.org/ns/ttml">',
    "TTML with a prefix": b"<!-- x --><tt:tt xmlns:tt='http://www.w3.org/ns/ttml'>",
}
HTML = b"<!DOCTYPE html><html><body>Blocked</body></html>"
PAGES = {
    "nothing": b"",
    "blanks": b" \r\n\t" * 300,
    "HTML": HTML,
    "HTML in capitals": HTML.upper(),
    "HTML with a mark": b"\xef\xbb\xbf" + HTML,
    "HTML behind blanks": b"\r\n\t " * 100 + HTML,
    "HTML behind a comment": b"<!-- edge 12 -->\n" + HTML,
    "HTML in UTF-16": "\ufeff".encode("utf-16-le") + HTML.decode().encode("utf-16-le"),
    "HTML in UTF-16, the other way": "\ufeff".encode("utf-16-be") + HTML.decode().encode("utf-16-be"),
    "HTML in Latin-1": "<html><p>Zugriff verweigert f\xfcr Gr\xf6\xdfe".encode("latin-1"),
    "HTML fragment": b"<h1>403 Forbidden</h1>",
    "script": b"<script>1</script>",
    "JSON": b'{"error":"token expired"}',
    "JSON list": b'[{"error": 1}]',
    "JSON in lines": b'{\n  "error": {\n',
    "XML": b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code></Error>',
    "a playlist": b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nx.m3u8\n",
}
TEXTS = {
    "text": b"Too many connections",
    "long word": b"MAX_CONNECTIONS_REACHED",
    "other languages": "\u0414\u043e\u0441\u0442\u0443\u043f \u0437\u0430\u043f\u0440\u0435\u0449\u0451\u043d".encode(),
    "a text with G": b"Gateway Timeout",
    "a long text with G": b"Gateway Timeout: " + b"the channel is not there, try again later. " * 20,
    "one word": b"Forbidden",
    "null": b"null",
    "a number": b"0",
}


def media(url: str = "http://a.example/s1.ts", kind: ResourceKind = ResourceKind.SEGMENT) -> ResourceCheck:
    return ResourceCheck(kind, url)


@pytest.mark.parametrize("kind", [ResourceKind.SEGMENT, ResourceKind.MAP, ResourceKind.ASSET])
@pytest.mark.parametrize("body", [*MEDIA.values(), *SUBTITLES.values()], ids=[*MEDIA, *SUBTITLES])
def test_media_is_no_page(kind, body) -> None:
    assert media(kind=kind).error(body[:SNIFF_BYTES]) is None


@pytest.mark.parametrize("kind", [ResourceKind.SEGMENT, ResourceKind.MAP])
@pytest.mark.parametrize("body", [*PAGES.values(), *TEXTS.values()], ids=[*PAGES, *TEXTS])
def test_pages_are_noticed(kind, body) -> None:
    error = media(kind=kind).error(body[:SNIFF_BYTES])
    assert error is not None
    assert error.reason is (Reason.NOT_VIDEO if body else Reason.TRUNCATED)
    assert error.detail.startswith("the provider sent ")


@pytest.mark.parametrize("name", [name for name in PAGES if name != "blanks"])
def test_pages_are_no_keys(name) -> None:
    body = PAGES[name]
    assert media("http://a.example/k", ResourceKind.KEY).error(body[:SNIFF_BYTES]) is not None


@pytest.mark.parametrize("key", [b"0123456789abcdef", b'{"a":"0123456"}\n', bytes(16), b"<html>0123456789", b"30" * 16])
def test_sixteen_bytes_are_a_key(key) -> None:
    assert media("http://a.example/k", ResourceKind.KEY).error(key) is None


@pytest.mark.parametrize("kind", [None, ResourceKind.PLAYLIST, ResourceKind.DATA, ResourceKind.STEERING])
def test_only_web_pages_are_refused_as_other_resources(kind) -> None:
    check = media(kind=kind)
    for name in ("HTML", "HTML in capitals", "HTML with a mark", "HTML behind blanks"):
        assert check.error(PAGES[name][:SNIFF_BYTES]) is not None
    for name in ("nothing", "JSON", "a playlist", "XML"):
        assert check.error(PAGES[name]) is None
    assert check.error(TEXTS["text"]) is None


def test_advertisement_may_be_a_playlist() -> None:
    assert media(kind=ResourceKind.ASSET).error(PAGES["a playlist"]) is None
    assert media(kind=ResourceKind.ASSET).error(HTML) is not None


@pytest.mark.parametrize("name", ["s.vtt", "s.WEBVTT?n=1", "s.srt"])
def test_subtitles_may_be_empty_or_plain_text(name) -> None:
    check = media(f"http://a.example/{name}")
    assert check.error(b"") is None
    assert check.error(TEXTS["text"]) is None
    assert check.error(HTML) is not None


def test_middle_of_a_file_may_be_text() -> None:
    options = b"x264 - core 164 - options: cabac=1 ref=3 deblock=1:0:0 analyse=0x3:0x113 me=hex subme=7 " * 6
    assert media().error(options, first=5000) is None
    assert media().error(options) is not None


@pytest.mark.parametrize("body", MEDIA.values(), ids=MEDIA)
def test_binary_data_is_told_by_sixteen_bytes(body) -> None:
    is_short_or_may_be_text = body[:1] == b"G" or len(body) < 16
    assert media().is_decided(body[:16]) == (not is_short_or_may_be_text or body is TS or body == TS[:188])
    assert not media().is_decided(body[:15])


@pytest.mark.parametrize("body", [SUBTITLES["WebVTT"], b"G" * 188, b"data" * 16])
def test_text_that_is_no_page_is_told_early(body) -> None:
    assert media().is_decided(body)


def test_text_is_told_by_more() -> None:
    assert not media().is_decided(HTML)
    assert not media().is_decided(GZIP + HTML)
    assert media().is_decided(b" " * SNIFF_BYTES)
    assert ResourceCheck().is_decided(HTML)


@given(st.binary(min_size=16, max_size=SNIFF_BYTES))
def test_any_body_is_examined(body) -> None:
    for kind in (*ResourceKind, None):
        check = ResourceCheck(kind, "http://a.example/s1.ts")
        check.is_decided(body)
        check.error(body)
