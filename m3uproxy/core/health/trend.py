"""Trend of a source: signs that a source is about to fail, so that the stream can leave it before.

Once in a period (60 s by default) the source in use is summed up in one :class:`TrendReading`. The detector compares
the latest three readings with the median of those before. A single sign is not enough unless it is strong, because each
has harmless reasons: the bitrate of a night scene falls, a film has quiet minutes, a Sunday evening has longer gaps.

Each sign weighs 1, or 2 if strong. A source with a weight of 2 is suspect::

                        1                                   2
    bitrate             falling, to 75 % of the usual       to 50 %
    longest pause       growing, to twice, 0.5 s or more    four times, 1.5 s or more
    errors              growing, to twice, 5 or more        four times, 20 or more
    pace                under 97 % of real time             under 90 %

*Falling* and *growing* mean: in each of the last three readings more than in the one before. The pace (seconds of video
that arrive in a second) is a fact rather than a trend, and all three readings must be below. Off by default, because
leaving a source that still works is a matter of taste.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import median

import attrs

#: Readings that are judged. At least one reading before them defines the usual values.
LATEST = 3
#: Readings that are remembered.
_MAX_READINGS = 12
#: The sum of weights from which on a source is suspect.
SUSPECT_WEIGHT = 2


@attrs.frozen
class TrendReading:
    """
    The measurements of the source in use over one period.

    :ivar bitrate: bytes per second.
    :ivar longest_pause: seconds.
    :ivar errors: continuity and transport errors in the samples.
    :ivar pace: seconds of video per second of time, None if unknown.
    """

    bitrate: float
    longest_pause: float
    errors: float
    pace: float | None = None


@attrs.frozen
class TrendVerdict:
    """The weight of the signs, and ``signs``: their names with values, for the timeline."""

    weight: int
    signs: tuple[str, ...] = ()

    @property
    def suspect(self) -> bool:
        """True if the stream should leave the source for a better one."""
        return self.weight >= SUSPECT_WEIGHT


class TrendDetector:
    """The readings of one body. Each body needs a new object, because each source has its own usual values."""

    def __init__(self) -> None:
        self._readings: deque[TrendReading] = deque(maxlen=_MAX_READINGS)

    def judge(self, reading: TrendReading) -> TrendVerdict:
        """Add the reading of the period that is over and judge the source; its first three are never suspect."""
        self._readings.append(reading)
        readings = list(self._readings)
        if len(readings) <= LATEST:
            return TrendVerdict(0)
        found = [
            _trend_sign(
                "bitrate falling from {:.0f} to {:.0f} bytes per second",
                [reading.bitrate for reading in readings],
                _bitrate_weight,
                falling=True,
            ),
            _trend_sign(
                "pauses growing from {:.1f} to {:.1f} s", [reading.longest_pause for reading in readings], _pause_weight
            ),
            _trend_sign("errors rising from {:.0f} to {:.0f}", [reading.errors for reading in readings], _error_weight),
            _pace_sign([reading.pace for reading in readings[-LATEST:]]),
        ]
        return TrendVerdict(sum(weight for weight, _ in found), tuple(sign for weight, sign in found if weight))


def _trend_sign(
    text: str, values: Sequence[float], weigh: Callable[[float, float], int], falling: bool = False
) -> tuple[int, str]:
    """Return the weight and the text of one sign.

    :param text: text with places for the usual value and the last one.
    :param weigh: returns the weight of these two values.
    """
    steps = pairwise(values[-LATEST - 1 :])
    steady = all(later < earlier if falling else later > earlier for earlier, later in steps)
    usual, last = median(values[:-LATEST]), values[-1]
    return weigh(usual, last) if steady else 0, text.format(usual, last)


def _bitrate_weight(usual: float, last: float) -> int:
    return (last <= 0.75 * usual) + (last <= 0.5 * usual)


def _pause_weight(usual: float, last: float) -> int:
    return (last >= max(0.5, 2 * usual)) + (last >= max(1.5, 4 * usual))


def _error_weight(usual: float, last: float) -> int:
    return (last >= max(5, 2 * usual)) + (last >= max(20, 4 * usual))


def _pace_sign(paces: Sequence[float | None]) -> tuple[int, str]:
    best = max((pace for pace in paces if pace is not None), default=1.0)
    if None in paces:
        return 0, ""
    return (best < 0.97) + (best < 0.9), f"slower than real time: {best:.2f} s of video per second"
