"""The tables that players received, as packets: kept in force, repeated, or announced with new codecs."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from .access_index import AccessIndex
from .packets import NULL_PID, PACKET_SIZE, payload_unit_start
from .packets import pid as pid_of
from .pes import START_CODE, payload_of
from .psi import (
    PMT_TABLE_ID,
    ElementaryStream,
    ProgramMap,
    Section,
    SectionAssembler,
    crc32,
    read_pmt,
    section_packets,
)


@attrs.frozen
class PsiTables:
    """A PAT and its PMT, as packets."""

    program: ProgramMap
    pmt_pid: int
    pat: bytes
    pmt: bytes


def tables_in_force(index: AccessIndex) -> PsiTables | None:
    """Return the tables in force at the end of the packets that an index has scanned; None while unknown."""
    program, pmt_pid = index.program_map, index.pmt_pid
    if program is None or pmt_pid is None:
        return None
    return PsiTables(program, pmt_pid, index.pat, index.pmt)


def lead_up(packets: bytes, counter: int) -> bytes:
    """Return packets of a table with counters that lead up to its next packet, whose counter is ``counter``."""
    return TableRepeater(packets, counter - 1 - len(packets) // PACKET_SIZE).repeat()


def begins_with_tables(packets: bytes, tables: bytes, may_follow: bool = False) -> bool:
    """Return whether whole packets begin with certain tables, in their order and before any picture or sound.

    :param tables: packets of a PAT and of PMTs. Their counters are not compared.
    :param may_follow: accept tables of other kinds before the PAT.
    """
    missing = [_without_counter(tables, at) for at in range(0, len(tables), PACKET_SIZE)]
    for at in range(0, len(packets), PACKET_SIZE):
        packet = _without_counter(packets, at)
        if missing and packet == missing[0]:
            missing.pop(0)
        elif packet in missing or not _is_other_table(packets, at) or not (at or may_follow):
            return False
        if not missing:
            return True
    return False


def _is_other_table(packets: bytes, at: int) -> bool:
    """Return whether a packet is padding, or begins with a table."""
    is_table = payload_unit_start(packets, at) and payload_of(packets, at)[:3] != START_CODE
    return is_table or pid_of(packets, at) == NULL_PID


def _without_counter(packets: bytes, at: int) -> tuple[bytes, int, bytes]:
    """Return the parts of a packet that do not count packets."""
    return packets[at : at + 3], packets[at + 3] & 0xF0, packets[at + 4 : at + PACKET_SIZE]


def announce(tables: PsiTables, streams: Iterable[ElementaryStream]) -> PsiTables:
    """Return the tables with other streams and the next version of the PMT.

    PAT, program number and PID of the clock stay.

    :param streams: streams of the new PMT, on the PIDs that players know.
    """
    section = _pmt_section(tables.pmt)
    if section is None:
        return tables
    info = 12 + ((section[10] & 0x0F) << 8 | section[11])
    body = section[8:info]
    for stream in streams:
        stream_descriptors = stream.descriptors
        body += bytes([stream.stream_type]) + (0xE000 | stream.pid).to_bytes(2, "big")
        body += (0xF000 | len(stream_descriptors)).to_bytes(2, "big") + stream_descriptors
    length = (len(body) + 9 | section[1] << 8 & 0xF000).to_bytes(2, "big")
    version = section[5] & 0xC1 | section[5] + 2 & 0x3E
    new_section = section[:1] + length + section[3:5] + bytes([version]) + section[6:8] + body
    new_section += crc32(new_section).to_bytes(4, "big")
    program = read_pmt(Section(new_section, b""))
    return (
        tables
        if program is None
        else PsiTables(program, tables.pmt_pid, tables.pat, section_packets(tables.pmt_pid, new_section))
    )


def _pmt_section(packets: bytes) -> bytes | None:
    """Return the program map section in these packets."""
    assembler = SectionAssembler()
    for at in range(0, len(packets), PACKET_SIZE):
        for section in assembler.feed(packets[at : at + PACKET_SIZE]):
            if section.table_id == PMT_TABLE_ID:
                return section.data
    return None


class TableRepeater:
    """A table that is sent repeatedly, with a continuity counter that continues from the last packet sent."""

    __slots__ = ("_packets", "counter")

    def __init__(self, packets: bytes, counter: int) -> None:
        self._packets = packets
        self.counter = counter

    def repeat(self) -> bytes:
        """Return the packets of the table with the next counters."""
        out = bytearray(self._packets)
        for at in range(3, len(out), PACKET_SIZE):
            self.counter = self.counter + 1 & 0x0F
            out[at] = out[at] & 0xF0 | self.counter
        return bytes(out)
