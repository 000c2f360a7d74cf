"""An index of the random access points of a stream, each with the PAT and PMT that belong to it.

Nearly every byte passes untouched. The scan steps from unit start to unit start and inspects three PIDs: the PAT, the
PMT, and the stream to start at. If a stream flags its random access points, the flag is sufficient. Only in other
streams are the pictures inspected. A table that is repeated unchanged is compared, not parsed. The exception is a
section that spans several packets: until it is complete, the packets between the unit starts are inspected too.

Of several programs the first is served. The tables are kept as the packets in which they arrived, always the latest
ones. The continuity counters of the PAT and PMT at a player therefore continue into the live stream. The tables are
unavailable until both have arrived, and from a change of the PAT until the new PMT has arrived.
"""

from __future__ import annotations

import attrs

from .packets import (
    PACKET_SIZE,
    PAT_PID,
    pid,
    random_access_indicator,
    scrambled,
    transport_error,
    unit_starts,
)
from .psi import (
    PAT_TABLE_ID,
    PMT_TABLE_ID,
    Codec,
    ProgramMap,
    Section,
    SectionAssembler,
    read_pat,
    read_pmt,
)
from .random_access import AccessKind, random_access_kind


@attrs.frozen
class AccessPoint:
    """A position in a chunk at which a player can start.

    :ivar offset: offset of the packet in which the PES packet of the picture (or audio) begins, bytes from the chunk's
        start.
    :ivar psi: packets of the PAT and PMT in force there, to be sent first.
    :ivar kind: kind of the first picture.
    """

    offset: int
    psi: bytes
    kind: AccessKind


class _Table:
    """The table in force on one PID: its section, and the packets in which it last arrived."""

    __slots__ = ("_assembler", "_extension", "_section", "_single_payload", "_table_id", "packets")

    def __init__(self, table_id: int, extension: int | None = None) -> None:
        self._table_id = table_id
        self._extension = extension
        self._assembler = SectionAssembler()
        self._section = b""
        self._single_payload = b""
        self.packets = b""

    @property
    def unfinished(self) -> bool:
        return self._assembler.unfinished

    def feed(self, packet: bytes) -> Section | None:
        """Take the next packet of the PID. Return the section if this packet completes one that changes the table."""
        if self._single_payload and packet.startswith(self._single_payload, 4) and not self.unfinished:
            self.packets = packet
            return None
        changed = None
        for section in self._assembler.feed(packet):
            if self._matches(section):
                changed = self._accept(section, packet) or changed
        return changed

    def _matches(self, section: Section) -> bool:
        if section.table_id != self._table_id or len(section.data) < 8 or section.number:
            return False
        return section.applies_now and self._extension in (None, section.table_id_extension)

    def _accept(self, section: Section, packet: bytes) -> Section | None:
        changed = section.data != self._section
        if changed and not section.is_valid:
            return None
        self._section = section.data
        self.packets = section.packets
        alone = section.packets == packet and not self.unfinished
        self._single_payload = packet[4 : packet.find(section.data, 4) + len(section.data)] if alone else b""
        return section if changed else None


class AccessIndex:
    """An index of the access points of one stream, filled chunk by chunk."""

    __slots__ = (
        "_has_flags",
        "_incomplete",
        "_pat",
        "_pmt",
        "_pmt_pid",
        "_program",
        "_program_map",
        "_start_codec",
        "_start_pid",
    )

    def __init__(self) -> None:
        self._has_flags = False
        self._start_codec = Codec.DATA
        self.reset()

    def reset(self) -> None:
        """Start another source: forget the tables of the last one."""
        self._pat = _Table(PAT_TABLE_ID)
        self._incomplete = False
        self._follow_program(None, None)

    @property
    def psi(self) -> bytes:
        """The packets of the PAT and PMT in force after the last chunk; ``b""`` until both are known."""
        return self._pat.packets + self._pmt.packets if self._program_map is not None else b""

    @property
    def program_map(self) -> ProgramMap | None:
        """The PMT in force; None while unknown."""
        return self._program_map

    def scan(self, packets: bytes) -> list[AccessPoint]:
        """Scan the next chunk of whole packets, of any length. Return its access points in order."""
        points: list[AccessPoint] = []
        scanned_to = 0
        for at in unit_starts(packets):
            if self._incomplete:
                self._finish_sections(packets, scanned_to, at)
            scanned_to = at + PACKET_SIZE
            packet_pid = pid(packets, at)
            if packet_pid == self._start_pid:
                flag = random_access_indicator(packets, at)
                if self._has_flags and not flag:
                    continue
                kind = random_access_kind(packets, at, self._start_codec)
                if kind is not None:
                    self._has_flags = flag and self._start_codec.is_video
                    points.append(AccessPoint(at, self.psi, kind))
            elif packet_pid == PAT_PID or packet_pid == self._pmt_pid:
                self._table_packet(packet_pid, packets, at)
        if self._incomplete:
            self._finish_sections(packets, scanned_to, len(packets))
        return points

    def _finish_sections(self, packets: bytes, start: int, end: int) -> None:
        """Search packets without a unit start for the rest of unfinished sections."""
        for at in range(start, end, PACKET_SIZE):
            if not self._incomplete:
                return
            packet_pid = pid(packets, at)
            if packet_pid == PAT_PID or packet_pid == self._pmt_pid:
                self._table_packet(packet_pid, packets, at)

    def _table_packet(self, packet_pid: int, packets: bytes, at: int) -> None:
        if transport_error(packets, at) or scrambled(packets, at):
            return
        packet = packets[at : at + PACKET_SIZE]
        if packet_pid == PAT_PID:
            section = self._pat.feed(packet)
            if section is not None:
                self._pat_changed(section)
        else:
            section = self._pmt.feed(packet)
            if section is not None:
                self._pmt_changed(section)
        self._incomplete = self._pat.unfinished or self._pmt.unfinished

    def _pat_changed(self, section: Section) -> None:
        first_program = next(iter(read_pat(section).items()), (None, None))
        if first_program != (self._program, self._pmt_pid):
            self._follow_program(*first_program)

    def _follow_program(self, program: int | None, pmt_pid: int | None) -> None:
        self._program = program
        self._pmt_pid = pmt_pid
        self._pmt = _Table(PMT_TABLE_ID, program)
        self._set_program_map(None)

    def _pmt_changed(self, section: Section) -> None:
        self._set_program_map(read_pmt(section))

    def _set_program_map(self, program_map: ProgramMap | None) -> None:
        """Select the stream with the random access points: the first video, else the first audio."""
        self._program_map = program_map
        streams = program_map.streams if program_map is not None else ()
        video = (stream for stream in streams if stream.codec.is_video)
        audio = (stream for stream in streams if stream.codec is Codec.AUDIO)
        first = next(video, None) or next(audio, None)
        self._has_flags = False
        self._start_pid = None if first is None else first.pid
        self._start_codec = Codec.DATA if first is None else first.codec
