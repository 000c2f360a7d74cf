"""Where sound goes on, if a new source brings again what has been sent (:mod:`~m3uproxy.core.splice.video_overlap`).

Units of sound are packed in many ways, so the bytes of the elementary stream are compared. Either the new source
begins with bytes that were sent, or, if it begins before what is still known, the last bytes sent are in it. From
there on all must be equal. A unit may begin within a frame: what was sent may end there, too, and only the rest of
that very frame can follow.
"""

from __future__ import annotations

import attrs

from m3uproxy.core.mpegts.audio_frames import find_frames
from m3uproxy.core.mpegts.pes import PesIndex
from m3uproxy.core.mpegts.timestamps import TICKS, WRAP, ahead
from m3uproxy.core.splice.video_overlap import KEY, REACH, OverlapMatch, OverlapSearch

#: Bytes in which a frame of sound begins, in all codings that are known.
_FRAME = 1 << 13
#: How far sound may be from where pictures say that it is, ticks.
_TOLERANCE = TICKS // 50


@attrs.frozen
class _Sound:
    """The elementary stream of a track and where its units begin in it."""

    data: bytes
    begins: tuple[int, ...]
    stamps: tuple[int | None, ...]

    @classmethod
    def read(cls, stretch: PesIndex, pid: int) -> _Sound:
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
        # The stamp is that of the first frame that begins in the unit, which need not be at its first byte.
        frames = find_frames(self.data[begin : place + _FRAME], codec)
        if frames is not None:
            return pts + round(sum(at < place - begin for at in frames.offsets) * frames.duration)
        return self._between(unit, place)

    def _between(self, unit: int, place: int) -> int | None:
        pts = self.stamps[unit]
        later = self.stamps[unit + 1] if unit + 1 < len(self.stamps) else None
        if pts is None or later is None:
            return pts
        part = (place - self.begins[unit]) / (self.begins[unit + 1] - self.begins[unit])
        return pts + round(ahead(later, pts) * part)


class AudioOverlap:
    """Looks for the overlap of one track of sound."""

    def __init__(self, sent: PesIndex, sent_pid: int, new: PesIndex, new_pid: int, codec: str) -> None:
        self._ours = _Sound.read(sent, sent_pid)
        self._new, self._new_pid = new, new_pid
        self._codec = codec

    def look(self, offset: int | None) -> OverlapMatch | OverlapSearch:
        """Look again, after more of the new source has come.

        :param offset: ticks from the new source's stamps to those sent, if pictures have told it.
        """
        ours = self._ours
        if not ours.begins:
            return OverlapSearch.NONE
        theirs = _Sound.read(self._new, self._new_pid)
        if len(theirs.data) < KEY:
            return OverlapSearch.WAITING
        for place in _places(ours, theirs, self._codec, offset):
            rest = len(ours.data) - place
            if ours.data.startswith(theirs.data[:rest], place):
                return (
                    OverlapSearch.WAITING
                    if rest > len(theirs.data)
                    else _go_on(ours, theirs, place, self._codec, offset)
                )
        return self._look_for_end(theirs, offset)

    def _look_for_end(self, theirs: _Sound, offset: int | None) -> OverlapMatch | OverlapSearch:
        """Theirs may begin before what is known of ours: look for the last of ours in it."""
        ours, codec, shift = self._ours, self._codec, offset or 0
        due = ours.time_at(len(ours.data), codec)
        begin, first = ours.stamps[0], theirs.stamps[0]
        if due is None or begin is None or first is None or not 0 < ahead(begin, first + shift) < REACH:
            return OverlapSearch.NONE
        ends = [place + KEY for place in _all_places(theirs.data, ours.data[-KEY:])]
        for end in _nearest(ends, theirs, codec, due - shift, True):
            if theirs.data.endswith(ours.data[-end:], 0, end):
                return _go_on(ours, theirs, len(ours.data) - end, codec, offset)
        last = next((stamp for stamp in reversed(theirs.stamps) if stamp is not None), first)
        return OverlapSearch.NONE if ahead(last + shift, due) > _TOLERANCE else OverlapSearch.WAITING


def _places(ours: _Sound, theirs: _Sound, codec: str, offset: int | None) -> list[int]:
    """Where in ours theirs may begin, the likeliest first."""
    found, first = _all_places(ours.data, theirs.data[:KEY]), theirs.stamps[0]
    return found if first is None else _nearest(found, ours, codec, first + (offset or 0), offset is not None)


def _all_places(data: bytes, key: bytes) -> list[int]:
    found: list[int] = []
    place = data.find(key)
    while place >= 0:
        found.append(place)
        place = data.find(key, place + 1)
    return found


def _nearest(found: list[int], sound: _Sound, codec: str, due: int, sure: bool) -> list[int]:
    """Of several places those that are due about then, the nearest first.

    :param sure: whether that is known; if not, all of them when none is.
    """
    if len(found) < 2:
        return found
    times = [sound.time_at(place, codec) for place in found]
    near = [
        (abs(ahead(time, due)), place)
        for time, place in zip(times, found, strict=True)
        if time is not None and abs(ahead(time, due)) <= _TOLERANCE
    ]
    return [place for _, place in sorted(near)] if near or sure else found


def _go_on(ours: _Sound, theirs: _Sound, place: int, codec: str, offset: int | None) -> OverlapMatch:
    """Go on behind the last of ours.

    :param place: where in ours theirs begins; negative if before it.
    """
    rest = len(ours.data) - place
    unit = theirs.unit_at(rest)
    if rest == len(theirs.data):
        unit, skip = len(theirs.begins), 0
    else:
        skip = rest - theirs.begins[unit]
    if offset is None:
        at = max(place, 0)
        begin, first = ours.time_at(at, codec), theirs.time_at(at - place, codec)
        offset = 0 if begin is None or first is None else (begin - first) % WRAP
    return OverlapMatch(unit, skip, offset, unit)
