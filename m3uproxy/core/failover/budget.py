"""What one outage may still spend: laps over the sources, and changes from one to another.

Who waits for a first picture is told soon that there is none: after some laps. Who was watching waits until the time of
the outage is over, which is not counted here; laps go on, with rests that grow.

Within an outage every source is tried once without delay; then there is a rest, with jitter, so that the streams of
one provider do not all come back in the same moment; then the next lap. Sources that a resolver named share the lap.

The limits under which sources are tried; see :mod:`.sources` and :mod:`.outage`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping

import attrs

from .causes import TREATMENTS, CausePolicy, FailureCause
from .source_list import NamedSources


@attrs.frozen
class FailoverRules:
    """
    Limits; times are seconds.

    :ivar laps: passes over the sources within one outage (``STREAM_RETRY_ATTEMPTS``).
    :ivar rest: between the first two laps (``STREAM_RETRY_DELAY``).
    :ivar growth: factor from rest to rest: 1, or 1.5 with ``STREAM_RETRY_EXPONENTIAL_BACKOFF``.
    :ivar busy_rest: the least rest after a lap in which a provider had no free connection.
    :ivar jitter: part by which rests and cool-downs are drawn longer or shorter.
    :ivar moves: changes to another source within one outage (``MAX_FAILOVER_ATTEMPTS``); 0 for no limit.
    :ivar stall_cool_down: the first quarantine of a source that stalled (for strict streams
        ``STRICT_LIVE_TS_CIRCUIT_BREAKER_COOLDOWN``).
    :ivar failback: how long the source in use must have run, and a better one not have failed, before the stream
        moves back to the better one; 0 for never.
    """

    laps: int = 3
    rest: float = 1.0
    growth: float = 1.0
    busy_rest: float = 3.0
    jitter: float = 0.2
    moves: int = 0
    stall_cool_down: float = 10.0
    failback: float = 0.0

    def treatment(self, cause: FailureCause) -> CausePolicy:
        """What follows from a cause."""
        treatment = TREATMENTS[cause]
        if cause is FailureCause.STALLED:
            first = self.stall_cool_down
            return attrs.evolve(treatment, cool_down=first, longest=max(first, treatment.longest))
        return treatment


#: The longest rest between two laps, in seconds; and of those beyond the number of laps, unless others are longer.
LONGEST_REST = 30.0
PATIENT_REST = 4.0
#: By how much such a rest is longer than the one before.
_PATIENT_GROWTH = 1.5
#: What that begins with where there is no rest otherwise.
_PATIENT_LEAST = 0.5


class OutageBudget:
    """
    The budget of an outage. Which outage that is, and when it begins, :class:`.sources.Sources` knows.

    :ivar rules: the limits; they may change at any time.
    :ivar patient: whether it is time that ends the outage, and not the number of laps.
    :ivar tried: the sources that this lap is done with, by index.
    """

    def __init__(self, rules: FailoverRules, random: Callable[[], float], guests: NamedSources) -> None:
        """
        Nothing is spent.

        :param random: numbers from 0 up to 1.
        :param guests: told of each new lap.
        """
        self._random = random
        self._guests = guests
        self._laps = self._moves = 0
        self._was_busy = False
        self.rules = rules
        self.patient = False
        self.tried: set[int] = set()

    @property
    def first_lap(self) -> bool:
        """Whether no lap is over: a source may be untried."""
        return not self._laps

    @property
    def spent(self) -> bool:
        """Whether there is no further lap."""
        return self._laps >= self.rules.laps and not self.patient

    @property
    def may_move(self) -> bool:
        """Whether another change of source is allowed."""
        return not self.rules.moves or self._moves < self.rules.moves

    def begin(self) -> None:
        """A fresh outage has a budget of its own."""
        self._laps = self._moves = 0
        self._new_lap()

    def moved(self) -> None:
        """A change of source."""
        self._moves += 1

    def was_busy(self) -> None:
        """A provider had no free connection: the rest after this lap is longer."""
        self._was_busy = True

    def renumber(self, places: Mapping[int, int]) -> None:
        """The sources have other indices now; those that are not among them are gone."""
        self.tried = {places[index] for index in self.tried if index in places}

    def end_lap(self) -> float:
        """Seconds to rest before the next lap."""
        rest = min(LONGEST_REST, self.rules.rest * self.rules.growth**self._laps)
        beyond = self._laps - self.rules.laps + 1
        if beyond > 0:
            rest = max(rest, min(PATIENT_REST, max(rest, _PATIENT_LEAST) * _PATIENT_GROWTH**beyond))
        if self._was_busy:
            rest = max(rest, self.rules.busy_rest)
        self._laps += 1
        self._new_lap()
        return rest * self.jitter()

    def rest_before(self, guest: str, tried: Collection[Hashable]) -> float:
        """
        Seconds to rest before a source that a resolver named: if it names the same again, that was a lap.

        :param tried: what tells the sources that were tried from others.
        """
        again = self._guests.came(guest) or guest in tried
        delay = self.end_lap() if again else 0.0
        self._guests.note(guest)
        return delay

    def rest_at_start(self, quarantine: float) -> float:
        """
        A player that asks again and again must not make us dial dead sources again and again.

        :param quarantine: seconds until a source is out of it.
        """
        return min(quarantine, self.rules.rest * self.jitter())

    def jitter(self) -> float:
        """The factor for the next rest or cool-down."""
        return 1 + self.rules.jitter * (2 * self._random() - 1)

    def _new_lap(self) -> None:
        self.tried, self._was_busy = set(), False
        self._guests.new_lap()
