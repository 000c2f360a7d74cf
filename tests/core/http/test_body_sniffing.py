"""Bodies that are no stream are recognised early, and streams are never refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.core.http.body_sniffing import (
    MAX_UNRECOGNISED_BYTES,
    SNIFF_BYTES,
    body_error,
    container_type,
)
from m3uproxy.errors import Reason


@pytest.mark.parametrize(
    ("head", "word"),
    [
        (b"<!DOCTYPE html>", "HTML"),
        (b"\n\t <html>", "HTML"),
        (b"\xef\xbb\xbf<?xml", "HTML"),
        (b'{"error": "x"}', "JSON"),
        (b"[]", "JSON"),
        (b"#EXTM3U\n#EXT-X-VERSION:3", "playlist"),
        (b"[playlist]\nFile1=http://radio/1", "playlist"),
        (b"[Playlist]\n", "playlist"),
        (b"http://radio/1.mp3\r\n", "playlist"),
        (b"<", "HTML"),
        (b"{}", "JSON"),
        (b'[{"a": 1}]', "JSON"),
    ],
)
def test_text_formats_are_recognised_by_their_first_bytes(head: bytes, word: str) -> None:
    error = body_error(head, len(head), "video/mp2t")
    assert error is not None
    assert error.reason is Reason.NOT_VIDEO
    assert word in error.detail


def test_text_type_needs_a_text_body() -> None:
    assert body_error(b"User limit reached" * 30, SNIFF_BYTES, "text/plain") is not None
    assert body_error(b"User limit", 10, "text/plain") is None
    assert body_error(b"\0" + b"x" * 511, SNIFF_BYTES, "text/html") is None
    assert body_error(b"x" * 512, SNIFF_BYTES, "video/mp2t") is None


def test_body_without_packets_is_refused_at_the_limit() -> None:
    assert body_error(b"\0" * SNIFF_BYTES, MAX_UNRECOGNISED_BYTES - 1, "video/mp2t") is None
    error = body_error(b"\0" * SNIFF_BYTES, MAX_UNRECOGNISED_BYTES, "video/mp2t")
    assert error is not None
    assert error.reason is Reason.NOT_TRANSPORT_STREAM


@given(st.binary(max_size=SNIFF_BYTES - 1), st.integers(0, MAX_UNRECOGNISED_BYTES - 1))
def test_body_that_begins_with_a_sync_byte_is_not_refused_early(rest: bytes, received: int) -> None:
    assert body_error(b"G" + rest, received, "video/mp2t") is None
    assert body_error(b"", 0, "text/html") is None


@given(st.sampled_from([b"<", b"{", b"[", b"<a", b'{"', b" [1"]), st.binary(min_size=1, max_size=400))
def test_binary_body_that_begins_like_text_is_not_refused(start: bytes, rest: bytes) -> None:
    """Radio may begin in the middle of a frame."""
    assert body_error(start + rest + b"\x00\x01\xff", 500, "audio/mpeg") is None
    assert body_error(start[:1] + b"\xff\xfb" + rest, 500, "audio/mpeg") is None


@pytest.mark.parametrize(
    ("head", "media_type"),
    [
        (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41", "video/mp4"),
        (b"\x1a\x45\xdf\xa3\xa3\x42\x86\x81\1\x42\x82\x88matroska", "video/x-matroska"),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\1\x42\x82\x84webm", "video/webm"),
        (b"RIFF\0\0\0\1AVI LIST", "video/x-msvideo"),
        (b"RIFF\0\0\0\1WAVEfmt ", "audio/wav"),
        (b"RIFF\0\0\0\1WEBPVP8 ", None),
        (b"\0\0\0\x14ftypqt  ", "video/quicktime"),
        (b"\0\0\0\x08wide\0\0\0\0mdat", "video/quicktime"),
        (b"\0\0\1\xba\x44", "video/mpeg"),
        (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "video/x-ms-asf"),
        ((bytes(4) + b"G" + bytes(187)) * 3, "video/vnd.dlna.mpeg-tts"),
        ((b"G" + bytes(187)) * 3, "video/mp2t"),
        (b"G" + bytes(400), None),
        ((b"G" + bytes(187)) * 2, None),
        (b"<html>", None),
        (b"", None),
    ],
)
def test_container_type_by_first_bytes(head: bytes, media_type: str | None) -> None:
    assert container_type(head) == media_type
