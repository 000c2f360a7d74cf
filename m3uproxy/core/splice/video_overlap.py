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
_TRIES = 2
#: Units, the last ones, of which every byte is compared.
_WHOLLY = 50
#: Different units in a run that is believed in although a longer one may turn up.
_DISTINCT = 12
#: Different units in a run that is believed in when a longer one can no more be waited for.
_FEW = 4


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
        self._places: dict[bytes, list[int]] = {}
        for number in range(sent.count(sent_pid)):
            self._places.setdefault(sent.lead(sent_pid, number, KEY), []).append(number)
        self._anchor = -1
        self._tries = 0
        self._begins: list[int] = []
        self._alike = 0
        self._settled: set[int] = set()

    def look(self, last_chance: bool = False) -> OverlapMatch | OverlapSearch:
        """Look again, after more of the new source has come.

        :param last_chance: no more will come: what cannot be decided is passed over.
        """
        complete = self._new.count(self._new_pid) - 1
        passed_over = False
        while True:
            while self._begins:
                found = self._follow(self._begins[0], complete)
                if found is OverlapSearch.WAITING:
                    found = self._settle(complete)
                if found is OverlapSearch.WAITING and not last_chance:
                    return found
                if isinstance(found, OverlapMatch) and not (passed_over and self._distinct(found.units) < _FEW):
                    return found
                passed_over = passed_over or found is OverlapSearch.WAITING
                self._begins.pop(0)
                self._alike = 0
            if self._tries >= _TRIES:
                return OverlapSearch.NONE
            if self._anchor + 1 >= complete:
                return OverlapSearch.NONE if self._tries or last_chance else OverlapSearch.WAITING
            self._next_anchor()

    def _follow(self, begin: int, complete: int) -> OverlapMatch | OverlapSearch:
        """Go on comparing from one place; keys while units come, everything when all have come."""
        run = self._sent.count(self._sent_pid) - begin
        while self._alike < min(run, complete - self._anchor):
            ours, theirs = begin + self._alike, self._anchor + self._alike
            if self._sent.lead(self._sent_pid, ours, KEY) != self._new.lead(self._new_pid, theirs, KEY):
                return OverlapSearch.NONE
            self._alike += 1
        if self._alike < run:
            return OverlapSearch.WAITING
        return self._match(begin, run) if self._is_same(begin, run) else OverlapSearch.NONE

    def _settle(self, complete: int) -> OverlapMatch | OverlapSearch:
        """A shorter run that is all there and long enough not to be chance, while a longer one is still possible."""
        for begin in self._begins[1:]:
            run = self._sent.count(self._sent_pid) - begin
            if begin in self._settled or run > complete - self._anchor:
                continue
            self._settled.add(begin)
            keys = [self._sent.lead(self._sent_pid, begin + n, KEY) for n in range(run)]
            alike = all(key == self._new.lead(self._new_pid, self._anchor + n, KEY) for n, key in enumerate(keys))
            if len(set(keys)) >= _DISTINCT and alike and self._is_same(begin, run):
                return self._match(begin, run)
        return OverlapSearch.WAITING

    def _distinct(self, units: int) -> int:
        """How many different ones are among the last that were sent."""
        count = self._sent.count(self._sent_pid)
        return len({self._sent.lead(self._sent_pid, number, KEY) for number in range(count - units, count)})

    def _next_anchor(self) -> None:
        self._anchor += 1
        self._settled.clear()
        key = self._new.lead(self._new_pid, self._anchor, KEY)
        self._begins = list(self._places.get(key, ())) if key else []
        kept = [begin for begin in self._begins if self._distance(begin) == 0]
        if kept:
            self._begins = kept
        # Key pictures begin alike: that one from before what is known is found in it is no try.
        if not 0 < (self._distance(0) or 0) < REACH:
            self._tries += 1

    def _distance(self, begin: int) -> int | None:
        """Ticks from the anchor to a unit that was sent."""
        if begin >= self._sent.count(self._sent_pid):
            return None
        ours, theirs = self._sent.header(self._sent_pid, begin), self._new.header(self._new_pid, self._anchor)
        if ours is None or theirs is None or ours.dts is None or theirs.dts is None:
            return None
        return ahead(ours.dts, theirs.dts)

    def _is_same(self, begin: int, units: int) -> bool:
        return all(
            self._sent.content(self._sent_pid, begin + n) == self._new.content(self._new_pid, self._anchor + n)
            for n in reversed(range(max(units - _WHOLLY, 0), units))
        )

    def _match(self, begin: int, run: int) -> OverlapMatch | OverlapSearch:
        last = self._sent.header(self._sent_pid, begin + run - 1)
        twin = self._new.header(self._new_pid, self._anchor + run - 1)
        if last is None or twin is None or last.dts is None or twin.dts is None:
            return OverlapSearch.NONE
        return OverlapMatch(self._anchor + run, 0, (last.dts - twin.dts) % WRAP, run)
