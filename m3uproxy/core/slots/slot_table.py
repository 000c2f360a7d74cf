"""Who may open a connection to a provider: slots, a queue for them, and giving up one's own. A state machine.

Providers sell a number of connections, and punish one too many. So before a stream dials, it asks for a slot of the
account, and says when it is done with it. All calls that can change who is next return what follows for others.

**Sockets are what is counted.** A slot is taken from the moment it is granted (there is a dial under way) until its
holder is done with it *and* its last socket is closed. Between two hops of a redirect, and while a source is redialled,
the holder keeps it. A holder that has had no socket for :data:`IDLE_TIMEOUT` seconds and never said that it is done no
longer counts: a counter that stays up while nothing plays would lock the account. But where an account is asked *now
and then* a holder has its slot for as long as somebody watches.

**The queue.** Who finds no slot waits, for some seconds, in order of arrival for each account: a connection that is
being closed is gone soon.

**Takeover.** Players open the new channel before they leave the old one. Where a stream is watched by nobody but
the one who asks (or by nobody: it lingers), its slot goes to the one who asks: he is told to end that
stream, and the slot that becomes free so is his, past the queue. It was his before. Who asks a third time before the
second got its slot passes over the second in the same way.

What always holds: no grant lifts an account over its limit; who waits is served in order of arrival, but for
takeovers; if a slot is free nobody waits; nobody waits longer than the limit.

Those who hold or wait for slots of providers' accounts, in order of arrival; see :mod:`.slots`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

import attrs

from .accounts import Account
from .viewer_identity import ViewerIdentity


@attrs.define(eq=False)
class SlotRequest:
    """
    One that waits (until ``deadline``) or holds a slot.

    ``heir`` gets the slot when this is over; ``without`` is since when there is no socket, ``lapsed`` for too long.
    """

    token: int
    account: Account
    stream: str
    viewer: ViewerIdentity | None
    deadline: float
    waiting: bool = True
    done: bool = False
    sockets: int = 0
    without: float = 0.0
    lapsed: bool = False
    heir: SlotRequest | None = None

    @property
    def is_idle(self) -> bool:
        """Holds a slot and has no socket, which may be for a moment only."""
        return not (self.waiting or self.sockets or self.lapsed or self.account.intermittent)


class SlotRequests:
    """All of them, by token."""

    def __init__(self) -> None:
        """There is none."""
        self._next = 1
        self._known: dict[int, SlotRequest] = {}

    def __iter__(self) -> Iterator[SlotRequest]:
        return iter(self._known.values())

    def get(self, token: int) -> SlotRequest | None:
        """The one of that token, unless it is over."""
        return self._known.get(token)

    def make(
        self, account: Account, stream: str, viewer: ViewerIdentity | None, now: float, deadline: float
    ) -> SlotRequest:
        """Another, which waits."""
        claim = SlotRequest(self._next, account, stream, viewer, deadline, without=now)
        self._next += 1
        self._known[claim.token] = claim
        return claim

    def forget(self, claim: SlotRequest) -> None:
        """It is over."""
        self._known.pop(claim.token, None)
        self.disinherit(claim)

    # who waits, and for what

    def queue(self, name: str | None = None) -> Iterator[SlotRequest]:
        """Those who wait (for the account of that name, if any), in order of arrival."""
        return (claim for claim in self if claim.waiting and name in (None, claim.account.name))

    def is_heir(self, heir: SlotRequest) -> bool:
        """Whether another's slot will be its own."""
        return any(claim.heir is heir for claim in self)

    def disinherit(self, heir: SlotRequest) -> None:
        """It waits for nobody's slot any more."""
        self._leave_to(heir, None)

    def pass_over(self, claim: SlotRequest, other: SlotRequest) -> None:
        """``other`` inherits what ``claim`` waited to inherit, and ``claim`` is over."""
        self._leave_to(claim, other)
        self.forget(claim)

    def _leave_to(self, heir: SlotRequest, other: SlotRequest | None) -> None:
        for claim in self:
            if claim.heir is heir:
                claim.heir = other

    # what is taken

    def sockets(self, name: str) -> int:
        """Sockets open now to the account of that name."""
        return sum(claim.sockets for claim in self if claim.account.name == name)

    def taken(self, name: str) -> int:
        """Slots that cannot be given out; a holder of two sockets at once has two."""
        holders = (claim for claim in self if not claim.waiting and claim.account.name == name)
        return sum(max(0 if claim.lapsed else 1, claim.sockets) for claim in holders)

    def has_room(self, account: Account) -> bool:
        """Whether a slot is free, whoever waits for it."""
        return account.limit is None or self.taken(account.name) < account.limit

    def row(self, account: Account) -> dict[str, object]:
        """For statistics."""
        return {
            "provider": account.name,
            "max_connections": account.limit,
            "open_connections": self.sockets(account.name),
            "slots_taken": self.taken(account.name),
            "waiting": sum(1 for _ in self.queue(account.name)),
        }


#: Seconds after which a slot without a socket is taken back.
IDLE_TIMEOUT = 60.0


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


SlotEffect = Granted | Wait | Takeover | Refused


class SlotTable:
    """The slots of all accounts."""

    def __init__(self, patience: float = 3.0, takeover: bool = True) -> None:
        """
        Nothing is open and nobody waits.

        :param patience: seconds that one who finds no slot waits.
        :param takeover: whether one who asks ends the stream that nobody else watches.
        """
        self._patience = patience
        self._takeover = takeover
        self._claims = SlotRequests()
        self._audience: dict[str, list[ViewerIdentity]] = {}
        self._tally: Counter[str] = Counter()

    # who watches what

    def viewer_joined(self, stream: str, viewer: ViewerIdentity) -> None:
        """A player watches a stream, or waits for it. To be told before the stream asks."""
        self._audience.setdefault(stream, []).append(viewer)

    def viewer_left(self, now: float, stream: str, viewer: ViewerIdentity) -> list[SlotEffect]:
        """A player is gone. One who waits may be the only one left at the stream that he was watching."""
        audience = self._audience.get(stream, [])
        if viewer in audience:
            audience.remove(viewer)
        if not audience:
            self._audience.pop(stream, None)
        return [effect for claim in list(self._claims.queue()) for effect in self._try_takeover(claim)]

    # slots

    def request(self, now: float, account: Account, stream: str, viewer: ViewerIdentity | None = None) -> SlotEffect:
        """
        A stream wants to dial.

        :param viewer: for whom; None if it is nobody in particular's wish, as when a source failed.
        """
        claim = self._claims.make(account, stream, viewer, now, now + self._patience)
        if self._claims.has_room(account) and next(self._claims.queue(account.name)) is claim:
            return self._grant(claim, now)
        self._tally["waited"] += 1
        taken = self._try_takeover(claim)
        return taken[0] if taken else Wait(claim.token, claim.deadline)

    def socket_opened(self, token: int) -> bool:
        """
        The holder opened a socket: told for each, those of redirects as well.

        :return: False if it may not (any more), and has to close it.
        """
        claim = self._claims.get(token)
        if claim is None or claim.waiting or claim.done or (claim.lapsed and not self._claims.has_room(claim.account)):
            return False
        claim.sockets += 1
        claim.lapsed = False
        return True

    def socket_closed(self, now: float, token: int) -> list[SlotEffect]:
        """A socket of the holder's is gone."""
        claim = self._claims.get(token)
        if claim is None or not claim.sockets:
            return []
        claim.sockets -= 1
        claim.without = now
        return self._settle(claim, now)

    def release(self, now: float, token: int) -> list[SlotEffect]:
        """The holder will not dial any more, or does not want to wait any longer. Harmless twice."""
        claim = self._claims.get(token)
        if claim is None:
            return []
        claim.done = True
        return self._settle(claim, now)

    def tick(self, now: float) -> list[SlotEffect]:
        """Time has passed: refuse those whose deadline is over, take back what was forgotten."""
        effects: list[SlotEffect] = []
        for claim in list(self._claims):
            if claim.is_idle and now >= claim.without + IDLE_TIMEOUT:
                self._tally["forgotten"] += 1
                claim.lapsed = True
            elif claim.waiting and now >= claim.deadline:
                self._tally["refused"] += 1
                self._claims.forget(claim)
                effects.append(Refused(claim.token, _reason(claim.account)))
        return effects + self._serve(now)

    def next_deadline(self) -> float | None:
        """When ``tick`` has something to do at the earliest; None if never."""
        times = [
            claim.deadline if claim.waiting else claim.without + IDLE_TIMEOUT
            for claim in self._claims
            if claim.waiting or claim.is_idle
        ]
        return min(times, default=None)

    def has_free_slot(self, account: Account) -> bool:
        """Whether an ask would be granted at once: to be known before a second connection is opened beside one."""
        return self._claims.has_room(account) and next(self._claims.queue(account.name), None) is None

    # for statistics

    def open_sockets(self, name: str) -> int:
        """Sockets open now to the account of that name."""
        return self._claims.sockets(name)

    def report(self, configured: Collection[Account] = ()) -> dict[str, object]:
        """For statistics: each account in use or configured, and what happened so far."""
        accounts = {account.name: account for account in configured}
        for claim in self._claims:
            accounts[claim.account.name] = claim.account
        rows = [self._claims.row(accounts[name]) for name in sorted(accounts)]
        counts = ("granted", "waited", "taken_over", "refused", "forgotten")
        return {"providers": rows, **{count: self._tally[count] for count in counts}}

    # inside

    def _grant(self, claim: SlotRequest, now: float) -> Granted:
        claim.waiting = False
        claim.without = now
        self._tally["granted"] += 1
        self._claims.disinherit(claim)
        return Granted(claim.token)

    def _settle(self, claim: SlotRequest, now: float) -> list[SlotEffect]:
        """Is ``claim`` over? Then its slot goes to its heir, or to the queue."""
        if not claim.done or claim.sockets:
            return self._serve(now)
        self._claims.forget(claim)
        heir = claim.heir
        if heir is not None and heir.waiting and self._claims.has_room(heir.account):
            return [self._grant(heir, now), *self._serve(now)]
        return self._serve(now)

    def _serve(self, now: float) -> list[SlotEffect]:
        """Grant what is free, in order; behind one who has to wait on, nobody of that account is served."""
        effects: list[SlotEffect] = []
        blocked: set[str] = set()
        for claim in list(self._claims.queue()):
            name = claim.account.name
            if name in blocked or not self._claims.has_room(claim.account):
                blocked.add(name)
            else:
                effects.append(self._grant(claim, now))
        return effects

    def _try_takeover(self, claim: SlotRequest) -> list[SlotEffect]:
        """Find a stream that ``claim`` may end, unless it has one already."""
        if not self._takeover or self._claims.is_heir(claim):
            return []
        victim = next((other for other in self._claims if self._may_take(claim, other)), None)
        if victim is None:
            return []
        if victim.waiting:
            self._claims.pass_over(victim, claim)
        else:
            victim.heir = claim
        self._tally["taken_over"] += 1
        return [Takeover(claim.token, victim.stream, claim.deadline)]

    def _may_take(self, claim: SlotRequest, other: SlotRequest) -> bool:
        """Of those who wait only one that asked earlier, and has a viewer; of holders those without one, too."""
        if other.heir or other.done or other.stream == claim.stream or other.account.name != claim.account.name:
            return False
        audience = self._audience.get(other.stream, [])
        if other.waiting and (not audience or other.token > claim.token):
            return False
        viewer = claim.viewer
        return all(viewer is not None and viewer.is_same(one) for one in audience)


def _reason(account: Account) -> str:
    plural = "connection" if account.limit == 1 else "connections"
    return f"provider {account.name!r} allows {account.limit} {plural}, all in use"
