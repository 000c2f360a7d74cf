"""Bodies of any format become blocks of whole units, one body after another."""

from __future__ import annotations

from itertools import pairwise

import pytest
from fakes import Programme
from hypothesis import given
from hypothesis import strategies as st
from radiobuild import (
    AUDIO,
    HEVC,
    VIDEO,
    adts_frames,
    configuration,
    header,
    metadata,
    mpeg_frames,
    picture,
    pieces,
    programme,
    sound,
    tag,
)

from m3uproxy.core.ingest.audio_parser import MAX_HELD_BYTES, MAX_WAIT_SECONDS
from m3uproxy.core.ingest.detect import DetectingParser
from m3uproxy.core.ingest.flv_splice import MAX_WAIT_SECONDS as FLV_WAIT_SECONDS
from m3uproxy.core.ingest.flv_tags import FlvReader, FlvTag, FlvTagUse
from m3uproxy.core.ingest.parser import Chunk, Format
from m3uproxy.core.splice.plan import SpliceKind


class Line:
    """An intake, and what came out of it."""

    def __init__(self) -> None:
        self.cuts: list[Chunk] = []
        self.intake = DetectingParser(lambda: self.data)
        self.now = 0.0
        self.joined: list[SpliceKind] = []
        self.changed: list[tuple[str, ...]] = []

    @property
    def data(self) -> bytes:
        return b"".join(cut.data for cut in self.cuts)

    def source(self, data: bytes, cuts: list[int] | tuple[int, ...] = (), flush: bool = True) -> Line:
        """Another body, in pieces that come 10 ms apart."""
        self.take(self.intake.next_source(self.now))
        return self.feed(data, cuts, flush)

    def feed(self, data: bytes, cuts: list[int] | tuple[int, ...] = (), flush: bool = True) -> Line:
        for piece in pieces(data, cuts):
            self.take(self.intake.feed(piece, self.now))
            if flush:
                self.wait(0.01)
        return self.wait(0)

    def wait(self, seconds: float) -> Line:
        self.now += seconds
        self.take(self.intake.flush(self.now))
        return self

    def end(self) -> bytes:
        self.take(self.intake.next_source(self.now))
        return self.data

    def take(self, cuts: list[Chunk]) -> None:
        for report in self.intake.take_reports():
            self.joined.append(report.kind)
            self.changed.append(report.changed)
        assert all(cut.data for cut in cuts)
        self.cuts += cuts

    def tags(self) -> list[FlvTag]:
        tags = FlvReader()
        found = tags.feed(self.intake.preamble + self.data)
        assert b"".join([each.data for each in found]) == self.data
        return found


ADTS, MP3 = b"".join(adts_frames(1, 40)), b"".join(mpeg_frames(2, 40))
FLV = b"".join(programme(20))


def ts(name: bytes = b"A") -> bytes:
    made = Programme(name)
    return b"".join(made.group() for _ in range(3))


class TestRecognised:
    @pytest.mark.parametrize(
        ("data", "format"),
        [(ADTS, Format.ADTS), (MP3, Format.MPEG_AUDIO), (FLV, Format.FLV), (ts(), Format.TS)],
    )
    @pytest.mark.parametrize("size", [1, 7, 188, 1000, 100_000])
    def test_by_the_first_bytes(self, data: bytes, format: Format, size: int) -> None:
        line = Line().source(data, range(size, len(data), size))
        assert line.intake.format is format
        assert line.intake.packets > 10

    @given(begin=st.integers(1, 187), cuts=st.lists(st.integers(1, 3000), max_size=8))
    def test_sound_within_packets_is_no_radio(self, begin: int, cuts: list[int]) -> None:
        """Small frames follow each other within one packet, and the body begins in the middle of it."""
        frames = b"".join(adts_frames(3, 40, most=20))
        packets = b"".join(
            b"G\x01\x01\x10" + frames[at : at + 184].ljust(184, b"\0") for at in range(0, len(frames) - 184, 184)
        )
        line = Line().source((packets * 8)[begin:], cuts)
        assert line.intake.format is Format.TS

    @pytest.mark.parametrize("data", [b"<html>" * 60_000, bytes(400_000), b"FLW\x01" * 100_000])
    def test_anything_else_is_not_and_is_not_kept(self, data: bytes) -> None:
        line = Line().source(data, range(1000, len(data), 1000))
        assert line.intake.format is None
        assert line.intake.packets == 0
        assert line.data == b""
        assert len(line.intake._undetected) + len(line.intake._pending) <= 200_000

    def test_without_a_flush_all_the_same(self) -> None:
        line = Line().source(MP3 * 30, range(1000, len(MP3) * 30, 1000), flush=False)
        assert line.intake.format is Format.MPEG_AUDIO
        assert line.intake.packets > 1000


class TestRadio:
    @given(begin=st.integers(0, 900), short=st.integers(0, 900), cuts=st.lists(st.integers(1, 9000), max_size=9))
    def test_cuts_make_no_difference(self, begin: int, short: int, cuts: list[int]) -> None:
        body = MP3[begin : len(MP3) - short]
        out = Line().source(body, cuts).end()
        assert out == Line().source(body).end()
        assert out in MP3
        assert len(out) > len(body) - 2 * 576

    def test_every_block_is_a_place_to_begin_at(self) -> None:
        line = Line().source(ADTS, range(1000, len(ADTS), 1000))
        assert len(line.cuts) > 3
        for cut in line.cuts:
            assert (cut.access, cut.psi, cut.data[:2]) == (True, b"", b"\xff\xf1")
        assert line.intake.preamble == b""

    def test_the_next_source_begins_at_a_frame(self) -> None:
        other = b"".join(adts_frames(9, 40))
        line = Line().source(ADTS[:-50]).source(other[33:], range(500, 6000, 500)).wait(MAX_WAIT_SECONDS)
        assert line.joined == [SpliceKind.PLAIN, SpliceKind.FRAME]
        frames = adts_frames(1, 40)[:-1] + adts_frames(9, 40)[1:]
        assert line.end() == b"".join(frames)

    @given(again=st.integers(0, 25), cuts=st.lists(st.integers(1, 20_000), max_size=12))
    def test_what_was_sent_before_is_not_sent_again(self, again: int, cuts: list[int]) -> None:
        frames = mpeg_frames(4, 80)
        first = b"".join(frames[:40])
        replayed = b"".join(frames[again:])
        line = Line().source(first + frames[40][:99]).source(replayed, cuts).wait(MAX_WAIT_SECONDS)
        assert line.joined == [SpliceKind.PLAIN, SpliceKind.OVERLAP]
        assert line.end() == b"".join(frames)

    def test_a_new_source_is_kept_for_a_moment_only(self) -> None:
        line = Line().source(ADTS).source(b"".join(adts_frames(9, 10)))
        size = len(line.data)
        line.wait(MAX_WAIT_SECONDS / 2)
        assert len(line.data) == size
        line.wait(MAX_WAIT_SECONDS)
        assert len(line.data) > size
        frames = mpeg_frames(5, 4000)
        line = Line().source(MP3).source(b"".join(frames))
        assert len(b"".join(frames)) > MAX_HELD_BYTES
        assert line.joined[-1] is SpliceKind.FRAME
        assert line.end() == MP3 + b"".join(frames)

    def test_a_new_source_that_ends_at_once_is_sent_too(self) -> None:
        line = Line().source(ADTS).source(b"".join(adts_frames(9, 10)))
        assert line.end() == ADTS + b"".join(adts_frames(9, 10))

    def test_another_layer_is_another_codec(self) -> None:
        line = Line().source(MP3).source(b"".join(mpeg_frames(3, 20, layer=2)))
        assert line.joined == [SpliceKind.PLAIN, SpliceKind.CODEC_CHANGE]
        assert line.changed[-1]
        assert line.end().startswith(MP3)


class TestFlv:
    @given(short=st.integers(0, 900), cuts=st.lists(st.integers(1, 9000), max_size=9))
    def test_cuts_make_no_difference(self, short: int, cuts: list[int]) -> None:
        body = FLV[: len(FLV) - short]
        second = b"".join(programme(20, b"B", origin=100_000))
        out = Line().source(body, cuts).source(second, cuts).end()
        assert out == Line().source(body).source(second).end()

    def test_a_block_begins_at_each_key_picture_and_is_told_what_decoders_need(self) -> None:
        line = Line().source(FLV, range(1000, len(FLV), 1000))
        points = [cut for cut in line.cuts if cut.access]
        assert len(points) == 4
        assert line.intake.preamble == header()
        for cut in points:
            first = FlvReader().feed(header() + cut.data)[0]
            assert first.use is FlvTagUse.KEY
            told = FlvReader().feed(header() + cut.psi)
            assert [each.use for each in told] == [FlvTagUse.METADATA, FlvTagUse.CONFIGURATION, FlvTagUse.CONFIGURATION]
            assert [each.time for each in told] == [0, first.time, first.time]
        assert line.joined == [SpliceKind.PLAIN]

    def test_sound_alone_is_begun_at_anywhere(self) -> None:
        opening = header(4) + configuration(AUDIO)
        line = Line().source(opening + b"".join(sound(n * 20) for n in range(100)), range(0, 4000, 400))
        assert all(cut.access for cut in line.cuts[1:])
        assert len(line.cuts) > 5
        assert configuration(AUDIO)[11:] in line.cuts[-1].psi

    @given(
        short=st.integers(0, 3000),
        origin=st.integers(0, 2**32 - 1),
        other=st.integers(0, 2**32 - 1),
        cuts=st.lists(st.integers(1, 9000), max_size=9),
    )
    def test_the_timeline_runs_on(self, short: int, origin: int, other: int, cuts: list[int]) -> None:
        second = programme(20, b"B", origin=other)
        del second[4:7]  # the first picture is none to begin at
        first = b"".join(programme(30, b"A", origin=origin))
        line = Line().source(first[: len(first) - short], cuts).source(b"".join(second), cuts)
        assert line.joined == [SpliceKind.PLAIN, SpliceKind.SHIFTED]
        tags = line.tags()
        times = [each.time for each in tags if each.use is not FlvTagUse.CONFIGURATION]
        steps = {(later - sooner) % 2**32 for sooner, later in pairwise(times)}
        assert steps <= {0, 20, 40}
        pictures = [each for each in tags if each.kind == VIDEO and each.use is not FlvTagUse.CONFIGURATION]
        assert {(later.time - sooner.time) % 2**32 for sooner, later in pairwise(pictures)} == {40} or short
        seam = next(number for number, each in enumerate(pictures) if b" B " in each.data)
        assert pictures[seam].use is FlvTagUse.KEY
        assert [each.use for each in tags].count(FlvTagUse.CONFIGURATION) == 2

    def test_other_parameters_are_told(self) -> None:
        second = b"".join(programme(20, b"B", config=b"other"))
        line = Line().source(FLV).source(second)
        assert line.joined == [SpliceKind.PLAIN, SpliceKind.SHIFTED]
        told = [each for each in line.tags() if each.use is FlvTagUse.CONFIGURATION]
        assert [each.data[16:21] for each in told if each.kind == VIDEO] == [b"conf\0", b"other"]
        assert all(b"other" in cut.psi for cut in line.cuts[-2:])

    @pytest.mark.parametrize(
        ("second", "word"),
        [
            (b"".join(programme(20, b"B", codec=HEVC)), "pictures"),
            (header() + configuration(AUDIO) + b"".join(sound(n * 20, codec=2) for n in range(50)), "sound"),
        ],
    )
    def test_other_codecs(self, second: bytes, word: str) -> None:
        line = Line().source(FLV).source(second)
        line.wait(FLV_WAIT_SECONDS).feed(second[-100:] if word == "pictures" else sound(2000, codec=2))
        assert line.joined == [SpliceKind.PLAIN, SpliceKind.CODEC_CHANGE]
        assert word in line.changed[-1]

    def test_another_codec_within_a_source(self) -> None:
        line = Line().source(FLV).feed(configuration(VIDEO, codec=HEVC) + picture(900, key=True, codec=HEVC))
        assert line.joined == [SpliceKind.PLAIN, SpliceKind.CODEC_CHANGE]

    def test_no_key_picture_comes(self) -> None:
        """After a while the source begins with what there is, rather than never."""
        line = Line().source(FLV).source(header() + b"".join(picture(n * 40) for n in range(9)))
        assert line.joined == [SpliceKind.PLAIN]
        line.wait(FLV_WAIT_SECONDS).feed(picture(400))
        assert line.joined == [SpliceKind.PLAIN, SpliceKind.SHIFTED]

    def test_shown_after_what_was_shown(self) -> None:
        """The last picture sent may be one that is shown late, for those to be shown before it never came."""
        first = header() + picture(0, key=True, delay=80) + picture(40, delay=160)
        line = Line().source(first).source(header() + picture(7000, b"B", key=True, delay=80))
        last = line.tags()[-1]
        assert last.time + last.delay == 40 + 160 + 40

    def test_the_end_of_a_sequence_and_metadata_on_the_way_are_left_out(self) -> None:
        end = tag(VIDEO, 900, b"\x17\x02\0\0\0")
        line = Line().source(FLV).feed(end + metadata(b"x") + picture(1000))
        uses = {each.use for each in line.tags()}
        assert FlvTagUse.END not in uses
        assert FlvTagUse.METADATA not in uses
        assert line.tags()[-1].time == 1000


BODIES = {"ts": ts(), "adts": ADTS, "mp3": MP3, "flv": FLV}


@pytest.mark.parametrize("first", BODIES)
@pytest.mark.parametrize("second", BODIES)
def test_another_format_begins_a_stream_of_its_own(first: str, second: str) -> None:
    line = Line().source(BODIES[first])
    line.end()
    before = len(line.data)
    line.source(BODIES[second]).wait(MAX_WAIT_SECONDS)
    line.end()
    assert len(line.data) > before
    if first == second:
        assert SpliceKind.FORMAT_CHANGE not in line.joined
    else:
        assert line.joined[1] is SpliceKind.FORMAT_CHANGE
        alone = Line().source(BODIES[second])
        assert line.data[before:] == alone.end()


def test_a_body_that_is_nothing_changes_nothing() -> None:
    line = Line().source(ADTS).source(b"<html>" * 100).source(b"".join(adts_frames(9, 20))).wait(MAX_WAIT_SECONDS)
    assert line.intake.format is Format.ADTS
    assert line.joined == [SpliceKind.PLAIN, SpliceKind.FRAME]
