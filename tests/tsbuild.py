"""Hand-made transport streams for tests. This module shares no code with the package under test.

The formats are those of ISO/IEC 13818-1: packets 2.4.3.2, PES 2.4.3.6, PAT 2.4.4.3, PMT 2.4.4.8.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

SIZE = 188

H264, HEVC, MPEG2, AAC, PRIVATE = 0x1B, 0x24, 0x02, 0x0F, 0x06

IDR = b"\0\0\0\1\x09\xf0\0\0\0\1\x67\x64\0\x1e\0\0\0\1\x68\xee\x3c\x80\0\0\0\1\x65\x88\x84"
SLICE = b"\0\0\0\1\x09\xf0\0\0\0\1\x41\x9a\x21"


def crc32(data: bytes) -> int:
    """Return the CRC-32/MPEG-2, computed bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        for bit in range(7, -1, -1):
            carry = (crc >> 31) ^ (byte >> bit & 1)
            crc = (crc << 1) & 0xFFFFFFFF ^ (0x04C11DB7 if carry else 0)
    return crc


def section(
    table_id: int,
    extension: int,
    body: bytes,
    *,
    version: int = 0,
    current: bool = True,
    number: int = 0,
    last: int = 0,
) -> bytes:
    length = len(body) + 9
    head = bytes([table_id, 0xB0 | length >> 8, length & 0xFF, extension >> 8, extension & 0xFF])
    data = head + bytes([0xC0 | version << 1 | current, number, last]) + body
    return data + crc32(data).to_bytes(4, "big")


def pat_section(programs: Mapping[int, int], **options: int) -> bytes:
    body = b"".join(n.to_bytes(2, "big") + (0xE000 | pid).to_bytes(2, "big") for n, pid in programs.items())
    return section(0, 1, body, **options)


def pmt_section(
    program: int,
    streams: Sequence[tuple[int, int] | tuple[int, int, bytes]],
    *,
    pcr_pid: int | None = None,
    info: bytes = b"",
    **options: int,
) -> bytes:
    clock = streams[0][1] if pcr_pid is None else pcr_pid
    body = (0xE000 | clock).to_bytes(2, "big") + (0xF000 | len(info)).to_bytes(2, "big") + info
    for stream_type, pid, *rest in streams:
        loop = rest[0] if rest else b""
        body += bytes([stream_type]) + (0xE000 | pid).to_bytes(2, "big")
        body += (0xF000 | len(loop)).to_bytes(2, "big") + loop
    return section(2, program, body, **options)


def packet(
    pid: int,
    payload: bytes,
    *,
    start: bool = False,
    counter: int = 0,
    flags: int | None = None,
    field: bytes = b"",
    scrambling: int = 0,
    error: bool = False,
) -> bytes:
    """Return one packet, filled up by an adaptation field.

    ``flags`` is the first byte of the field, ``field`` the rest.
    """
    room = SIZE - 4 - len(payload)
    adaptation = b""
    if room or flags is not None:
        content = b"" if room == 1 and flags is None else bytes([flags or 0]) + field
        adaptation = bytes([room - 1]) + content + b"\xff" * (room - 1 - len(content))
    assert len(adaptation) == room, "payload too long"
    control = (0x20 if adaptation else 0) | (0x10 if payload else 0)
    head = bytes([0x47, error << 7 | start << 6 | pid >> 8, pid & 0xFF, scrambling << 6 | control | counter & 15])
    return head + adaptation + payload


def psi_packets(pid: int, sections: bytes, *, counter: int = 0, pointer: bytes = b"") -> list[bytes]:
    """Return sections as packets, padded with stuffing. ``pointer`` is the end of a section that began before."""
    payload = bytes([len(pointer)]) + pointer + sections
    payload += b"\xff" * (-len(payload) % (SIZE - 4))
    parts = [payload[at : at + SIZE - 4] for at in range(0, len(payload), SIZE - 4)]
    return [packet(pid, part, start=not n, counter=counter + n) for n, part in enumerate(parts)]


def stamp(prefix: int, ticks: int) -> bytes:
    """Return a PTS or DTS in 90 kHz ticks as the five bytes of 2.4.3.6."""
    return bytes(
        [
            prefix << 4 | (ticks >> 30 & 7) << 1 | 1,
            ticks >> 22 & 0xFF,
            (ticks >> 15 & 0x7F) << 1 | 1,
            ticks >> 7 & 0xFF,
            (ticks & 0x7F) << 1 | 1,
        ]
    )


def pes(data: bytes, *, stream_id: int = 0xE0, pts: int = 0, dts: int | None = None) -> bytes:
    """Return a PES packet. The length of video is left open."""
    stamps = stamp(2, pts) if dts is None else stamp(3, pts) + stamp(1, dts)
    flags = 0x80 if dts is None else 0xC0
    length = 0 if stream_id & 0xF0 == 0xE0 else 3 + len(stamps) + len(data)
    head = b"\0\0\1" + bytes([stream_id]) + length.to_bytes(2, "big")
    return head + bytes([0x80, flags, len(stamps)]) + stamps + data


def pcr_field(ticks: int) -> bytes:
    """Return a PCR in ticks of 27 MHz as the six bytes after the flags of an adaptation field (2.4.3.5)."""
    base, extension = divmod(ticks, 300)
    return (base << 15 | 0x3F << 9 | extension).to_bytes(6, "big")


class Mux:
    """A multiplexer with continuing continuity counters."""

    def __init__(self) -> None:
        self._counters: Counter[int] = Counter()

    def psi(self, pid: int, sections: bytes) -> bytes:
        made = psi_packets(pid, sections, counter=self._counters[pid])
        self._counters[pid] += len(made)
        return b"".join(made)

    def pat(self, programs: Mapping[int, int], **options: int) -> bytes:
        return self.psi(0, pat_section(programs, **options))

    def pmt(self, pid: int, program: int, streams: Sequence[tuple[int, int]], **options: int) -> bytes:
        return self.psi(pid, pmt_section(program, streams, **options))

    def unit(self, pid: int, data: bytes, *, key: bool = False, pcr: int | None = None, scrambling: int = 0) -> bytes:
        """Return a PES packet of :func:`pes` as packets. ``key`` sets the random access flag."""
        return b"".join(self._unit(pid, data, key, pcr, scrambling))

    def _unit(self, pid: int, data: bytes, key: bool, pcr: int | None, scrambling: int) -> Iterator[bytes]:
        start = True
        while data or start:
            flags, field = None, b""
            if start and (key or pcr is not None):
                flags = key << 6 | (pcr is not None) << 4
                field = b"" if pcr is None else pcr_field(pcr)
            room = SIZE - 4 - (0 if flags is None else 2 + len(field))
            yield packet(
                pid,
                data[:room],
                start=start,
                counter=self._counters[pid],
                flags=flags,
                field=field,
                scrambling=scrambling,
            )
            self._counters[pid] += 1
            data, start = data[room:], False

    def null(self) -> bytes:
        return packet(0x1FFF, b"\xff" * (SIZE - 4))
