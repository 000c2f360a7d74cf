"""Transport streams from real encoders and a real multiplexer."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import attrs
import av
import pytest

SIZE = 188
SECONDS, RATE, WIDTH, HEIGHT = 4, 25, 160, 96


@attrs.frozen
class EncodedClip:
    """A transport stream and the offsets of its key frames, as an independent demuxer reports them."""

    data: bytes
    keyframes: tuple[int, ...]


def _pictures() -> list[av.VideoFrame]:
    noise = random.Random(7)
    luma = [noise.randbytes(WIDTH * HEIGHT) for _ in range(3)]
    frames = []
    for number in range(SECONDS * RATE):
        frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
        shift = number * 3 % WIDTH
        for plane in frame.planes:
            source = luma[number // 40 % 3][shift:] + luma[number // 40 % 3][:shift]
            plane.update(source[: plane.buffer_size].ljust(plane.buffer_size, b"\x80"))
        frame.pts = number
        frames.append(frame)
    return frames


def _tones() -> list[av.AudioFrame]:
    frames = []
    for number in range(SECONDS * 48000 // 1024):
        frame = av.AudioFrame(format="s16", layout="mono", samples=1024)
        frame.sample_rate = 48000
        frame.pts = number * 1024
        tone = (int(9000 * math.sin((number * 1024 + n) * 0.06)) for n in range(1024))
        frame.planes[0].update(b"".join(sample.to_bytes(2, "little", signed=True) for sample in tone))
        frames.append(frame)
    return frames


def _encode(path: Path, video: str | None, audio: str | None, options: dict[str, str]) -> None:
    with av.open(str(path), "w", format="mpegts", options={"pat_period": "0.4"}) as out:
        made: list[tuple[float, Any]] = []
        if video:
            stream: Any = out.add_stream(video, rate=RATE, options=options)
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            stream.bit_rate = 400_000
            packets = [p for frame in [*_pictures(), None] for p in stream.encode(frame)]
            made += [(float((p.dts or 0) * p.time_base), p) for p in packets]
        if audio:
            stream = out.add_stream(audio, rate=48000, layout="mono")
            packets = [p for frame in [*_tones(), None] for p in stream.encode(frame)]
            made += [(float((p.dts or 0) * p.time_base), p) for p in packets]
        for _, packet in sorted(made, key=lambda each: each[0]):
            out.mux(packet)


def _keyframes(path: Path) -> tuple[int, ...]:
    with av.open(str(path)) as source:
        first = (source.streams.video or source.streams.audio)[0]
        return tuple(p.pos for p in source.demux(first) if p.is_keyframe and p.pos is not None and p.size)


RECIPES: dict[str, tuple[str | None, str | None, dict[str, str]]] = {
    "h264": ("libx264", "aac", {"x264-params": "keyint=20:min-keyint=20:scenecut=0:bframes=2:log-level=none"}),
    "h264 open": (
        "libx264",
        "aac",
        {"x264-params": "keyint=20:min-keyint=20:scenecut=0:bframes=2:open-gop=1:log-level=none"},
    ),
    "hevc": ("libx265", "ac3", {"x265-params": "keyint=20:min-keyint=20:open-gop=0:log-level=none"}),
    "mpeg2": ("mpeg2video", "mp2", {"g": "12", "bf": "2"}),
    "audio": (None, "aac", {}),
}


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, EncodedClip]:
    """Encode one clip of four seconds for each recipe."""
    made = {}
    for name, recipe in RECIPES.items():
        path = tmp_path_factory.mktemp("clips") / "clip.ts"
        _encode(path, *recipe)
        made[name] = EncodedClip(path.read_bytes(), _keyframes(path))
    return made
