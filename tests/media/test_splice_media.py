"""Spliced sources with a real demuxer and real decoders.

The clips are made with real encoders. A stream that breaks off at any byte continues with the same programme replayed
(unchanged, or multiplexed again), or with another encode on other PIDs and another clock.
"""

from __future__ import annotations

import hashlib
import io
import math
import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs
import av
import pytest
from decoding import decode

from m3uproxy.core.mpegts.align import Aligner
from m3uproxy.core.splice.plan import SpliceKind
from m3uproxy.core.splice.splicer import Splicer, SpliceReport

SIZE = 188
SECONDS, RATE = 7, 25
PICTURE = 3600

pytestmark = pytest.mark.media

X264 = "keyint=25:min-keyint=25:scenecut=0:bframes=2:threads=1:log-level=none"
X265 = "keyint=25:min-keyint=25:bframes=2:pools=none:frame-threads=1:log-level=none"
RECIPES: dict[str, tuple[str | None, str, dict[str, str]]] = {
    "h264": ("libx264", "aac", {"x264-params": X264}),
    "h264 open": ("libx264", "aac", {"x264-params": X264 + ":open-gop=1"}),
    "hevc": ("libx265", "ac3", {"x265-params": X265}),
    "mpeg2": ("mpeg2video", "mp2", {"g": "12", "bf": "2"}),
    "audio": (None, "aac", {}),
}
FRAME = {"aac": 1920, "ac3": 2880, "mp2": 2160}


def _pictures(seed: int, width: int, height: int) -> list[av.VideoFrame]:
    noise = random.Random(seed)
    rows = noise.randbytes(width * 2)
    made = []
    for number in range(SECONDS * RATE):
        frame = av.VideoFrame(width, height, "yuv420p")
        for plane in frame.planes:
            line = plane.line_size
            lines = (rows[(n + number * 3) % width :][:line].ljust(line, b"\x70") for n in range(plane.height))
            plane.update(b"".join(lines))
        frame.pts = number
        made.append(frame)
    return made


def _tones(seed: int, samples: int) -> list[av.AudioFrame]:
    made = []
    for number in range(SECONDS * 48000 // samples):
        frame = av.AudioFrame(format="s16", layout="mono", samples=samples)
        frame.sample_rate = 48000
        frame.pts = number * samples
        step = 0.05 + seed * 0.003 + number * 0.0002
        tone = (int(9000 * math.sin((number * samples + n) * step)) for n in range(samples))
        frame.planes[0].update(b"".join(sample.to_bytes(2, "little", signed=True) for sample in tone))
        made.append(frame)
    return made


def encode(name: str, seed: int, size: tuple[int, int] = (160, 96)) -> bytes:
    video, audio, options = RECIPES[name]
    target = io.BytesIO()
    with av.open(target, "w", format="mpegts", options={"pat_period": "0.3"}) as out:
        made: list[tuple[float, Any]] = []
        if video:
            stream: Any = out.add_stream(video, rate=RATE, options=options)
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            stream.bit_rate = 300_000
            packets = [p for frame in [*_pictures(seed, *size), None] for p in stream.encode(frame)]
            made += [(float((p.dts or 0) * p.time_base), p) for p in packets]
        stream = out.add_stream(audio, rate=48000, layout="mono")
        packets = [p for frame in [*_tones(seed, FRAME[audio] * 48 // 90), None] for p in stream.encode(frame)]
        made += [(float((p.dts or 0) * p.time_base), p) for p in packets]
        for _, packet in sorted(made, key=lambda each: each[0]):
            out.mux(packet)
    return target.getvalue()


def remux(data: bytes, shift_seconds: float = 0.0, **options: str) -> bytes:
    """Return the same elementary streams, multiplexed again."""
    target = io.BytesIO()
    with (
        av.open(io.BytesIO(data), format="mpegts") as source,
        av.open(target, "w", format="mpegts", options=options) as out,
    ):
        streams = {each.index: out.add_stream_from_template(each) for each in source.streams}
        for packet in source.demux():
            if packet.dts is None or packet.pts is None:
                continue
            packet.pts += round(shift_seconds / packet.time_base)
            packet.dts += round(shift_seconds / packet.time_base)
            packet.stream = streams[packet.stream.index]
            out.mux(packet)
    return target.getvalue()


AWAY = {"mpegts_start_pid": "0x300", "mpegts_pmt_start_pid": "0x500", "mpegts_service_id": "7"}
REPLAYS: dict[str, Callable[[bytes], bytes]] = {
    "as it was": lambda data: data,
    "restamped": lambda data: remux(data, 333.0, pat_period="0.1"),
    "other units of sound": lambda data: remux(data, 12.0, pes_payload_size="1", **AWAY),
    "padded": lambda data: remux(data, 0.0, muxrate="1500000", pes_payload_size="400"),
    "wrapped": lambda data: remux(data, 95_442.0, pat_period="0.2", **AWAY),
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], bytes]:
    cache: dict[tuple[str, int], bytes] = {}

    def get(name: str, seed: int) -> bytes:
        if (name, seed) not in cache:
            cache[name, seed] = encode(name, seed)
        return cache[name, seed]

    return get


@attrs.define
class SplicedStream:
    data: bytes
    mark: int
    reports: list[SpliceReport]

    def keep(self, path: Path) -> None:
        path.write_bytes(self.data)


def splice(*pieces: bytes, seed: int = 0, announce_codecs: bool = False, rate: float = 1e6) -> SplicedStream:
    """Splice bodies one after the other, read in pieces of any size."""
    sizes = random.Random(seed)
    out, reports = bytearray(), []
    splicer = Splicer(lambda: bytes(out), reports.append, announce_codecs=announce_codecs)
    now, mark = 0.0, 0
    for number, body in enumerate(pieces):
        if number:
            out += splicer.next_source(now)
            mark = len(out)
        aligner, at = Aligner(), 0
        while at < len(body):
            size = sizes.randrange(1, 40_000)
            out += splicer.push(aligner.feed(body[at : at + size]), now)
            at, now = at + size, now + size / rate
    out += splicer.flush(now)
    return SplicedStream(bytes(out), mark, reports)


def frames(data: bytes) -> dict[str, list[str]]:
    """Return a digest of every picture and audio frame from the decoders."""
    found: dict[str, list[str]] = {"video": [], "audio": []}
    with av.open(io.BytesIO(data), format="mpegts") as source:
        for stream in source.streams:
            stream.codec_context.thread_count = 1
        for packet in source.demux():
            for frame in packet.decode():
                planes = b"".join(bytes(plane) for plane in frame.planes)
                found[packet.stream.type].append(hashlib.md5(planes).hexdigest())
    return found


def assert_increasing(times: list[int]) -> None:
    assert all(later > earlier for earlier, later in pairwise(times))


def random_cut(data: bytes, seed: int, low: float = 0.4, high: float = 0.8) -> int:
    return random.Random(seed).randrange(int(len(data) * low), int(len(data) * high))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("how", REPLAYS)
@pytest.mark.parametrize("name", RECIPES)
def test_replay_is_spliced_exactly(clips: Callable[[str, int], bytes], name: str, how: str, seed: int) -> None:
    """Every picture and audio frame of the original arrives once, without a message."""
    data = clips(name, 1)
    again = REPLAYS[how](data)
    cut = random_cut(data, seed)
    back = random.Random(seed).uniform(0.2, 0.35)
    spliced = splice(data[:cut], again[int(len(again) * (cut / len(data) - back)) :], seed=seed)
    assert [report.kind for report in spliced.reports] == [SpliceKind.OVERLAP]
    assert frames(spliced.data) == frames(data)
    seen = decode(spliced.data)
    assert seen.complaints == []
    assert_increasing(seen.pictures)
    assert_increasing(seen.sounds)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", [name for name in RECIPES if name != "h264 open"])
def test_another_encode_continues(clips: Callable[[str, int], bytes], name: str, seed: int) -> None:
    """Pictures follow each other without a gap, and audio nearly."""
    data = clips(name, 1)
    other = remux(clips(name, 2), 40_000.0, **AWAY)
    spliced = splice(data[: random_cut(data, seed)], other[random_cut(other, seed, 0.0, 0.4) :], seed=seed)
    assert [report.kind for report in spliced.reports] == [SpliceKind.SHIFTED]
    seen = decode(spliced.data)
    assert seen.complaints == []
    assert_increasing(seen.pictures)
    assert_increasing(seen.sounds)
    before = decode(spliced.data[: spliced.mark])
    step = FRAME[RECIPES[name][1]]
    gaps = [later - earlier for earlier, later in pairwise(seen.sounds) if later - earlier > step + 1]
    assert len(gaps) <= 1
    assert sum(gaps) < 2 * step
    if name != "audio":
        highest = max(before.pictures)
        after = [time for time in seen.pictures if time > highest]
        # Pictures lost in the last group stay lost; the new pictures follow the last one.
        assert min(after) - highest == PICTURE
        assert all(later - earlier == PICTURE for earlier, later in pairwise(after))


def test_open_groups_without_idr(clips: Callable[[str, int], bytes]) -> None:
    """Leading pictures are dropped and time continues. A running decoder may still complain."""
    data, other = clips("h264 open", 1), remux(clips("h264 open", 2), 40_000.0, **AWAY)
    first = other[len(other) // 4 :]
    spliced = splice(data[: len(data) // 2], first, rate=len(first) / 5)
    assert [report.kind for report in spliced.reports] == [SpliceKind.SHIFTED]
    with av.open(io.BytesIO(spliced.data), format="mpegts") as source:
        timestamps = [packet.dts for packet in source.demux(video=0) if packet.dts is not None]
    assert_increasing(timestamps)


def test_other_picture_size_continues(clips: Callable[[str, int], bytes]) -> None:
    data = clips("h264", 1)
    other = remux(encode("h264", 3, (320, 192)), 40_000.0, **AWAY)
    spliced = splice(data[: len(data) // 2], other)
    seen = decode(spliced.data)
    assert seen.complaints == []
    assert_increasing(seen.pictures)


def test_other_codec_passes_and_is_reported(clips: Callable[[str, int], bytes]) -> None:
    data, other = clips("h264", 1), clips("hevc", 1)
    spliced = splice(data[: len(data) // 2], other)
    assert [report.kind for report in spliced.reports] == [SpliceKind.CODEC_CHANGE]
    assert spliced.reports[0].changed == ("H.264 to HEVC", "AAC to AC-3")
    assert frames(spliced.data[spliced.mark :]) == frames(other)


def test_other_codec_is_announced_on_the_known_pids(clips: Callable[[str, int], bytes]) -> None:
    """A player that reads the new tables gets a stream that it can decode."""
    data, other = clips("h264", 1), remux(clips("hevc", 1), 40_000.0)
    spliced = splice(data[: len(data) // 2], other, announce_codecs=True)
    seen = decode(spliced.data[spliced.mark :])
    assert seen.complaints == []
    assert len(seen.pictures) == SECONDS * RATE
    assert min(seen.pictures) > max(decode(spliced.data[: spliced.mark]).pictures)


def test_repeated_replays_are_spliced_exactly(clips: Callable[[str, int], bytes]) -> None:
    """The provider closes within a packet and replays the last seconds each time."""
    data = clips("h264", 1)
    ends = [int(len(data) * part) + 77 for part in (0.35, 0.5, 0.65, 0.8)]
    begins = [0] + [int(end - len(data) * 0.25) for end in ends]
    spliced = splice(*[data[begin:end] for begin, end in zip(begins, [*ends, len(data)], strict=True)])
    assert {report.kind for report in spliced.reports} == {SpliceKind.OVERLAP}
    assert len(spliced.reports) == 4
    assert frames(spliced.data) == frames(data)
    assert decode(spliced.data).complaints == []
