"""Dialling a provider: from the URL of a source to a response body, over redirects, within bounded time.

A dial is a :class:`m3uproxy.upstream.timed_request.TimedRequest` that follows redirects from hop to hop. The socket of
a hop has closed before the next one is opened.
"""

from __future__ import annotations

from typing import Any

import attrs
from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from zope.interface import implementer

from ..core.http.byte_ranges import parse_complete_length
from ..core.http.outbound_policy import DEFAULT_POLICY, OutboundPolicy
from ..core.http.redirects import REDIRECT_STATUSES, Cookies, first_hop, next_hop
from ..core.http.source_request import DialTimeouts, SourceRequest
from ..core.slots.accounts import ProviderSlot
from ..errors import SourceError, bad_status
from ..interfaces import IDialler, IResponseBody
from .agent import SourceAgent, cookie_url
from .connection import ProviderConnection
from .response_body import ResponseBody
from .tcp_socket import SocketCounter
from .timed_request import TimedRequest


@implementer(IDialler)
@attrs.frozen
class Dialler:
    """The dialler of sources. Its sockets are counted in ``sockets``; ``outbound`` limits the addresses."""

    reactor: Any
    sockets: SocketCounter
    outbound: OutboundPolicy = DEFAULT_POLICY

    def dial(
        self, request: SourceRequest, timeouts: DialTimeouts, slot: ProviderSlot | None = None
    ) -> Deferred[IResponseBody]:
        """See :meth:`m3uproxy.interfaces.IDialler.dial`."""
        return _Dial(self, request, timeouts, slot).start()


class _Dial(TimedRequest[IResponseBody]):
    """A dial, over all its hops."""

    def __init__(
        self, dialler: Dialler, request: SourceRequest, timeouts: DialTimeouts, slot: ProviderSlot | None
    ) -> None:
        super().__init__(dialler.reactor, timeouts.total)
        self._sockets = dialler.sockets
        self._outbound = dialler.outbound
        self._request = request
        self._timeouts = timeouts
        self._slot = slot
        self._led_by_public = False
        self._agent = SourceAgent(dialler.reactor)
        self._client = HTTPClient(self._agent)

    async def _exchange(self) -> IResponseBody:
        """Request the URL, and then the target of each redirect, until the response is no redirect."""
        await self._sockets.closed()
        request = self._request
        hop = first_hop(request.url, request.user_agent, request.headers)
        while True:
            self._agent.hop = hop
            response = await self._send()
            assert self._connection is not None
            if response.code in {200, 206}:
                return ResponseBody(response, self._connection, hop.location.url, self._agent.gzipped)
            if response.code not in REDIRECT_STATUSES:
                raise _status_error(response)
            locations = response.headers.getRawHeaders(b"Location", [None])
            hop = next_hop(hop, locations[0], _cookies(response))
            self._led_by_public = self._connection.is_public
            await self._connection.close()

    async def _send(self) -> Any:
        """Return the response to the request of the current hop. Its body is not read yet."""
        assert self._agent.hop is not None
        location = self._agent.hop.location
        self._connection = self._agent.connection = ProviderConnection(
            self._reactor,
            self._sockets,
            location,
            self._request.verify_tls,
            self._connected,
            self._outbound,
            self._led_by_public,
            self._slot,
            is_single=True,
        )
        self._set_step_timeout(self._timeouts.connect)
        response = await self._client.request(
            self._request.method, cookie_url(location), unbuffered=True, allow_redirects=False, reactor=self._reactor
        )
        self._set_step_timeout(None)
        return response

    def _connected(self) -> None:
        self._set_step_timeout(self._timeouts.first_byte)


def _status_error(response: Any) -> SourceError:
    """Return the error of a response that is neither a body nor a redirect. A 416 may tell the length of the file."""
    error = bad_status(response.code)
    if response.code == 416:
        header = response.headers.getRawHeaders(b"Content-Range", [b""])[0]
        error.length = parse_complete_length(header.decode("latin-1"))
    return error


def _cookies(response: Any) -> Cookies:
    """Return the cookies that the hops of this dial have set so far."""
    return frozenset((c.domain, c.path, c.name, c.value or "") for c in response.cookies())
