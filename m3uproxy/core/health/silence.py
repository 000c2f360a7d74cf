"""Silence of a source: the timeout after which a silent source has stalled.

Three seconds of silence are a stall if the source normally delivers all the time. Some sources do not: a provider that
reads HLS segments itself sends six seconds of video in one burst and is then silent for six. So the usual pause is
learned from the pauses:

- A pause is a silence of at least :data:`SHORTEST_PAUSE` seconds that ended.
- A source *delivers in bursts* if it is silent for at least half of the time since the first pause considered. A single
  hiccup of an even source stops counting when the source has delivered for as long again.
- Its usual pause is the median of these pauses, so that a single long one does not set it. Twice that is allowed.

**Until the first pause is over** the rhythm is unknown, and a long first pause would end a good source. Here the
stream's clock helps: a source that has sent six seconds of video in its first second is ahead, and may be silent until
it is not ahead any more. This holds until the source has delivered evenly, or paused, once: many providers begin with a
burst and are even from then on. Players hold the video that is ahead, too.
"""

from __future__ import annotations

from collections import deque
from statistics import median

#: Seconds of silence that make a pause; shorter ones are caused by the network or by our own read schedule.
SHORTEST_PAUSE = 0.5
#: The longest timeout in seconds, unless the setting is longer.
MAX_TIMEOUT = 30.0
#: Pauses that are remembered.
_MAX_PAUSES = 8


class SilenceTracker:
    """The rhythm of one body. Each body needs a new object, because each source has its own rhythm."""

    __slots__ = ("_ahead", "_base", "_began", "_known", "_last", "_longest", "_pauses")

    def __init__(self, base: float, now: float, longest: float = MAX_TIMEOUT) -> None:
        """
        Begin with a source whose first packets arrived at ``now`` (monotonic seconds, as all times here).

        :param base: timeout of an even source in seconds; 0 for none.
        :param longest: the longest timeout in seconds, unless ``base`` is longer.
        """
        self._base = base
        self._longest = max(base, longest)
        self._began = self._last = now
        self._pauses: deque[tuple[float, float]] = deque(maxlen=_MAX_PAUSES)
        self._known = False
        self._ahead = 0.0

    def packets_received(self, now: float) -> None:
        """Take note that packets arrived."""
        if now - self._last >= SHORTEST_PAUSE:
            self._pauses.append((self._last, now - self._last))
            self._known = True
        elif not self._known and now - self._began >= self._base:
            self._known = True
        self._last = now

    def media_received(self, media: float) -> None:
        """Take the video received so far, in seconds of the stream's clock. The call is optional."""
        self._ahead = media - (self._last - self._began)

    def silence(self, now: float) -> float:
        """Return the seconds since the last packets."""
        return now - self._last

    def timeout(self) -> float:
        """Return the seconds of silence that are allowed now; 0 for no limit."""
        if not self._base:
            return 0.0
        allowed = 2 * self._usual()
        if not self._known:
            allowed = max(allowed, self._base + self._ahead)
        return min(max(self._base, allowed), self._longest)

    def is_stalled(self, now: float) -> bool:
        """Return whether the silence has reached the timeout."""
        return bool(self._base) and self.silence(now) >= self.timeout()

    def check_after(self, now: float) -> float:
        """Return the seconds until the next check: the timeout of an even source at most, as the rhythm may change."""
        return max(0.05, min(self._base, self.timeout() - self.silence(now)))

    def _usual(self) -> float:
        """Return the median of the latest pauses that together are half of the time since the first of them; else 0."""
        lengths: list[float] = []
        usual = 0.0
        for began, length in reversed(self._pauses):
            lengths.append(length)
            if sum(lengths) * 2 >= self._last - began:
                usual = median(lengths)
        return usual
