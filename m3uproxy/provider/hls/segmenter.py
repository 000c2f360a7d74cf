"""Segments, cut from the broadcast at its keyframes.

Each begins with PAT and PMT and a keyframe. Where the clip is cut, the rest of an audio PES that began before goes to
the segment before, so that each segment holds whole PES packets (RFC 8216 section 3.2); the order of packets of a PID,
and so its continuity counter, stays. What is put in or left out (tables of a rendition) has counters of its own.
"""

from __future__ import annotations

from functools import lru_cache

from m3uproxy.provider.clip import PACKET, TICKS, WRAP
from m3uproxy.provider.timeline import Timeline

VIDEO, AUDIO = 256, 257
PMT = 4096
#: Parts of a segment, for low latency.
PARTS = 4
#: Rendition -> PIDs that it has, with the stream types that its PMT names (ISO/IEC 13818-1 table 2-34).
_ELEMENTARY = {"video": ((VIDEO, 0x1B),), "audio": ((AUDIO, 0x0F),)}
#: The first presentation time of the clip, in ticks: the picture behind the first cut.
_LEAD = round(1.48 * TICKS)


def crc32(data: bytes) -> int:
    """The CRC of a section (ISO/IEC 13818-1 annex A)."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte << 24
        for _ in range(8):
            register = (register << 1 ^ (0x04C11DB7 if register & 0x80000000 else 0)) & 0xFFFFFFFF
    return register


def pmt_packet(streams: tuple[tuple[int, int], ...], counter: int) -> bytes:
    """A packet with a PMT (2.4.4.8) of program 1 that names these streams (PID, stream type)."""
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


class Segmenter:
    """Cuts segments of so many seconds, each of which the clip's loops hold a whole number of."""

    def __init__(self, timeline: Timeline, target: int) -> None:
        self._timeline = timeline
        self.target = target
        self._cuts = keyframe_cuts(timeline.clip.data)[::target]
        self.segment = lru_cache(maxsize=32)(self._segment)

    def _place(self, number: int) -> int:
        loop, index = divmod(number, len(self._cuts))
        return loop * len(self._timeline.clip.data) + self._cuts[index]

    def _segment(self, number: int, what: str = "both") -> bytes:
        """
        One segment.

        :param number: from the beginning of the broadcast, also negative.
        :param what: ``both``, ``video`` or ``audio``.
        """
        data = self._timeline.span(self._place(number), self._place(number + 1))
        rest = self._begun_before(self._timeline.span(self._place(number + 1), self._place(number + 2)))
        mine = self._begun_before(data)
        packets = [data[at : at + PACKET] for at in range(0, len(data), PACKET) if at not in mine]
        packets += rest.values()
        return b"".join(packets) if what == "both" else b"".join(_only(packets, what))

    @staticmethod
    def _begun_before(data: bytes) -> dict[int, bytes]:
        """Packets of the audio PES that another segment began, by their place."""
        found = {}
        for at in range(0, len(data), PACKET):
            if _pid(data, at) == AUDIO:
                if data[at + 1] & 0x40:
                    break
                found[at] = data[at : at + PACKET]
        return found

    def part(self, number: int, part: int) -> bytes:
        """One of the parts of a segment."""
        data = self.segment(number, "both")
        packets = len(data) // PACKET
        first, last = (packets * place // PARTS * PACKET for place in (part, part + 1))
        return data[first:last]

    def stamp(self, number: int) -> int:
        """The presentation time of the first picture of a segment, 33 bits of 90 kHz."""
        return (_LEAD + self._timeline.origin + number * self.target * TICKS) % WRAP


@lru_cache(maxsize=8)
def segmenter_for(timeline: Timeline, target: int) -> Segmenter:
    """The segmenter of a broadcast; what it has cut is kept for all who ask."""
    return Segmenter(timeline, target)


def keyframe_cuts(data: bytes) -> list[int]:
    """Where the clip can be cut: at the tables that stand right before a keyframe."""
    cuts = []
    for at in range(0, len(data), PACKET):
        is_key = _pid(data, at) == VIDEO and data[at + 3] & 0x20 and data[at + 4] and data[at + 5] & 0x40
        if is_key:
            cuts.append(at - 2 * PACKET)
    return cuts


def _only(packets: list[bytes], what: str) -> list[bytes]:
    """A PAT and another PMT, which names one stream, and that stream."""
    streams = _ELEMENTARY[what]
    kept = []
    for packet in packets:
        pid = _pid(packet, 0)
        if pid == PMT:
            kept.append(pmt_packet(streams, packet[3]))
        elif pid == 0 or any(pid == wanted for wanted, _ in streams):
            kept.append(packet)
    return kept
