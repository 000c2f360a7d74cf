"""The endings of segment paths, and the media types of resources."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.core.hls.resource_types import UNKNOWN, media_type, path_ending, segment_ending
from m3uproxy.core.hls.uri_rewriter import ResourceKind

SEGMENT, MAP, KEY, DATA = ResourceKind.SEGMENT, ResourceKind.MAP, ResourceKind.KEY, ResourceKind.DATA
TS = (b"\x47\x40\x00\x10" + b"\xff" * 184) * 2
ENCRYPTED = bytes((n * 7919 + n * n + 3) % 256 for n in range(512))
ADTS, MP3 = b"\xff\xf1\x50\x80\x2e\x7f\xfc\x21", b"\xff\xfb\x90\x64\x00\x00"
AC3, EAC3 = b"\x0b\x77\x12\x34\x14\x40\x00", b"\x0b\x77\x01\x7f\x34\x86\x00"
BOX = b"\x00\x00\x00\x18"


def id3(audio: bytes, size: int = 63) -> bytes:
    return b"ID3\x04\x00\x00\x00\x00\x00" + bytes([size]) + bytes(size) + audio


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ("a.ts", "ts"),
        ("a.TS", "ts"),
        ("a.ts?n=1.mp4", "ts"),
        ("a.m2ts", "ts"),
        ("a.mpegts", "ts"),
        ("a.m4s", "m4s"),
        ("a.m4s?x=b.ts", "m4s"),
        ("a.m4s;jsessionid=1", "m4s"),
        ("a.mp4", "mp4"),
        ("a.cmfv", "cmfv"),
        ("a.fmp4", "mp4"),
        ("a.m4v", "mp4"),
        ("a.dash", "m4s"),
        ("a.aac", "aac"),
        ("a.adts", "aac"),
        ("a.ac3", "ac3"),
        ("a.ec3", "ec3"),
        ("a.eac3", "eac3"),
        ("a.mp3", "mp3"),
        ("a.mp2", "mp2"),
        ("a.mpa", "mp3"),
        ("a.vtt", "vtt"),
        ("a.webvtt", "vtt"),
        ("a.key", "key"),
        ("a", None),
        ("a.jpg", None),
        ("a.css", None),
        ("a.mp666/Frag-1", None),
        ("a.ts/", None),
    ],
)
def test_ending_of_a_path(name: str, ending: str | None) -> None:
    assert path_ending(f"http://a.example/{name}") == ending
    assert segment_ending(f"http://a.example/{name}", "ts", False) == (ending or "ts")


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ("a", "m4s"),
        ("a.jpg", "m4s"),
        ("a.aac", "m4s"),
        ("a.vtt", "m4s"),
        ("a.ts", "ts"),
        ("a.mp4", "mp4"),
        ("a.cmfa", "cmfa"),
    ],
)
def test_segment_with_an_initialization_section_is_mp4(name: str, ending: str) -> None:
    assert segment_ending(f"http://a.example/{name}", "ts", True) == ending


def test_segment_of_subtitles_is_text_by_default() -> None:
    assert segment_ending("http://a.example/sub.php?n=1", "vtt", False) == "vtt"


@pytest.mark.parametrize("name", ["a.ts", "a.jpg", "a.m4s", "a", "a.vtt", "a.key"])
@pytest.mark.parametrize("said", ["", "video/mp2t", "text/plain", "image/jpeg", "application/octet-stream"])
@pytest.mark.parametrize(
    ("head", "told"),
    [
        (TS, "video/mp2t"),
        (TS[:16], "video/mp2t"),
        (b"G" * 188, "video/mp2t"),
        (BOX + b"ftypiso5", "video/mp4"),
        (BOX + b"stypmsdh", "video/mp4"),
        (BOX + b"moof", "video/mp4"),
        (BOX + b"sidx", "video/mp4"),
        (BOX + b"ftypavif", "image/avif"),
        (ADTS, "audio/aac"),
        (id3(ADTS), "audio/aac"),
        (id3(MP3), "audio/mpeg"),
        (id3(EAC3), "audio/eac3"),
        (MP3, "audio/mpeg"),
        (b"\xff\xfd\x84\x04\x00\x00", "audio/mpeg"),
        (AC3, "audio/ac3"),
        (EAC3, "audio/eac3"),
        (b"\xef\xbb\xbfWEBVTT\n\n", "text/vtt"),
        (b"1\n00:00:01,000 --> 00:00:02,000\n", "text/plain"),
        (b"<tt xmlns='http://www.w3.org/ns/ttml'>", "text/plain"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00", "image/jpeg"),
        (b"\x89PNG\r\n\x1a\n\x00", "image/png"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
    ],
)
def test_content_decides(name, said, head, told) -> None:
    ending = path_ending(name) or "ts"
    assert media_type(SEGMENT, f"http://a.example/{name}", ending, head, said) == told


@pytest.mark.parametrize("head", [ENCRYPTED, b"data"])
@pytest.mark.parametrize("said", ["", "video/mp2t"])
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("a.ts", "video/mp2t"),
        ("a.m4s", "video/mp4"),
        ("a.cmfv", "video/mp4"),
        ("a.m4a", "audio/mp4"),
        ("a.aac", "audio/aac"),
        ("a.mp3", "audio/mpeg"),
        ("a.mp2", "audio/mpeg"),
        ("a.ac3", "audio/ac3"),
        ("a.eac3", "audio/eac3"),
        ("a.vtt", "text/vtt"),
        ("a.webvtt", "text/vtt"),
    ],
)
def test_name_decides_if_the_content_does_not(head, said, name, told) -> None:
    url = f"http://a.example/{name}"
    assert media_type(SEGMENT, url, segment_ending(url, "ts", False), head, said) == told


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("", UNKNOWN),
        ("video/mp2t", "video/mp2t"),
        ("audio/aac", "audio/aac"),
        ("video/x; charset=y", "video/x; charset=y"),
        ("application/octet-stream", UNKNOWN),
        ("image/jpeg", UNKNOWN),
        ("text/plain", UNKNOWN),
        ("application/json", UNKNOWN),
    ],
)
def test_provider_is_believed_about_unknown_media(said, told) -> None:
    for name in ("a", "a.jpg", "a.php?x=1"):
        assert media_type(SEGMENT, f"http://a.example/{name}", "ts", ENCRYPTED, said) == told


@pytest.mark.parametrize("said", ["", "video/mp2t", "application/octet-stream", "text/plain", "image/jpeg"])
def test_playlist_decides_about_encrypted_segments(said) -> None:
    """With an initialization section, players got the ending of MP4."""
    assert media_type(SEGMENT, "http://a.example/a.jpg", "m4s", ENCRYPTED, said) == "video/mp4"
    assert media_type(MAP, "http://a.example/init", "ts", ENCRYPTED, said) == "video/mp4"
    assert media_type(KEY, "http://a.example/k.ts", "ts", TS[:16], said) == UNKNOWN


@pytest.mark.parametrize("said", ["audio/mp4", "video/iso.segment", "application/mp4", "video/MP4; codecs=x"])
def test_other_name_of_the_same_type_is_kept(said) -> None:
    assert media_type(SEGMENT, "http://a.example/a.m4s", "m4s", BOX + b"moof", said) == said
    assert media_type(SEGMENT, "http://a.example/a.ts", "ts", TS, said) == "video/mp2t"


def test_data_is_as_the_provider_says() -> None:
    assert media_type(DATA, "http://a.example/d", "ts", b"hello", "text/plain") == "text/plain"
    assert media_type(DATA, "http://a.example/d", "ts", b'{"a": 1}', "") == "application/json"
    assert media_type(DATA, "http://a.example/d", "ts", b"hello", "") == UNKNOWN


@given(st.binary(max_size=512), st.sampled_from(ResourceKind), st.sampled_from(["ts", "m4s", "vtt", "m3u8", "", "x"]))
def test_any_content_has_a_type_that_is_no_page(head, kind, ending) -> None:
    told = media_type(kind, "http://a.example/a.html", ending, head, "")
    assert told.startswith(("video/", "audio/", "image/", "text/vtt", "text/plain", "application/json", UNKNOWN))
    assert "svg" not in told
