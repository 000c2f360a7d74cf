"""Redirects: the next request, made from a request and the ``Location`` of its response.

A general HTTP client has three faults here. It resolves a relative ``Location`` against the first URL instead of the
current one. It sends custom headers to hosts that they do not belong to. It takes URLs apart and puts them together
again, but IPTV URLs are signed: ``%2B`` and ``+``, ``%2f`` and ``%2F``, ``a?`` and ``a`` have different signatures. So
URLs are split by :mod:`m3uproxy.core.http.uri_reference`, which loses nothing, and only bytes that a request line
cannot contain are percent-encoded.

The headers are kept as the entry URL had them. Each hop is sent those that belong to it: all on the host of the entry
URL (any port; https only if the entry was https), elsewhere only those that hold no secret.
"""

from __future__ import annotations

import base64
import re
from ipaddress import IPv4Address
from urllib.parse import unquote_to_bytes

import attrs
import idna

from ...errors import Reason, SourceError
from .outbound_policy import parse_address
from .uri_reference import resolve, split_reference

#: Redirects that are followed.
MAX_REDIRECTS = 10
#: Statuses that are followed. The request is a GET, so they all mean the same (RFC 9110 section 15.4).
REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})

_ANYWHERE = frozenset(
    {"user-agent", "accept", "accept-language", "referer", "origin", "range", "if-range", "icy-metadata"}
)
#: Headers that the HTTP client sets for each connection (RFC 9110 section 7.6.1). Those of a stream are dropped.
_HOP_BY_HOP = frozenset(
    {
        "connection",
        "content-length",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_NETLOC = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~-]+)(?::(\d{0,5}))?")
#: Longest host with a port in characters. A host name has at most 253 (RFC 1035), encoded or not.
_MAX_NETLOC = 512
_UNSENDABLE = re.compile(rb"[^\x21-\x7e]")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PORTS = {"http": 80, "https": 443}

Headers = tuple[tuple[str, str], ...]
#: The identity of each cookie, such as its domain, path, name and value.
Cookies = frozenset[tuple[str, ...]]


@attrs.frozen
class Location:
    """The target of a request: a URL without userinfo and fragment, split once."""

    scheme: str
    host: str
    """Lower case, ASCII (IDNA); an IPv4 address in dotted decimals, an IPv6 address without brackets."""
    port: int
    target: str = attrs.field(repr=False)
    """Path and query, exactly as they are sent."""

    @property
    def netloc(self) -> str:
        """The value of the ``Host`` header: IPv6 in brackets, no default port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme, host and port (RFC 6454 section 6.2)."""
        return f"{self.scheme}://{self.netloc}"

    @property
    def url(self) -> str:
        """The whole URL."""
        return self.origin + self.target

    def trusts(self, other: Location) -> bool:
        """Return whether secrets for this location may be sent to another: the same host, not from https to http."""
        return self.host == other.host and (self.scheme, other.scheme) != ("https", "http")


@attrs.frozen
class Credentials:
    """User and password of a URL, percent-decoded."""

    user: bytes = attrs.field(repr=False)
    password: bytes = attrs.field(repr=False)

    @property
    def basic(self) -> str:
        """The value of ``Authorization`` (RFC 7617)."""
        return "Basic " + base64.b64encode(self.user + b":" + self.password).decode("ascii")


@attrs.frozen
class RequestHop:
    """A request in a chain of redirects."""

    location: Location
    entry: Location
    entry_headers: Headers = attrs.field(repr=False)
    credentials: Credentials | None
    """User and password, from the userinfo of a URL, for the host of this hop."""
    seen: tuple[tuple[Location, Cookies], ...] = attrs.field(repr=False)
    """The targets of all requests up to this one, each with the cookies known then."""
    digest: str | None = attrs.field(default=None, repr=False)
    """The value of ``Authorization`` of this request in place of the basic one; see :mod:`.digest`."""

    @property
    def is_on_own_host(self) -> bool:
        """True on the host of the source or of the requested URL: no redirect has led to another host."""
        return self.location.host in {self.entry.host, self.seen[0][0].host}

    @property
    def headers(self) -> Headers:
        """The headers to send, except ``Host``, ``Connection`` and cookies."""
        headers = self._headers_of_stream
        if self.credentials is None or not self.uses_credentials:
            return headers
        return (*headers, ("Authorization", self.digest or self.credentials.basic))

    @property
    def uses_credentials(self) -> bool:
        """True if the credentials are sent, and no header ``Authorization`` of the stream."""
        replaced = any(name.lower() == "authorization" for name, _ in self._headers_of_stream)
        return self.credentials is not None and not replaced

    @property
    def _headers_of_stream(self) -> Headers:
        trusted = self.entry.trusts(self.location)
        return tuple((name, value) for name, value in self.entry_headers if trusted or name.lower() in _ANYWHERE)


def first_hop(url: str, user_agent: str, headers: Headers) -> RequestHop:
    """
    Return the request for the URL of a source.

    :param headers: the headers of the stream; they replace the default ones, in upper or lower case.
    :raises SourceError: ``UNREACHABLE`` for a URL or a header that cannot be sent.
    """
    try:
        location, credentials = _locate(url)
    except ValueError as why:
        raise SourceError(Reason.UNREACHABLE, f"the URL has {why}") from None
    defaults = (
        ("User-Agent", user_agent),
        ("Accept", "*/*"),
        ("Referer", f"{location.origin}/"),
        ("Origin", location.origin),
    )
    return RequestHop(location, location, _merged(defaults, headers), credentials, ((location, frozenset()),))


def playlist_hop(url: str, entry_url: str, user_agent: str, headers: Headers) -> RequestHop:
    """
    Return the request for a playlist, or for a URL in a playlist. It has no default ``Referer`` and ``Origin``.

    :param url: absolute URL; its host decides which headers of the stream are sent.
    :param entry_url: URL of the source, whose host the headers and credentials belong to.
    :raises SourceError: ``UNREACHABLE`` for a URL or a header that cannot be sent.
    """
    try:
        entry, entry_credentials = _locate(entry_url)
        location, credentials = _locate(url)
    except ValueError as why:
        raise SourceError(Reason.UNREACHABLE, f"the URL has {why}") from None
    if credentials is None and entry.trusts(location):
        credentials = entry_credentials
    sent = _merged((("User-Agent", user_agent), ("Accept", "*/*")), headers)
    return RequestHop(location, entry, sent, credentials, ((location, frozenset()),))


def next_hop(hop: RequestHop, location: bytes | None, cookies: Cookies = frozenset()) -> RequestHop:
    """
    Return the request that follows a redirect.

    :param hop: the request that was redirected.
    :param location: the ``Location`` header as received; None if it is absent.
    :param cookies: all cookies known by now. The same URL with a new cookie is no loop: some panels set a cookie and
        redirect to themselves.
    :raises SourceError: ``BAD_REDIRECT`` or ``REDIRECT_LOOP``.
    """
    reference = (location or b"").strip(b" \t\r\n\x00")
    if not reference:
        raise SourceError(Reason.BAD_REDIRECT, "redirect without a Location header")
    try:
        target, credentials = _locate(resolve(hop.location.url, reference.decode("utf-8", "surrogateescape")))
    except ValueError as why:
        raise SourceError(Reason.BAD_REDIRECT, f"the redirect target has {why}") from None
    if (target, cookies) in hop.seen:
        raise SourceError(Reason.REDIRECT_LOOP, "the provider redirects to a URL that was already requested")
    if len(hop.seen) > MAX_REDIRECTS:
        raise SourceError(Reason.REDIRECT_LOOP, f"more than {MAX_REDIRECTS} redirects")
    if credentials is None and hop.location.trusts(target):
        credentials = hop.credentials
    return RequestHop(target, hop.entry, hop.entry_headers, credentials, (*hop.seen, (target, cookies)))


def _merged(defaults: Headers, own: Headers) -> Headers:
    """Return the default headers, replaced by those of the stream."""
    for name, _ in own:
        if not _TOKEN.fullmatch(name):
            raise SourceError(Reason.UNREACHABLE, "a header of the stream has an invalid name")
    replaced = {name.lower() for name, _ in own}
    kept = tuple((name, value) for name, value in defaults if name.lower() not in replaced)
    return kept + tuple((name, value) for name, value in own if name.lower() not in _HOP_BY_HOP)


def _locate(url: str) -> tuple[Location, Credentials | None]:
    """Split an absolute URL. Return its location, and user and password of its userinfo."""
    scheme, authority, path, query = split_reference(url.strip())
    if scheme is None:
        raise ValueError("no scheme, http:// or https://")
    scheme = scheme.lower()
    if scheme not in _PORTS:
        raise ValueError("a scheme other than http and https")
    userinfo, at, netloc = (authority or "").rpartition("@")
    match = _NETLOC.fullmatch(_ascii_netloc(netloc)) if len(netloc) <= _MAX_NETLOC else None
    if match is None or "\\" in userinfo:  # some parsers end the host at a backslash
        raise ValueError("no usable host")
    port = int(match[2] or _PORTS[scheme])
    if not 0 < port < 65536:
        raise ValueError("a port out of range")
    target = path + query if path else "/" + query
    location = Location(scheme, _plain_host(match[1].lower()), port, _sendable(target))
    return location, _credentials(userinfo) if at else None


def _plain_host(host: str) -> str:
    """Return a host in its canonical form: libc reads ``0x7f.1`` as 127.0.0.1, other parsers as a name."""
    try:
        address = parse_address(host)
    except ValueError:
        raise ValueError("an invalid IP address") from None
    return str(address) if isinstance(address, IPv4Address) else host.strip("[]")


def _ascii_netloc(netloc: str) -> str:
    """Return host and port, with a non-ASCII host name in its IDNA form (RFC 5891, mapped by UTS 46)."""
    if netloc.isascii():
        return netloc
    host, colon, port = netloc.partition(":")
    try:
        return idna.encode(host, uts46=True).decode("ascii") + colon + port
    except UnicodeError:
        raise ValueError("an invalid host name") from None


def _sendable(target: str) -> str:
    """Percent-encode blanks, control characters and non-ASCII bytes; keep every other byte."""
    raw = target.encode("utf-8", "surrogateescape")
    return _UNSENDABLE.sub(lambda byte: b"%%%02X" % byte[0][0], raw).decode("ascii")


def _credentials(userinfo: str) -> Credentials | None:
    """Return ``user:password`` of a URL, decoded; None if both are empty."""
    user, _, password = userinfo.partition(":")
    decoded = [unquote_to_bytes(part.encode("utf-8", "surrogateescape")) for part in (user, password)]
    return Credentials(*decoded) if any(decoded) else None
