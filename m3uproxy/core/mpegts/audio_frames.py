"""Offsets and durations of audio frames, so that audio can be cut between two frames.

ADTS (ISO/IEC 13818-7, 6.2), MPEG-1 and MPEG-2 audio (ISO/IEC 11172-3, 2.4.2.3 and 13818-3), AC-3 and enhanced AC-3
(ETSI TS 102 366, 4.3 and annex E 1.3). Frames of other codecs are not found; those tracks are cut between PES packets.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import attrs

_HeaderReader = Callable[[bytes | bytearray, int], tuple[int, float] | None]


#: Bytes within which the first frame begins. No known codec has longer frames.
MAX_FRAME = 1 << 13
#: Beginnings of frames that are tried before the search for the first frame ends.
_MAX_TRIES = 64


@attrs.frozen
class AudioFrames:
    """Frames that begin in a run of bytes. The last frame may be incomplete.

    :ivar offsets: start of each frame, in order.
    :ivar duration: duration of one frame in ticks of 90 kHz; may be a fraction.
    :ivar end: offset behind the last frame; it may lie behind the run.
    :ivar broken: True if something else than a frame follows within the run.
    """

    offsets: tuple[int, ...]
    duration: float
    end: int
    broken: bool


def find_frames(data: bytes | bytearray, codec: str) -> AudioFrames | None:
    """Find the frames that begin in ``data``, the content of a PES packet.

    Bytes before the first frame belong to a frame that began in the PES packet before.

    :param codec: name from :func:`m3uproxy.core.splice.track_mapping.codec_name`.
    :return: None if the codec is unknown here, or the frames do not follow each other without a gap.
    """
    frames = find_leading_frames(data, codec)
    return None if frames is None or frames.broken else frames


def find_leading_frames(data: bytes | bytearray, codec: str) -> AudioFrames | None:
    """Find the frames that begin in ``data`` up to the first gap. See :func:`find_frames`."""
    read = _READERS.get(codec)
    if read is None:
        return None
    tries = 0
    for sync in _SYNC_WORDS[codec].finditer(data, 0, min(max(len(data) - 4, 0), MAX_FRAME + 2)):
        first = sync.start()
        header = read(data, first) if first < len(data) - 6 else None
        if header is None:
            continue
        next_frame = first + header[0]
        if next_frame > len(data) - 7 or read(data, next_frame) is not None:
            return _walk_frames(data, first, read)
        tries += 1
        if tries == _MAX_TRIES:
            return None
    return None


def frame_header(data: bytes, at: int, codec: str) -> tuple[int, float] | None:
    """Return bytes, and ticks of 90 kHz, of the frame whose header is at ``at``; None if there is no header.

    Seven bytes from ``at`` on must be present.
    """
    return _READERS[codec](data, at)


def _walk_frames(data: bytes | bytearray, first: int, read: _HeaderReader) -> AudioFrames | None:
    offsets: list[int] = []
    duration, size, broken = 0.0, 0, False
    at = first
    while at < len(data):
        if len(data) - at < 7:
            offsets.append(at)
            at += size
            break
        header = read(data, at)
        if header is None:
            broken = True
            break
        size, frame_duration = header
        if frame_duration:  # A dependent substream belongs to the frame before it and adds no duration.
            offsets.append(at)
            duration = frame_duration
        at += size
    return AudioFrames(tuple(offsets), duration, at, broken) if offsets and duration else None


_ADTS_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)


def _read_adts(data: bytes | bytearray, at: int) -> tuple[int, float] | None:
    if data[at] != 0xFF or data[at + 1] & 0xF6 != 0xF0:
        return None
    rate = data[at + 2] >> 2 & 0x0F
    size = (data[at + 3] & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5
    if rate >= len(_ADTS_RATES) or size < 7:
        return None
    return size, 1024 * ((data[at + 6] & 3) + 1) * 90_000 / _ADTS_RATES[rate]


_MPEG_RATES = (44100, 48000, 32000)
_MPEG1_KBITS = {
    1: (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    2: (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    3: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
}
_MPEG2_KBITS = {
    1: (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MPEG2_KBITS[3] = _MPEG2_KBITS[2]


def _read_mpeg(data: bytes | bytearray, at: int) -> tuple[int, float] | None:
    if data[at] != 0xFF or data[at + 1] & 0xE0 != 0xE0:
        return None
    version, layer = data[at + 1] >> 3 & 3, 4 - (data[at + 1] >> 1 & 3)
    kbits, rate = data[at + 2] >> 4, data[at + 2] >> 2 & 3
    if version == 1 or layer == 4 or kbits in (0, 15) or rate == 3:
        return None
    is_one = version == 3
    hertz = _MPEG_RATES[rate] >> (0 if is_one else 1 if version == 2 else 2)
    bits = (_MPEG1_KBITS if is_one else _MPEG2_KBITS)[layer][kbits] * 1000
    padding = data[at + 2] >> 1 & 1
    samples = 384 if layer == 1 else 576 if layer == 3 and not is_one else 1152
    size = (12 * bits // hertz + padding) * 4 if layer == 1 else samples // 8 * bits // hertz + padding
    return size, samples * 90_000 / hertz


_AC3_RATES = (48000, 44100, 32000)
_AC3_KBITS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)
_EAC3_BLOCKS = (1, 2, 3, 6)


def _read_ac3(data: bytes | bytearray, at: int) -> tuple[int, float] | None:
    if data[at] != 0x0B or data[at + 1] != 0x77:
        return None
    rate, code, bsid = data[at + 4] >> 6, data[at + 4] & 0x3F, data[at + 5] >> 3
    if bsid > 10:
        return _read_eac3(data, at)
    if rate == 3 or code >> 1 >= len(_AC3_KBITS):
        return None
    hertz = _AC3_RATES[rate]
    words = _AC3_KBITS[code >> 1] * 96_000 // hertz + (code & 1 if hertz == 44100 else 0)
    return words * 2, 1536 * 90_000 / hertz


def _read_eac3(data: bytes | bytearray, at: int) -> tuple[int, float] | None:
    kind, substream = data[at + 2] >> 6, data[at + 2] >> 3 & 7
    size = ((data[at + 2] & 7) << 8 | data[at + 3]) * 2 + 2
    rate, blocks = data[at + 4] >> 6, data[at + 4] >> 4 & 3
    if rate == 3:
        hertz, samples = (_AC3_RATES[blocks] // 2, 1536) if blocks < 3 else (0, 0)
    else:
        hertz, samples = _AC3_RATES[rate], 256 * _EAC3_BLOCKS[blocks]
    if kind == 3 or not hertz:
        return None
    return size, 0.0 if kind == 1 or substream else samples * 90_000 / hertz


_READERS: dict[str, _HeaderReader] = {
    "AAC": _read_adts,
    "MPEG audio": _read_mpeg,
    "AC-3": _read_ac3,
    "E-AC-3": _read_ac3,
}

# Beginnings of headers, which may overlap. The second byte of MPEG audio excludes reserved versions and layers, and the
# third one excludes reserved bitrates and sampling frequencies.
_MPEG_THIRD = b"".join(b"\\x%x0-\\x%xb" % (kbits, kbits) for kbits in range(1, 15))
_SYNC_WORDS = {
    "AAC": re.compile(rb"\xff(?=[\xf0\xf1\xf8\xf9])"),
    "MPEG audio": re.compile(rb"\xff(?=[\xe2-\xe7\xf2-\xf7\xfa-\xff][" + _MPEG_THIRD + b"])"),
    "AC-3": re.compile(rb"\x0b(?=\x77)"),
    "E-AC-3": re.compile(rb"\x0b(?=\x77)"),
}
