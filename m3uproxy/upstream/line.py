"""One connection to a provider that carries one response after another, and what it is taken for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.iweb import IAgent, IAgentEndpointFactory
from zope.interface import implementer

from ..core.http.redirects import Location
from .agent import SourceAgent
from .connection import ProviderConnection
from .slots import Slot

if TYPE_CHECKING:
    from .connection_pool import ConnectionPool


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
    slot: Slot | None = None

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
