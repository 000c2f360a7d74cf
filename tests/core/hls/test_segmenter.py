"""Segments of a live stream: data, durations, sequence numbers and limits."""

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
PICTURE_TICKS = 3600


@attrs.define
class TsSource:
    """A source of pictures, in blocks as in the ring."""

    begin: int = 90_000
    pid: int = VIDEO
    mux: Mux = attrs.field(factory=Mux)
    ring: Ring = attrs.field(factory=lambda: Ring(1000, 1 << 30))
    blocks: list[Block] = attrs.field(factory=list)
    pictures: int = 0

    def send(self, chunk: Chunk) -> None:
        self.blocks.append(self.ring.append(chunk, len(self.blocks) / 10))

    def group(self, pictures: int, size: int = 100, each: int = 4) -> None:
        """Send a group of pictures with 25 timestamps a second, ``each`` pictures to a block."""
        psi = self.mux.pat({1: PMT}) + self.mux.pmt(PMT, 1, [(H264, self.pid)])
        units = []
        for number in range(pictures):
            time = (self.begin + self.pictures * PICTURE_TICKS) % (1 << 33)
            data = pes((SLICE if number else IDR) + bytes(size), pts=(time + 7200) % (1 << 33), dts=time)
            units.append(self.mux.unit(self.pid, data, key=not number))
            self.pictures += 1
        for at in range(0, pictures, each):
            self.send(Chunk(b"".join(units[at : at + each]), psi, not at))


def cut_into_segments(blocks: list[Block], max_bytes: int = 1 << 30) -> tuple[Segmenter, list[LiveSegment]]:
    """Feed all blocks, and return the segmenter and every segment that existed."""
    segmenter, seen = Segmenter(max_bytes), []
    for block in blocks:
        segmenter.feed(block)
        while (segment := segmenter.segment(len(seen))) is not None:
            seen.append(segment)
    return segmenter, seen


def text(segmenter: Segmenter) -> str:
    return segmenter.playlist(lambda n: f"{n}.ts", lambda seconds: EPOCH + timedelta(seconds=seconds))


def media(segments: list[LiveSegment]) -> bytes:
    return b"".join(data for segment in segments for data in segment.buffers[1:])


GROUPS = st.lists(st.integers(1, 400), min_size=1, max_size=30)


@given(GROUPS, st.integers(0, 3), st.integers(1, 60), st.sampled_from([0, 90_000, (1 << 33) - 200_000]))
def test_segments_make_up_the_stream(sizes, unusable, each, begin):
    """Segments cover the stream from the first random access point without overlap or gap, with correct durations."""
    source = TsSource(begin)
    for _ in range(unusable):
        source.send(Chunk(source.mux.unit(VIDEO, pes(SLICE, dts=begin, pts=begin))))
    for size in sizes:
        source.group(size, each=each)
    _, seen = cut_into_segments(source.blocks)
    stream = b"".join(block.data for block in source.blocks[unusable:])
    whole = media(seen)
    assert stream.startswith(whole)
    rest = stream[len(whole) :]
    units = sum(rest[at + 1] >> 6 & 1 for at in range(0, len(rest), 188))
    pictures = sum(segment.duration for segment in seen) * 25
    assert abs(pictures + units - source.pictures) < 1e-6
    assert units <= TARGET_DURATION * 25 + each
    assert [segment.number for segment in seen] == list(range(len(seen)))
    assert all(0 < segment.duration <= TARGET_DURATION for segment in seen)
    assert not any(segment.discontinuity for segment in seen)
    assert all(segment.psi and segment.buffers[0] == segment.psi for segment in seen)


def held(segmenter: Segmenter) -> dict[int, Block]:
    """Return all blocks that a segmenter holds, by their identity."""
    blocks = [block for segment in segmenter._kept for block in segment.blocks] + segmenter._blocks
    return {id(block): block for block in blocks}


FEW_GROUPS = st.lists(st.integers(1, 400), min_size=1, max_size=6)


@given(FEW_GROUPS, st.integers(1, 60), st.integers(1, 200), st.integers(0, 400_000))
def test_memory_counts_each_block_once(sizes, each, ring_kilobytes, share):
    source = TsSource(ring=Ring(1000, ring_kilobytes * 1000))
    segmenter = Segmenter(1 << 30)
    for size in sizes:
        source.group(size, each=each)
        for block in source.blocks:
            segmenter.feed(block)
        source.blocks.clear()
        only_here = held(segmenter).keys() - {id(block) for block in source.ring._blocks}
        bytes_held = sum(len(held(segmenter)[block].data) for block in only_here)
        assert segmenter.size_before(source.ring.start) == bytes_held
    segmenter.set_share(share)
    assert segmenter.size_before(source.ring.position) <= share or len(segmenter._kept) < 2


def test_share_limits_kept_segments_from_now_on():
    source, segmenter = TsSource(), Segmenter(1 << 30)
    for _ in range(10):
        source.group(50, size=2000)
    half = len(source.blocks) // 2
    for block in source.blocks[:half]:
        segmenter.feed(block)
    size = segmenter.segment(1).size
    segmenter.set_share(3 * size)
    for block in source.blocks[half:]:
        segmenter.feed(block)
        assert segmenter.size_before(source.ring.position) <= 3 * size
    numbers = [segment.number for segment in segmenter._kept]
    assert len(numbers) == 2
    segmenter.set_share(0)
    assert [segment.number for segment in segmenter._kept] == numbers[-1:], "the newest is always kept"


def test_share_counts_a_block_that_a_dropped_segment_has_left():
    """A long group of pictures is cut within a block; the rest of it holds the whole block."""
    source, segmenter = TsSource(), Segmenter(1 << 30)
    source.group(400, size=2000, each=100)
    source.group(50, size=2000, each=50)
    for block in source.blocks:
        segmenter.feed(block)
    oldest = segmenter._kept[0]
    assert oldest.number == 0
    sizes = [segment.size for segment in segmenter._kept]
    share = sum(sizes[1:]) + segmenter._size_of_next()
    segmenter.set_share(share)
    assert segmenter._kept[0].number > 0
    assert segmenter.size_before(source.ring.position) <= share


@given(FEW_GROUPS, st.integers(1, 60))
def test_size_is_that_of_the_data_also_around_padding(sizes, each):
    source, segmenter = TsSource(), Segmenter(1 << 30)
    for size in sizes:
        source.group(size, each=each)
        for block in source.blocks:
            segmenter.feed(block)
            source.ring.append_filler(bytes(188), 0.0)
        source.blocks.clear()
    assert all(segment.size == len(b"".join(segment.buffers)) for segment in segmenter._kept)


@given(st.lists(st.integers(1, 70), min_size=1, max_size=20))
def test_segments_begin_at_random_access_points(sizes):
    source = TsSource()
    for size in sizes:
        source.group(size)
    _, seen = cut_into_segments(source.blocks)
    assert all(segment.blocks[0].access for segment in seen)
    assert all(MIN_DURATION <= segment.duration <= MIN_DURATION + 70 / 25 for segment in seen[1:])


def test_first_group_is_the_first_segment():
    source = TsSource()
    source.group(25)
    assert not cut_into_segments(source.blocks)[0].has_segments
    source.group(1)
    segmenter, [first] = cut_into_segments(source.blocks)
    assert segmenter.has_segments
    assert first.duration == 1.0


def test_long_group_is_cut_before_a_picture():
    source = TsSource()
    source.group(400, each=400)
    source.group(1)
    _, seen = cut_into_segments(source.blocks)
    assert [segment.duration for segment in seen] == [6.0, 6.0, 4.0]
    assert all(segment.blocks[0].data[1] & 0x40 for segment in seen)


def test_media_playlist():
    source = TsSource()
    for _ in range(3):
        source.group(50)
    segmenter, _ = cut_into_segments(source.blocks)
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
def test_numbers_stay_in_a_rolling_window(changes):
    """Sequence numbers of segments and discontinuities stay the same after removal from the playlist."""
    source, segmenter = TsSource(), Segmenter(1 << 30)
    known: dict[int, int] = {}
    latest = -1
    for size, splice in changes:
        before = len(source.blocks)
        source.group(size)
        if splice:
            segmenter.discontinue()
        for block in source.blocks[before:]:
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


def test_segments_are_kept_after_they_left_the_playlist():
    source = TsSource()
    for _ in range(60):
        source.group(50)
    segmenter, seen = cut_into_segments(source.blocks)
    kept = [segment for segment in seen if segmenter.segment(segment.number)]
    assert KEPT_DURATION <= sum(segment.duration for segment in kept) < KEPT_DURATION + TARGET_DURATION
    assert text(segmenter).count("EXTINF") == LISTED_DURATION / 2
    assert segmenter.segment(-1) is segmenter.segment(len(seen)) is None


def test_kept_segments_are_bounded_in_bytes():
    source = TsSource()
    for _ in range(20):
        source.group(50, size=1000)
    segmenter, seen = cut_into_segments(source.blocks, 3 * len(source.blocks[0].data) * 13)
    kept = [segment for segment in seen if segmenter.segment(segment.number)]
    assert 0 < len(kept) < 4
    assert sum(segment.size for segment in kept) <= 3 * len(source.blocks[0].data) * 13


def test_segment_that_does_not_end_is_discarded():
    source, segmenter = TsSource(), Segmenter(100_000)
    source.group(5)
    for _ in range(300):
        source.send(Chunk(packet(0x200, bytes(184)) * 10))
    for block in source.blocks:
        segmenter.feed(block)
    assert sum(len(block.data) for block in segmenter._blocks) == 0
    assert not segmenter.has_segments


def test_discontinuity_skips_blocks_before_the_random_access_point():
    source, segmenter = TsSource(), Segmenter(1 << 30)
    source.group(60)
    for block in source.blocks:
        segmenter.feed(block)
    segmenter.discontinue()
    old, source.begin, source.blocks = list(source.blocks), 50_000_000, []
    source.send(Chunk(source.mux.unit(VIDEO, pes(SLICE, dts=1, pts=1))))
    source.group(50)
    source.group(1)
    for block in source.blocks:
        segmenter.feed(block)
    first, second = (segmenter.segment(number) for number in (0, 1))
    assert (first.discontinuity, second.discontinuity) == (False, True)
    assert b"".join(first.buffers[1:]) == b"".join(block.data for block in old)
    assert first.duration == 60 / 25
    assert second.blocks[0] is source.blocks[1]
    assert text(segmenter).count("#EXT-X-DISCONTINUITY\n") == 1


def test_time_jump_is_a_discontinuity():
    for begin in (0, 90_000_000):
        source = TsSource(45_000_000)
        source.group(50)
        source.group(50)
        source.begin = begin
        source.group(50)
        source.group(50)
        _, seen = cut_into_segments(source.blocks)
        assert [segment.discontinuity for segment in seen] == [False, False, True]


def test_other_track_is_a_discontinuity():
    source = TsSource()
    source.group(50)
    source.pid = 0x111
    source.group(50)
    source.group(1)
    _, seen = cut_into_segments(source.blocks)
    assert [segment.discontinuity for segment in seen] == [False, True]


def test_numbers_continue_after_reset():
    source, segmenter = TsSource(), Segmenter(1 << 30)
    source.group(50)
    source.group(50)
    for block in source.blocks:
        segmenter.feed(block)
    segmenter.reset()
    assert not segmenter.has_segments
    assert segmenter.segment(0) is None
    for block in source.blocks:
        segmenter.feed(block)
    assert "SEQUENCE:1\n#EXT-X-DISCONTINUITY-SEQUENCE:0\n#EXT-X-DISCONTINUITY\n" in text(segmenter)


def test_audio_only_stream():
    """Each audio frame is a random access point; segments still have the usual durations."""
    mux, intake, ring, segmenter = Mux(), TsParser(), Ring(1000, 1 << 30), Segmenter(1 << 30)
    data = mux.pat({1: PMT}) + mux.psi(PMT, pmt_section(1, [(AAC, 0x101)]))
    for number in range(400):
        data += mux.unit(0x101, pes(b"\xff\xf1" + bytes(200), stream_id=0xC0, pts=number * 1920))
    for each in [*intake.feed(data, 0.0), *intake.flush(0.0)]:
        segmenter.feed(ring.append(each, 0.0))
    durations = [segmenter.segment(number).duration for number in range(3)]
    assert 0.5 <= durations[0] < 0.53
    assert all(2.0 <= duration < 2.03 for duration in durations[1:])


def test_end_of_the_programme_ends_the_last_segment_and_the_playlist() -> None:
    source = TsSource()
    for _ in range(3):
        source.group(50)
    segmenter, _ = cut_into_segments(source.blocks)
    assert "ENDLIST" not in text(segmenter)
    before = segmenter.seconds_after(-1)
    segmenter.finish()
    assert text(segmenter).endswith("#EXT-X-ENDLIST\n")
    assert segmenter.seconds_after(-1) == before + 2
    assert segmenter.seconds_after(0) == before
    segmenter.reset()
    assert not segmenter.is_over
