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
:mod:`.packager_run` tells these cases apart.

Numbers continue while nobody plays, because a player may sleep for hours and continue with its playlist.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import attrs

from .media_segments import MediaSegment
from .packager_run import PackagerRun, RunRelation
from .playlist import Playlist
from .playlist_progress import PlaylistProgress, newest
from .playlist_window import PlaylistWindow

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


class PlaylistContinuity:
    """The sequence numbers of a media playlist as players see it."""

    def __init__(self, discontinuities: DiscontinuityNumbers) -> None:
        """
        Initialise without a playlist.

        :param discontinuities: shared by all renditions of the stream.
        """
        self._discontinuities = discontinuities
        self._source: Hashable = None
        self._runs: dict[Hashable, PackagerRun] = {}
        self._window = PlaylistWindow(0)
        self._first_shown = (0, 0)
        self._last_shown: tuple[int, int] | None = None
        self._restarts = 0
        self._rested = False
        self._ended = False
        self._progress_source: Hashable = None
        self._progress: tuple[int, int] = (0, 0)
        self._new_media = PlaylistProgress(0.0)

    @property
    def offset(self) -> int:
        """Difference between the players' media sequence numbers and those of the source."""
        return self._window.offset

    @property
    def last_sequence(self) -> int | None:
        """Media sequence number of the last listed segment as players count; None before the first playlist."""
        return None if self._last_shown is None else self._last_shown[0]

    def rest(self) -> None:
        """Keep the numbers only, because nobody plays. Players that come back must not see them decrease."""
        self._rested, self._progress_source = True, None
        for run in self._runs.values():
            run.rest()

    def update(self, playlist: Playlist, url: str, source: Hashable, change: int, now: float) -> PlaylistWindow | None:
        """
        Add the latest playlist of a source, and return its window for players.

        :param url: URL of the playlist after redirects, the base of relative URIs.
        :param source: identifies the source. The identifier stays the same if the stream returns to the source.
        :param change: number of changes of source of the stream so far.
        :param now: monotonic seconds.
        :return: None if players keep the previous playlist: this one is older, or has nothing new.
        """
        window = None
        if self._accept(playlist, url, source, change, now):
            window = self._publish(playlist, url)
        elif self._rested:
            window = attrs.evolve(self._window, empty=self._first_shown)
        self._note_progress(source, playlist, now)
        return window

    def silence(self, now: float) -> float:
        """
        Return the seconds since the last new segment or part, less what was listed ahead of real time.

        An ended playlist is never silent.
        """
        return 0.0 if self._ended else self._new_media.silence(now)

    def _accept(self, playlist: Playlist, url: str, source: Hashable, change: int, now: float) -> bool:
        """Return whether to publish a playlist, with the window set for it."""
        if self._last_shown is None or (self._ended and playlist.ended and self._window.splice is None):
            self._start(playlist, source, change)
            return True
        if not playlist.segments:
            return False
        run = self._runs.get(source)
        known = run is not None and run.last is not None
        relation = run.compare(playlist, url, now) if run is not None and known else RunRelation.RESTARTED
        if self._rested or source != self._source:
            return self._return_to(playlist, source, change, relation)
        if relation is RunRelation.RESTARTED:
            self._restarts += 1
            self._splice(playlist, playlist.segments, source, change)
            return True
        return relation is RunRelation.SAME and run is not None and _continues(playlist, run)

    def _start(self, playlist: Playlist, source: Hashable, change: int) -> None:
        """
        Use the first playlist as it is, with the discontinuity numbers of the other renditions.

        An ended playlist is used without a shift.
        """
        self._source = source
        shift = self._discontinuities.shift((change, self._restarts), playlist.discontinuity_sequence)
        first = playlist.segments[0].sequence if playlist.segments else playlist.sequence
        self._window = PlaylistWindow(first, discontinuity_offset=0 if playlist.ended else shift)
        self._run(source).begin()

    def _return_to(self, playlist: Playlist, source: Hashable, change: int, relation: RunRelation) -> bool:
        """
        Continue with another source, or with the last one after a rest.

        Segments of a source that were listed before are not listed again. If it has no new one yet, the previous
        playlist stays; after a rest there is none, so all are listed.

        :param relation: of the playlist to the previous one of that source.
        :return: whether to publish the playlist.
        """
        run, same = self._runs.get(source), relation is RunRelation.SAME
        if run is not None and same and source == self._source and _continues(playlist, run):
            return True
        segments: Sequence[MediaSegment] = playlist.segments
        if run is not None and run.last is not None and same and not self._rested:
            segments = [segment for segment in segments if segment.sequence > run.last]
        if not segments:
            return False
        self._restarts += int(source == self._source)
        self._splice(playlist, segments, source, change)
        return True

    def _splice(self, playlist: Playlist, segments: Sequence[MediaSegment], source: Hashable, change: int) -> None:
        """
        Let the segments of another source, or of a restarted packager, follow the last listed one.

        :param segments: those that may be listed.
        """
        assert self._last_shown is not None
        first = (
            segments[0] if playlist.ended else _tail_start(segments, _START_TARGET_DURATIONS * playlist.target_duration)
        )
        number, discontinuity = self._last_shown
        shift = self._discontinuities.shift((change, self._restarts), playlist.discontinuity_sequence)
        shift = max(shift, discontinuity + 1 - first.discontinuity_sequence)
        self._source = source
        self._window = PlaylistWindow(
            first.sequence, number + 1 - first.sequence, shift, first.sequence, self._window.target_duration
        )
        self._run(source).begin()

    def _run(self, source: Hashable) -> PackagerRun:
        """Return the run of a source. Those of the sources that were in use longest ago are dropped."""
        run = self._runs[source] = self._runs.pop(source, PackagerRun())
        if len(self._runs) > _MAX_SOURCES:
            del self._runs[next(iter(self._runs))]
        return run

    def _publish(self, playlist: Playlist, url: str) -> PlaylistWindow:
        shown = [segment for segment in playlist.segments if segment.sequence >= self._window.first]
        if shown:
            self._window = attrs.evolve(self._window, first=shown[0].sequence)
            self._first_shown, self._last_shown = map(self._window.numbers, (shown[0], shown[-1]))
            self._discontinuities.record(self._last_shown[1])
            self._run(self._source).record(playlist, url)
            self._rested = False
        window = self._window
        target = max(window.target_duration, math.ceil(playlist.target_duration))
        self._window = attrs.evolve(window, target_duration=target)
        self._ended = playlist.ended
        return window

    def _note_progress(self, source: Hashable, playlist: Playlist, now: float) -> None:
        """
        Record new segments and parts.

        A new source gets the full stall timeout.
        """
        shown = -1 if self._last_shown is None else self._last_shown[0]
        progress = (shown, len(playlist.trailing))
        if source != self._progress_source:
            self._progress_source = source
            self._new_media.restart(now)
        elif progress > self._progress:
            segments = newest(playlist.segments, shown - self._progress[0])
            self._new_media.added(segments, playlist.target_duration, now)
        self._progress = max(progress, self._progress)


def _continues(playlist: Playlist, run: PackagerRun) -> bool:
    """Return whether a playlist of a run ends at its last segment or behind it."""
    return run.last is None or playlist.segments[-1].sequence >= run.last


def _tail_start(segments: Sequence[MediaSegment], seconds: float) -> MediaSegment:
    """Return the first of the last segments that together have at least this duration."""
    total = 0.0
    for segment in reversed(segments):
        total += segment.duration
        if total >= seconds:
            return segment
    return segments[0]
