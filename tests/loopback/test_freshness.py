"""The API lists connected clients correctly within 100 ms: controlling applications enforce limits by it."""

from __future__ import annotations

import json
import time
from random import Random

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from zope.interface import implementer

CHANNELS = 5
#: Seconds within which a count must be right.
MAX_DELAY = 0.1


@implementer(IHalfCloseableProtocol)
class CountingPlayer(Protocol):
    """A player that counts bytes, and disconnects in one of several ways."""

    def __init__(self, path: str) -> None:
        self._request = f"GET {path} HTTP/1.1\r\nHost: proxy\r\n\r\n".encode()
        self.received = 0
        self.closed = False

    def connectionMade(self) -> None:
        self.transport.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        self.received += len(data)

    def readConnectionLost(self) -> None:
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Keep reading after closing the own side."""

    def connectionLost(self, reason) -> None:
        self.closed = True

    def leave(self, how: str) -> None:
        {
            "fin": self.transport.loseConnection,
            "reset": self.transport.abortConnection,
            "half close": self.transport.loseWriteConnection,
        }[how]()


class ApiClient(Protocol):
    """A client of the API that sends one request after the other over one connection."""

    def __init__(self) -> None:
        self._data = b""
        self._waiting: Deferred[object] | None = None

    def ask(self, path: str, method: str = "GET") -> Deferred[object]:
        self._waiting = Deferred()
        self.transport.write(f"{method} {path} HTTP/1.1\r\nHost: proxy\r\n\r\n".encode())
        return self._waiting

    def dataReceived(self, data: bytes) -> None:
        self._data += data
        head, _, body = self._data.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        if len(body) >= length:
            self._data = b""
            self._waiting.callback(json.loads(body))


class RandomClients:
    """Connected players by stream, compared with the listings of the API."""

    def __init__(self, rig, seed: int) -> None:
        self.rig = rig
        self.random = Random(seed)
        self.names = [self.register(number) for number in range(CHANNELS)]
        self.present: dict[str, list[CountingPlayer]] = {name: [] for name in self.names}
        self.gone: list[CountingPlayer] = []
        self.api = ApiClient()
        self.delays: list[float] = []

    def register(self, number: int) -> str:
        return self.rig.register(f"/live/c{number}.ts?burst=1").id

    async def connect(self, protocol):
        return await connectProtocol(TCP4ClientEndpoint(self.rig.reactor, "127.0.0.1", self.rig.port), protocol)

    async def random_event(self) -> None:
        """Let a random event happen, then wait until the listing is right."""
        kind = self.random.choices(["join", "leave", "zap", "delete"], [10, 8, 4, 1])[0]
        name = self.random.choice(self.names)
        if kind == "join":
            await self.join(name)
        elif kind == "delete":
            await self.delete(name)
        elif everybody := [(each, here) for here, players in self.present.items() for each in players]:
            player, here = self.random.choice(everybody)
            self.leave(player, here)
            if kind == "zap":
                await self.join(name)
        await self.until_listed()

    async def join(self, name: str) -> None:
        self.present[name].append(await self.connect(CountingPlayer(f"/stream/{name}")))

    def leave(self, player: CountingPlayer, name: str) -> None:
        self.present[name].remove(player)
        self.gone.append(player)
        player.leave(self.random.choice(["fin", "reset", "half close"]))

    async def delete(self, name: str) -> None:
        """Delete a stream and register it again, which disconnects its players."""
        await self.api.ask(f"/streams/{name}", "DELETE")
        self.gone += self.present[name]
        self.present[name] = []
        assert self.register(self.names.index(name)) == name

    async def until_listed(self) -> None:
        """Wait until all counts are right, and record the delay."""
        began = time.monotonic()
        truth = {name: len(players) for name, players in self.present.items()}
        while (listed := await self.listed()) != truth or self.rig.open_upstreams() != sum(map(bool, truth.values())):
            assert time.monotonic() - began < 5, (listed, truth, self.rig.open_upstreams())
        self.delays.append(time.monotonic() - began)

    async def listed(self) -> dict[str, int]:
        listing = await self.api.ask("/streams")
        return {stream["stream_id"]: stream["client_count"] for stream in listing["streams"]}


@pytest.mark.parametrize(("direct", "events"), [(True, 1000), (False, 200)])
@pytest_twisted.ensureDeferred
async def test_counts_are_true_over_random_events(rig, direct, events):
    await rig.start(direct_write=direct, stream_timeout=0)
    clients = RandomClients(rig, events)
    await clients.connect(clients.api)
    for _ in range(events):
        await clients.random_event()
    health = await clients.api.ask("/health")
    assert health["active_clients"] == sum(map(len, clients.present.values())) > 0
    assert health["active_streams"] == sum(map(bool, clients.present.values()))
    # A busy machine may be late now and then.
    late = [delay for delay in clients.delays if delay > MAX_DELAY]
    assert len(late) <= events // 100, sorted(clients.delays)[-10:]
    await rig.until(lambda: all(player.closed for player in clients.gone), what="players that left are disconnected")
    for name, players in clients.present.items():
        for player in list(players):
            clients.leave(player, name)
    await clients.until_listed()
    await rig.until(lambda: all(player.closed for player in clients.gone))
    clients.api.transport.loseConnection()


@pytest.mark.parametrize("how", ["fin", "reset", "half close"])
@pytest_twisted.ensureDeferred
async def test_a_player_that_sends_a_lot_is_removed_when_it_disconnects(rig, how):
    stream = rig.register("/live/x.ts?burst=1")
    clients = RandomClients(rig, 1)
    player = await clients.connect(CountingPlayer(f"/stream/{stream.id}"))
    await rig.until(lambda: player.received > 10_000)
    player.transport.write(b"GET /health HTTP/1.1\r\nHost: proxy\r\n\r\n" * 20_000)
    await rig.sleep(0.2)
    assert len(stream.clients()) == 1
    player.leave(how)
    began = time.monotonic()
    await rig.until(lambda: not stream.clients(), 2)
    # The input must be read before its end is seen.
    assert time.monotonic() - began < 2 * MAX_DELAY
    await rig.until(lambda: player.closed)


@pytest.mark.parametrize("how", ["fin", "reset", "half close"])
@pytest_twisted.ensureDeferred
async def test_a_player_that_disconnects_before_its_first_byte_is_removed(rig, how):
    stream = rig.register("/live/x.ts?delay=30")
    clients = RandomClients(rig, 1)
    player = await clients.connect(CountingPlayer(f"/stream/{stream.id}"))
    await rig.until(lambda: stream.clients())
    player.leave(how)
    began = time.monotonic()
    await rig.until(lambda: not stream.clients(), 2)
    assert time.monotonic() - began < MAX_DELAY
    await rig.until(lambda: player.closed)


@pytest.mark.parametrize("direct", [True, False])
@pytest_twisted.ensureDeferred
async def test_deletion_before_the_first_byte_answers_404_and_disconnects(rig, direct):
    await rig.start(direct_write=direct)
    stream = rig.register("/live/x.ts?delay=30")
    player = await rig.play(stream)
    await rig.until(lambda: stream.clients())
    assert rig.registry.delete(stream.id)
    await rig.until(lambda: player.closed)
    assert player.status == 404
    assert b"Connection: close" in player.head
