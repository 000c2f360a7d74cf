"""Providers on loopback that play a script, a bench to dial them, and a consumer of bodies."""

from __future__ import annotations

import re

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import SSL4ServerEndpoint, TCP4ServerEndpoint, TCP6ServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from zope.interface import implementer

from m3uproxy.core.http.source_request import DialTimeouts, SourceRequest
from m3uproxy.errors import SourceError
from m3uproxy.interfaces import IBodyConsumer
from m3uproxy.upstream.dialler import Dialler
from m3uproxy.upstream.tcp_socket import SocketCounter

CLOSE, RESET = object(), object()
TIMEOUTS = DialTimeouts(connect=3, first_byte=3, total=10)


def head(status: str = "200 OK", *lines: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode()


def redirect(location: str, *lines: str) -> bytes:
    return head("302 Found", f"Location: {location}", "Content-Length: 0", *lines)


class _ScriptedConnection(Protocol):
    def connectionMade(self):
        self.lost = False
        self.received = b""
        self.target = ""
        self.next = None
        self.provider = self.factory.provider
        self.provider.connections.append(self)
        self.transport.setTcpNoDelay(True)
        self.provider.note("open")

    def dataReceived(self, data):
        self.received += data
        asked, complete, body = self.received.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", asked)
        if complete and len(body) == int(length[1] if length else 0):
            self.target = self.received.split(b" ")[1].decode()
            self.provider.requests.append(self.received)
            self.received = b""
            self.provider.note("asked " + self.target)
            self.play(list(self.provider.answers.get(self.target, self.provider.answers["*"])))

    def play(self, steps):
        """Write each piece in a TCP segment of its own."""
        if not steps or self.lost:
            return
        step = steps.pop(0)
        if step is CLOSE:
            self.transport.loseConnection()
        elif step is RESET:
            self.transport.abortConnection()
        else:
            self.transport.write(step)
            self.next = self.provider.reactor.callLater(0.01, self.play, steps)

    def connectionLost(self, reason):
        self.lost = True
        if self.next is not None and self.next.active():
            self.next.cancel()
        self.provider.note("lost " + self.target)


class ScriptedProvider:
    """A provider on loopback.

    :ivar answers: the script for each target; ``*`` for all other targets. A script is a list of pieces to write,
        ``CLOSE`` or ``RESET``.
    """

    def __init__(self, reactor, name, events):
        self.reactor = reactor
        self.name = name
        self.events = events
        self.answers = {"*": [head("404 Not Found")]}
        self.requests = []
        self.connections = []
        self._waiting = []

    async def listen(self, tls=None, ipv6=False):
        factory = Factory.forProtocol(_ScriptedConnection)
        factory.provider = self
        endpoint = TCP4ServerEndpoint(self.reactor, 0, interface="127.0.0.1")
        if ipv6:
            endpoint = TCP6ServerEndpoint(self.reactor, 0, interface="::1")
        if tls:
            endpoint = SSL4ServerEndpoint(self.reactor, 0, tls, interface="127.0.0.1")
        self.scheme = "https" if tls else "http"
        self.listening = await endpoint.listen(factory)
        self.port = self.listening.getHost().port

    def url(self, target="/", host="127.0.0.1"):
        return f"{self.scheme}://{host}:{self.port}{target}"

    def note(self, what):
        self.events.append(f"{self.name} {what}")
        for waited, waiting in list(self._waiting):
            if what.startswith(waited):
                self._waiting.remove((waited, waiting))
                waiting.callback(None)

    def sees(self, what):
        """Return a Deferred that fires at the next event of this text."""
        waiting = Deferred()
        self._waiting.append((what, waiting))
        return waiting

    def headers(self, number=-1):
        """Return the headers of a request, with names in lower case."""
        lines = self.requests[number].decode().split("\r\n")[1:-2]
        return {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}

    async def stop(self):
        await self.listening.stopListening()
        for connection in self.connections:
            if not connection.lost:
                connection.transport.abortConnection()


class PeakSocketCounter(SocketCounter):
    """A counter that keeps the largest number of sockets that were open at once."""

    peak = 0

    def _opened(self):
        super()._opened()
        self.peak = max(self.peak, self.open)


class DialBench:
    """Providers and a dialler, with a check that no socket is left."""

    def __init__(self, reactor):
        self.reactor = reactor
        self.sockets = PeakSocketCounter()
        self.events = []
        self.providers = []
        self.dialler = Dialler(reactor, self.sockets)

    async def provider(self, *steps, name=None, **how):
        provider = ScriptedProvider(self.reactor, name or "ABC"[len(self.providers)], self.events)
        await provider.listen(**how)
        if steps:
            provider.answers["*"] = steps
        self.providers.append(provider)
        return provider

    def dial(self, url, *headers, timeouts=TIMEOUTS, verify_tls=True):
        return self.dialler.dial(SourceRequest(url, "VLC/3.0", headers, verify_tls), timeouts)

    async def fails(self, url, **how) -> SourceError:
        """Return the error of a dial that fails, and check that no socket is open."""
        try:
            await self.dial(url, **how)
        except SourceError as error:
            assert self.sockets.open == 0
            return error
        raise AssertionError("the dial succeeded")

    async def turns(self, seconds=0.02):
        await deferLater(self.reactor, seconds, lambda: None)

    async def stop(self):
        await self.turns(0)  # pytest-twisted calls us from a delayed call of its own
        for provider in self.providers:
            await provider.stop()
        for _ in range(1000):
            await self.turns(0)
            if not self.sockets.open and all(each.lost for p in self.providers for each in p.connections):
                break


@implementer(IBodyConsumer)
class BodyRecorder:
    """A consumer that keeps the body.

    :param choke: raised for each piece of data.
    """

    def __init__(self, choke: Exception | None = None):
        self.data = b""
        self.pieces = 0
        self.error: SourceError | None = None
        self.ends = 0
        self.over = Deferred()
        self._choke = choke
        self._waiting = []

    def body_received(self, data):
        assert data
        assert not self.ends
        self.data += data
        self.pieces += 1
        while self._waiting and len(self.data) >= self._waiting[0][0]:
            self._waiting.pop(0)[1].callback(None)
        if self._choke is not None:
            raise self._choke

    def has(self, size):
        waiting = Deferred()
        self._waiting.append((size, waiting))
        return waiting

    def body_ended(self, error):
        self.ends += 1
        self.error = error
        self.over.callback(None)
