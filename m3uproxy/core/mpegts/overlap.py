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

from m3uproxy.core.mpegts.audio import find_frames
from m3uproxy.core.mpegts.pes import Stretch
from m3uproxy.core.mpegts.stamps import TICKS, WRAP, ahead

#: Bytes that find a place.
_KEY = 64
#: A source whose stamps say that it begins at most this much before what is still known is waited for, ticks.
_REACH = 60 * TICKS
#: Units of the new source that are looked for before it is believed that it brings nothing again. The first may be
#: damaged on either side; but a second is not waited for.
_TRIES = 2
#: Units, the last ones, of which every byte is compared.
_WHOLLY = 50
#: Different units in a run that is believed in although a longer one may turn up.
_DISTINCT = 12
#: How far sound may be from where pictures say that it is, ticks.
_TOLERANCE = TICKS // 50


class Search(Enum):
    """What is known of an overlap that has not been found."""

    WAITING = "it may be there"
    NONE = "there is none"


@attrs.frozen
class Match:
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


class PictureOverlap:
    """Looks for the overlap of one track in which a unit is a picture."""

    def __init__(self, sent: Stretch, sent_pid: int, new: Stretch, new_pid: int) -> None:
        self._sent, self._sent_pid = sent, sent_pid
        self._new, self._new_pid = new, new_pid
        self._places: dict[bytes, list[int]] = {}
        for number in range(sent.count(sent_pid)):
            self._places.setdefault(sent.lead(sent_pid, number, _KEY), []).append(number)
        self._anchor = -1
        self._tries = 0
        self._begins: list[int] = []
        self._alike = 0
        self._settled: set[int] = set()

    def look(self, last_chance: bool = False) -> Match | Search:
        """Look again, after more of the new source has come.

        :param last_chance: no more will come: what cannot be decided is passed over.
        """
        complete = self._new.count(self._new_pid) - 1
        while True:
            while self._begins:
                found = self._follow(self._begins[0], complete)
                if found is Search.WAITING:
                    found = self._settle(complete)
                if found is Search.WAITING and not last_chance:
                    return found
                if isinstance(found, Match):
                    return found
                self._begins.pop(0)
                self._alike = 0
            if self._tries >= _TRIES:
                return Search.NONE
            if self._anchor + 1 >= complete:
                return Search.NONE if self._tries or last_chance else Search.WAITING
            self._next_anchor()

    def _follow(self, begin: int, complete: int) -> Match | Search:
        """Go on comparing from one place; keys while units come, everything when all have come."""
        run = self._sent.count(self._sent_pid) - begin
        while self._alike < min(run, complete - self._anchor):
            ours, theirs = begin + self._alike, self._anchor + self._alike
            if self._sent.lead(self._sent_pid, ours, _KEY) != self._new.lead(self._new_pid, theirs, _KEY):
                return Search.NONE
            self._alike += 1
        if self._alike < run:
            return Search.WAITING
        return self._match(begin, run) if self._is_same(begin, run) else Search.NONE

    def _settle(self, complete: int) -> Match | Search:
        """A shorter run that is all there and long enough not to be chance, while a longer one is still possible."""
        for begin in self._begins[1:]:
            run = self._sent.count(self._sent_pid) - begin
            if begin in self._settled or run > complete - self._anchor:
                continue
            self._settled.add(begin)
            keys = [self._sent.lead(self._sent_pid, begin + n, _KEY) for n in range(run)]
            alike = all(key == self._new.lead(self._new_pid, self._anchor + n, _KEY) for n, key in enumerate(keys))
            if len(set(keys)) >= _DISTINCT and alike and self._is_same(begin, run):
                return self._match(begin, run)
        return Search.WAITING

    def _next_anchor(self) -> None:
        self._anchor += 1
        self._settled.clear()
        key = self._new.lead(self._new_pid, self._anchor, _KEY)
        self._begins = list(self._places.get(key, ())) if key else []
        kept = [begin for begin in self._begins if self._distance(begin) == 0]
        if kept:
            self._begins = kept
        if self._begins or not 0 < (self._distance(0) or 0) < _REACH:
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

    def _match(self, begin: int, run: int) -> Match | Search:
        last = self._sent.header(self._sent_pid, begin + run - 1)
        twin = self._new.header(self._new_pid, self._anchor + run - 1)
        if last is None or twin is None or last.dts is None or twin.dts is None:
            return Search.NONE
        return Match(self._anchor + run, 0, (last.dts - twin.dts) % WRAP, run)


@attrs.frozen
class _Sound:
    """The elementary stream of a track and where its units begin in it."""

    data: bytes
    begins: tuple[int, ...]
    stamps: tuple[int | None, ...]

    @classmethod
    def read(cls, stretch: Stretch, pid: int) -> _Sound:
        begins, stamps, pieces, size = [], [], [], 0
        for number in range(stretch.count(pid)):
            header = stretch.header(pid, number)
            begins.append(size)
            stamps.append(None if header is None else header.pts)
            pieces.append(stretch.content(pid, number))
            size += len(pieces[-1])
        return cls(b"".join(pieces), tuple(begins), tuple(stamps))

    def unit_at(self, place: int) -> int:
        """The unit in which a byte is."""
        return max(n for n, begin in enumerate(self.begins) if begin <= place)

    def time_at(self, place: int, codec: str) -> int | None:
        """When the frame that begins at a byte is due; ticks, not wrapped."""
        unit = self.unit_at(min(place, len(self.data)))
        while unit and self.stamps[unit] is None:
            unit -= 1
        pts, begin = self.stamps[unit], self.begins[unit]
        if pts is None or place == begin:
            return pts
        frames = find_frames(self.data[begin:place], codec)
        if frames is not None:
            return pts + round(len(frames.offsets) * frames.duration)
        return self._between(unit, place)

    def _between(self, unit: int, place: int) -> int | None:
        pts = self.stamps[unit]
        later = self.stamps[unit + 1] if unit + 1 < len(self.stamps) else None
        if pts is None or later is None:
            return pts
        part = (place - self.begins[unit]) / (self.begins[unit + 1] - self.begins[unit])
        return pts + round(ahead(later, pts) * part)


class SoundOverlap:
    """Looks for the overlap of one track of sound."""

    def __init__(self, sent: Stretch, sent_pid: int, new: Stretch, new_pid: int, codec: str) -> None:
        self._ours = _Sound.read(sent, sent_pid)
        self._new, self._new_pid = new, new_pid
        self._codec = codec

    def look(self, offset: int | None) -> Match | Search:
        """Look again, after more of the new source has come.

        :param offset: ticks from the new source's stamps to those sent, if pictures have told it.
        """
        ours = self._ours
        if not ours.begins:
            return Search.NONE
        theirs = _Sound.read(self._new, self._new_pid)
        if len(theirs.data) < _KEY:
            return Search.WAITING
        for place in _places(ours, theirs, self._codec, offset):
            rest = len(ours.data) - place
            if ours.data.startswith(theirs.data[:rest], place):
                return Search.WAITING if rest > len(theirs.data) else _go_on(ours, theirs, place, self._codec, offset)
        return Search.NONE


def _places(ours: _Sound, theirs: _Sound, codec: str, offset: int | None) -> list[int]:
    """Where in ours theirs may begin, the likeliest first."""
    key, first = theirs.data[:_KEY], theirs.stamps[0]
    found: list[int] = []
    place = ours.data.find(key)
    while place >= 0:
        found.append(place)
        place = ours.data.find(key, place + 1)
    if len(found) < 2 or first is None:
        return found
    times = [ours.time_at(place, codec) for place in found]
    due = first + (offset or 0)
    near = [
        (abs(ahead(time, due)), place)
        for time, place in zip(times, found, strict=True)
        if time is not None and abs(ahead(time, due)) <= _TOLERANCE
    ]
    return [place for _, place in sorted(near)] if near or offset is not None else found


def _go_on(ours: _Sound, theirs: _Sound, place: int, codec: str, offset: int | None) -> Match:
    rest = len(ours.data) - place
    unit = theirs.unit_at(rest)
    if rest == len(theirs.data):
        unit, skip = len(theirs.begins), 0
    else:
        skip = rest - theirs.begins[unit]
    if offset is None:
        begin, first = ours.time_at(place, codec), theirs.stamps[0]
        offset = 0 if begin is None or first is None else (begin - first) % WRAP
    return Match(unit, skip, offset, unit)
