"""Trickle: a body that delivers a packet now and then and is dead all the same.

Any packet ends a silence (:mod:`m3uproxy.core.health.silence`). A provider that sends a packet every half second would
keep a dead source alive for ever. So the rate is measured as well, over windows of :data:`WINDOW` seconds. If a body
*starves* in two windows in a row, it has stalled. There is no setting, because no playable stream looks like this:

- While the stream's clock (PCR) advances at a tenth of real time or more, the body does not starve, however low the
  rate: a channel that shows a black picture at night needs 1 % of its rate by day.
- If the clock is slower, the body starves at less than a tenth of the usual rate.
- If no clock is seen, the body starves at less than a hundredth of the usual rate.
- In both cases it starves below :data:`MIN_RATE`. The clock alone needs more than that in a stream that has one (a
  packet every 100 ms, ISO/IEC 13818-1, 2.7.2), and so does the slowest radio.

A window ends with the first packets after its time, so that a source that delivers in bursts is not judged by its
pauses.
"""

from __future__ import annotations

#: Seconds of a window.
WINDOW = 5.0
#: Windows in a row in which a starving body is dead.
WINDOWS = 2
#: Bytes per second that a body needs at least if its clock does not advance.
MIN_RATE = 1000.0
#: Share of real time from which on the clock advances.
_MIN_PACE = 0.1
#: Shares of the usual rate below which a body starves: with a slow clock, and without one.
_SLOW_CLOCK_SHARE, _NO_CLOCK_SHARE = 0.1, 0.01
#: Weight of a new window in the usual rate.
_WEIGHT = 0.2


class TrickleDetector:
    """The rate of one body. Each body needs a new object, because each source has its own usual rate."""

    __slots__ = ("_began", "_media", "_received", "_starving", "_usual", "due", "rate")

    def __init__(self, now: float) -> None:
        """
        Begin with a body whose first packets arrive at ``now`` (monotonic seconds, as all times here).

        :ivar due: end of the window; before that :meth:`update` need not be called.
        :ivar rate: bytes per second in the last window.
        """
        self._began = now
        self.due = now + WINDOW
        self._received = 0
        self._media = 0.0
        self._usual = self.rate = 0.0
        self._starving = 0

    def restart(self, now: float, received: int, media: float) -> None:
        """Begin a window now; see :meth:`update`. The time before it says nothing about the body."""
        self._began, self.due = now, now + WINDOW
        self._received, self._media = received, media

    def update(self, now: float, received: int, media: float) -> bool:
        """
        Take note that packets arrived. If the window is over, judge it.

        :param received: bytes of the body so far.
        :param media: seconds by which the stream's clock has advanced so far; 0 while unknown.
        :return: whether the body is dead.
        """
        if now < self.due:
            return False
        passed = now - self._began
        self.rate = (received - self._received) / passed
        if self._starves((media - self._media) / passed):
            self._starving += 1
        else:
            self._starving = 0
            self._usual += (_WEIGHT if self._usual else 1.0) * (self.rate - self._usual)
        self.restart(now, received, media)
        return self._starving >= WINDOWS

    def _starves(self, pace: float) -> bool:
        """Return whether the body starves in this window; ``pace`` is seconds of the stream's clock per second."""
        if pace >= _MIN_PACE:
            return False
        return self.rate < max(MIN_RATE, (_SLOW_CLOCK_SHARE if pace > 0 else _NO_CLOCK_SHARE) * self._usual)
