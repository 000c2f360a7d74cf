"""A body that is heard now and then and yet is dead: a trickle.

Silence (:mod:`m3uproxy.core.health.silence`) is broken by any packet. A provider that sends one every half second would
so keep a dead source alive for ever, which is why what comes is measured as well, over windows of :data:`WINDOW`
seconds. Two on end in which a body *starves* are a stall. There is no setting, because nothing that plays looks like
it:

- while the stream's own clock (PCR) goes on at a tenth of real time or more, nothing is wrong, however little comes: a
  channel that shows a black picture at night needs 1 % of what it needs by day;
- if the clock is slower, the body starves when less than a tenth comes of what usually came;
- if no clock is seen, when less than a hundredth comes;
- in both cases when less comes than :data:`MIN_RATE`, which is less than the clock alone takes in a stream that has
  one (a packet every 100 ms, ISO/IEC 13818-1, 2.7.2) and less than the slowest radio.

A window ends with the first packets after its time, so that a source that delivers in bursts is not judged by its
pauses.
"""

from __future__ import annotations

#: Seconds of a window.
WINDOW = 5.0
#: Windows on end in which a body starves that make it dead.
WINDOWS = 2
#: Bytes per second under which nothing can be played whose clock does not go on.
MIN_RATE = 1000.0
#: Parts: of real time that the clock must go on, and of what usually comes with a slow clock and without one.
_SLOW, _LITTLE, _NOTHING = 0.1, 0.1, 0.01
#: Weight of a new window in what is usual.
_WEIGHT = 0.2


class TrickleDetector:
    """Measures one body. Make a new one for each: nothing of the last source applies to the next."""

    __slots__ = ("_began", "_media", "_received", "_starving", "_usual", "due", "rate")

    def __init__(self, now: float) -> None:
        """
        A body begins at ``now`` (monotonic seconds, as all times here).

        :ivar due: when the window ends; before that :meth:`update` need not be called.
        :ivar rate: bytes per second in the last window.
        """
        self._began = now
        self.due = now + WINDOW
        self._received = 0
        self._media = 0.0
        self._usual = self.rate = 0.0
        self._starving = 0

    def update(self, now: float, received: int, media: float) -> bool:
        """
        Packets came.

        :param received: bytes of the body so far.
        :param media: how far the stream's clock went so far, in seconds; 0 while that is not known.
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
        self._began, self.due = now, now + WINDOW
        self._received, self._media = received, media
        return self._starving >= WINDOWS

    def _starves(self, pace: float) -> bool:
        """Judge a window; ``pace`` is seconds of the stream's clock per second."""
        if pace >= _SLOW:
            return False
        return self.rate < max(MIN_RATE, (_LITTLE if pace > 0 else _NOTHING) * self._usual)
