"""A name server for a test, and a reactor that stays at home."""

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
        """Too late: the answer is under way."""


@implementer(IHostnameResolver)
class Names:
    """Stands in for the reactor's resolver from ``install()`` to ``remove()``.

    ``known`` holds the answers to each name: one for each time it is asked for, the last for all others.
    """

    def __init__(self, reactor: Any, **known: list[str]) -> None:
        self._reactor = reactor
        self.known = known
        self.asked: list[str] = []
        self.connected: list[str] = []

    def install(self) -> None:
        """From now on names are looked up here, and nothing connects to another machine."""
        self._resolver = self._reactor.installNameResolver(self)
        self._connect = self._reactor.connectTCP
        self._reactor.connectTCP = self.connect_tcp

    def remove(self) -> None:
        """As it was."""
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
