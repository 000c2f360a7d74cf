"""Server side of an HTTP/1 connection, with limits on the size and the duration of a request.

Twisted's channel restarts its timer at every line, so that a client may send single bytes without end. It closes the
connection without a response if a line is too long, and it accepts bodies of any size. This channel requires that head
and body of a request are complete within the site's timeout from the first byte. Requests that are too large get an
error response.

A response followed by a reset is lost, and closing a socket with unread input resets the connection. So a refused
connection first stops sending, then reads and discards input for a short time (RFC 9112 section 9.6).
"""

# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall, IHalfCloseableDescriptor
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from zope.interface import implementer

from ..downstream.tls_transport import ITlsEndListener
from .responses import raw_error

#: Maximum bytes of a request line, of a header line, and of the whole head.
MAX_HEAD = 16_384
#: Maximum bytes of a request body. The largest body is a list of URLs.
MAX_BODY = 1_048_576

#: Seconds for which input is read after a refusal. Also the time for a client to read the rest of a response when the
#: daemon stops, or after the client has ended TLS.
_LINGER = 2.0
#: Maximum bytes read after a refusal.
_LINGER_BYTES = 8_388_608


class ConnectionRegistry(Protocol):
    """The site, which closes its connections when it stops."""

    def connection_opened(self, connection: HttpChannel) -> None:
        """Add a connection."""

    def connection_closed(self, connection: HttpChannel) -> None:
        """Remove a connection."""


@implementer(ITlsEndListener)
class HttpChannel(HTTPChannel):
    """The server side of one HTTP/1 connection."""

    # The limits of this class apply first: those of Twisted close the connection without a cause.
    MAX_LENGTH = MAX_HEAD
    totalHeadersSize = 2 * MAX_HEAD
    maxHeaders = MAX_HEAD

    #: Set by the site before the connection is made.
    site: ConnectionRegistry
    transport: Any

    _receiving = False
    _refused = False
    _ignores_input = False
    _head_bytes = 0
    _body_bytes = 0
    _discarded_bytes = 0
    _answered: Any = None
    _next_request: IDelayedCall | None = None
    _released: Callable[[], None] | None = None

    def connectionMade(self) -> None:
        """Add the connection to those of the site, which closes them when it stops."""
        super().connectionMade()
        self.site.connection_opened(self)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """Remove the connection from those of the site."""
        next_request, self._next_request, self._answered = self._next_request, None, None
        if next_request is not None:
            next_request.cancel()
        super().connectionLost(reason)
        self.set_owner(None)
        self.site.connection_closed(self)

    def set_owner(self, released: Callable[[], None] | None) -> None:
        """Assign the connection to a client, or to none (None).

        :param released: called when the connection is assigned to another client, or has closed.
        """
        before, self._released = self._released, released
        if before is not None:
            before()

    def resetTimeout(self) -> None:
        """Set the deadline of a request. Called for every piece of input; only the first one counts."""
        if not self._receiving:
            self._receiving = True
            super().resetTimeout()

    def timeoutConnection(self) -> None:
        """Abort without a response or log line: the client is idle, or its request is incomplete."""
        self.abort()

    def abort(self) -> None:
        """Abort the connection at once."""
        self.transport.abortConnection()

    def tls_ended(self) -> None:
        """Abort the response under way: the client has ended TLS. A complete response may drain for a short time."""
        if self.requests:
            self.abort()
        else:
            self.setTimeout(_LINGER)
            # A paused producer would keep the transport from closing.
            self.transport.unregisterProducer()

    def close(self) -> None:
        """Close the connection when the client has read all that was written, or after a short timeout."""
        self.setTimeout(_LINGER)
        self.loseConnection()

    def ignore_further_requests(self) -> None:
        """Discard all further input, because the response under way ends with the connection.

        Otherwise Twisted would buffer the input, and stop reading at some size. A disconnection would then go
        unnoticed.
        """
        self._ignores_input = True
        self._dataBuffer.clear()
        self.transport.resumeProducing()

    def close_behind(self, request: Any) -> None:
        """Close the connection behind the response to this request, which must not have started."""
        self.persistent = False
        request.setHeader(b"Connection", b"close")

    def requestDone(self, request: Any) -> None:
        """Start the next pipelined request in a later turn, and not before the client reads its responses.

        Twisted would answer all requests that it has read, possibly thousands, in one turn and into memory.

        The last response has as much time to drain as the others. Without a limit, a TLS client that does not answer
        our close_notify would stay connected for ever.
        """
        if not self.persistent:
            self.setTimeout(self._savedTimeOut)
        if not self.persistent or not (self._buffer or any(self._dataBuffer)):
            super().requestDone(request)
            return
        self._answered = request
        self.setTimeout(self._savedTimeOut)
        self._next_request = self.callLater(0, self._start_next_request)

    def resumeProducing(self) -> None:
        """Resume: the client has read the responses written so far."""
        super().resumeProducing()
        if self._answered is not None and self._next_request is None:
            self._next_request = self.callLater(0, self._start_next_request)

    def _start_next_request(self) -> None:
        self._next_request = None
        if not self._waitingForTransport:
            request, self._answered = self._answered, None
            self.setTimeout(None)
            super().requestDone(request)

    def lineReceived(self, line: bytes) -> None:
        """Count a line of the head and parse it."""
        self._head_bytes += len(line)
        if self._head_bytes > MAX_HEAD:
            self._refuse(431, f"The request's head is longer than {MAX_HEAD} bytes.")
        else:
            super().lineReceived(line)

    def lineLengthExceeded(self, line: bytes) -> None:
        """Refuse the request: a line of the head is too long."""
        self._refuse(431, f"The request's head has a line longer than {MAX_HEAD} bytes.")

    def allHeadersReceived(self) -> None:
        """Check Content-Length before the body is requested with ``100 Continue``."""
        self._body_bytes = 0
        if self.length is not None and self.length > MAX_BODY:
            self._refuse_body()
        else:
            super().allHeadersReceived()

    def rawDataReceived(self, data: bytes) -> None:
        """Count a piece of the body and collect it. Input after a refusal is discarded."""
        if self._refused:
            self._discard(data)
            return
        if self._ignores_input:
            return
        self._body_bytes += len(data)
        # While a response is under way, this is the next request. Twisted limits its size by pausing the transport.
        if self._body_bytes > MAX_BODY and self.length is None:
            self._refuse_body()
        else:
            super().rawDataReceived(data)

    def allContentReceived(self) -> None:
        """Start the response. There is no deadline until the next request."""
        self._receiving = False
        self._head_bytes = 0
        self._body_bytes = 0
        super().allContentReceived()

    def _respondToBadRequestAndDisconnect(self) -> None:
        """Refuse input that Twisted cannot parse."""
        self._refuse(400, "This is not a valid HTTP request.")

    def _refuse_body(self) -> None:
        self._refuse(413, f"The request's body is larger than {MAX_BODY} bytes.")

    def _refuse(self, status: int, detail: str) -> None:
        """Answer with an error, stop sending, and discard further input."""
        if self._refused:
            return
        self._refused = True
        self.transport.unregisterProducer()
        self.transport.write(raw_error(status, detail))
        self.setTimeout(_LINGER)
        self.setRawMode()
        half_closeable: bool = IHalfCloseableDescriptor.providedBy(self.transport)
        if half_closeable:
            self.transport.loseWriteConnection()
        else:
            self.transport.loseConnection()

    def _discard(self, data: bytes) -> None:
        self._discarded_bytes += len(data)
        if self._discarded_bytes > _LINGER_BYTES:
            self.abort()
