"""Sockets to providers: they are counted, read in large pieces and aborted, and they keep the cause of their end.

See :mod:`m3uproxy.upstream.connection` for the protocols above and below.
"""

from __future__ import annotations

from typing import Any
from typing import Protocol as TypingProtocol

from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IProtocol, ITCPTransport, ITransport
from twisted.internet.protocol import Protocol
from twisted.protocols.policies import ProtocolWrapper
from twisted.python.failure import Failure
from zope.interface import implementer

from ..core.slots.accounts import ProviderSlot
from .receive_window import DEFAULT_WINDOW, widen_window, window_size

#: Shared receive buffer. One large buffer per read, cut to the bytes received, would fragment the heap between the
#: blocks of a ring, which are kept for seconds.
_BUFFER = bytearray(262_144)
_VIEW = memoryview(_BUFFER)
#: The part of the buffer for bodies that are read as fast as possible. The C library has the kernel map memory of
#: 128 KiB and more, and page faults for each read would cost half as much as the read. A copy of this part is smaller.
_SMALL_VIEW = _VIEW[:122_880]


class SocketCounter:
    """
    The count of sockets to providers, from TCP connected to closed.

    :ivar open: sockets that are open now.
    """

    def __init__(self) -> None:
        self.open = 0
        self._closing: set[ProviderSocket] = set()

    def closed(self) -> Deferred[None]:
        """Return a Deferred that fires when the sockets that are closing now have closed, within one reactor turn."""
        if not self._closing:
            return succeed(None)
        waiting: Deferred[Any] = gatherResults([socket.closed() for socket in self._closing], consumeErrors=True)
        return waiting.addCallback(lambda _: None)

    def _opened(self) -> None:
        self.open += 1

    def _is_closing(self, socket: ProviderSocket) -> None:
        self._closing.add(socket)

    def _gone(self, socket: ProviderSocket) -> None:
        self.open -= 1
        self._closing.discard(socket)


class SocketOwner(TypingProtocol):
    """
    The connection that a socket belongs to.

    :ivar sockets: counts the socket.
    :ivar slot: the slot that the socket counts for; None if connections are not counted.
    :ivar reads: counts the reads from the socket whose bytes were handed on.
    """

    sockets: SocketCounter
    slot: ProviderSlot | None
    reads: int

    def socket_connected(self, socket: ProviderSocket) -> None:
        """TCP is connected, and nothing was sent yet."""


def connect_through(wrapper: ProtocolWrapper, transport: Any) -> None:
    """
    Connect a wrapper as ``ProtocolWrapper.makeConnection`` does, but do not declare the interfaces of ``transport``.

    No protocol above uses the declaration, and computing it for each connection takes a tenth of a dial.
    """
    Protocol.makeConnection(wrapper, transport)
    wrapper.factory.registerProtocol(wrapper)
    wrapped: Any = wrapper.wrappedProtocol
    wrapped.makeConnection(wrapper)


@implementer(ITransport)
class ProviderSocket(ProtocolWrapper):
    """
    The TCP connection to a provider.

    :ivar lost: the cause of the end: ``ConnectionDone`` for FIN, ``ConnectionLost`` for RST. None while it is open.
    """

    transport: Any

    def __init__(self, factory: Any, wrapped: IProtocol) -> None:
        super().__init__(factory, wrapped)
        self._connection: SocketOwner = factory.connection
        self._waiting: list[Deferred[None]] = []
        self._closing = False
        self._read_error: BaseException | None = None
        self._is_wide = False
        self._kept: list[bytes] = []
        self.lost: BaseException | None = None

    def makeConnection(self, transport: Any) -> None:
        """Count the socket and tell its owner, before anything is sent."""
        if ITCPTransport.providedBy(transport):
            transport.setTcpKeepAlive(True)
        self._connection.sockets._opened()
        self._connection.socket_connected(self)
        connect_through(self, transport)
        slot = self._connection.slot
        if slot is not None and not slot.socket_opened():
            self.abort()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """Keep the cause, which the protocols above lose, and tell them."""
        self._deliver()
        self.lost = self._read_error or reason.value
        self._connection.sockets._gone(self)
        try:
            super().connectionLost(reason)  # type: ignore[no-untyped-call]
        finally:
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                each.callback(None)
            if self._connection.slot is not None:
                self._connection.slot.socket_closed()

    @property
    def usable(self) -> bool:
        """True if the socket is neither closed nor closing."""
        return self.lost is None and not self._closing

    @property
    def peer(self) -> str:
        """The IP address of the provider, also after the socket has closed."""
        address: str = self.transport.getPeer().host
        return address

    def abort(self) -> None:
        """Close the socket now. Safe at any time."""
        if self.lost is None and not self._closing:
            self._closing = True
            self._connection.sockets._is_closing(self)
            self.transport.abortConnection()

    def closed(self) -> Deferred[None]:
        """Return a Deferred that fires when the socket has closed. Cancelling it affects no other wait."""
        if self.lost is not None:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def set_reading(self, on: bool) -> None:
        """Have the reactor read, or stop reading. Safe on a socket that is closed or closing."""
        if self.lost is None and not self._closing:
            (self.transport.resumeProducing if on else self.transport.pauseProducing)()

    def read_now(self, deliver: bool) -> int:
        """Read once from the socket, which need not be readable. See :meth:`m3uproxy.interfaces.IResponseBody.read`."""
        if self.lost is not None or self._closing:
            return 0
        size = self._receive()
        if deliver:
            self._deliver()
        return size

    def receive_window(self) -> int:
        """
        Return the bytes that the kernel buffers while the socket is not read.

        The first call has the kernel buffer more, and each read read more.
        """
        if self.lost is not None or self._closing:
            return DEFAULT_WINDOW
        connection = self.transport.getHandle()
        if not self._is_wide:
            self._is_wide = True
            widen_window(connection)
        return window_size(connection)

    def _receive(self) -> int:
        try:
            size: int = self.transport.getHandle().recv_into(_VIEW if self._is_wide else _SMALL_VIEW)
        except BlockingIOError:
            return 0
        except OSError as error:
            # The kernel reports an error only once: the reactor would find an end without a cause.
            self._read_error = ConnectionLost(str(error))
            size = 0
        if size:
            self._kept.append(bytes(_VIEW[:size]))
        else:
            self.transport.resumeProducing()
        return size

    def _deliver(self) -> None:
        kept, self._kept = self._kept, []
        if kept:
            self._connection.reads += 1
            self.wrappedProtocol.dataReceived(kept[0] if len(kept) == 1 else b"".join(kept))

    def dataReceived(self, data: bytes) -> None:
        """Deliver data that the reactor has read, after the data that was kept."""
        if self._kept:
            self._deliver()
        self._connection.reads += 1
        self.wrappedProtocol.dataReceived(data)
