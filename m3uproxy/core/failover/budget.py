"""Budget of one outage: laps over the sources, and changes from one source to another.

Within an outage every source is tried once without delay. Then there is a backoff, and the next lap begins. Backoffs
have jitter, so that the streams of one provider do not all dial again in the same moment. Sources that a resolver
names share the lap.

Before the first byte the number of laps is limited, so that a player soon gets an error. During playback the time
limit of the outage ends it (:mod:`m3uproxy.core.failover.machine`); laps then continue beyond their number, with
backoffs that grow. A lap in which a provider had too many connections does not count: it frees them in some seconds.
Neither does a lap in which a provider said when to ask again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Mapping

import attrs

from .causes import CAUSE_POLICIES, CausePolicy, FailureCause, busy_delay
from .source_list import NamedSources


@attrs.frozen
class FailoverRules:
    """
    The rules for choosing a source. Times are in seconds.

    :ivar laps: passes over the sources within one outage (``STREAM_RETRY_ATTEMPTS``).
    :ivar backoff: time between the first two laps (``STREAM_RETRY_DELAY``).
    :ivar backoff_growth: factor from one backoff to the next: 1, or 1.5 with ``STREAM_RETRY_EXPONENTIAL_BACKOFF``.
    :ivar busy_backoff: the least backoff after a lap in which this proxy had no free connection to a provider.
    :ivar jitter: part by which backoffs and cool-downs are randomly longer or shorter.
    :ivar max_changes: changes to another source within one outage (``MAX_FAILOVER_ATTEMPTS``); 0 for no limit.
    :ivar stall_cool_down: the first quarantine of a source that stalled (for strict streams
        ``STRICT_LIVE_TS_CIRCUIT_BREAKER_COOLDOWN``).
    :ivar failback: time for which the source in use must have run, and a better one not have failed, before the stream
        moves back to the better one; 0 for never.
    """

    laps: int = 3
    backoff: float = 1.0
    backoff_growth: float = 1.0
    busy_backoff: float = 3.0
    jitter: float = 0.2
    max_changes: int = 0
    stall_cool_down: float = 10.0
    failback: float = 0.0

    def cause_policy(self, cause: FailureCause) -> CausePolicy:
        """Return the policy for a cause."""
        policy = CAUSE_POLICIES[cause]
        if cause is FailureCause.STALLED:
            first = self.stall_cool_down
            return attrs.evolve(policy, cool_down=first, longest=max(first, policy.longest))
        return policy


#: The longest backoff between two laps, in seconds.
MAX_BACKOFF = 30.0
#: The longest backoff beyond the number of laps, in seconds, unless the rules ask for a longer one.
MAX_EXTRA_LAP_BACKOFF = 4.0
#: Growth of the backoffs beyond the number of laps, from one to the next.
_EXTRA_LAP_GROWTH = 1.5
#: First value of these backoffs, in seconds, if the rules have no backoff.
_EXTRA_LAP_BACKOFF = 0.5


class OutageBudget:
    """
    The budget of the present outage; :class:`.sources.Sources` begins a new one.

    :ivar rules: the limits; they may change at any time.
    :ivar lap: the number of laps that are over.
    :ivar unlimited_laps: whether time ends the outage, and not the number of laps.
    :ivar free_laps: whether laps do not count in which a provider had too many connections, or said Retry-After.
    :ivar tried: indices of the sources that are not tried again in this lap.
    :ivar unusable: indices of the sources that are not tried again in this outage.
    :ivar prompt: indices of the sources that failed at once in this outage. They need no share of the time left.
    :ivar delivered: indices of the sources that have delivered since the stream was started.
    """

    def __init__(self, rules: FailoverRules, random: Callable[[], float], named: NamedSources) -> None:
        """
        Initialise a fresh budget.

        :param random: returns numbers from 0 up to 1.
        :param named: the sources that a resolver named; informed of each new lap.
        """
        self._random = random
        self._named = named
        self.lap = self._busy_laps = self._told_laps = self._changes = 0
        self._had_no_slot = self._was_busy = self._was_told = False
        self._failures: Counter[tuple[int, FailureCause]] = Counter()
        self.rules = rules
        self.unlimited_laps = False
        self.free_laps = True
        self.tried: set[int] = set()
        self.unusable: set[int] = set()
        self.prompt: set[int] = set()
        self.delivered: set[int] = set()

    @property
    def first_lap(self) -> bool:
        """True while no lap is over: a source may be untried."""
        return not self.lap

    @property
    def exhausted(self) -> bool:
        """True if there is no further lap."""
        counted = self.lap - (self._busy_laps + self._told_laps if self.free_laps else 0)
        return counted >= self.rules.laps and not self.unlimited_laps

    @property
    def may_change(self) -> bool:
        """True if another change of source is allowed."""
        return not self.rules.max_changes or self._changes < self.rules.max_changes

    def begin(self) -> None:
        """Begin a fresh outage, with a budget of its own."""
        self.lap = self._busy_laps = self._told_laps = self._changes = 0
        self._failures.clear()
        self.unusable, self.prompt = set(), set()
        self._new_lap()

    def source_changed(self) -> None:
        """Count a change of source."""
        self._changes += 1

    def slot_missing(self) -> None:
        """Lengthen the backoff after this lap: this proxy had no free connection to a provider."""
        self._had_no_slot = True

    def told_when_to_ask(self) -> None:
        """Note that a provider said when to ask again."""
        self._was_told = True

    def refused_as_busy(self, index: int) -> float:
        """Note that a provider had too many connections. Return the seconds before it is asked for the source again."""
        self._was_busy = True
        return busy_delay(self._failures[index, FailureCause.BUSY] - 1)

    def count_failure(self, index: int, cause: FailureCause) -> None:
        """Count a failure. If the source would fail again, do not try it again in this outage."""
        self._failures[index, cause] += 1
        policy = self.rules.cause_policy(cause)
        is_over = 0 < policy.tries <= self._failures[index, cause] and index not in self.delivered
        if policy.final or is_over:
            self.tried.add(index)
            self.unusable.add(index)

    def renumber(self, places: Mapping[int, int]) -> None:
        """Replace the indices of the sources; sources without a new index are gone."""
        for indices in (self.tried, self.unusable, self.prompt, self.delivered):
            kept = {places[index] for index in indices if index in places}
            indices.clear()
            indices.update(kept)
        self._failures.clear()

    def end_lap(self) -> float:
        """Begin the next lap and return the seconds to back off before it."""
        backoff = self._busy_backoff() if self._was_busy else self._backoff()
        self._told_laps += self._was_told and not self._was_busy
        if self._had_no_slot:
            backoff = max(backoff, self.rules.busy_backoff)
        self.lap += 1
        self._new_lap()
        return backoff * self.jitter()

    def _busy_backoff(self) -> float:
        self._busy_laps += 1
        return busy_delay(self._busy_laps - 1)

    def _backoff(self) -> float:
        laps = self.lap - self._busy_laps
        backoff = min(MAX_BACKOFF, self.rules.backoff * self.rules.backoff_growth**laps)
        beyond = laps - self.rules.laps + 1
        if beyond > 0:
            grown = max(backoff, _EXTRA_LAP_BACKOFF) * _EXTRA_LAP_GROWTH**beyond
            backoff = max(backoff, min(MAX_EXTRA_LAP_BACKOFF, grown))
        return backoff

    def backoff_before_named(self, url: str, tried: Collection[Hashable]) -> float:
        """
        Return the seconds to back off before a source that a resolver named.

        If the resolver names a source for the second time, the lap is over.

        :param url: URL of the named source.
        :param tried: keys of the sources that were tried in this lap.
        """
        again = self._named.is_over(url) or url in tried
        delay = self.end_lap() if again else 0.0
        self._named.record(url)
        return delay

    def backoff_at_start(self, quarantine: float) -> float:
        """
        Return the seconds to wait before the first dial. The wait keeps repeated requests from redialling dead sources.

        :param quarantine: seconds until the first source leaves quarantine.
        """
        return min(quarantine, self.rules.backoff * self.jitter())

    def jitter(self) -> float:
        """Return the factor for the next backoff or cool-down."""
        return 1 + self.rules.jitter * (2 * self._random() - 1)

    def _new_lap(self) -> None:
        self.tried = set(self.unusable)
        self._had_no_slot = self._was_busy = self._was_told = False
        self._named.new_lap()
