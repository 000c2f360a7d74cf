"""Sockets to providers: counted, read in large pieces, closed at once, and asked how they ended.

See :mod:`m3uproxy.upstream.connection` for where these stand.
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
from .receive_window import NARROW, room, widen

#: What all sockets are read into: blocks of a ring are kept for seconds, and between them large buffers that are
#: allocated for each read, and cut to what came, would leave holes in the heap.
_BUFFER = bytearray(262_144)
_VIEW = memoryview(_BUFFER)
#: The part of it that is used for who reads as fast as it can. A copy of that is smaller than what the C library has
#: the kernel map, from 128 KiB on: pages that come and go with each read cost as much as half of it.
_PIECE = _VIEW[:122_880]


class SocketCounter:
    """How many sockets to providers are open: real ones, from connected to closed."""

    def __init__(self) -> None:
        self.open = 0
        self._closing: set[ProviderSocket] = set()

    def closed(self) -> Deferred[None]:
        """Fires when every socket that is being closed now is gone (a reactor turn from now at most)."""
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
    """What ``ProtocolWrapper.makeConnection`` does, but for declaring what ``transport`` provides.

    Nobody above asks for that, and to compute it anew for each connection is a tenth of a dial.
    """
    Protocol.makeConnection(wrapper, transport)
    wrapper.factory.registerProtocol(wrapper)
    wrapped: Any = wrapper.wrappedProtocol
    wrapped.makeConnection(wrapper)


@implementer(ITransport)
class ProviderSocket(ProtocolWrapper):
    """The TCP connection. ``closed`` says why it was lost, once it is."""

    transport: Any

    def __init__(self, factory: Any, wrapped: IProtocol) -> None:
        super().__init__(factory, wrapped)
        self._connection: SocketOwner = factory.connection
        self._waiting: list[Deferred[None]] = []
        self._closing = False
        self._read_error: BaseException | None = None
        self._is_wide = False
        self._gathered: list[bytes] = []
        self.lost: BaseException | None = None

    def makeConnection(self, transport: Any) -> None:
        """Count and tell before anything is sent."""
        if ITCPTransport.providedBy(transport):
            transport.setTcpKeepAlive(True)
        self._connection.sockets._opened()
        self._connection.socket_connected(self)
        connect_through(self, transport)
        slot = self._connection.slot
        if slot is not None and not slot.socket_opened():
            self.abort()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """Keep the reason before those above hear of it: they lose it."""
        self._hand_on()
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
        """Whether it is neither closed nor closing."""
        return self.lost is None and not self._closing

    @property
    def peer(self) -> str:
        """The address that we are connected to, or were."""
        address: str = self.transport.getPeer().host
        return address

    def abort(self) -> None:
        """Close now. Safe at any time."""
        if self.lost is None and not self._closing:
            self._closing = True
            self._connection.sockets._is_closing(self)
            self.transport.abortConnection()

    def closed(self) -> Deferred[None]:
        """Fires when the socket is closed. Cancelling it cancels nobody else's wait."""
        if self.lost is not None:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def read(self, on: bool) -> None:
        """Read, or stop reading; harmless on a socket that is closed or closing."""
        if self.lost is None and not self._closing:
            (self.transport.resumeProducing if on else self.transport.pauseProducing)()

    def read_now(self, deliver: bool) -> int:
        """Read once from the socket, which need not be readable; see :meth:`m3uproxy.interfaces.IResponseBody.read`."""
        if self.lost is not None or self._closing:
            return 0
        size = self._receive()
        if deliver:
            self._hand_on()
        return size

    def receive_window(self) -> int:
        """Bytes that the kernel takes in while we do not read. From the first call on that is more, also for us."""
        if self.lost is not None or self._closing:
            return NARROW
        connection = self.transport.getHandle()
        if not self._is_wide:
            self._is_wide = True
            widen(connection)
        return room(connection)

    def _receive(self) -> int:
        try:
            size: int = self.transport.getHandle().recv_into(_VIEW if self._is_wide else _PIECE)
        except BlockingIOError:
            return 0
        except OSError as error:
            # The kernel tells an error only once; the reactor will find an end without a reason.
            self._read_error = ConnectionLost(str(error))
            size = 0
        if size:
            self._gathered.append(bytes(_VIEW[:size]))
        else:
            self.transport.resumeProducing()
        return size

    def _hand_on(self) -> None:
        gathered, self._gathered = self._gathered, []
        if gathered:
            self._connection.reads += 1
            self.wrappedProtocol.dataReceived(gathered[0] if len(gathered) == 1 else b"".join(gathered))

    def dataReceived(self, data: bytes) -> None:
        """The reactor reads: first what we gathered."""
        if self._gathered:
            self._hand_on()
        self._connection.reads += 1
        self.wrappedProtocol.dataReceived(data)
