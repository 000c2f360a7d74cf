"""Progress of a media playlist: the seconds since it has had nothing new to play.

A packager lists one segment in each target duration. Some list several at a time, and then nothing for as long as these
last: relays that fetch in bursts, and packagers that write many short segments at once. Segments that were listed ahead
of real time therefore count before the silence of the playlist begins.
"""

from __future__ import annotations

from collections.abc import Sequence

from .media_segments import MediaSegment

#: The most seconds of media ahead that count.
MAX_AHEAD = 60.0


class PlaylistProgress:
    """The new segments of one playlist."""

    def __init__(self, now: float) -> None:
        """Begin with the first playlist of a source at ``now`` (monotonic seconds)."""
        self._silent_since = now

    def restart(self, now: float) -> None:
        """Begin with another source: its first playlist shows segments of the past."""
        self._silent_since = now

    def added(self, segments: Sequence[MediaSegment], target_duration: float, now: float) -> None:
        """
        Take note of new segments or parts. The silence begins when only the last target duration of them is left.

        :param segments: the new segments, without parts.
        :param target_duration: seconds; also the duration of a segment that states none.
        """
        seconds = sum(segment.duration or target_duration for segment in segments)
        ahead = min(MAX_AHEAD, max(0.0, seconds - target_duration))
        self._silent_since = max(self._silent_since, now + ahead)

    def silence(self, now: float) -> float:
        """Return the seconds since the end of what was listed ahead; 0 before."""
        return max(0.0, now - self._silent_since)


def newest(segments: Sequence[MediaSegment], count: int) -> Sequence[MediaSegment]:
    """Return the last ``count`` segments, or all of them."""
    return segments[max(0, len(segments) - count) :] if count > 0 else ()
