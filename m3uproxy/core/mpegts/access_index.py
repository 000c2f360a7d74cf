"""An index of the random access points of a stream, each with the PAT and PMT that belong to it.

Nearly every byte passes untouched. The scan steps from unit start to unit start and inspects the PIDs of the tables and
of the stream to start at. If a stream flags its random access points, the flag is sufficient. Only in other streams are
the pictures inspected. The exceptions are a section and a picture's beginning that span several packets: until they are
complete, packets between the unit starts are inspected too.

:mod:`m3uproxy.core.mpegts.program_choice` chooses the program. The tables are kept as the packets in which they
arrived, always the latest ones. The continuity counters of the PAT and PMT at a player therefore continue into the live
stream. The tables are unavailable until both have arrived, and from a change of the PAT until the new PMT has arrived.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from .packets import PACKET_SIZE, PAT_PID, pid, random_access_indicator, scrambled, transport_error, unit_starts
from .program_choice import ProgramChoice
from .psi import PAT_TABLE_ID, PMT_TABLE_ID, Codec, ProgramMap, Section, read_pat, read_pmt
from .random_access import AccessKind, PictureSearch, random_access_kind
from .table_reader import TableReader

#: Units without the flag, in a stream with flags, after which units are inspected again.
_MAX_UNFLAGGED = 250
#: Cost of reading a PMT without streams, microseconds.
_MAP_COST = 10
#: Programs whose PMTs are sent before an access point, at most.
_MAX_SENT_PROGRAMS = 16


@attrs.frozen
class AccessPoint:
    """A position in a chunk at which a player can start.

    :ivar offset: offset of the packet in which the PES packet of the picture (or audio) begins, bytes from the chunk's
        start; negative if it has begun in an earlier chunk, which did not show the picture.
    :ivar psi: packets of the PAT and PMT in force there, to be sent first.
    :ivar kind: kind of the first picture.
    """

    offset: int
    psi: bytes
    kind: AccessKind


class AccessIndex:
    """An index of the access points of one stream, filled chunk by chunk."""

    __slots__ = (
        "_choice",
        "_needs_units",
        "_pat",
        "_program_map",
        "_psi",
        "_readers",
        "_search",
        "_search_at",
        "_start_codec",
        "_start_pid",
        "_unfinished",
        "_unflagged",
        "_work",
    )

    def __init__(self, program: int | None = None, is_certain: bool = False) -> None:
        """Start without tables.

        :param program: number of the program that is preferred.
        :param is_certain: True to follow that program as soon as its PMT is known.
        """
        self._work = 0
        self.reset(program, is_certain)

    def reset(self, program: int | None = None, is_certain: bool = False) -> None:
        """Start another source: forget the tables of the last one."""
        self._choice = ProgramChoice(program, is_certain)
        self._needs_units = True
        self._pat = TableReader(PAT_TABLE_ID)
        self._readers = {PAT_PID: self._pat}
        # PIDs with a section that has begun.
        self._unfinished: set[int] = set()
        self._psi: bytes | None = None
        self._program_map: ProgramMap | None = None
        self._start_pid: int | None = None
        self._start_codec = Codec.DATA
        self._unflagged = _MAX_UNFLAGGED
        # The picture of a unit is searched, and the offset of the unit from the start of the chunk.
        self._search: PictureSearch | None = None
        self._search_at = 0

    @property
    def psi(self) -> bytes:
        """The packets of the PAT and of the PMTs in force after the last chunk; ``b""`` until both are known.

        The PMT of the program that is followed is the first one. Other sent programs have theirs, too.
        """
        if self._psi is None:
            self._psi = self._join_tables()
        return self._psi

    @property
    def pat(self) -> bytes:
        """The packets of the PAT."""
        return self._pat.all_packets

    @property
    def pmt(self) -> bytes:
        """The packets of the PMT of the program that is followed; ``b""`` while unknown."""
        program, pmt_pid = self._choice.followed, self.pmt_pid
        return b"" if program is None or pmt_pid is None else self._readers[pmt_pid].packets(program)

    @property
    def pmt_pid(self) -> int | None:
        """The PID of the PMT of the program that is followed; None while unknown."""
        return None if self._program_map is None else self._choice.programs.get(self._program_map.program)

    @property
    def program_map(self) -> ProgramMap | None:
        """The PMT in force; None while unknown."""
        return self._program_map

    @property
    def has_programs(self) -> bool:
        """True if a PAT has come."""
        return bool(self._choice.programs)

    @property
    def is_settled(self) -> bool:
        """True if packets that are yet to come do not change which program is followed."""
        return self._choice.settled

    def read_table(self, packets: bytes, at: int) -> None:
        """Read the packet at ``at`` if it belongs to a table. For a caller that does not scan the other packets."""
        packet_pid = pid(packets, at)
        if packet_pid in self._readers:
            changed = self._feed_reader(packet_pid, packets, at)
            if changed:
                self._tables_received(packet_pid, changed)

    def take_work(self) -> int:
        """Return the cost of the tables and pictures that were read since the last call, microseconds."""
        work, self._work = self._work, 0
        return work

    def scan(self, packets: bytes, is_repeated: bool = False) -> list[AccessPoint]:
        """Scan the next chunk of whole packets, of any length. Return its access points in order.

        :param is_repeated: True if the packets were scanned before. Then the tables in force at the end count.
        """
        points: list[AccessPoint] = []
        scanned_to = 0
        if self._search is not None:
            self._continue_search(self._search, packets, 0, points)
        for at in unit_starts(packets):
            if self._unfinished and not is_repeated:
                self._finish_sections(packets, scanned_to, at)
            scanned_to = at + PACKET_SIZE
            packet_pid = pid(packets, at)
            if self._needs_units and packet_pid not in self._choice.recent and not is_repeated:
                self._unit_started(packet_pid)
            if packet_pid == self._start_pid:
                flag = random_access_indicator(packets, at)
                if flag or self._unflagged >= _MAX_UNFLAGGED:
                    self._inspect_unit(packets, at, flag, points)
                else:
                    self._unflagged += 1
            elif packet_pid in self._readers and not is_repeated:
                self._table_packet(packet_pid, packets, at)
        if self._unfinished and not is_repeated:
            self._finish_sections(packets, scanned_to, len(packets))
        self._search_at -= len(packets)
        return points

    # pictures

    def _inspect_unit(self, packets: bytes, at: int, flag: bool, points: list[AccessPoint]) -> None:
        """Append the access point if a unit of the stream to start at is one."""
        kind = random_access_kind(packets, at, self._start_codec)
        if kind is AccessKind.UNDECIDED:
            self._search, self._search_at = PictureSearch(pid(packets, at), self._start_codec), at
            self._continue_search(self._search, packets, at, points)
        elif kind is not None:
            self._unflagged = 0 if flag and self._start_codec.is_video else _MAX_UNFLAGGED
            points.append(AccessPoint(at, self.psi, kind))

    def _continue_search(self, search: PictureSearch, packets: bytes, at: int, points: list[AccessPoint]) -> None:
        """Search the picture of a unit in its packets from ``at`` on."""
        is_done = search.read(packets, at)
        self._work += search.take_cost()
        if not is_done:
            return
        self._search = None
        if search.kind is not None:
            points.append(AccessPoint(self._search_at, self.psi, search.kind))

    # tables

    def _finish_sections(self, packets: bytes, start: int, end: int) -> None:
        """Search packets without a unit start for the rest of unfinished sections."""
        for at in range(start, end, PACKET_SIZE):
            if not self._unfinished:
                return
            packet_pid = pid(packets, at)
            if packet_pid in self._unfinished:
                self._table_packet(packet_pid, packets, at)

    def _table_packet(self, packet_pid: int, packets: bytes, at: int) -> None:
        changed = self._feed_reader(packet_pid, packets, at)
        if changed or self._needs_units:
            self._tables_received(packet_pid, changed)

    def _feed_reader(self, packet_pid: int, packets: bytes, at: int) -> list[Section]:
        """Return the sections that a packet completes and that change a table."""
        if transport_error(packets, at) or scrambled(packets, at):
            return []
        reader = self._readers[packet_pid]
        changed = reader.feed(packets[at : at + PACKET_SIZE])
        self._psi = None
        if reader.unfinished:
            self._unfinished.add(packet_pid)
        elif self._unfinished:
            self._unfinished.discard(packet_pid)
        return changed

    def _tables_received(self, packet_pid: int, changed: list[Section]) -> None:
        """Tell the choice which tables have come."""
        if packet_pid == PAT_PID:
            self._pat_received(changed)
        else:
            self._pmt_received(packet_pid, changed)
        self._follow_choice()

    def _pat_received(self, changed: list[Section]) -> None:
        if not changed:
            self._choice.pat_repeated()
            return
        programs: dict[int, int] = {}
        for section in self._pat.sections:
            programs.update(read_pat(section))
        self._work += len(programs)
        pids = _programs_by_pid(self._choice.programs)
        self._choice.set_programs({program: pmt_pid for program, pmt_pid in programs.items() if pmt_pid != PAT_PID})
        new_pids = _programs_by_pid(self._choice.programs)
        kept = {each: self._readers[each] for each in new_pids if pids.get(each) == new_pids[each]}
        self._readers = {PAT_PID: self._pat, **{each: kept.get(each) or TableReader(PMT_TABLE_ID) for each in new_pids}}
        self._unfinished.intersection_update(self._readers)

    def _pmt_received(self, packet_pid: int, changed: list[Section]) -> None:
        choice = self._choice
        for section in changed:
            if choice.programs.get(section.table_id_extension) == packet_pid:
                program_map = read_pmt(section)
                choice.set_map(section.table_id_extension, program_map)
                self._work += _MAP_COST + (len(program_map.streams) if program_map is not None else 0)
        followed = choice.followed
        if not changed and followed is not None and choice.programs[followed] == packet_pid:
            choice.map_repeated(followed)

    def _unit_started(self, packet_pid: int) -> None:
        if packet_pid not in self._readers:
            self._choice.unit_started(packet_pid)
            self._psi = None
            self._follow_choice()

    def _follow_choice(self) -> None:
        """Follow the program that is chosen, from its stream to start at on."""
        program_map, last = self._choice.program_map, self._program_map
        self._needs_units = self._choice.needs_units
        if program_map == last and (last is None or program_map is None or program_map.main_pid == last.main_pid):
            return
        main = None if program_map is None else program_map.main
        self._program_map = program_map
        self._start_pid = None if main is None else main.pid
        self._start_codec = Codec.DATA if main is None else main.codec
        self._unflagged, self._search, self._psi = _MAX_UNFLAGGED, None, None

    def _join_tables(self) -> bytes:
        """Return the packets of all tables that belong to the streams that come."""
        followed = self._program_map
        if followed is None:
            return b""
        programs = self._choice.programs
        if len(programs) == 1:
            return self._pat.all_packets + self.pmt
        numbers = [followed.program, *self._choice.sent_programs[:_MAX_SENT_PROGRAMS]]
        tables = dict.fromkeys(self._readers[programs[number]].packets(number) for number in numbers)
        return self._pat.all_packets + b"".join(tables)


def _programs_by_pid(programs: Mapping[int, int]) -> dict[int, list[int]]:
    """Return the programs of each PID of PMTs."""
    pids: dict[int, list[int]] = {}
    for program, pmt_pid in programs.items():
        pids.setdefault(pmt_pid, []).append(program)
    return pids
