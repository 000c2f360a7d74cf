"""Segments, cut from the broadcast at its keyframes.

A segment begins with PAT, PMT and a keyframe. The rest of an audio PES packet that began before the cut moves to the
segment before. Each segment thus holds whole PES packets (RFC 8216 section 3.2). The order of packets of a PID, and so
its continuity counter, stays. Packets that a rendition adds or leaves out (tables) have counters of their own.
"""

from __future__ import annotations

from functools import lru_cache

from m3uproxy.provider.clip import PACKET, TICKS, WRAP
from m3uproxy.provider.timeline import Timeline

VIDEO, AUDIO = 256, 257
PMT = 4096
#: Parts of a segment, for low latency.
PARTS = 4
#: PIDs and stream types (ISO/IEC 13818-1 table 2-34) of each rendition.
_ELEMENTARY = {"video": ((VIDEO, 0x1B),), "audio": ((AUDIO, 0x0F),)}
#: PTS in ticks of the first picture after the first cut of the clip.
_LEAD = round(1.48 * TICKS)


def crc32(data: bytes) -> int:
    """Return the CRC of a section (ISO/IEC 13818-1 annex A)."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte << 24
        for _ in range(8):
            register = (register << 1 ^ (0x04C11DB7 if register & 0x80000000 else 0)) & 0xFFFFFFFF
    return register


def pmt_packet(streams: tuple[tuple[int, int], ...], counter: int) -> bytes:
    """Return a packet with the PMT (2.4.4.8) of program 1.

    :param streams: PID and stream type of each elementary stream.
    """
    body = b"".join(bytes((kind, 0xE0 | pid >> 8, pid & 0xFF, 0xF0, 0)) for pid, kind in streams)
    clock = VIDEO if streams[0][0] == VIDEO else 0x1FFF
    fixed = bytes((0, 1, 0xC1, 0, 0, 0xE0 | clock >> 8, clock & 0xFF, 0xF0, 0))
    length = len(fixed) + len(body) + 4
    section = bytes((2, 0xB0 | length >> 8, length & 0xFF)) + fixed + body
    section += crc32(section).to_bytes(4, "big")
    head = bytes((0x47, 0x40 | PMT >> 8, PMT & 0xFF, 0x10 | counter & 0x0F, 0))
    return (head + section).ljust(PACKET, b"\xff")


def _pid(data: bytes, at: int) -> int:
    return (data[at + 1] & 0x1F) << 8 | data[at + 2]


class ClipSegmenter:
    """A source of segments of ``target`` seconds. A loop of the clip holds a whole number of them."""

    def __init__(self, timeline: Timeline, target: int) -> None:
        self._timeline = timeline
        self.target = target
        self._cuts = keyframe_cuts(timeline.clip.data)[::target]
        self.segment = lru_cache(maxsize=32)(self._segment)

    def _place(self, number: int) -> int:
        loop, index = divmod(number, len(self._cuts))
        return loop * len(self._timeline.clip.data) + self._cuts[index]

    def _segment(self, number: int, tracks: str = "both") -> bytes:
        """Return a segment.

        :param number: from the start of the broadcast; may be negative.
        :param tracks: ``both``, ``video`` or ``audio``.
        """
        data = self._timeline.span(self._place(number), self._place(number + 1))
        rest = self._begun_before(self._timeline.span(self._place(number + 1), self._place(number + 2)))
        mine = self._begun_before(data)
        packets = [data[at : at + PACKET] for at in range(0, len(data), PACKET) if at not in mine]
        packets += rest.values()
        return b"".join(packets) if tracks == "both" else b"".join(_only(packets, tracks))

    @staticmethod
    def _begun_before(data: bytes) -> dict[int, bytes]:
        """Return the packets of an audio PES packet that began in another segment, by their offset."""
        found = {}
        for at in range(0, len(data), PACKET):
            if _pid(data, at) == AUDIO:
                if data[at + 1] & 0x40:
                    break
                found[at] = data[at : at + PACKET]
        return found

    def part(self, number: int, part: int) -> bytes:
        """Return a part of a segment."""
        data = self.segment(number, "both")
        packets = len(data) // PACKET
        first, last = (packets * place // PARTS * PACKET for place in (part, part + 1))
        return data[first:last]

    def stamp(self, number: int) -> int:
        """Return the PTS of the first picture of a segment, 33 bits of 90 kHz."""
        return (_LEAD + self._timeline.origin + number * self.target * TICKS) % WRAP


@lru_cache(maxsize=8)
def segmenter_for(timeline: Timeline, target: int) -> ClipSegmenter:
    """Return the segmenter of a broadcast. All requests share its cache."""
    return ClipSegmenter(timeline, target)


def keyframe_cuts(data: bytes) -> list[int]:
    """Return the offsets at which the clip can be cut: the tables right before each keyframe."""
    cuts = []
    for at in range(0, len(data), PACKET):
        is_key = _pid(data, at) == VIDEO and data[at + 3] & 0x20 and data[at + 4] and data[at + 5] & 0x40
        if is_key:
            cuts.append(at - 2 * PACKET)
    return cuts


def _only(packets: list[bytes], tracks: str) -> list[bytes]:
    """Return the packets of a rendition: PAT, a PMT with one elementary stream, and that stream."""
    streams = _ELEMENTARY[tracks]
    kept = []
    for packet in packets:
        pid = _pid(packet, 0)
        if pid == PMT:
            kept.append(pmt_packet(streams, packet[3]))
        elif pid == 0 or any(pid == wanted for wanted, _ in streams):
            kept.append(packet)
    return kept
