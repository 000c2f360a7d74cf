"""Connections to providers that carry one response after another.

A live stream has a connection of its own, which is closed with its source. HLS requests something small every few
seconds, and a connection for each request would cost the provider's panel more than the response. So a connection
whose response is complete stays open for a while, and the next request to the same host uses it. The number of
connections to a host is limited, idle ones included. If all are in use, a request waits for its turn.

If the connections of a provider's account are counted, connections are not shared by host: they belong to the slot of
a stream. If the account has a limit, a slot has one connection at a time, to any host: requests use it in turn, and a
connection to another host is opened when the socket of the last one has closed. When the slot is released, its
connections are closed.

A pooled connection is a :class:`m3uproxy.upstream.connection.ProviderConnection` as of a dial: it is counted, closed
at once, and its address is checked. The address is checked again for each request. A connection that was opened to a
private address carries no request that a public host led to.

Twisted's own pool limits only idle connections and does not tell which connection a response used. So here each
connection has such a pool for itself, which keeps it open between two responses and closes it after a time.
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

#: Requests that may wait for a connection to one host.
MAX_WAITING = 1000


@attrs.frozen
class ConnectionRequest:
    """
    The need of a connection for one request.

    :ivar led_by_public: see :meth:`m3uproxy.core.http.outbound_policy.OutboundPolicy.refusal`.
    :ivar fresh: whether the connection must be a new one.
    :ivar slot: the slot that the connection counts for; None if connections are not counted.
    """

    location: Location
    verify_tls: bool
    led_by_public: bool = False
    fresh: bool = False
    slot: ProviderSlot | None = None

    @property
    def host(self) -> tuple[str, bool]:
        """Scheme, name and port of the host, and whether its certificate is verified."""
        return self.location.origin, self.verify_tls


def _ignore() -> None:
    """Do nothing."""


@implementer(IAgentEndpointFactory)
class PooledConnection:
    """
    A connection of the pool.

    :ivar connection: the connection to the provider.
    :ivar used: whether it has carried a response before.
    :ivar agent: sends requests over the connection.
    :ivar host: the host that the connection leads to; see :attr:`ConnectionRequest.host`.
    :ivar on_connected: called when TCP is connected. The user of a new connection sets it.
    :ivar on_abort: called when the connection is closed while it is in use. The user sets it.
    """

    def __init__(
        self,
        pool: ConnectionPool,
        request: ConnectionRequest,
        closed: Callable[[PooledConnection], None],
        released: Callable[[PooledConnection], None],
    ) -> None:
        self.used = False
        self.host = request.host
        self.on_connected: Callable[[], None] = _ignore
        self.on_abort: Callable[[], None] = _ignore
        self.connection = ProviderConnection(
            pool.reactor,
            pool.sockets,
            request.location,
            request.verify_tls,
            self._connected,
            pool.outbound,
            request.led_by_public,
            request.slot,
        )
        self._tell_closed = closed
        self._tell_released = released
        self._in_use = True
        self._endpoint: IStreamClientEndpoint | None = None
        self._twisted_pool = HTTPConnectionPool(pool.reactor, persistent=True)
        self._twisted_pool.retryAutomatically = False
        self._twisted_pool.maxPersistentPerHost = 1
        self._twisted_pool.cachedConnectionTimeout = pool.idle_timeout  # type: ignore[assignment]
        self.agent: IAgent = Agent.usingEndpointFactory(pool.reactor, self, self._twisted_pool)

    def endpointForURI(self, uri: object) -> IStreamClientEndpoint:
        """Return the endpoint, which is made once: for https it reads all certificates that the machine trusts."""
        if self._endpoint is None:
            self._endpoint = self.connection.endpointForURI(uri)
        return self._endpoint

    def matches(self, request: ConnectionRequest) -> bool:
        """Return whether the connection, while idle, may carry a request."""
        return (
            self.host == request.host and self.connection.usable and self.connection.is_allowed(request.led_by_public)
        )

    def assign(self, request: ConnectionRequest) -> None:
        """Use the connection for the next request."""
        self._in_use = True
        self.connection.location = request.location

    def release(self, complete: bool) -> None:
        """
        Give the connection back to the pool. Safe to call twice.

        :param complete: whether the last response was read to its end. If not, the connection is closed.
        """
        if not self._in_use:
            return
        self._in_use = False
        self.on_abort = _ignore
        if complete and self.connection.usable:
            self.used = True
            self._tell_released(self)
            return
        self.connection.abort()
        if not self.connection.connected:
            self._closed()

    def abort(self) -> None:
        """Close the connection, also while it is in use or not connected yet."""
        self.on_abort()
        self.connection.abort()

    def close(self) -> Deferred[None]:
        """Close the connection now; the Deferred fires when its socket has closed."""
        return self.connection.close()

    def _connected(self) -> None:
        self.connection.closed().addCallback(lambda _: self._closed())
        self.on_connected()

    def _closed(self) -> None:
        closed = self._twisted_pool.closeCachedConnections()  # cancels the timer of Twisted's pool
        assert closed.called
        self._tell_closed(self)


@attrs.define
class PooledAgent(SourceAgent):
    """An agent that sends requests over a pooled connection."""

    pooled: PooledConnection | None = None

    def _agent(self) -> IAgent:
        assert self.pooled is not None
        return self.pooled.agent


@attrs.define(eq=False)
class _ConnectionGroup:
    """
    The connections to one host, or of one slot, and the requests that wait for one of them.

    :ivar limit: connections that there may be.
    :ivar closed: whether connections are closed as soon as they are released.
    :ivar connections: all connections, idle or in use.
    :ivar idle: the idle connections, those idle for longest first.
    """

    limit: int
    closed: bool = False
    connections: set[PooledConnection] = attrs.field(factory=set)
    idle: list[PooledConnection] = attrs.field(factory=list)
    waiting: list[tuple[ConnectionRequest, Deferred[PooledConnection]]] = attrs.field(factory=list)

    def take_waiting(self) -> list[Deferred[PooledConnection]]:
        """Return the Deferreds of all requests that wait. They wait no longer; see :func:`_fail_all`."""
        waiting, self.waiting = self.waiting, []
        return [deferred for _, deferred in waiting]

    def cancelled(self, cancelled: Deferred[PooledConnection]) -> None:
        """Forget a request that waits. If it was taken by :meth:`take_waiting`, do nothing."""
        self.waiting = [each for each in self.waiting if each[1] is not cancelled]


class ConnectionPool:
    """The pooled connections of the process, by host or by slot."""

    def __init__(
        self,
        reactor: Any,
        sockets: SocketCounter,
        outbound: OutboundPolicy = DEFAULT_POLICY,
        per_host: int = 8,
        idle_timeout: float = 15.0,
    ) -> None:
        """
        Make an empty pool.

        :param per_host: connections to one host (scheme, name and port), or of one slot whose account has no limit.
        :param idle_timeout: seconds after which an idle connection is closed.
        """
        self.reactor = reactor
        self.sockets = sockets
        self.outbound = outbound
        self.per_host = per_host
        self.idle_timeout = idle_timeout
        self._groups: dict[tuple[str, bool] | ProviderSlot, _ConnectionGroup] = {}
        self._stopped = False

    def acquire(self, request: ConnectionRequest) -> Deferred[PooledConnection]:
        """
        Return a connection for one response. Give it back with :meth:`PooledConnection.release`.

        :return: a Deferred that may be cancelled while it waits. It fails with :class:`m3uproxy.errors.SourceError`:
            ``NO_SLOT`` if too many requests wait or if the slot is released, ``STOPPING`` if the pool is stopped.
        """
        if self._stopped:
            return fail(SourceError(Reason.STOPPING))
        if request.slot is not None and not request.slot.held:
            return fail(_slot_released())
        group = self._group(request)
        pooled = self._find_or_open(group, request)
        if pooled is not None:
            return succeed(pooled)
        if len(group.waiting) >= MAX_WAITING:
            return fail(SourceError(Reason.NO_SLOT, f"{MAX_WAITING} requests wait for the provider's host"))
        waiting: Deferred[PooledConnection] = Deferred(group.cancelled)
        group.waiting.append((request, waiting))
        if len(group.connections) < group.limit:  # an idle connection was closed for this request, and is gone already
            self._serve_waiting(group)
        return waiting

    def count(self) -> int:
        """Return the number of connections, idle ones included."""
        return sum(len(group.connections) for group in self._groups.values())

    def stop(self) -> Deferred[None]:
        """Close all connections, for good; the Deferred fires when their sockets have closed."""
        self._stopped = True
        groups = list(self._groups.values())
        waiting = [deferred for group in groups for deferred in group.take_waiting()]
        closing: Deferred[Any] = gatherResults(
            [pooled.close() for group in groups for pooled in list(group.connections)]
        )
        _fail_all(waiting, SourceError(Reason.STOPPING))
        return closing.addCallback(lambda _: None)

    def _group(self, request: ConnectionRequest) -> _ConnectionGroup:
        """Return the group that the connection for a request comes from."""
        slot = request.slot
        if slot is None:
            return self._groups.setdefault(request.host, _ConnectionGroup(self.per_host))
        group = self._groups.get(slot)
        if group is None:
            group = self._groups[slot] = _ConnectionGroup(self.per_host if slot.account.limit is None else 1)
            slot.before_release(lambda abort: self._slot_released(slot, abort))
        return group

    def _slot_released(self, slot: ProviderSlot, abort: bool) -> None:
        """
        Close the connections of a slot. A response that is being read may come to its end.

        :param abort: whether connections in use are closed, too.
        """
        group = self._groups[slot]
        group.closed = True
        waiting = group.take_waiting()
        for pooled in list(group.connections):
            if abort or pooled in group.idle or not pooled.connection.connected:
                pooled.abort()
        self._remove_empty_groups()
        _fail_all(waiting, _slot_released())

    def _find_or_open(self, group: _ConnectionGroup, request: ConnectionRequest) -> PooledConnection | None:
        """Return an idle connection that matches, else a new one; None if the limit is reached."""
        for pooled in [] if request.fresh else reversed(group.idle):
            if pooled.matches(request):
                group.idle.remove(pooled)
                pooled.assign(request)
                return pooled
        if len(group.connections) >= group.limit:
            self._close_oldest_idle(group)
            return None
        pooled = PooledConnection(
            self,
            request,
            lambda pooled: self._connection_closed(group, pooled),
            lambda pooled: self._connection_released(group, pooled),
        )
        group.connections.add(pooled)
        return pooled

    def _close_oldest_idle(self, group: _ConnectionGroup) -> None:
        """Close the connection that is idle for longest: no request matches, and a new one needs its place."""
        if group.idle:
            group.idle.pop(0).connection.abort()

    def _connection_released(self, group: _ConnectionGroup, pooled: PooledConnection) -> None:
        if group.closed:
            pooled.connection.abort()
            return
        group.idle.append(pooled)
        self._serve_waiting(group)

    def _connection_closed(self, group: _ConnectionGroup, pooled: PooledConnection) -> None:
        group.connections.discard(pooled)
        if pooled in group.idle:
            group.idle.remove(pooled)
        self._serve_waiting(group)
        self._remove_empty_groups()

    def _remove_empty_groups(self) -> None:
        """Remove groups without connections. The group of a slot stays until the slot is released."""
        self._groups = {
            key: group
            for key, group in self._groups.items()
            if group.connections or group.waiting or (not isinstance(key, tuple) and not group.closed)
        }

    def _serve_waiting(self, group: _ConnectionGroup) -> None:
        """Give connections to the requests that wait, in their order."""
        while group.waiting and not self._stopped:
            request, waiting = group.waiting[0]
            pooled = self._find_or_open(group, request)
            if pooled is None:
                return
            del group.waiting[0]
            waiting.callback(pooled)


def _slot_released() -> SourceError:
    return SourceError(Reason.NO_SLOT, "the stream has released its provider slot")


def _fail_all(waiting: list[Deferred[PooledConnection]], error: SourceError) -> None:
    """Fail requests, each with an error of its own. One that was cancelled by an earlier one is left out."""
    for deferred in waiting:
        if not deferred.called:
            deferred.errback(error.detached())
