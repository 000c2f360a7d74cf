"""What providers answer for the resources that a playlist names, and what players get of it."""

from __future__ import annotations

import gzip
import re

import pytest
from hls_rig import media, uris

A, B = "http://a.example/live/index.m3u8", "http://b.example/live/index.m3u8"
KEYED = media("s1.ts", "s2.ts", more='#EXT-X-KEY:METHOD=AES-128,URI="k"')


@pytest.mark.parametrize("status", [400, 404, 416, 454, 456, 458, 499, 514, 520, 526, 555, 599, 600, 884, 999])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_any_error_status_is_passed_on(make_rig, status, method) -> None:
    rig = make_rig()
    rig.origin.put(A, KEYED)
    url, _ = uris(rig.play(rig.stream(A)).body)
    rig.origin.put("http://a.example/live/s1.ts", status=status)
    answer = rig.get(url, method)
    assert answer.status == status
    assert method == "HEAD" or status == 416 or answer.json["detail"] == f"The provider answers {status}."


@pytest.mark.parametrize("status", [0, 99, 101, 202, 204, 205, 226, 300, 304, 399, 1000, 1234567])
def test_any_other_status_is_a_failure_of_the_source(make_rig, status) -> None:
    rig = make_rig()
    rig.origin.put(A, media("s1.ts", "s2.ts"))
    rig.origin.put(B, media("b1.ts"))
    stream = rig.stream(A, B)
    for number, url in enumerate(uris(rig.play(stream).body), 1):
        rig.origin.put(f"http://a.example/live/s{number}.ts", status=status)
        answer = rig.get(url)
        assert (answer.status, answer.json["detail"]) == (502, f"bad status: HTTP {status}")
    assert stream.source_index == 1


@pytest.mark.parametrize("status", [0, 204, 304, 454, 555, 884, 1000])
def test_any_status_of_a_playlist_is_a_failure_of_the_source(make_rig, status) -> None:
    rig = make_rig()
    rig.origin.put(A, status=status)
    rig.origin.put(B, media("b1.ts"))
    wire = rig.open(f"/hls/{rig.stream(A).id}/playlist.m3u8")
    rig.wait(12)
    assert wire.answer().status in (502, 503)
    wire.lose()
    assert rig.play(rig.stream(A, B)).status == 200


@pytest.mark.parametrize(
    "uri",
    [
        "http://us:p[w@host.example/a.ts",
        "http://u[s:p]w@host.example/a.ts",
        "http://us:p\u2100w@host.example/a.ts",
        "http://[::1/a.ts",
        "http://[]/a.ts",
        "http://host.example:99999/a.ts",
        "http://host.example:x/a.ts",
        "http://a..b/x.ts",
        "http://host.example\\a.ts",
        "//[::1/a.ts",
        "[x]:y.ts",
        "::.ts",
        "%%%.ts",
        "??g",
        "http://host.example/a\x01\x1b.ts",
        "http://host.example/" + "x" * 9000 + ".ts",
    ],
)
def test_any_url_is_answered(make_rig, uri) -> None:
    rig = make_rig()
    rig.origin.put(A, media(uri))
    (url,) = uris(rig.play(rig.stream(A)).body)
    assert rig.get(url).status == 404, "the provider has no such segment"
    rig.origin.put(rig.origin.asked[-1], b"G" * 188)
    rig.wait(2)
    assert rig.get(url).status == 200


def test_bytes_that_are_no_text_are_kept(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, media("a%s.ts").encode() % b"\xff\xe9")
    (url,) = uris(rig.play(rig.stream(A)).body)
    rig.get(url)
    assert rig.origin.asked[-1].encode("utf-8", "surrogateescape") == b"http://a.example/live/a\xff\xe9.ts"


PAGES = {
    "nothing": b"",
    "HTML": b"<!-- edge 12 -->\n<HTML><body>Blocked</body></HTML>",
    "JSON": b'{"error":"token expired"}',
    "XML": b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
    "text": b"Too many connections",
    "HTML, compressed": gzip.compress(b"<html><body>Blocked</body></html>", mtime=0),
    "a playlist": b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nx.m3u8\n",
}


@pytest.mark.parametrize("body", PAGES.values(), ids=PAGES)
@pytest.mark.parametrize("said", ["video/mp2t", "text/html", None])
def test_page_in_place_of_a_segment_is_a_failure_of_the_source(make_rig, body, said) -> None:
    rig = make_rig()
    rig.origin.put(A, media("s1.ts", "s2.ts"))
    rig.origin.put(B, media("b1.ts"))
    stream = rig.stream(A, B)
    for number, url in enumerate(uris(rig.play(stream).body), 1):
        headers = {} if said is None else {"Content-Type": said}
        rig.origin.put(f"http://a.example/live/s{number}.ts", body, headers=headers)
        answer = rig.get(url)
        assert answer.status == 502
        assert "the provider sent" in answer.json["detail"]
    assert stream.source_index == 1


def test_page_is_not_kept_for_the_next_player(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, media("s1.ts"))
    (url,) = uris(rig.play(rig.stream(A)).body)
    rig.origin.put("http://a.example/live/s1.ts", PAGES["JSON"])
    assert rig.get(url).status == 502
    rig.origin.put("http://a.example/live/s1.ts", b"G" * 188)
    assert rig.get(url).body == b"G" * 188


def test_page_in_place_of_a_key_or_an_initialization_section_is_refused(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, media("s1.m4s", more='#EXT-X-KEY:METHOD=AES-128,URI="k"\n#EXT-X-MAP:URI="init.mp4"'))
    playlist = rig.play(rig.stream(A)).body.decode()
    key, section = re.findall('URI="([^"]*)"', playlist)
    for name, url, body in (("k", key, b"0123456789abcdef"), ("init.mp4", section, b"\0\0\0\x18ftypiso5" + bytes(12))):
        rig.origin.put(f"http://a.example/live/{name}", PAGES["JSON"])
        assert rig.get(url).status == 502
        rig.origin.put(f"http://a.example/live/{name}", body)
        assert rig.get(url).body == body


def test_compressed_segment_is_passed_on(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, media("s1.ts"))
    (url,) = uris(rig.play(rig.stream(A)).body)
    body = gzip.compress(b"G" * 188 * 100)
    rig.origin.put("http://a.example/live/s1.ts", body)
    assert rig.get(url).body == body
