"""Connections to providers that carry one response after another.

A live stream has a connection of its own, which is gone with it. HLS asks for something small each few seconds, and a
connection for each would cost the provider's panel more than the answer. So here a connection whose response is
complete rests for a while, and the next request to the same host takes it. How many there are to a host, resting ones
included, is limited; who comes when all are taken waits for its turn.

It is the same connection as a dial's (:class:`m3uproxy.upstream.endpoints.ProviderConnection`: counted, closed at
once, addresses judged). A resting one is judged again for whoever takes it: one that was opened for a private address
serves nobody whom a public host led there.

Not Twisted's own pool, which limits only the connections that rest and does not tell which one a response came over.
Each line has a pool for itself, which keeps its one connection between two responses and closes it after a time.
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

from ..core.hop import Location
from ..core.outbound import DEFAULT, Policy
from ..errors import Reason, SourceError
from .agent import SourceAgent
from .endpoints import ProviderConnection
from .sockets import SocketCount

#: Requests that may wait for a line to one host.
MOST_WAITING = 1000


@attrs.frozen
class Call:
    """What a line is wanted for.

    :ivar led_by_public: see :meth:`m3uproxy.core.outbound.Policy.refusal`.
    :ivar fresh: whether it must be a new one.
    """

    location: Location
    verify_tls: bool
    led_by_public: bool = False
    fresh: bool = False


@attrs.define(eq=False)
class _Host:
    """All lines to one host: those taken or resting, the resting ones of them, and who waits."""

    lines: set[Line] = attrs.field(factory=set)
    resting: list[Line] = attrs.field(factory=list)
    waiting: list[tuple[Call, Deferred[Line]]] = attrs.field(factory=list)


def _nothing() -> None:
    """Nobody wants to know."""


@implementer(IAgentEndpointFactory)
class Line:
    """One connection.

    :ivar connection: what is below it.
    :ivar used: whether it has carried a response before.
    :ivar agent: asks over it.
    :ivar when_connected: called when TCP is connected; set by whoever takes a new line.
    """

    def __init__(self, lines: Lines, call: Call, gone: Callable[[Line], None], free: Callable[[Line], None]) -> None:
        self.used = False
        self.when_connected: Callable[[], None] = _nothing
        self.connection = ProviderConnection(
            lines.reactor,
            lines.sockets,
            call.location,
            call.verify_tls,
            self._connected,
            lines.outbound,
            call.led_by_public,
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

    def take(self, call: Call) -> None:
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
        if complete and self.connection.usable:
            self.used = True
            self._tell_free(self)
            return
        self.connection.abort()
        if not self.connection.connected:
            self._gone()

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


class Lines:
    """All lines of the process, by host."""

    def __init__(
        self, reactor: Any, sockets: SocketCount, outbound: Policy = DEFAULT, per_host: int = 8, rest: float = 15.0
    ) -> None:
        """
        Begin with none.

        :param per_host: how many there may be to one host (scheme, name and port).
        :param rest: seconds for which one is kept between two responses.
        """
        self.reactor = reactor
        self.sockets = sockets
        self.outbound = outbound
        self.per_host = per_host
        self.rest = rest
        self._hosts: dict[tuple[str, bool], _Host] = {}
        self._stopped = False

    def take(self, call: Call) -> Deferred[Line]:
        """
        A line for one response; give it back with :meth:`Line.release`.

        :return: a Deferred that may be cancelled while it waits. It fails with :class:`m3uproxy.errors.SourceError`:
            ``NO_SLOT`` if too many wait, ``STOPPING``.
        """
        if self._stopped:
            return fail(SourceError(Reason.STOPPING))
        host = self._hosts.setdefault((call.location.origin, call.verify_tls), _Host())
        line = self._now(host, call)
        if line is not None:
            return succeed(line)
        if len(host.waiting) >= MOST_WAITING:
            return fail(SourceError(Reason.NO_SLOT, f"{MOST_WAITING} requests wait for the provider's host"))
        waiting: Deferred[Line] = Deferred(lambda _: host.waiting.remove((call, waiting)))
        host.waiting.append((call, waiting))
        return waiting

    def count(self) -> int:
        """How many there are, resting ones included."""
        return sum(len(host.lines) for host in self._hosts.values())

    def stop(self) -> Deferred[None]:
        """Close all, for good; fires when they are gone."""
        self._stopped = True
        hosts = list(self._hosts.values())
        for host in hosts:
            waiting, host.waiting = host.waiting, []
            for _, deferred in waiting:
                deferred.errback(SourceError(Reason.STOPPING))
        closing: Deferred[Any] = gatherResults([line.close() for host in hosts for line in list(host.lines)])
        return closing.addCallback(lambda _: None)

    def _now(self, host: _Host, call: Call) -> Line | None:
        """A resting line that may serve, else a new one, else none."""
        for line in [] if call.fresh else reversed(host.resting):
            if line.connection.usable and line.connection.may_serve(call.led_by_public):
                host.resting.remove(line)
                line.take(call)
                return line
        if len(host.lines) >= self.per_host:
            self._make_room(host)
            return None
        line = Line(self, call, lambda line: self._gone(host, line), lambda line: self._free(host, line))
        host.lines.add(line)
        return line

    def _make_room(self, host: _Host) -> None:
        """Resting lines that serve nobody stand in the way of new ones; the longest at rest goes."""
        if host.resting:
            host.resting.pop(0).connection.abort()

    def _free(self, host: _Host, line: Line) -> None:
        host.resting.append(line)
        self._serve(host)

    def _gone(self, host: _Host, line: Line) -> None:
        host.lines.discard(line)
        if line in host.resting:
            host.resting.remove(line)
        self._serve(host)
        if not (host.lines or host.waiting):
            self._hosts = {key: each for key, each in self._hosts.items() if each is not host}

    def _serve(self, host: _Host) -> None:
        """Give to those who wait what there is, first come, first served."""
        while host.waiting and not self._stopped:
            call, waiting = host.waiting[0]
            line = self._now(host, call)
            if line is None:
                return
            del host.waiting[0]
            waiting.callback(line)


@attrs.define
class LineAgent(SourceAgent):
    """Asks over a line."""

    line: Line | None = None

    def _agent(self) -> IAgent:
        assert self.line is not None
        return self.line.agent
