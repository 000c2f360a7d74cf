"""Asking a provider for what a playlist names, over connections that are kept.

Like a dial (:mod:`m3uproxy.upstream.dialler`), but any status is a response: a segment that is gone is a player's 404.
The bodies of redirects and errors are read to their end if they are short, so that the connection may be used again.
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

from ..core.http.redirects import REDIRECT_STATUSES, Cookies, RequestHop, next_hop, playlist_hop
from ..core.http.source_request import DialTimeouts, SourceRequest
from ..errors import Reason, SourceError
from ..interfaces import IResponseBody
from ..upstream.agent import cookie_url
from ..upstream.connection_pool import ConnectionPool, ConnectionRequest, PooledAgent, PooledConnection
from ..upstream.response_body import ResponseBody
from ..upstream.timed_request import TimedRequest

#: Bytes up to which the body of a redirect or an error is read rather than cut off with its connection.
DRAIN_BYTES = 65_536
#: Seconds for that.
DRAIN_SECONDS = 1.0
#: Sources of which cookies are remembered.
MAX_COOKIE_JARS = 1000
#: Cookies of one source, beyond which all are forgotten: no provider needs them.
MAX_COOKIES = 100
_WITH_BODY = frozenset({200, 203, 206})
#: What a player needs to know of a provider's head.
_PLAYER_HEADERS = ("Content-Type", "Content-Range", "ETag", "Last-Modified", "Cache-Control", "Date", "Retry-After")


@attrs.frozen
class ResourceRequest:
    """
    Something that a playlist names, or the playlist that a stream begins with.

    :ivar url: absolute.
    :ivar source: the stream's own URL with its user agent and headers, which are sent where they belong.
    :ivar led_by_public: whether a playlist of a public host named it; see :attr:`ProviderResponse.public`.
    """

    url: str = attrs.field(repr=False)
    source: SourceRequest
    led_by_public: bool = False


@attrs.frozen
class ProviderResponse:
    """
    What a provider answered.

    :ivar status: its own, never a redirect.
    :ivar headers: those that a player needs, by their usual names.
    :ivar final_url: where the redirects led; what relative URIs are relative to.
    :ivar public: whether it came from outside, so that what it names must not lead inside.
    :ivar body: to be delivered or closed; None if the status is an error.
    """

    status: int
    headers: Mapping[str, str]
    final_url: str = attrs.field(repr=False)
    public: bool = False
    body: IResponseBody | None = None


class ProviderHttpClient(Protocol):
    """Who asks for us."""

    def get(
        self, request: ResourceRequest, byte_range: str | None, timeouts: DialTimeouts
    ) -> Deferred[ProviderResponse]:
        """
        Ask.

        :param byte_range: the value of ``Range``.
        :return: a Deferred that fails with a :class:`m3uproxy.errors.SourceError`, and may be cancelled.
        """


class HlsHttpClient:
    """Asks over real sockets."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._cookie_jars: OrderedDict[SourceRequest, CookieJar] = OrderedDict()

    def get(
        self, request: ResourceRequest, byte_range: str | None, timeouts: DialTimeouts
    ) -> Deferred[ProviderResponse]:
        """See :meth:`ProviderHttpClient.get`."""
        return _ResourceExchange(self._pool, self._cookie_jar(request.source), request, byte_range, timeouts).start()

    def _cookie_jar(self, source: SourceRequest) -> CookieJar:
        """The cookies of a source: what its playlist sets, its segments are asked for with."""
        cookie_jar = self._cookie_jars.setdefault(source, CookieJar())
        self._cookie_jars.move_to_end(source)
        if len(cookie_jar) > MAX_COOKIES:
            cookie_jar.clear()
        if len(self._cookie_jars) > MAX_COOKIE_JARS:
            self._cookie_jars.popitem(last=False)
        return cookie_jar


class _ResourceExchange(TimedRequest[ProviderResponse]):
    """One request and what it leads to."""

    def __init__(
        self,
        pool: ConnectionPool,
        cookie_jar: CookieJar,
        request: ResourceRequest,
        byte_range: str | None,
        timeouts: DialTimeouts,
    ) -> None:
        super().__init__(pool.reactor, timeouts.total)
        self._pool = pool
        self._resource_request = request
        self._timeouts = timeouts
        self._public = request.led_by_public
        self._pooled: PooledConnection | None = None
        extra_headers = [(b"Range", byte_range.encode("ascii"))] if byte_range else []
        self._agent = PooledAgent(pool.reactor, extra_headers=extra_headers)
        self._client = HTTPClient(self._agent, cookiejar=cookie_jar)  # type: ignore[arg-type]

    async def _exchange(self) -> ProviderResponse:
        """Ask, and ask again where a redirect points, until something else is answered."""
        try:
            source = self._resource_request.source
            hop = playlist_hop(self._resource_request.url, source.url, source.user_agent, source.headers)
            while True:
                response = await self._send(hop)
                if response.code not in REDIRECT_STATUSES:
                    return await self._response_from(response, hop)
                locations = response.headers.getRawHeaders(b"Location", [None])
                hop = next_hop(hop, locations[0], _cookies(response))
                await self._drain(response)
        except BaseException:
            self._release_connection(False)
            raise

    async def _send(self, hop: RequestHop) -> Any:
        """The response to a hop, with its body still to come."""
        pooled = await self._acquire_connection(hop, fresh=False)
        reads = pooled.connection.reads
        try:
            return await self._send_over(pooled, hop)
        except Exception:
            # A server closes what rests when it likes, also in the moment in which we ask again.
            if not pooled.used or pooled.connection.reads != reads or self._error is not None:
                raise
        self._release_connection(False)
        return await self._send_over(await self._acquire_connection(hop, fresh=True), hop)

    async def _acquire_connection(self, hop: RequestHop, fresh: bool) -> PooledConnection:
        source = self._resource_request.source
        self._pooled = await self._pool.acquire(
            ConnectionRequest(hop.location, source.verify_tls, self._public, fresh, source.slot)
        )
        self._pooled.on_abort = lambda: self._fail(SourceError(Reason.NO_SLOT, "the stream has ended"))
        self._connection = self._pooled.connection
        return self._pooled

    def _release_connection(self, complete: bool) -> None:
        """Release the connection; from then on it is somebody else's."""
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
            await self._drain(response)
            return provider_response
        assert self._pooled is not None
        body = PooledBody(response, self._pooled, hop.location.url, self._agent.gzipped)
        return attrs.evolve(provider_response, body=body)

    async def _drain(self, response: Any) -> None:
        """Have done with a response: its body is read if it is short and comes soon."""
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
        """Who waits for a connection has waited for others of ours."""
        if self._pooled is None:
            self._fail(SourceError(Reason.NO_SLOT, f"no connection to the provider's host was free for {seconds:g} s"))
            return
        super()._timed_out(seconds, how)


class _BodyDrain(TwistedProtocol):
    """A body that nobody wants; ``complete`` says whether it came."""

    def __init__(self) -> None:
        self.complete: Deferred[bool] = Deferred()

    def ended(self, complete: bool) -> None:
        """It is over for us."""
        if not self.complete.called:
            self.complete.callback(complete)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It is over."""
        self.ended(reason.check(ResponseDone) is not None)


class PooledBody(ResponseBody):
    """The body of a response over a connection, which belongs to somebody else once the body has been read."""

    def __init__(self, response: Any, pooled: PooledConnection, final_url: str, gzipped: bool = False) -> None:
        super().__init__(response, pooled.connection, final_url, gzipped)
        self._pooled: PooledConnection | None = pooled

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Release the connection, then tell. A gzip stream knows by itself whether it is complete."""
        if self._gunzip is not None and not self._gunzip.complete and self._error is None:
            self._error = SourceError(Reason.TRUNCATED, "the gzip stream has no end")
        pooled, self._pooled = self._pooled, None
        if pooled is not None:
            pooled.release(reason.check(ResponseDone) is not None)
        super().connectionLost(reason)

    def pause(self) -> None:
        """Stop reading."""
        if self._pooled is not None:
            super().pause()

    def resume(self) -> None:
        """Read on."""
        if self._pooled is not None:
            super().resume()

    def read(self, deliver: bool) -> int:
        """Read once."""
        return super().read(deliver) if self._pooled is not None else 0

    def close(self) -> Deferred[None]:
        """Drop the connection; also if nobody has taken the body."""
        pooled, self._pooled = self._pooled, None
        if pooled is None:
            return succeed(None)
        closed = super().close()
        pooled.release(False)
        return closed


def _header(response: Any, name: str) -> str | None:
    values = response.headers.getRawHeaders(name.encode("ascii"))
    return values[0].decode("latin-1") if values else None


def _cookies(response: Any) -> Cookies:
    """All cookies that are known by now."""
    return frozenset((c.domain, c.path, c.name, c.value or "") for c in response.cookies())
