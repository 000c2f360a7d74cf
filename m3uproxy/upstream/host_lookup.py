"""Looking up a provider's host, in a way that fits ``HostnameEndpoint``.

That endpoint connects to all addresses of a name in parallel with a small delay, which is what we want of it. But it
refuses names that are no strict IDNA, such as ``my_provider`` in a container network, and does not tell when the
look-up is over. So it is given a name of no meaning and a resolver that looks up the right one.

The addresses pass by here on their way to being connected to, and nothing looks them up again. So this is where those
that are not allowed are taken out: a name that has another address the next time gains nothing by it.
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
    """What ``HostnameEndpoint`` needs of a reactor, with a resolver that looks up one host only."""

    def __init__(self, reactor: Any, host: str, admits: Callable[[str], bool]) -> None:
        """
        Wrap a reactor.

        :param host: what to look up; an IPv6 address comes without brackets.
        :param admits: called for each address of the host; whether it may be connected to.
        """
        self.nameResolver: IHostnameResolver = _Lookup(reactor, host, admits)
        self.callLater = reactor.callLater
        self.seconds = reactor.seconds
        self.connectTCP = reactor.connectTCP

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:
        """Part of the interface."""
        replaced, self.nameResolver = self.nameResolver, resolver
        return replaced


@implementer(IResolutionReceiver)
@attrs.frozen
class _Answer:
    """What a look-up brought, less what is not admitted."""

    receiver: IResolutionReceiver
    admits: Callable[[str], bool]

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """The look-up has begun."""
        self.receiver.resolutionBegan(resolutionInProgress)

    def addressResolved(self, address: IAddress) -> None:
        """One of the host's addresses."""
        if self.admits(getattr(address, "host", "")):
            self.receiver.addressResolved(address)

    def resolutionComplete(self) -> None:
        """There are no more."""
        self.receiver.resolutionComplete()


@implementer(IHostnameResolver)
@attrs.frozen
class _Lookup:
    """Looks up its own host, whatever name it is asked for."""

    reactor: Any
    host: str
    admits: Callable[[str], bool]

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Any = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """
        Ask the reactor's resolver.

        :raises UnicodeError: for a name with an empty label, or one over 63 octets; the reactor's resolver would
            log it as its own failure and never answer.
        """
        answer = _Answer(resolutionReceiver, self.admits)
        self.host.encode("idna")
        resolver: IHostnameResolver = self.reactor.nameResolver
        return resolver.resolveHostName(answer, self.host, portNumber, addressTypes, transportSemantics)
