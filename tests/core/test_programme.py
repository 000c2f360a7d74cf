"""The judgement of a body that has ended: a programme, or a live stream."""

from __future__ import annotations

import pytest
from fakes import Programme

from m3uproxy.core.mpegts.packets import null_packet
from m3uproxy.core.programme import COMPARED_BYTES, BodyStart, MediaClock, Similarity, compare


def start_of(data: bytes, piece: int = 1000) -> BodyStart:
    """Return the beginning of a body that came in pieces."""
    start = BodyStart()
    for at in range(0, len(data), piece):
        start.feed(data[at : at + piece])
    return start


def clip(name: bytes = b"A", groups: int = 30) -> bytes:
    programme = Programme(name)
    return b"".join(programme.group() for _ in range(groups))


def adts(count: int, first: int = 0) -> bytes:
    """Return audio frames of 100 bytes."""
    head = bytes([0xFF, 0xF1, 0x50, 0x80, 100 >> 3, (100 & 7) << 5 | 0x1F, 0xFC])
    return b"".join(head + (b"%08d" % n) * 11 + b"12345" for n in range(first, first + count))


LONG = clip(groups=40)


def test_long_enough_for_a_complete_beginning() -> None:
    assert len(LONG) > COMPARED_BYTES
    assert start_of(LONG).is_complete
    assert start_of(LONG).data == LONG[:COMPARED_BYTES]


@pytest.mark.parametrize("piece", [1, 7, 188, 65_536, 1 << 20])
def test_pieces_make_no_difference(piece: int) -> None:
    assert start_of(LONG[:4000], piece).data == LONG[:4000]


def test_begins_at_the_first_pat() -> None:
    padding = 40 * null_packet()
    assert start_of(padding + LONG).data == LONG[:COMPARED_BYTES]
    assert start_of(padding).data == b""
    assert compare(start_of(LONG), start_of(padding + LONG)) is Similarity.SAME


def test_another_format_begins_at_its_first_byte() -> None:
    radio = adts(1000)
    assert start_of(radio).data == radio[:COMPARED_BYTES]
    assert compare(start_of(radio), start_of(radio)) is Similarity.SAME
    assert compare(start_of(radio), start_of(adts(1000, 3))) is Similarity.OTHER


def test_other_bytes_are_recognised_at_once() -> None:
    other = clip(b"B")
    difference = next(n for n in range(len(LONG)) if LONG[n] != other[n])
    assert compare(start_of(LONG), start_of(other[:difference])) is Similarity.OPEN
    assert compare(start_of(LONG), start_of(other[: difference + 1])) is Similarity.OTHER


def test_same_after_the_compared_bytes() -> None:
    before = start_of(LONG)
    assert compare(before, start_of(LONG[: COMPARED_BYTES - 1])) is Similarity.OPEN
    assert compare(before, start_of(LONG[:COMPARED_BYTES])) is Similarity.SAME
    assert compare(before, start_of(LONG[:COMPARED_BYTES] + b"other")) is Similarity.SAME


def test_short_bodies_are_compared_to_their_ends() -> None:
    short = LONG[:18_800]
    before = start_of(short)
    assert compare(before, start_of(short)) is Similarity.OPEN
    assert compare(before, start_of(short), ended=True) is Similarity.SAME
    assert compare(before, start_of(LONG[:20_000])) is Similarity.OTHER


def test_tables_and_padding_prove_nothing() -> None:
    """A transcoder sends them until its first picture is ready, the same at each connection."""
    padding = Programme(b"A").tables() + 500 * null_packet()
    before, now = start_of(padding + clip(b"A")), start_of(padding + clip(b"B"))
    assert before.is_complete
    assert compare(before, now) is Similarity.OTHER
    assert compare(start_of(padding[:4000]), start_of(padding[:4000]), ended=True) is Similarity.OTHER


def test_a_part_of_the_first_body_proves_nothing() -> None:
    assert compare(start_of(LONG), start_of(LONG[:9400]), ended=True) is Similarity.OPEN
    assert compare(start_of(LONG), start_of(b""), ended=True) is Similarity.OPEN


def test_a_body_without_a_beginning_is_like_no_other() -> None:
    padding = 800 * null_packet()
    assert start_of(padding).is_unknown
    assert compare(start_of(padding), start_of(padding)) is Similarity.OTHER
    assert compare(start_of(LONG), start_of(padding)) is Similarity.OTHER


def test_clock_counts_the_media_between_access_points() -> None:
    programme, clock = Programme(), MediaClock()
    for _ in range(10):
        programme.tables()
        group = b"".join(programme.picture(n == 0) for n in range(25))
        clock.access_point(group)
    assert clock.seconds == pytest.approx(9.0)
    assert clock.seconds_until(group) == pytest.approx(9.96)


def test_clock_leaves_out_jumps() -> None:
    programme, clock = Programme(), MediaClock()
    first = programme.picture(True)
    for _ in range(1000):
        programme.picture()
    later = programme.picture(True)
    assert clock.access_point(first) == 0
    assert clock.access_point(later) == 0
    assert clock.access_point(first) == 0
    assert clock.access_point(null_packet()) == 0
    assert clock.seconds == 0
