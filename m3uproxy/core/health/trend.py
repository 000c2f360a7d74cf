"""A source that is about to break shows it: it slows down, it pauses, it makes errors. Leave it before.

Once in a period (60 s by default) the source in use is summed up in one :class:`TrendReading`. What is judged is not
the reading but where it goes: the latest three against the median of those before. No sign is enough alone unless
it is strong, because each has harmless reasons as well: the bitrate of a night scene falls, a film has quiet minutes,
a Sunday evening has longer gaps.

Each sign weighs 1, or 2 if strong; a source with a weight of 2 is suspect::

                        1                                   2
    bitrate             falling, to 75 % of the usual       to 50 %
    longest pause       growing, to twice, 0.5 s or more    four times, 1.5 s or more
    errors              growing, to twice, 5 or more        four times, 20 or more
    pace                under 97 % of real time             under 90 %

*Falling* and *growing* mean: in each of the last three readings more than in the one before. The pace (video
seconds that arrive in a second) is a fact rather than a trend, and needs all three readings below. Off by default:
to leave a source that still works is a matter of taste.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import median

import attrs

#: Readings that are judged, and readings before them that say what is usual (at least one).
LATEST = 3
_KEPT = 12
#: The weight of signs that makes a source suspect.
SUSPECT_WEIGHT = 2


@attrs.frozen
class TrendReading:
    """
    One period of the source in use.

    :ivar bitrate: bytes per second.
    :ivar longest_pause: seconds.
    :ivar errors: continuity and transport errors found in what was sampled.
    :ivar pace: seconds of video per second of time, None if unknown.
    """

    bitrate: float
    longest_pause: float
    errors: float
    pace: float | None = None


@attrs.frozen
class TrendVerdict:
    """``signs`` names what was seen, with values, for the timeline; empty if nothing."""

    weight: int
    signs: tuple[str, ...] = ()

    @property
    def suspect(self) -> bool:
        """Whether to leave the source, if there is a better place to go."""
        return self.weight >= SUSPECT_WEIGHT


class TrendDetector:
    """Watches one body over its readings. Make a new one for each: another source has other habits."""

    def __init__(self) -> None:
        self._readings: deque[TrendReading] = deque(maxlen=_KEPT)

    def judge(self, reading: TrendReading) -> TrendVerdict:
        """Take the reading of the period that is over. The first three never lead to a suspicion."""
        self._readings.append(reading)
        readings = list(self._readings)
        if len(readings) <= LATEST:
            return TrendVerdict(0)
        found = [
            _trend("bitrate falling", [r.bitrate for r in readings], _how_low, falling=True),
            _trend("pauses growing", [r.longest_pause for r in readings], _how_long),
            _trend("errors rising", [r.errors for r in readings], _how_many),
            _slow([r.pace for r in readings[-LATEST:]]),
        ]
        return TrendVerdict(sum(weight for weight, _ in found), tuple(sign for weight, sign in found if weight))


def _trend(
    name: str, values: Sequence[float], weigh: Callable[[float, float], int], falling: bool = False
) -> tuple[int, str]:
    """Weight and words of one sign; ``weigh`` compares the usual value with the last."""
    steps = pairwise(values[-LATEST - 1 :])
    steady = all(later < earlier if falling else later > earlier for earlier, later in steps)
    usual, last = median(values[:-LATEST]), values[-1]
    return weigh(usual, last) if steady else 0, f"{name}: {usual:.4g} to {last:.4g}"


def _how_low(usual: float, last: float) -> int:
    return (last <= 0.75 * usual) + (last <= 0.5 * usual)


def _how_long(usual: float, last: float) -> int:
    return (last >= max(0.5, 2 * usual)) + (last >= max(1.5, 4 * usual))


def _how_many(usual: float, last: float) -> int:
    return (last >= max(5, 2 * usual)) + (last >= max(20, 4 * usual))


def _slow(paces: Sequence[float | None]) -> tuple[int, str]:
    best = max((pace for pace in paces if pace is not None), default=1.0)
    if None in paces:
        return 0, ""
    return (best < 0.97) + (best < 0.9), f"slower than real time: {best:.3f}"
