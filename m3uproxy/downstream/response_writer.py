"""The body of a response, written in large pieces and straight to the socket.

See :mod:`m3uproxy.downstream.socket_writer` for what the way through the transport costs. It takes only a body whose
length the head states: any other one is sent in chunks, which are Twisted's to make.

A spout stands between the response and who produces the body. To the response it is the producer. The real one writes
to it; it is paused when the socket did not take all of a piece, and resumed when what was left of that has gone.
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
    """See the module's text."""

    def __init__(self, request: Request, producer: Any, direct: bool, send_buffer: int) -> None:
        """
        Stand in for ``producer``, which must not write before it is started.

        :param request: whose headers are complete, and not sent.
        :param producer: an ``IPushProducer``.
        :param direct: ``Settings.direct_write``.
        :param send_buffer: ``Settings.send_buffer``.
        """
        self._request = request
        self._producer = producer
        self._transport: Any = request.transport
        self._outlet = writer_for(self._transport, direct, send_buffer)
        if not request.responseHeaders.hasHeader(b"Content-Length"):
            chunks: Any = request
            self._outlet = BufferedWriter(chunks)
        self._rest: bytes | memoryview = b""
        self._begun = False
        request.registerProducer(self, True)

    def write(self, data: bytes) -> None:
        """A piece of the body, never nothing. It may pause or stop the producer from within."""
        if self._begun:
            self._send(data)
            return
        self._begun = True
        self._request.write(b"")
        if self._outlet.start(b""):  # the head goes first
            self._rest = data
            self._producer.pauseProducing()
        else:
            self._send(data)

    def finish(self) -> None:
        """All is written. What the socket has not taken yet is the transport's from now on."""
        rest, self._rest = self._rest, b""
        if rest:
            self._request.write(bytes(rest))
        self._request.unregisterProducer()
        self._request.finish()

    def abort(self) -> None:
        """A connection that just ended would look like the end of the body."""
        self._rest = b""
        self._transport.abortConnection()

    # IPushProducer

    def pauseProducing(self) -> None:
        """The transport has enough."""
        self._outlet.paused()
        self._producer.pauseProducing()

    def resumeProducing(self) -> None:
        """The transport, or the socket, takes more."""
        self._outlet.resumed()
        if self._rest:
            rest, self._rest = self._rest, b""
            self._send(rest)
        if not self._rest:
            self._producer.resumeProducing()

    def stopProducing(self) -> None:
        """The player is gone."""
        self._rest = b""
        self._producer.stopProducing()

    def _send(self, data: bytes | memoryview) -> None:
        try:
            taken = self._outlet.send(data)
        except BlockingIOError:
            taken = 0
        except OSError as error:
            log.info("a player is gone: {error}", error=str(error))
            self._producer.stopProducing()
            self.abort()
            return
        if taken < len(data):
            self._rest = memoryview(data)[taken:]
            self._producer.pauseProducing()
            self._outlet.wait()
