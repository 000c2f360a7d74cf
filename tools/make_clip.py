"""Make the clip that ``m3uproxy.provider`` plays in a loop.

Run it as ``python tools/make_clip.py m3uproxy/provider/clip.ts``; it needs PyAV (in the ``test`` extra).

The length is chosen so that the clip joins onto itself without a seam. A video frame at 25 Hz lasts 15/375 s and an
AAC frame of 1024 samples at 48 kHz lasts 8/375 s; both come out even every 0.32 s, and together with groups of
pictures of one second every 8 s: 200 pictures, 375 audio frames. The sound repeats every 8 s too and is encoded
twice: the second round, in which the encoder's overlap with the frame before is that of a running tone, is kept.
"""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av

WIDTH, HEIGHT, PICTURE_RATE = 640, 360, 25
SECONDS = 8
PICTURES = SECONDS * PICTURE_RATE
SAMPLE_RATE, FRAME_SAMPLES = 48_000, 1024
AUDIO_FRAMES = SECONDS * SAMPLE_RATE // FRAME_SAMPLES

# Seven segments, clockwise from the top, the middle one last, for each digit.
SEGMENTS = "1111110 0110000 1101101 1111001 0110011 1011011 1011111 1110000 1111111 1111011".split()
# x, y, width, height of each segment in a cell of 5 x 9.
STROKES = ((1, 0, 3, 1), (4, 1, 1, 3), (4, 5, 1, 3), (1, 8, 3, 1), (0, 5, 1, 3), (0, 1, 1, 3), (1, 4, 3, 1))
# Luma, Cb and Cr of the colour bars.
BARS = ((180, 128, 128), (162, 44, 142), (131, 156, 44), (112, 72, 58), (84, 184, 198), (65, 100, 212))


def fill(plane: bytearray, stride: int, box: tuple[int, int, int, int], value: int) -> None:
    """Fill a rectangle (x, y, width, height) of a plane."""
    left, top, width, height = box
    row = bytes((value,)) * width
    for line in range(top, top + height):
        plane[line * stride + left : line * stride + left + width] = row


def draw_number(luma: bytearray, text: str, left: int, top: int, scale: int) -> None:
    """Draw digits in seven segments, white."""
    for column, digit in enumerate(text):
        for lit, (x, y, width, height) in zip(SEGMENTS[int(digit)], STROKES, strict=True):
            if lit == "1":
                at = left + (column * 7 + x) * scale
                fill(luma, WIDTH, (at, top + y * scale, width * scale, height * scale), 235)


def grain(index: int) -> bytes:
    """Return a row of texture that differs in each picture, so that the clip has a realistic bit rate."""
    state, row = index * 7919 + 1, bytearray()
    for _ in range(WIDTH * 4):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        row.append(96 + (state >> 16) % 48)
    return bytes(row)


def picture(index: int) -> tuple[bytes, bytes, bytes]:
    """Return the planes of a picture: colour bars, a moving block, a strip of texture, the number of the picture."""
    luma = bytearray(WIDTH * HEIGHT)
    chroma = [bytearray(WIDTH * HEIGHT // 4), bytearray(WIDTH * HEIGHT // 4)]
    bar = WIDTH // len(BARS) & ~1
    for column, (y, cb, cr) in enumerate(BARS):
        box = (column * bar, 0, WIDTH - column * bar, HEIGHT)
        fill(luma, WIDTH, box, y)
        for plane, value in zip(chroma, (cb, cr), strict=True):
            fill(plane, WIDTH // 2, (box[0] // 2, 0, box[2] // 2, HEIGHT // 2), value)
    rows = grain(index)
    luma[300 * WIDTH : 320 * WIDTH] = (rows * 5)[: 20 * WIDTH]
    sweep = round((WIDTH - 48) * (0.5 - 0.5 * math.cos(2 * math.pi * index / PICTURES)))
    for left, top, width, height in ((sweep & ~1, 240, 48, 48), (40, 60, 400, 130)):
        for plane in chroma:
            fill(plane, WIDTH // 2, (left // 2, top // 2, width // 2, height // 2), 128)
        fill(luma, WIDTH, (left, top, width, height), 16)
    draw_number(luma, f"{index // PICTURE_RATE:02d}{index % PICTURE_RATE:02d}", 60, 75, 11)
    return bytes(luma), bytes(chroma[0]), bytes(chroma[1])


def tone(first: int) -> bytes:
    """Return a frame of planar stereo float samples: 440 Hz left, 660 Hz right, a short beep on each second."""
    sides = []
    for pitch in (440, 660):
        samples = []
        for n in range(first, first + FRAME_SAMPLES):
            t = n / SAMPLE_RATE
            beep = 0.25 * math.sin(2 * math.pi * 1000 * t) if t % 1 < 0.1 else 0.0
            samples.append(0.2 * math.sin(2 * math.pi * pitch * t) + beep)
        sides.append(struct.pack(f"<{FRAME_SAMPLES}f", *samples))
    return b"".join(sides)


def video_packets(stream: Any) -> Iterator[Any]:
    """Encode the pictures: groups of 25, closed, with B pictures."""
    for index in range(PICTURES):
        frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
        for plane, pixels in zip(frame.planes, picture(index), strict=True):
            width = plane.width
            rows = [pixels[at : at + width] for at in range(0, len(pixels), width)]
            plane.update(b"".join(row.ljust(plane.line_size, b"\0") for row in rows))
        frame.pts, frame.time_base = index, Fraction(1, PICTURE_RATE)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def audio_packets(stream: Any) -> Iterator[Any]:
    """Encode the tone twice; yield the second round with time stamps from 0 on."""
    offset = AUDIO_FRAMES * FRAME_SAMPLES
    for index in range(2 * AUDIO_FRAMES + 3):
        samples = tone(index * FRAME_SAMPLES)
        frame = av.AudioFrame(format="fltp", layout="stereo", samples=FRAME_SAMPLES)
        half = len(samples) // 2
        frame.planes[0].update(samples[:half])
        frame.planes[1].update(samples[half:])
        frame.sample_rate, frame.pts = SAMPLE_RATE, index * FRAME_SAMPLES
        frame.time_base = Fraction(1, SAMPLE_RATE)
        for packet in stream.encode(frame):
            if offset <= packet.pts < 2 * offset:
                packet.pts -= offset
                packet.dts = packet.pts
                yield packet


def add_streams(container: Any) -> tuple[Any, Any]:
    """Declare the two elementary streams."""
    video = container.add_stream("libx264", rate=PICTURE_RATE)
    video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    video.time_base = Fraction(1, PICTURE_RATE)
    video.options = {
        "preset": "slow",
        "crf": "27",
        "maxrate": "450k",
        "bufsize": "450k",
        "x264-params": "keyint=25:min-keyint=25:scenecut=0:open-gop=0:bframes=2:b-adapt=0:threads=1",
    }
    audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="stereo")
    audio.bit_rate = 64_000
    return video, audio


def main(path: str) -> None:
    """Write the clip to ``path``."""
    options = {"pcr_period": "40", "pes_payload_size": "600", "max_delay": "700000", "fflags": "+bitexact"}
    with av.open(path, "w", format="mpegts", options=options) as container:
        video, audio = add_streams(container)
        packets = [*video_packets(video), *audio_packets(audio)]
        packets.sort(key=lambda packet: packet.dts * packet.time_base)
        assert len(packets) == PICTURES + AUDIO_FRAMES, len(packets)
        for packet in packets:
            container.mux(packet)


if __name__ == "__main__":
    main(sys.argv[1])
