"""One playlist for players, whatever source it comes from.

A player takes a playlist for the same as before (RFC 8216bis section 6.2.2): media sequence numbers never go back, a
number is always the same segment, segments go at the front and come at the end. So each source's numbers are shifted
when it takes over: its first segment shown is the one after the last of the source before, with EXT-X-DISCONTINUITY in
front. What the source before had listed goes with it: players have fetched it, and from a source that fails nobody
should try. Of the new source's window only the last three target durations are shown, which is where players start
(section 6.3.3): a backup that keeps an hour must not send them back by an hour. While nothing has changed, the
playlist passes as it is.

Providers do not always serve one playlist, either. Two servers behind one name may differ by a segment, so an older
copy than the last is answered with the last. A packager that is started anew counts from another number: that is as
good as another source. Which of the two it is tells the name of a segment whose number both have. (The name alone,
without folders and query: many providers have a token in them, another with each redirect.)
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence

import attrs

from .media_segments import MediaSegment
from .playlist import Playlist
from .playlist_window import PlaylistWindow, apply_window

#: Target durations without a new segment after which a source counts as stalled.
STALL_TARGET_DURATIONS = 3
#: Target durations of a new source that are shown.
_START_TARGET_DURATIONS = 3
#: Sources whose last segment is remembered, in case the stream returns to them.
_MAX_SOURCES = 32


class DiscontinuityNumbers:
    """Discontinuity sequence numbers over the changes of source, the same for all renditions of a stream.

    Players bring renditions into step by them (RFC 8216bis section 6.2.4), so all that come from one source between
    two changes are shifted by one amount.
    """

    def __init__(self) -> None:
        self._highest = -1
        self._shifts: dict[Hashable, int] = {}

    def shift(self, period: Hashable, stated: int) -> int:
        """
        What is added to the numbers of a source.

        :param period: names the time between two changes.
        :param stated: the lowest number of the source's playlist: the first rendition that asks settles it.
        """
        if period not in self._shifts:
            self._shifts[period] = self._highest + 1 - stated if self._shifts else 0
            if len(self._shifts) > _MAX_SOURCES:
                del self._shifts[next(iter(self._shifts))]
        return self._shifts[period]

    def record(self, number: int) -> None:
        """A segment with this number was shown."""
        self._highest = max(self._highest, number)


@attrs.frozen
class _LastPlaylist:
    """The last of a source: its last segment's number, and names by number."""

    last: int
    names: Mapping[int, str]

    def shares_segment(self, names: Mapping[int, str]) -> bool:
        """Whether a playlist is of the same run of the packager; numbers that both have are the same segment."""
        common = self.names.keys() & names.keys()
        return any(self.names[number] == names[number] for number in common)


class PlaylistContinuity:
    """What players have been shown of one media playlist."""

    def __init__(self, discontinuities: DiscontinuityNumbers) -> None:
        """
        Nothing yet.

        :param discontinuities: of the stream.
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
        """What players' media sequence numbers are above the source's."""
        return self._window.offset

    @property
    def last_sequence(self) -> int | None:
        """The number of the last segment that was shown, as players count; None before the first."""
        return None if self._last_shown is None else self._last_shown[0]

    def update(
        self, playlist: Playlist, lines: Sequence[str], source: Hashable, change: int, now: float
    ) -> tuple[str, ...]:
        """
        The lines to answer with, now that a source has this.

        :param lines: the playlist's lines, rewritten.
        :param source: names the source, the same each time the stream returns to it.
        :param change: how many changes of source the stream has made.
        :param now: seconds.
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
        """Seconds since the source, or the one before it, had something new. An ended playlist is not silent."""
        return 0.0 if self._ended else now - self._progress_at

    # inside

    def _start(self, playlist: Playlist, source: Hashable, change: int) -> None:
        """What comes first is shown as it is, but counted as other renditions are by now. So is a whole film."""
        self._source = source
        shift = self._discontinuities.shift((change, self._restarts), playlist.discontinuity_sequence)
        first = playlist.segments[0].sequence if playlist.segments else playlist.sequence
        self._window = PlaylistWindow(first, discontinuity_offset=0 if playlist.ended else shift)
        self._output = ()
        self._last_playlists.pop(source, None)

    def _went_back(self, playlist: Playlist) -> bool:
        seen = self._last_playlists.get(self._source)
        return seen is not None and _last(playlist) < seen.last

    def _splice(self, playlist: Playlist, source: Hashable, change: int) -> None:
        """Let another source, or the same anew, go on where the last one was; if it has something to go on with."""
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
        """The segments of a source that have not been shown yet: all, if its numbers mean other segments by now."""
        seen = self._last_playlists.get(source)
        if seen is None or (_last(playlist) < seen.last and not seen.shares_segment(_file_names(playlist))):
            return playlist.segments
        return [segment for segment in playlist.segments if segment.sequence > seen.last]

    def _is_current(self, playlist: Playlist, source: Hashable) -> bool:
        """Whether the playlist is of the source in use, and no older than the last one."""
        seen = self._last_playlists.get(self._source)
        return source == self._source and (seen is None or (bool(playlist.segments) and _last(playlist) >= seen.last))

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
        """When there was progress: a segment more, or parts of one. A source that is new has its full time."""
        shown = -1 if self._last_shown is None else self._last_shown[0]
        progress = (shown, len(playlist.trailing))
        if source != self._progress_source or progress > self._progress:
            self._progress_source, self._progress_at = source, now
        self._progress = max(progress, self._progress)


def _last(playlist: Playlist) -> int:
    return playlist.segments[-1].sequence


def _file_names(playlist: Playlist) -> dict[int, str]:
    """The names of the segments, without folders and query."""
    return {each.sequence: each.uri.partition("?")[0].rpartition("/")[2] for each in playlist.segments}


def _tail_start(segments: Sequence[MediaSegment], seconds: float) -> MediaSegment:
    """The first of the fewest last segments that last so long together."""
    total = 0.0
    for segment in reversed(segments):
        total += segment.duration
        if total >= seconds:
            return segment
    return segments[0]
