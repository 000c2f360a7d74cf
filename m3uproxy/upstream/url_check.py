"""The check if a URL answers, for operators."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred
from zope.interface import implementer

from ..core.http.digest import DigestExchange
from ..core.http.outbound_policy import DEFAULT_POLICY, OutboundPolicy
from ..core.http.redirects import first_hop
from ..core.http.source_headers import split_headers
from ..interfaces import IUrlChecker
from .agent import SourceAgent, is_challenge, new_digest_sessions
from .connection import ProviderConnection
from .tcp_socket import SocketCounter
from .timed_request import TimedRequest


@implementer(IUrlChecker)
@attrs.frozen
class UrlChecker:
    """The checker. Its sockets are counted in ``sockets``; ``outbound`` limits the addresses."""

    reactor: Any
    sockets: SocketCounter
    outbound: OutboundPolicy = DEFAULT_POLICY
    user_agent: str = "m3uproxy"

    def status(self, url: str, timeout: float) -> Deferred[int]:
        """See :meth:`m3uproxy.interfaces.IUrlChecker.status`."""
        return _StatusRequest(self, url, timeout).start()


class _StatusRequest(TimedRequest[int]):
    """A GET request for the status only."""

    def __init__(self, checker: UrlChecker, url: str, timeout: float) -> None:
        super().__init__(checker.reactor, timeout)
        self._checker = checker
        self._url = url

    async def _exchange(self) -> int:
        checker = self._checker
        url, headers = split_headers(self._url)
        hop = first_hop(url, checker.user_agent, headers)
        digest = DigestExchange(new_digest_sessions())
        while True:
            connection = self._connection = ProviderConnection(
                checker.reactor, checker.sockets, hop.location, True, lambda: None, checker.outbound
            )
            agent = SourceAgent(checker.reactor, digest.authorized(hop, "GET"), connection)
            response = await agent.request(b"GET", b"")
            await connection.close()
            if not is_challenge(response, digest, hop):
                status: int = response.code
                return status
