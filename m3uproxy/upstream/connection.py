"""A connection to a provider: opening it, passing requests and responses, closing it, and the cause of its end.

A connection is below treq's ``Agent``, at its one public extension point (``IAgentEndpointFactory``), as two wrappers::

    treq, Agent, HTTP11ClientProtocol
      HeadRepairProtocol  writes the request line as given, repairs the response head, then passes bytes unchanged
      TLS                 (https only)
      ProviderSocket      counts, sets keep-alive, keeps the cause of the end, closes
    TCP

ProviderSocket is below TLS for three reasons. ``loseConnection`` of a TLS transport waits for the peer's close_notify,
for ever if the peer is silent. Its ``abortConnection`` fails if the connection has closed already. FIN and RST lose
their difference in TLS and in ``Agent``. At the socket all three are plain. So each close that a protocol above asks
for, Twisted's own included, becomes an abort of the socket. Nothing is lost by it, because a connection is closed after
its last response, and the provider's slot is free at once.

``Agent`` parses the URL and builds it again. That loses an empty query and parameters and, on newer Pythons, doubles a
leading ``//``. Signatures of providers cover those bytes, so HeadRepairProtocol sets the request line.
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
from ..errors import Reason, SourceError, StoredError
from .head_repair import HeadRepairProtocol
from .host_lookup import LookupReactor
from .receive_window import DEFAULT_WINDOW
from .tcp_socket import ProviderSocket, SocketCounter


class _WrapperFactory(WrappingFactory):
    """The factory that puts one of the wrappers between a protocol and its transport."""

    noisy = False

    def __init__(
        self, wrapped: IProtocolFactory, protocol: type[ProtocolWrapper], connection: ProviderConnection
    ) -> None:
        super().__init__(wrapped)  # type: ignore[no-untyped-call]
        self.protocol = protocol
        self.connection = connection

    def doStart(self) -> None:
        """Do nothing: Twisted's own factory would log two long lines for each connection."""

    def doStop(self) -> None:
        """See ``doStart``."""


def _unwrap(wrapper: ProtocolWrapper) -> IProtocol:
    return wrapper.wrappedProtocol


@implementer(IStreamClientEndpoint)
@attrs.frozen(repr=False)
class _WrappedEndpoint:
    """An endpoint whose connections are wrapped. It has no repr: ``Agent`` would compute it for each connection."""

    inner: IStreamClientEndpoint
    protocol: type[ProtocolWrapper]
    connection: ProviderConnection

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect. The Deferred fires with the protocol that ``protocolFactory`` built, as ``Agent`` expects."""
        connecting: Deferred[Any] = self.inner.connect(_WrapperFactory(protocolFactory, self.protocol, self.connection))
        return connecting.addCallback(_unwrap)


@implementer(IAgentEndpointFactory)
class ProviderConnection:
    """
    The connection of one hop, or a pooled connection.

    :ivar location: the location of the current request; its target goes into the request line.
    :ivar problem: set if the connection was closed because its response head is malformed, or if the host has no
        allowed address.
    :ivar handshaken: whether the TLS handshake (https only) is complete.
    :ivar resolved: whether an allowed address of the host is known.
    :ivar reads: the number of reads from the socket whose bytes were delivered.
    """

    problem = StoredError()

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
        is_single: bool = False,
    ) -> None:
        """
        Prepare a connection, which ``Agent`` opens.

        :param reactor: provides ``IReactorTCP``, ``IReactorTime`` and ``IReactorPluggableNameResolver``.
        :param connected: called when TCP is connected, before TLS and the request.
        :param led_by_public: see :meth:`m3uproxy.core.http.outbound_policy.OutboundPolicy.refusal`.
        :param slot: the provider slot that the socket counts for; None if sockets are not counted.
        :param is_single: whether the connection carries one response, so that its end is the end of the body.
        """
        self.is_single = is_single
        self.sockets = sockets
        self.slot = slot
        self.location = location
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
        """True from TCP connected on, also after the socket has closed."""
        return self._socket is not None

    @property
    def lost(self) -> BaseException | None:
        """The cause of the end: ``ConnectionDone`` for FIN, ``ConnectionLost`` for RST. None while open."""
        return self._socket.lost if self._socket is not None else None

    @property
    def usable(self) -> bool:
        """True if the socket is open and not closing."""
        return self._socket is not None and self._socket.usable

    def is_allowed(self, led_by_public: bool) -> bool:
        """Return whether the policy allows the address of the open socket for another request."""
        assert self._socket is not None
        return self._outbound.refusal(self._socket.peer, led_by_public) is None

    @property
    def is_public(self) -> bool:
        """True if the socket is connected to a public address."""
        return self._socket is not None and self._outbound.is_public(self._socket.peer)

    def endpointForURI(self, uri: object) -> IStreamClientEndpoint:
        """
        Return the endpoint of this hop. The URL as ``Agent`` built it is not used.

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
        """Return an endpoint. An IP address needs no look-up, which is half of the work to connect."""
        host, port = self.location.host, self.location.port
        for is_address, endpoint in ((isIPAddress, TCP4ClientEndpoint), (isIPv6Address, TCP6ClientEndpoint)):
            if is_address(host):
                if not self._is_admitted(host):
                    assert self.problem is not None
                    raise self.problem
                return endpoint(self._reactor, host, port)
        return HostnameEndpoint(LookupReactor(self._reactor, host, self._is_admitted), "provider.invalid", port)

    def pause(self) -> None:
        """Stop reading from the socket."""
        if self._socket is not None:
            self._socket.set_reading(False)

    def resume(self) -> None:
        """Read on from the socket."""
        if self._socket is not None:
            self._socket.set_reading(True)

    def read(self, deliver: bool) -> int:
        """Read once from the socket, now. Return the number of bytes."""
        return self._socket.read_now(deliver) if self._socket is not None else 0

    def receive_window(self) -> int:
        """Return the bytes that the kernel buffers while the socket is not read."""
        return self._socket.receive_window() if self._socket is not None else DEFAULT_WINDOW

    def abort(self) -> None:
        """Close the socket, if there is one."""
        if self._socket is not None:
            self._socket.abort()

    def close(self) -> Deferred[None]:
        """
        Close the socket, if there is one. Safe to call twice.

        :return: a Deferred that fires when it has closed.
        """
        self.abort()
        return self._socket.closed() if self._socket is not None else succeed(None)

    def closed(self) -> Deferred[None]:
        """Return a Deferred that fires when the socket, if there is one, has closed."""
        return self._socket.closed() if self._socket is not None else succeed(None)

    def _is_admitted(self, address: str) -> bool:
        """Return whether an address is allowed. If no address of the host is allowed, note the problem."""
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
    """TLS that accepts any certificate, for streams with ``verify_tls`` off. The host name is still sent (SNI)."""

    def __init__(self, host: str) -> None:
        self._name = None if isIPAddress(host) or isIPv6Address(host) else host.encode("ascii")

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """Return a new connection state. Its context trusts no authority and requests no certificate."""
        connection = SSL.Connection(CertificateOptions().getContext(), None)
        if self._name is not None:
            connection.set_tlsext_host_name(self._name)
        return connection
