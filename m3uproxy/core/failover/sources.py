"""The sources of one stream: which one is tried next, and when.

:mod:`m3uproxy.core.failover.machine` holds the state of the session and the time limit of an outage. This module
chooses the source:

**The cause of a failure decides the next step** (:mod:`m3uproxy.core.failover.causes`). A probable accident (a
provider that closes the connection) leads to a redial at once, if the source had run well. A failure that will repeat
(a stall, a fault in the picture) leads to the next source at once.

**Quarantined sources are tried last, but are not excluded.** A source that failed is quarantined for a cool-down. The
cool-down doubles with each failure until the source has run for :data:`.source_list.FORGIVE_AFTER` seconds. While a
source is out of quarantine, no quarantined source is tried. If all are quarantined, the one that leaves quarantine
first is next, so that players wait.

**A source that would fail again is tried once or twice.** What a limit of this proxy refuses, it refuses again. A
provider that does not know a URL, or refuses it, is asked once or twice, unless the source has delivered before.

**A provider is not asked before its time.** If an account has too many connections, or the provider says Retry-After,
the next request waits for as long.

**Laps** have a budget (:mod:`m3uproxy.core.failover.budget`). A source that delivered for some seconds is *settled*. It
ends the outage: its next failure has a budget of its own.

**One outage never penalises two sources.** A failure counts once, and only against the source in use. A report about
another source, or a second report, changes nothing. (A stall timer and a closed connection may report the same end.)

**Named sources.** A resolver may name a source that is in no list (:mod:`m3uproxy.core.failover.source_list`). It is
tried next. A source that is named twice in a lap ends the lap; then there is a backoff.

**Order.** The *home* source comes first (:mod:`m3uproxy.core.failover.source_list`). An order relative to the last
source tried would never return to a good primary.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import attrs

from ..programme import SHORT_PROGRAMME
from .budget import FailoverRules, OutageBudget
from .causes import ACCOUNT_CAUSES, OWN_CAUSES, FailureCause
from .source_list import NamedSources, SourceList, SourceState


@attrs.frozen
class Choice:
    """The source to dial next, by index, and the seconds to back off before."""

    index: int
    delay: float = 0.0


class Sources:
    """
    The sources of one stream, by index.

    Parameters named ``now`` and ``since`` are monotonic seconds.

    :ivar source_list: the sources in their order.
    :ivar budget: the budget of the present outage.
    :ivar current: index of the source in use, or of the next one.
    :ivar in_use: whether that source is dialled or streaming.
    :ivar redials: whether that source is dialled again, because it ran well.
    """

    def __init__(
        self,
        keys: Sequence[Hashable],
        rules: FailoverRules,
        random: Callable[[], float],
        accounts: Sequence[Hashable | None] = (),
    ) -> None:
        """
        Initialise sources without history.

        :param keys: the identity of each source, its URL, in order of preference. Never shown.
        :param random: returns numbers from 0 up to 1.
        :param accounts: the provider account of each source, None if unknown. If one source of an account fails because
            the account is at its limit, the others are quarantined, too.
        """
        named = NamedSources()
        self.source_list = SourceList(keys, accounts, named)
        self.budget = OutageBudget(rules, random, named)
        self.current = 0
        self.in_use = self.redials = self._started = self._ran_well = False
        self._next_named: int | None = None
        self._redial_delay = 0.0

    def __len__(self) -> int:
        return len(self.source_list)

    @property
    def rules(self) -> FailoverRules:
        """The rules for choosing a source."""
        return self.budget.rules

    def others_left(self, until: float = float("inf")) -> int:
        """
        Return the number of other sources that share the time left with the source in use.

        This lap has not tried them. In later laps, sources that fail at once do not count.

        :param until: end of the outage; see :meth:`next`.
        """
        done = self.budget.tried if self.first_lap else self.budget.tried | self.budget.prompt
        return sum(index not in done for index in self._allowed(until) if index != self.current)

    @property
    def first_lap(self) -> bool:
        """True while no lap of this outage is over: a source may be untried."""
        return self.budget.first_lap

    @property
    def position(self) -> int:
        """The position of the current source, for people."""
        return self.source_list.position(self.current)

    def named_url(self, index: int) -> str:
        """Return the URL of a source that a resolver named; its index is negative."""
        return str(self._state(index).key)

    # events

    def begin_outage(self, now: float) -> None:
        """Begin a fresh outage with the best source: the stream, which was idle, is started."""
        self.left(now)
        self.budget.begin()
        self.budget.delivered.clear()
        self.redials = self._started = self._ran_well = False
        self._next_named = None

    def left(self, now: float) -> None:
        """Take note that the source in use is left without a failure."""
        self.in_use = False
        self._redial_delay = 0.0
        self._state(self.current).left(now)

    def next(self, now: float, until: float = float("inf")) -> Choice | None:
        """
        Choose the source to dial, which is in use from now on. While a source is in use, return the same source.

        :param until: end of the outage. A source whose provider must not be asked before then is not chosen.
        :return: None if the budget of the outage is exhausted.
        """
        if self.in_use:
            return Choice(self.current)
        choice = self._choose(now, until)
        if choice is not None:
            self._take(choice.index)
        return choice

    def settled(self, index: int, since: float) -> None:
        """Take note that the source in use has delivered well since a time. It leaves quarantine."""
        if self.in_use and index == self.current:
            state = self._state(index)
            state.delivering_since = since
            state.end_quarantine()
            self.budget.delivered.add(index)

    def failed(self, index: int, cause: FailureCause, now: float, retry_after: float | None = None) -> None:
        """
        Take note that the source in use failed. A report about another source has no effect.

        If the cause lies in this proxy, the source has no failure, and is dialled again after a short wait. If only a
        slot is missing, sources of other accounts are tried.

        :param retry_after: seconds for which the provider asks not to be requested again.
        """
        if not self.in_use or index != self.current:
            return
        state = self._state(index)
        ran_well = self._ran_well = state.delivering_since is not None
        self.left(now)
        if cause not in OWN_CAUSES:
            state.failed(cause, now)
        if ran_well:
            self.budget.begin()
        self.redials = cause is FailureCause.OURS or (ran_well and self.rules.cause_policy(cause).redial)
        if cause is FailureCause.OURS:
            self._redial_delay = self.rules.cause_policy(cause).cool_down * self.budget.jitter()
        if self.redials:
            return
        if not ran_well:
            self.budget.tried.add(index)
        self.budget.count_failure(index, cause)
        self._quarantine(index, cause, now)
        self._hold_back(index, cause, now, retry_after)
        if cause in ACCOUNT_CAUSES:
            self.budget.tried.update(self.source_list.share_quarantine(index))

    def keep_current(self) -> None:
        """Dial the source that failed last again, if it had run well: the resolver knows none that is better."""
        self.redials = self.redials or (self._ran_well and self.current not in self.budget.unusable)

    def probed(self, index: int, cause: FailureCause | None, now: float) -> None:
        """
        Take the result of probing a source that is not in use.

        :param cause: the cause of the failure; None if the source would deliver.
        """
        if (self.in_use and index == self.current) or cause is FailureCause.OURS:
            return
        state = self._state(index)
        if cause is None:
            state.end_quarantine()
            return
        if cause not in OWN_CAUSES:
            state.failed(cause, now)
        self._quarantine(index, cause, now)
        if cause in ACCOUNT_CAUSES:
            self.source_list.share_quarantine(index)

    def left_for(self, index: int, now: float) -> None:
        """Make a better source the next one. The home source stays, because the better one was not chosen."""
        self.left(now)
        self.current = self.source_list.wrapped(index)
        self.budget.begin()
        self.redials = self._started = True

    def chosen(self, index: int, now: float) -> None:
        """Make a source that an operator or the application chose the next one and the home; forgive its failures."""
        self.left(now)
        home = self.source_list.home = self.source_list.wrapped(index)
        self._state(home).forgive()
        self.current = home
        self._next_named = None
        self.budget.begin()
        self.redials = self._started = True

    def add_named(self, url: str) -> int:
        """Add a source that a resolver named. Its index is valid until two others are named."""
        index = self.source_list.add_named(url, self.position + 1, self.current)
        self.budget.tried.discard(index)
        return index

    def name_next(self, url: str) -> None:
        """Make a source that a resolver named the next one; no source is in use."""
        self._next_named = self.add_named(url)

    def took_over(self, index: int, since: float) -> None:
        """Take note that a standby connection to another source replaced the one in use, without an outage."""
        self.left(since)
        self.budget.begin()
        self._take(index)
        self.settled(index, since)

    def replace(self, keys: Sequence[Hashable], accounts: Sequence[Hashable | None] = ()) -> bool:
        """
        Replace the sources. A source that stays keeps its state.

        :return: whether the current source stays. If it does not, the first source is the current one, and not in use.
        """
        moved = self.source_list.replace(keys, accounts)
        self.budget.renumber(moved)
        stays = self.current in moved
        self.current = moved.get(self.current, 0)
        if not stays:
            self.in_use = self.redials = False
            self.budget.begin()
        return stays

    # queries

    def preferred(self, now: float) -> int | None:
        """Return the better source to move back to; None before the time that :attr:`FailoverRules.failback` asks."""
        wait, since = self.rules.failback, self._state(self.current).delivering_since
        if not wait or not self.in_use or since is None or now - since < wait:
            return None
        return self.source_list.better_than(self.current, now, wait)

    def best_backup(self, now: float) -> int | None:
        """
        Return the best backup that is out of quarantine, to move to before the source in use breaks.

        A source with a content fault is no such backup for :data:`.source_list.AVOID_AFTER_CONTENT_FAULT` seconds. If
        all sources have the same fault (a channel that announces video and has none), the stream would change for ever.
        """
        return self.source_list.best_backup(self.current, now)

    def has_other(self, now: float) -> bool:
        """
        Return whether another source is worth a try after the end of a short programme.

        A source that failed less than :data:`SHORT_PROGRAMME` seconds ago is none: it failed before that programme.
        """
        others = [self._state(index) for index in self.source_list.order() if index != self.current]
        return self.budget.may_change and any(now - other.failed_at >= SHORT_PROGRAMME for other in others)

    def probe_target(self, now: float) -> int | None:
        """Return the backup that would be next: the best one, or the one that leaves quarantine first."""
        backups = [index for index in self.source_list.order() if index != self.current]
        return self.source_list.soonest_free(backups, now)

    def quarantine(self, index: int, now: float) -> float:
        """Return the seconds of quarantine left for a source, 0 for none."""
        return self._state(index).quarantine(now)

    def retry_after(self, now: float) -> float:
        """Return the seconds until a source is out of quarantine, 0 if one is; for the error sent to a player."""
        return min(self.quarantine(index, now) for index in self.source_list.order())

    def held_back(self, now: float) -> float:
        """Return the seconds until a provider may be asked for a source, 0 if one may be asked now."""
        return max(0.0, min(self._state(index).not_before - now for index in self.source_list.order()))

    def report(self, now: float) -> list[dict[str, object]]:
        """Return the statistics of the sources in order of the list; a named source in use comes last."""
        indices = [*range(len(self)), *([self.current] if self.current < 0 else [])]
        return [self._reported(index, now) for index in indices]

    # helpers

    def _state(self, index: int) -> SourceState:
        return self.source_list.state_of(index)

    def _quarantine(self, index: int, cause: FailureCause, now: float) -> None:
        policy, jitter = self.rules.cause_policy(cause), self.budget.jitter()
        if cause in OWN_CAUSES:
            self._state(index).hold_until(now + policy.cool_down * jitter)
        else:
            self._state(index).start_quarantine(policy, now, jitter)

    def _hold_back(self, index: int, cause: FailureCause, now: float, retry_after: float | None) -> None:
        """Note how long the provider must not be asked, and that this lap met a missing connection."""
        seconds = retry_after or 0.0
        if cause is FailureCause.BUSY:
            seconds = max(seconds, self.budget.refused_as_busy(index))
        elif cause is FailureCause.NO_SLOT:
            self.budget.slot_missing()
        if retry_after:
            self.budget.told_when_to_ask()
        if seconds:
            self._state(index).wait_until(now + seconds)

    def _choose(self, now: float, until: float) -> Choice | None:
        """Return the next source: a redial, the source that a resolver named, or one of the list."""
        if self.redials:
            return Choice(self.current, self._redial_delay)
        if self._next_named is not None:
            return self._choose_named(self._next_named)
        delay = 0.0 if self._started else self.budget.backoff_at_start(self.retry_after(now))
        index = self._pick(now + delay, until)
        if index is None:
            delay = self.budget.end_lap()
            index = self._pick(now + delay, until)
        if index is None or self.budget.exhausted:
            return None
        return Choice(index, max(delay, self._state(index).not_before - now))

    def _choose_named(self, index: int) -> Choice | None:
        tried = [self._state(each).key for each in self.budget.tried]
        delay = self.budget.backoff_before_named(self.named_url(index), tried)
        return None if self.budget.exhausted else Choice(index, delay)

    def _allowed(self, until: float) -> list[int]:
        """Return the sources that may be tried in this outage, in order."""
        allowed = [self.current] if self._started and not self.budget.may_change else self.source_list.order()
        return [index for index in allowed if self._state(index).not_before < until]

    def _pick(self, at: float, until: float) -> int | None:
        """Return the source to try at a time; None if this lap has none left."""
        return self.source_list.pick(self._allowed(until), self.budget.tried, at)

    def _take(self, index: int) -> None:
        if self._started and index != self.current:
            self.budget.source_changed()
        self.current = index
        self._next_named = None
        self.in_use, self.redials, self._started = True, False, True

    def _reported(self, index: int, now: float) -> dict[str, object]:
        in_use = self.in_use and index == self.current
        return {"index": self.source_list.position(index), "in_use": in_use, **self._state(index).report(now)}
