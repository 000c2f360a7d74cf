"""Progress of a body: how much media it has brought, in bytes and in seconds.

A body that delivers bytes may deliver no media: padding, program tables without their streams, metadata, bytes to keep
the connection open. Only media prove that a source works. Their duration shows how far a source is ahead of real time,
so that a pause behind a burst is not taken for a failure (:mod:`m3uproxy.core.health.silence`).
"""

from __future__ import annotations

from typing import Protocol

import attrs

#: Timestamps of one track jump if they step by more than this, plus twice the time that passed; in seconds.
JUMP = 10.0
#: Bytes per second of the slowest media. A step of timestamps over more bytes may be larger.
MIN_RATE = 1000.0
#: Seconds without a timestamp after which another track is followed.
MAX_GAP = 2.0


class MediaProgress(Protocol):
    """The media of one body so far."""

    @property
    def recognised(self) -> bool:
        """True if the format of the body is known."""

    @property
    def size(self) -> int:
        """Bytes of pictures and sound, in whole packets, frames or tags."""

    @property
    def seconds(self) -> float:
        """Duration of the media by their timestamps; 0 while unknown."""


@attrs.define
class MediaCount:
    """A :class:`MediaProgress` whose values are counted as media come."""

    recognised: bool = True
    size: int = 0
    seconds: float = 0.0


class TrackClock:
    """
    The duration of the media of one body, from the timestamps of one track. Jumps are left out.

    If the track is silent for :data:`MAX_GAP` seconds, the clock follows another one.

    :ivar seconds: the duration so far.
    """

    __slots__ = ("_highest", "_position", "_rate", "_time", "_track", "_wrap", "seconds")

    def __init__(self, rate: int, wrap: int) -> None:
        """
        Start a body.

        :param rate: ticks per second.
        :param wrap: one more than the highest timestamp.
        """
        self._rate = rate
        self._wrap = wrap
        self._track: int | None = None
        self._highest = self._position = 0
        self._time = 0.0
        self.seconds = 0.0

    def track(self, now: float) -> int | None:
        """Return the track whose timestamps count; None if the next one may be of any track."""
        return self._track if now - self._time < MAX_GAP else None

    def add(self, track: int, stamp: int, position: int, now: float) -> None:
        """
        Take the next timestamp of a track.

        :param track: a number of the track.
        :param position: bytes of the body so far.
        :param now: monotonic seconds.
        """
        if track != self._track:
            if self._track is None or now - self._time >= MAX_GAP:
                self._track, self._highest, self._position, self._time = track, stamp, position, now
            return
        half = self._wrap >> 1
        # Pictures may come out of order: the latest timestamp counts.
        step = ((stamp - self._highest + half) % self._wrap - half) / self._rate
        limit = JUMP + 2 * (now - self._time) + (position - self._position) / MIN_RATE
        if 0.0 < step <= limit:
            self.seconds += step
        if step > 0.0 or step < -JUMP:
            self._highest = stamp
        self._position, self._time = position, now
