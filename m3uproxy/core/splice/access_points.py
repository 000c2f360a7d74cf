"""The random access points of a new source, each examined once, while the source is held back."""

from __future__ import annotations

from bisect import bisect_left

import attrs

from ..mpegts.access_index import AccessIndex
from ..mpegts.pes import PesIndex
from ..mpegts.psi import Codec
from ..mpegts.psi_tables import PsiTables, tables_in_force
from ..mpegts.random_access import VIDEO_UNITS, AccessKind, first_picture
from ..mpegts.timestamps import ahead
from .allowance import SCAN_BYTES, START_COST, Allowance, scan_cost

#: Bytes of a unit in which its first slice is searched.
_MAX_SEARCH = 1 << 16
#: Scans of all packets, at most: one more for each program that was followed before the last one.
_MAX_SCANS = 4


@attrs.frozen
class AccessUnit:
    """A unit at which the source can begin.

    :ivar pts: None if unknown.
    :ivar is_clean: True if a running decoder continues without errors.
    """

    number: int
    pts: int | None
    is_clean: bool


@attrs.define
class StartUnits:
    """The units nearest to a time at which the source can begin.

    :ivar later: first unit after that time.
    :ivar later_clean: first one of these at which a running decoder continues without errors.
    :ivar earlier: last unit that is not after that time.
    :ivar earlier_clean: last one of these at which a running decoder continues without errors.
    """

    later: AccessUnit | None = None
    later_clean: AccessUnit | None = None
    earlier: AccessUnit | None = None
    earlier_clean: AccessUnit | None = None
    seen: int = 0

    def add(self, unit: AccessUnit, after: int | None) -> None:
        """Take the next unit; ``after`` is the time."""
        if after is None or unit.pts is None or ahead(unit.pts, after) > 0:
            self.later = self.later or unit
            if unit.is_clean:
                self.later_clean = self.later_clean or unit
        else:
            self.earlier = unit
            if unit.is_clean:
                self.earlier_clean = unit


class AccessPoints:
    """The tables and random access points of a new source.

    :ivar lacks_idr: True if two random access points without an IDR picture have come one after the other. A stream of
        open groups of pictures may have no IDR picture at all, so none is waited for.
    """

    def __init__(self, new: PesIndex, program: int | None = None) -> None:
        """Start without packets.

        :param new: packets of the source.
        :param program: number of the program that players know, which is preferred.
        """
        self._new = new
        self._index = AccessIndex(program)
        # Ends of the packets that were scanned in the present scan, and in any scan.
        self._scanned = self._scanned_once = 0
        self._scans = 1
        self._points: list[tuple[int, AccessKind]] = []
        self._pid: int | None = None
        self._codec = Codec.DATA
        self._examined = 0
        self._units: list[AccessUnit] = []
        self.lacks_idr = False
        self._choices: dict[int | None, StartUnits] = {}

    @property
    def tables(self) -> PsiTables | None:
        """The tables in force at the end of the packets scanned."""
        return tables_in_force(self._index)

    @property
    def has_programs(self) -> bool:
        """True if a PAT has come."""
        return self._index.has_programs

    @property
    def is_settled(self) -> bool:
        """True if packets that are yet to come do not change which program is followed."""
        return self._index.is_settled

    def scan(self, allowance: Allowance, only_tables: bool = False) -> bool:
        """Scan the packets that are not scanned yet. Return True if all are scanned.

        Access points before the tables count: when the program is known, or another one, the packets are scanned again.

        :param only_tables: True if access points before the tables are not needed.
        """
        new = self._new
        while self._scanned < new.size:
            if allowance.left <= 0:
                return False
            begin = max(self._scanned, new.base)
            is_repeated = begin < self._scanned_once
            end = min(begin + SCAN_BYTES, self._scanned_once if is_repeated else new.size)
            part = bytes(new.data[begin - new.base : end - new.base])
            program = self._program
            points = self._index.scan(part, is_repeated)
            allowance.spend(scan_cost(self._index, part))
            self._scanned_once = max(self._scanned_once, end)
            if not only_tables and self._program not in (program, None) and self._scans < _MAX_SCANS:
                self._scans += 1
                self._scanned, self._points, self._examined = new.base, [], 0
                continue
            self._points += [(begin + point.offset, point.kind) for point in points]
            self._scanned = end
        return True

    @property
    def _program(self) -> int | None:
        return None if self._index.program_map is None else self._index.program_map.program

    def follow(self, pid: int, codec: Codec) -> None:
        """Examine the access points of one track."""
        if pid != self._pid:
            self._pid, self._codec = pid, codec
            self._examined, self._units, self._choices = 0, [], {}
            self.lacks_idr = False

    def examine(self, allowance: Allowance) -> bool:
        """Examine the access points whose units have arrived. Return True if all are examined."""
        while self._pid is not None and self._examined < len(self._points):
            if allowance.left <= 0:
                return False
            offset, kind = self._points[self._examined]
            starts = self._new.starts.get(self._pid, [])
            number = bisect_left(starts, offset)
            if offset >= self._new.base and number < len(starts) and starts[number] == offset:
                if not self._new.is_whole(self._pid, number):
                    allowance.spend(50)
                    return True
                unit = self._examine_unit(self._pid, number, kind, allowance)
                if self._units and not (unit.is_clean or self._units[-1].is_clean):
                    self.lacks_idr = True
                self._units.append(unit)
            self._examined += 1
            allowance.spend(START_COST)
        return True

    def _examine_unit(self, pid: int, number: int, kind: AccessKind, allowance: Allowance) -> AccessUnit:
        header = self._new.header(pid, number)
        units = VIDEO_UNITS.get(self._codec)
        if kind is AccessKind.UNKNOWN and units is not None:
            # The first packet does not show the first slice.
            content = self._new.content(pid, number, _MAX_SEARCH)
            kind = first_picture(content, 0, len(content), units, True) or kind
            allowance.spend(len(content) // 20)
        is_clean = kind is AccessKind.IDR or self._codec is not Codec.H264
        return AccessUnit(number, None if header is None else header.pts, is_clean)

    def choose(self, after: int | None) -> StartUnits:
        """Return the units at which the source can begin, nearest to a time.

        :param after: PTS of that time; None if the source has another clock. Then all units are later.
        """
        chosen = self._choices.setdefault(after, StartUnits())
        for unit in self._units[chosen.seen :]:
            chosen.add(unit, after)
        chosen.seen = len(self._units)
        return chosen

    def forget_dropped(self) -> None:
        """Forget the access points in packets that were dropped."""
        first = 0 if self._pid is None else self._new.first_kept(self._pid)
        self._units = [unit for unit in self._units if unit.number >= first]
        self._choices = {}
