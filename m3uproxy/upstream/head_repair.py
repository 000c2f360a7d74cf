"""HTTP/1.1 as sent to a provider: the exact request line out, a repaired response head and chunk framing in.

See :mod:`m3uproxy.upstream.connection` for the protocols above and below.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from twisted.internet.interfaces import IHandshakeListener, IProtocol, ITransport
from twisted.protocols.policies import ProtocolWrapper
from twisted.python.failure import Failure
from zope.interface import implementer

from ..core.http.chunked_coding import ChunkedBody
from ..core.http.redirects import Location
from ..core.http.response_head import MAX_HEAD_BYTES, end_of_head, is_chunked, is_interim, repair_head
from ..errors import Reason, SourceError
from .tcp_socket import connect_through


class HeadRepairOwner(Protocol):
    """
    The connection whose requests and responses pass.

    :ivar location: its target goes into the request line.
    :ivar is_single: whether the connection carries one response, so that its end is the end of the body.
    :ivar handshaken: set when the TLS handshake is complete.
    :ivar problem: set if the response head cannot be repaired.
    """

    location: Location
    is_single: bool
    handshaken: bool
    problem: SourceError | None

    def abort(self) -> None:
        """Close the socket."""


@implementer(IHandshakeListener, ITransport)
class HeadRepairProtocol(ProtocolWrapper):
    """The protocol that writes the exact request line and repairs the response head and the framing of chunks."""

    def __init__(self, factory: Any, wrapped: IProtocol) -> None:
        super().__init__(factory, wrapped)
        self._connection: HeadRepairOwner = factory.connection
        self._head: bytearray | None = bytearray()
        self._read = 0
        self._chunked: ChunkedBody | None = None

    def makeConnection(self, transport: Any) -> None:
        """See :func:`m3uproxy.upstream.tcp_socket.connect_through`."""
        connect_through(self, transport)

    def handshakeCompleted(self) -> None:
        """Note that the handshake is complete: a later failure has another cause."""
        self._connection.handshaken = True

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Write the head of a request, with the target of the connection's location."""
        self._head, self._read, self._chunked = bytearray(), 0, None
        method, _, rest = b"".join(data).partition(b" ")
        _, _, rest = rest.partition(b" ")
        target = self._connection.location.target.encode("ascii")
        self.write(b" ".join([method, target, rest]))  # type: ignore[no-untyped-call]

    def dataReceived(self, data: bytes) -> None:
        """Collect and repair the head. Pass body data on; unrequested data after a response closes the connection."""
        if self._head is None:
            data = self._strict(data)
            if data:
                self.wrappedProtocol.dataReceived(data)
            return
        searched = max(0, len(self._head) - 3)
        self._head += data
        try:
            self._pass_heads(searched)
        except SourceError as problem:
            self._reject(problem)

    def _pass_heads(self, searched: int) -> None:
        """Pass on each complete head: interim ones (1xx), and the final one with the first bytes of the body."""
        while self._head is not None:
            buffer = bytes(self._head)
            end = end_of_head(buffer, searched)
            if self._read + (end if end >= 0 else len(buffer)) > MAX_HEAD_BYTES:
                raise SourceError(Reason.BAD_HEAD, f"response head over {MAX_HEAD_BYTES} bytes")
            if end < 0:
                return
            rest = buffer[end:]
            head = repair_head(buffer[:end], bool(rest) or self._connection.is_single)
            self._read, searched = self._read + end, 0
            if is_interim(head):
                self._head = bytearray(rest)
                self.wrappedProtocol.dataReceived(head)
            else:
                self._head = None
                self._chunked = ChunkedBody() if is_chunked(head) else None
                self.wrappedProtocol.dataReceived(head + self._strict(rest))

    def _strict(self, body: bytes) -> bytes:
        """Return a piece of a body with strict framing."""
        return body if self._chunked is None else self._chunked.rewrite(body)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """Complete a body that ended within its trailers, then pass on the end of the connection."""
        ending = self._chunked.close() if self._chunked is not None else b""
        if ending:
            self.wrappedProtocol.dataReceived(ending)
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    def _reject(self, problem: SourceError) -> None:
        self._head = bytearray()
        self._connection.problem = problem
        self._connection.abort()

    def loseConnection(self) -> None:
        """Close the connection. Twisted has read the response, or cannot."""
        self._connection.abort()

    def abortConnection(self) -> None:
        """Close the connection. Twisted cancels a request this way."""
        self._connection.abort()
