"""A continuous media playlist for players over changes of source.

Players expect a reloaded playlist to continue the previous one (RFC 8216bis section 6.2.2). Media sequence numbers
never decrease, a number always names the same segment, segments are removed at the front and added at the end.
Therefore the numbers of a new source are shifted: its first listed segment follows the last segment of the previous
source, with EXT-X-DISCONTINUITY before it. The segments of the previous source are removed from the list. Players have
fetched them, and requests to a failed source would fail. Of the new source only the last three target durations are
listed, because players start there (section 6.3.3). A backup that lists an hour must not send players back by an hour.
Until the first change the playlist passes unchanged.

A provider may also serve inconsistent playlists. Two servers behind one name may differ by a segment; an older copy is
answered with the latest one. A restarted packager counts from another number; this is handled like a change of source.
To tell these cases apart, the names of segments with equal numbers are compared. Only the last path segment is
compared, because many providers put a token into the path or the query that changes with each redirect.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence

import attrs

from .media_segments import MediaSegment
from .playlist import Playlist
from .playlist_window import PlaylistWindow, apply_window

#: Stall timeout in target durations without a new segment.
STALL_TARGET_DURATIONS = 3
#: Target durations of a new source that are listed.
_START_TARGET_DURATIONS = 3
#: Sources of which the latest playlist is kept, in case the stream returns to them.
_MAX_SOURCES = 32


class DiscontinuityNumbers:
    """
    Discontinuity sequence numbers over changes of source, common to all renditions of a stream.

    Players synchronise renditions by these numbers (RFC 8216bis section 6.2.4). Therefore all renditions of a source
    are shifted by the same amount between two changes.
    """

    def __init__(self) -> None:
        self._highest = -1
        self._shifts: dict[Hashable, int] = {}

    def shift(self, period: Hashable, stated: int) -> int:
        """
        Return the amount to add to the discontinuity sequence numbers of a source.

        :param period: identifies the time between two changes of source.
        :param stated: lowest number in the source's playlist. The first rendition of a period determines the amount.
        """
        if period not in self._shifts:
            self._shifts[period] = self._highest + 1 - stated if self._shifts else 0
            if len(self._shifts) > _MAX_SOURCES:
                del self._shifts[next(iter(self._shifts))]
        return self._shifts[period]

    def record(self, number: int) -> None:
        """Record the discontinuity sequence number of a listed segment."""
        self._highest = max(self._highest, number)


@attrs.frozen
class _LastPlaylist:
    """
    The latest playlist of a source.

    :ivar last: media sequence number of its last segment.
    :ivar names: file names of its segments by media sequence number.
    """

    last: int
    names: Mapping[int, str]

    def shares_segment(self, names: Mapping[int, str]) -> bool:
        """
        Return whether a segment has the same number and name in both playlists.

        If True, the packager was not restarted between them.
        """
        common = self.names.keys() & names.keys()
        return any(self.names[number] == names[number] for number in common)


class PlaylistContinuity:
    """The sequence numbers and the latest lines of a media playlist as players see it."""

    def __init__(self, discontinuities: DiscontinuityNumbers) -> None:
        """
        Initialise without a playlist.

        :param discontinuities: shared by all renditions of the stream.
        """
        self._discontinuities = discontinuities
        self._source: Hashable = None
        self._last_playlists: dict[Hashable, _LastPlaylist] = {}
        self._window = PlaylistWindow(0)
        self._last_shown: tuple[int, int] | None = None
        self._restarts = 0
        self._ended = False
        self._progress_source: Hashable = None
        self._progress: tuple[int, int] = (0, 0)
        self._progress_at = 0.0
        self._output: tuple[str, ...] = ()

    @property
    def offset(self) -> int:
        """Difference between the players' media sequence numbers and those of the source."""
        return self._window.offset

    @property
    def last_sequence(self) -> int | None:
        """Media sequence number of the last listed segment as players count; None before the first playlist."""
        return None if self._last_shown is None else self._last_shown[0]

    def update(
        self, playlist: Playlist, lines: Sequence[str], source: Hashable, change: int, now: float
    ) -> tuple[str, ...]:
        """
        Add the latest playlist of a source, and return the lines for players.

        :param lines: the playlist's lines with rewritten URIs.
        :param source: identifies the source. The identifier stays the same if the stream returns to the source.
        :param change: number of changes of source of the stream so far.
        :param now: monotonic seconds.
        """
        if self._last_shown is None or (self._ended and playlist.ended and self._window.splice is None):
            self._start(playlist, source, change)
        elif playlist.segments and (source != self._source or self._went_back(playlist)):
            self._splice(playlist, source, change)
        if self._is_current(playlist, source):
            self._publish(playlist, lines)
        self._note_progress(source, playlist, now)
        return self._output or tuple(lines)

    def silence(self, now: float) -> float:
        """Return the seconds since the last new segment or part. An ended playlist is never silent."""
        return 0.0 if self._ended else now - self._progress_at

    def _start(self, playlist: Playlist, source: Hashable, change: int) -> None:
        """
        Use the first playlist as it is, with the discontinuity numbers of the other renditions.

        An ended playlist is used without a shift.
        """
        self._source = source
        shift = self._discontinuities.shift((change, self._restarts), playlist.discontinuity_sequence)
        first = playlist.segments[0].sequence if playlist.segments else playlist.sequence
        self._window = PlaylistWindow(first, discontinuity_offset=0 if playlist.ended else shift)
        self._output = ()
        self._last_playlists.pop(source, None)

    def _went_back(self, playlist: Playlist) -> bool:
        previous = self._last_playlists.get(self._source)
        return previous is not None and _last(playlist) < previous.last

    def _splice(self, playlist: Playlist, source: Hashable, change: int) -> None:
        """
        Continue with the segments of another source, or of a restarted packager.

        If the source has no new segment yet, the previous playlist stays.
        """
        assert self._last_shown is not None
        new_segments = self._new_segments(playlist, source)
        if not new_segments:
            return
        if source == self._source:
            self._restarts += 1
        first = (
            new_segments[0]
            if playlist.ended
            else _tail_start(new_segments, _START_TARGET_DURATIONS * playlist.target_duration)
        )
        number, discontinuity = self._last_shown
        shift = self._discontinuities.shift((change, self._restarts), playlist.discontinuity_sequence)
        shift = max(shift, discontinuity + 1 - first.discontinuity_sequence)
        self._source = source
        self._window = PlaylistWindow(
            first.sequence, number + 1 - first.sequence, shift, first.sequence, self._window.target_duration
        )
        self._last_playlists.pop(source, None)

    def _new_segments(self, playlist: Playlist, source: Hashable) -> Sequence[MediaSegment]:
        """
        Return the segments of a source that were not listed yet.

        If the source's numbers now mean other segments (packager restart), return all.
        """
        previous = self._last_playlists.get(source)
        if previous is None or (_last(playlist) < previous.last and not previous.shares_segment(_file_names(playlist))):
            return playlist.segments
        return [segment for segment in playlist.segments if segment.sequence > previous.last]

    def _is_current(self, playlist: Playlist, source: Hashable) -> bool:
        """Return whether the playlist is from the source in use and not older than its latest playlist."""
        previous = self._last_playlists.get(self._source)
        return source == self._source and (
            previous is None or (bool(playlist.segments) and _last(playlist) >= previous.last)
        )

    def _publish(self, playlist: Playlist, lines: Sequence[str]) -> None:
        shown = [segment for segment in playlist.segments if segment.sequence >= self._window.first]
        if shown:
            last = shown[-1]
            self._window = attrs.evolve(self._window, first=shown[0].sequence)
            self._last_shown = (last.sequence + self._window.offset, self._window.discontinuity_sequence(last))
            self._discontinuities.record(self._last_shown[1])
            self._last_playlists[self._source] = _LastPlaylist(last.sequence, _file_names(playlist))
            if len(self._last_playlists) > _MAX_SOURCES:
                del self._last_playlists[next(iter(self._last_playlists))]
        target = max(self._window.target_duration, math.ceil(playlist.target_duration))
        self._output = apply_window(playlist, lines, self._window)
        self._window = attrs.evolve(self._window, target_duration=target)
        self._ended = playlist.ended

    def _note_progress(self, source: Hashable, playlist: Playlist, now: float) -> None:
        """
        Record the time of the last new segment or part.

        A new source gets the full stall timeout.
        """
        shown = -1 if self._last_shown is None else self._last_shown[0]
        progress = (shown, len(playlist.trailing))
        if source != self._progress_source or progress > self._progress:
            self._progress_source, self._progress_at = source, now
        self._progress = max(progress, self._progress)


def _last(playlist: Playlist) -> int:
    return playlist.segments[-1].sequence


def _file_names(playlist: Playlist) -> dict[int, str]:
    """Return the file names of the segments by media sequence number, without path and query."""
    return {each.sequence: each.uri.partition("?")[0].rpartition("/")[2] for each in playlist.segments}


def _tail_start(segments: Sequence[MediaSegment], seconds: float) -> MediaSegment:
    """Return the first of the last segments that together have at least this duration."""
    total = 0.0
    for segment in reversed(segments):
        total += segment.duration
        if total >= seconds:
            return segment
    return segments[0]
