"""The tables that players were told, as packets: kept in force over a splice, counted on, or announced anew."""

from __future__ import annotations

import attrs

from m3uproxy.core.mpegts.access_index import AccessIndex
from m3uproxy.core.mpegts.packets import PACKET_SIZE, PAT_PID, SYNC_BYTE
from m3uproxy.core.mpegts.packets import pid as pid_of
from m3uproxy.core.mpegts.pes import packets_of
from m3uproxy.core.mpegts.psi import PMT_TABLE_ID, ProgramMap, Section, SectionAssembler, crc32, read_pmt
from m3uproxy.core.splice.track_mapping import TrackMapping

_PAYLOAD = PACKET_SIZE - 4


@attrs.frozen
class PsiTables:
    """A PAT and the PMT it names, as packets."""

    program: ProgramMap
    pmt_pid: int
    pat: bytes
    pmt: bytes


def tables_of(index: AccessIndex) -> PsiTables | None:
    """The tables in force at the end of what an index has scanned."""
    program, psi = index.program_map, index.psi
    if program is None:
        return None
    pids = (pid_of(psi, at) for at in range(0, len(psi), PACKET_SIZE))
    pmt_pid = next((pid for pid in pids if pid != PAT_PID), PAT_PID)
    return PsiTables(program, pmt_pid, _of_pid(psi, PAT_PID), _of_pid(psi, pmt_pid))


def _of_pid(psi: bytes, pid: int) -> bytes:
    return b"".join([psi[at : at + PACKET_SIZE] for at in packets_of(psi, pid, 0, len(psi))])


def announce(tables: PsiTables, mapping: TrackMapping) -> PsiTables:
    """The tables with the codecs of the new source on the PIDs of the old one, the PMT's version one up.

    Tracks without a twin are left out. PAT, program number and PID of the clock stay.
    """
    section = _section(tables.pmt)
    if section is None:
        return tables
    info = 12 + ((section[10] & 0x0F) << 8 | section[11])
    body = section[8:info]
    for pair in mapping.pairs:
        loop = pair.new.descriptors
        body += bytes([pair.new.stream_type]) + (0xE000 | pair.sent.pid).to_bytes(2, "big")
        body += (0xF000 | len(loop)).to_bytes(2, "big") + loop
    length = (len(body) + 9 | section[1] << 8 & 0xF000).to_bytes(2, "big")
    version = section[5] & 0xC1 | section[5] + 2 & 0x3E
    made = section[:1] + length + section[3:5] + bytes([version]) + section[6:8] + body
    made += crc32(made).to_bytes(4, "big")
    program = read_pmt(Section(made, b""))
    return tables if program is None else PsiTables(program, tables.pmt_pid, tables.pat, _packed(tables.pmt_pid, made))


def _section(packets: bytes) -> bytes | None:
    """The program map section in these packets."""
    assembler = SectionAssembler()
    for at in range(0, len(packets), PACKET_SIZE):
        for section in assembler.feed(packets[at : at + PACKET_SIZE]):
            if section.table_id == PMT_TABLE_ID:
                return section.data
    return None


def _packed(pid: int, section: bytes) -> bytes:
    payload = b"\0" + section
    payload += b"\xff" * (-len(payload) % _PAYLOAD)
    packets = b""
    for at in range(0, len(payload), _PAYLOAD):
        head = bytes([SYNC_BYTE, (0 if at else 0x40) | pid >> 8, pid & 0xFF, 0x10])
        packets += head + payload[at : at + _PAYLOAD]
    return packets


class Carousel:
    """Repeats a table, its continuity counter running on from the last one sent."""

    __slots__ = ("_packets", "counter")

    def __init__(self, packets: bytes, counter: int) -> None:
        self._packets = packets
        self.counter = counter

    def take(self) -> bytes:
        """The table once more."""
        out = bytearray(self._packets)
        for at in range(3, len(out), PACKET_SIZE):
            self.counter = self.counter + 1 & 0x0F
            out[at] = out[at] & 0xF0 | self.counter
        return bytes(out)
