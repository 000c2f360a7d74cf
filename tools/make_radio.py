"""Make the radio and FLV clips that ``m3uproxy.provider`` plays in a loop.

Run it as ``python tools/make_radio.py m3uproxy/provider``; it needs PyAV (in the ``test`` extra).

Each clip is a whole number of seconds and of audio frames at 48 kHz: 8 s are 375 frames of AAC, 6 s are 250 frames of
MP3. The sound is encoded twice, and the second round is kept, so that the end joins onto the start. The pitch rises
and falls once, so that all frames differ.
MP3 is made without a bit reservoir. With a reservoir, the first frame would need bytes of the frame before it, which
is a different one when the clip starts again.
"""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

RATE = 48_000
WIDTH, HEIGHT, PICTURES = 160, 90, 10
AAC_SECONDS, MP3_SECONDS = 8, 6


def tone(first: int, count: int, seconds: int) -> bytes:
    """Return mono float samples: the pitch rises and falls once in ``seconds``, with a short beep on each second."""
    samples = []
    for n in range(first, first + count):
        t = n / RATE
        beep = 0.25 * math.sin(2 * math.pi * 1000 * t) if t % 1 < 0.1 else 0.0
        bend = 100 * math.sin(2 * math.pi * t / seconds)
        samples.append(0.2 * math.sin(2 * math.pi * 440 * t + bend) + beep)
    return struct.pack(f"<{count}f", *samples)


def sound(stream: Any, seconds: int, size: int) -> Iterator[Any]:
    """Encode the tone twice; yield the second round with time stamps from 0 on."""
    whole = seconds * RATE
    for number in range(2 * whole // size + 4):
        frame = av.AudioFrame(format="fltp", layout="mono", samples=size)
        frame.planes[0].update(tone(number * size, size, seconds))
        frame.sample_rate, frame.pts, frame.time_base = RATE, number * size, Fraction(1, RATE)
        for packet in stream.encode(frame):
            if whole <= packet.pts < 2 * whole:
                packet.pts -= whole
                packet.dts = packet.pts
                yield packet


def pictures(stream: Any) -> Iterator[Any]:
    """Encode a bar that moves from left to right, in closed groups of a second."""
    for number in range(AAC_SECONDS * PICTURES):
        frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
        edge = number * WIDTH // (AAC_SECONDS * PICTURES)
        for plane, (left, right) in zip(frame.planes, ((200, 40), (90, 160), (120, 140)), strict=True):
            lit = edge * plane.width // WIDTH
            row = bytes([left]) * lit + bytes([right]) * (plane.width - lit)
            plane.update(row.ljust(plane.line_size, b"\0") * plane.height)
        frame.pts, frame.time_base = number, Fraction(1, PICTURES)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def add_aac(container: Any) -> Any:
    """Add an AAC track to a container."""
    track = container.add_stream("aac", rate=RATE, layout="mono")
    track.bit_rate = 32_000
    return track


def write_aac(path: Path) -> None:
    """Write AAC in ADTS."""
    with av.open(str(path), "w", format="adts") as container:
        track = add_aac(container)
        for packet in sound(track, AAC_SECONDS, 1024):
            container.mux(packet)


def write_mp3(path: Path) -> None:
    """Write MP3 without tags."""
    options = {"write_xing": "0", "id3v2_version": "0", "write_id3v1": "0"}
    with av.open(str(path), "w", format="mp3", options=options) as container:
        track = container.add_stream("libmp3lame", rate=RATE, layout="mono")
        track.bit_rate = 64_000
        track.options = {"reservoir": "0"}
        for packet in sound(track, MP3_SECONDS, 1152):
            container.mux(packet)


def write_flv(path: Path) -> None:
    """Write H.264 and AAC in FLV."""
    options = {"flvflags": "no_duration_filesize", "fflags": "+bitexact"}
    with av.open(str(path), "w", format="flv", options=options) as container:
        video = container.add_stream("libx264", rate=PICTURES)
        video.width, video.height, video.pix_fmt, video.time_base = WIDTH, HEIGHT, "yuv420p", Fraction(1, PICTURES)
        video.options = {
            "preset": "slow",
            "crf": "30",
            "x264-params": f"keyint={PICTURES}:min-keyint={PICTURES}:scenecut=0:open-gop=0:bframes=2:threads=1",
        }
        audio = add_aac(container)
        packets = [*pictures(video), *sound(audio, AAC_SECONDS, 1024)]
        for packet in sorted(packets, key=lambda each: each.dts * each.time_base):
            container.mux(packet)


def main(folder: Path) -> None:
    """Write the three clips."""
    write_aac(folder / "radio.aac")
    write_mp3(folder / "radio.mp3")
    write_flv(folder / "radio.flv")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
