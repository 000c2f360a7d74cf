"""The overlap of video: finds out if a new source repeats pictures that were sent, and where it continues.

Providers replay the last seconds to each new connection: unchanged, multiplexed again, or with other timestamps. Only
the elementary stream stays the same, so that is compared. Pictures are compared unit by unit, because a picture is one
unit in any multiplex. Audio is compared byte by byte, because its units differ.

Two streams overlap if, from the new source's first unit on, **all** units equal those sent, up to the last one sent. A
single equal unit proves nothing (black pictures, silence). Equal timestamps prove nothing either (another encode of the
same programme). The first bytes of each unit find the position, and all bytes of the last seconds decide. Of several
positions the first is correct: it gives the longest run. Pictures shown in a loop fit in several positions for as long
as the loop lasts. There, a complete run of many different units is preferred to a longer one that is still incomplete.

The search ends early: if the new source's first units were never sent, there is no overlap.
"""

from __future__ import annotations

from enum import Enum

import attrs

from ..mpegts.pes import PesIndex
from ..mpegts.timestamps import TICKS, WRAP, ahead

#: Bytes of a unit that serve as its key.
KEY = 64
#: A source is waited for if its timestamps begin at most this much before the known past, ticks.
REACH = 60 * TICKS
#: Units of the new source that are tried before the search ends without a match. The first unit may be damaged on
#: either side. The search does not wait for a second unit.
_MAX_ANCHORS = 2
#: The number of last units of which every byte is compared.
_COMPARED_UNITS = 50
#: Different units in a run that is accepted although a longer one may follow.
_MIN_DISTINCT = 12
#: Different units in a run that is accepted after a longer one can no longer be waited for.
_MIN_DISTINCT_LATE = 4


class OverlapSearch(Enum):
    """The state of a search without a match."""

    WAITING = "undecided"
    NONE = "no overlap"


@attrs.frozen
class OverlapMatch:
    """The position at which a track of the new source continues.

    :ivar number: number of the unit on its PID, counted from the source's first.
    :ivar skip: bytes of the unit's elementary stream that were sent already.
    :ivar offset: ticks from the new source's timestamps to those sent.
    :ivar units: units compared.
    """

    number: int
    skip: int
    offset: int
    units: int


class VideoOverlap:
    """A search for the overlap of one track in which a unit is a picture."""

    def __init__(self, sent: PesIndex, sent_pid: int, new: PesIndex, new_pid: int) -> None:
        self._sent, self._sent_pid = sent, sent_pid
        self._new, self._new_pid = new, new_pid
        self._units_by_key: dict[bytes, list[int]] = {}
        for number in range(sent.count(sent_pid)):
            self._units_by_key.setdefault(sent.prefix(sent_pid, number, KEY), []).append(number)
        self._anchor = -1
        self._anchors_tried = 0
        self._starts: list[int] = []
        self._matched_units = 0
        self._checked_starts: set[int] = set()

    def search(self, last_chance: bool = False) -> OverlapMatch | OverlapSearch:
        """Search again after more of the new source has arrived.

        :param last_chance: True if no more packets can be waited for. Undecided positions are then skipped.
        """
        complete = self._new.count(self._new_pid) - 1
        passed_over = False
        while True:
            while self._starts:
                found = self._compare_from(self._starts[0], complete)
                if found is OverlapSearch.WAITING:
                    found = self._match_shorter_run(complete)
                if found is OverlapSearch.WAITING and not last_chance:
                    return found
                if isinstance(found, OverlapMatch) and self._is_credible(found, passed_over):
                    return found
                passed_over = passed_over or found is OverlapSearch.WAITING
                self._starts.pop(0)
                self._matched_units = 0
            if self._anchors_tried >= _MAX_ANCHORS:
                return OverlapSearch.NONE
            if self._anchor + 1 >= complete:
                return OverlapSearch.NONE if self._anchors_tried or last_chance else OverlapSearch.WAITING
            self._next_anchor()

    def _compare_from(self, start: int, complete: int) -> OverlapMatch | OverlapSearch:
        """Continue the comparison from one position: keys while units arrive, all bytes when all units have arrived."""
        run = self._sent.count(self._sent_pid) - start
        while self._matched_units < min(run, complete - self._anchor):
            sent_unit, new_unit = start + self._matched_units, self._anchor + self._matched_units
            if self._sent.prefix(self._sent_pid, sent_unit, KEY) != self._new.prefix(self._new_pid, new_unit, KEY):
                return OverlapSearch.NONE
            self._matched_units += 1
        if self._matched_units < run:
            return OverlapSearch.WAITING
        return self._match(start, run) if self._is_identical(start, run) else OverlapSearch.NONE

    def _match_shorter_run(self, complete: int) -> OverlapMatch | OverlapSearch:
        """Match a shorter run that is complete and too varied for chance, while a longer one is still possible."""
        for start in self._starts[1:]:
            run = self._sent.count(self._sent_pid) - start
            if start in self._checked_starts or run > complete - self._anchor:
                continue
            self._checked_starts.add(start)
            keys = [self._sent.prefix(self._sent_pid, start + n, KEY) for n in range(run)]
            matched = all(key == self._new.prefix(self._new_pid, self._anchor + n, KEY) for n, key in enumerate(keys))
            if len(set(keys)) >= _MIN_DISTINCT and matched and self._is_identical(start, run):
                return self._match(start, run)
        return OverlapSearch.WAITING

    def _is_credible(self, match: OverlapMatch, passed_over: bool) -> bool:
        return not (passed_over and self._distinct_units(match.units) < _MIN_DISTINCT_LATE)

    def _distinct_units(self, units: int) -> int:
        """Return the number of different units among the last ones sent."""
        count = self._sent.count(self._sent_pid)
        return len({self._sent.prefix(self._sent_pid, number, KEY) for number in range(count - units, count)})

    def _next_anchor(self) -> None:
        self._anchor += 1
        self._checked_starts.clear()
        key = self._new.prefix(self._new_pid, self._anchor, KEY)
        self._starts = list(self._units_by_key.get(key, ())) if key else []
        kept = [start for start in self._starts if self._distance(start) == 0]
        if kept:
            self._starts = kept
        # Key frames begin alike. A match of a unit from before the known past does not count as a try.
        if not 0 < (self._distance(0) or 0) < REACH:
            self._anchors_tried += 1

    def _distance(self, start: int) -> int | None:
        """Return the ticks from the anchor to a sent unit; None if unknown."""
        if start >= self._sent.count(self._sent_pid):
            return None
        sent_unit, new_unit = self._sent.header(self._sent_pid, start), self._new.header(self._new_pid, self._anchor)
        if sent_unit is None or new_unit is None or sent_unit.dts is None or new_unit.dts is None:
            return None
        return ahead(sent_unit.dts, new_unit.dts)

    def _is_identical(self, start: int, units: int) -> bool:
        return all(
            self._sent.content(self._sent_pid, start + n) == self._new.content(self._new_pid, self._anchor + n)
            for n in reversed(range(max(units - _COMPARED_UNITS, 0), units))
        )

    def _match(self, start: int, run: int) -> OverlapMatch | OverlapSearch:
        last = self._sent.header(self._sent_pid, start + run - 1)
        counterpart = self._new.header(self._new_pid, self._anchor + run - 1)
        if last is None or counterpart is None or last.dts is None or counterpart.dts is None:
            return OverlapSearch.NONE
        return OverlapMatch(self._anchor + run, 0, (last.dts - counterpart.dts) % WRAP, run)
