"""One connection to a provider: how it is opened, what passes, how it is closed and how it ended.

This sits under treq's ``Agent``, at the one public seam there is (``IAgentEndpointFactory``), as two wrappers::

    treq, Agent, HTTP11ClientProtocol
      Wire     puts the request line on the wire as given, repairs the response head, then steps aside
      TLS      (https only)
      Socket   counts, keeps alive, knows why the connection was lost, closes it
    TCP

The lower one is below TLS on purpose. A TLS transport's ``loseConnection`` waits for the peer's close_notify, for
ever if it is silent; its ``abortConnection`` fails when the connection is gone already; and both FIN and RST
come out of it, and out of ``Agent``, as something else. At the socket all three are plain. So every close that
anybody above asks for, Twisted's own included, becomes an abort of the socket: nothing is lost by it, because a
connection is closed behind its last response, and the provider's slot is free at once.

``Agent`` takes the URL apart and puts it together again, which loses an empty query and parameters and, on newer
Pythons, doubles a leading ``//``. Signatures cover those bytes, hence the request line set here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from OpenSSL import SSL
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.internet.ssl import CertificateOptions, optionsForClientTLS
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from ..core.http.outbound_policy import DEFAULT_POLICY, OutboundPolicy
from ..core.http.redirects import Location
from ..core.slots.accounts import ProviderSlot
from ..errors import Reason, SourceError
from .head_repair import HeadRepairProtocol
from .host_lookup import LookupReactor
from .receive_window import NARROW
from .tcp_socket import ProviderSocket, SocketCounter


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

    :ivar problem: set if we closed it because its head made no sense, or if none of the host's addresses is allowed.
    :ivar handshaken: whether TLS (https only) is through its handshake.
    :ivar resolved: whether an address of the host is known that is allowed.
    :ivar reads: how often bytes from the socket were handed on.
    """

    def __init__(
        self,
        reactor: Any,
        sockets: SocketCounter,
        location: Location,
        verify_tls: bool,
        connected: Callable[[], None],
        outbound: OutboundPolicy = DEFAULT_POLICY,
        led_by_public: bool = False,
        slot: ProviderSlot | None = None,
    ) -> None:
        """
        Prepare a connection; ``Agent`` opens it.

        :param reactor: provides ``IReactorTCP``, ``IReactorTime`` and ``IReactorPluggableNameResolver``.
        :param connected: called when TCP is connected, before TLS and the request.
        :param led_by_public: see :meth:`m3uproxy.core.http.outbound_policy.OutboundPolicy.refusal`.
        :param slot: the provider's slot that the socket takes, if they are counted.
        """
        self.sockets = sockets
        self.slot = slot
        self.location = location
        self.problem: SourceError | None = None
        self.handshaken = self.resolved = False
        self.reads = 0
        self._reactor = reactor
        self._verify_tls = verify_tls
        self._when_connected = connected
        self._outbound = outbound
        self._led_by_public = led_by_public
        self._socket: ProviderSocket | None = None

    @property
    def connected(self) -> bool:
        """Whether there was ever a socket."""
        return self._socket is not None

    @property
    def lost(self) -> BaseException | None:
        """Why the socket was lost (``ConnectionDone`` for FIN, ``ConnectionLost`` for RST), None while it is open."""
        return self._socket.lost if self._socket is not None else None

    @property
    def usable(self) -> bool:
        """Whether the socket is open, and nobody has asked to close it."""
        return self._socket is not None and self._socket.usable

    def is_allowed(self, led_by_public: bool) -> bool:
        """Whether the socket, once open, would be allowed for another request."""
        assert self._socket is not None
        return self._outbound.refusal(self._socket.peer, led_by_public) is None

    @property
    def is_public(self) -> bool:
        """Whether the socket leads outside."""
        return self._socket is not None and self._outbound.is_public(self._socket.peer)

    def endpointForURI(self, uri: object) -> IStreamClientEndpoint:
        """
        The endpoint of this hop, whatever ``Agent`` made of the URL.

        :raises SourceError: ``FORBIDDEN`` for an address that is not allowed.
        :raises UnicodeError: for an https host name that no certificate can hold.
        """
        endpoint: IStreamClientEndpoint = _WrappedEndpoint(self._tcp_endpoint(), ProviderSocket, self)
        if self.location.scheme == "https":
            host = self.location.host
            creator = optionsForClientTLS(host) if self._verify_tls else _UnverifiedTLS(host)
            endpoint = wrapClientTLS(creator, endpoint)
        return _WrappedEndpoint(endpoint, HeadRepairProtocol, self)

    def _tcp_endpoint(self) -> IStreamClientEndpoint:
        """An address needs no look-up, which is half the work of connecting."""
        host, port = self.location.host, self.location.port
        for is_address, endpoint in ((isIPAddress, TCP4ClientEndpoint), (isIPv6Address, TCP6ClientEndpoint)):
            if is_address(host):
                if not self._admits(host):
                    assert self.problem is not None
                    raise self.problem
                return endpoint(self._reactor, host, port)
        return HostnameEndpoint(LookupReactor(self._reactor, host, self._admits), "provider.invalid", port)

    def pause(self) -> None:
        """Stop reading from the socket."""
        if self._socket is not None:
            self._socket.read(False)

    def resume(self) -> None:
        """Read on from the socket."""
        if self._socket is not None:
            self._socket.read(True)

    def read(self, deliver: bool) -> int:
        """Read once from the socket, now; how many bytes."""
        return self._socket.read_now(deliver) if self._socket is not None else 0

    def receive_window(self) -> int:
        """Bytes that the kernel takes in while nobody reads."""
        return self._socket.receive_window() if self._socket is not None else NARROW

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
        return self._socket.closed() if self._socket is not None else succeed(None)

    def closed(self) -> Deferred[None]:
        """Fires when the socket, if there is one, is closed by whomever."""
        return self._socket.closed() if self._socket is not None else succeed(None)

    def _admits(self, address: str) -> bool:
        """Whether an address may be connected to. If none may, that is the problem."""
        refusal = self._outbound.refusal(address, self._led_by_public)
        if refusal is None:
            self.resolved, self.problem = True, None
        elif not self.resolved:
            self.problem = SourceError(Reason.FORBIDDEN, refusal)
        return refusal is None

    def socket_connected(self, socket: ProviderSocket) -> None:
        """Keep the socket, and tell that TCP is connected."""
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
