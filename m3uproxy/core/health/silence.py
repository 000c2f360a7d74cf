"""How long a source may be silent before it counts as stalled.

Three seconds of silence is a stall, if the source normally delivers all the time. Some do not: a provider that reads
HLS segments itself sends six seconds of video in one go and is then silent for six. So the usual pause is
learned, from the pauses themselves:

- A pause is a silence of at least :data:`SHORTEST_PAUSE` seconds that ended.
- A source *delivers in bursts* when it is silent for at least half of the time over which its pauses are looked at.
  One hiccup of an even source stops counting as soon as the source has delivered for as long again.
- Its usual pause is the median of those, so that one long one does not set it. Twice that is allowed.

**Before the first pause is over** nothing is known, and a long first pause would end a good source. There the
stream's clock helps: a source that has sent six seconds of video in its first second is ahead and may be silent
until it is not. This holds until it has delivered evenly, or paused, once; many providers begin with a burst and are
even from then on. What is ahead, the viewers hold as well.
"""

from __future__ import annotations

from collections import deque
from statistics import median

#: Seconds of silence that make a pause; less is the network, or our own ticks.
SHORTEST_PAUSE = 0.5
#: Never wait for longer than this, in seconds, unless the setting does.
MAX_TIMEOUT = 30.0
#: Pauses that are remembered.
_KEPT = 8


class SilenceTracker:
    """The rhythm of one body. Make a new one for each: nothing of the last source applies to the next."""

    __slots__ = ("_ahead", "_base", "_began", "_heard", "_known", "_longest", "_pauses")

    def __init__(self, base: float, now: float, longest: float = MAX_TIMEOUT) -> None:
        """
        A source that was heard for the first time at ``now`` (monotonic seconds, as all times here).

        :param base: seconds of silence that an even source is allowed; 0 for any length.
        :param longest: seconds that no source is allowed to exceed, unless ``base`` does.
        """
        self._base = base
        self._longest = max(base, longest)
        self._began = self._heard = now
        self._pauses: deque[tuple[float, float]] = deque(maxlen=_KEPT)
        self._known = False
        self._ahead = 0.0

    def packets_received(self, now: float) -> None:
        """Packets came."""
        if now - self._heard >= SHORTEST_PAUSE:
            self._pauses.append((self._heard, now - self._heard))
            self._known = True
        elif not self._known and now - self._began >= self._base:
            self._known = True
        self._heard = now

    def media_received(self, media: float) -> None:
        """How much video came so far, in seconds of the stream's own clock; need not be told."""
        self._ahead = media - (self._heard - self._began)

    def silence(self, now: float) -> float:
        """Seconds since packets came."""
        return now - self._heard

    def timeout(self) -> float:
        """Seconds of silence that are allowed now; 0 for any length."""
        if not self._base:
            return 0.0
        allowed = 2 * self._usual()
        if not self._known:
            allowed = max(allowed, self._base + self._ahead)
        return min(max(self._base, allowed), self._longest)

    def is_stalled(self, now: float) -> bool:
        """Whether the silence has lasted too long."""
        return bool(self._base) and self.silence(now) >= self.timeout()

    def check_after(self, now: float) -> float:
        """Seconds after which to ask again; never more than an even source is allowed, as the rhythm may change."""
        return max(0.05, min(self._base, self.timeout() - self.silence(now)))

    def _usual(self) -> float:
        """The median of the latest pauses that together are half of the time since the first of them; else 0."""
        lengths: list[float] = []
        usual = 0.0
        for began, length in reversed(self._pauses):
            lengths.append(length)
            if sum(lengths) * 2 >= self._heard - began:
                usual = median(lengths)
        return usual
