"""Where a player can be let in: random access points of a stream and the PAT and PMT that belong to each.

Nearly every byte passes untouched: the walk steps from unit start to unit start, and of these it looks at
three PIDs only (the PAT's, the program map's, and that of the stream to start at). A stream that flags its random
access points is believed; only in others are the pictures looked into. A table that is repeated
unchanged is compared, not read. The exception is a section that runs over several packets: until it is
complete, the packets between the unit starts are looked through as well.

Of several programs the first is served. The tables are kept as the packets they came in, always the latest,
so that a player's continuity counters of the PAT and PMT run on into the live stream. They are not offered
until both have come, nor from a change of the PAT until the PMT it names has come.
"""

from __future__ import annotations

import attrs

from m3uproxy.core.mpegts.packets import (
    PACKET_SIZE,
    PAT_PID,
    pid,
    random_access_indicator,
    scrambled,
    transport_error,
    unit_starts,
)
from m3uproxy.core.mpegts.psi import (
    PAT_TABLE_ID,
    PMT_TABLE_ID,
    Codec,
    ProgramMap,
    Section,
    SectionAssembler,
    read_pat,
    read_pmt,
)
from m3uproxy.core.mpegts.random_access import AccessKind, random_access_kind


@attrs.frozen
class AccessPoint:
    """A place in a chunk where a player can start.

    :ivar offset: where in the chunk the packet begins in which the picture's (or audio's) PES packet starts.
    :ivar psi: the packets of the PAT and of the PMT in force there; to be sent first.
    :ivar kind: what the first picture is.
    """

    offset: int
    psi: bytes
    kind: AccessKind


class _Table:
    """The table of one PID that is in force: its section and the packets in which it was last seen."""

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
        """Take the PID's next packet; a section that changes the table, if this completes one."""
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
    """Finds the access points of one stream, chunk by chunk."""

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
        """Another source begins: nothing of what the last one announced applies."""
        self._pat = _Table(PAT_TABLE_ID)
        self._incomplete = False
        self._follow_program(None, None)

    @property
    def psi(self) -> bytes:
        """Packets of the PAT and PMT in force after the last chunk; ``b""`` until both are known."""
        return self._pat.packets + self._pmt.packets if self._program_map is not None else b""

    @property
    def program_map(self) -> ProgramMap | None:
        """The PMT in force, if there is one."""
        return self._program_map

    def scan(self, packets: bytes) -> list[AccessPoint]:
        """Walk the next chunk of whole packets, of any length; its access points in order."""
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
        """Look for the rest of unfinished sections in packets in which no unit starts."""
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
        """Choose the stream whose random access points count: the first video, else the first audio."""
        self._program_map = program_map
        streams = program_map.streams if program_map is not None else ()
        video = [stream for stream in streams if stream.codec.is_video]
        audio = [stream for stream in streams if stream.codec is Codec.AUDIO]
        first = next(iter(video + audio), None)
        self._has_flags = False
        self._start_pid = None if first is None else first.pid
        self._start_codec = Codec.DATA if first is None else first.codec
