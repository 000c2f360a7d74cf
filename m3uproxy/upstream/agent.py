"""What treq's layers must not decide: which headers go out, and which URL."""

from __future__ import annotations

import hashlib
import re
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

from ..core.http.redirects import Location, RequestHop
from .connection import ProviderConnection

_HOST_NAME = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9/._~-]")


class CookieURL(EncodedURL):
    """A URL that needs no encoding; finding that out anew is a tenth of a dial."""

    __slots__ = ()

    def to_uri(self) -> CookieURL:
        """Itself."""
        return self


@lru_cache(maxsize=1024)
def cookie_url(location: Location) -> CookieURL:
    """
    The URL to give to treq, which uses it only to decide which cookies belong to a request.

    Not the URL that is asked for: treq re-encodes URLs and fails on some that providers use (IPv6 addresses, host
    names with an underscore or two hyphens), which are represented here by a name made from them. No query, because
    a cookie has a domain and a path only (RFC 6265 section 5.4).
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
    The innermost agent of a dial, under treq's cookies and decoders: sends a hop's headers and no others.

    treq asks for gzip and cannot be told not to (a live stream gains nothing by it), and its decoder sets no bound to
    what a body becomes; Twisted sends no User-Agent and makes the ``Host`` header from the URL it is given.

    :ivar gzipped: whether the body of the last response is gzip all the same, which is then for others to undo.
    :ivar extra_headers: headers that go out with every hop's own, such as ``Range``.
    """

    reactor: Any
    hop: RequestHop | None = None
    connection: ProviderConnection | None = None
    gzipped: bool = False
    extra_headers: Sequence[tuple[bytes, bytes]] = ()

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        """Ask for the hop over the connection; of the headers that the layers above set only cookies count."""
        assert self.hop is not None
        assert self.connection is not None
        jar = headers.getRawHeaders(b"Cookie", []) if headers is not None else []
        origin = cookie_url(self.hop.location).to_text().encode("ascii")
        ours = _headers(self.hop, jar)
        for name, value in self.extra_headers:
            ours.setRawHeaders(name, [value])
        asked: Deferred[IResponse] = self._agent().request(method, origin, ours, bodyProducer)
        return asked.addCallback(self._hide_coding)

    def _agent(self) -> IAgent:
        """One connection for one response."""
        assert self.connection is not None
        pool = HTTPConnectionPool(self.reactor, persistent=False)
        agent: IAgent = Agent.usingEndpointFactory(self.reactor, self.connection, pool)
        return agent

    def _hide_coding(self, response: IResponse) -> IResponse:
        """Keep the content coding from treq."""
        self.gzipped = response.headers.getRawHeaders(b"Content-Encoding") == [b"gzip"]
        response.headers.removeHeader(b"Content-Encoding")
        return response


def _headers(hop: RequestHop, jar: Sequence[bytes]) -> Headers:
    """The hop's headers, with its cookies and those that the provider has set since in one line."""
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
