"""Silence of a source: the timeout after which a silent source has stalled.

Three seconds of silence are a stall if the source normally delivers all the time. Some sources do not: a provider that
reads HLS segments itself sends six seconds of video in one burst and is then silent for six. Two things allow more.

**Media ahead of real time.** A source that has sent six seconds of media in its first second is ahead by five, and may
be silent until real time has caught up, plus the timeout of an even source. Players hold the media that is ahead. Media
count from the first byte of the body on. If the source has delivered evenly for a while, what was ahead is forgotten:
many providers begin with a burst and are even from then on.

**The usual pause.** It is learned from the pauses:

- A pause is a silence of at least :data:`SHORTEST_PAUSE` seconds that ended. A silence that ended as a stall is a pause
  of at least its length.
- A source *delivers in bursts* if it is silent for at least half of the time since the first pause considered. A single
  hiccup of an even source stops counting when the source has delivered for as long again.
- Its usual pause is the median of these pauses, so that a single long one does not set it. Twice that is allowed.

The pauses belong to the source, not to its connection: :class:`SourceRhythm` keeps them when the source is redialled.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from statistics import median

#: Seconds of silence that make a pause; shorter ones are caused by the network or by our own read schedule.
SHORTEST_PAUSE = 0.5
#: The longest timeout in seconds that pauses lead to, unless the setting is longer.
MAX_TIMEOUT = 30.0
#: The most seconds of media ahead that count.
MAX_AHEAD = 60.0
#: Seconds of media ahead from which on a source that does not pause is in a burst.
_LEAD = 1.0
#: Seconds of media per second up to which a source delivers evenly.
_EVEN_PACE = 1.5
#: The shortest time in seconds from which evenness is judged.
_EVEN_SECONDS = 1.0
#: Pauses that are remembered.
_MAX_PAUSES = 8


class SourceRhythm:
    """The pauses of one source, over all its connections."""

    __slots__ = ("_pauses",)

    def __init__(self) -> None:
        # Seconds of delivery before each pause, and its length.
        self._pauses: deque[tuple[float, float]] = deque(maxlen=_MAX_PAUSES)

    def add(self, delivered: float, length: float) -> None:
        """
        Record a pause.

        :param delivered: seconds of delivery before it.
        :param length: seconds.
        """
        self._pauses.append((delivered, length))

    def usual_pause(self, delivered: float) -> float:
        """
        Return the median of the latest pauses that together are half of the time since the first of them; else 0.

        :param delivered: seconds of delivery since the last pause.
        """
        lengths: list[float] = []
        usual = 0.0
        for before, length in reversed(self._pauses):
            delivered += length
            lengths.append(length)
            if sum(lengths) * 2 >= delivered:
                usual = median(lengths)
            delivered += before
        return usual


class RhythmMemory:
    """The rhythms of the sources of one stream. Those that were in use longest ago are dropped."""

    def __init__(self, limit: int = 32) -> None:
        """Remember the rhythms of ``limit`` sources."""
        self._limit = limit
        self._rhythms: dict[str, SourceRhythm] = {}

    def of(self, url: str) -> SourceRhythm:
        """Return the rhythm of a source, a new one if it is unknown."""
        rhythm = self._rhythms[url] = self._rhythms.pop(url, SourceRhythm())
        if len(self._rhythms) > self._limit:
            del self._rhythms[next(iter(self._rhythms))]
        return rhythm


class SilenceTracker:
    """The silence of one body. Each body needs a new object; the rhythm of its source stays."""

    __slots__ = ("_ahead", "_base", "_counted", "_delivered_since", "_even", "_exact", "_last", "_media", "_rhythm")

    def __init__(
        self,
        base: float,
        now: float,
        media: Callable[[], float] = float,
        rhythm: SourceRhythm | None = None,
        exact: bool = False,
    ) -> None:
        """
        Begin with a source whose first packets arrived at ``now`` (monotonic seconds, as all times here).

        :param base: timeout of an even source in seconds; 0 for none.
        :param media: returns the seconds of media that the body has brought so far, with the first packets; 0 while
            unknown.
        :param rhythm: the pauses of the source so far.
        :param exact: whether the timeout is always ``base``.
        """
        self._base = base
        self._media = media
        self._rhythm = rhythm if rhythm is not None else SourceRhythm()
        self._exact = exact
        self._last = self._delivered_since = now
        self._ahead = 0.0
        self._counted = 0.0
        # Time and media at the last judgement of evenness. From then on, time is not yet taken off what is ahead.
        self._even = (now, 0.0)

    def packets_received(self, now: float) -> None:
        """Take note that packets arrived. Called often."""
        silence = now - self._last
        if silence >= SHORTEST_PAUSE:
            self._rhythm.add(self._last - self._delivered_since, silence)
            self._delivered_since = now
            self._ahead = max(0.0, self._ahead - (now - self._even[0]))
            self._count_media()
            self._even = (now, self._counted)
        elif now - self._even[0] >= max(self._base, _EVEN_SECONDS):
            self._judge_evenness(now)
        self._last = now

    def discontinuity(self) -> None:
        """Take note that the media of the body are counted from 0 again."""
        self._counted = 0.0
        self._even = (self._even[0], 0.0)

    def stalled(self, now: float) -> None:
        """Take note that the silence is treated as a stall."""
        self._rhythm.add(self._last - self._delivered_since, self.silence(now))

    def silence(self, now: float) -> float:
        """Return the seconds since the last packets."""
        return now - self._last

    def ahead(self, now: float) -> float:
        """Return the seconds of media that are ahead of real time."""
        self._count_media()
        return max(0.0, self._ahead - (now - self._even[0]))

    def is_in_burst(self, now: float) -> bool:
        """Return whether the source pauses, or is ahead of real time."""
        return self.silence(now) >= SHORTEST_PAUSE or self.ahead(now) >= _LEAD

    def timeout(self) -> float:
        """Return the seconds of silence that are allowed now; 0 for no limit."""
        if self._exact or not self._base:
            return self._base
        usual = self._rhythm.usual_pause(self._last - self._delivered_since)
        allowed = max(self._base, min(2 * usual, MAX_TIMEOUT))
        ahead = self.ahead(self._last)
        if ahead < SHORTEST_PAUSE:
            return allowed
        return max(allowed, self._base + min(ahead, MAX_AHEAD) + SHORTEST_PAUSE)

    def is_stalled(self, now: float) -> bool:
        """Return whether the silence has reached the timeout."""
        return bool(self._base) and self.silence(now) >= self.timeout()

    def check_after(self, now: float) -> float:
        """Return the seconds until the next check: the timeout of an even source at most, as the rhythm may change."""
        return max(0.05, min(self._base, self.timeout() - self.silence(now)))

    def _count_media(self) -> None:
        """Add the media since the last count to what is ahead."""
        media = self._media()
        self._ahead += max(0.0, media - self._counted)
        self._counted = media

    def _judge_evenness(self, now: float) -> None:
        """Take the time since the last judgement off what is ahead. If the source was even, forget it altogether."""
        since, before = self._even
        passed = now - since
        self._count_media()
        is_even = self._counted - before <= _EVEN_PACE * passed
        self._ahead = 0.0 if is_even else max(0.0, self._ahead - passed)
        self._even = (now, self._counted)
