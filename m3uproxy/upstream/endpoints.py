"""One connection to a provider: how it is opened, what passes, how it is closed and how it ended.

This sits under treq's ``Agent``, at the one public seam there is (``IAgentEndpointFactory``), as two wrappers::

    treq, Agent, HTTP11ClientProtocol
      _Wire    puts the request line on the wire as given, repairs the response head, then steps aside
      TLS      (https only)
      _Socket  counts, keeps alive, knows why the connection was lost, closes it
    TCP

The lower one is below TLS on purpose. A TLS transport's ``loseConnection`` waits for the peer's close_notify, for
ever if it is silent; its ``abortConnection`` fails when the connection is gone already; and both FIN and RST
come out of it, and out of ``Agent``, as something else. At the socket all three are plain. So every close that
anybody above asks for, Twisted's own included, becomes an abort of the socket: nothing is lost by it, because a
connection carries one response, and the provider's slot is free at once.

``Agent`` takes the URL apart and puts it together again, which loses an empty query and parameters and, on newer
Pythons, doubles a leading ``//``. Signatures cover those bytes, hence the request line set here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import attrs
from OpenSSL import SSL
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import (
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
    ITCPTransport,
    ITransport,
)
from twisted.internet.protocol import Protocol
from twisted.internet.ssl import CertificateOptions, optionsForClientTLS
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from ..core.head import LONGEST_HEAD, end_of_head, is_interim, repair
from ..core.hop import Location
from ..errors import Reason, SourceError
from .lookup import NamingReactor

#: What all sockets are read into: blocks of a ring are kept for seconds, and between them large buffers that are
#: allocated for each read, and cut to what came, would leave holes in the heap.
_BUFFER = bytearray(262_144)
_VIEW = memoryview(_BUFFER)


class SocketCount:
    """How many sockets to providers are open: real ones, from connected to closed."""

    def __init__(self) -> None:
        self.open = 0
        self._closing: set[_Socket] = set()

    def closed(self) -> Deferred[None]:
        """Fires when every socket that is being closed now is gone (a reactor turn from now at most)."""
        waiting = gatherResults([socket.gone() for socket in self._closing], consumeErrors=True)
        return waiting.addCallback(lambda _: None)

    def _opened(self) -> None:
        self.open += 1

    def _is_closing(self, socket: _Socket) -> None:
        self._closing.add(socket)

    def _gone(self, socket: _Socket) -> None:
        self.open -= 1
        self._closing.discard(socket)


def _connect(wrapper: ProtocolWrapper, transport: Any) -> None:
    """What ``ProtocolWrapper.makeConnection`` does, but for declaring what ``transport`` provides.

    Nobody above asks for that, and to compute it anew for each connection is a tenth of a dial.
    """
    Protocol.makeConnection(wrapper, transport)
    wrapper.factory.registerProtocol(wrapper)
    wrapped: Any = wrapper.wrappedProtocol
    wrapped.makeConnection(wrapper)


@implementer(ITransport)
class _Socket(ProtocolWrapper):
    """The TCP connection. ``closed`` says why it was lost, once it is."""

    transport: Any

    def __init__(self, factory: Any, wrapped: IProtocol) -> None:
        super().__init__(factory, wrapped)
        self._connection: ProviderConnection = factory.connection
        self._waiting: list[Deferred[None]] = []
        self._closing = False
        self._read_error: BaseException | None = None
        self._gathered: list[bytes] = []
        self.closed: BaseException | None = None

    def makeConnection(self, transport: Any) -> None:
        """Count and tell before anything is sent."""
        if ITCPTransport.providedBy(transport):
            transport.setTcpKeepAlive(True)
        self._connection.sockets._opened()
        self._connection._connected(self)
        _connect(self, transport)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """Keep the reason before those above hear of it: they lose it."""
        self._hand_on()
        self.closed = self._read_error or reason.value
        self._connection.sockets._gone(self)
        try:
            super().connectionLost(reason)  # type: ignore[no-untyped-call]
        finally:
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                each.callback(None)

    def abort(self) -> None:
        """Close now. Safe at any time."""
        if self.closed is None and not self._closing:
            self._closing = True
            self._connection.sockets._is_closing(self)
            self.transport.abortConnection()

    def gone(self) -> Deferred[None]:
        """Fires when the socket is closed. Cancelling it cancels nobody else's wait."""
        if self.closed is not None:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def read(self, on: bool) -> None:
        """Read, or stop reading; harmless on a socket that is closed or closing."""
        if self.closed is None and not self._closing:
            (self.transport.resumeProducing if on else self.transport.pauseProducing)()

    def read_now(self, hand_on: bool) -> int:
        """Read once from the socket, which need not be readable; see :meth:`m3uproxy.interfaces.IOpenBody.read`."""
        if self.closed is not None or self._closing:
            return 0
        size = self._receive()
        if hand_on:
            self._hand_on()
        return size

    def _receive(self) -> int:
        try:
            size: int = self.transport.getHandle().recv_into(_BUFFER)
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
            self.wrappedProtocol.dataReceived(gathered[0] if len(gathered) == 1 else b"".join(gathered))

    def dataReceived(self, data: bytes) -> None:
        """The reactor reads: first what we gathered."""
        if self._gathered:
            self._hand_on()
        self.wrappedProtocol.dataReceived(data)


@implementer(IHandshakeListener, ITransport)
class _Wire(ProtocolWrapper):
    """HTTP as it goes over the connection: our request line exactly, the provider's head repaired."""

    def __init__(self, factory: Any, wrapped: IProtocol) -> None:
        super().__init__(factory, wrapped)
        self._connection: ProviderConnection = factory.connection
        self._asked = False
        self._head: bytearray | None = bytearray()
        self._read = 0

    def makeConnection(self, transport: Any) -> None:
        """See :func:`_connect`."""
        _connect(self, transport)

    def handshakeCompleted(self) -> None:
        """From here on a failure is none of TLS's handshake."""
        self._connection.handshaken = True

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """The first thing written is the request's head: its target becomes the one that was asked for."""
        head = b"".join(data)
        if not self._asked:
            self._asked = True
            method, _, rest = head.partition(b" ")
            _, _, rest = rest.partition(b" ")
            head = b" ".join([method, self._connection.location.target.encode("ascii"), rest])
        self.write(head)  # type: ignore[no-untyped-call]

    def dataReceived(self, data: bytes) -> None:
        """Gather the head; with the body, only pass on."""
        if self._head is None:
            self.wrappedProtocol.dataReceived(data)
            return
        searched = max(0, len(self._head) - 3)
        self._head += data
        try:
            self._pass_heads(searched)
        except SourceError as problem:
            self._refuse(problem)

    def _pass_heads(self, searched: int) -> None:
        """Pass on each head that is complete, and after the last one what there is of the body."""
        while self._head is not None:
            buffer = bytes(self._head)
            end = end_of_head(buffer, searched)
            if self._read + (end if end >= 0 else len(buffer)) > LONGEST_HEAD:
                raise SourceError(Reason.BAD_HEAD, f"a response head over {LONGEST_HEAD} bytes")
            if end < 0:
                return
            head, rest = repair(buffer[:end]), buffer[end:]
            self._read, searched = self._read + end, 0
            if is_interim(head):
                self._head = bytearray(rest)
                self.wrappedProtocol.dataReceived(head)
            else:
                self._head = None
                self.wrappedProtocol.dataReceived(head + rest)

    def _refuse(self, problem: SourceError) -> None:
        self._head = bytearray()
        self._connection.problem = problem
        self._connection.abort()

    def loseConnection(self) -> None:
        """Twisted has read the response, or given up on it."""
        self._connection.abort()

    def abortConnection(self) -> None:
        """Twisted's way to cancel a request."""
        self._connection.abort()


class _Wrapping(WrappingFactory):
    """Puts one of the wrappers between a protocol and its transport."""

    noisy = False

    def __init__(
        self, wrapped: IProtocolFactory, protocol: type[ProtocolWrapper], connection: ProviderConnection
    ) -> None:
        super().__init__(wrapped)  # type: ignore[no-untyped-call]
        self.protocol = protocol
        self.connection = connection

    def doStart(self) -> None:
        """Pass nothing on: Twisted's own factory would log two long lines for each connection."""

    def doStop(self) -> None:
        """See ``doStart``."""


def _unwrapped(wrapper: ProtocolWrapper) -> IProtocol:
    return wrapper.wrappedProtocol


@implementer(IStreamClientEndpoint)
@attrs.frozen(repr=False)
class _WrappedEndpoint:
    """An endpoint whose connections are wrapped. (``Agent`` asks for its repr at each connection.)"""

    inner: IStreamClientEndpoint
    protocol: type[ProtocolWrapper]
    connection: ProviderConnection

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect; fires with what ``protocolFactory`` built, as ``Agent`` wants it."""
        connecting: Deferred[Any] = self.inner.connect(_Wrapping(protocolFactory, self.protocol, self.connection))
        return connecting.addCallback(_unwrapped)


@implementer(IAgentEndpointFactory)
class ProviderConnection:
    """
    The connection of one hop.

    :ivar problem: set if we closed it because its head made no sense.
    :ivar handshaken: whether TLS (https only) is through its handshake.
    :ivar resolved: whether the host's address is known.
    """

    def __init__(
        self,
        reactor: Any,
        sockets: SocketCount,
        location: Location,
        verify_tls: bool,
        connected: Callable[[], None],
    ) -> None:
        """
        Prepare a connection; ``Agent`` opens it.

        :param reactor: provides ``IReactorTCP``, ``IReactorTime`` and ``IReactorPluggableNameResolver``.
        :param connected: called when TCP is connected, before TLS and the request.
        """
        self.sockets = sockets
        self.location = location
        self.problem: SourceError | None = None
        self.handshaken = self.resolved = False
        self._reactor = reactor
        self._verify_tls = verify_tls
        self._when_connected = connected
        self._socket: _Socket | None = None

    @property
    def connected(self) -> bool:
        """Whether there was ever a socket."""
        return self._socket is not None

    @property
    def lost(self) -> BaseException | None:
        """Why the socket was lost (``ConnectionDone`` for FIN, ``ConnectionLost`` for RST), None while it is open."""
        return self._socket.closed if self._socket is not None else None

    def endpointForURI(self, uri: object) -> IStreamClientEndpoint:
        """
        The endpoint of this hop, whatever ``Agent`` made of the URL.

        :raises UnicodeError: for an https host name that no certificate can hold.
        """
        endpoint: IStreamClientEndpoint = _WrappedEndpoint(self._tcp_endpoint(), _Socket, self)
        if self.location.scheme == "https":
            host = self.location.host
            creator = optionsForClientTLS(host) if self._verify_tls else _UnverifiedTLS(host)
            endpoint = wrapClientTLS(creator, endpoint)
        return _WrappedEndpoint(endpoint, _Wire, self)

    def _tcp_endpoint(self) -> IStreamClientEndpoint:
        """An address needs no look-up, which is half the work of connecting."""
        host, port = self.location.host, self.location.port
        for is_address, endpoint in ((isIPAddress, TCP4ClientEndpoint), (isIPv6Address, TCP6ClientEndpoint)):
            if is_address(host):
                self.resolved = True
                return endpoint(self._reactor, host, port)
        return HostnameEndpoint(NamingReactor(self._reactor, host, self._resolved), "provider.invalid", port)

    def pause(self) -> None:
        """Stop reading from the socket."""
        if self._socket is not None:
            self._socket.read(False)

    def resume(self) -> None:
        """Read on from the socket."""
        if self._socket is not None:
            self._socket.read(True)

    def read(self, hand_on: bool) -> int:
        """Read once from the socket, now; how many bytes."""
        return self._socket.read_now(hand_on) if self._socket is not None else 0

    def abort(self) -> None:
        """Close the socket, if there is one."""
        if self._socket is not None:
            self._socket.abort()

    def close(self) -> Deferred[None]:
        """
        Close the socket, if there is one. Safe to call twice.

        :return: a Deferred that fires when it is gone.
        """
        self.abort()
        return self._socket.gone() if self._socket is not None else succeed(None)

    def _resolved(self) -> None:
        self.resolved = True

    def _connected(self, socket: _Socket) -> None:
        self._socket = socket
        self._when_connected()


@implementer(IOpenSSLClientConnectionCreator)
class _UnverifiedTLS:
    """TLS that takes any certificate, for a stream that is set to. The name still goes into the hello (SNI)."""

    def __init__(self, host: str) -> None:
        self._name = None if isIPAddress(host) or isIPv6Address(host) else host.encode("ascii")

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """A new connection state (its context trusts nobody and asks for nobody's proof)."""
        connection = SSL.Connection(CertificateOptions().getContext(), None)
        if self._name is not None:
            connection.set_tlsext_host_name(self._name)
        return connection
