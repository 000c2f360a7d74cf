"""One connection of a client, with limits on what a request may cost us.

Twisted's own channel restarts its timer at every line, so that a client that sends a byte now and then is waited
for without end; it closes without an answer on a line that is too long; and it takes bodies of any size. Here a
request, head and body, must be complete within the site's timeout of its first byte, and one that is too large is
answered.

An answer that is followed by a reset is lost, and a close with unread input resets. So a refused connection first
stops sending, then reads what still comes, for a short while and into nothing (RFC 9112 section 9.6).
"""

# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall, IHalfCloseableDescriptor
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel

from .responses import raw_error

#: Bytes of a request line, of a header line, and of all of them together.
MAX_HEAD = 16_384
#: Bytes of a request body. The largest thing a client sends is a list of URLs.
MAX_BODY = 1_048_576

#: How long (seconds), and how much (bytes), we listen to a client after we refused it. Also how long a client has
#: to take the rest of an answer when the daemon stops.
_LINGER = 2.0
_LINGER_BYTES = 8_388_608


class ConnectionRegistry(Protocol):
    """The site, which closes its connections when it stops."""

    def connection_opened(self, connection: HttpChannel) -> None:
        """Add a connection."""

    def connection_closed(self, connection: HttpChannel) -> None:
        """Remove a connection."""


class HttpChannel(HTTPChannel):
    """Speaks HTTP/1 with one client."""

    # Ours come first; these would answer without saying why.
    MAX_LENGTH = MAX_HEAD
    totalHeadersSize = 2 * MAX_HEAD
    maxHeaders = MAX_HEAD

    #: Set by the site before the connection is made.
    site: ConnectionRegistry
    transport: Any

    _receiving = False
    _refused = False
    _deaf = False
    _head_bytes = 0
    _body_bytes = 0
    _ignored_bytes = 0
    _answered: Any = None
    _going_on: IDelayedCall | None = None
    _release: Callable[[], None] | None = None

    def connectionMade(self) -> None:
        """Count among the site's connections, so that stopping finds it."""
        super().connectionMade()
        self.site.connection_opened(self)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """And no more."""
        going_on, self._going_on, self._answered = self._going_on, None, None
        if going_on is not None:
            going_on.cancel()
        super().connectionLost(reason)
        self.set_owner(None)
        self.site.connection_closed(self)

    def set_owner(self, release: Callable[[], None] | None) -> None:
        """From now on this connection is somebody's, or nobody's.

        :param release: called when that is over: somebody else asks for something, or the connection is gone.
        """
        before, self._release = self._release, release
        if before is not None:
            before()

    def resetTimeout(self) -> None:
        """Called for every piece of input: only the first of a request moves the deadline."""
        if not self._receiving:
            self._receiving = True
            super().resetTimeout()

    def timeoutConnection(self) -> None:
        """The client is idle, or its request never ends: nothing is owed to it, nothing worth a log line."""
        self.abort()

    def abort(self) -> None:
        """Drop the connection at once."""
        self.transport.abortConnection()

    def close(self) -> None:
        """Let the client have what was written, if it takes it in time, and then close."""
        self.setTimeout(_LINGER)
        self.loseConnection()

    def answer_to_the_end(self) -> None:
        """The answer under way ends with the connection: no request that follows it will be read.

        Otherwise Twisted keeps what comes for later, and stops reading when that is much. Then we would not see the
        client leave.
        """
        self._deaf = True
        self._dataBuffer.clear()
        self.transport.resumeProducing()

    def close_behind(self, request: Any) -> None:
        """The answer to this request, which has not begun, is the last one."""
        self.persistent = False
        request.setHeader(b"Connection", b"close")

    def requestDone(self, request: Any) -> None:
        """Go on with a request that is waiting already: in a later turn, and when the client takes its answers.

        Twisted would answer all that it has read, thousands of them, in this turn and into memory.
        """
        if not self.persistent or not (self._buffer or any(self._dataBuffer)):
            super().requestDone(request)
            return
        self._answered = request
        self.setTimeout(self._savedTimeOut)
        self._going_on = self.callLater(0, self._go_on)

    def resumeProducing(self) -> None:
        """The client has taken what was written."""
        super().resumeProducing()
        if self._answered is not None and self._going_on is None:
            self._going_on = self.callLater(0, self._go_on)

    def _go_on(self) -> None:
        self._going_on = None
        if not self._waitingForTransport:
            request, self._answered = self._answered, None
            self.setTimeout(None)
            super().requestDone(request)

    def lineReceived(self, line: bytes) -> None:
        """Take a line of a head."""
        self._head_bytes += len(line)
        if self._head_bytes > MAX_HEAD:
            self._refuse(431, f"The request's head is longer than {MAX_HEAD} bytes.")
        else:
            super().lineReceived(line)

    def lineLengthExceeded(self, line: bytes) -> None:
        """Take no line that long."""
        self._refuse(431, f"The request's head has a line longer than {MAX_HEAD} bytes.")

    def allHeadersReceived(self) -> None:
        """Judge the length that a head announces, before ``100 Continue`` invites the body."""
        self._body_bytes = 0
        if self.length is not None and self.length > MAX_BODY:
            self._refuse_body()
        else:
            super().allHeadersReceived()

    def rawDataReceived(self, data: bytes) -> None:
        """Take a piece of a body, or what a refused client still sends."""
        if self._refused:
            self._ignore(data)
            return
        if self._deaf:
            return
        self._body_bytes += len(data)
        # While a response is under way this is the next request, whose size Twisted bounds by not reading on.
        if self._body_bytes > MAX_BODY and self.length is None:
            self._refuse_body()
        else:
            super().rawDataReceived(data)

    def allContentReceived(self) -> None:
        """Begin to answer: no deadline until the next request."""
        self._receiving = False
        self._head_bytes = 0
        self._body_bytes = 0
        super().allContentReceived()

    def _respondToBadRequestAndDisconnect(self) -> None:
        """Twisted's word for all that it cannot parse."""
        self._refuse(400, "This is not a valid HTTP request.")

    def _refuse_body(self) -> None:
        self._refuse(413, f"The request's body is larger than {MAX_BODY} bytes.")

    def _refuse(self, status: int, detail: str) -> None:
        """Answer, and be done with this connection."""
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

    def _ignore(self, data: bytes) -> None:
        self._ignored_bytes += len(data)
        if self._ignored_bytes > _LINGER_BYTES:
            self.abort()
