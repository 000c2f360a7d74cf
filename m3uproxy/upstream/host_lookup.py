"""Look-up of a provider's host for ``HostnameEndpoint``, limited to allowed addresses.

``HostnameEndpoint`` connects to all addresses of a name in parallel with a small delay, which is wanted. But it refuses
names that are not strict IDNA, such as ``my_provider`` in a container network, and it does not tell when the look-up is
complete. So it is given a placeholder name, and a resolver that looks up the real one.

Addresses that are not allowed are removed here. They are not looked up again before the connection is made. So a name
that resolves to another address the next time (DNS rebinding) cannot pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IReactorPluggableNameResolver,
    IResolutionReceiver,
)
from zope.interface import implementer


@implementer(IReactorPluggableNameResolver)
class LookupReactor:
    """The part of a reactor that ``HostnameEndpoint`` uses, with a resolver for one host only."""

    def __init__(self, reactor: Any, host: str, is_allowed: Callable[[str], bool]) -> None:
        """
        Wrap a reactor.

        :param host: host name, or IP address without brackets.
        :param is_allowed: called for each address of the host; returns whether the address is allowed.
        """
        self.nameResolver: IHostnameResolver = _HostResolver(reactor, host, is_allowed)
        self.callLater = reactor.callLater
        self.seconds = reactor.seconds
        self.connectTCP = reactor.connectTCP

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:
        """Replace the resolver, as the interface asks for."""
        replaced, self.nameResolver = self.nameResolver, resolver
        return replaced


@implementer(IResolutionReceiver)
@attrs.frozen
class _AllowedAddresses:
    """A receiver of addresses that passes on the allowed ones."""

    receiver: IResolutionReceiver
    is_allowed: Callable[[str], bool]

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """Pass on that the look-up has begun."""
        self.receiver.resolutionBegan(resolutionInProgress)

    def addressResolved(self, address: IAddress) -> None:
        """Pass on an address of the host, if it is allowed."""
        if self.is_allowed(getattr(address, "host", "")):
            self.receiver.addressResolved(address)

    def resolutionComplete(self) -> None:
        """Pass on that the look-up is complete."""
        self.receiver.resolutionComplete()


@implementer(IHostnameResolver)
@attrs.frozen
class _HostResolver:
    """The resolver of one host, for any name."""

    reactor: Any
    host: str
    is_allowed: Callable[[str], bool]

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Any = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """
        Look the host up with the reactor's resolver.

        :raises UnicodeError: if a label of the name is empty or longer than 63 octets. The reactor's resolver would log
            that as a failure of its own and never answer.
        """
        receiver = _AllowedAddresses(resolutionReceiver, self.is_allowed)
        self.host.encode("idna")
        resolver: IHostnameResolver = self.reactor.nameResolver
        return resolver.resolveHostName(receiver, self.host, portNumber, addressTypes, transportSemantics)
