"""The sources of one stream: how each has behaved, and which is to be tried next, and when.

:mod:`m3uproxy.core.failover.machine` knows whether a source is wanted, dialled or flowing, and how long an outage may
last. This knows the sources themselves:

**Why a source failed decides what happens.** Each has its treatment (:mod:`m3uproxy.core.failover.causes`). What was
probably an accident (a provider that closes the connection) is redialled at once if the source had run well; what will
happen again (a stall, a fault in the picture) goes to the next source at once.

**Quarantine orders, it does not forbid.** A source that failed stays behind the others for a cool-down, which doubles
with each failure until the source has run for :data:`CALM`. While one source is out of quarantine, none in quarantine
is tried. When all are in quarantine, the one that leaves it soonest is next: viewers wait.

**Laps** have a budget (:mod:`m3uproxy.core.failover.budget`). A source that delivered for some seconds (``settled``)
ends the outage: its next failure has a budget of its own.

**One outage never burns two sources.** A failure counts once, and only against the source in use: what is told of
another, or told twice, changes nothing. (A stall timer and a closed connection may both report the same end.)

**Guests.** A resolver may name a source that is in no list (:mod:`m3uproxy.core.failover.source_list`): it is next,
whatever else there is. One that it names twice in a lap is a lap: then there is a rest.

**Order.** The *home* source first (:mod:`m3uproxy.core.failover.source_list`); not "the one after the last that was
tried", which would never return to a good primary.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import attrs

from .budget import LONGEST_REST, FailoverRules, OutageBudget
from .causes import OF_ACCOUNT, FailureCause
from .source_list import CALM, GRUDGE, NamedSources, SourceList, SourceState

__all__ = ["CALM", "GRUDGE", "LONGEST_REST", "Choice", "FailoverRules", "Sources"]


@attrs.frozen
class Choice:
    """Dial the source of that index in so many seconds."""

    index: int
    delay: float = 0.0


class Sources:
    """
    The sources of one stream, by index; see the module's text.

    :ivar lineup: their order.
    :ivar outage: what the present outage may still spend.
    :ivar current: the source in use, or to be used next.
    :ivar in_use: whether it is dialled or flowing.
    :ivar redials: whether it is next, having run well.
    """

    def __init__(
        self,
        keys: Sequence[Hashable],
        rules: FailoverRules,
        random: Callable[[], float],
        accounts: Sequence[Hashable | None] = (),
    ) -> None:
        """
        Sources of which nothing is known yet.

        :param keys: what tells a source from others, in order of preference; its URL. Never shown.
        :param random: numbers from 0 up to 1.
        :param accounts: the provider account of each, None where unknown: at its limit for one, at its limit for all.
        """
        guests = NamedSources()
        self.lineup = SourceList(keys, accounts, guests)
        self.outage = OutageBudget(rules, random, guests)
        self.current = 0
        self.in_use = self.redials = self._started = False
        self._invited: int | None = None

    def __len__(self) -> int:
        return len(self.lineup)

    @property
    def rules(self) -> FailoverRules:
        """The limits."""
        return self.outage.rules

    @property
    def untried(self) -> int:
        """How many sources this lap still has, that in use included: what the time left is shared among."""
        return sum(index not in self.outage.tried for index in {*self.lineup.order(), self.current})

    @property
    def first_lap(self) -> bool:
        """Whether no lap of this outage is over: a source may be untried."""
        return self.outage.first_lap

    @property
    def position(self) -> int:
        """The current source as people know it."""
        return self.lineup.position(self.current)

    def guest(self, index: int) -> str:
        """The URL of a source that a resolver named; its index is negative."""
        return str(self._standing(index).key)

    # events

    def begin(self, now: float) -> None:
        """Somebody wants the stream, which was not running: a fresh outage, from the best source on."""
        self.left(now)
        self.outage.begin()
        self.redials = self._started = False
        self._invited = None

    def left(self, now: float) -> None:
        """The source in use is left for no fault of its own: nobody wants the stream any more."""
        self.in_use = False
        self._standing(self.current).left(now)

    def next(self, now: float) -> Choice | None:
        """
        The source to dial, which is in use from now on.

        Asked again while one is in use, the answer stays the same.

        :return: None if the budget of the outage is spent.
        """
        if self.in_use:
            return Choice(self.current)
        delay = 0.0
        if self.redials:
            index = self.current
        elif self._invited is not None:
            index = self._invited
            tried = [self._standing(each).key for each in self.outage.tried]
            delay = self.outage.rest_before(self.guest(index), tried)
            if self.outage.spent:
                return None
        else:
            delay = 0.0 if self._started else self.outage.rest_at_start(self.retry_after(now))
            picked = self._pick(now + delay)
            if picked is None:
                delay = self.outage.end_lap()
                picked = self._pick(now + delay)
            if picked is None or self.outage.spent:
                return None
            index = picked
        self._take(index)
        return Choice(index, delay)

    def settled(self, index: int, since: float) -> None:
        """The source in use delivers well, and has done so from ``since`` on."""
        if self.in_use and index == self.current:
            standing = self._standing(index)
            standing.since = since
            standing.until = float("-inf")

    def failed(self, index: int, cause: FailureCause, now: float) -> None:
        """The source in use failed, or is given up."""
        if not self.in_use or index != self.current:
            return
        standing = self._standing(index)
        ran_well = standing.since is not None
        self.left(now)
        standing.note(cause, now)
        if ran_well:
            self.outage.begin()
            self.redials = self.rules.treatment(cause).redial
            if self.redials:
                return
        else:
            self.outage.tried.add(index)
        self._quarantine(index, cause, now)

    def probed(self, index: int, cause: FailureCause | None, now: float) -> None:
        """A source that is not in use was looked at: it failed, or (None) it would deliver."""
        if self.in_use and index == self.current:
            return
        standing = self._standing(index)
        if cause is None:
            standing.until = float("-inf")
            return
        standing.note(cause, now)
        self._quarantine(index, cause, now)

    def leave_for(self, index: int, now: float) -> None:
        """The source in use is left for a better one, which is next: nobody chose it, so home stays where it is."""
        self.left(now)
        self.current = self.lineup.place(index)
        self.outage.begin()
        self.redials = self._started = True

    def chose(self, index: int, now: float) -> None:
        """Somebody chose a source: it is next, home from now on, and nothing is held against it."""
        self.left(now)
        home = self.lineup.home = self.lineup.place(index)
        self._standing(home).forgive()
        self.current = home
        self._invited = None
        self.outage.begin()
        self.redials = self._started = True

    def take_in(self, url: str) -> int:
        """A resolver named a source: its index, which is good until two others were named."""
        index = self.lineup.take_in(url, self.position + 1, self.current)
        self.outage.tried.discard(index)
        return index

    def invite(self, url: str) -> None:
        """A resolver named a source while none is in use: it is next."""
        self._invited = self.take_in(url)

    def took_over(self, index: int, since: float) -> None:
        """Another source was opened beside the one in use and replaced it without an outage."""
        self.left(since)
        self.outage.begin()
        self._take(index)
        self.settled(index, since)

    def replace(self, keys: Sequence[Hashable], accounts: Sequence[Hashable | None] = ()) -> bool:
        """
        Other sources; those that stay keep their standing.

        :return: whether the current source is among them; else the current one is the first, and not in use.
        """
        moved = self.lineup.replace(keys, accounts)
        self.outage.renumber(moved)
        stays = self.current in moved
        self.current = moved.get(self.current, 0)
        if not stays:
            self.in_use = self.redials = False
            self.outage.begin()
        return stays

    # questions

    def preferred(self, now: float) -> int | None:
        """The better source to move back to, if it is time for that (see ``Rules.failback``)."""
        calm, since = self.rules.failback, self._standing(self.current).since
        if not calm or not self.in_use or since is None or now - since < calm:
            return None
        return self.lineup.better(self.current, now, calm)

    def spare(self, now: float) -> int | None:
        """
        The best source beside the one in use, if one is out of quarantine: where to go before it breaks.

        One that was itself left for what it brought is none for :data:`GRUDGE` seconds: where all sources show the
        same (a channel that announces pictures and has none), a stream must not go round and round.
        """
        return self.lineup.spare(self.current, now)

    def to_probe(self, now: float) -> int | None:
        """The backup that would be next: the best one, or if all are in quarantine that which leaves it soonest."""
        return self.lineup.soonest([index for index in self.lineup.order() if index != self.current], now)

    def quarantine(self, index: int, now: float) -> float:
        """Seconds for which the source stays behind others; 0 if it does not."""
        return self._standing(index).quarantine(now)

    def retry_after(self, now: float) -> float:
        """Seconds until a source is out of quarantine, 0 if one is: what a player that is refused can be told."""
        return min(self.quarantine(index, now) for index in self.lineup.order())

    def report(self, now: float) -> list[dict[str, object]]:
        """For statistics, in order of the list; the current one last if it is in none."""
        indices = [*range(len(self)), *([self.current] if self.current < 0 else [])]
        return [self._reported(index, now) for index in indices]

    # inside

    def _standing(self, index: int) -> SourceState:
        return self.lineup.standing(index)

    def _quarantine(self, index: int, cause: FailureCause, now: float) -> None:
        self._standing(index).punish(self.rules.treatment(cause), now, self.outage.jitter())
        if cause in OF_ACCOUNT:
            self.outage.was_busy()
            self.outage.tried.update(self.lineup.share_quarantine(index))

    def _pick(self, at: float) -> int | None:
        """The source to try at that time; None if this lap has none left."""
        allowed = [self.current] if self._started and not self.outage.may_move else self.lineup.order()
        return self.lineup.pick(allowed, self.outage.tried, at)

    def _take(self, index: int) -> None:
        if self._started and index != self.current:
            self.outage.moved()
        self.current = index
        self._invited = None
        self.in_use, self.redials, self._started = True, False, True

    def _reported(self, index: int, now: float) -> dict[str, object]:
        in_use = self.in_use and index == self.current
        return {"index": self.lineup.position(index), "in_use": in_use, **self._standing(index).report(now)}
