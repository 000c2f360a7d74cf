"""HTTP requests to providers for playlists, segments and keys, over kept-alive connections.

Unlike a dial (:mod:`m3uproxy.upstream.dialler`), a request succeeds with any status: if the provider has dropped a
segment, the player gets the 404. Short bodies of redirects and errors are read to their end, so that the connection can
be used again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from http.cookiejar import CookieJar
from typing import Any, Protocol

import attrs
from treq.client import HTTPClient
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.iweb import UNKNOWN_LENGTH

from ..core.failover.causes import status_error
from ..core.hls.uri_rewriter import ResourceKind
from ..core.http.digest import DigestExchange, DigestSessions
from ..core.http.redirects import REDIRECT_STATUSES, Cookies, RequestHop, next_hop, playlist_hop
from ..core.http.retry_after import parse_retry_after
from ..core.http.source_request import DialTimeouts, SourceRequest
from ..errors import Reason, SourceError
from ..interfaces import IResponseBody
from ..upstream.account_turns import AccountTurns, Turn
from ..upstream.agent import cookie_url, is_challenge, new_digest_sessions
from ..upstream.connection_pool import ConnectionPool, ConnectionRequest, PooledAgent, PooledConnection
from ..upstream.response_body import ResponseBody
from ..upstream.timed_request import TimedRequest

#: The body of a redirect or an error is read to its end if it has at most this many bytes, and if it comes within this
#: many seconds. Otherwise the connection is closed.
DRAIN_BYTES = 65_536
DRAIN_SECONDS = 1.0
#: Sources whose cookies are kept.
MAX_COOKIE_JARS = 1000
#: Cookies of one source. If it sets more, all are dropped: no provider needs as many.
MAX_COOKIES = 100
_WITH_BODY = frozenset({200, 203, 206})
#: Headers of the provider's response that players need.
_PLAYER_HEADERS = ("Content-Type", "Content-Range", "ETag", "Last-Modified", "Cache-Control", "Date", "Retry-After")


@attrs.frozen
class ResourceRequest:
    """
    A request for a resource that a playlist names, or for the first playlist of a source.

    :ivar url: the absolute URL.
    :ivar source: the source, with its user agent and headers. Headers go only to the hosts that may see them.
    :ivar led_by_public: True if a playlist of a public host named the URL; see :attr:`ProviderResponse.public`.
    :ivar kind: what a playlist named, so that a page in its place is noticed; None for a playlist.
    """

    url: str = attrs.field(repr=False)
    source: SourceRequest
    led_by_public: bool = False
    kind: ResourceKind | None = attrs.field(default=None, eq=False)


@attrs.frozen
class ProviderResponse:
    """
    The final response of a provider.

    :ivar status: its HTTP status, never a redirect.
    :ivar headers: the headers that a player needs, by their usual names.
    :ivar final_url: the URL after redirects, the base of relative URIs.
    :ivar public: True if a public host was on the way. The URIs in the body must then not lead to private addresses.
    :ivar body: the body, to be delivered or closed; None for an error status.
    :ivar error: the meaning of an error status; None if it follows from the status alone.
    """

    status: int
    headers: Mapping[str, str]
    final_url: str = attrs.field(repr=False)
    public: bool = False
    body: IResponseBody | None = None
    error: SourceError | None = None


class ProviderHttpClient(Protocol):
    """The HTTP client of a fetcher."""

    def get(
        self, request: ResourceRequest, byte_range: str | None, timeouts: DialTimeouts
    ) -> Deferred[ProviderResponse]:
        """
        Send a GET request and follow its redirects.

        :param byte_range: the value of the ``Range`` header, None for the whole resource.
        :param timeouts: seconds for the steps.
        :return: a Deferred that fails with a :class:`m3uproxy.errors.SourceError`, and may be cancelled.
        """


class HlsHttpClient:
    """The HTTP client for HLS: a pool of connections, and the cookies of each source."""

    def __init__(self, pool: ConnectionPool, accounts: AccountTurns | None = None) -> None:
        """
        Prepare a client.

        :param accounts: knows the accounts that have too many connections.
        """
        self._pool = pool
        self._accounts = accounts or AccountTurns(pool.reactor)
        self._digests = new_digest_sessions()
        self._cookie_jars: OrderedDict[SourceRequest, CookieJar] = OrderedDict()

    def get(
        self, request: ResourceRequest, byte_range: str | None, timeouts: DialTimeouts
    ) -> Deferred[ProviderResponse]:
        """See :meth:`ProviderHttpClient.get`."""
        cookie_jar = self._cookie_jar(request.source)
        return _ResourceExchange(
            self._pool, self._accounts, cookie_jar, self._digests, request, byte_range, timeouts
        ).start()

    def _cookie_jar(self, source: SourceRequest) -> CookieJar:
        """Return the cookies of a source. Cookies that its playlist sets are sent with its segments."""
        cookie_jar = self._cookie_jars.setdefault(source, CookieJar())
        self._cookie_jars.move_to_end(source)
        if len(cookie_jar) > MAX_COOKIES:
            cookie_jar.clear()
        if len(self._cookie_jars) > MAX_COOKIE_JARS:
            self._cookie_jars.popitem(last=False)
        return cookie_jar


class _ResourceExchange(TimedRequest[ProviderResponse]):
    """A request, and the requests that its redirects lead to."""

    def __init__(
        self,
        pool: ConnectionPool,
        accounts: AccountTurns,
        cookie_jar: CookieJar,
        digests: DigestSessions,
        request: ResourceRequest,
        byte_range: str | None,
        timeouts: DialTimeouts,
    ) -> None:
        super().__init__(pool.reactor, timeouts.total)
        self._pool = pool
        self._accounts = accounts
        self._resource_request = request
        self._timeouts = timeouts
        self._public = request.led_by_public
        self._digest = DigestExchange(digests)
        self._pooled: PooledConnection | None = None
        self._awaits_turn = False
        extra_headers = [(b"Range", byte_range.encode("ascii"))] if byte_range else []
        self._agent = PooledAgent(pool.reactor, extra_headers=extra_headers)
        self._client = HTTPClient(self._agent, cookiejar=cookie_jar)  # type: ignore[arg-type]

    async def _exchange(self) -> ProviderResponse:
        """Send the request when the account may be asked, and tell the account how the provider answered."""
        turn = await self._wait_turn()
        try:
            response = await self._follow_redirects()
        except BaseException:
            self._accounts.answered(turn, SourceError(Reason.INTERNAL, "no answer"))
            raise
        self._accounts.answered(turn, response.error)
        return response

    async def _wait_turn(self) -> Turn:
        self._awaits_turn = True
        turn = await self._accounts.wait(self._resource_request.source.queue_key, self._timeouts.patient)
        self._awaits_turn = False
        return turn

    async def _follow_redirects(self) -> ProviderResponse:
        """Send the request and follow redirects. Return the first response that is no redirect."""
        try:
            source = self._resource_request.source
            hop = playlist_hop(self._resource_request.url, source.url, source.user_agent, source.headers)
            while True:
                response = await self._send(self._digest.authorized(hop, "GET"))
                if response.code in REDIRECT_STATUSES:
                    locations = response.headers.getRawHeaders(b"Location", [None])
                    hop = next_hop(hop, locations[0], _cookies(response))
                elif not is_challenge(response, self._digest, hop):
                    return await self._response_from(response, hop)
                await self._drain(response)
        except BaseException:
            self._release_connection(False)
            raise

    async def _send(self, hop: RequestHop) -> Any:
        """Return the response of one hop, whose body is still to come. Retry once on a new connection if needed."""
        pooled = await self._acquire_connection(hop, fresh=False)
        reads = pooled.connection.reads
        try:
            return await self._send_over(pooled, hop)
        except Exception:
            # A server may close an idle connection at any time, even while this request is sent over it.
            if not pooled.used or pooled.connection.reads != reads or self._error is not None:
                raise
        self._release_connection(False)
        return await self._send_over(await self._acquire_connection(hop, fresh=True), hop)

    async def _acquire_connection(self, hop: RequestHop, fresh: bool) -> PooledConnection:
        source = self._resource_request.source
        self._pooled = await self._pool.acquire(
            ConnectionRequest(hop.location, source.verifies(hop), self._public, fresh, source.slot)
        )
        self._pooled.on_abort = lambda: self._fail(
            SourceError(Reason.NO_SLOT, "the stream has released its connection")
        )
        self._connection = self._pooled.connection
        return self._pooled

    def _release_connection(self, complete: bool) -> None:
        """
        Release the connection; from then on the pool may give it to another request.

        :param complete: True if the response was read to its end, so that the connection can be used again.
        """
        pooled, self._pooled = self._pooled, None
        if pooled is not None:
            pooled.release(complete)
            self._connection = None if complete else self._connection

    async def _send_over(self, pooled: PooledConnection, hop: RequestHop) -> Any:
        self._agent.hop, self._agent.pooled, self._agent.connection = hop, pooled, pooled.connection
        pooled.on_connected = lambda: self._set_step_timeout(self._timeouts.first_byte)
        self._set_step_timeout(self._timeouts.first_byte if pooled.used else self._timeouts.connect)
        url = cookie_url(hop.location)
        response = await self._client.get(url, unbuffered=True, allow_redirects=False, reactor=self._reactor)
        self._set_step_timeout(None)
        self._public = self._public or pooled.connection.is_public
        return response

    async def _response_from(self, response: Any, hop: RequestHop) -> ProviderResponse:
        headers = {name: value for name in _PLAYER_HEADERS if (value := _header(response, name)) is not None}
        provider_response = ProviderResponse(response.code, headers, hop.location.url, self._public)
        if response.code not in _WITH_BODY:
            error = self._status_error(response.code, headers)
            await self._drain(response)
            return attrs.evolve(provider_response, error=error)
        source = self._resource_request.source
        self._accounts.usage.used(source.account_key, source.url, self._reactor.seconds())
        assert self._pooled is not None
        body = PooledBody(response, self._pooled, hop.location.url, self._agent.coding, self._public)
        return attrs.evolve(provider_response, body=body)

    def _status_error(self, status: int, headers: Mapping[str, str]) -> SourceError:
        """Return the error for a status. The connections of the source itself are no reason to refuse it."""
        source = self._resource_request.source
        counted = self._accounts.has_too_many(source, apart_from=source.url)
        return status_error(status, counted, parse_retry_after(headers.get("Retry-After", ""), headers.get("Date", "")))

    async def _drain(self, response: Any) -> None:
        """Release the connection of a response: after reading its body if that is short, else by closing it."""
        if response.length is UNKNOWN_LENGTH or response.length > DRAIN_BYTES:
            self._release_connection(False)
            return
        drain = _BodyDrain()
        response.deliverBody(drain)
        timer = self._reactor.callLater(DRAIN_SECONDS, drain.ended, False)
        try:
            self._release_connection(await drain.complete)
        finally:
            if timer.active():
                timer.cancel()

    def _timed_out(self, seconds: float, how: str = "") -> None:
        """
        Report what the request has waited for without a connection.

        ``NO_SLOT`` stands for other requests of this proxy. For a turn to ask the account, that is the last refusal.
        """
        refusal = self._accounts.refusal(self._resource_request.source.queue_key) if self._awaits_turn else None
        if refusal is not None:
            self._fail(refusal)
        elif self._pooled is None:
            self._fail(SourceError(Reason.NO_SLOT, f"no connection to the provider's host was free for {seconds:g} s"))
        else:
            super()._timed_out(seconds, how)


class _BodyDrain(TwistedProtocol):
    """A consumer that drops a body.

    :ivar complete: fires with True if the body has come, False if it has not.
    """

    def __init__(self) -> None:
        self.complete: Deferred[bool] = Deferred()

    def ended(self, complete: bool) -> None:
        """Fire ``complete``, unless it has fired."""
        if not self.complete.called:
            self.complete.callback(complete)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See :meth:`twisted.internet.interfaces.IProtocol.connectionLost`."""
        self.ended(reason.check(ResponseDone) is not None)


class PooledBody(ResponseBody):
    """The body of a response over a pooled connection, which is released when the body has been read."""

    def __init__(
        self, response: Any, pooled: PooledConnection, final_url: str, coding: str = "", public: bool = False
    ) -> None:
        super().__init__(response, pooled.connection, final_url, coding, public)
        self._pooled: PooledConnection | None = pooled

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Release the connection, then end the body. A gzip stream without its end is truncated."""
        if self._decoder is not None and not self._decoder.complete and self._error is None:
            self._error = SourceError(Reason.TRUNCATED, "the gzip stream has no end")
        pooled, self._pooled = self._pooled, None
        if pooled is not None:
            pooled.release(reason.check(ResponseDone) is not None)
        super().connectionLost(reason)

    def pause(self) -> None:
        """Stop reading. After the end, do nothing: the connection may carry another response."""
        if self._pooled is not None:
            super().pause()

    def resume(self) -> None:
        """Resume reading. After the end, do nothing."""
        if self._pooled is not None:
            super().resume()

    def read(self, deliver: bool) -> int:
        """Read once; after the end, return 0. See :meth:`m3uproxy.interfaces.IResponseBody.read`."""
        return super().read(deliver) if self._pooled is not None else 0

    def close(self) -> Deferred[None]:
        """Close the connection, whether the body was delivered or not. Safe to call twice."""
        pooled, self._pooled = self._pooled, None
        if pooled is None:
            return succeed(None)
        closed = super().close()
        pooled.release(False)
        return closed


def response_of(body: IResponseBody) -> ProviderResponse:
    """Return the response of a body that was opened outside of this client."""
    headers = {name: value for name in _PLAYER_HEADERS if (value := body.header(name))}
    return ProviderResponse(body.status, headers, body.final_url, body.public, body)


def _header(response: Any, name: str) -> str | None:
    values = response.headers.getRawHeaders(name.encode("ascii"))
    return values[0].decode("latin-1") if values else None


def _cookies(response: Any) -> Cookies:
    """Return all cookies of the source, those of this response included."""
    return frozenset((c.domain, c.path, c.name, c.value or "") for c in response.cookies())
