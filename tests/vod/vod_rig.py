"""A VOD stream on a Clock, with scripted providers and players."""

from __future__ import annotations

from datetime import datetime, timezone

from fakes import FakeBody, FakeDialler, SlowConsumer
from twisted.internet.task import Clock

from m3uproxy.core.failover.machine import FailoverPolicy
from m3uproxy.core.slots.slot_table import SlotTable
from m3uproxy.downstream.socket_writer import DirectWriter
from m3uproxy.errors import SourceError
from m3uproxy.live.stream import PlayerInfo
from m3uproxy.provider.files import content
from m3uproxy.settings import Settings
from m3uproxy.streams.context import StreamContext
from m3uproxy.streams.spec import StreamSpec
from m3uproxy.upstream.opened_bodies import OpenedBodies
from m3uproxy.upstream.slots import SlotAllocator
from m3uproxy.vod.edge_cache import EdgeCache
from m3uproxy.vod.interfaces import VodLimits, VodUpstream
from m3uproxy.vod.stream import VodStream

SIZE = 50_000_000
ETAG = '"film"'


def file_bytes(first: int, stop: int, seed: int = 0) -> bytes:
    return content("film", seed, first, stop)


class PlayerConnection:
    """A player's connection, without a socket."""

    def __init__(self) -> None:
        self._released = None

    def set_owner(self, released) -> None:
        before, self._released = self._released, released
        if before is not None:
            before()

    def close(self) -> None:
        self.set_owner(None)


class PlayerResponse:
    """The HTTP side of a response (a ``VodResponseWriter``), and the player at its other end."""

    def __init__(self, clock: Clock, connection: PlayerConnection, kernel: int, writer=DirectWriter) -> None:
        self.connection = connection
        self.socket = SlowConsumer(clock, kernel)
        self.socket_writer = writer(self.socket)
        self.head = None
        self.refused: SourceError | None = None
        self.range_refused: list[int | None] = []
        self.finished = self.aborted = False

    def register(self, response) -> None:
        self.response = response
        self.socket.registerProducer(response, True)

    def write_head(self, representation, span) -> None:
        assert self.head is None
        self.head = representation, span

    def refuse(self, error) -> None:
        assert self.head is None
        self.socket.unregisterProducer()
        self.refused = error

    def refuse_range(self, length) -> None:
        assert self.head is None
        self.socket.unregisterProducer()
        self.range_refused.append(length)

    def finish(self) -> None:
        self.socket.unregisterProducer()
        self.finished = True

    def abort(self) -> None:
        self.aborted = True
        self.socket.abortConnection()

    @property
    def body(self) -> bytes:
        return bytes(self.socket.received)


class LingeringBody(FakeBody):
    """A body with a socket that closes at once, unless ``lingers`` is set."""

    lingers = False

    def close(self):
        self.gone = self.gone or not self.lingers
        return super().close()


class VodRig:
    """A VOD stream with a dialler, players and their connections."""

    SAME = PlayerInfo(ip_address="192.0.2.1", user_agent="films/1")

    def __init__(self, sources: int = 1, **limits: float) -> None:
        self.clock = Clock()
        self.dialler = FakeDialler(self.clock)
        urls = [f"http://{number}.example/film.mp4" for number in range(sources)]
        spec = StreamSpec(urls[0], "agent", failover_urls=tuple(urls[1:]), headers=(("X-Key", "k"), ("range", "no")))
        self.edge_cache = EdgeCache(1 << 24)
        self.slot_allocator = SlotAllocator(self.clock, SlotTable(), lambda _: self.stream.yield_slot())
        wall = lambda: datetime.now(timezone.utc)  # noqa: E731
        self.opened = OpenedBodies(self.clock)
        self.stream = VodStream(
            StreamContext(self.clock, wall, self.slot_allocator, Settings(), None),
            "id",
            spec,
            VodUpstream(self.dialler, self.opened, FailoverPolicy(laps=2, backoff=0.5), self.edge_cache),
            VodLimits(**{"silence": 10.0, "pause": 14_400.0, "start": 20.0, **limits}),
        )
        self.connections: list[PlayerConnection] = []
        self.responses: list[PlayerResponse] = []

    def ask(
        self,
        *ranges,
        connection: PlayerConnection | None = None,
        player: PlayerInfo = SAME,
        kernel=200_000,
        if_range=None,
        **more,
    ) -> PlayerResponse:
        connection = connection or PlayerConnection()
        self.connections.append(connection)
        response = PlayerResponse(self.clock, connection, kernel, **more)
        self.responses.append(response)
        self.stream.attach(player, response, ranges, if_range)
        return response

    def answer(self, etag: str = ETAG, size: int = SIZE, status: int = 206) -> LingeringBody:
        """Answer the last dial with the requested range."""
        dial = self.dialler.last
        wanted = dict(dial.request.headers)["Range"].removeprefix("bytes=").partition("-")[0]
        first = int(wanted) if status == 206 else 0
        headers = {"ETag": etag}
        if status == 206:
            headers["Content-Range"] = f"bytes {first}-{size - 1}/{size}"
        body = LingeringBody(final_url=dial.request.url, status=status, headers=headers)
        body.first = first
        return dial.answer(body, size - first)

    def answer_head(self) -> LingeringBody:
        """Answer the last dial, which was HEAD."""
        return self.dialler.last.answer(LingeringBody(headers={"Content-Length": str(SIZE), "Accept-Ranges": "bytes"}))

    def turn(self, times: int = 10) -> None:
        for _ in range(times):
            self.clock.advance(0)

    def drain(self, response: PlayerResponse) -> None:
        """Read all bytes that arrive at the player."""
        for _ in range(200):
            response.socket.read()
            self.clock.advance(0)

    def close(self) -> None:
        for response in self.responses:
            response.response.stopProducing()
        for connection in self.connections:
            connection.close()
        self.clock.advance(6)
        assert self.stream.clients() == []
        assert all(dial.cancelled or dial.deferred.called for dial in self.dialler.dials)
