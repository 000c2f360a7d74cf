"""Dialling a provider: from the URL of a source to a response body, over redirects, within bounded time.

A dial is a :class:`m3uproxy.upstream.timed_request.TimedRequest` that follows redirects from hop to hop. The socket of
a hop has closed before the next one is opened. A station list (:mod:`m3uproxy.core.http.station_list`) is followed like
a redirect.

If the account has too many connections, a dial first waits for its turn (:mod:`m3uproxy.upstream.account_turns`). The
accounts are told of each connection, so that the statuses of their providers can be understood.
"""

from __future__ import annotations

from typing import Any

import attrs
from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from zope.interface import implementer

from ..core.failover.causes import status_error
from ..core.http.byte_ranges import parse_complete_length
from ..core.http.digest import DigestExchange, DigestSessions
from ..core.http.outbound_policy import DEFAULT_POLICY, OutboundPolicy
from ..core.http.redirects import REDIRECT_STATUSES, Cookies, RequestHop, first_hop, next_hop
from ..core.http.retry_after import parse_retry_after
from ..core.http.source_request import DialTimeouts, SourceRequest
from ..core.http.station_list import MAX_LEVELS, may_be_list
from ..core.slots.account_usage import CountedConnection
from ..core.slots.accounts import ProviderSlot
from ..errors import Reason, SourceError
from ..interfaces import IDialler, IResponseBody
from .account_turns import AccountTurns, Turn
from .agent import SourceAgent, cookie_url, is_challenge, new_digest_sessions
from .connection import ProviderConnection
from .response_body import ResponseBody
from .station_list_reader import read_station_url
from .tcp_socket import SocketCounter
from .timed_request import TimedRequest


@implementer(IDialler)
@attrs.frozen
class Dialler:
    """
    The dialler of sources.

    :ivar sockets: counts the sockets.
    :ivar outbound: limits the addresses.
    :ivar accounts: knows the accounts that have too many connections.
    :ivar digests: the nonces of providers with digest authentication.
    """

    reactor: Any
    sockets: SocketCounter
    outbound: OutboundPolicy = DEFAULT_POLICY
    accounts: AccountTurns = attrs.field(default=attrs.Factory(lambda self: AccountTurns(self.reactor), True))
    digests: DigestSessions = attrs.field(factory=new_digest_sessions)

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
        self._digest = DigestExchange(dialler.digests)
        self._accounts = dialler.accounts
        self._counted: CountedConnection | None = None
        self._awaits_turn = False
        self._lists = 0
        self._request = request
        self._timeouts = timeouts
        self._slot = slot
        self._led_by_public = False
        self._agent = SourceAgent(dialler.reactor)
        self._client = HTTPClient(self._agent)

    async def _exchange(self) -> IResponseBody:
        """Request the URL when the account may be asked, and tell the account how the provider answered."""
        await self._sockets.closed()
        turn = await self._wait_turn()
        try:
            body = await self._follow_redirects()
        except SourceError as error:
            self._accounts.answered(turn, error)
            raise
        except BaseException:
            self._accounts.answered(turn, SourceError(Reason.INTERNAL, "no answer"))
            raise
        self._accounts.answered(turn, None)
        return body

    async def _follow_redirects(self) -> IResponseBody:
        """Request the URL, and then the target of each redirect, until the response is no redirect."""
        request = self._request
        hop = first_hop(request.url, request.user_agent, request.headers)
        while True:
            self._agent.hop = self._digest.authorized(hop, self._request.method)
            response = await self._send()
            assert self._connection is not None
            target = None
            if response.code in {200, 206}:
                public = self._led_by_public or self._connection.is_public
                body = ResponseBody(response, self._connection, hop.location.url, self._agent.coding, public)
                target = await self._station_url(body, hop)
                if target is None:
                    return body
            self._withdraw_connection()
            if response.code in REDIRECT_STATUSES:
                target = response.headers.getRawHeaders(b"Location", [b""])[0]
            if target is not None:
                hop = next_hop(hop, target, _cookies(response))
                self._led_by_public = self._connection.is_public
            elif not is_challenge(response, self._digest, hop):
                raise self._status_error(response)
            await self._connection.close()

    async def _station_url(self, body: ResponseBody, hop: RequestHop) -> bytes | None:
        """Return the URL that a station list names, as a redirect would; None for any other body."""
        path = hop.location.target.partition("?")[0]
        if self._request.method != "GET" or body.status != 200 or not may_be_list(path, body.content_type):
            return None
        url = await read_station_url(body, self._reactor, self._timeouts.first_byte)
        self._lists += url is not None
        if self._lists > MAX_LEVELS:
            raise SourceError(Reason.REDIRECT_LOOP, f"more than {MAX_LEVELS} station lists")
        return None if url is None else url.encode("utf-8", "surrogateescape")

    async def _send(self) -> Any:
        """Return the response to the request of the current hop. Its body is not read yet."""
        hop = self._agent.hop
        assert hop is not None
        self._connection = self._agent.connection = ProviderConnection(
            self._reactor,
            self._sockets,
            hop.location,
            self._request.verifies(hop),
            self._connected,
            self._outbound,
            self._led_by_public,
            self._slot,
            is_single=True,
        )
        self._set_step_timeout(self._timeouts.connect)
        response = await self._client.request(
            self._request.method,
            cookie_url(hop.location),
            unbuffered=True,
            allow_redirects=False,
            reactor=self._reactor,
        )
        self._set_step_timeout(None)
        return response

    def _connected(self) -> None:
        self._set_step_timeout(self._timeouts.first_byte)
        self._count_connection()

    # the account

    async def _wait_turn(self) -> Turn:
        self._awaits_turn = True
        turn = await self._accounts.wait(self._request.queue_key, self._timeouts.patient)
        self._awaits_turn = False
        return turn

    def _timed_out(self, seconds: float, how: str = "") -> None:
        """Report a dial that has waited for its turn as the refusal that it waited for."""
        refusal = self._accounts.refusal(self._request.queue_key) if self._awaits_turn else None
        if refusal is not None:
            self._fail(refusal)
        else:
            super()._timed_out(seconds, how)

    def _count_connection(self) -> None:
        """Count the connection until its socket has closed."""
        assert self._connection is not None
        usage, request = self._accounts.usage, self._request
        counted = usage.begin(request.account_key, request.url, self._reactor.seconds())
        self._counted = counted
        self._connection.closed().addCallback(lambda _: usage.end(counted, self._reactor.seconds()))

    def _withdraw_connection(self) -> None:
        """Stop counting a connection that the provider has refused or redirected."""
        if self._counted is not None:
            self._accounts.usage.withdraw(self._request.account_key, self._counted)

    def _status_error(self, response: Any) -> SourceError:
        """Return the error of a response that is neither a body nor a redirect. A 416 may tell the file's length."""
        counted = self._accounts.has_too_many(self._request)
        retry_after = parse_retry_after(_header(response, b"Retry-After"), _header(response, b"Date"))
        error = status_error(response.code, counted, retry_after)
        if response.code == 416:
            error.length = parse_complete_length(_header(response, b"Content-Range"))
        return error


def _header(response: Any, name: bytes) -> str:
    value: bytes = response.headers.getRawHeaders(name, [b""])[0]
    return value.decode("latin-1")


def _cookies(response: Any) -> Cookies:
    """Return the cookies that the hops of this dial have set so far."""
    return frozenset((c.domain, c.path, c.name, c.value or "") for c in response.cookies())
