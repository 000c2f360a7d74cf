"""Trickle: a body that delivers a packet now and then and is dead all the same.

Any media end a silence (:mod:`m3uproxy.core.health.silence`). A provider that sends a packet every half second would
keep a dead source alive for ever. So the rate of media is measured as well, over windows of :data:`WINDOW` seconds.
Padding and tables do not count. If a body *starves* in two windows in a row, it has stalled. There is no setting,
because no playable stream looks like this:

- While the timestamps of the media advance at a tenth of real time or more, the body does not starve, however low the
  rate: a channel that shows a black picture at night needs 1 % of its rate by day.
- If they are slower, the body starves at less than a tenth of the usual rate.
- If there are none, the body starves at less than a hundredth of the usual rate.
- In both cases it starves below :data:`MIN_RATE`. The slowest radio needs that much.

A window ends with the first packets after its time, so that a source that delivers in bursts is not judged by its
pauses.
"""

from __future__ import annotations

#: Seconds of a window.
WINDOW = 5.0
#: Windows in a row in which a starving body is dead.
WINDOWS = 2
#: Bytes of media per second that a body needs at least if its timestamps do not advance.
MIN_RATE = 1000.0
#: Share of real time from which on the timestamps advance.
_MIN_PACE = 0.1
#: Shares of the usual rate below which a body starves: with slow timestamps, and without any.
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
        :ivar rate: bytes of media per second in the last window.
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

        :param received: bytes of media of the body so far.
        :param media: seconds of these by their timestamps; 0 while unknown.
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
        """Return whether the body starves in this window; ``pace`` is seconds of media per second."""
        if pace >= _MIN_PACE:
            return False
        return self.rate < max(MIN_RATE, (_SLOW_CLOCK_SHARE if pace > 0 else _NO_CLOCK_SHARE) * self._usual)
