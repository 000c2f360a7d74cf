"""FLV tags in a body that is cut at any byte, and their classification."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from radiobuild import (
    AUDIO,
    HEVC,
    SCRIPT,
    VIDEO,
    configuration,
    header,
    metadata,
    picture,
    pieces,
    programme,
    sound,
    tag,
)

from m3uproxy.core.ingest.flv_tags import MAX_TAG_BYTES, FlvReader, FlvTagUse, read_tag

CUTS = st.lists(st.integers(1, 9000), max_size=12)


def read_in_pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    tags = FlvReader()
    found = [each.data for piece in pieces(data, cuts) for each in tags.feed(piece)]
    assert tags.count == len(found)
    return found


@given(short=st.integers(0, 300), cuts=CUTS)
def test_only_whole_tags_are_returned(short: int, cuts: list[int]) -> None:
    made = programme(20)
    whole = b"".join(made)
    found = read_in_pieces(whole[: len(whole) - short], cuts)
    assert [header(), *found] == made[: len(found) + 1]
    assert len(b"".join(made[: len(found) + 2])) > len(whole) - short or not short


@given(at=st.integers(500, 4000), missing=st.integers(1, 900), cuts=CUTS)
def test_torn_tag_is_dropped(at: int, missing: int, cuts: list[int]) -> None:
    made = programme(30)
    whole = b"".join(made)
    found = read_in_pieces(whole[:at] + whole[at + missing :], cuts)
    assert set(found) < set(made)
    assert found == [each for each in made if each in set(found)]
    assert found[-1] == made[-1]


@given(data=st.binary(max_size=3000), cuts=CUTS)
def test_cuts_make_no_difference(data: bytes, cuts: list[int]) -> None:
    data = header() + data + b"".join(programme(5)[1:])
    assert read_in_pieces(data, cuts) == read_in_pieces(data, [])


def test_tag_above_the_size_limit_is_skipped() -> None:
    tags = FlvReader()
    endless = b"\x09" + (MAX_TAG_BYTES + 1).to_bytes(3, "big") + bytes(7)
    assert tags.feed(header() + endless + picture(40)) == [read_tag(picture(40))]
    noise = random.Random(1)
    for _ in range(200):
        tags.feed(b"\x09" + noise.randbytes(3) + bytes(40_000))
        assert len(tags._pending) < MAX_TAG_BYTES + 50_000


@pytest.mark.parametrize(
    ("made", "use", "codec"),
    [
        (metadata(), FlvTagUse.METADATA, None),
        (tag(SCRIPT, 5, b"\x02\0\x0aonCuePoint\x08"), FlvTagUse.MEDIA, None),
        (configuration(VIDEO), FlvTagUse.CONFIGURATION, 7),
        (configuration(VIDEO, codec=HEVC), FlvTagUse.CONFIGURATION, 12),
        (configuration(AUDIO), FlvTagUse.CONFIGURATION, 10),
        (picture(0, key=True), FlvTagUse.KEY, 7),
        (picture(0), FlvTagUse.MEDIA, 7),
        (tag(VIDEO, 0, b"\x17\x02\0\0\0"), FlvTagUse.END, 7),
        (tag(VIDEO, 0, b"\x12\x00\x84\0\0"), FlvTagUse.KEY, 2),
        (tag(VIDEO, 0, b"\x90hvc1" + bytes(40)), FlvTagUse.CONFIGURATION, b"hvc1"),
        (tag(VIDEO, 0, b"\x91hvc1" + bytes(40)), FlvTagUse.KEY, b"hvc1"),
        (tag(VIDEO, 0, b"\xa3hvc1" + bytes(40)), FlvTagUse.MEDIA, b"hvc1"),
        (sound(0), FlvTagUse.MEDIA, 10),
        (sound(0, codec=2), FlvTagUse.MEDIA, 2),
        (tag(AUDIO, 0, b"\x90Opus" + bytes(9)), FlvTagUse.CONFIGURATION, b"Opus"),
        (tag(AUDIO, 0, b""), FlvTagUse.MEDIA, None),
        (tag(VIDEO, 0, b"\x17"), FlvTagUse.MEDIA, None),
    ],
)
def test_tag_use_and_codec(made: bytes, use: FlvTagUse, codec: int | bytes | None) -> None:
    read = read_tag(made)
    assert (read.use, read.codec) == (use, codec)


@given(time=st.integers(0, 2**32 - 1), other=st.integers(0, 2**32 - 1))
def test_time_has_32_bits(time: int, other: int) -> None:
    moved = read_tag(sound(time, b"x"))
    assert moved.time == time
    assert read_tag(moved.with_time(other)).time == other
    assert moved.has_same_content(read_tag(moved.with_time(other)))
    assert not moved.has_same_content(read_tag(picture(time)))
    assert not moved.has_same_content(None)


def test_composition_time() -> None:
    assert read_tag(picture(0, delay=80)).delay == 80
    assert read_tag(sound(0, b"long enough to have one")).delay == 0
    assert read_tag(tag(VIDEO, 0, b"\xa1hvc1\xff\xff\xff" + bytes(40))).delay == -1
