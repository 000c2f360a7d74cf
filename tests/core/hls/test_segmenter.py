"""Segments of a live stream: they are the stream, and what is said of them is so."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

import attrs
from hypothesis import given
from hypothesis import strategies as st
from tsbuild import AAC, H264, IDR, SLICE, Mux, packet, pes, pmt_section

from m3uproxy.core.hls.segmenter import (
    KEPT_DURATION,
    LISTED_DURATION,
    MIN_DURATION,
    TARGET_DURATION,
    LiveSegment,
    Segmenter,
)
from m3uproxy.core.ingest.parser import Chunk
from m3uproxy.core.ingest.ts_parser import TsParser
from m3uproxy.core.ring import Block, Ring

VIDEO, PMT = 0x100, 0x1000
EPOCH = datetime(2026, 1, 1, tzinfo=timezone.utc)
PICTURE = 3600


@attrs.define
class Air:
    """A stream of pictures, in blocks as the ring has them."""

    begin: int = 90_000
    pid: int = VIDEO
    mux: Mux = attrs.field(factory=Mux)
    ring: Ring = attrs.field(factory=lambda: Ring(1000, 1 << 30))
    blocks: list[Block] = attrs.field(factory=list)
    pictures: int = 0

    def send(self, cut: Chunk) -> None:
        self.blocks.append(self.ring.append(cut, len(self.blocks) / 10))

    def group(self, pictures: int, size: int = 100, each: int = 4) -> None:
        """A group of pictures, ``each`` so many in a block, with time stamps of 25 a second."""
        psi = self.mux.pat({1: PMT}) + self.mux.pmt(PMT, 1, [(H264, self.pid)])
        units = []
        for number in range(pictures):
            time = (self.begin + self.pictures * PICTURE) % (1 << 33)
            data = pes((SLICE if number else IDR) + bytes(size), pts=(time + 7200) % (1 << 33), dts=time)
            units.append(self.mux.unit(self.pid, data, key=not number))
            self.pictures += 1
        for at in range(0, pictures, each):
            self.send(Chunk(b"".join(units[at : at + each]), psi, not at))


def cut(blocks: list[Block], max_bytes: int = 1 << 30) -> tuple[Segmenter, list[LiveSegment]]:
    """Feed all; every segment there ever was."""
    segmenter, seen = Segmenter(max_bytes), []
    for block in blocks:
        segmenter.feed(block)
        while (segment := segmenter.segment(len(seen))) is not None:
            seen.append(segment)
    return segmenter, seen


def text(segmenter: Segmenter) -> str:
    return segmenter.playlist(lambda n: f"{n}.ts", lambda seconds: EPOCH + timedelta(seconds=seconds))


def media(segments: list[LiveSegment]) -> bytes:
    return b"".join(block.data for segment in segments for block in segment.blocks)


groups = st.lists(st.integers(1, 400), min_size=1, max_size=30)


@given(groups, st.integers(0, 3), st.integers(1, 60), st.sampled_from([0, 90_000, (1 << 33) - 200_000]))
def test_segments_together_are_the_stream(sizes, torn, each, begin):
    """From the first random access point on, without overlap or gap; and none lasts longer than is said."""
    air = Air(begin)
    for _ in range(torn):
        air.send(Chunk(air.mux.unit(VIDEO, pes(SLICE, dts=begin, pts=begin))))
    for size in sizes:
        air.group(size, each=each)
    _cutting, seen = cut(air.blocks)
    stream = b"".join(block.data for block in air.blocks[torn:])
    whole = media(seen)
    assert stream.startswith(whole)
    rest = stream[len(whole) :]
    units = sum(rest[at + 1] >> 6 & 1 for at in range(0, len(rest), 188))
    pictures = sum(segment.duration for segment in seen) * 25
    assert abs(pictures + units - air.pictures) < 1e-6
    assert units <= TARGET_DURATION * 25 + each
    assert [segment.number for segment in seen] == list(range(len(seen)))
    assert all(0 < segment.duration <= TARGET_DURATION for segment in seen)
    assert not any(segment.discontinuity for segment in seen)
    assert all(segment.psi and segment.buffers[0] == segment.psi for segment in seen)


@given(st.lists(st.integers(1, 70), min_size=1, max_size=20))
def test_segments_begin_at_random_access_points_where_they_are_near_enough(sizes):
    air = Air()
    for size in sizes:
        air.group(size)
    _, seen = cut(air.blocks)
    assert all(segment.blocks[0].access for segment in seen)
    assert all(MIN_DURATION <= segment.duration <= MIN_DURATION + 70 / 25 for segment in seen[1:])


def test_the_first_group_is_the_first_segment():
    air = Air()
    air.group(25)
    assert not cut(air.blocks)[0].has_segments
    air.group(1)
    segmenter, [first] = cut(air.blocks)
    assert segmenter.has_segments
    assert first.duration == 1.0


def test_a_long_group_is_cut_in_front_of_a_picture():
    air = Air()
    air.group(400, each=400)
    air.group(1)
    _, seen = cut(air.blocks)
    assert [segment.duration for segment in seen] == [6.0, 6.0, 4.0]
    assert all(segment.blocks[0].data[1] & 0x40 for segment in seen)


def test_the_playlist():
    air = Air()
    for _ in range(3):
        air.group(50)
    segmenter, _ = cut(air.blocks)
    assert text(segmenter).splitlines() == [
        "#EXTM3U",
        "#EXT-X-VERSION:3",
        f"#EXT-X-TARGETDURATION:{TARGET_DURATION}",
        "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-DISCONTINUITY-SEQUENCE:0",
        "#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:00.000+00:00",
        "#EXTINF:2.000000,",
        "0.ts",
        "#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:02.000+00:00",
        "#EXTINF:2.000000,",
        "1.ts",
    ]


@given(st.lists(st.tuples(st.integers(10, 200), st.booleans()), min_size=2, max_size=60))
def test_a_window_rolls_on(changes):
    """Numbers, of segments and of discontinuities, stay what they were, however much has gone from the list."""
    air, segmenter = Air(), Segmenter(1 << 30)
    known: dict[int, int] = {}
    latest = -1
    for size, seam in changes:
        before = len(air.blocks)
        air.group(size)
        if seam:
            segmenter.discontinue()
        for block in air.blocks[before:]:
            segmenter.feed(block)
        if not segmenter.has_segments:
            continue
        lines = text(segmenter)
        number = int(re.search(r"MEDIA-SEQUENCE:(\d+)", lines)[1])
        run = int(re.search(r"DISCONTINUITY-SEQUENCE:(\d+)", lines)[1])
        assert number >= latest
        latest = number
        for line in lines.splitlines()[5:]:
            run += line == "#EXT-X-DISCONTINUITY"
            if line.endswith(".ts"):
                assert line == f"{number}.ts"
                assert known.setdefault(number, run) == run
                assert segmenter.segment(number) is not None
                number += 1
        assert sum(map(float, re.findall(r"EXTINF:([\d.]+)", lines))) <= LISTED_DURATION + TARGET_DURATION + 0.001


def test_segments_are_kept_for_a_while_behind_their_listing():
    air = Air()
    for _ in range(60):
        air.group(50)
    segmenter, seen = cut(air.blocks)
    kept = [segment for segment in seen if segmenter.segment(segment.number)]
    assert KEPT_DURATION <= sum(segment.duration for segment in kept) < KEPT_DURATION + TARGET_DURATION
    assert text(segmenter).count("EXTINF") == LISTED_DURATION / 2
    assert segmenter.segment(-1) is segmenter.segment(len(seen)) is None


def test_what_is_kept_is_bounded_in_bytes():
    air = Air()
    for _ in range(20):
        air.group(50, size=1000)
    segmenter, seen = cut(air.blocks, 3 * len(air.blocks[0].data) * 13)
    kept = [segment for segment in seen if segmenter.segment(segment.number)]
    assert 0 < len(kept) < 4
    assert sum(segment.size for segment in kept) <= 3 * len(air.blocks[0].data) * 13


def test_a_segment_that_does_not_end_is_given_up():
    air, segmenter = Air(), Segmenter(100_000)
    air.group(5)
    for _ in range(300):
        air.send(Chunk(packet(0x200, bytes(184)) * 10))
    for block in air.blocks:
        segmenter.feed(block)
    assert sum(len(block.data) for block in segmenter._blocks) == 0
    assert not segmenter.has_segments


def test_a_seam_is_a_discontinuity_and_what_is_torn_behind_it_is_left_out():
    air, segmenter = Air(), Segmenter(1 << 30)
    air.group(60)
    for block in air.blocks:
        segmenter.feed(block)
    segmenter.discontinue()
    old, air.begin, air.blocks = list(air.blocks), 50_000_000, []
    air.send(Chunk(air.mux.unit(VIDEO, pes(SLICE, dts=1, pts=1))))
    air.group(50)
    air.group(1)
    for block in air.blocks:
        segmenter.feed(block)
    first, second = (segmenter.segment(number) for number in (0, 1))
    assert (first.discontinuity, second.discontinuity) == (False, True)
    assert b"".join(first.buffers[1:]) == b"".join(block.data for block in old)
    assert first.duration == 60 / 25
    assert second.blocks[0] is air.blocks[1]
    assert text(segmenter).count("#EXT-X-DISCONTINUITY\n") == 1


def test_time_that_jumps_is_a_discontinuity():
    for begin in (0, 90_000_000):
        air = Air(45_000_000)
        air.group(50)
        air.group(50)
        air.begin = begin
        air.group(50)
        air.group(50)
        _, seen = cut(air.blocks)
        assert [segment.discontinuity for segment in seen] == [False, False, True]


def test_another_track_is_a_discontinuity():
    air = Air()
    air.group(50)
    air.pid = 0x111
    air.group(50)
    air.group(1)
    _, seen = cut(air.blocks)
    assert [segment.discontinuity for segment in seen] == [False, True]


def test_numbers_go_on_behind_a_pause():
    air, segmenter = Air(), Segmenter(1 << 30)
    air.group(50)
    air.group(50)
    for block in air.blocks:
        segmenter.feed(block)
    segmenter.reset()
    assert not segmenter.has_segments
    assert segmenter.segment(0) is None
    for block in air.blocks:
        segmenter.feed(block)
    assert "SEQUENCE:1\n#EXT-X-DISCONTINUITY-SEQUENCE:0\n#EXT-X-DISCONTINUITY\n" in text(segmenter)


def test_sound_alone():
    """Every frame can be begun with: segments are as long as they should be all the same."""
    mux, intake, ring, segmenter = Mux(), TsParser(), Ring(1000, 1 << 30), Segmenter(1 << 30)
    data = mux.pat({1: PMT}) + mux.psi(PMT, pmt_section(1, [(AAC, 0x101)]))
    for number in range(400):
        data += mux.unit(0x101, pes(b"\xff\xf1" + bytes(200), stream_id=0xC0, pts=number * 1920))
    for each in [*intake.feed(data, 0.0), *intake.flush(0.0)]:
        segmenter.feed(ring.append(each, 0.0))
    durations = [segmenter.segment(number).duration for number in range(3)]
    assert 0.5 <= durations[0] < 0.53
    assert all(2.0 <= duration < 2.03 for duration in durations[1:])
