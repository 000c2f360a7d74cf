"""The sources of one stream: how each has behaved, and which is to be tried next, and when.

:mod:`m3uproxy.core.failover` knows whether a source is wanted, dialled or flowing, and how long an outage may
last. This knows the sources themselves:

**Why a source failed decides what happens.** Each has its treatment (:mod:`m3uproxy.core.cause`). What was probably an
accident (a provider that closes the connection) is redialled at once if the source had run well; what will
happen again (a stall, a fault in the picture) goes to the next source at once.

**Quarantine orders, it does not forbid.** A source that failed stays behind the others for a cool-down, which doubles
with each failure until the source has run for :data:`CALM`. While one source is out of quarantine, none in quarantine
is tried. When all are in quarantine, the one that leaves it soonest is next: viewers wait.

**Laps.** Within an outage every source is tried once without delay; then there is a rest, with jitter, so that the
streams of one provider do not all come back in the same moment; then the next lap. A source that delivered for some
seconds (``settled``) ends the outage: its next failure has a budget of its own.

**One outage never burns two sources.** A failure counts once, and only against the source in use: what is told of
another, or told twice, changes nothing. (A stall timer and a closed connection may both report the same end.)

**Guests.** A resolver may name a source that is in no list (:mod:`m3uproxy.core.guests`): it is next, whatever else
there is. One that it names twice in a lap is a lap: then there is a rest.

**Order.** The *home* source first (the primary, or the one that somebody chose), then those behind it, wrapping
round; not "the one after the last that was tried", which would never return to a good primary.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import attrs

from .cause import OF_ACCOUNT, OF_WHAT_CAME, TREATMENTS, Cause, Treatment
from .guests import Guests
from .standing import Standing, standings

#: Seconds of delivery after which a source's earlier failures are forgotten.
CALM = 60.0
#: Seconds for which a source that was left for what it brought is no better place than another.
GRUDGE = 600.0
#: The longest rest between two laps, in seconds.
LONGEST_REST = 30.0


@attrs.frozen
class Rules:
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


@attrs.frozen
class Choice:
    """Dial the source of that index in so many seconds."""

    index: int
    delay: float = 0.0


class Sources:
    """The sources of one stream, by index; see the module's text."""

    def __init__(
        self,
        keys: Sequence[Hashable],
        rules: Rules,
        random: Callable[[], float],
        accounts: Sequence[Hashable | None] = (),
    ) -> None:
        """
        Sources of which nothing is known yet.

        :param keys: what tells a source from others, in order of preference; its URL. Never shown.
        :param random: numbers from 0 up to 1.
        :param accounts: the provider account of each, None where unknown: at its limit for one, at its limit for all.
        """
        self.rules = rules
        self._random = random
        self._standings = standings(keys, accounts)
        self._guests = Guests()
        self._invited: int | None = None
        self._home = 0
        self.current = 0
        self._in_use = self._redial = self._started = False
        self._tried: set[int] = set()
        self._laps = self._moves = 0
        self._was_busy = False

    def __len__(self) -> int:
        return len(self._standings)

    @property
    def untried(self) -> int:
        """How many sources this lap still has, that in use included: what the time left is shared among."""
        return sum(index not in self._tried for index in {*self._order(), self.current})

    @property
    def first_lap(self) -> bool:
        """Whether no lap of this outage is over: a source may be untried."""
        return not self._laps

    @property
    def position(self) -> int:
        """The current source as people know it."""
        return self.position_of(self.current)

    @property
    def redials(self) -> bool:
        """Whether the current source is next, having run well."""
        return self._redial

    @property
    def may_move(self) -> bool:
        """Whether this outage allows another change of source."""
        return not self.rules.moves or self._moves < self.rules.moves

    def position_of(self, index: int) -> int:
        """A source as people know it: its index in the list, or how many came before it."""
        return index if index >= 0 else self._guests.position(index)

    def one_on(self, index: int) -> int | None:
        """Behind a source in the list, which is a ring; its first for one that is in none. None if alone."""
        if index < 0:
            return 0
        return (index + 1) % len(self) if len(self) > 1 else None

    def guest(self, index: int) -> str:
        """The URL of a source that a resolver named; its index is negative."""
        return str(self._guests.standing(index).key)

    @property
    def in_use(self) -> bool:
        """Whether the current source is dialled or flowing."""
        return self._in_use

    # events

    def begin(self, now: float) -> None:
        """Somebody wants the stream, which was not running: a fresh outage, from the best source on."""
        self.left(now)
        self._new_budget()
        self._redial = self._started = False
        self._invited = None

    def left(self, now: float) -> None:
        """The source in use is left for no fault of its own: nobody wants the stream any more."""
        self._in_use = False
        standing = self._standing(self.current)
        since, standing.since = standing.since, None
        if since is not None and now - since >= CALM:
            standing.strikes = 0

    def next(self, now: float) -> Choice | None:
        """
        The source to dial, which is in use from now on.

        Asked again while one is in use, the answer stays the same.

        :return: None if the budget of the outage is spent.
        """
        if self._in_use:
            return Choice(self.current)
        delay = 0.0
        if self._redial:
            index = self.current
        elif self._invited is not None:
            index = self._invited
            delay = self._rest_before(index)
            if self._laps >= self.rules.laps:
                return None
        else:
            delay = 0.0 if self._started else self._rest_at_start(now)
            picked = self._pick(now + delay)
            if picked is None:
                delay = self._end_lap()
                picked = self._pick(now + delay)
            if picked is None or self._laps >= self.rules.laps:
                return None
            index = picked
        self._take(index)
        return Choice(index, delay)

    def settled(self, index: int, since: float) -> None:
        """The source in use delivers well, and has done so from ``since`` on."""
        if self._in_use and index == self.current:
            standing = self._standing(index)
            standing.since = since
            standing.until = float("-inf")

    def failed(self, index: int, cause: Cause, now: float) -> None:
        """The source in use failed, or is given up."""
        if not self._in_use or index != self.current:
            return
        standing = self._standing(index)
        ran_well = standing.since is not None
        self.left(now)
        standing.note(cause, now)
        if ran_well:
            self._new_budget()
            self._redial = self._treatment(cause).redial
            if self._redial:
                return
        else:
            self._tried.add(index)
        self._quarantine(index, cause, now)

    def probed(self, index: int, cause: Cause | None, now: float) -> None:
        """A source that is not in use was looked at: it failed, or (None) it would deliver."""
        if self._in_use and index == self.current:
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
        self.current = self._place(index)
        self._new_budget()
        self._redial = self._started = True

    def chose(self, index: int, now: float) -> None:
        """Somebody chose a source: it is next, home from now on, and nothing is held against it."""
        self.left(now)
        self._home = self._place(index)
        self._standing(self._home).forgive()
        self.current = self._home
        self._invited = None
        self._new_budget()
        self._redial = self._started = True

    def take_in(self, url: str) -> int:
        """A resolver named a source: its index, which is good until two others were named."""
        index = self._guests.take_in(url, self.position + 1, self.current)
        self._tried.discard(index)
        if self._home == index:
            self._home = 0
        return index

    def invite(self, url: str) -> None:
        """A resolver named a source while none is in use: it is next."""
        self._invited = self.take_in(url)

    def took_over(self, index: int, since: float) -> None:
        """Another source was opened beside the one in use and replaced it without an outage."""
        self.left(since)
        self._new_budget()
        self._take(index)
        self.settled(index, since)

    def replace(self, keys: Sequence[Hashable], accounts: Sequence[Hashable | None] = ()) -> bool:
        """
        Other sources; those that stay keep their standing.

        :return: whether the current source is among them; else the current one is the first, and not in use.
        """
        before = self._standings
        old = {standing.key: standing for standing in before}
        fresh = standings(keys, accounts)
        self._standings = [attrs.evolve(old[one.key], account=one.account) if one.key in old else one for one in fresh]
        places = {standing.key: index for index, standing in reversed(list(enumerate(self._standings)))}
        moved = {index: places[standing.key] for index, standing in enumerate(before) if standing.key in places}
        moved.update({guest: guest for guest in (-1, -2)})
        stays = self.current in moved
        self._home = moved.get(self._home, 0)
        self._tried = {moved[index] for index in self._tried if index in moved}
        self.current = moved.get(self.current, 0)
        if not stays:
            self._in_use = self._redial = False
            self._new_budget()
        return stays

    # questions

    def preferred(self, now: float) -> int | None:
        """The better source to move back to, if it is time for that (see ``Rules.failback``)."""
        calm, since = self.rules.failback, self._standing(self.current).since
        if not calm or not self._in_use or since is None or now - since < calm:
            return None
        for index in self._order():
            if index == self.current:
                return None
            standing = self._standing(index)
            if standing.until <= now and standing.failed_at + calm <= now:
                return index
        return None

    def spare(self, now: float) -> int | None:
        """
        The best source beside the one in use, if one is out of quarantine: where to go before it breaks.

        One that was itself left for what it brought is none for :data:`GRUDGE` seconds: where all sources show the
        same (a channel that announces pictures and has none), a stream must not go round and round.
        """
        return next((index for index in self._order() if self._is_spare(index, now)), None)

    def to_probe(self, now: float) -> int | None:
        """The backup that would be next: the best one, or if all are in quarantine that which leaves it soonest."""
        others = [index for index in self._order() if index != self.current]
        return min(others, key=lambda index: self.quarantine(index, now), default=None)

    def quarantine(self, index: int, now: float) -> float:
        """Seconds for which the source stays behind others; 0 if it does not."""
        return max(0.0, self._standing(index).until - now)

    def retry_after(self, now: float) -> float:
        """Seconds until a source is out of quarantine, 0 if one is: what a player that is refused can be told."""
        return min(self.quarantine(index, now) for index in self._order())

    def report(self, now: float) -> list[dict[str, object]]:
        """For statistics, in order of the list; the current one last if it is in none."""
        indices = [*range(len(self)), *([self.current] if self.current < 0 else [])]
        return [self._reported(index, now) for index in indices]

    def _reported(self, index: int, now: float) -> dict[str, object]:
        standing = self._standing(index)
        return {
            "index": index if index >= 0 else self.position,
            "in_use": self._in_use and index == self.current,
            "failures": standing.failures,
            "last_cause": standing.cause.value if standing.cause else None,
            "quarantine_seconds": round(self.quarantine(index, now), 1),
        }

    # inside

    def _new_budget(self) -> None:
        self._tried = set()
        self._laps = self._moves = 0
        self._was_busy = False
        self._guests.new_lap()

    def _place(self, index: int) -> int:
        """Beyond the end of the list it begins anew; those that a resolver named stand before it."""
        return index % len(self) if index >= 0 else index

    def _standing(self, index: int) -> Standing:
        return self._standings[index] if index >= 0 else self._guests.standing(index)

    def _treatment(self, cause: Cause) -> Treatment:
        treatment = TREATMENTS[cause]
        if cause is Cause.STALLED:
            first = self.rules.stall_cool_down
            return attrs.evolve(treatment, cool_down=first, longest=max(first, treatment.longest))
        return treatment

    def _quarantine(self, index: int, cause: Cause, now: float) -> None:
        treatment = self._treatment(cause)
        standing = self._standing(index)
        standing.punish(treatment, now, self._jitter())
        if cause not in OF_ACCOUNT:
            return
        self._was_busy = True
        for other, sibling in enumerate(self._standings):
            if other != index and standing.account is not None and sibling.account == standing.account:
                sibling.until = max(sibling.until, standing.until)
                self._tried.add(other)

    def _order(self) -> list[int]:
        if self._home < 0:
            return [self._home, *range(len(self))]
        return [*range(self._home, len(self)), *range(self._home)]

    def _free(self, index: int, at: float) -> bool:
        return self._standing(index).until <= at

    def _is_spare(self, index: int, now: float) -> bool:
        standing = self._standing(index)
        grudge = standing.cause in OF_WHAT_CAME and now - standing.failed_at < GRUDGE
        return index != self.current and self._free(index, now) and not grudge

    def _pick(self, at: float) -> int | None:
        """The source to try at that time; None if this lap has none left."""
        allowed = self._order()
        if self.rules.moves and self._moves >= self.rules.moves and self._started:
            allowed = [self.current]
        left = [index for index in allowed if index not in self._tried]
        free = [index for index in left if self._free(index, at)]
        if free:
            return free[0]
        if not left or any(self._free(index, at) for index in allowed):
            return None
        return min(left, key=lambda index: self._standing(index).until)

    def _take(self, index: int) -> None:
        if self._started and index != self.current:
            self._moves += 1
        self.current = index
        self._invited = None
        self._in_use, self._redial, self._started = True, False, True

    def _rest_at_start(self, now: float) -> float:
        """A player that asks again and again must not make us dial dead sources again and again."""
        return min(self.retry_after(now), self.rules.rest * self._jitter())

    def _rest_before(self, guest: int) -> float:
        """Seconds to rest before a source that a resolver named: if it names the same again, that was a lap."""
        url = self.guest(guest)
        again = self._guests.came(url) or any(self._standing(index).key == url for index in self._tried)
        delay = self._end_lap() if again else 0.0
        self._guests.note(url)
        return delay

    def _end_lap(self) -> float:
        """Seconds to rest before the next lap."""
        rest = min(LONGEST_REST, self.rules.rest * self.rules.growth**self._laps)
        if self._was_busy:
            rest = max(rest, self.rules.busy_rest)
        self._laps += 1
        self._tried, self._was_busy = set(), False
        self._guests.new_lap()
        return rest * self._jitter()

    def _jitter(self) -> float:
        return 1 + self.rules.jitter * (2 * self._random() - 1)
