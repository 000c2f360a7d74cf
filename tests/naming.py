"""A fake name server, and a reactor that connects to this machine only."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IHostnameResolver, IHostResolution
from zope.interface import implementer


@implementer(IHostResolution)
class _Resolution:
    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> None:
        """Do nothing: the answer is under way."""


@implementer(IHostnameResolver)
class FakeNameServer:
    """The resolver of the reactor from ``install()`` to ``remove()``.

    :ivar known: the answers for each name: one for each look-up, the last one for all others.
    :ivar asked: the names that were looked up.
    :ivar connected: the addresses that were connected to.
    """

    def __init__(self, reactor: Any, **known: list[str]) -> None:
        self._reactor = reactor
        self.known = known
        self.asked: list[str] = []
        self.connected: list[str] = []

    def install(self) -> None:
        """Replace the resolver of the reactor, and refuse connections to other machines."""
        self._resolver = self._reactor.installNameResolver(self)
        self._connect = self._reactor.connectTCP
        self._reactor.connectTCP = self.connect_tcp

    def remove(self) -> None:
        """Restore the resolver and the connections of the reactor."""
        self._reactor.installNameResolver(self._resolver)
        self._reactor.connectTCP = self._connect

    def resolveHostName(
        self, receiver: Any, hostName: str, portNumber: int = 0, addressTypes: Any = None, transportSemantics: str = ""
    ) -> IHostResolution:
        self.asked.append(hostName)
        answers = self.known.get(hostName.removesuffix(".test"), [""])
        answer = answers[min(self.asked.count(hostName), len(answers)) - 1]
        resolution = _Resolution(hostName)
        receiver.resolutionBegan(resolution)
        self._reactor.callLater(0, self._answer, receiver, answer.split(), portNumber)
        return resolution

    def _answer(self, receiver: Any, addresses: list[str], port: int) -> None:
        for address in addresses:
            receiver.addressResolved((IPv6Address if ":" in address else IPv4Address)("TCP", address, port))
        receiver.resolutionComplete()

    def connect_tcp(self, host: str, *others: Any, **more: Any) -> Any:
        self.connected.append(host)
        assert ip_address(host).is_loopback, f"a packet for {host}"
        return self._connect(host, *others, **more)
