"""Who may open a connection to a provider: slots, a queue for them, and giving up one's own. A state machine.

Providers sell a number of connections, and punish one too many. So before a stream dials, it asks for a slot of the
account, and says when it is done with it. All calls that can change who is next return what follows for others.

**Sockets are what is counted.** A slot is taken from the moment it is granted (there is a dial under way) until its
holder is done with it *and* its last socket is closed. Between two hops of a redirect, and while a source is redialled,
the holder keeps it. A holder that has had no socket for :data:`FORGOTTEN` seconds and never said that it is done no
longer counts: a counter that stays up while nothing plays would lock the account.

**The queue.** Who finds no slot waits, for some seconds, in order of arrival for each account: a connection that is
being closed is gone soon.

**Takeover.** Players open the new channel before they leave the old one. Where a stream is watched by nobody but
the one who asks (or by nobody: it lingers), its slot goes to the one who asks: he is told to end that
stream, and the slot that becomes free so is his, past the queue. It was his before. Who asks a third time before the
second got its slot passes over the second in the same way.

What always holds: no grant lifts an account over its limit; who waits is served in order of arrival, but for
takeovers; if a slot is free nobody waits; nobody waits longer than the limit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

import attrs

from .accounts import Account
from .viewer import Viewer

#: Seconds after which a slot without a socket is taken back.
FORGOTTEN = 60.0


@attrs.frozen
class Granted:
    """The holder of ``token`` may dial."""

    token: int


@attrs.frozen
class Wait:
    """There is no slot; the answer comes later, at ``deadline`` (seconds) at the latest."""

    token: int
    deadline: float


@attrs.frozen
class Takeover:
    """End ``stream``, unless it is ending; its slot then goes to ``token``, which waits until ``deadline``."""

    token: int
    stream: str
    deadline: float


@attrs.frozen
class Refused:
    """``token`` gets no slot; ``why`` is for people and names the account and its limit."""

    token: int
    why: str


Effect = Granted | Wait | Takeover | Refused


@attrs.define(eq=False)
class _Ask:
    """
    One that waits (until ``deadline``) or holds a slot.

    ``heir`` gets the slot when this is over; ``without`` is since when there is no socket, ``lapsed`` for too long.
    """

    token: int
    account: Account
    stream: str
    viewer: Viewer | None
    deadline: float
    waiting: bool = True
    done: bool = False
    sockets: int = 0
    without: float = 0.0
    lapsed: bool = False
    heir: _Ask | None = None


class Slots:
    """The slots of all accounts."""

    def __init__(self, patience: float = 3.0, takeover: bool = True) -> None:
        """
        Nothing is open and nobody waits.

        :param patience: seconds that one who finds no slot waits.
        :param takeover: whether one who asks ends the stream that nobody else watches.
        """
        self._patience = patience
        self._takeover = takeover
        self._next = 1
        self._asks: dict[int, _Ask] = {}
        self._audience: dict[str, list[Viewer]] = {}
        self._tally: Counter[str] = Counter()

    # who watches what

    def joined(self, stream: str, viewer: Viewer) -> None:
        """A player watches a stream, or waits for it. To be told before the stream asks."""
        self._audience.setdefault(stream, []).append(viewer)

    def left(self, now: float, stream: str, viewer: Viewer) -> list[Effect]:
        """A player is gone. One who waits may be the only one left at the stream that he was watching."""
        audience = self._audience.get(stream, [])
        if viewer in audience:
            audience.remove(viewer)
        if not audience:
            self._audience.pop(stream, None)
        return [effect for ask in list(self._queue()) for effect in self._try_takeover(ask)]

    # slots

    def ask(self, now: float, account: Account, stream: str, viewer: Viewer | None = None) -> Effect:
        """
        A stream wants to dial.

        :param viewer: for whom; None if it is nobody in particular's wish, as when a source failed.
        """
        ask = _Ask(self._next, account, stream, viewer, now + self._patience, without=now)
        self._next += 1
        self._asks[ask.token] = ask
        if self._has_room(account) and next(self._queue(account.name)) is ask:
            return self._grant(ask, now)
        self._tally["waited"] += 1
        taken = self._try_takeover(ask)
        return taken[0] if taken else Wait(ask.token, ask.deadline)

    def opened(self, token: int) -> bool:
        """
        The holder opened a socket: told for each, those of redirects as well.

        :return: False if it may not (any more), and has to close it.
        """
        ask = self._asks.get(token)
        if ask is None or ask.waiting or ask.done or (ask.lapsed and not self._has_room(ask.account)):
            return False
        ask.sockets += 1
        ask.lapsed = False
        return True

    def closed(self, now: float, token: int) -> list[Effect]:
        """A socket of the holder's is gone."""
        ask = self._asks.get(token)
        if ask is None or not ask.sockets:
            return []
        ask.sockets -= 1
        ask.without = now
        return self._settle(ask, now)

    def done(self, now: float, token: int) -> list[Effect]:
        """The holder will not dial any more, or does not want to wait any longer. Harmless twice."""
        ask = self._asks.get(token)
        if ask is None:
            return []
        ask.done = True
        return self._settle(ask, now)

    def tick(self, now: float) -> list[Effect]:
        """Time has passed: refuse those whose deadline is over, take back what was forgotten."""
        effects: list[Effect] = []
        for ask in list(self._asks.values()):
            if self._is_idle(ask) and now >= ask.without + FORGOTTEN:
                self._tally["forgotten"] += 1
                ask.lapsed = True
            elif ask.waiting and now >= ask.deadline:
                self._tally["refused"] += 1
                self._forget(ask)
                effects.append(Refused(ask.token, _reason(ask.account)))
        return effects + self._serve(now)

    def next_deadline(self) -> float | None:
        """When ``tick`` has something to do at the earliest; None if never."""
        times = [
            ask.deadline if ask.waiting else ask.without + FORGOTTEN
            for ask in self._asks.values()
            if ask.waiting or self._is_idle(ask)
        ]
        return min(times, default=None)

    def has_room(self, account: Account) -> bool:
        """Whether an ask would be granted at once: to be known before a second connection is opened beside one."""
        return self._has_room(account) and next(self._queue(account.name), None) is None

    # for statistics

    def open_sockets(self, name: str) -> int:
        """Sockets open now to the account of that name."""
        return sum(ask.sockets for ask in self._asks.values() if ask.account.name == name)

    def report(self, configured: Collection[Account] = ()) -> dict[str, object]:
        """For statistics: each account in use or configured, and what happened so far."""
        accounts = {account.name: account for account in configured}
        for ask in self._asks.values():
            accounts[ask.account.name] = ask.account
        rows = [self._row(accounts[name]) for name in sorted(accounts)]
        counts = ("granted", "waited", "taken_over", "refused", "forgotten")
        return {"providers": rows, **{count: self._tally[count] for count in counts}}

    def _row(self, account: Account) -> dict[str, object]:
        return {
            "provider": account.name,
            "max_connections": account.limit,
            "open_connections": self.open_sockets(account.name),
            "slots_taken": self._taken(account.name),
            "waiting": sum(1 for _ in self._queue(account.name)),
        }

    # inside

    def _queue(self, name: str | None = None) -> Iterator[_Ask]:
        """Those who wait, in order of arrival."""
        return (ask for ask in self._asks.values() if ask.waiting and name in (None, ask.account.name))

    def _taken(self, name: str) -> int:
        """Slots that cannot be given out; a holder of two sockets at once has two."""
        holders = (ask for ask in self._asks.values() if not ask.waiting and ask.account.name == name)
        return sum(max(0 if ask.lapsed else 1, ask.sockets) for ask in holders)

    def _is_idle(self, ask: _Ask) -> bool:
        """Holds a slot and has no socket, which may be for a moment only."""
        return not (ask.waiting or ask.sockets or ask.lapsed)

    def _has_room(self, account: Account) -> bool:
        return account.limit is None or self._taken(account.name) < account.limit

    def _grant(self, ask: _Ask, now: float) -> Granted:
        ask.waiting = False
        ask.without = now
        self._tally["granted"] += 1
        self._disinherit(ask)
        return Granted(ask.token)

    def _settle(self, ask: _Ask, now: float) -> list[Effect]:
        """Is ``ask`` over? Then its slot goes to its heir, or to the queue."""
        if not ask.done or ask.sockets:
            return self._serve(now)
        self._forget(ask)
        heir = ask.heir
        if heir is not None and heir.waiting and self._has_room(heir.account):
            return [self._grant(heir, now), *self._serve(now)]
        return self._serve(now)

    def _forget(self, ask: _Ask) -> None:
        self._asks.pop(ask.token, None)
        self._disinherit(ask)

    def _disinherit(self, heir: _Ask) -> None:
        for ask in self._asks.values():
            if ask.heir is heir:
                ask.heir = None

    def _serve(self, now: float) -> list[Effect]:
        """Grant what is free, in order; behind one who has to wait on, nobody of that account is served."""
        effects: list[Effect] = []
        blocked: set[str] = set()
        for ask in list(self._queue()):
            name = ask.account.name
            if name in blocked or not self._has_room(ask.account):
                blocked.add(name)
            else:
                effects.append(self._grant(ask, now))
        return effects

    def _try_takeover(self, ask: _Ask) -> list[Effect]:
        """Find a stream that ``ask`` may end, unless it has one already."""
        if not self._takeover or any(other.heir is ask for other in self._asks.values()):
            return []
        victim = next((other for other in self._asks.values() if self._may_take(ask, other)), None)
        if victim is None:
            return []
        if victim.waiting:
            self._pass_over(victim, ask)
        else:
            victim.heir = ask
        self._tally["taken_over"] += 1
        return [Takeover(ask.token, victim.stream, ask.deadline)]

    def _may_take(self, ask: _Ask, other: _Ask) -> bool:
        """Of those who wait only one that asked earlier, and has a viewer; of holders those without one, too."""
        if other.heir or other.done or other.stream == ask.stream or other.account.name != ask.account.name:
            return False
        audience = self._audience.get(other.stream, [])
        if other.waiting and (not audience or other.token > ask.token):
            return False
        viewer = ask.viewer
        return all(viewer is not None and viewer.is_same(one) for one in audience)

    def _pass_over(self, victim: _Ask, ask: _Ask) -> None:
        """``ask`` inherits what ``victim`` waited to inherit."""
        for other in self._asks.values():
            if other.heir is victim:
                other.heir = ask
        self._forget(victim)


def _reason(account: Account) -> str:
    plural = "connection" if account.limit == 1 else "connections"
    return f"provider {account.name!r} allows {account.limit} {plural}, all in use"
