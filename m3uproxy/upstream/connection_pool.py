"""Connections to providers that carry one response after another.

A live stream has a connection of its own, which is gone with it. HLS asks for something small each few seconds, and a
connection for each would cost the provider's panel more than the answer. So here a connection whose response is
complete rests for a while, and the next request to the same host takes it. How many there are to a host, resting ones
included, is limited; who comes when all are taken waits for its turn.

Where a provider's account is counted, lines are not shared by host but belong to a stream's slot. If the account has a
limit, a slot has one line, to whichever host: requests go over it in turn, and a line to another host is opened when
the socket of the last one is gone. With the slot its lines go.

It is the same connection as a dial's (:class:`m3uproxy.upstream.connection.ProviderConnection`: counted, closed at
once, addresses judged). A resting one is judged again for whoever takes it: one that was opened for a private address
serves nobody whom a public host led there.

Not Twisted's own pool, which limits only the connections that rest and does not tell which one a response came over.
Each line has a pool for itself, which keeps its one connection between two responses and closes it after a time.

One connection to a provider that carries one response after another, and what it is taken for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail, gatherResults, succeed
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.iweb import IAgent, IAgentEndpointFactory
from zope.interface import implementer

from ..core.http.outbound_policy import DEFAULT_POLICY, OutboundPolicy
from ..core.http.redirects import Location
from ..core.slots.accounts import ProviderSlot
from ..errors import Reason, SourceError
from .agent import SourceAgent
from .connection import ProviderConnection
from .tcp_socket import SocketCounter


@attrs.frozen
class ConnectionRequest:
    """What a line is wanted for.

    :ivar led_by_public: see :meth:`m3uproxy.core.http.outbound_policy.Policy.refusal`.
    :ivar fresh: whether it must be a new one.
    :ivar slot: leave to open it; None if nobody counts.
    """

    location: Location
    verify_tls: bool
    led_by_public: bool = False
    fresh: bool = False
    slot: ProviderSlot | None = None

    @property
    def host(self) -> tuple[str, bool]:
        """What a line leads to."""
        return self.location.origin, self.verify_tls


def _nothing() -> None:
    """Nobody wants to know."""


@implementer(IAgentEndpointFactory)
class PooledConnection:
    """One connection.

    :ivar connection: what is below it.
    :ivar used: whether it has carried a response before.
    :ivar agent: asks over it.
    :ivar host: what it leads to.
    :ivar when_connected: called when TCP is connected; set by whoever takes a new line.
    :ivar when_given_up: called when it is closed under whoever has taken it, who sets this.
    """

    def __init__(
        self,
        lines: ConnectionPool,
        call: ConnectionRequest,
        gone: Callable[[PooledConnection], None],
        free: Callable[[PooledConnection], None],
    ) -> None:
        self.used = False
        self.host = call.host
        self.when_connected: Callable[[], None] = _nothing
        self.when_given_up: Callable[[], None] = _nothing
        self.connection = ProviderConnection(
            lines.reactor,
            lines.sockets,
            call.location,
            call.verify_tls,
            self._connected,
            lines.outbound,
            call.led_by_public,
            call.slot,
        )
        self._tell_gone = gone
        self._tell_free = free
        self._taken = True
        self._endpoint: IStreamClientEndpoint | None = None
        self._pool = HTTPConnectionPool(lines.reactor, persistent=True)
        self._pool.retryAutomatically = False
        self._pool.maxPersistentPerHost = 1
        self._pool.cachedConnectionTimeout = lines.rest  # type: ignore[assignment]
        self.agent: IAgent = Agent.usingEndpointFactory(lines.reactor, self, self._pool)

    def endpointForURI(self, uri: object) -> IStreamClientEndpoint:
        """The connection's, made once: for https that reads all certificates that the machine trusts."""
        if self._endpoint is None:
            self._endpoint = self.connection.endpointForURI(uri)
        return self._endpoint

    def suits(self, call: ConnectionRequest) -> bool:
        """Whether it may carry a request."""
        return self.host == call.host and self.connection.usable and self.connection.may_serve(call.led_by_public)

    def take(self, call: ConnectionRequest) -> None:
        """Have it carry the next request."""
        self._taken = True
        self.connection.location = call.location

    def release(self, complete: bool) -> None:
        """
        Give it back. Safe to call twice.

        :param complete: whether its last response was read to its end; if not, the connection is closed.
        """
        if not self._taken:
            return
        self._taken = False
        self.when_given_up = _nothing
        if complete and self.connection.usable:
            self.used = True
            self._tell_free(self)
            return
        self.connection.abort()
        if not self.connection.connected:
            self._gone()

    def give_up(self) -> None:
        """Close it, whatever it carries, and if it is not connected yet, do not connect it."""
        self.when_given_up()
        self.connection.abort()

    def close(self) -> Deferred[None]:
        """Close the connection now; fires when it is gone."""
        return self.connection.close()

    def _connected(self) -> None:
        self.connection.gone().addCallback(lambda _: self._gone())
        self.when_connected()

    def _gone(self) -> None:
        closed = self._pool.closeCachedConnections()  # no timer of the pool's is left
        assert closed.called
        self._tell_gone(self)


@attrs.define
class PooledAgent(SourceAgent):
    """Asks over a line."""

    line: PooledConnection | None = None

    def _agent(self) -> IAgent:
        assert self.line is not None
        return self.line.agent


#: Requests that may wait for a line to one host.
MOST_WAITING = 1000


@attrs.define(eq=False)
class _Pool:
    """
    All lines to one host, or of one slot: those taken or resting, the resting ones of them, and who waits.

    :ivar most: how many lines there may be.
    :ivar closed: whether no line rests any more.
    """

    most: int
    closed: bool = False
    lines: set[PooledConnection] = attrs.field(factory=set)
    resting: list[PooledConnection] = attrs.field(factory=list)
    waiting: list[tuple[ConnectionRequest, Deferred[PooledConnection]]] = attrs.field(factory=list)


class ConnectionPool:
    """All lines of the process, by host or by slot."""

    def __init__(
        self,
        reactor: Any,
        sockets: SocketCounter,
        outbound: OutboundPolicy = DEFAULT_POLICY,
        per_host: int = 8,
        rest: float = 15.0,
    ) -> None:
        """
        Begin with none.

        :param per_host: how many there may be to one host (scheme, name and port), or of one slot without a limit.
        :param rest: seconds for which one is kept between two responses.
        """
        self.reactor = reactor
        self.sockets = sockets
        self.outbound = outbound
        self.per_host = per_host
        self.rest = rest
        self._pools: dict[tuple[str, bool] | ProviderSlot, _Pool] = {}
        self._stopped = False

    def take(self, call: ConnectionRequest) -> Deferred[PooledConnection]:
        """
        A line for one response; give it back with :meth:`PooledConnection.release`.

        :return: a Deferred that may be cancelled while it waits. It fails with :class:`m3uproxy.errors.SourceError`:
            ``NO_SLOT`` if too many wait, or if the slot is given back; ``STOPPING``.
        """
        if self._stopped:
            return fail(SourceError(Reason.STOPPING))
        if call.slot is not None and not call.slot.held:
            return fail(_given_back())
        pool = self._pool(call)
        line = self._now(pool, call)
        if line is not None:
            return succeed(line)
        if len(pool.waiting) >= MOST_WAITING:
            return fail(SourceError(Reason.NO_SLOT, f"{MOST_WAITING} requests wait for the provider's host"))
        waiting: Deferred[PooledConnection] = Deferred(lambda _: pool.waiting.remove((call, waiting)))
        pool.waiting.append((call, waiting))
        return waiting

    def count(self) -> int:
        """How many there are, resting ones included."""
        return sum(len(pool.lines) for pool in self._pools.values())

    def stop(self) -> Deferred[None]:
        """Close all, for good; fires when they are gone."""
        self._stopped = True
        pools = list(self._pools.values())
        for pool in pools:
            _refuse(pool, SourceError(Reason.STOPPING))
        closing: Deferred[Any] = gatherResults([line.close() for pool in pools for line in list(pool.lines)])
        return closing.addCallback(lambda _: None)

    def _pool(self, call: ConnectionRequest) -> _Pool:
        """Where the line is to come from."""
        slot = call.slot
        if slot is None:
            return self._pools.setdefault(call.host, _Pool(self.per_host))
        pool = self._pools.get(slot)
        if pool is None:
            pool = self._pools[slot] = _Pool(self.per_host if slot.account.limit is None else 1)
            slot.before_done(lambda at_once: self._give_up(slot, at_once))
        return pool

    def _give_up(self, slot: ProviderSlot, at_once: bool) -> None:
        """A slot is given back: what is being sent over its lines may come to its end, or not even that."""
        pool = self._pools[slot]
        pool.closed = True
        _refuse(pool, _given_back())
        for line in list(pool.lines):
            if at_once or line in pool.resting or not line.connection.connected:
                line.give_up()
        self._forget_empty()

    def _now(self, pool: _Pool, call: ConnectionRequest) -> PooledConnection | None:
        """A resting line that may serve, else a new one, else none."""
        for line in [] if call.fresh else reversed(pool.resting):
            if line.suits(call):
                pool.resting.remove(line)
                line.take(call)
                return line
        if len(pool.lines) >= pool.most:
            self._make_room(pool)
            return None
        line = PooledConnection(self, call, lambda line: self._gone(pool, line), lambda line: self._free(pool, line))
        pool.lines.add(line)
        return line

    def _make_room(self, pool: _Pool) -> None:
        """Resting lines that serve nobody stand in the way of new ones; the longest at rest goes."""
        if pool.resting:
            pool.resting.pop(0).connection.abort()

    def _free(self, pool: _Pool, line: PooledConnection) -> None:
        if pool.closed:
            line.connection.abort()
            return
        pool.resting.append(line)
        self._serve(pool)

    def _gone(self, pool: _Pool, line: PooledConnection) -> None:
        pool.lines.discard(line)
        if line in pool.resting:
            pool.resting.remove(line)
        self._serve(pool)
        self._forget_empty()

    def _forget_empty(self) -> None:
        """Those of slots stay until these are given back, of which they are told once."""
        self._pools = {
            key: pool
            for key, pool in self._pools.items()
            if pool.lines or pool.waiting or (not isinstance(key, tuple) and not pool.closed)
        }

    def _serve(self, pool: _Pool) -> None:
        """Give to those who wait what there is, first come, first served."""
        while pool.waiting and not self._stopped:
            call, waiting = pool.waiting[0]
            line = self._now(pool, call)
            if line is None:
                return
            del pool.waiting[0]
            waiting.callback(line)


def _refuse(pool: _Pool, error: SourceError) -> None:
    waiting, pool.waiting = pool.waiting, []
    for _, deferred in waiting:
        deferred.errback(error)


def _given_back() -> SourceError:
    return SourceError(Reason.NO_SLOT, "the stream has given up its connection to the provider")
