"""Response to a player of a file: a range, sent from the edge cache and over the client's session.

The headers are held back until the first bytes are there. Until then a failure becomes an HTTP status; afterwards it
aborts the connection. Bytes that the socket does not take are kept, and no more are requested until they are sent: a
paused player pauses its provider. The operator limits such a pause with ``VOD_PAUSE_LIMIT``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from zope.interface import implementer

from ..core.http.byte_ranges import WHOLE, ByteRange, Span, Unsatisfiable, resolve
from ..core.http.representation import PROOF_SIZE, Representation
from ..downstream.socket_writer import SocketWriter
from ..errors import Reason, SourceError
from ..log import make_logger
from .interfaces import KnownFile

log = make_logger()


class PlayerConnection(Protocol):
    """A player's connection, over which several requests may come."""

    def set_owner(self, released: Callable[[], None] | None) -> None:
        """Assign the connection to a client, or to none.

        :param released: called when the connection is assigned to another client, or has closed.
        """


class VodResponseWriter(Protocol):
    """The HTTP side of a response."""

    socket_writer: SocketWriter
    connection: PlayerConnection

    def register(self, response: VodResponse) -> None:
        """Register a response as the producer."""

    def write_head(self, representation: Representation, span: Span | None) -> None:
        """Write the headers of a range, or of the whole file (None). The body follows through the socket writer."""

    def refuse(self, error: SourceError) -> None:
        """Answer with the status that stands for an error."""

    def refuse_range(self, length: int | None) -> None:
        """Answer 416, with the file's length if it is known."""

    def finish(self) -> None:
        """End a complete body. The connection stays open for the next request."""

    def abort(self) -> None:
        """Abort the connection: the body is incomplete."""


class ResponseOwner(Protocol):
    """The client that a response belongs to."""

    @property
    def label(self) -> str:
        """Client and stream, for log lines."""

    @property
    def known_file(self) -> KnownFile | None:
        """The file, if a source has confirmed it recently."""

    @property
    def last_error(self) -> SourceError | None:
        """The failure of the source that failed last."""

    def cached(self, representation: Representation, offset: int) -> memoryview | None:
        """Return cached bytes of a file from an offset on, or None."""

    def serve(self, response: VodResponse) -> None:
        """Give the client's session to a response that can accept bytes."""

    def response_ended(self, response: VodResponse, complete: bool) -> None:
        """Release the client's session.

        :param complete: the whole range was sent, so that the player may request the next one.
        """


@implementer(IPushProducer)
class VodResponse:
    """A response: a :class:`.interfaces.RangeConsumer` to the session, a producer to the transport."""

    def __init__(
        self,
        clock: IReactorTime,
        writer: VodResponseWriter,
        client: ResponseOwner,
        ranges: tuple[ByteRange, ...],
        if_range: str | None,
    ) -> None:
        """
        Initialise a response that has not started.

        :param ranges: the ranges that the player requests; empty for the whole file.
        :param if_range: the player's ``If-Range``.
        """
        self._clock = clock
        self._writer = writer
        self._socket_writer = writer.socket_writer
        self._ranges = ranges
        self._if_range = if_range
        self._span: Span | None = None
        self._stop: int | None = None
        self._unsent: memoryview | bytes = b""
        self._paused = self._ended = self._sending = False
        self._start_timer: IDelayedCall | None = None
        self._bytes_sent = 0
        self.client = client
        self.connection = writer.connection
        self.paused_since: float | None = None
        self.position: int | None = None
        self.last_bytes = b""
        self.representation: Representation | None = None
        self.url = ""
        self.started = False

    @property
    def requested(self) -> ByteRange:
        """The range to request while the file is unknown. It is open-ended, because players read on after a range."""
        if len(self._ranges) != 1:
            return WHOLE
        first = self._ranges[0].first
        return self._ranges[0] if first is None else ByteRange(first)

    @property
    def can_accept(self) -> bool:
        """True while bytes are needed."""
        return not (self._ended or self._paused or self._complete)

    @property
    def bytes_sent(self) -> int:
        """Bytes of media that the kernel (or TLS) has taken."""
        return self._bytes_sent

    @property
    def _complete(self) -> bool:
        return self._stop is not None and self.position == self._stop

    def start(self, timeout: float) -> None:
        """
        Start the response.

        :param timeout: seconds after which the player is refused if no byte could be sent.
        """
        self._start_timer = self._clock.callLater(timeout, self._start_timed_out, timeout)
        self._writer.register(self)
        known = self.client.known_file
        # A file of which is not known whether it has ranges is asked for one.
        if known is not None and not (self._ranges and known.representation.accepts_ranges is None):
            self.file_known(known.representation, known.url)
        self._send_more()

    # RangeConsumer

    def file_known(self, representation: Representation, url: str) -> None:
        """Resolve the player's range against the file. If it cannot be satisfied, answer 416."""
        self.representation, self.url = representation, url
        ranges = self._ranges if representation.accepts_ranges and representation.range_applies(self._if_range) else ()
        self._span, self._stop = None, representation.length
        if representation.length is not None:
            try:
                self._span = resolve(ranges, representation.length)
            except Unsatisfiable:
                self._end()
                self._writer.refuse_range(representation.length)
                return
        if self._span is not None:
            self._stop = self._span.stop
        self.position = self._span.first if self._span is not None else 0

    def accept(self, data: memoryview) -> int:
        """Send bytes from ``position`` on; the headers go before the first ones."""
        assert self.position is not None
        if self._stop is not None:
            data = data[: self._stop - self.position]
        self.position += len(data)
        size = PROOF_SIZE
        self.last_bytes = bytes(data[-size:]) if len(data) >= size else (self.last_bytes + bytes(data))[-size:]
        if self.started:
            self._send(data)
        else:
            self._send_head(data)
        self._finish_if_complete()
        return len(data)

    def retry_differently(self, error: SourceError) -> bool:
        """Return False: a response requests its range in one way only."""
        return False

    def file_ended(self) -> None:
        """End a file of unknown length here."""
        self._stop = self.position
        self._finish_if_complete()

    def sources_failed(self, error: SourceError) -> None:
        """Refuse the player, or abort its connection."""
        self.abort(error)

    # for the client

    def abort(self, error: SourceError) -> None:
        """Refuse the player with a status. If the headers were sent, abort its connection."""
        if self._ended:
            return
        self._end()
        if self.started:
            log.info("{client}: response aborted: {error}", client=self.client.label, error=str(error))
            self._writer.abort()
        elif error.status == 416:
            self._writer.refuse_range(error.length)
        else:
            self._writer.refuse(error)

    # IPushProducer

    def pauseProducing(self) -> None:
        """Pause: the transport's buffer is full."""
        self._socket_writer.paused()
        self._pause()

    def resumeProducing(self) -> None:
        """Go on: the transport, or the socket, takes more."""
        self._socket_writer.resumed()
        self._paused = False
        self.paused_since = None
        self._send_more()

    def stopProducing(self) -> None:
        """End: the player has disconnected."""
        self._end()

    # inside

    def _start_timed_out(self, timeout: float) -> None:
        self._start_timer = None
        late = SourceError(Reason.FIRST_BYTE_TIMEOUT, f"no data within {timeout:g} s (START_TIMEOUT)")
        self.abort(self.client.last_error or late)

    def _send_head(self, data: memoryview) -> None:
        assert self.representation is not None
        self.started = True
        self._cancel_start_timer()
        self._writer.write_head(self.representation, self._span)
        self._bytes_sent += len(data)
        if self._socket_writer.start(bytes(data)):
            self._pause()

    def _send(self, data: memoryview | bytes) -> None:
        """Send as much as the socket takes, and keep the rest."""
        sent = 0
        try:
            if len(data) and not self._paused:
                sent = self._socket_writer.send(data)
        except BlockingIOError:
            pass
        except OSError as error:
            log.info("{client}: player has disconnected: {error}", client=self.client.label, error=str(error))
            self._end()
            self._writer.abort()
            return
        self._bytes_sent += sent
        self._unsent = data[sent:]
        if len(self._unsent):
            self._pause()
            self._socket_writer.wait()

    def _pause(self) -> None:
        self._paused = True
        if self.paused_since is None:
            self.paused_since = self._clock.seconds()

    def _send_more(self) -> None:
        """Send unsent and cached bytes, then ask for the session. Not reentrant: transports may call at any time."""
        if self._sending:
            return
        self._sending = True
        try:
            if len(self._unsent) and not self._ended:
                self._send(self._unsent)
            self._send_cached()
            self._finish_if_complete()
        finally:
            self._sending = False
        if self.can_accept:
            self.client.serve(self)

    def _send_cached(self) -> None:
        while self.can_accept and self.position is not None and self.representation is not None:
            data = self.client.cached(self.representation, self.position)
            if data is None:
                return
            self.accept(data)

    def _finish_if_complete(self) -> None:
        if self._complete and not self._ended and not self._paused and not len(self._unsent):
            self._end(complete=True)
            self._writer.finish()

    def _cancel_start_timer(self) -> None:
        if self._start_timer is not None and self._start_timer.active():
            self._start_timer.cancel()
        self._start_timer = None

    def _end(self, complete: bool = False) -> None:
        if self._ended:
            return
        self._ended = True
        self._unsent = b""
        self._cancel_start_timer()
        self.client.response_ended(self, complete)
