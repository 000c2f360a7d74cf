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
STALE = 3
#: Target durations of a new source that are shown.
_SHOWN = 3
#: Sources whose last segment is remembered, in case the stream returns to them.
_REMEMBERED = 32


class DiscontinuityNumbers:
    """Discontinuity sequence numbers over the changes of source, the same for all renditions of a stream.

    Players bring renditions into step by them (RFC 8216bis section 6.2.4), so all that come from one source between
    two changes are shifted by one amount.
    """

    def __init__(self) -> None:
        self._latest = -1
        self._shifts: dict[Hashable, int] = {}

    def shift(self, run: Hashable, stated: int) -> int:
        """
        What is added to the numbers of a source.

        :param run: names the time between two changes.
        :param stated: the lowest number of the source's playlist: the first rendition that asks settles it.
        """
        if run not in self._shifts:
            self._shifts[run] = self._latest + 1 - stated if self._shifts else 0
            if len(self._shifts) > _REMEMBERED:
                del self._shifts[next(iter(self._shifts))]
        return self._shifts[run]

    def shown(self, number: int) -> None:
        """A segment with this number was shown."""
        self._latest = max(self._latest, number)


@attrs.frozen
class _Seen:
    """The last of a source: its last segment's number, and names by number."""

    last: int
    names: Mapping[int, str]

    def is_of_same(self, names: Mapping[int, str]) -> bool:
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
        self._seen: dict[Hashable, _Seen] = {}
        self._view = PlaylistWindow(0)
        self._shown_last: tuple[int, int] | None = None
        self._restarts = 0
        self._ended = False
        self._asked: Hashable = None
        self._progress: tuple[int, int] = (0, 0)
        self._since = 0.0
        self._output: tuple[str, ...] = ()

    @property
    def offset(self) -> int:
        """What players' media sequence numbers are above the source's."""
        return self._view.offset

    @property
    def last(self) -> int | None:
        """The number of the last segment that was shown, as players count; None before the first."""
        return None if self._shown_last is None else self._shown_last[0]

    def follow(
        self, playlist: Playlist, pieces: Sequence[str], source: Hashable, change: int, now: float
    ) -> tuple[str, ...]:
        """
        The lines to answer with, now that a source has this.

        :param pieces: the playlist's lines, rewritten.
        :param source: names the source, the same each time the stream returns to it.
        :param change: how many changes of source the stream has made.
        :param now: seconds.
        """
        if self._shown_last is None or (self._ended and playlist.ended and self._view.splice is None):
            self._begin(playlist, source, change)
        elif playlist.segments and (source != self._source or self._goes_back(playlist)):
            self._take_over(playlist, source, change)
        if self._is_news(playlist, source):
            self._show(playlist, pieces)
        self._note(source, playlist, now)
        return self._output or tuple(pieces)

    def silence(self, now: float) -> float:
        """Seconds since the source, or the one before it, had something new. An ended playlist is not silent."""
        return 0.0 if self._ended else now - self._since

    # inside

    def _begin(self, playlist: Playlist, source: Hashable, change: int) -> None:
        """What comes first is shown as it is, but counted as other renditions are by now. So is a whole film."""
        self._source = source
        shift = self._discontinuities.shift((change, self._restarts), playlist.discontinuity_sequence)
        first = playlist.segments[0].sequence if playlist.segments else playlist.sequence
        self._view = PlaylistWindow(first, shift=0 if playlist.ended else shift)
        self._output = ()
        self._seen.pop(source, None)

    def _goes_back(self, playlist: Playlist) -> bool:
        seen = self._seen.get(self._source)
        return seen is not None and _last(playlist) < seen.last

    def _take_over(self, playlist: Playlist, source: Hashable, change: int) -> None:
        """Let another source, or the same anew, go on where the last one was; if it has something to go on with."""
        assert self._shown_last is not None
        fresh = self._fresh(playlist, source)
        if not fresh:
            return
        if source == self._source:
            self._restarts += 1
        first = fresh[0] if playlist.ended else _tail(fresh, _SHOWN * playlist.target_duration)
        number, discontinuity = self._shown_last
        shift = self._discontinuities.shift((change, self._restarts), playlist.discontinuity_sequence)
        shift = max(shift, discontinuity + 1 - first.discontinuity_sequence)
        self._source = source
        self._view = PlaylistWindow(
            first.sequence, number + 1 - first.sequence, shift, first.sequence, self._view.target_duration
        )
        self._seen.pop(source, None)

    def _fresh(self, playlist: Playlist, source: Hashable) -> Sequence[MediaSegment]:
        """The segments of a source that have not been shown yet: all, if its numbers mean other segments by now."""
        seen = self._seen.get(source)
        if seen is None or (_last(playlist) < seen.last and not seen.is_of_same(_names(playlist))):
            return playlist.segments
        return [segment for segment in playlist.segments if segment.sequence > seen.last]

    def _is_news(self, playlist: Playlist, source: Hashable) -> bool:
        """Whether the playlist is of the source in use, and no older than the last one."""
        seen = self._seen.get(self._source)
        return source == self._source and (seen is None or (bool(playlist.segments) and _last(playlist) >= seen.last))

    def _show(self, playlist: Playlist, pieces: Sequence[str]) -> None:
        shown = [segment for segment in playlist.segments if segment.sequence >= self._view.first]
        if shown:
            last = shown[-1]
            self._view = attrs.evolve(self._view, first=shown[0].sequence)
            self._shown_last = (last.sequence + self._view.offset, self._view.discontinuity(last))
            self._discontinuities.shown(self._shown_last[1])
            self._seen[self._source] = _Seen(last.sequence, _names(playlist))
            if len(self._seen) > _REMEMBERED:
                del self._seen[next(iter(self._seen))]
        target = max(self._view.target_duration, math.ceil(playlist.target_duration))
        self._output = apply_window(playlist, pieces, self._view)
        self._view = attrs.evolve(self._view, target_duration=target)
        self._ended = playlist.ended

    def _note(self, source: Hashable, playlist: Playlist, now: float) -> None:
        """When there was progress: a segment more, or parts of one. A source that is new has its full time."""
        shown = -1 if self._shown_last is None else self._shown_last[0]
        progress = (shown, len(playlist.trailing))
        if source != self._asked or progress > self._progress:
            self._asked, self._since = source, now
        self._progress = max(progress, self._progress)


def _last(playlist: Playlist) -> int:
    return playlist.segments[-1].sequence


def _names(playlist: Playlist) -> dict[int, str]:
    """The names of the segments, without folders and query."""
    return {each.sequence: each.uri.partition("?")[0].rpartition("/")[2] for each in playlist.segments}


def _tail(segments: Sequence[MediaSegment], seconds: float) -> MediaSegment:
    """The first of the fewest last segments that last so long together."""
    total = 0.0
    for segment in reversed(segments):
        total += segment.duration
        if total >= seconds:
            return segment
    return segments[0]
