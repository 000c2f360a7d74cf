"""Segments as fragmented MP4 (ISO/IEC 14496-12): a fragment from each segment of transport stream.

The module supports only the content of the clip: H.264 with a picture in each PES packet, AAC in ADTS.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import attrs

from m3uproxy.provider.clip import PACKET, TICKS, WRAP, read_stamp
from m3uproxy.provider.hls.options import FIRST
from m3uproxy.provider.hls.segmenter import AUDIO, VIDEO, ClipSegmenter

#: Properties of the clip.
WIDTH, HEIGHT, AUDIO_RATE, AUDIO_SAMPLES = 640, 360, 48_000, 1024
PICTURE_TICKS = TICKS // 25
_UNITY = b"".join(each.to_bytes(4, "big") for each in (0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000))
_KEY, _DELTA = 0x02000000, 0x01010000


@attrs.frozen
class Sample:
    """A picture or audio frame. Times are in ticks of 90 kHz."""

    pts: int
    dts: int
    data: bytes = attrs.field(repr=False)
    is_key: bool = True


def box(name: bytes, *content: bytes) -> bytes:
    """Return a box (4.2)."""
    body = b"".join(content)
    return (len(body) + 8).to_bytes(4, "big") + name + body


def full_box(name: bytes, version: int, flags: int, *content: bytes) -> bytes:
    """Return a full box."""
    return box(name, (version << 24 | flags).to_bytes(4, "big"), *content)


def uints(*values: int, size: int = 4) -> bytes:
    """Return unsigned integers of ``size`` bytes in big-endian order."""
    return b"".join((value % (1 << 8 * size)).to_bytes(size, "big") for value in values)


def pes_packets(data: bytes, pid: int) -> Iterator[tuple[int, int, bytes]]:
    """Yield PTS, DTS and payload of each PES packet of a PID (ISO/IEC 13818-1, 2.4.3.6)."""
    units: list[bytearray] = []
    for at in range(0, len(data), PACKET):
        if (data[at + 1] & 0x1F) << 8 | data[at + 2] != pid:
            continue
        start = at + 4 + (data[at + 4] + 1 if data[at + 3] & 0x20 else 0)
        if data[at + 1] & 0x40:
            units.append(bytearray())
        units[-1] += data[start : at + PACKET]
    for unit in units:
        pts = read_stamp(unit, 9)
        dts = read_stamp(unit, 14) if unit[7] >> 6 == 3 else pts
        length = int.from_bytes(unit[4:6], "big")
        yield pts, dts, bytes(unit[9 + unit[8] : 6 + length if length else None])


def nal_units(data: bytes) -> list[bytes]:
    """Return the NAL units of a byte stream (H.264 annex B)."""
    return [unit.rstrip(b"\0") for unit in data.split(b"\0\0\1")[1:]]


def video_samples(data: bytes) -> list[Sample]:
    """Return pictures with length-prefixed NAL units. Parameter sets and delimiters are left out; the track header has
    them.
    """
    samples = []
    for pts, dts, payload in pes_packets(data, VIDEO):
        units = [unit for unit in nal_units(payload) if unit[0] & 0x1F not in (7, 8, 9)]
        is_key = any(unit[0] & 0x1F == 5 for unit in units)
        samples.append(Sample(pts, dts, b"".join(uints(len(unit)) + unit for unit in units), is_key))
    return samples


def audio_samples(data: bytes) -> list[Sample]:
    """Return AAC frames without their ADTS headers (ISO/IEC 13818-7)."""
    samples = []
    for pts, _, payload in pes_packets(data, AUDIO):
        at = 0
        while at < len(payload):
            length = (payload[at + 3] & 3) << 11 | payload[at + 4] << 3 | payload[at + 5] >> 5
            header = 7 if payload[at + 1] & 1 else 9
            samples.append(Sample(pts, pts, payload[at + header : at + length]))
            pts += AUDIO_SAMPLES * TICKS // AUDIO_RATE
            at += length
    return samples


def init_section(segmenter: ClipSegmenter) -> bytes:
    """Return the initialization section."""
    data = segmenter.segment(0, "both")
    tracks = [_track(1, TICKS, b"vide", _avc1(data)), _track(2, AUDIO_RATE, b"soun", _mp4a(data))]
    header = full_box(
        b"mvhd", 0, 0, uints(0, 0, 1000, 0, 0x10000, 0x01000000, 0, 0), _UNITY, uints(0, 0, 0, 0, 0, 0, 3)
    )
    extends = box(b"mvex", *(full_box(b"trex", 0, 0, uints(track, 1, 0, 0, 0)) for track in (1, 2)))
    return box(b"ftyp", b"iso6", uints(0), b"iso6cmfcmp41") + box(b"moov", header, *tracks, extends)


@lru_cache(maxsize=16)
def fragment(segmenter: ClipSegmenter, number: int) -> bytes:
    """Return a segment. Its decode times count from the start of segment ``-FIRST``."""
    data = segmenter.segment(number, "both")
    video, audio = video_samples(data), audio_samples(data)
    clock = (number + FIRST) * segmenter.target * TICKS
    began = segmenter.stamp(number)

    def place(stamp: int) -> int:
        return clock + (stamp - began + WRAP // 2) % WRAP - WRAP // 2

    sizes = [sum(len(sample.data) for sample in samples) for samples in (video, audio)]

    def moof(offset: int) -> bytes:
        return box(
            b"moof",
            full_box(b"mfhd", 0, 0, uints(number + FIRST)),
            _track_fragment(1, place(video[0].dts), offset, video, PICTURE_TICKS, 1),
            _track_fragment(2, place(audio[0].dts) * AUDIO_RATE // TICKS, offset + sizes[0], audio, AUDIO_SAMPLES, 0),
        )

    head = moof(len(moof(0)) + 8)
    return box(b"styp", b"msdh", uints(0), b"msdhmsix") + head + box(b"mdat", *(s.data for s in (*video, *audio)))


def _track_fragment(track: int, time: int, offset: int, samples: list[Sample], duration: int, shifted: int) -> bytes:
    """Return the samples of a track (8.8.6 to 8.8.12).

    :param shifted: 1 if the display order differs from the decoding order.
    """
    rows = []
    for sample in samples:
        row = [duration, len(sample.data), _KEY if sample.is_key else _DELTA]
        rows.append(uints(*row, *([sample.pts - sample.dts] if shifted else [])))
    flags = 0x701 | 0x800 * shifted
    return box(
        b"traf",
        full_box(b"tfhd", 0, 0x020000, uints(track)),
        full_box(b"tfdt", 1, 0, uints(time, size=8)),
        full_box(b"trun", 1, flags, uints(len(samples), offset), *rows),
    )


def _track(number: int, rate: int, kind: bytes, entry: bytes) -> bytes:
    is_video = kind == b"vide"
    size = uints(WIDTH << 16, HEIGHT << 16) if is_video else uints(0, 0)
    volume = uints(0, 0, 0 if is_video else 0x0100, 0, size=2)
    media = full_box(b"vmhd", 0, 1, bytes(8)) if is_video else full_box(b"smhd", 0, 0, bytes(4))
    tables = [full_box(name, 0, 0, uints(0)) for name in (b"stts", b"stsc", b"stco")]
    samples = box(b"stbl", full_box(b"stsd", 0, 0, uints(1), entry), *tables, full_box(b"stsz", 0, 0, uints(0, 0)))
    where = box(b"dinf", full_box(b"dref", 0, 0, uints(1), full_box(b"url ", 0, 1)))
    return box(
        b"trak",
        full_box(b"tkhd", 0, 7, uints(0, 0, number, 0, 0, 0, 0), volume, _UNITY, size),
        box(
            b"mdia",
            full_box(b"mdhd", 0, 0, uints(0, 0, rate, 0), uints(0x55C4, 0, size=2)),
            full_box(b"hdlr", 0, 0, uints(0), kind, bytes(12), b"clip\0"),
            box(b"minf", media, where, samples),
        ),
    )


def _avc1(data: bytes) -> bytes:
    """Return the sample entry of the video, from its first parameter sets (ISO/IEC 14496-15, 5.3)."""
    units = nal_units(next(pes_packets(data, VIDEO))[2])
    sps = next(unit for unit in units if unit[0] & 0x1F == 7)
    pps = next(unit for unit in units if unit[0] & 0x1F == 8)
    sets = b"\xe1" + uints(len(sps), size=2) + sps + b"\1" + uints(len(pps), size=2) + pps
    config = box(b"avcC", b"\1", sps[1:4], b"\xff", sets)
    dimensions = uints(WIDTH, HEIGHT, size=2) + uints(0x480000, 0x480000, 0) + uints(1, size=2)
    return box(b"avc1", bytes(6), uints(1, size=2), bytes(16), dimensions, bytes(32), uints(24, 0xFFFF, size=2), config)


def _mp4a(data: bytes) -> bytes:
    """Return the sample entry of the audio, from its first ADTS header (ISO/IEC 14496-14, 5.6)."""
    adts = next(pes_packets(data, AUDIO))[2]
    kind, rate = (adts[2] >> 6) + 1, adts[2] >> 2 & 15
    channels = (adts[2] & 1) << 2 | adts[3] >> 6
    specific = b"\5\2" + uints(kind << 11 | rate << 7 | channels << 3, size=2)
    config = b"\x40\x15" + bytes(11) + specific
    stream = uints(2, size=2) + b"\0" + bytes((4, len(config))) + config + b"\6\1\2"
    descriptor = full_box(b"esds", 0, 0, bytes((3, len(stream))), stream)
    return box(
        b"mp4a",
        bytes(6),
        uints(1, size=2),
        bytes(8),
        uints(2, 16, 0, 0, size=2),
        uints(AUDIO_RATE << 16),
        descriptor,
    )
