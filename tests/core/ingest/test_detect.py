"""Bodies of any format become chunks of whole units, one body after another."""

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


class ParserRig:
    """A detecting parser and its output."""

    def __init__(self) -> None:
        self.chunks: list[Chunk] = []
        self.parser = DetectingParser(lambda: self.data)
        self.now = 0.0
        self.kinds: list[SpliceKind] = []
        self.changed: list[tuple[str, ...]] = []

    @property
    def data(self) -> bytes:
        return b"".join(chunk.data for chunk in self.chunks)

    def source(self, data: bytes, cuts: list[int] | tuple[int, ...] = (), flush: bool = True) -> ParserRig:
        """Start another body, in pieces that arrive 10 ms apart."""
        self.collect(self.parser.next_source(self.now))
        return self.feed(data, cuts, flush)

    def feed(self, data: bytes, cuts: list[int] | tuple[int, ...] = (), flush: bool = True) -> ParserRig:
        for piece in pieces(data, cuts):
            self.collect(self.parser.feed(piece, self.now))
            if flush:
                self.wait(0.01)
        return self.wait(0)

    def wait(self, seconds: float) -> ParserRig:
        self.now += seconds
        self.collect(self.parser.flush(self.now))
        return self

    def end(self) -> bytes:
        self.collect(self.parser.next_source(self.now))
        return self.data

    def collect(self, chunks: list[Chunk]) -> None:
        for report in self.parser.take_reports():
            self.kinds.append(report.kind)
            self.changed.append(report.changed)
        assert all(chunk.data for chunk in chunks)
        self.chunks += chunks

    def tags(self) -> list[FlvTag]:
        tags = FlvReader()
        found = tags.feed(self.parser.preamble + self.data)
        assert b"".join([each.data for each in found]) == self.data
        return found


ADTS, MP3 = b"".join(adts_frames(1, 40)), b"".join(mpeg_frames(2, 40))
FLV = b"".join(programme(20))


def ts(name: bytes = b"A") -> bytes:
    made = Programme(name)
    return b"".join(made.group() for _ in range(3))


class TestDetection:
    @pytest.mark.parametrize(
        ("data", "format"),
        [(ADTS, Format.ADTS), (MP3, Format.MPEG_AUDIO), (FLV, Format.FLV), (ts(), Format.TS)],
    )
    @pytest.mark.parametrize("size", [1, 7, 188, 1000, 100_000])
    def test_format_is_detected_by_the_first_bytes(self, data: bytes, format: Format, size: int) -> None:
        rig = ParserRig().source(data, range(size, len(data), size))
        assert rig.parser.format is format
        assert rig.parser.media.size > 1000

    @given(skip=st.integers(1, 187), cuts=st.lists(st.integers(1, 3000), max_size=8))
    def test_audio_frames_within_packets_are_not_radio(self, skip: int, cuts: list[int]) -> None:
        """Small frames follow each other within one packet, and the body begins in the middle of a packet."""
        frames = b"".join(adts_frames(3, 40, most=20))
        packets = b"".join(
            b"G\x01\x01\x10" + frames[at : at + 184].ljust(184, b"\0") for at in range(0, len(frames) - 184, 184)
        )
        rig = ParserRig().source((packets * 8)[skip:], cuts)
        assert rig.parser.format is Format.TS

    @pytest.mark.parametrize(("front", "back"), [(b"\x01\x95\x1d\x2e", b""), (b"", bytes(16))])
    @pytest.mark.parametrize("size", [7, 188, 1000, 100_000])
    def test_larger_packets_become_plain_ones(self, front: bytes, back: bytes, size: int) -> None:
        data = ts()
        larger = b"".join(front + data[at : at + 188] + back for at in range(0, len(data), 188)) + front
        rig = ParserRig().source(larger, range(size, len(larger), size))
        assert rig.parser.format is Format.TS
        assert data.startswith(rig.data)
        assert len(rig.data) >= len(ParserRig().source(data).data) > 0

    @pytest.mark.parametrize("data", [b"<html>" * 60_000, bytes(400_000), b"FLW\x01" * 100_000])
    def test_unknown_format_is_dropped(self, data: bytes) -> None:
        rig = ParserRig().source(data, range(1000, len(data), 1000))
        assert rig.parser.format is None
        assert not rig.parser.media.recognised
        assert rig.data == b""
        assert len(rig.parser._undetected) + len(rig.parser._pending) <= 200_000

    def test_format_is_detected_without_a_flush(self) -> None:
        rig = ParserRig().source(MP3 * 30, range(1000, len(MP3) * 30, 1000), flush=False)
        assert rig.parser.format is Format.MPEG_AUDIO
        assert rig.parser.media.size > 100_000


class TestMedia:
    """Bytes and seconds of media; a body is measured from its first byte on."""

    @pytest.mark.parametrize(("data", "seconds"), [(ADTS, 40 * 1024 / 48000), (MP3, 40 * 1152 / 48000), (FLV, 0.8)])
    @pytest.mark.parametrize("size", [50, 1000, 100_000])
    def test_seconds_of_radio_and_flv(self, data: bytes, seconds: float, size: int) -> None:
        rig = ParserRig().source(data, range(size, len(data), size))
        assert rig.parser.media.seconds == pytest.approx(seconds, abs=0.08)
        assert rig.parser.media.size == pytest.approx(len(data), rel=0.2)
        rig.end()
        assert (rig.parser.media.size, rig.parser.media.seconds) == (0, 0)

    @pytest.mark.parametrize("data", [ADTS, FLV])
    def test_replay_of_another_connection_counts(self, data: bytes) -> None:
        """It is media, although players do not get it again."""
        rig = ParserRig().source(data).source(data)
        assert rig.parser.media.size == pytest.approx(len(data), rel=0.2)

    @pytest.mark.parametrize(
        "tags",
        [
            [metadata(), configuration(VIDEO), configuration(AUDIO)],
            [tag(AUDIO, time, b"\xaf") for time in range(40)],
            [tag(VIDEO, time, b"\x27\x01\0\0\0") for time in range(40)],
            [metadata() for _ in range(40)],
        ],
        ids=["configuration", "empty sound", "empty pictures", "metadata"],
    )
    def test_flv_without_pictures_and_sound_is_no_media(self, tags: list[bytes]) -> None:
        rig = ParserRig().source(header() + b"".join(tags))
        assert rig.parser.media.recognised
        assert rig.parser.media.size == 0
        assert rig.data == b""


class TestRadio:
    @given(skip=st.integers(0, 900), missing=st.integers(0, 900), cuts=st.lists(st.integers(1, 9000), max_size=9))
    def test_cuts_make_no_difference(self, skip: int, missing: int, cuts: list[int]) -> None:
        body = MP3[skip : len(MP3) - missing]
        out = ParserRig().source(body, cuts).end()
        assert out == ParserRig().source(body).end()
        assert out in MP3
        assert len(out) > len(body) - 2 * 576

    def test_every_chunk_is_an_access_point(self) -> None:
        rig = ParserRig().source(ADTS, range(1000, len(ADTS), 1000))
        assert len(rig.chunks) > 3
        for chunk in rig.chunks:
            assert (chunk.access, chunk.psi, chunk.data[:2]) == (True, b"", b"\xff\xf1")
        assert rig.parser.preamble == b""

    def test_next_source_begins_at_a_frame(self) -> None:
        other = b"".join(adts_frames(9, 40))
        rig = ParserRig().source(ADTS[:-50]).source(other[33:], range(500, 6000, 500)).wait(MAX_WAIT_SECONDS)
        assert rig.kinds == [SpliceKind.PLAIN, SpliceKind.FRAME]
        frames = adts_frames(1, 40)[:-1] + adts_frames(9, 40)[1:]
        assert rig.end() == b"".join(frames)

    @given(again=st.integers(0, 25), cuts=st.lists(st.integers(1, 20_000), max_size=12))
    def test_replayed_frames_are_dropped(self, again: int, cuts: list[int]) -> None:
        frames = mpeg_frames(4, 80)
        first = b"".join(frames[:40])
        replayed = b"".join(frames[again:])
        rig = ParserRig().source(first + frames[40][:99]).source(replayed, cuts).wait(MAX_WAIT_SECONDS)
        assert rig.kinds == [SpliceKind.PLAIN, SpliceKind.OVERLAP]
        assert rig.end() == b"".join(frames)

    def test_new_source_is_held_until_a_limit(self) -> None:
        rig = ParserRig().source(ADTS).source(b"".join(adts_frames(9, 10)))
        size = len(rig.data)
        rig.wait(MAX_WAIT_SECONDS / 2)
        assert len(rig.data) == size
        rig.wait(MAX_WAIT_SECONDS)
        assert len(rig.data) > size
        frames = mpeg_frames(5, 4000)
        rig = ParserRig().source(MP3).source(b"".join(frames))
        assert len(b"".join(frames)) > MAX_HELD_BYTES
        assert rig.kinds[-1] is SpliceKind.FRAME
        assert rig.end() == MP3 + b"".join(frames)

    def test_short_new_source_is_sent_at_its_end(self) -> None:
        rig = ParserRig().source(ADTS).source(b"".join(adts_frames(9, 10)))
        assert rig.end() == ADTS + b"".join(adts_frames(9, 10))

    def test_another_layer_is_a_codec_change(self) -> None:
        rig = ParserRig().source(MP3).source(b"".join(mpeg_frames(3, 20, layer=2)))
        assert rig.kinds == [SpliceKind.PLAIN, SpliceKind.CODEC_CHANGE]
        assert rig.changed[-1]
        assert rig.end().startswith(MP3)


class TestFlv:
    @given(missing=st.integers(0, 900), cuts=st.lists(st.integers(1, 9000), max_size=9))
    def test_cuts_make_no_difference(self, missing: int, cuts: list[int]) -> None:
        body = FLV[: len(FLV) - missing]
        second = b"".join(programme(20, b"B", origin=100_000))
        out = ParserRig().source(body, cuts).source(second, cuts).end()
        assert out == ParserRig().source(body).source(second).end()

    def test_chunk_begins_at_each_key_frame_with_decoder_configuration(self) -> None:
        rig = ParserRig().source(FLV, range(1000, len(FLV), 1000))
        points = [chunk for chunk in rig.chunks if chunk.access]
        assert len(points) == 4
        assert rig.parser.preamble == header()
        for chunk in points:
            first = FlvReader().feed(header() + chunk.data)[0]
            assert first.use is FlvTagUse.KEY
            tags = FlvReader().feed(header() + chunk.psi)
            assert [each.use for each in tags] == [FlvTagUse.METADATA, FlvTagUse.CONFIGURATION, FlvTagUse.CONFIGURATION]
            assert [each.time for each in tags] == [0, first.time, first.time]
        assert rig.kinds == [SpliceKind.PLAIN]

    def test_audio_only_chunks_are_access_points(self) -> None:
        opening = header(4) + configuration(AUDIO)
        rig = ParserRig().source(opening + b"".join(sound(n * 20) for n in range(100)), range(0, 4000, 400))
        assert all(chunk.access for chunk in rig.chunks[1:])
        assert len(rig.chunks) > 5
        assert configuration(AUDIO)[11:] in rig.chunks[-1].psi

    @given(
        missing=st.integers(0, 3000),
        origin=st.integers(0, 2**32 - 1),
        other=st.integers(0, 2**32 - 1),
        cuts=st.lists(st.integers(1, 9000), max_size=9),
    )
    def test_timeline_continues_over_sources(self, missing: int, origin: int, other: int, cuts: list[int]) -> None:
        second = programme(20, b"B", origin=other)
        del second[4:7]  # the key frame is missing
        first = b"".join(programme(30, b"A", origin=origin))
        rig = ParserRig().source(first[: len(first) - missing], cuts).source(b"".join(second), cuts)
        assert rig.kinds == [SpliceKind.PLAIN, SpliceKind.SHIFTED]
        tags = rig.tags()
        times = [each.time for each in tags if each.use is not FlvTagUse.CONFIGURATION]
        steps = {(later - earlier) % 2**32 for earlier, later in pairwise(times)}
        assert steps <= {0, 20, 40}
        pictures = [each for each in tags if each.kind == VIDEO and each.use is not FlvTagUse.CONFIGURATION]
        assert {(later.time - earlier.time) % 2**32 for earlier, later in pairwise(pictures)} == {40} or missing
        seam = next(number for number, each in enumerate(pictures) if b" B " in each.data)
        assert pictures[seam].use is FlvTagUse.KEY
        assert [each.use for each in tags].count(FlvTagUse.CONFIGURATION) == 2

    def test_changed_configuration_is_sent_again(self) -> None:
        second = b"".join(programme(20, b"B", config=b"other"))
        rig = ParserRig().source(FLV).source(second)
        assert rig.kinds == [SpliceKind.PLAIN, SpliceKind.SHIFTED]
        configuration_tags = [each for each in rig.tags() if each.use is FlvTagUse.CONFIGURATION]
        assert [each.data[16:21] for each in configuration_tags if each.kind == VIDEO] == [b"conf\0", b"other"]
        assert all(b"other" in chunk.psi for chunk in rig.chunks[-2:])

    @pytest.mark.parametrize(
        ("second", "word"),
        [
            (b"".join(programme(20, b"B", codec=HEVC)), "video"),
            (header() + configuration(AUDIO) + b"".join(sound(n * 20, codec=2) for n in range(50)), "audio"),
        ],
    )
    def test_other_codec_is_reported(self, second: bytes, word: str) -> None:
        rig = ParserRig().source(FLV).source(second)
        rig.wait(FLV_WAIT_SECONDS).feed(second[-100:] if word == "video" else sound(2000, codec=2))
        assert rig.kinds == [SpliceKind.PLAIN, SpliceKind.CODEC_CHANGE]
        assert word in rig.changed[-1]

    def test_codec_change_within_a_source_is_reported(self) -> None:
        rig = ParserRig().source(FLV).feed(configuration(VIDEO, codec=HEVC) + picture(900, key=True, codec=HEVC))
        assert rig.kinds == [SpliceKind.PLAIN, SpliceKind.CODEC_CHANGE]

    def test_source_without_key_frame_begins_after_the_timeout(self) -> None:
        """After the timeout the source begins with any picture."""
        rig = ParserRig().source(FLV).source(header() + b"".join(picture(n * 40) for n in range(9)))
        assert rig.kinds == [SpliceKind.PLAIN]
        rig.wait(FLV_WAIT_SECONDS).feed(picture(400))
        assert rig.kinds == [SpliceKind.PLAIN, SpliceKind.SHIFTED]

    def test_first_picture_is_presented_after_the_last_one(self) -> None:
        """The last picture sent is presented late, because the pictures to be shown before it never arrived."""
        first = header() + picture(0, key=True, delay=80) + picture(40, delay=160)
        rig = ParserRig().source(first).source(header() + picture(7000, b"B", key=True, delay=80))
        last = rig.tags()[-1]
        assert last.time + last.delay == 40 + 160 + 40

    def test_sequence_end_and_later_metadata_are_dropped(self) -> None:
        end = tag(VIDEO, 900, b"\x17\x02\0\0\0")
        rig = ParserRig().source(FLV).feed(end + metadata(b"x") + picture(1000))
        uses = {each.use for each in rig.tags()}
        assert FlvTagUse.END not in uses
        assert FlvTagUse.METADATA not in uses
        assert rig.tags()[-1].time == 1000


BODIES = {"ts": ts(), "adts": ADTS, "mp3": MP3, "flv": FLV}


@pytest.mark.parametrize("first", BODIES)
@pytest.mark.parametrize("second", BODIES)
def test_another_format_begins_a_new_stream(first: str, second: str) -> None:
    rig = ParserRig().source(BODIES[first])
    rig.end()
    size_before = len(rig.data)
    rig.source(BODIES[second]).wait(MAX_WAIT_SECONDS)
    rig.end()
    assert len(rig.data) > size_before
    if first == second:
        assert SpliceKind.FORMAT_CHANGE not in rig.kinds
    else:
        assert rig.kinds[1] is SpliceKind.FORMAT_CHANGE
        alone = ParserRig().source(BODIES[second])
        assert rig.data[size_before:] == alone.end()


def test_unknown_body_between_sources_has_no_effect() -> None:
    rig = ParserRig().source(ADTS).source(b"<html>" * 100).source(b"".join(adts_frames(9, 20))).wait(MAX_WAIT_SECONDS)
    assert rig.parser.format is Format.ADTS
    assert rig.kinds == [SpliceKind.PLAIN, SpliceKind.FRAME]
