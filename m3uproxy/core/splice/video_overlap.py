"""Whether a new source brings again what has been sent, and where it goes on from there.

Providers replay the last seconds to whoever connects, as they were, packed anew, or with other stamps. What stays
is the elementary stream, so that is what is compared: of pictures unit by unit, since a picture is one unit however
it is packed; of sound byte by byte, since its units are not.

Two streams overlap if from the new one's first unit on **all** units are those sent, up to the last one sent. One
that is equal proves nothing (black pictures, silence), and equal stamps do not either (another encode of the same
programme). The first bytes of each unit find the place, and all bytes of the last seconds decide. Of several
places the first is right: that of the longest run. What is shown in a loop fits in several places for as long as it
lasts; there a run of many different units that is all there is preferred to a longer one that would be waited for.

Nothing is waited for in vain: if the new source's first units were never sent, there is no overlap.
"""

from __future__ import annotations

from enum import Enum

import attrs

from m3uproxy.core.mpegts.pes import PesIndex
from m3uproxy.core.mpegts.timestamps import TICKS, WRAP, ahead

#: Bytes that find a place.
KEY = 64
#: A source whose stamps say that it begins at most this much before what is still known is waited for, ticks.
REACH = 60 * TICKS
#: Units of the new source that are looked for before it is believed that it brings nothing again. The first may be
#: damaged on either side; but a second is not waited for.
_MAX_ANCHORS = 2
#: Units, the last ones, of which every byte is compared.
_COMPARED_UNITS = 50
#: Different units in a run that is believed in although a longer one may turn up.
_MIN_DISTINCT = 12
#: Different units in a run that is believed in when a longer one can no more be waited for.
_MIN_DISTINCT_LATE = 4


class OverlapSearch(Enum):
    """What is known of an overlap that has not been found."""

    WAITING = "it may be there"
    NONE = "there is none"


@attrs.frozen
class OverlapMatch:
    """Where a track of the new source goes on.

    :ivar number: the unit, counted on its PID from the source's first.
    :ivar skip: bytes of its elementary stream that were sent already.
    :ivar offset: ticks from the new source's stamps to those sent.
    :ivar units: how many were compared.
    """

    number: int
    skip: int
    offset: int
    units: int


class VideoOverlap:
    """Looks for the overlap of one track in which a unit is a picture."""

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
        """Look again, after more of the new source has come.

        :param last_chance: no more will come: what cannot be decided is passed over.
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
        """Go on comparing from one place; keys while units come, everything when all have come."""
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
        """A shorter run that is all there and long enough not to be chance, while a longer one is still possible."""
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
        """How many different ones are among the last that were sent."""
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
        # Key pictures begin alike: that one from before what is known is found in it is no try.
        if not 0 < (self._distance(0) or 0) < REACH:
            self._anchors_tried += 1

    def _distance(self, start: int) -> int | None:
        """Ticks from the anchor to a unit that was sent."""
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
