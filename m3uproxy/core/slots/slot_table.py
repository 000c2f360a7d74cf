"""Slots of provider accounts: limit, queue and takeover. Pure; the clock is a parameter.

Providers sell a number of connections and punish each one beyond it. Before a stream dials, it requests a slot of the
account; later it releases the slot. Each call that can free a slot returns the effects on other requests.

**Sockets are counted.** A slot is taken from its grant (a dial is under way) until its holder has released it *and* its
last socket is closed. The holder keeps it between two hops of a redirect and while a source is redialled. A holder
without a socket for :data:`IDLE_TIMEOUT` seconds that has not released its slot no longer counts: otherwise a leaked
slot would lock the account. If the account is *intermittent* (HLS), a holder keeps its slot until it releases it.

**Queue.** A request that finds no free slot waits for some seconds, because a connection that is being closed is gone
soon. Each account has a queue in order of arrival.

**Takeover.** Players request the new channel before they leave the old one. If a stream has no other viewer than the
one that requests (or none, while it lingers), it must end and its slot goes to the request, past the queue. If the
same viewer changes channel again while its second request still waits, the third request replaces the second one.

Invariants: no grant lifts an account above its limit; requests are served in order of arrival, except by takeover; if a
slot is free, no request waits; no request waits longer than the limit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

import attrs

from .accounts import Account
from .viewer_identity import ViewerIdentity

#: Seconds after which a slot without a socket is taken back.
IDLE_TIMEOUT = 60.0


@attrs.define(eq=False)
class SlotRequest:
    """
    A request that waits for a slot or holds one.

    :ivar token: number of the request.
    :ivar viewer: the viewer that the stream was requested for; None for a request without a viewer, such as a failover.
    :ivar deadline: end of the wait, in monotonic seconds.
    :ivar released: whether the holder has released the slot; it is free when its last socket is closed.
    :ivar sockets: open sockets of the holder.
    :ivar idle_since: time from which the holder has had no socket, if it has none, in monotonic seconds.
    :ivar expired: whether the holder has had no socket for :data:`IDLE_TIMEOUT` seconds.
    :ivar successor: the request that inherits the slot.
    """

    token: int
    account: Account
    stream: str
    viewer: ViewerIdentity | None
    deadline: float
    waiting: bool = True
    released: bool = False
    sockets: int = 0
    idle_since: float = 0.0
    expired: bool = False
    successor: SlotRequest | None = None

    @property
    def is_idle(self) -> bool:
        """True if the holder has no socket and can expire."""
        return not (self.waiting or self.sockets or self.expired or self.account.intermittent)


class SlotRequests:
    """All requests that wait or hold, in order of arrival."""

    def __init__(self) -> None:
        self._next_token = 1
        self._requests: dict[int, SlotRequest] = {}

    def __iter__(self) -> Iterator[SlotRequest]:
        return iter(self._requests.values())

    def get(self, token: int) -> SlotRequest | None:
        """Return the request with a token; None if it is over."""
        return self._requests.get(token)

    def add(
        self, account: Account, stream: str, viewer: ViewerIdentity | None, now: float, deadline: float
    ) -> SlotRequest:
        """Add a request, which waits."""
        request = SlotRequest(self._next_token, account, stream, viewer, deadline, idle_since=now)
        self._next_token += 1
        self._requests[request.token] = request
        return request

    def remove(self, request: SlotRequest) -> None:
        """Remove a request that is over. It inherits no slot."""
        self._requests.pop(request.token, None)
        self.cancel_inheritance(request)

    # waiting

    def queue(self, name: str | None = None) -> Iterator[SlotRequest]:
        """Return the requests that wait, in order of arrival: for the account ``name``, or for any."""
        return (request for request in self if request.waiting and name in (None, request.account.name))

    def inherits(self, request: SlotRequest) -> bool:
        """Return whether this request inherits the slot of another request."""
        return any(other.successor is request for other in self)

    def cancel_inheritance(self, request: SlotRequest) -> None:
        """Let the request inherit no slot."""
        self._replace_successor(request, None)

    def supersede(self, request: SlotRequest, newer: SlotRequest) -> None:
        """Remove a waiting request. ``newer`` inherits the slot that it was to inherit."""
        self._replace_successor(request, newer)
        self.remove(request)

    def _replace_successor(self, successor: SlotRequest, newer: SlotRequest | None) -> None:
        for request in self:
            if request.successor is successor:
                request.successor = newer

    # taken slots

    def sockets(self, name: str) -> int:
        """Return the number of open sockets of the account ``name``."""
        return sum(request.sockets for request in self if request.account.name == name)

    def taken(self, name: str) -> int:
        """Return the number of slots that cannot be granted. A holder of two sockets takes two."""
        holders = (request for request in self if not request.waiting and request.account.name == name)
        return sum(max(0 if request.expired else 1, request.sockets) for request in holders)

    def has_free_slot(self, account: Account) -> bool:
        """Return whether a slot is free, even if other requests wait for it."""
        return account.limit is None or self.taken(account.name) < account.limit

    def report(self, account: Account) -> dict[str, object]:
        """Return the statistics of one account, for JSON."""
        return {
            "provider": account.name,
            "max_connections": account.limit,
            "open_connections": self.sockets(account.name),
            "slots_taken": self.taken(account.name),
            "waiting": sum(1 for _ in self.queue(account.name)),
        }


@attrs.frozen
class Granted:
    """Effect: the holder of ``token`` may dial."""

    token: int


@attrs.frozen
class Wait:
    """Effect: no slot is free. Another effect follows, at the latest at ``deadline`` (monotonic seconds)."""

    token: int
    deadline: float


@attrs.frozen
class Takeover:
    """
    Effect: end a stream, unless it is ending. Its slot goes to another request.

    :ivar token: the request that inherits the slot; it waits until ``deadline`` (monotonic seconds).
    :ivar stream: the stream to end.
    """

    token: int
    stream: str
    deadline: float


@attrs.frozen
class Refused:
    """Effect: the request ``token`` gets no slot. ``why`` names the account and its limit, for people."""

    token: int
    why: str


SlotEffect = Granted | Wait | Takeover | Refused


class SlotTable:
    """The slots of all accounts. Parameters named ``now`` are monotonic seconds."""

    def __init__(self, wait_limit: float = 3.0, takeover: bool = True) -> None:
        """
        Initialise a table without requests.

        :param wait_limit: seconds for which a request waits for a slot.
        :param takeover: whether a request may end a stream without other viewers.
        """
        self._wait_limit = wait_limit
        self._takeover = takeover
        self._requests = SlotRequests()
        self._viewers: dict[str, list[ViewerIdentity]] = {}
        self._counts: Counter[str] = Counter()

    # viewers

    def viewer_joined(self, stream: str, viewer: ViewerIdentity) -> None:
        """Add a viewer to a stream. Call this before the stream requests a slot for the viewer."""
        self._viewers.setdefault(stream, []).append(viewer)

    def viewer_left(self, now: float, stream: str, viewer: ViewerIdentity) -> list[SlotEffect]:
        """Remove a viewer from a stream. A takeover that its presence prevented becomes possible."""
        viewers = self._viewers.get(stream, [])
        if viewer in viewers:
            viewers.remove(viewer)
        if not viewers:
            self._viewers.pop(stream, None)
        return [effect for request in list(self._requests.queue()) for effect in self._try_takeover(request)]

    # slots

    def request(self, now: float, account: Account, stream: str, viewer: ViewerIdentity | None = None) -> SlotEffect:
        """
        Request a slot for a stream that is about to dial.

        :param viewer: the viewer that the stream was requested for; None for a failover.
        """
        request = self._requests.add(account, stream, viewer, now, now + self._wait_limit)
        if self._requests.has_free_slot(account) and next(self._requests.queue(account.name)) is request:
            return self._grant(request, now)
        self._counts["waited"] += 1
        takeover = self._try_takeover(request)
        return takeover[0] if takeover else Wait(request.token, request.deadline)

    def socket_opened(self, token: int) -> bool:
        """
        Count a socket of the holder; called for each socket, those of redirects included.

        :return: False if the holder has no slot (any more); it must close the socket.
        """
        request = self._requests.get(token)
        if request is None or request.waiting or request.released:
            return False
        if request.expired and not self._requests.has_free_slot(request.account):
            return False
        request.sockets += 1
        request.expired = False
        return True

    def socket_closed(self, now: float, token: int) -> list[SlotEffect]:
        """Take note that a socket of the holder is closed."""
        request = self._requests.get(token)
        if request is None or not request.sockets:
            return []
        request.sockets -= 1
        request.idle_since = now
        return self._settle(request, now)

    def release(self, now: float, token: int) -> list[SlotEffect]:
        """Release a slot, or cancel a request that waits. A second call has no effect."""
        request = self._requests.get(token)
        if request is None:
            return []
        request.released = True
        return self._settle(request, now)

    def tick(self, now: float) -> list[SlotEffect]:
        """Refuse the requests that are past their deadline, and take back the slots that are idle too long."""
        effects: list[SlotEffect] = []
        for request in list(self._requests):
            if request.is_idle and now >= request.idle_since + IDLE_TIMEOUT:
                self._counts["forgotten"] += 1
                request.expired = True
            elif request.waiting and now >= request.deadline:
                self._counts["refused"] += 1
                self._requests.remove(request)
                effects.append(Refused(request.token, _limit_reached(request.account)))
        return effects + self._serve(now)

    def next_deadline(self) -> float | None:
        """Return the next time at which :meth:`tick` has work to do; None if there is none."""
        times = [
            request.deadline if request.waiting else request.idle_since + IDLE_TIMEOUT
            for request in self._requests
            if request.waiting or request.is_idle
        ]
        return min(times, default=None)

    def has_free_slot(self, account: Account) -> bool:
        """Return whether a request would be granted at once; needed before a standby connection is opened."""
        return self._requests.has_free_slot(account) and next(self._requests.queue(account.name), None) is None

    # statistics

    def open_sockets(self, name: str) -> int:
        """Return the number of open sockets of the account ``name``."""
        return self._requests.sockets(name)

    def report(self, configured: Collection[Account] = ()) -> dict[str, object]:
        """
        Return the statistics of all accounts and the counts of all outcomes, for JSON.

        :param configured: accounts to include even if no request is open.
        """
        accounts = {account.name: account for account in configured}
        for request in self._requests:
            accounts[request.account.name] = request.account
        rows = [self._requests.report(accounts[name]) for name in sorted(accounts)]
        outcomes = ("granted", "waited", "taken_over", "refused", "forgotten")
        return {"providers": rows, **{outcome: self._counts[outcome] for outcome in outcomes}}

    # helpers

    def _grant(self, request: SlotRequest, now: float) -> Granted:
        request.waiting = False
        request.idle_since = now
        self._counts["granted"] += 1
        self._requests.cancel_inheritance(request)
        return Granted(request.token)

    def _settle(self, request: SlotRequest, now: float) -> list[SlotEffect]:
        """If the request is over, give its slot to its successor or to the queue."""
        if not request.released or request.sockets:
            return self._serve(now)
        self._requests.remove(request)
        successor = request.successor
        if successor is not None and successor.waiting and self._requests.has_free_slot(successor.account):
            return [self._grant(successor, now), *self._serve(now)]
        return self._serve(now)

    def _serve(self, now: float) -> list[SlotEffect]:
        """Grant the free slots in order. A request that must wait on blocks those behind it in its account."""
        effects: list[SlotEffect] = []
        blocked: set[str] = set()
        for request in list(self._requests.queue()):
            name = request.account.name
            if name in blocked or not self._requests.has_free_slot(request.account):
                blocked.add(name)
            else:
                effects.append(self._grant(request, now))
        return effects

    def _try_takeover(self, request: SlotRequest) -> list[SlotEffect]:
        """Find a stream that the request may end, unless it inherits a slot already."""
        if not self._takeover or self._requests.inherits(request):
            return []
        other = next((other for other in self._requests if self._may_take_over(request, other)), None)
        if other is None:
            return []
        if other.waiting:
            self._requests.supersede(other, request)
        else:
            other.successor = request
        self._counts["taken_over"] += 1
        return [Takeover(request.token, other.stream, request.deadline)]

    def _may_take_over(self, request: SlotRequest, other: SlotRequest) -> bool:
        """
        Return whether one request may end the stream of another one.

        All viewers of that stream must be the viewer of the request. A waiting request must also be older and have a
        viewer.
        """
        if other.successor or other.released or other.stream == request.stream:
            return False
        if other.account.name != request.account.name:
            return False
        viewers = self._viewers.get(other.stream, [])
        if other.waiting and (not viewers or other.token > request.token):
            return False
        viewer = request.viewer
        return all(viewer is not None and viewer.is_same(each) for each in viewers)


def _limit_reached(account: Account) -> str:
    plural = "connection" if account.limit == 1 else "connections"
    return f"provider {account.name!r} allows {account.limit} {plural}, all in use"
