"""Rig of the loopback tests: the whole proxy and the test provider in the reactor of the test."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater

from m3uproxy.provider.site import Provider
from m3uproxy.settings import load
from m3uproxy.streams.spec import StreamSpec
from m3uproxy.tap import ProxyService

PACKET = 188


def leftovers(reactor) -> set[str]:
    """Return the delayed calls and sockets that are left in the reactor."""
    ours = [str(call.func) for call in reactor.getDelayedCalls() if call.active()]
    ours += [
        repr(each) for each in [*reactor.getReaders(), *reactor.getWriters()] if "Waker" not in type(each).__name__
    ]
    return {each for each in ours if "UNIXWaker" not in each and "SIGCHLD" not in each}


class Player(Protocol):
    """HTTP client that requests a path and stores the bytes of the response."""

    def __init__(
        self,
        path: str,
        method: str = "GET",
        version: str = "1.1",
        headers: tuple[str, ...] = (),
        window: int | None = None,
    ) -> None:
        self._window = window
        self.path = path
        self._request = "\r\n".join([f"{method} {path} HTTP/{version}", "Host: proxy", *headers, "", ""]).encode()
        self.raw = b""
        self.asked = 0.0
        self.first_byte: float | None = None
        self.closed = False
        self.ended: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        self.asked = time.monotonic()
        if self._window:
            # A small buffer is soon full, so that the proxy notices a player that stops reading.
            self.transport.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._window)
        self.transport.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        if self.first_byte is None:
            self.first_byte = time.monotonic() - self.asked
        self.raw += data

    def connectionLost(self, reason) -> None:
        self.closed = True
        self.reason = reason.value
        self.ended.callback(None)

    @property
    def head(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[0]

    @property
    def body(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[2]

    @property
    def status(self) -> int | None:
        return int(self.raw.split(b" ", 2)[1]) if self.raw else None

    def leave(self) -> Deferred[None]:
        """Abort the connection; the Deferred fires when it has closed."""
        if not self.closed:
            self.transport.abortConnection()
        return self.ended


class Established:
    """
    Peak of the provider's connections, counted in the kernel at each new connection.

    The provider's own count may be too high, because it learns of a closed connection only in a later reactor turn.
    """

    def __init__(self, provider: Provider) -> None:
        self.peak = 0
        self._connections = provider._open
        build = provider.build

        def built(address):
            connection = build(address)
            made = connection.connectionMade
            connection.connectionMade = lambda: (self._sample(), made())
            return connection

        provider.build = built

    def _sample(self) -> None:
        self.peak = max(self.peak, sum(map(_is_established, self._connections)))


def _is_established(connection) -> bool:
    handle = connection.transport.getHandle()
    return handle.fileno() >= 0 and handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == b"\x01"


class LoopbackRig:
    """Test provider, proxy and players in one reactor."""

    def __init__(self, reactor, folder: Path) -> None:
        self.reactor = reactor
        self.folder = folder
        self.provider = Provider(reactor)
        self.players: list[Player] = []
        self.service: ProxyService | None = None

    async def start(self, **settings: object) -> None:
        """Start provider and proxy, or restart the proxy. Timeouts are short to keep the tests short."""
        if self.service is not None:
            await self.service.stopService()
        else:
            await self.provider.listen()
        defaults = {
            "host": "127.0.0.1",
            "port": 0,
            "state_dir": str(self.folder),
            "first_byte_timeout": 0.7,
            "default_connection_timeout": 0.7,
            "live_chunk_timeout_seconds": 1.0,
            "stream_retry_delay": 0.1,
            "stream_retry_attempts": 2,
            "start_timeout": 5,
        }
        self.service = ProxyService(self.reactor, load({**defaults, **settings}))
        self.service.privilegedStartService()
        self.service.startService()

    async def stop(self) -> None:
        """Stop players, proxy and provider."""
        for player in self.players:
            await player.leave()
        await self.service.stopService()
        await self.provider.stop()
        await self.sleep(0.02)

    @property
    def registry(self):
        return self.service._registry

    @property
    def port(self) -> int:
        return self.service.ports[0].port.getHost().port

    def register(self, *paths: str, **options: object):
        """Register a stream; sources are paths of the provider or whole URLs."""
        urls = [path if "://" in path else self.provider.url(path) for path in paths]
        return self.registry.register(StreamSpec(urls[0], "test/1", failover_urls=tuple(urls[1:]), **options))

    async def play(self, stream, **options: object) -> Player:
        """Return a connected player of a stream."""
        return await self.ask(f"/stream/{stream.id}", **options)

    async def ask(self, path: str, host: str = "127.0.0.1", port: int = 0, **options: object) -> Player:
        """Return a connected player of any path, at the proxy or at a server in front of it."""
        player = Player(path, **options)
        endpoint = (TCP6ClientEndpoint if ":" in host else TCP4ClientEndpoint)(self.reactor, host, port or self.port)
        await connectProtocol(endpoint, player)
        self.players.append(player)
        return player

    def sleep(self, seconds: float) -> Deferred[None]:
        """Run the reactor for a time."""
        return deferLater(self.reactor, seconds, lambda: None)

    async def until(self, condition, seconds: float = 5.0, what: str = "") -> None:
        """Run the reactor until a condition is true."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds} s: {what or condition}"
            await self.sleep(0.01)

    async def until_bytes(self, player: Player, size: int, seconds: float = 5.0) -> None:
        """Wait until a player has ``size`` bytes of a body, or its connection has closed."""
        await self.until(lambda: len(player.body) >= size or player.closed, seconds, f"{size} bytes")

    def open_upstreams(self) -> int:
        """Return the provider's count of open connections."""
        return sum(channel.tally.current for channel in self.provider.station.channels.values())


def assert_whole_packets(body: bytes) -> None:
    """Assert that a body consists of aligned packets and begins with a PAT."""
    whole = body[: len(body) - len(body) % PACKET]
    assert whole[::PACKET] == b"G" * (len(whole) // PACKET), "alignment is lost"
    assert (whole[1] & 0x1F, whole[2]) == (0, 0), "the first packet is not a PAT"


@pytest_twisted.async_yield_fixture
async def rig(tmp_path):
    """Yield a started rig; after the test no delayed call and no socket may be left."""
    from twisted.internet import reactor

    before = leftovers(reactor)
    rig = LoopbackRig(reactor, tmp_path)
    await rig.start()
    yield rig
    await rig.stop()
    assert leftovers(reactor) - before == set()
