"""Asks whether a URL answers, for who sets up a network and wants to know."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred
from zope.interface import implementer

from ..core.http.outbound_policy import DEFAULT_POLICY, OutboundPolicy
from ..core.http.redirects import first_hop
from ..interfaces import IUrlChecker
from .agent import SourceAgent
from .connection import ProviderConnection
from .tcp_socket import SocketCounter
from .timed_request import TimedRequest


@implementer(IUrlChecker)
@attrs.frozen
class UrlChecker:
    """Asks over real sockets, which ``sockets`` counts, at addresses that ``outbound`` allows."""

    reactor: Any
    sockets: SocketCounter
    outbound: OutboundPolicy = DEFAULT_POLICY
    user_agent: str = "m3uproxy"

    def status(self, url: str, timeout: float) -> Deferred[int]:
        """See :meth:`m3uproxy.interfaces.IUrlChecker.status`."""
        return _Question(self, url, timeout).start()


class _Question(TimedRequest[int]):
    """One request."""

    def __init__(self, probe: UrlChecker, url: str, timeout: float) -> None:
        super().__init__(probe.reactor, timeout)
        self._probe = probe
        self._url = url

    async def _exchange(self) -> int:
        probe = self._probe
        hop = first_hop(self._url, probe.user_agent, ())
        self._connection = ProviderConnection(
            probe.reactor, probe.sockets, hop.location, True, lambda: None, probe.outbound
        )
        response = await SourceAgent(probe.reactor, hop, self._connection).request(b"GET", b"")
        status: int = response.code
        await self._connection.close()
        return status
