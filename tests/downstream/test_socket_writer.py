"""The outlets, held against real transports.

The direct writer rests on two attributes that Twisted does not document: ``producerPaused`` set to true together
with ``startWriting()`` brings one ``resumeProducing`` as soon as the socket can be written and the transport's own
buffer is empty. Every scenario below runs against the fake transport of :mod:`fakes`, against a bare TCP transport,
and through the HTTP channels of Twisted and of ours, and must come out the same.
"""

from __future__ import annotations

import random
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import pytest_twisted
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fakes import FakeDialler, FakePlayer, Programme, SlowConsumer
from OpenSSL import SSL
from twisted.internet import ssl
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock, deferLater
from twisted.web import server
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer
from zope.interface.verify import verifyObject

from m3uproxy.downstream.socket_writer import BufferedWriter, DirectWriter, writer_for
from m3uproxy.registry import Registry
from m3uproxy.settings import Settings
from m3uproxy.streams.spec import StreamSpec
from m3uproxy.web.media.live_resource import StreamResource
from m3uproxy.web.site import Site

SEND_BUFFER = 65_536
PATTERN = bytes(range(251)) * 41_000  # 10 MB in which any loss or swap shows


@implementer(IPushProducer)
class Recorder:
    """A producer that notes the calls of its transport."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.when_resumed: Callable[[], None] = lambda: None

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")
        self.when_resumed()

    def stopProducing(self) -> None:
        self.calls.append("stop")

    def count(self, call: str) -> int:
        return self.calls.count(call)


# the rigs: one player's connection, seen from both ends


class FakeTransportRig:
    """The fake transport."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.transport: Any = SlowConsumer(self.clock, kernel=100_000)
        self.preamble = b""

    async def open(self) -> None:
        pass

    def register(self, producer: Any) -> None:
        self.transport.registerProducer(producer, True)

    async def turn(self) -> None:
        for _ in range(3):
            self.clock.advance(0)

    def read(self, size: int) -> bytes:
        return self.transport.read(size)

    def leave(self) -> None:
        self.transport.leave()

    async def close(self) -> None:
        self.transport.abortConnection()
        self.clock.advance(0)
        assert self.clock.getDelayedCalls() == []


class SocketRig:
    """A loopback connection whose player is a plain socket that reads when the test lets it."""

    request = b""

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self.transport: Any = None
        self.player = socket.socket()
        self.player.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
        self.preamble = b""

    def factory(self) -> Any:
        rig = self

        class Bare(Protocol):
            def connectionMade(self) -> None:
                rig.transport = self.transport

        return Factory.forProtocol(Bare)

    async def open(self) -> None:
        self.port = self.reactor.listenTCP(0, self.factory(), interface="127.0.0.1")
        self.player.connect(("127.0.0.1", self.port.getHost().port))
        self.player.setblocking(False)
        self.player.send(self.request)
        await until(self, lambda: self.transport is not None)
        self.transport.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)

    def register(self, producer: Any) -> None:
        self.transport.registerProducer(producer, True)

    async def turn(self) -> None:
        await deferLater(self.reactor, 0.005)

    def read(self, size: int) -> bytes:
        try:
            return self.player.recv(size)
        except BlockingIOError:
            return b""

    def leave(self) -> None:
        self.player.close()

    async def close(self) -> None:
        self.player.close()
        if not self.transport.disconnected:
            self.transport.abortConnection()
        await self.port.stopListening()
        await until(self, lambda: self.transport.disconnected)


class SiteRig(SocketRig):
    """A :class:`SocketRig` with Twisted's HTTP channel."""

    request = b"GET /live HTTP/1.1\r\nHost: proxy\r\n\r\n"

    def __init__(self, reactor: Any) -> None:
        super().__init__(reactor)
        self.requests: list[server.Request] = []

    def root(self) -> Resource:
        rig = self

        class Live(Resource):
            isLeaf = True

            def render(self, request: server.Request) -> Any:
                rig.requests.append(request)
                if request.path == b"/short":
                    return b"short"
                if request.path == b"/long":
                    return PATTERN[:3_000_000]
                rig.transport = request.channel.transport
                request.startedWriting = 1
                return NOT_DONE_YET

        return Live()

    def factory(self) -> Any:
        return server.Site(self.root(), reactor=self.reactor)

    def register(self, producer: Any) -> None:
        self.requests[-1].registerProducer(producer, True)
        self.requests[-1].notifyFinish().addErrback(lambda _: None)


class HttpChannelRig(SiteRig):
    """A :class:`SiteRig` with :class:`m3uproxy.web.http_channel.HttpChannel`."""

    def factory(self) -> Any:
        return Site(self.root(), self.reactor)


RIGS = ["fake", "bare", "site", "our site"]


async def until(rig: Any, condition: Callable[[], Any]) -> None:
    """Let reactor turns pass until the condition holds, a few hundred at most."""
    for _ in range(400):
        if condition():
            return
        await rig.turn()
    raise AssertionError("it never came to that")


async def read_all(rig: Any, size: int, step: int = 65_536) -> bytes:
    """Return up to ``size`` bytes that the player receives, reading as fast as possible."""
    got = bytearray()
    idle = 0
    while len(got) < size and idle < 100:
        piece = rig.read(min(step, size - len(got)))
        got += piece
        idle = 0 if piece else idle + 1
        if not piece:
            await rig.turn()
    return bytes(got)


async def turns(rig: Any, count: int = 4) -> None:
    for _ in range(count):
        await rig.turn()


def fill(writer: Any, data: bytes) -> int:
    """Send until the socket takes no more. Return the number of bytes sent."""
    sent = 0
    while sent < len(data):
        try:
            sent += writer.send(memoryview(data)[sent : sent + 65_536])
        except BlockingIOError:
            return sent
    raise AssertionError("the socket takes everything")


@asynccontextmanager
async def opened(name: str, reactor: Any) -> AsyncIterator[Any]:
    kinds = {"fake": lambda: FakeTransportRig(), "bare": SocketRig, "site": SiteRig, "our site": HttpChannelRig}
    rig = FakeTransportRig() if name == "fake" else kinds[name](reactor)
    await rig.open()
    try:
        yield rig
    finally:
        await rig.close()


@pytest.fixture
def reactor() -> Any:
    """Return the global reactor. A test must leave nothing behind in it."""
    from twisted.internet import reactor

    yield reactor
    assert reactor.getDelayedCalls() == []
    assert [reader for reader in reactor.getReaders() if "Waker" not in type(reader).__name__] == []
    assert reactor.getWriters() == []


every_rig = pytest.mark.parametrize("name", RIGS)
http_rigs = pytest.mark.parametrize("name", ["site", "our site"])


# scenarios


@every_rig
@pytest_twisted.ensureDeferred
async def test_head_leaves_first_and_resume_comes_once(name: str, reactor: Any) -> None:
    async with opened(name, reactor) as rig:
        producer = Recorder()
        writer = DirectWriter(rig.transport)
        assert writer.start(b"head ") is True
        rig.register(producer)
        assert producer.calls == []
        await until(rig, lambda: producer.calls)
        assert writer.send(b"direct ") == 7
        assert writer.send(b"more") == 4
        await turns(rig)
        assert producer.calls == ["resume"]
        assert await read_all(rig, 16) == b"head direct more"


@every_rig
@pytest_twisted.ensureDeferred
async def test_head_larger_than_the_socket_buffer_is_waited_for(name: str, reactor: Any) -> None:
    head = PATTERN[:3_000_000]
    async with opened(name, reactor) as rig:
        producer = Recorder()
        rig.register(producer)
        writer = DirectWriter(rig.transport)
        writer.start(head)
        await turns(rig)
        assert "resume" not in producer.calls

        def send() -> None:
            try:
                producer.calls.append(f"sent {writer.send(b'direct')}")
            except BlockingIOError:  # the last of the head has filled the kernel's queue to the brim
                writer.wait()

        producer.when_resumed = send
        assert await read_all(rig, len(head) + 6) == head + b"direct"
        await turns(rig)
        assert producer.calls[-2:] == ["resume", "sent 6"]
        assert producer.count("sent 6") == 1


@every_rig
@pytest_twisted.ensureDeferred
async def test_full_socket_resumes_once_when_it_is_writable(name: str, reactor: Any) -> None:
    async with opened(name, reactor) as rig:
        producer = Recorder()
        rig.register(producer)
        writer = DirectWriter(rig.transport)
        sent = fill(writer, PATTERN)
        writer.wait()
        await turns(rig, 10)
        assert producer.calls == []
        assert await read_all(rig, sent) == PATTERN[:sent]
        await until(rig, lambda: producer.calls)
        await turns(rig, 10)
        assert producer.calls == ["resume"]


@every_rig
@pytest_twisted.ensureDeferred
async def test_wait_at_a_writable_socket_resumes_in_a_later_turn(name: str, reactor: Any) -> None:
    async with opened(name, reactor) as rig:
        producer = Recorder()
        rig.register(producer)
        writer = DirectWriter(rig.transport)
        writer.wait()
        writer.wait()
        assert producer.calls == []
        await turns(rig, 10)
        assert producer.calls == ["resume"]


@every_rig
@pytest_twisted.ensureDeferred
async def test_filling_again_inside_resume_keeps_every_byte_in_order(name: str, reactor: Any) -> None:
    async with opened(name, reactor) as rig:
        producer = Recorder()
        rig.register(producer)
        writer = DirectWriter(rig.transport)
        sent = 0
        overlaps = []

        def pour() -> None:
            nonlocal sent
            overlaps.append(bool(getattr(rig.transport, "_tempDataBuffer", b"")))
            data = memoryview(PATTERN)[sent:]
            while data:
                try:
                    taken = writer.send(data[:65_536])
                except BlockingIOError:
                    taken = 0
                sent += taken
                if not taken:
                    writer.wait()
                    return
                data = data[taken:]

        producer.when_resumed = pour
        writer.start(b"head")
        rng = random.Random(name)
        got = bytearray()
        idle = 0
        while len(got) < len(PATTERN) + 4 and idle < 100:
            piece = rig.read(rng.randrange(1, 200_000))
            got += piece
            idle = 0 if piece else idle + 1
            if not piece or rng.random() < 0.2:
                await rig.turn()
        assert bytes(got) == b"head" + PATTERN
        assert not any(overlaps)
        assert producer.count("resume") > 3
        assert producer.count("stop") == producer.count("pause") == 0


@every_rig
@pytest_twisted.ensureDeferred
async def test_after_an_abort_only_stop_comes_and_send_fails(name: str, reactor: Any) -> None:
    async with opened(name, reactor) as rig:
        producer = Recorder()
        rig.register(producer)
        writer = DirectWriter(rig.transport)
        fill(writer, PATTERN)
        writer.wait()
        rig.transport.abortConnection()
        assert producer.calls == []
        rig.read(1_000_000)
        await turns(rig)
        assert producer.calls == ["stop"]
        with pytest.raises(OSError):  # noqa: PT011
            writer.send(b"late")
        await turns(rig)
        assert producer.calls == ["stop"]


@every_rig
@pytest_twisted.ensureDeferred
async def test_wait_after_an_abort_is_safe(name: str, reactor: Any) -> None:
    """A flush in the turn of an abort may still find the socket full."""
    async with opened(name, reactor) as rig:
        producer = Recorder()
        rig.register(producer)
        writer = DirectWriter(rig.transport)
        fill(writer, PATTERN)
        rig.transport.abortConnection()
        writer.wait()
        await turns(rig)
        assert producer.calls == ["stop"]


@every_rig
@pytest.mark.parametrize("waiting", [False, True])
@pytest_twisted.ensureDeferred
async def test_disconnect_stops_the_producer(name: str, waiting: bool, reactor: Any) -> None:
    async with opened(name, reactor) as rig:
        producer = Recorder()
        rig.register(producer)
        writer = DirectWriter(rig.transport)
        fill(writer, PATTERN)
        if waiting:
            writer.wait()
        rig.leave()
        await until(rig, lambda: producer.calls)
        await turns(rig)
        assert producer.calls == ["stop"]
        with pytest.raises(OSError):  # noqa: PT011
            writer.send(b"late")


@every_rig
@pytest_twisted.ensureDeferred
async def test_over_the_limit_every_write_pauses(name: str, reactor: Any) -> None:
    """The buffered writer relies on this behaviour of the transport."""
    async with opened(name, reactor) as rig:
        producer = Recorder()
        rig.register(producer)
        for _ in range(5):
            rig.transport.write(PATTERN[:40_000])
        assert producer.calls == ["pause"] * 4
        assert await read_all(rig, 200_000) == PATTERN[:40_000] * 5
        await until(rig, lambda: "resume" in producer.calls)
        await turns(rig)
        assert producer.calls == ["pause"] * 4 + ["resume"]


@every_rig
@pytest_twisted.ensureDeferred
async def test_buffered_writer_raises_until_the_buffer_is_empty(name: str, reactor: Any) -> None:
    async with opened(name, reactor) as rig:
        producer = Recorder()
        rig.register(producer)
        writer = BufferedWriter(rig.transport)
        pause, resume = producer.pauseProducing, producer.resumeProducing
        producer.pauseProducing = lambda: (pause(), writer.paused())  # type: ignore[method-assign,assignment]
        producer.resumeProducing = lambda: (resume(), writer.resumed())  # type: ignore[method-assign,assignment]
        sent = 5
        assert writer.start(b"head ") is False
        sent += fill(writer, PATTERN)
        assert sent <= 5 + 131_072
        writer.wait()
        assert await read_all(rig, sent) == b"head " + PATTERN[: sent - 5]
        await until(rig, lambda: producer.count("resume"))
        assert writer.send(b"on") == 2
        assert producer.count("resume") == 1


# what only a real connection can do


@http_rigs
@pytest_twisted.ensureDeferred
async def test_pipelined_request_is_not_answered_and_does_not_disturb(name: str, reactor: Any) -> None:
    async with opened(name, reactor) as rig:
        producer = Recorder()
        rig.register(producer)
        writer = DirectWriter(rig.transport)
        writer.start(b"head ")
        rig.player.send(b"GET /short HTTP/1.1\r\nHost: proxy\r\n\r\n")
        await until(rig, lambda: producer.calls)
        sent = fill(writer, PATTERN)
        writer.wait()
        assert await read_all(rig, 5 + sent) == b"head " + PATTERN[:sent]
        await turns(rig)
        assert producer.calls == ["resume", "resume"]
        assert len(rig.requests) == 1
        rig.leave()
        await until(rig, lambda: "stop" in producer.calls)


@pytest_twisted.ensureDeferred
async def test_stream_pipelined_after_a_large_response_follows_it(reactor: Any) -> None:
    """On Twisted's own channel. HttpChannel starts the stream only after the response is sent."""
    rig = SiteRig(reactor)
    rig.request = b"GET /long HTTP/1.1\r\nHost: proxy\r\n\r\n" + SiteRig.request
    await rig.open()
    producer = Recorder()
    rig.register(producer)
    writer = DirectWriter(rig.transport)
    producer.when_resumed = lambda: producer.calls.append(f"sent {writer.send(b'direct')}")
    writer.start(b"head ")
    await turns(rig)
    assert "resume" not in producer.calls
    got = await read_all(rig, 3_010_000)
    head, _, body = got.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert body == PATTERN[:3_000_000] + b"head direct"
    await turns(rig)
    assert producer.calls[-2:] == ["resume", "sent 6"]
    assert producer.count("resume") == 1
    await rig.close()


@http_rigs
@pytest_twisted.ensureDeferred
async def test_player_that_sends_during_the_stream_is_served_and_its_end_noticed(name: str, reactor: Any) -> None:
    """Over 16 KiB Twisted stops reading, and then only our own ``send`` notices that the player has left."""
    async with opened(name, reactor) as rig:
        producer = Recorder()
        rig.register(producer)
        writer = DirectWriter(rig.transport)
        writer.start(b"head ")
        await until(rig, lambda: producer.calls)
        rig.player.send(b"x" * 40_000)
        await turns(rig)
        sent = fill(writer, PATTERN)
        writer.wait()
        assert await read_all(rig, 5 + sent) == b"head " + PATTERN[:sent]
        await until(rig, lambda: producer.count("resume") == 2)
        assert rig.transport not in reactor.getReaders()
        rig.leave()

        def noticed() -> bool:
            if "stop" in producer.calls:
                return True
            try:
                writer.send(b"x")
            except OSError as error:
                return not isinstance(error, BlockingIOError)
            return False

        await until(rig, noticed)
        rig.transport.abortConnection()
        await turns(rig)
        assert producer.calls == ["resume", "resume", "stop"]


@http_rigs
@pytest_twisted.ensureDeferred
async def test_end_of_a_sending_player_with_a_full_socket_is_noticed(name: str, reactor: Any) -> None:
    async with opened(name, reactor) as rig:
        producer = Recorder()
        rig.register(producer)
        writer = DirectWriter(rig.transport)
        rig.player.send(b"x" * 40_000)
        await turns(rig)
        fill(writer, PATTERN)
        writer.wait()
        rig.leave()
        await until(rig, lambda: producer.calls)
        assert producer.calls == ["stop"]


@pytest.mark.parametrize("name", ["bare", "site", "our site"])
@pytest_twisted.ensureDeferred
async def test_half_close_of_the_player_ends_the_stream(name: str, reactor: Any) -> None:
    async with opened(name, reactor) as rig:
        producer = Recorder()
        rig.register(producer)
        writer = DirectWriter(rig.transport)
        writer.start(b"head ")
        await until(rig, lambda: producer.calls)
        rig.player.shutdown(socket.SHUT_WR)
        await until(rig, lambda: "stop" in producer.calls)
        assert producer.calls == ["resume", "stop"]


@http_rigs
@pytest_twisted.ensureDeferred
async def test_http_1_0(name: str, reactor: Any) -> None:
    kind = {"site": SiteRig, "our site": HttpChannelRig}[name]
    rig = kind(reactor)
    rig.request = b"GET /live HTTP/1.0\r\n\r\n"
    await rig.open()
    producer = Recorder()
    rig.register(producer)
    writer = DirectWriter(rig.transport)
    writer.start(b"head ")
    await until(rig, lambda: producer.calls)
    sent = fill(writer, PATTERN)
    writer.wait()
    assert await read_all(rig, 5 + sent) == b"head " + PATTERN[:sent]
    await turns(rig)
    assert producer.calls == ["resume", "resume"]
    await rig.close()


# TLS


def _self_signed() -> ssl.PrivateCertificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return ssl.PrivateCertificate.loadPEM(certificate.public_bytes(serialization.Encoding.PEM) + secret)


class TlsRig(HttpChannelRig):
    """A player that speaks TLS over the plain socket."""

    async def open(self) -> None:
        options = _self_signed().options()
        self.port = self.reactor.listenSSL(0, self.factory(), options, interface="127.0.0.1")
        self.player.connect(("127.0.0.1", self.port.getHost().port))
        self.player.setblocking(False)
        self.tls = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
        self.tls.set_connect_state()
        for _ in range(400):
            try:
                self.tls.do_handshake()
                break
            except SSL.WantReadError:
                self._flush()
                await self.turn()
                self._take()
        self.tls.send(self.request)
        self._flush()
        await until(self, lambda: self.transport is not None)

    def _flush(self) -> None:
        try:
            while data := self.tls.bio_read(65_536):
                self.player.send(data)
        except SSL.WantReadError:
            pass

    def _take(self) -> None:
        data = super().read(65_536)
        if data:
            self.tls.bio_write(data)

    def read(self, size: int) -> bytes:
        try:
            return self.tls.recv(size)
        except SSL.WantReadError:
            self._take()
        try:
            return self.tls.recv(size)
        except SSL.WantReadError:
            return b""

    async def close(self) -> None:
        self.player.close()
        await self.port.stopListening()
        await until(self, lambda: not self.transport.connected)


@pytest_twisted.ensureDeferred
async def test_tls_player_gets_a_buffered_writer_with_a_limit(reactor: Any) -> None:
    rig = TlsRig(reactor)
    await rig.open()
    producer = Recorder()
    rig.register(producer)
    writer = writer_for(rig.transport, True, SEND_BUFFER)
    assert isinstance(writer, BufferedWriter)
    pause, resume = producer.pauseProducing, producer.resumeProducing
    producer.pauseProducing = lambda: (pause(), writer.paused())  # type: ignore[method-assign,assignment]
    producer.resumeProducing = lambda: (resume(), writer.resumed())  # type: ignore[method-assign,assignment]
    writer.start(b"head ")
    sent = 5 + fill(writer, PATTERN)
    assert sent < 300_000
    assert await read_all(rig, sent) == b"head " + PATTERN[: sent - 5]
    await until(rig, lambda: producer.count("resume"))
    assert writer.send(b"on") == 2
    assert await read_all(rig, 2) == b"on"
    rig.leave()
    await until(rig, lambda: "stop" in producer.calls)
    await rig.close()


# the whole way: our resource, a warm ring, and a joiner that does not read


@pytest.mark.parametrize("direct", [True, False])
@pytest_twisted.ensureDeferred
async def test_new_player_that_does_not_read_buffers_little(direct: bool, reactor: Any) -> None:
    """Its first burst of several seconds of video must wait in the ring, not in the transport."""
    dialler = FakeDialler(reactor)
    settings = Settings(direct_write=direct, join_seconds=10)
    registry = Registry(reactor, dialler, settings, b"key")
    stream = registry.register(StreamSpec("http://provider/live/1.ts", "agent"))
    warm = FakePlayer(reactor, kernel=50_000_000).join(stream)
    dialler.last.answer()
    programme = Programme()
    for _ in range(40):
        stream.broadcaster.bytes_received(programme.group(5, 40_000))
        stream.broadcaster.flush()
    assert stream.broadcaster.ring.size > 7_000_000

    class StreamRig(HttpChannelRig):
        def root(self) -> Any:
            return StreamResource(registry, settings)

    rig = StreamRig(reactor)
    rig.request = b"GET /%s HTTP/1.1\r\nHost: proxy\r\n\r\n" % stream.id.encode()
    rig.port = reactor.listenTCP(0, rig.factory(), interface="127.0.0.1")
    rig.player.connect(("127.0.0.1", rig.port.getHost().port))
    rig.player.setblocking(False)
    rig.player.send(rig.request)
    await until(rig, lambda: len(stream.clients()) == 2)
    pump = stream.clients()[1].pump
    assert pump is not None
    rig.transport = pump._response._transport  # type: ignore[attr-defined]
    await turns(rig, 20)
    held = len(rig.transport.dataBuffer) + rig.transport._tempDataLen
    try:
        assert held <= 1_000_000
        got = await read_all(rig, 9_000_000)
        head, _, media = got.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"Connection: close" in head
        assert len(media) > 7_000_000
        assert len(media) % 188 == 0
        assert media[:3] == b"G@\0"
    finally:
        warm.transport.leave()
        await rig.close()
        await turns(rig)
        registry.stop()


# which one


@pytest_twisted.ensureDeferred
async def test_writer_for_limits_the_send_buffer_and_obeys_the_setting(reactor: Any) -> None:
    async with opened("bare", reactor) as rig:
        assert isinstance(writer_for(rig.transport, True, 40_000), DirectWriter)
        assert rig.transport.getHandle().getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 80_000
        assert isinstance(writer_for(rig.transport, False, 50_000), BufferedWriter)
        assert rig.transport.getHandle().getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 100_000


def test_writer_for_a_transport_without_a_socket() -> None:
    assert isinstance(writer_for(object(), True, 40_000), BufferedWriter)


def test_recorder_is_a_push_producer() -> None:
    verifyObject(IPushProducer, Recorder())
