"""What one outage may still spend: laps over the sources, and changes from one to another.

Within an outage every source is tried once without delay; then there is a rest, with jitter, so that the streams of
one provider do not all come back in the same moment; then the next lap. Sources that a resolver named share the lap.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping

from .guests import Guests
from .rules import Rules

#: The longest rest between two laps, in seconds.
LONGEST_REST = 30.0


class Outage:
    """
    The budget of an outage. Which outage that is, and when it begins, :class:`.sources.Sources` knows.

    :ivar rules: the limits; they may change at any time.
    :ivar tried: the sources that this lap is done with, by index.
    """

    def __init__(self, rules: Rules, random: Callable[[], float], guests: Guests) -> None:
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
        self.tried: set[int] = set()

    @property
    def first_lap(self) -> bool:
        """Whether no lap is over: a source may be untried."""
        return not self._laps

    @property
    def spent(self) -> bool:
        """Whether there is no further lap."""
        return self._laps >= self.rules.laps

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
