"""The body of a response, written in large pieces directly to the socket.

See :mod:`m3uproxy.downstream.socket_writer` for the cost of writing through the transport. Only a body whose length the
head states is written directly. Any other body is sent with chunked coding, which Twisted does.

A writer stands between the response and the producer of the body. The response has the writer as its producer. The
producer of the body writes to the writer. If the socket does not take a whole piece, the producer is paused until the
rest of the piece is sent.
"""

# mypy: allow-untyped-calls

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.web.server import Request
from zope.interface import implementer

from ..log import make_logger
from .socket_writer import BufferedWriter, writer_for

log = make_logger()


@implementer(IPushProducer)
class ResponseWriter:
    """The writer of one response body. See the docstring of the module."""

    def __init__(self, request: Request, producer: Any, direct: bool, send_buffer: int) -> None:
        """
        Register as the producer of a response, for ``producer``, which must not write before this returns.

        :param request: the request. The headers of its response are complete and not sent yet.
        :param producer: an ``IPushProducer``.
        :param direct: ``Settings.direct_write``.
        :param send_buffer: ``Settings.send_buffer``.
        """
        self._request = request
        self._producer = producer
        self._transport: Any = request.transport
        self._writer = writer_for(self._transport, direct, send_buffer)
        if not request.responseHeaders.hasHeader(b"Content-Length"):
            chunks: Any = request
            self._writer = BufferedWriter(chunks)
        self._rest: bytes | memoryview = b""
        self._started = False
        request.registerProducer(self, True)

    def write(self, data: bytes) -> None:
        """
        Write a piece of the body.

        The call may pause or stop the producer.

        :param data: at least one byte.
        """
        if self._started:
            self._send(data)
            return
        self._started = True
        self._request.write(b"")
        if self._writer.start(b""):  # sends the head first
            self._rest = data
            self._producer.pauseProducing()
        else:
            self._send(data)

    def finish(self) -> None:
        """Finish the response. The transport sends the bytes that the socket has not taken yet."""
        rest, self._rest = self._rest, b""
        if rest:
            self._request.write(bytes(rest))
        self._request.unregisterProducer()
        self._request.finish()

    def abort(self) -> None:
        """Abort the connection. If it was closed, players would take that for the end of the body."""
        self._rest = b""
        self._transport.abortConnection()

    # IPushProducer, called by the transport

    def pauseProducing(self) -> None:
        """Pause the producer: the buffer of the transport is full."""
        self._writer.paused()
        self._producer.pauseProducing()

    def resumeProducing(self) -> None:
        """Send the rest of the last piece, and then resume the producer: the transport or the socket takes more."""
        self._writer.resumed()
        if self._rest:
            rest, self._rest = self._rest, b""
            self._send(rest)
        if not self._rest:
            self._producer.resumeProducing()

    def stopProducing(self) -> None:
        """Stop the producer: the player has disconnected."""
        self._rest = b""
        self._producer.stopProducing()

    def _send(self, data: bytes | memoryview) -> None:
        try:
            taken = self._writer.send(data)
        except BlockingIOError:
            taken = 0
        except OSError as error:
            log.info("player disconnected, {path}: {error}", path=self._request.path, error=str(error))
            self._producer.stopProducing()
            self.abort()
            return
        if taken < len(data):
            self._rest = memoryview(data)[taken:]
            self._producer.pauseProducing()
            self._writer.wait()
