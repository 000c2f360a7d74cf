"""Packets of a new multiplex: other PIDs, tables and packet boundaries than in the clip (ISO/IEC 13818-1).

This module writes the multiplex of a connection with ``remux``; :mod:`~m3uproxy.provider.remux` reads the source.
"""

from __future__ import annotations

import random

import attrs

from m3uproxy.provider.clip import PACKET, write_stamp

PAYLOAD_SIZE = PACKET - 4
NULL_PACKET = b"\x47\x1f\xff\x10".ljust(PACKET, b"\xff")


@attrs.frozen
class Layout:
    """Parameters of the multiplex of a connection.

    :ivar pids: PIDs of the elementary streams, in the order of the source's PMT.
    :ivar clock: separate PID of the PCR; None: the PCR is on the PID of the main stream.
    :ivar counter: continuity counter of the first packet of each PID.
    :ivar tables_every: units of the main stream from a PAT and PMT to the next.
    :ivar head_stuffing: stuffing bytes in each PES header.
    :ivar field_stuffing: least size in bytes of the adaptation field in the first packet of a unit.
    :ivar sound_pack: audio frames in a PES packet.
    :ivar sound_carry: bytes of the last audio frame that move to the next PES packet, as some broadcasters do.
    :ivar spread: interleave packets of other streams with those of the main stream.
    :ivar padding: null packets after each unit of the main stream.
    """

    program: int
    pmt: int
    pids: tuple[int, ...]
    clock: int | None
    version: int
    counter: int
    tables_every: int
    head_stuffing: int
    field_stuffing: int
    sound_pack: int
    sound_carry: int
    spread: bool
    padding: int

    @classmethod
    def from_number(cls, number: int, cut: bool = False) -> Layout:
        """Return a layout that depends on the number only.

        :param cut: split audio frames across PES packets.
        """
        rng = random.Random(number)
        pmt, clock, *pids = rng.sample(range(0x20, 0x1FFB), 10)
        return cls(
            program=rng.randrange(1, 0x10000),
            pmt=pmt,
            pids=tuple(pids),
            clock=rng.choice([None, None, clock]),
            version=rng.randrange(32),
            counter=rng.randrange(16),
            tables_every=rng.randrange(1, 13),
            head_stuffing=rng.choice([0, 0, 3]),
            field_stuffing=rng.choice([0, 0, 17]),
            sound_pack=rng.randrange(1, 9),
            sound_carry=40 if cut else 0,
            spread=rng.random() < 0.5,
            padding=rng.choice([0, 0, 2]),
        )


@attrs.frozen
class Unit:
    """A PES packet, or an audio frame.

    :ivar stamps: empty, five bytes of PTS, or ten bytes of PTS and DTS.
    :ivar pcr: six bytes of PCR to send with the unit, or empty.
    :ivar key: random access indicator.
    """

    stream_id: int
    stamps: bytes
    data: bytes = attrs.field(repr=False)
    pcr: bytes = b""
    key: bool = False


def make_stamp(ticks: int) -> bytes:
    """Return the five bytes of a PTS without DTS (2.4.3.6)."""
    made = bytearray(b"\x20\0\0\0\0")
    write_stamp(made, 0, ticks)
    return bytes(made)


class Multiplexer:
    """A writer of packets with continuous counters on each PID."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._counters: dict[int, int] = {}

    def unit(self, pid: int, unit: Unit, has_length: bool) -> list[bytes]:
        """Return the packets of a unit.

        :param has_length: write PES_packet_length. For video it is 0.
        """
        stamps = unit.stamps + b"\xff" * self._layout.head_stuffing
        flags = {0: 0, 5: 0x80, 10: 0xC0}[len(unit.stamps)]
        rest = bytes([0x80, flags, len(stamps)]) + stamps + unit.data
        length = len(rest) if has_length and len(rest) <= 0xFFFF else 0
        pes = b"\0\0\1" + bytes([unit.stream_id]) + length.to_bytes(2, "big") + rest
        field = bytes([unit.key << 6 | bool(unit.pcr) << 4]) + unit.pcr if unit.key or unit.pcr else b""
        field = field or b"\0" * bool(self._layout.field_stuffing)
        field = field.ljust(self._layout.field_stuffing, b"\xff")
        packets, at = [], 0
        while at < len(pes):
            taken = PAYLOAD_SIZE - (len(field) + 1 if field else 0)
            packets.append(self._packet(pid, not at, pes[at : at + taken], field))
            at, field = at + taken, b""
        return packets

    def clock(self, pid: int, pcr: bytes) -> bytes:
        """Return a packet with a PCR and no payload. Its counter does not advance (2.4.3.3)."""
        counter = self._counters.setdefault(pid, self._layout.counter)
        head = bytes([0x47, pid >> 8, pid & 0xFF, 0x20 | counter, PACKET - 5, 0x10])
        return (head + pcr).ljust(PACKET, b"\xff")

    def section(self, pid: int, body: bytes) -> bytes:
        """Return a packet with a section (2.4.4).

        :param body: the section without its CRC.
        :raises ValueError: the section does not fit into a packet.
        """
        section = b"\0" + body + crc(body).to_bytes(4, "big")
        if len(section) > PAYLOAD_SIZE:
            raise ValueError("section too long for this multiplexer")
        return self._packet(pid, True, section.ljust(PAYLOAD_SIZE, b"\xff"), b"")

    def _packet(self, pid: int, start: bool, payload: bytes, field: bytes) -> bytes:
        coded = _adaptation(field, PAYLOAD_SIZE - len(payload))
        last = self._counters.get(pid, self._layout.counter - 1)
        counter = self._counters[pid] = (last + 1) & 0x0F
        head = bytes([0x47, start << 6 | pid >> 8, pid & 0xFF, (0x30 if coded else 0x10) | counter])
        return head + coded + payload


def _adaptation(field: bytes, room: int) -> bytes:
    """Return an adaptation field (2.4.3.5) of ``room`` bytes, its length byte included."""
    if room < 2:
        return b"\0" * room
    return bytes([room - 1]) + (field or b"\0").ljust(room - 1, b"\xff")


def crc(data: bytes) -> int:
    """Return the CRC-32 of a section (annex A)."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value & 0x80000000 else 0)) & 0xFFFFFFFF
    return value
