"""PieceResource through a spout, to players on real sockets."""

from __future__ import annotations

import random
import socket
from http.client import HTTPResponse
from io import BytesIO
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import deferLater
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer
from zope.interface.verify import verifyObject

from m3uproxy.downstream.response_writer import ResponseWriter
from m3uproxy.web.site import Site

BODY = random.Random(1).randbytes(3_000_000)
SEND_BUFFER = 65_536


@implementer(IPushProducer)
class PieceProducer:
    """A producer that writes a body piece by piece."""

    def __init__(self, request: Request, size: int, direct: bool) -> None:
        self.size = size
        self.written = self.pauses = self.stops = 0
        self._paused = self._writing = False
        self._spout = ResponseWriter(request, self, direct, SEND_BUFFER)
        assert verifyObject(IPushProducer, self._spout)

    def pauseProducing(self) -> None:
        self.pauses += 1
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        self.go_on()

    def stopProducing(self) -> None:
        self.stops += 1
        self._paused = True

    def go_on(self) -> None:
        if self._writing or self.written == len(BODY):
            return
        self._writing = True
        while self.written < len(BODY) and not self._paused:
            piece = BODY[self.written : self.written + self.size]
            self.written += len(piece)
            self._spout.write(piece)
        self._writing = False
        if self.written == len(BODY) and not self.stops:
            self._spout.finish()


class PieceResource(Resource):
    """``/<size of a piece>``; with ``?framed`` the head says how much comes."""

    isLeaf = True
    direct = True

    def __init__(self) -> None:
        super().__init__()
        self.poured: list[PieceProducer] = []

    def render(self, request: Request) -> Any:
        if b"framed" in request.uri:
            request.setHeader(b"Content-Length", b"%d" % len(BODY))
        request.notifyFinish().addErrback(lambda _: None)
        self.poured.append(PieceProducer(request, int(request.path[1:]), self.direct))
        self.poured[-1].go_on()
        return NOT_DONE_YET


class ResponseWriterRig:
    """A site, and a player that reads when the test lets it."""

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self.bodies = PieceResource()
        self.site = Site(self.bodies, reactor)
        self.port = reactor.listenTCP(0, self.site, interface="127.0.0.1")
        self.player = socket.socket()
        self.player.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
        self.player.connect(("127.0.0.1", self.port.getHost().port))
        self.player.setblocking(False)
        self.got = b""

    def ask(self, path: str) -> None:
        self.player.send(f"GET {path} HTTP/1.1\r\nHost: proxy\r\n\r\n".encode())

    async def turns(self, count: int = 4) -> None:
        for _ in range(count):
            await deferLater(self.reactor, 0.002)

    async def until(self, condition: Any) -> None:
        for _ in range(2000):
            if condition():
                return
            await self.turns(1)
        raise AssertionError("it never came to that")

    async def read(self, until: bytes) -> bytes:
        """Return the bytes that the player receives."""
        got, dice = self.got, random.Random(2)
        for _ in range(20_000):
            try:
                got += self.player.recv(dice.randrange(1, 200_000))
            except BlockingIOError:
                await self.turns(1)
            end = got.find(until)
            if end >= 0:
                self.got = got[end + len(until) :]
                return got[: end + len(until)]
        raise AssertionError("that never came")

    async def close(self) -> None:
        self.player.close()
        await self.port.stopListening()
        await self.site.close()


@pytest_twisted.async_yield_fixture
async def rig() -> Any:
    from twisted.internet import reactor

    rig = ResponseWriterRig(reactor)
    yield rig
    await rig.close()
    await rig.turns()
    assert reactor.getDelayedCalls() == []
    assert reactor.getWriters() == []


def body_of(data: bytes) -> bytes:
    """Return the body of a response, without chunked coding."""

    class Socket:
        def makefile(self, mode: str) -> BytesIO:
            return BytesIO(data)

    response = HTTPResponse(Socket())  # type: ignore[arg-type]
    response.begin()
    assert response.status == 200
    return response.read()


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("size", [10_000, 65_536, 1_000_000, len(BODY)])
@pytest_twisted.ensureDeferred
async def test_slow_player_gets_every_byte_and_then_the_next_response(
    rig: ResponseWriterRig, size: int, direct: bool
) -> None:
    rig.bodies.direct = direct
    for _ in range(2):
        rig.ask(f"/{size}?framed")
        assert body_of(await rig.read(BODY[-40:])) == BODY
    assert all(pieces.pauses and not pieces.stops for pieces in rig.bodies.poured)
    assert rig.got == b""


@pytest.mark.parametrize("direct", [True, False])
@pytest_twisted.ensureDeferred
async def test_body_without_a_length_is_chunked(rig: ResponseWriterRig, direct: bool) -> None:
    rig.bodies.direct = direct
    rig.ask("/65536")
    assert body_of(await rig.read(b"\r\n0\r\n\r\n")) == BODY


@pytest_twisted.ensureDeferred
async def test_player_that_does_not_read_pauses_the_producer(rig: ResponseWriterRig) -> None:
    rig.ask("/65536?framed")
    await rig.until(lambda: rig.bodies.poured and rig.bodies.poured[0].pauses)
    await rig.turns(50)
    written = rig.bodies.poured[0].written
    assert written < 700_000
    await rig.turns(50)
    assert rig.bodies.poured[0].written == written


@pytest.mark.parametrize("reset", [True, False])
@pytest_twisted.ensureDeferred
async def test_disconnect_stops_the_producer(rig: ResponseWriterRig, reset: bool) -> None:
    rig.ask("/65536?framed")
    await rig.until(lambda: rig.bodies.poured and rig.bodies.poured[0].pauses)
    if reset:
        rig.player.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    rig.player.close()
    await rig.until(lambda: rig.bodies.poured[0].stops)
    await rig.until(lambda: not rig.site._connections)
    assert rig.bodies.poured[0].written < len(BODY)
