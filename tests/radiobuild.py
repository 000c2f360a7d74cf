"""Hand-made radio and FLV in which all units differ. This module shares no code with the package under test."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise

AUDIO, VIDEO, SCRIPT = 8, 9, 18
AVC, HEVC, AAC = 7, 12, 10


def adts_frames(seed: int, count: int, most: int = 300, channels: int = 2) -> list[bytes]:
    """Return frames of AAC LC, 48 kHz."""
    noise = random.Random(seed)
    return [_adts(_number(n) + noise.randbytes(noise.randrange(4, most)), channels) for n in range(count)]


def _adts(data: bytes, channels: int) -> bytes:
    size = len(data) + 7
    head = [0xFF, 0xF1, 0x4C, channels << 6 | size >> 11, size >> 3 & 0xFF, (size & 7) << 5 | 0x1F, 0xFC]
    return bytes(head) + data


def mpeg_frames(seed: int, count: int, layer: int = 3) -> list[bytes]:
    """Return frames of MPEG-1 audio at 48 kHz, of several bitrates."""
    noise = random.Random(seed)
    kbits = {3: {5: 64, 9: 128, 11: 192}, 2: {4: 64, 8: 128, 10: 192}}[layer]
    frames = []
    for number in range(count):
        index = noise.choice(list(kbits))
        head = bytes([0xFF, 0xF1 | (4 - layer) << 1 | 0x08, index << 4 | 1 << 2, 0xC4])
        size = 144 * kbits[index] * 1000 // 48_000
        frames.append(head + _number(number) + noise.randbytes(size - 8))
    return frames


def _number(number: int) -> bytes:
    return number.to_bytes(4, "big")


def tag(kind: int, time: int, body: bytes) -> bytes:
    """Return a tag with the length behind it."""
    head = bytes([kind]) + len(body).to_bytes(3, "big") + (time & 0xFFFFFF).to_bytes(3, "big")
    return head + bytes([time >> 24 & 0xFF, 0, 0, 0]) + body + (11 + len(body)).to_bytes(4, "big")


def header(flags: int = 5) -> bytes:
    return b"FLV\x01" + bytes([flags]) + b"\0\0\0\x09\0\0\0\0"


def metadata(text: bytes = b"") -> bytes:
    return tag(SCRIPT, 0, b"\x02\0\x0aonMetaData\x08\0\0\0\0" + text + b"\0\0\x09")


def configuration(kind: int, text: bytes = b"conf", codec: int | None = None) -> bytes:
    if kind == AUDIO:
        return tag(AUDIO, 0, bytes([(codec or AAC) << 4 | 15, 0]) + text)
    return tag(VIDEO, 0, bytes([0x10 | (codec or AVC), 0, 0, 0, 0]) + text)


def sound(time: int, name: bytes = b"", codec: int = AAC) -> bytes:
    return tag(AUDIO, time, bytes([codec << 4 | 15, 1]) + b"sound %s %d" % (name, time))


def picture(time: int, name: bytes = b"", key: bool = False, codec: int = AVC, delay: int = 0) -> bytes:
    start = bytes([(0x10 if key else 0x20) | codec, 1]) + delay.to_bytes(3, "big")
    return tag(VIDEO, time, start + b"picture %s %d " % (name, time) + bytes(200))


def programme(
    pictures: int, name: bytes = b"A", origin: int = 0, group: int = 5, codec: int = AVC, config: bytes = b"conf"
) -> list[bytes]:
    """Return header and tags: a picture each 40 ms, audio each 20 ms, a key frame at the start of each group."""
    out = [header(), metadata(), configuration(VIDEO, config, codec), configuration(AUDIO)]
    for number in range(pictures):
        time = origin + number * 40
        out.append(picture(time, name, number % group == 0, codec))
        out += [sound(time, name), sound(time + 20, name)]
    return out


def pieces(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    """Return the data, cut at these offsets."""
    bounds = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    return [data[begin:end] for begin, end in pairwise(bounds)]
