"""Fakes for both sides of a live stream: a provider that the test controls, and a slow player.

They refuse the calls that the real objects refuse. ``tests/downstream/test_socket_writer.py`` runs the same scenarios
against :class:`SlowConsumer` and against real transports, and both must agree.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import attrs
from tsbuild import H264, IDR, SIZE, SLICE, Mux, pes
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import Clock
from zope.interface import implementer

from m3uproxy.core.failover.resolver import ResolverAnswer, ResolverQuestion
from m3uproxy.core.http.source_request import DialTimeouts, SourceRequest
from m3uproxy.core.slots.accounts import Account
from m3uproxy.downstream.socket_writer import DirectWriter
from m3uproxy.errors import Reason, SourceError
from m3uproxy.interfaces import IBodyConsumer, IDialler, IResolver, IResponseBody
from m3uproxy.live.pump import PumpState
from m3uproxy.live.stream import LiveStream, PlayerInfo
from m3uproxy.registry import Registry
from m3uproxy.settings import Settings
from m3uproxy.streams.spec import StreamSpec
from m3uproxy.upstream.slots import Slot

# the provider's side


@implementer(IResponseBody)
class FakeBody:
    """A body whose data and end the test decides."""

    READ = 262_144
    joined = False
    expected_pause = 0.0

    def __init__(
        self,
        content_type: str = "video/mp2t",
        final_url: str = "http://provider.example/",
        status: int = 200,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.status = status
        self.headers = headers or {}
        self.content_type = content_type
        self.final_url = final_url
        self.consumer: IBodyConsumer | None = None
        self.paused = False
        self.closed = False
        self.gone = False
        self.slot: Slot | None = None
        self.ended = False
        self.pauses = 0
        self.resumes = 0
        self.reads = 0
        self.held = b""
        self.gathered = b""
        self.length: int | None = None
        self.window = 65_536
        self.encoded = False
        self.public = False
        #: A body of stated length ends within the read that completes it.
        self.ends_with_read: SourceError | None = None
        self._waiting: list[Deferred[None]] = []

    # IResponseBody

    def header(self, name: str) -> str:
        return self.headers.get(name, "")

    def deliver(self, consumer: IBodyConsumer) -> None:
        if self.consumer is not None:
            raise RuntimeError("delivered twice")
        if self.closed:
            raise RuntimeError("delivered after close()")
        self.consumer = consumer
        if self.held:
            self.resume()
            self.bring_anyway()

    def withdraw(self, start: bytes) -> None:
        self.pause()
        self.consumer = None
        self.held = start + self.held

    def pause(self) -> None:
        self.pauses += 1
        self.paused = True

    def resume(self) -> None:
        self.resumes += 1
        self.paused = False

    def read(self, deliver: bool) -> int:
        if self.closed or self.ended or self.consumer is None:
            return 0
        self.reads += 1
        data, self.held = self.held[: self.READ], self.held[self.READ :]
        self.gathered += data
        if deliver and self.gathered:
            gathered, self.gathered = self.gathered, b""
            self.consumer.body_received(gathered)
        if not self.held and self.ends_with_read is not None and not self.ended:
            self.end(self.ends_with_read)
        return len(data)

    def receive_window(self) -> int:
        return self.window

    def close(self) -> Deferred[None]:
        self.closed = True
        done: Deferred[None] = Deferred()
        if self.gone:
            done.callback(None)
        else:
            self._waiting.append(done)
        return done

    # called by a test

    def bring(self, data: bytes) -> None:
        """Let bytes arrive: at the consumer, or in the kernel while the body is paused."""
        assert self.consumer is not None, "the body was not delivered"
        assert not self.ended
        self.held += data
        if not self.paused:
            self.bring_anyway()

    def bring_anyway(self, data: bytes = b"") -> None:
        """Have the reactor deliver all bytes, also while paused and after ``close()``, as a real one may."""
        assert self.consumer is not None
        data, self.held, self.gathered = self.gathered + self.held + data, b"", b""
        if data:
            self.consumer.body_received(data)

    def end(self, error: SourceError | None = None) -> None:
        """End the body and close its socket, as the provider does."""
        assert not self.ended
        self.ended = self.gone = True
        if self.slot is not None:
            self.slot.socket_closed()
        if self.consumer is not None:
            if (self.held or self.gathered) and not self.closed:
                self.bring_anyway()
            self.consumer.body_ended(error or SourceError(Reason.ENDED))
        waiting, self._waiting = self._waiting, []
        for done in waiting:
            done.callback(None)

    def vanish(self) -> None:
        """Let the socket close that the code under test has aborted."""
        assert self.closed
        if not self.ended:
            self.end(SourceError(Reason.ENDED, "closed by us"))


@attrs.define(eq=False)
class Dial:
    """A call of :meth:`FakeDialler.dial`."""

    request: SourceRequest
    timeouts: DialTimeouts
    at: float
    slot: Slot | None = None
    deferred: Deferred[IResponseBody] = attrs.field(factory=Deferred)
    cancelled: bool = False
    body: FakeBody | None = None

    def answer(self, body: FakeBody | None = None, length: int | None = None) -> FakeBody:
        """Answer with a head of status 200 and a body."""
        body = body or FakeBody(final_url=self.request.url)
        if self.slot is not None:
            self.slot.socket_opened()
            body.slot = self.slot
        body.length = length
        self.body = body
        self.deferred.callback(body)
        return body

    def fail(self, reason: Reason = Reason.REFUSED) -> None:
        """Fail the dial."""
        self.deferred.errback(SourceError(reason))

    @property
    def pending(self) -> bool:
        return not self.deferred.called


@attrs.define(eq=False)
class Asked:
    """A call of :meth:`FakeResolver.ask`."""

    url: str
    question: ResolverQuestion
    deferred: Deferred[ResolverAnswer]
    cancelled: bool = False

    def names(self, url: str) -> None:
        """Answer with a source."""
        self.deferred.callback(ResolverAnswer(url))

    def names_none(self) -> None:
        """Answer that there is no other source."""
        self.deferred.callback(ResolverAnswer())

    def breaks(self) -> None:
        """Answer with an error."""
        self.deferred.callback(ResolverAnswer(problem="HTTP 500"))


@implementer(IResolver)
class FakeResolver:
    """A resolver whose questions the test answers."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []

    def ask(self, url: str, question: ResolverQuestion) -> Deferred[ResolverAnswer]:
        call = Asked(url, question, Deferred(lambda _: setattr(call, "cancelled", True)))
        self.asked.append(call)
        return call.deferred

    @property
    def last(self) -> Asked:
        return self.asked[-1]


class FakeResolverPort:
    """Records the questions of a session; the test gives the answers."""

    def __init__(self) -> None:
        self.available = False
        self.asked: list[tuple[SourceError, float]] = []
        self.faults: list[SourceError] = []
        self.cancelled = 0
        self.account: Account | None = None

    def ask(self, error: SourceError, seconds: float) -> None:
        self.asked.append((error, seconds))

    def report_fault(self, error: SourceError) -> None:
        self.faults.append(error)

    def cancel(self) -> None:
        self.cancelled += 1

    def request(self, url: str) -> SourceRequest:
        return SourceRequest(url, "agent", (), True, self.account)


@implementer(IDialler)
class FakeDialler:
    """A dialler whose dials the test answers, or ``script`` at once."""

    def __init__(self, clock: IReactorTime, script: Callable[[Dial], None] | None = None) -> None:
        self._clock = clock
        self.script = script
        self.dials: list[Dial] = []

    def dial(self, request: SourceRequest, timeouts: DialTimeouts, slot: Slot | None = None) -> Deferred[IResponseBody]:
        call = Dial(request, timeouts, self._clock.seconds(), slot)

        def cancel(_: Deferred[IResponseBody]) -> None:
            call.cancelled = True

        call.deferred = Deferred(cancel)
        self.dials.append(call)
        if self.script is not None:
            self.script(call)
        return call.deferred

    @property
    def last(self) -> Dial:
        return self.dials[-1]

    @property
    def urls(self) -> list[str]:
        return [dial.request.url for dial in self.dials]


# the player's side


class _Handle:
    """The part of a non-blocking socket that a DirectWriter uses."""

    def __init__(self, transport: SlowConsumer) -> None:
        self._transport = transport

    def send(self, data: bytes | memoryview) -> int:
        return self._transport.kernel_send(data)


class SlowConsumer:
    """A server-side TCP transport, the send queue of the kernel, and a player that reads when the test lets it.

    ``clock`` gives the turns of the reactor: its next turn happens at ``clock.advance(0)``. As on Linux, a socket is
    writable when a third of its queue is free.
    """

    LIMIT = 65_536
    SEND_LIMIT = 131_072

    def __init__(self, clock: IReactorTime, kernel: int = 100_000) -> None:
        self._clock = clock
        self._capacity = kernel
        self._kernel = bytearray()
        self._buffer = bytearray()
        self._writing = False
        self._turn: IDelayedCall | None = None
        self._ending: IDelayedCall | None = None
        self._reset = False
        self._handle = _Handle(self)
        self.received = bytearray()
        self.producer: Any = None
        self.producerPaused = False
        self.streamingProducer = False
        self.connected = True
        self.disconnected = False
        self.aborted = False

    # the transport, as the code under test uses it

    def getHandle(self) -> _Handle:
        return self._handle

    def write(self, data: bytes) -> None:
        if not isinstance(data, bytes):
            raise TypeError("data must be bytes")
        if not self.connected or not data:
            return
        self._buffer += data
        if self.producer is not None and len(self._buffer) > self.LIMIT:
            self.producerPaused = True
            self.producer.pauseProducing()
        self.startWriting()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if self.producer is not None:
            raise RuntimeError("Cannot register producer, because another was never unregistered.")
        assert streaming, "push producers only"
        if self.disconnected:
            producer.stopProducing()
        else:
            self.producer, self.streamingProducer = producer, streaming

    def unregisterProducer(self) -> None:
        self.producer = None

    def startWriting(self) -> None:
        if self.disconnected:
            raise ValueError("the descriptor of a lost connection is not to be watched")
        self._writing = True
        self._schedule()

    def abortConnection(self) -> None:
        if self.disconnected or self.aborted:
            return
        self.aborted = True
        self._stop_writing()
        self._end()

    # the player, as a test uses it

    def read(self, size: int | None = None) -> bytes:
        """Let the player read up to ``size`` bytes from the queue of the kernel; None for all."""
        size = len(self._kernel) if size is None else min(size, len(self._kernel))
        taken = bytes(self._kernel[:size])
        del self._kernel[:size]
        self.received += taken
        self._schedule()
        return taken

    def leave(self) -> None:
        """Close the connection of the player. The transport is told in the next turn."""
        self._end()

    @property
    def in_kernel(self) -> int:
        """Bytes in the queue of the kernel, which the player has not read."""
        return len(self._kernel)

    @property
    def queued(self) -> int:
        """Bytes in the transport and in the kernel."""
        return len(self._kernel) + len(self._buffer)

    # the kernel and the reactor

    def kernel_send(self, data: bytes | memoryview) -> int:
        if self.disconnected:
            raise OSError(errno.EBADF, "Bad file descriptor")
        if self._reset:
            raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
        room = self._capacity - len(self._kernel)
        if room <= 0 and len(data):
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        self._kernel += data[:room]
        return min(room, len(data))

    def fail_sends(self) -> None:
        """Let each send fail, as after a reset that the transport does not know of yet."""
        self._reset = True

    def _writable(self) -> bool:
        return self._capacity - len(self._kernel) > self._capacity // 3

    def _schedule(self) -> None:
        if self._writing and self._turn is None and self._writable():
            self._turn = self._clock.callLater(0, self._do_write)

    def _stop_writing(self) -> None:
        self._writing = False
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None

    def _do_write(self) -> None:
        self._turn = None
        try:
            sent = self.kernel_send(bytes(self._buffer[: self.SEND_LIMIT]))
        except BlockingIOError:
            sent = 0
        except OSError:
            self._end()
            return
        del self._buffer[:sent]
        if self._buffer:
            self._schedule()
            return
        self._stop_writing()
        if self.producer is not None and self.producerPaused:
            self.producerPaused = False
            self.producer.resumeProducing()

    def _end(self) -> None:
        if self._ending is None and not self.disconnected:
            self._ending = self._clock.callLater(0, self._connection_lost)

    def _connection_lost(self) -> None:
        self._ending = None
        self._stop_writing()
        self.disconnected, self.connected = True, False
        producer, self.producer = self.producer, None
        if producer is not None:
            producer.stopProducing()


# a transport stream


class Programme:
    """A transport stream with one video track. No two packets are equal."""

    PMT_PID, VIDEO_PID = 0x100, 0x101

    def __init__(self, name: bytes = b"A") -> None:
        self._mux = Mux()
        self._name = name
        self._pictures = 0

    def tables(self) -> bytes:
        """Return PAT and PMT."""
        return self._mux.pat({1: self.PMT_PID}) + self._mux.pmt(self.PMT_PID, 1, [(H264, self.VIDEO_PID)])

    def picture(self, key: bool = False, size: int = 500) -> bytes:
        """Return an access unit of about ``size`` bytes. A key picture is a random access point."""
        self._pictures += 1
        mark = b"%s%08d." % (self._name, self._pictures)
        filler = mark * (size // len(mark) + 1)
        data = (IDR if key else SLICE) + filler[:size]
        return self._mux.unit(self.VIDEO_PID, pes(data, pts=self._pictures * 3600), key=key)

    def group(self, pictures: int = 5, size: int = 500) -> bytes:
        """Return tables and a group of pictures. The first one is a key picture."""
        return self.tables() + b"".join(self.picture(n == 0, size) for n in range(pictures))


def packets(data: bytes) -> list[bytes]:
    """Cut bytes into packets, and check that all are whole."""
    assert len(data) % SIZE == 0, f"{len(data)} bytes are no whole packets"
    cut = [data[at : at + SIZE] for at in range(0, len(data), SIZE)]
    assert all(packet[0] == 0x47 for packet in cut), "a torn packet"
    return cut


def check_segments(media: bytes, source: bytes) -> int:
    """
    Check that ``media`` is a series of segments: tables, then packets of ``source`` from an access point on, unbroken.

    :return: the number of segments.
    """
    got, sent = packets(media), packets(source)
    where = {packet: n for n, packet in enumerate(sent) if IDR in packet}
    segments, at, place = 0, 0, -1
    while at < len(got):
        if 0 <= place < len(sent) and got[at] == sent[place]:
            at, place = at + 1, place + 1
            continue
        segments += 1
        pids = [(packet[1] & 0x1F) << 8 | packet[2] for packet in got[at : at + 2]]
        assert pids == [0, Programme.PMT_PID][: len(pids)], f"segment {segments} starts with PIDs {pids}"
        at += 2
        if at < len(got):
            assert got[at] in where, f"segment {segments} does not go on at an access point"
            place = where[got[at]]
    return segments


class FakePlayer:
    """A player, its connection, and the response that a pump fills."""

    HEAD = b"HTTP/1.1 200 OK\r\n\r\n"

    def __init__(self, clock: IReactorTime, kernel: int = 100_000, speed: float | None = None) -> None:
        """Make a player that reads at ``speed`` bytes per second; None for no limit."""
        self.transport = SlowConsumer(clock, kernel)
        self.writer = DirectWriter(self.transport)
        self.speed = speed
        self.heads = 0
        self.refused: SourceError | None = None
        self.finished = False
        self.pump: Any = None
        self._credit = 0.0

    # LiveResponse

    def begin(self, pump: Any) -> None:
        self.pump = pump
        self.transport.registerProducer(pump, True)

    def head(self) -> bytes:
        self.heads += 1
        return self.HEAD

    def refuse(self, error: SourceError) -> None:
        assert self.heads == 0, "refused after the head"
        assert self.refused is None, "refused twice"
        self.refused = error

    def finish(self) -> None:
        assert not self.finished, "finished twice"
        self.finished = True
        self.transport.unregisterProducer()
        self.transport.leave()

    def abort(self) -> None:
        self.transport.abortConnection()

    # called by a test

    def join(self, stream: Any, start_timeout: float = 20.0, player: PlayerInfo | None = None) -> FakePlayer:
        """Attach to a stream, as the web resource does."""
        self.pump = stream.attach(player or PlayerInfo(), self, start_timeout)
        return self

    def read(self, seconds: float = 0.0) -> None:
        """Read as much as the player can in that time."""
        if self.speed is None:
            self.transport.read()
        else:
            self._credit += self.speed * seconds
            self._credit -= len(self.transport.read(int(self._credit)))
            self._credit = min(self._credit, 65_536.0)

    @property
    def media(self) -> bytes:
        """The bytes received after the head."""
        data = bytes(self.transport.received)
        assert data[: len(self.HEAD)] == self.HEAD[: len(data)]
        return data[len(self.HEAD) :]

    @property
    def taken(self) -> int:
        """Bytes after the head that have left the process."""
        return max(0, len(self.transport.received) + self.transport.in_kernel - len(self.HEAD))


class Relay:
    """A registry with a fake provider and fake players, all on one clock."""

    def __init__(self, **settings: Any) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.dialler = FakeDialler(self.clock)
        self.settings = Settings(**settings)
        self.resolver = FakeResolver()
        self.registry = Registry(self.clock, self.dialler, self.settings, b"key", resolver=self.resolver)
        self.programme = Programme()
        self.players: list[FakePlayer] = []
        self.source = b""
        #: All bytes but those of the last picture, whose end is known only when the next one begins.
        self.whole = b""

    def stream(self, url: str = "http://provider/live/1.ts", *failover: str, **more: Any) -> LiveStream:
        return self.registry.register(StreamSpec(url, "agent", failover_urls=failover, **more))

    def player(self, stream: LiveStream, kernel: int = 100_000, speed: float | None = None, **more: Any) -> FakePlayer:
        player = FakePlayer(self.clock, kernel, speed)
        self.players.append(player)
        return player.join(stream, self.settings.start_timeout, **more)

    def pass_time(self, seconds: float) -> None:
        """Advance the clock in steps of a twentieth of the tick (2 ms). Each player reads at its speed."""
        pace = self.settings.tick / 20
        for _ in range(max(1, round(seconds / pace))):
            self.clock.advance(pace)
            for player in self.players:
                player.read(pace)

    def play(self, body: FakeBody, seconds: float, size: int = 4000) -> None:
        """Let a group of pictures of ``5 * size`` bytes arrive each half second, one picture each 100 ms."""
        for picture in range(round(seconds * 10)):
            data = self.programme.tables() if picture % 5 == 0 else b""
            self.whole = self.source + data
            data += self.programme.picture(picture % 5 == 0, size)
            self.source += data
            body.bring(data)
            self.pass_time(0.1)

    def settle(self) -> None:
        """Let each player read all bytes sent to it."""
        for turn in range(5000):
            self.clock.advance(0)
            for player in self.players:
                player.transport.read()
            draining = [player for player in self.players if player.pump and player.pump.state is PumpState.DRAINING]
            if turn >= 60 and not draining:
                return

    def nothing_left(self) -> None:
        """Check that no dial and no timer is left."""
        for body in [dial for dial in self.dialler.dials if dial.pending]:
            assert body is None
        self.clock.advance(0)
        assert self.clock.getDelayedCalls() == []
