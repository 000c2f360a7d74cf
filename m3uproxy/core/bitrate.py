"""How fast a stream arrives."""

from __future__ import annotations

#: Seconds of arrival that make one sample.
_WINDOW = 1.0
#: Weight of a new sample.
_WEIGHT = 0.2


class Bitrate:
    """A moving average over about five seconds, in bytes per second.

    A pause longer than a second counts as one second: an outage of the provider says nothing about the bitrate
    of the media, and must not make a ring forget what it holds.
    """

    def __init__(self) -> None:
        self.value = 0.0
        self.known = False
        self._last: float | None = None
        self._bytes = 0
        self._elapsed = 0.0

    def add(self, size: int, now: float) -> None:
        """Count ``size`` bytes that arrived at ``now`` (monotonic seconds)."""
        if self._last is not None:
            self._elapsed += min(now - self._last, _WINDOW)
            self._bytes += size
        self._last = now
        if self._elapsed >= _WINDOW:
            self._sample(self._bytes / self._elapsed)

    def _sample(self, rate: float) -> None:
        self.value = self.value + _WEIGHT * (rate - self.value) if self.known else rate
        self.known = True
        self._bytes, self._elapsed = 0, 0.0
