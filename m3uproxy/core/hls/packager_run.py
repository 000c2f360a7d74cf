"""Distinction of a restarted packager from an older copy of its playlist.

A packager that is restarted counts its segments anew. If it begins a little below its last number, its playlist looks
like an older copy, as from a second server behind the same name. The playlists are told apart by the URIs of segments
with equal numbers, and by their dates.

Hosts are not compared, because load balancers change them. Paths and queries may hold a token that changes with each
request. So they count only if they stayed the same before, or if they are the same in the next playlist. Until then the
relation is unclear. If it stays unclear, or the URIs say *older copy*, but new segments keep coming below the last
number, then it is a restart after :data:`PATIENCE` target durations.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from enum import Enum

import attrs

from .media_segments import MediaSegment, SegmentByteRange
from .playlist import Playlist

#: Last segments of a playlist that are compared.
MAX_SEGMENTS = 256
#: Segments that are kept in addition, after they were removed from the playlist; all others while nobody plays.
MAX_REMOVED_SEGMENTS = 16
#: Target durations of playlists that end before the last number, until they count as a restart.
PATIENCE = 2
#: Target durations by which the clocks of several servers may differ.
_MAX_SKEW = 2

_AUTHORITY = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?//[^/?#]*")
_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(\.\d{1,6})?\d*(?:Z|([+-])(\d\d):?(\d\d))?")


class RunRelation(Enum):
    """The relation of a playlist to the previous one of the same source."""

    SAME = "same run"
    RESTARTED = "restarted packager"
    UNCLEAR = "unclear"


@attrs.frozen
class _SegmentName:
    """
    The name of a segment.

    :ivar path: path and query of its URL, without scheme and host.
    """

    path: str
    byte_range: SegmentByteRange | None

    @property
    def file(self) -> tuple[str, SegmentByteRange | None]:
        """The name without folder and query."""
        return self.path.partition("?")[0].rpartition("/")[2], self.byte_range


_Names = dict[int, _SegmentName]


def _names(playlist: Playlist, url: str) -> _Names:
    """Return the names of the last segments by media sequence number."""
    folder = _AUTHORITY.sub("", url.partition("?")[0], 1).rpartition("/")[0]
    return {each.sequence: _name(each, folder) for each in playlist.segments[-MAX_SEGMENTS:]}


def _name(segment: MediaSegment, folder: str) -> _SegmentName:
    path = segment.uri if segment.uri[:1] == "/" or "//" in segment.uri else f"{folder}/{segment.uri}"
    return _SegmentName(_AUTHORITY.sub("", path, 1) if "//" in path else path, segment.byte_range)


class PackagerRun:
    """
    The segments of a source since its packager was started, and how its URIs behave.

    :ivar last: media sequence number of the last segment; None before the first playlist of a run.
    """

    def __init__(self) -> None:
        self.last: int | None = None
        self._names: _Names = {}
        self._end_date: float | None = None
        self._suspect: _Names = {}
        self._behind_since: float | None = None
        self._behind_last = 0
        self._stable_paths = self._volatile_paths = False
        self._stable_files = self._volatile_files = False

    def begin(self) -> None:
        """Forget the segments, because the next playlist begins a new run. What is known of the URIs stays."""
        self.last, self._names, self._end_date = None, {}, None
        self._forget_suspicion()

    def rest(self) -> None:
        """Keep the last segments only."""
        self._names = dict(list(self._names.items())[-MAX_REMOVED_SEGMENTS:])
        self._forget_suspicion()

    def record(self, playlist: Playlist, url: str) -> None:
        """Add a playlist of this run that has segments, the newest so far."""
        names = _names(playlist, url)
        removed = [number for number in self._names if number not in names][-MAX_REMOVED_SEGMENTS:]
        self._names = {**{number: self._names[number] for number in removed}, **names}
        self.last, self._end_date = playlist.segments[-1].sequence, _end_date(playlist)
        self._forget_suspicion()

    def compare(self, playlist: Playlist, url: str, now: float) -> RunRelation:
        """
        Compare a playlist that has segments with the previous ones.

        :param url: URL of the playlist after redirects, the base of relative URIs.
        :param now: monotonic seconds.
        """
        assert self.last is not None
        names, last = _names(playlist, url), playlist.segments[-1].sequence
        if last >= self.last:
            return self._compare_newer(playlist, names)
        relation = self._compare_older(playlist, names)
        if relation is not RunRelation.RESTARTED and self._advances_behind(last, playlist.target_duration, now):
            return RunRelation.RESTARTED
        return relation

    def _compare_newer(self, playlist: Playlist, names: _Names) -> RunRelation:
        """
        Compare a playlist that ends at the last number or behind it.

        Other folders and queries are new tokens here, unless the dates or the previous playlist suggest a restart.
        """
        common = self._names.keys() & names.keys()
        if not common or self._note_paths(common, names):
            return RunRelation.SAME
        if self._lateness(playlist) > _MAX_SKEW * playlist.target_duration:
            return RunRelation.RESTARTED
        if self._suspect and not self._volatile_paths and _same_paths(self._suspect, names):
            return RunRelation.RESTARTED
        if self._note_files(common, names):
            self._volatile_paths = True
            return RunRelation.SAME
        if self._volatile_files or not _files(self._names).isdisjoint(_files(names)):
            return RunRelation.SAME
        return self._confirm(names, self._stable_files)

    def _compare_older(self, playlist: Playlist, names: _Names) -> RunRelation:
        """Compare a playlist that ends before the last number."""
        common = self._names.keys() & names.keys()
        if not common:
            return RunRelation.RESTARTED
        end = _end_date(playlist)
        if end is not None and self._end_date is not None:
            if end > self._end_date and self._lateness(playlist) > _MAX_SKEW * playlist.target_duration:
                return RunRelation.RESTARTED
            if end < self._end_date:
                return RunRelation.SAME
        if self._note_paths(common, names):
            return RunRelation.SAME
        if not self._note_files(common, names):
            return RunRelation.SAME if self._volatile_files else RunRelation.RESTARTED
        return RunRelation.SAME if self._volatile_paths else self._confirm(names, self._stable_paths)

    def _lateness(self, playlist: Playlist) -> float:
        """Return by how many seconds the date of a playlist is later than its numbers say; 0 without dates."""
        end = _end_date(playlist)
        if end is None or self._end_date is None or self.last is None:
            return 0.0
        return end - self._end_date - (playlist.segments[-1].sequence - self.last) * playlist.target_duration

    def _note_paths(self, common: set[int], names: _Names) -> bool:
        """Return whether a segment has the same path and query in both playlists, and remember it."""
        same = any(self._names[number] == names[number] for number in common)
        self._stable_paths = self._stable_paths or same
        self._stable_files = self._stable_files or same
        return same

    def _note_files(self, common: set[int], names: _Names) -> bool:
        """Return whether a segment has the same file name in both playlists, and remember it."""
        same = any(self._names[number].file == names[number].file for number in common)
        self._stable_files = self._stable_files or same
        return same

    def _confirm(self, names: _Names, stable: bool) -> RunRelation:
        """
        Decide about a playlist whose names differ from those before.

        :param stable: whether the names stayed the same before.
        """
        suspect, self._suspect = self._suspect, names
        if stable or _same_paths(suspect, names):
            return RunRelation.RESTARTED
        if not suspect:
            return RunRelation.UNCLEAR
        common = suspect.keys() & names.keys()
        self._volatile_paths = self._volatile_paths or bool(common)
        if common and all(suspect[number].file != names[number].file for number in common):
            self._volatile_files = True
        return RunRelation.SAME

    def _advances_behind(self, last: int, target_duration: float, now: float) -> bool:
        """Return whether new segments have been coming below the last number for some time."""
        if self._behind_since is None:
            self._behind_since, self._behind_last = now, last
        return last > self._behind_last and now - self._behind_since >= PATIENCE * target_duration

    def _forget_suspicion(self) -> None:
        self._suspect, self._behind_since = {}, None


def _same_paths(one: Mapping[int, _SegmentName], other: Mapping[int, _SegmentName]) -> bool:
    return any(one[number] == other[number] for number in one.keys() & other.keys())


def _files(names: _Names) -> set[object]:
    return {name.file for name in names.values()}


def _end_date(playlist: Playlist) -> float | None:
    """Return the date at the end of the last segment in seconds, counted from the last date in the playlist."""
    seconds = 0.0
    for segment in reversed(playlist.segments[-MAX_SEGMENTS:]):
        seconds += segment.duration
        date = _seconds(segment.date) if segment.date is not None else None
        if date is not None:
            return date + seconds
    return None


def _seconds(text: str) -> float | None:
    """Return an ISO 8601 date in seconds, None if it is not one."""
    match = _DATE.fullmatch(text.strip())
    if match is None:
        return None
    try:
        date = datetime(*map(int, match.groups()[:6]), tzinfo=timezone.utc)  # type: ignore[misc, arg-type]
    except ValueError:
        return None
    zone = timedelta(hours=int(match[9] or 0), minutes=int(match[10] or 0)) * (-1 if match[8] == "-" else 1)
    return (date - zone).timestamp() + float(match[7] or 0)
