"""The kind of a body: by its head and its first bytes; the URL counts only where these do not tell."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.core.body_kind import (
    ENOUGH_BYTES,
    BodyFacts,
    BodyKind,
    KindMismatch,
    believed_length,
    body_kind,
    is_decided,
    kind_mismatch,
    told_type,
    unplayable,
)
from m3uproxy.core.stream_kind import StreamKind
from m3uproxy.errors import Reason, SourceError

TS = (b"G\x40\x00\x10" + bytes(184)) * 4
M2TS = (bytes(4) + b"G\x40\x00\x10" + bytes(184)) * 4
ADTS = (b"\xff\xf1\x50\x80\x18\x9f\xfc" + bytes(189)) * 6
MP4, FLV, LIST = b"\0\0\0\x20ftypisom", b"FLV\x01\x05\0\0\0\x09\0\0\0\0", b"#EXTM3U\n#EXTINF:4,\na.ts\n"
JPEG, PAGE, UNKNOWN = b"\xff\xd8\xff\xe0" + bytes(600), b"<!doctype html><html>", b"\x01\x02" * 400
ANY_URL = st.sampled_from(["http://p/1", "http://p/1.ts", "http://p/1.m3u8", "http://p/1.mp4", "http://p/timeshift/1"])
ENDLESS = [0, 2147483647, 4294967295, 2**53 - 1, 10**12 + 1, 2**63 - 1]
P, F, E, L = BodyKind.PLAYLIST, BodyKind.FILE, BodyKind.PROGRAMME, BodyKind.LIVE


def facts(head: bytes, url: str = "http://p/1.ts", length: int | None = None, **more: object) -> BodyFacts:
    stated = {"status": 200, "accepts_ranges": False, "content_type": "", **more}
    return BodyFacts(url=url, length=length, head=head, **stated)


@pytest.mark.parametrize(
    ("head", "more", "kind"),
    [
        (TS, {}, L),
        (TS, {"length": 5000}, E),
        (TS, {"length": 5000, "accepts_ranges": True}, F),
        (TS, {"length": 5000, "status": 206}, F),
        (TS, {"accepts_ranges": True}, L),
        (TS, {"url": "http://p/1.m3u8"}, L),
        (TS, {"url": "http://p/1.mp4"}, L),
        (TS, {"url": "http://p/streaming/timeshift.php?stream=1"}, E),
        (TS, {"url": "http://p/Videos/1?static=true"}, E),
        (M2TS, {"length": 5000}, E),
        (M2TS, {}, L),
        (M2TS, {"url": "http://p/timeshift/1"}, E),
        (ADTS, {}, L),
        (ADTS, {"length": 5000}, E),
        (FLV, {}, L),
        (MP4, {}, E),
        (MP4, {"length": 5000}, E),
        (MP4, {"length": 5000, "accepts_ranges": True}, F),
        (LIST, {}, P),
        (LIST, {"length": len(LIST), "accepts_ranges": True, "url": "http://p/1.mp4"}, P),
        (b"\xef\xbb\xbf\r\n" + LIST, {}, P),
        (b"#EXT-X-VERSION:3\n", {"url": "http://p/1.m3u8"}, P),
        (UNKNOWN, {}, L),
        (UNKNOWN, {"url": "http://p/1.mkv"}, E),
        (UNKNOWN, {"length": 5000, "status": 206}, F),
        (UNKNOWN, {"length": 5000, "content_type": "video/mp2t"}, E),
        (UNKNOWN, {"length": 5000}, None),
        (UNKNOWN, {"length": 5000, "status": 206, "content_type": "text/html"}, None),
        (PAGE, {}, None),
        (PAGE, {"length": 5000, "accepts_ranges": True}, None),
        (JPEG, {"length": 5000, "accepts_ranges": True, "url": "http://p/1.mp4"}, None),
        (b'{"error": 1}', {"url": "http://p/1.mp4"}, None),
    ],
)
def test_kind_of_a_body(head: bytes, more: dict[str, object], kind: BodyKind | None) -> None:
    assert body_kind(facts(head, **more)) is kind


@given(ANY_URL, st.sampled_from(ENDLESS), st.booleans())
def test_lengths_of_endless_streams_are_not_believed(url: str, length: int, ranges: bool) -> None:
    assert believed_length(length) is None
    assert body_kind(facts(TS, url, length, accepts_ranges=ranges)) is body_kind(facts(TS, url, None))


@given(ANY_URL, st.integers(1, 10**12).filter(lambda n: n not in ENDLESS and n not in (2**31, 2**32)))
def test_length_and_ranges_are_a_file_whatever_the_name_and_the_size(url: str, length: int) -> None:
    assert body_kind(facts(TS, url, length, accepts_ranges=True)) is F
    assert body_kind(facts(MP4, url, length, status=206)) is F


@given(ANY_URL, st.binary(max_size=40), st.booleans(), st.none() | st.integers(0, 10**13))
def test_playlist_is_one_whatever_the_head_says(url: str, rest: bytes, ranges: bool, length: int | None) -> None:
    assert body_kind(facts(b"#EXTM3U" + rest, url, length, accepts_ranges=ranges, content_type="video/mp4")) is P


@given(
    ANY_URL, st.sampled_from([TS, ADTS, FLV + bytes(600), LIST + bytes(600), MP4 + bytes(600), UNKNOWN]), st.booleans()
)
def test_more_bytes_do_not_change_a_decision(url: str, body: bytes, has_length: bool) -> None:
    """Cut anywhere, the first bytes that are enough tell the same as all of them."""
    length = 10_000 if has_length else None
    enough = next(n for n in range(len(body)) if is_decided(url, body[:n], has_length))
    assert all(is_decided(url, body[:n], has_length) for n in range(enough, len(body)))
    assert body_kind(facts(body[:enough], url, length)) is body_kind(facts(body[:ENOUGH_BYTES], url, length))


@pytest.mark.parametrize("head", [b"", b"#", b"\xef\xbb\xbf#EXT", b" \n #EXTM3"])
def test_beginning_of_a_playlist_is_undecided(head: bytes) -> None:
    assert not is_decided("http://p/1.ts", head, False)


def test_error_of_another_kind_keeps_what_was_found() -> None:
    error = kind_mismatch(facts(MP4, "http://p/1.ts", 500, accepts_ranges=True), F)
    assert (error.reason, error.kind, error.url) == (Reason.OTHER_KIND, StreamKind.VOD, "http://p/1.ts")
    stored = error.detached()
    assert isinstance(stored, KindMismatch)
    assert stored.media_type == "video/mp4"
    assert isinstance(stored, SourceError)


@pytest.mark.parametrize(
    ("head", "content_type", "reason", "text"),
    [
        (PAGE, "", Reason.NOT_VIDEO, "HTML"),
        (JPEG, "image/jpeg", Reason.NOT_VIDEO, "a picture"),
        (UNKNOWN, "text/html", Reason.NOT_VIDEO, "text/html"),
        (UNKNOWN, "", Reason.NOT_LIVE, "64 bytes"),
    ],
)
def test_error_of_a_body_that_cannot_be_played(head: bytes, content_type: str, reason: Reason, text: str) -> None:
    error = unplayable(facts(head, length=64, content_type=content_type))
    assert error.reason is reason
    assert text in error.detail


@pytest.mark.parametrize(
    ("head", "said", "told"),
    [
        (MP4, "video/quicktime", "video/quicktime"),
        (MP4, "application/octet-stream", "video/mp4"),
        (MP4, "text/html", "video/mp4"),
        (MP4, "video/x-matroska", "video/mp4"),
        (TS, "video/mp4", "video/mp2t"),
        (UNKNOWN, "video/mp4", None),
    ],
)
def test_type_that_players_are_told(head: bytes, said: str, told: str | None) -> None:
    assert told_type(facts(head, content_type=said)) == told
