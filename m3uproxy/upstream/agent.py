"""The agent below treq: it sends exactly the headers and the URL of a hop, and tells challenges from refusals."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import attrs
from hyperlink import EncodedURL
from twisted.internet.defer import Deferred
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from ..core.http.digest import DigestExchange, DigestSessions
from ..core.http.redirects import Location, RequestHop
from .connection import ProviderConnection

_HOST_NAME = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9/._~-]")


class CookieURL(EncodedURL):
    """A URL that needs no encoding. Checking that each time would take a tenth of a dial."""

    __slots__ = ()

    def to_uri(self) -> CookieURL:
        """Return the URL itself."""
        return self


@lru_cache(maxsize=1024)
def cookie_url(location: Location) -> CookieURL:
    """
    Return the URL for treq, which only selects the cookies of a request by it.

    The requested URL is not used: treq re-encodes URLs and fails on some that providers use (IPv6 addresses, host names
    with an underscore or two hyphens). A hash stands for such a host name. The query is left out, because a cookie has
    a domain and a path only (RFC 6265 section 5.4).
    """
    host = location.host
    if len(host) > 253 or not _HOST_NAME.fullmatch(host) or "--" in host:
        host = f"h{hashlib.sha256(host.encode()).hexdigest()[:20]}.invalid"
    path = _NOT_PLAIN.sub("_", location.target.partition("?")[0])
    url = CookieURL.from_text(f"{location.scheme}://{host}:{location.port}{path}")
    assert isinstance(url, CookieURL)
    return url


@implementer(IAgent)
@attrs.define
class SourceAgent:
    """
    The innermost agent of a dial, below treq's cookies and decoders. It sends the headers of a hop and no others.

    treq always requests gzip, which is useless for a live stream, and its decoder does not limit the decoded size.
    Twisted sends no User-Agent and builds the ``Host`` header from the URL.

    :ivar hop: the location and headers of the next request.
    :ivar connection: the connection of the next request.
    :ivar coding: content coding of the body of the last response, which the receiver decodes; empty for none.
    :ivar extra_headers: headers that are sent with those of each hop, such as ``Range``.
    """

    reactor: Any
    hop: RequestHop | None = None
    connection: ProviderConnection | None = None
    coding: str = ""
    extra_headers: Sequence[tuple[bytes, bytes]] = ()

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        """Send the request of the hop. Of the headers that treq sets, only the cookies are used."""
        assert self.hop is not None
        assert self.connection is not None
        jar = headers.getRawHeaders(b"Cookie", []) if headers is not None else []
        origin = cookie_url(self.hop.location).to_text().encode("ascii")
        sent = _headers(self.hop, jar)
        for name, value in self.extra_headers:
            sent.setRawHeaders(name, [value])
        response: Deferred[IResponse] = self._agent().request(method, origin, sent, bodyProducer)
        return response.addCallback(self._hide_coding)

    def _agent(self) -> IAgent:
        """Return an agent that closes the connection after one response."""
        assert self.connection is not None
        pool = HTTPConnectionPool(self.reactor, persistent=False)
        agent: IAgent = Agent.usingEndpointFactory(self.reactor, self.connection, pool)
        return agent

    def _hide_coding(self, response: IResponse) -> IResponse:
        """Remove the content coding from the head, so that treq does not decode the body."""
        codings = response.headers.getRawHeaders(b"Content-Encoding", [])
        self.coding = codings[0].decode("ascii") if codings in ([b"gzip"], [b"deflate"]) else ""
        response.headers.removeHeader(b"Content-Encoding")
        return response


def _headers(hop: RequestHop, jar: Sequence[bytes]) -> Headers:
    """Return the headers of a hop. One Cookie header holds its cookies and those that the provider has set since."""
    headers = Headers()
    cookies = []
    for name, value in hop.headers:
        if name.lower() == "cookie":
            cookies.append(value.encode("utf-8"))
        else:
            headers.addRawHeader(name.encode("ascii"), value.encode("utf-8"))
    cookies += jar
    if cookies:
        headers.addRawHeader(b"Cookie", b"; ".join(cookies))
    if not headers.hasHeader(b"Host"):
        headers.addRawHeader(b"Host", hop.location.netloc.encode("ascii"))
    return headers


def new_digest_sessions() -> DigestSessions:
    """Return sessions with random client nonces."""
    return DigestSessions(lambda: secrets.token_hex(8))


def is_challenge(response: Any, exchange: DigestExchange, hop: RequestHop) -> bool:
    """Return whether a response is a challenge that the next request to the same URL answers."""
    if response.code != 401:
        return False
    values = response.headers.getRawHeaders(b"WWW-Authenticate", [])
    return exchange.accepts(hop, [value.decode("utf-8", "replace") for value in values])
