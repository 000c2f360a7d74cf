"""PES packets, here called units: their starts in a run of packets, their timestamps and their contents.

The index is made for the moment of a splice and reads only the values that are asked for. The offsets of all starts
cost a stride, the header of a unit costs a microsecond, and only units whose contents are compared are put together.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import cache
from itertools import compress

import attrs

from .packets import PACKET_SIZE, STARTS, payload_offset, scrambled, unit_starts
from .packets import pid as pid_of
from .timestamps import has_pcr, read_timestamp

START_CODE = b"\x00\x00\x01"
#: Bytes of the longest header: nine, and as many as its last byte says.
MAX_HEADER = 9 + 255
#: Bytes of a run within which the header of a unit must be complete.
_HEADER_REACH = 4096 * PACKET_SIZE
#: Bytes of a run in which the beginning of a unit is searched first.
_FIRST_STEP = 32 * PACKET_SIZE

# Stream ids whose packets have no header behind their length (table 2-21, 2.4.3.6), and so no timestamps.
_HEADERLESS_STREAM_IDS = frozenset({0xBC, 0xBE, 0xBF, 0xF0, 0xF1, 0xF2, 0xF8, 0xFF})


# Fourth byte of a packet -> 1 if it has an adaptation field, else 0.
_ADAPTATION = bytes(byte >> 5 & 1 for byte in range(256))


@attrs.frozen
class PesHeader:
    """The header of a PES packet (2.4.3.6).

    :ivar size: bytes before the elementary stream's bytes.
    :ivar length: bytes of the whole PES packet; 0 if left open.
    :ivar pts: 90 kHz; None if absent.
    :ivar dts: 90 kHz; the same as ``pts`` if it is not coded separately.
    """

    stream_id: int
    size: int
    length: int
    pts: int | None
    dts: int | None


def read_pes_header(payload: bytes | bytearray) -> PesHeader | None:
    """Read the header at the beginning of ``payload``; None if there is none or it is incomplete."""
    if len(payload) < 6 or payload[:3] != START_CODE:
        return None
    stream_id = payload[3]
    declared = payload[4] << 8 | payload[5]
    length = declared + 6 if declared else 0
    if stream_id in _HEADERLESS_STREAM_IDS:
        return PesHeader(stream_id, 6, length, None, None)
    if len(payload) < 9 or len(payload) < 9 + payload[8]:
        return None
    flags = payload[7] >> 6
    has_room = payload[8] >= (10 if flags == 3 else 5)
    pts = read_timestamp(payload, 9) if flags >= 2 and has_room else None
    dts = read_timestamp(payload, 14) if flags == 3 and has_room else pts
    return PesHeader(stream_id, 9 + payload[8], length, pts, dts)


def payload_of(data: bytes | bytearray, at: int) -> bytes | bytearray:
    """Return the payload of the packet at ``at``."""
    return data[payload_offset(data, at) : at + PACKET_SIZE]


@cache
def _pid_masks(pid: int) -> tuple[bytes, bytes]:
    """Return tables for the second and third header byte: 1 for bytes of this PID, else 0."""
    highs = bytes(int(byte & 0x1F == pid >> 8) for byte in range(256))
    return highs, bytes(int(byte == pid & 0xFF) for byte in range(256))


def packets_of(data: bytes | bytearray, pid: int, begin: int, end: int) -> list[int]:
    """Return the offsets of the packets of one PID between two packet boundaries."""
    highs, lows = _pid_masks(pid)
    marks = data[begin + 1 : end : PACKET_SIZE].translate(highs)
    both = int.from_bytes(marks, "little")
    both &= int.from_bytes(data[begin + 2 : end : PACKET_SIZE].translate(lows), "little")
    return list(compress(range(begin, end, PACKET_SIZE), both.to_bytes(len(marks), "little")))


def clock_packets(data: bytes | bytearray, pid: int, begin: int, end: int) -> list[int]:
    """Return the offsets of the packets with a clock value (PCR) on one PID between two packet boundaries."""
    highs, lows = _pid_masks(pid)
    count = (end - begin) // PACKET_SIZE
    both = int.from_bytes(data[begin + 1 : end : PACKET_SIZE].translate(highs), "little")
    both &= int.from_bytes(data[begin + 2 : end : PACKET_SIZE].translate(lows), "little")
    both &= int.from_bytes(data[begin + 3 : end : PACKET_SIZE].translate(_ADAPTATION), "little")
    found = compress(range(begin, end, PACKET_SIZE), both.to_bytes(count, "little"))
    return [at for at in found if has_pcr(data, at)]


def count_starts(packets: bytes) -> int:
    """Return the number of packets in which a unit starts."""
    return packets[1::PACKET_SIZE].translate(STARTS).count(1)


class PesIndex:
    """A run of packets and the offsets at which units start in it.

    Packets of a PID before its first unit start are the rest of an earlier unit and belong to no unit of the index.
    Packets at the beginning can be dropped. Offsets and numbers of units count from the first packet ever appended.

    :ivar data: the packets, from offset ``base`` on.
    :ivar base: number of bytes dropped.
    :ivar starts: for each PID, the offsets of the packets in which its units start, PSI included.
    """

    __slots__ = ("base", "data", "starts")

    def __init__(self, data: bytes = b"") -> None:
        self.data: bytes | bytearray = data or bytearray()
        self.base = 0
        self.starts: dict[int, list[int]] = {}
        self.add_starts(data, 0)

    @property
    def size(self) -> int:
        """The offset behind the last packet."""
        return self.base + len(self.data)

    def append(self, packets: bytes) -> None:
        """Append packets to the run."""
        base = self.size
        if not isinstance(self.data, bytearray):
            self.data = bytearray(self.data)
        self.data += packets
        self.add_starts(packets, base)

    def add_starts(self, packets: bytes, base: int) -> None:
        """Record the unit starts in packets of the run, which begin at ``base``."""
        for at in unit_starts(packets):
            self.starts.setdefault(pid_of(packets, at), []).append(base + at)

    def drop(self, offset: int) -> None:
        """Drop the packets before ``offset``. Units that start there have no content and no header any more."""
        if offset > self.base and isinstance(self.data, bytearray):
            del self.data[: offset - self.base]
            self.base = offset

    def count(self, pid: int) -> int:
        """Return the number of units that start on the PID."""
        return len(self.starts.get(pid, ()))

    def first_kept(self, pid: int) -> int:
        """Return the number of the first unit that starts in the packets that were not dropped."""
        return bisect_left(self.starts.get(pid, []), self.base)

    def header(self, pid: int, number: int) -> PesHeader | None:
        """Return the header of a unit; None also if the unit is scrambled."""
        at = self.starts[pid][number] - self.base
        if scrambled(self.data, at):
            return None
        payload = payload_of(self.data, at)
        if len(payload) >= len(START_CODE) and not payload.startswith(START_CODE):
            return None
        return read_pes_header(payload) or read_pes_header(self._payload(pid, number, MAX_HEADER, _HEADER_REACH))

    def end(self, pid: int, number: int) -> int:
        """Return the offset behind a unit: the start of the next unit on the PID, or the end of the run."""
        starts = self.starts[pid]
        return starts[number + 1] if number + 1 < len(starts) else self.size

    def content(self, pid: int, number: int, limit: int | None = None) -> bytes:
        """Return the elementary stream's bytes of a unit, as far as they have arrived; ``b""`` without a header.

        :param limit: number of bytes that are sufficient.
        """
        payload = self._payload(pid, number, None if limit is None else limit + MAX_HEADER)
        header = read_pes_header(payload)
        if header is None:
            return b""
        return payload[header.size : header.length or None][:limit]

    def is_whole(self, pid: int, number: int) -> bool:
        """Return True if all of a unit has arrived: the next unit has begun, or its length is reached."""
        if number + 1 < self.count(pid):
            return True
        header = self.header(pid, number)
        if header is None or not header.length:
            return False
        return header.length <= len(self._payload(pid, number, header.length))

    def prefix(self, pid: int, number: int, size: int) -> bytes:
        """Return the first ``size`` bytes of the elementary stream in a unit: a cheap key for comparisons."""
        first = payload_of(self.data, self.starts[pid][number] - self.base)
        if first[:3] == START_CODE and len(first) >= 9 and len(first) >= 9 + first[8] + size:
            begin = 9 + first[8]
            return bytes(first[begin : begin + size])
        return self.content(pid, number, size)

    def _payload(self, pid: int, number: int, limit: int | None = None, reach: int | None = None) -> bytes:
        """Return the payload of a unit.

        :param limit: number of bytes that are sufficient. More may be returned.
        :param reach: number of bytes of the run that are searched; None for all.
        """
        begin, end = self.starts[pid][number] - self.base, self.end(pid, number) - self.base
        if limit is None:
            return b"".join(self._payloads(pid, begin, end))
        pieces: list[bytes | bytearray] = []
        end = end if reach is None else min(end, begin + reach)
        # Most beginnings are in the first packets, so the parts that are searched grow.
        step = _FIRST_STEP
        while begin < end and limit > 0:
            part = self._payloads(pid, begin, min(end, begin + step))
            pieces += part
            limit -= sum(map(len, part))
            begin, step = begin + step, step * 4
        return b"".join(pieces)

    def _payloads(self, pid: int, begin: int, end: int) -> list[bytes | bytearray]:
        data = self.data
        return [
            data[at + 4 : at + PACKET_SIZE] if data[at + 3] & 0x30 == 0x10 else payload_of(data, at)
            for at in packets_of(data, pid, begin, end)
        ]
