"""The overlap of video: finds out if a new source repeats pictures that were sent, and where it continues.

Providers replay the last seconds to each new connection: unchanged, multiplexed again, or with other timestamps. Only
the elementary stream stays the same, so that is compared. Pictures are compared unit by unit, because a picture is one
unit in any multiplex. Audio is compared byte by byte, because its units differ.

Two streams overlap if, from the new source's first unit on, **all** units equal those sent, up to the last one sent. A
single equal unit proves nothing (black pictures, silence). Equal timestamps prove nothing either (another encode of the
same programme). The first bytes of each unit find the position, and all bytes of the last seconds decide. Of several
positions the first is correct: it gives the longest run. Pictures shown in a loop fit in several positions for as long
as the loop lasts. There, a complete run of many different units is preferred to a longer one that is still incomplete.

The search ends early: if the new source's first units were never sent, there is no overlap. It works within the
allowance of a call, and the next call continues.
"""

from __future__ import annotations

from enum import Enum
from hashlib import blake2b

import attrs

from ..mpegts.pes import PesIndex
from ..mpegts.timestamps import TICKS, WRAP, ahead
from .allowance import Allowance

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
#: Last units of the sent track that are known. Pictures of a minute are fewer.
_KNOWN_UNITS = 4096
#: Number of a key that was never sent.
_UNKNOWN_KEY = 0xFFFFFFFF
#: Cost of reading a key and of comparing from one position, and bytes that are compared for one unit of cost.
_KEY_COST, _START_COST, _DIGEST_BYTES_PER_COST = 5, 2, 300
#: Cost after which the search ends without a match.
_MAX_COST = 400_000


class OverlapSearch(Enum):
    """The state of a search without a match, and its result without an overlap."""

    WAITING = "more packets are needed"
    BUSY = "the allowance of this call is used up"
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
    """A search for the overlap of one track in which a unit is a picture.

    Keys are replaced by numbers of four bytes, equal keys by equal numbers. Runs of units are then compared as runs of
    bytes.
    """

    def __init__(self, sent: PesIndex, sent_pid: int, new: PesIndex, new_pid: int) -> None:
        self._sent, self._sent_pid = sent, sent_pid
        self._new, self._new_pid = new, new_pid
        self._first_known = max(sent.count(sent_pid) - _KNOWN_UNITS, 0)
        self._run = sent.count(sent_pid) - self._first_known
        self._key_numbers: dict[bytes, int] = {}
        self._sent_keys, self._new_keys = bytearray(), bytearray()
        # Positions of each key among the known units, and of each DTS.
        self._positions: list[list[int]] = []
        self._positions_by_dts: dict[int, list[int]] = {}
        self._distinct: list[int] = []
        self._contents: dict[tuple[bool, int], bytes] = {}
        self._anchor = -1
        self._anchors_tried = 0
        self._starts: list[int] = []
        self._checked_starts: set[int] = set()
        self._passed_over = False
        self._cost = 0

    def search(self, allowance: Allowance, last_chance: bool = False) -> OverlapMatch | OverlapSearch:
        """Search again after more of the new source has arrived.

        :param last_chance: True if no more packets can be waited for. Undecided positions are then skipped.
        """
        before = allowance.left
        found = self._search(allowance, last_chance) if self._read_keys(allowance) else OverlapSearch.BUSY
        self._cost += before - allowance.left
        return OverlapSearch.NONE if found is OverlapSearch.BUSY and self._cost > _MAX_COST else found

    # keys

    def _read_keys(self, allowance: Allowance) -> bool:
        """Read the keys of units that are not read yet. Return True if all are read."""
        while len(self._sent_keys) // 4 < self._run:
            if not allowance.spend(_KEY_COST):
                return False
            self._read_sent_key(len(self._sent_keys) // 4)
        if not self._distinct:
            self._count_distinct()
        complete = self._new.count(self._new_pid) - 1
        while len(self._new_keys) // 4 < complete:
            if not allowance.spend(_KEY_COST):
                return False
            self._read_new_key(len(self._new_keys) // 4)
        return True

    def _read_sent_key(self, position: int) -> None:
        unit = self._first_known + position
        key = self._sent.prefix(self._sent_pid, unit, KEY)
        number = self._key_numbers.setdefault(key, len(self._positions))
        if number == len(self._positions):
            self._positions.append([])
        self._positions[number].append(position)
        self._sent_keys += number.to_bytes(4, "big")
        header = self._sent.header(self._sent_pid, unit)
        if header is not None and header.dts is not None:
            self._positions_by_dts.setdefault(header.dts, []).append(position)

    def _read_new_key(self, unit: int) -> None:
        is_kept = unit >= self._new.first_kept(self._new_pid)
        key = self._new.prefix(self._new_pid, unit, KEY) if is_kept else b""
        self._new_keys += self._key_numbers.get(key, _UNKNOWN_KEY).to_bytes(4, "big")

    def _count_distinct(self) -> None:
        """Count the different keys from each position to the end."""
        seen: set[bytes] = set()
        for at in range(len(self._sent_keys) - 4, -1, -4):
            seen.add(bytes(self._sent_keys[at : at + 4]))
            self._distinct.append(len(seen))
        self._distinct.reverse()

    # search

    def _search(self, allowance: Allowance, last_chance: bool) -> OverlapMatch | OverlapSearch:
        complete = len(self._new_keys) // 4
        while True:
            found = self._try_starts(complete, allowance, last_chance)
            if found is not OverlapSearch.NONE:
                return found
            if self._anchors_tried >= _MAX_ANCHORS:
                return OverlapSearch.NONE
            if self._anchor + 1 >= complete:
                return OverlapSearch.NONE if self._anchors_tried or last_chance else OverlapSearch.WAITING
            if not allowance.spend(_KEY_COST):
                return OverlapSearch.BUSY
            self._next_anchor()

    def _try_starts(self, complete: int, allowance: Allowance, last_chance: bool) -> OverlapMatch | OverlapSearch:
        """Compare from each possible position in turn; the first one has the longest run."""
        while self._starts:
            found = self._compare_from(self._starts[0], complete, allowance)
            if found is OverlapSearch.WAITING and not self._passed_over:
                found = self._match_shorter_run(complete, allowance)
            if found is OverlapSearch.BUSY or (found is OverlapSearch.WAITING and not last_chance):
                return found
            if isinstance(found, OverlapMatch) and self._is_credible(found):
                return found
            self._passed_over = self._passed_over or found is OverlapSearch.WAITING
            del self._starts[0]
            if not allowance.spend(_START_COST):
                return OverlapSearch.BUSY
        return OverlapSearch.NONE

    def _compare_from(self, start: int, complete: int, allowance: Allowance) -> OverlapMatch | OverlapSearch:
        """Compare from one position: the keys of units that have arrived, and all bytes when all units have."""
        run = self._run - start
        arrived = min(run, complete - self._anchor)
        keys = self._new_keys[self._anchor * 4 : (self._anchor + arrived) * 4]
        if not self._sent_keys.startswith(keys, start * 4):
            return OverlapSearch.NONE
        if arrived < run:
            return OverlapSearch.WAITING
        return self._compare_contents(start, run, allowance)

    def _match_shorter_run(self, complete: int, allowance: Allowance) -> OverlapMatch | OverlapSearch:
        """Match a shorter run that is complete and too varied for chance, while a longer one is still possible."""
        for start in self._starts[1:]:
            complete_run = self._run - start <= complete - self._anchor
            if not complete_run or start in self._checked_starts:
                continue
            varied = self._distinct[start] >= _MIN_DISTINCT
            found = self._compare_from(start, complete, allowance) if varied else OverlapSearch.NONE
            if found is OverlapSearch.BUSY:
                return found
            self._checked_starts.add(start)
            if isinstance(found, OverlapMatch):
                return found
            if not allowance.spend(_START_COST):
                return OverlapSearch.BUSY
        return OverlapSearch.WAITING

    def _is_credible(self, match: OverlapMatch) -> bool:
        return not self._passed_over or self._distinct[self._run - match.units] >= _MIN_DISTINCT_LATE

    def _next_anchor(self) -> None:
        self._anchor += 1
        self._checked_starts.clear()
        key = int.from_bytes(self._new_keys[self._anchor * 4 : self._anchor * 4 + 4], "big")
        known = key != _UNKNOWN_KEY and key != self._key_numbers.get(b"")
        header = None
        if self._anchor >= self._new.first_kept(self._new_pid):
            header = self._new.header(self._new_pid, self._anchor)
        dts = None if header is None else header.dts
        same_time = set() if dts is None else set(self._positions_by_dts.get(dts, ()))
        starts = self._positions[key] if known else []
        kept = [start for start in starts if start in same_time] if same_time else []
        self._starts = kept or list(starts)
        self._cost += len(self._starts) // 8
        # Key frames begin alike. A match of a unit from before the known past does not count as a try.
        if not 0 < (self._distance(dts) or 0) < REACH:
            self._anchors_tried += 1

    def _distance(self, dts: int | None) -> int | None:
        """Return the ticks from a DTS to the first known unit; None if unknown."""
        header = self._sent.header(self._sent_pid, self._first_known) if self._run else None
        return None if header is None or header.dts is None or dts is None else ahead(header.dts, dts)

    # contents

    def _compare_contents(self, start: int, run: int, allowance: Allowance) -> OverlapMatch | OverlapSearch:
        """Compare all bytes of the last units of a run, as far as they were not dropped."""
        first_kept = self._new.first_kept(self._new_pid)
        for number in reversed(range(max(run - _COMPARED_UNITS, first_kept - self._anchor, 0), run)):
            if allowance.left <= 0:
                return OverlapSearch.BUSY
            sent = self._content(True, self._first_known + start + number, allowance)
            if sent != self._content(False, self._anchor + number, allowance):
                return OverlapSearch.NONE
        return self._match(start, run)

    def _content(self, is_sent: bool, unit: int, allowance: Allowance) -> bytes:
        """Return a digest of all bytes of a unit."""
        known = self._contents.get((is_sent, unit))
        if known is not None:
            return known
        pes, pid = (self._sent, self._sent_pid) if is_sent else (self._new, self._new_pid)
        content = pes.content(pid, unit)
        allowance.spend(2 + len(content) // _DIGEST_BYTES_PER_COST)
        digest = self._contents[is_sent, unit] = blake2b(content, digest_size=16).digest()
        return digest

    def _match(self, start: int, run: int) -> OverlapMatch | OverlapSearch:
        last = self._sent.header(self._sent_pid, self._first_known + start + run - 1)
        counterpart = self._new.header(self._new_pid, self._anchor + run - 1)
        if last is None or counterpart is None or last.dts is None or counterpart.dts is None:
            return OverlapSearch.NONE
        return OverlapMatch(self._anchor + run, 0, (last.dts - counterpart.dts) % WRAP, run)
