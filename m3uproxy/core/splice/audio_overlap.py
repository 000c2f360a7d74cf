"""The overlap of audio: the position at which playback continues if a new source repeats audio already sent.

See :mod:`~m3uproxy.core.splice.video_overlap` for pictures. Multiplexers pack audio units in many ways, so the bytes of
the elementary stream are compared. Either the new source begins with bytes that were sent, or it begins before the
known past and contains the last bytes sent. From that position on all bytes must be equal.

A unit may begin within a frame. The sent audio may end within a frame too; then only the rest of that frame can follow.

In silence the same bytes occur in each frame, or at each byte. If the bytes occur more than once, the time decides: the
frames of the track show the position that is due, and only the positions next to it are compared. Without times the
positions are compared one after the other, and a call leaves the rest to the next one.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..mpegts.pes import PesIndex
from ..mpegts.timestamps import TICKS, WRAP, ahead
from .allowance import Allowance
from .audio_track import AudioTrack
from .video_overlap import KEY, REACH, OverlapMatch, OverlapSearch

#: Largest distance of audio from the time that the pictures predict, ticks.
_TOLERANCE = TICKS // 50
#: Positions next to the expected one that are compared.
_MAX_NEARBY = 32
#: Bytes around the expected position in which these are searched.
_NEARBY_BYTES = 1 << 16
#: The number of last bytes that are compared. The first ones are compared before, as most differences are there.
_COMPARED_BYTES = 1 << 20
_FIRST_BYTES = 1 << 10
#: Cost after which a search without times ends without a match.
_MAX_COST = 200_000


class AudioOverlap:
    """A search for the overlap of one audio track."""

    def __init__(self, sent: PesIndex, sent_pid: int, new: PesIndex, new_pid: int, codec: str) -> None:
        self._sent, self._new = AudioTrack(sent, sent_pid, codec), AudioTrack(new, new_pid, codec)
        # The positions in the sent track at which the new one may begin, for one offset; None to try all positions.
        self._offset: int | None = None
        self._begins: list[int] | None = None
        self._begins_known = False
        # All positions are tried in order; those before this one do not fit.
        self._next_begin = 0
        self._cost = 0
        # Occurrences of the last bytes sent in the new track: the end of the first one, how many (at most two).
        self._first_end, self._ends, self._searched = 0, 0, 0

    def search(self, offset: int | None, allowance: Allowance) -> OverlapMatch | OverlapSearch:
        """Search again after more of the new source has arrived.

        :param offset: ticks from the new source's timestamps to those sent, if the pictures have shown it.
        """
        sent, new = self._sent, self._new
        if not (sent.read(allowance) and new.read(allowance)):
            return OverlapSearch.BUSY
        if not sent.starts:
            return OverlapSearch.NONE
        if len(new.data) < KEY:
            return OverlapSearch.WAITING
        before = sent.cost + new.cost
        found = self._search(offset, allowance)
        allowance.spend(200 + sent.cost + new.cost - before)
        return found

    def _search(self, offset: int | None, allowance: Allowance) -> OverlapMatch | OverlapSearch:
        if not self._begins_known or self._offset != offset:
            self._offset, self._begins, self._begins_known = offset, self._find_begins(offset), True
        if self._begins is None:
            found = self._try_all_begins(offset, allowance)
        else:
            found = self._try_begins(self._begins, offset, allowance)
        return self._search_end(offset, allowance) if found is OverlapSearch.NONE else found

    # the new source begins with bytes that were sent

    def _find_begins(self, offset: int | None) -> list[int] | None:
        """Return the positions in the sent track at which the new track may begin, the likeliest first.

        :return: None if any position is possible.
        """
        sent, key, first = self._sent, bytes(self._new.data[:KEY]), self._new.timestamps[0]
        position = sent.data.find(key)
        if position < 0 or sent.data.find(key, position + 1) < 0:
            return [position] if position >= 0 else []
        if first is None:
            return None
        due = first + (offset or 0)
        expected = sent.position_at(due)
        near = None if expected is None else expected - self._new.before_first_frame
        nearby = _nearest_positions(sent, key, near, due, 0)
        return nearby if nearby or offset is not None else None

    def _try_begins(
        self, positions: list[int], offset: int | None, allowance: Allowance
    ) -> OverlapMatch | OverlapSearch:
        while positions:
            found = self._compare_from(positions[0], offset, allowance)
            if found is not OverlapSearch.NONE:
                return found
            del positions[0]
        return OverlapSearch.NONE

    def _try_all_begins(self, offset: int | None, allowance: Allowance) -> OverlapMatch | OverlapSearch:
        """Compare from each occurrence of the first bytes, in order: the first that fits has the longest run."""
        key = bytes(self._new.data[:KEY])
        while self._cost < _MAX_COST:
            position = self._sent.data.find(key, self._next_begin)
            if position < 0:
                break
            before = allowance.left
            found = self._compare_from(position, offset, allowance)
            self._cost += before - allowance.left
            if found is not OverlapSearch.NONE:
                return found
            self._next_begin = position + 1
            if allowance.left <= 0:
                return OverlapSearch.BUSY
        return OverlapSearch.NONE

    def _compare_from(self, position: int, offset: int | None, allowance: Allowance) -> OverlapMatch | OverlapSearch:
        """Compare the new track with the sent one from a position of the latter on."""
        sent, new = self._sent.data, self._new.data
        rest = len(sent) - position
        size = min(rest, len(new))
        allowance.spend(2)
        if sent[position : position + min(size, _FIRST_BYTES)] != new[: min(size, _FIRST_BYTES)]:
            return OverlapSearch.NONE
        begin = max(size - _COMPARED_BYTES, 0)
        allowance.spend((size - begin) >> 12)
        if sent[position + begin : position + size] != new[begin:size]:
            return OverlapSearch.NONE
        return OverlapSearch.WAITING if rest > len(new) else self._match_after(position, offset)

    # the new source begins before the known past

    def _search_end(self, offset: int | None, allowance: Allowance) -> OverlapMatch | OverlapSearch:
        """Search the end of the sent audio in the new track, which may begin before the known past."""
        sent, new, shift = self._sent, self._new, offset or 0
        due = sent.time_at(len(sent.data))
        start, first = sent.timestamps[0], new.timestamps[0]
        if due is None or start is None or first is None or not 0 < ahead(start, first + shift) < REACH:
            return OverlapSearch.NONE
        for end in self._find_ends(due - shift):
            if self._ends_alike(end, allowance):
                return self._match_after(len(sent.data) - end, offset)
        last = first if new.last_timestamp is None else new.last_timestamp
        return OverlapSearch.NONE if ahead(last + shift, due) > _TOLERANCE else OverlapSearch.WAITING

    def _ends_alike(self, end: int, allowance: Allowance) -> bool:
        """Return True if the new track up to ``end`` ends with the sent bytes, as far as both are known."""
        sent, new = self._sent.data, self._new.data
        for most in (_FIRST_BYTES, _COMPARED_BYTES):
            size = min(end, len(sent), most)
            allowance.spend(1 + (size >> 12))
            if new[end - size : end] != sent[len(sent) - size :]:
                return False
        return True

    def _find_ends(self, due: int) -> list[int]:
        """Return the positions in the new track behind the last bytes sent, the likeliest first."""
        new, key = self._new, bytes(self._sent.data[-KEY:])
        while key and self._ends < 2:
            found = new.data.find(key, self._searched)
            if found < 0:
                self._searched = max(len(new.data) - len(key) + 1, self._searched)
                break
            self._ends += 1
            self._first_end = self._first_end or found + len(key)
            self._searched = found + 1
        if self._ends < 2:
            return [self._first_end] if self._ends else []
        expected = new.position_at(due)
        near = None if expected is None else expected - self._sent.missing_at_end - len(key)
        return [position + len(key) for position in _nearest_positions(new, key, near, due, len(key))]

    def _match_after(self, position: int, offset: int | None) -> OverlapMatch | OverlapSearch:
        """Return the match that continues behind the end of the sent track.

        :param position: position in the sent track at which the new one begins; negative if before it.
        """
        sent, new = self._sent, self._new
        rest = len(sent.data) - position
        unit = new.unit_at(rest)
        if rest == len(new.data):
            if not new.is_complete:
                return OverlapSearch.WAITING
            unit, skip = len(new.starts), 0
        else:
            skip = rest - new.starts[unit]
        if offset is None:
            at = max(position, 0)
            start, first = sent.time_at(at), new.time_at(at - position)
            offset = 0 if start is None or first is None else (start - first) % WRAP
        return OverlapMatch(new.first_unit + unit, skip, offset, unit)


def _nearest_positions(track: AudioTrack, key: bytes, near: int | None, due: int, behind: int) -> list[int]:
    """Return the occurrences of bytes in a track whose time is close to ``due``, the nearest first.

    :param near: expected position; None if unknown.
    :param behind: bytes from an occurrence to the position whose time counts.
    """
    if near is None:
        return []
    found: list[tuple[int, int, int]] = []
    low, high = track.span_of(due - _TOLERANCE, due + _TOLERANCE)
    begin, end = max(low - behind, near - _NEARBY_BYTES), min(high + len(key), near + _NEARBY_BYTES)
    for position in _occurrences(track.data, key, near, begin, end):
        time = track.time_at(position + behind)
        if time is not None and abs(ahead(time, due)) <= _TOLERANCE:
            found.append((abs(ahead(time, due)), abs(position - near), position))
    return [position for _, _, position in sorted(found)]


def _occurrences(data: bytearray, key: bytes, near: int, begin: int, end: int) -> Iterator[int]:
    """Yield occurrences between two positions, the nearest to ``near`` first, at most :data:`_MAX_NEARBY`."""
    begin, near = max(begin, 0), max(near, 0)
    before, after = data.rfind(key, begin, near + len(key) - 1), data.find(key, near, end)
    for _ in range(_MAX_NEARBY):
        if after >= 0 and (before < 0 or after - near <= near - before):
            yield after
            after = data.find(key, after + 1, end)
        elif before >= 0:
            yield before
            before = data.rfind(key, begin, before + len(key) - 1)
        else:
            return
