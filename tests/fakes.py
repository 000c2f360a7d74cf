"""Stand-ins for what lies on either side of the fan-out: a provider that is told what to do, and a slow player.

They refuse what the real things refuse. ``tests/fanout/test_outlet.py`` runs the same scenarios against
:class:`SlowConsumer` and against real transports, and both must agree.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from m3uproxy.errors import Reason, SourceError
from m3uproxy.interfaces import IBodyConsumer, IDialler, IOpenBody
from m3uproxy.upstream.dial import DialLimits, SourceRequest

# the provider's side


@implementer(IOpenBody)
class FakeBody:
    """A body that brings what a test tells it to."""

    def __init__(self, content_type: str = "video/mp2t", final_url: str = "http://provider.example/") -> None:
        self.content_type = content_type
        self.final_url = final_url
        self.consumer: IBodyConsumer | None = None
        self.paused = False
        self.closed = False
        self.gone = False
        self.ended = False
        self.pauses = 0
        self.resumes = 0
        self._waiting: list[Deferred[None]] = []

    # IOpenBody

    def deliver(self, consumer: IBodyConsumer) -> None:
        if self.consumer is not None:
            raise RuntimeError("delivered twice")
        if self.closed:
            raise RuntimeError("delivered after close()")
        self.consumer = consumer

    def pause(self) -> None:
        self.pauses += 1
        self.paused = True

    def resume(self) -> None:
        self.resumes += 1
        self.paused = False

    def close(self) -> Deferred[None]:
        self.closed = True
        done: Deferred[None] = Deferred()
        if self.gone:
            done.callback(None)
        else:
            self._waiting.append(done)
        return done

    # what a test tells it

    def bring(self, data: bytes) -> None:
        """Bytes arrive; like the real thing also while paused, and also between ``close()`` and the end."""
        assert self.consumer is not None, "nobody took the body"
        assert not self.ended
        self.consumer.body_received(data)

    def end(self, error: SourceError | None = None) -> None:
        """The provider ends the body; its socket is gone with it."""
        assert not self.ended
        self.ended = self.gone = True
        if self.consumer is not None:
            self.consumer.body_ended(error or SourceError(Reason.ENDED))
        waiting, self._waiting = self._waiting, []
        for done in waiting:
            done.callback(None)

    def vanish(self) -> None:
        """The socket that we closed is gone now."""
        assert self.closed
        if not self.ended:
            self.end(SourceError(Reason.ENDED, "closed by us"))


@attrs.define(eq=False)
class Dial:
    """One call of :meth:`FakeDialler.dial`."""

    request: SourceRequest
    limits: DialLimits
    at: float
    deferred: Deferred[IOpenBody] = attrs.field(factory=Deferred)
    cancelled: bool = False

    def answer(self, body: FakeBody | None = None) -> FakeBody:
        """The head came, with status 200."""
        body = body or FakeBody(final_url=self.request.url)
        self.deferred.callback(body)
        return body

    def fail(self, reason: Reason = Reason.REFUSED) -> None:
        """The dial fails."""
        self.deferred.errback(SourceError(reason))

    @property
    def pending(self) -> bool:
        return not self.deferred.called


@implementer(IDialler)
class FakeDialler:
    """Keeps every dial for the test to answer, or lets ``script`` answer at once."""

    def __init__(self, clock: IReactorTime, script: Callable[[Dial], None] | None = None) -> None:
        self._clock = clock
        self.script = script
        self.dials: list[Dial] = []

    def dial(self, request: SourceRequest, limits: DialLimits) -> Deferred[IOpenBody]:
        call = Dial(request, limits, self._clock.seconds())

        def cancel(_: Deferred[IOpenBody]) -> None:
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
    """The part of a non-blocking socket that the direct outlet uses."""

    def __init__(self, transport: SlowConsumer) -> None:
        self._transport = transport

    def send(self, data: bytes | memoryview) -> int:
        return self._transport.kernel_send(data)


class SlowConsumer:
    """A server-side TCP transport, the kernel's send queue behind it, and a player who reads when told.

    ``clock`` gives the reactor's turns: what the reactor would do in its next turn happens at
    ``clock.advance(0)``. Like Linux, a socket is writable when a third of its queue is free.
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

    # what the code under test sees: a transport

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

    # what a test tells the player

    def read(self, size: int | None = None) -> bytes:
        """The player takes up to that many bytes out of what the kernel holds."""
        size = len(self._kernel) if size is None else min(size, len(self._kernel))
        taken = bytes(self._kernel[:size])
        del self._kernel[:size]
        self.received += taken
        self._schedule()
        return taken

    def leave(self) -> None:
        """The player closes its connection; the transport hears of it in the next turn."""
        self._end()

    @property
    def queued(self) -> int:
        """Bytes that wait in the transport and in the kernel."""
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
        """A reset came that the transport does not know of yet: each send fails from now on."""
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
