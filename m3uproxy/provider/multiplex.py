"""Units into packets, the other way than the clip has them: other PIDs, other tables, other cuts (ISO/IEC 13818-1).

This is the writing half of a remultiplexed replay; :mod:`~m3uproxy.provider.remux` has the reading half.
"""

from __future__ import annotations

import random

import attrs

from m3uproxy.provider.clip import PACKET, write_stamp

PAYLOAD_SIZE = PACKET - 4
NULL_PACKET = b"\x47\x1f\xff\x10".ljust(PACKET, b"\xff")


@attrs.frozen
class Layout:
    """How one connection's multiplex is made.

    :ivar pids: of the elementary streams, in the order of the source's PMT.
    :ivar clock: PID of the PCR if it has one of its own; None: with the first stream.
    :ivar counter: continuity counter of each PID's first packet.
    :ivar tables_every: units of the first stream between two pairs of PAT and PMT.
    :ivar head_stuffing: stuffing bytes in each PES header.
    :ivar field_stuffing: least size of the adaptation field of packets that begin a unit.
    :ivar sound_pack: frames of sound in a PES packet.
    :ivar sound_carry: bytes of the last frame that go into the next PES packet, as broadcasters cut it.
    :ivar spread: packets of other streams stand between those of the first.
    :ivar padding: null packets after each unit of the first stream.
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
        """One of many, the same for the same number.

        :param cut: whether frames of sound lie across PES packets.
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
    """A PES packet, or a frame of it.

    :ivar stamps: five bytes for PTS, ten for PTS and DTS, none.
    :ivar pcr: six bytes; the clock when it began, if that is to be sent with it.
    :ivar key: the random access indicator.
    """

    stream_id: int
    stamps: bytes
    data: bytes = attrs.field(repr=False)
    pcr: bytes = b""
    key: bool = False


def make_stamp(ticks: int) -> bytes:
    """The five bytes of a PTS that stands alone (2.4.3.6)."""
    made = bytearray(b"\x20\0\0\0\0")
    write_stamp(made, 0, ticks)
    return bytes(made)


class Multiplexer:
    """Makes packets, with continuity counters that run on for each PID."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._counters: dict[int, int] = {}

    def unit(self, pid: int, unit: Unit, has_length: bool) -> list[bytes]:
        """A unit's packets.

        :param has_length: whether PES_packet_length is coded; pictures leave it open.
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
        """A packet with a clock value and no payload: its counter stands still (2.4.3.3)."""
        counter = self._counters.setdefault(pid, self._layout.counter)
        head = bytes([0x47, pid >> 8, pid & 0xFF, 0x20 | counter, PACKET - 5, 0x10])
        return (head + pcr).ljust(PACKET, b"\xff")

    def section(self, pid: int, body: bytes) -> bytes:
        """A packet with a section (2.4.4), given up to its CRC.

        :raises ValueError: it does not fit one packet.
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
    """An adaptation field (2.4.3.5) of just that size, its length included; none if there is no room."""
    if room < 2:
        return b"\0" * room
    return bytes([room - 1]) + (field or b"\0").ljust(room - 1, b"\xff")


def crc(data: bytes) -> int:
    """CRC-32 of a section (annex A)."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value & 0x80000000 else 0)) & 0xFFFFFFFF
    return value
