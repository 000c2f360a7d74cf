"""Redirects: from one request and the answer's ``Location`` to the next request.

Own code, because a general client gets three things wrong for us: it resolves a relative ``Location`` against the
first URL instead of the current one, it carries custom headers to hosts they do not belong to, and it takes URLs
apart and puts them together again. IPTV URLs are signed: ``%2B`` and ``+``, ``%2f`` and ``%2F``, ``a?`` and ``a``
are different things to whoever checks the signature. So URLs are cut by :mod:`m3uproxy.core.http.uri_reference`, which
loses nothing, and only bytes that no request line can hold are percent-encoded.

Headers are kept as the entry URL had them, and each hop is sent those that belong to it: all on the entry's own host
(any port; https only if the entry was https), elsewhere the few that hold no secret.
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

#: Redirects followed before we give up.
MAX_REDIRECTS = 10
#: Statuses that are followed. The request is a GET, so they all mean the same (RFC 9110 section 15.4).
REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})

_ANYWHERE = frozenset({"user-agent", "accept", "accept-language", "referer", "origin", "range", "if-range"})
#: Set by the HTTP client for each connection; a stream's own would contradict it (RFC 9110 section 7.6.1).
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
#: Asks for titles of songs among the sound (:mod:`m3uproxy.upstream.content_decoding`), which would be taken out again.
_UNWANTED = frozenset({"icy-metadata"})
_NETLOC = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~-]+)(?::(\d{0,5}))?")
_UNSENDABLE = re.compile(rb"[^\x21-\x7e]")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PORTS = {"http": 80, "https": 443}

Headers = tuple[tuple[str, str], ...]
#: Anything that tells one cookie from another, such as its domain, path, name and value.
Cookies = frozenset[tuple[str, ...]]


@attrs.frozen
class Location:
    """Where a request goes: a URL without userinfo and fragment, taken apart once."""

    scheme: str
    host: str
    """Lower case, ASCII (IDNA); an IPv4 address in its one usual notation, an IPv6 address without its brackets."""
    port: int
    target: str = attrs.field(repr=False)
    """Path and query, exactly as they are to be sent."""

    @property
    def netloc(self) -> str:
        """What the ``Host`` header says: brackets round IPv6, no default port."""
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
        """Whether secrets meant for us may go to ``other``: same host, and not from https down to http."""
        return self.host == other.host and (self.scheme, other.scheme) != ("https", "http")


@attrs.frozen
class RequestHop:
    """One request of a chain of redirects."""

    location: Location
    entry: Location
    entry_headers: Headers = attrs.field(repr=False)
    authorization: str | None = attrs.field(repr=False)
    """Credentials from a URL's userinfo that belong to this hop's host."""
    seen: tuple[tuple[Location, Cookies], ...] = attrs.field(repr=False)
    """Where the requests up to this one went, each with the cookies known then."""

    @property
    def headers(self) -> Headers:
        """What to send, besides ``Host``, ``Connection`` and cookies."""
        trusted = self.entry.trusts(self.location)
        headers = tuple((name, value) for name, value in self.entry_headers if trusted or name.lower() in _ANYWHERE)
        if self.authorization is None or any(name.lower() == "authorization" for name, _ in headers):
            return headers
        return (*headers, ("Authorization", self.authorization))


def first_hop(url: str, user_agent: str, headers: Headers) -> RequestHop:
    """
    The request for a stream's own URL.

    :param headers: the stream's; they replace ours, whatever their case.
    :raises SourceError: ``UNREACHABLE`` for a URL or a header that cannot be sent.
    """
    try:
        location, authorization = _locate(url)
    except ValueError as why:
        raise SourceError(Reason.UNREACHABLE, f"the URL has {why}") from None
    ours = (
        ("User-Agent", user_agent),
        ("Accept", "*/*"),
        ("Referer", f"{location.origin}/"),
        ("Origin", location.origin),
    )
    return RequestHop(location, location, _merged(ours, headers), authorization, ((location, frozenset()),))


def playlist_hop(url: str, entry_url: str, user_agent: str, headers: Headers) -> RequestHop:
    """
    The request for a playlist, or for what one names. It has no ``Referer`` and ``Origin`` of ours.

    :param url: absolute; where it leads decides which of the stream's headers go along.
    :param entry_url: the stream's own URL, to whose host its headers and credentials belong.
    :raises SourceError: ``UNREACHABLE`` for a URL or a header that cannot be sent.
    """
    try:
        entry, entry_authorization = _locate(entry_url)
        location, authorization = _locate(url)
    except ValueError as why:
        raise SourceError(Reason.UNREACHABLE, f"the URL has {why}") from None
    if authorization is None and entry.trusts(location):
        authorization = entry_authorization
    sent = _merged((("User-Agent", user_agent), ("Accept", "*/*")), headers)
    return RequestHop(location, entry, sent, authorization, ((location, frozenset()),))


def next_hop(hop: RequestHop, location: bytes | None, cookies: Cookies = frozenset()) -> RequestHop:
    """
    The request that follows a redirect.

    :param hop: the request that was redirected.
    :param location: the ``Location`` header as received, None if there was none.
    :param cookies: all cookies known by now. The same URL again with a new cookie is no loop: some panels set a
        cookie and redirect to themselves.
    :raises SourceError: ``BAD_REDIRECT`` or ``REDIRECT_LOOP``.
    """
    reference = (location or b"").strip(b" \t\r\n\x00")
    if not reference:
        raise SourceError(Reason.BAD_REDIRECT, "a redirect without a Location")
    try:
        target, authorization = _locate(resolve(hop.location.url, reference.decode("utf-8", "surrogateescape")))
    except ValueError as why:
        raise SourceError(Reason.BAD_REDIRECT, f"a redirect to {why}") from None
    if (target, cookies) in hop.seen:
        raise SourceError(Reason.REDIRECT_LOOP, "the provider redirects in a circle")
    if len(hop.seen) > MAX_REDIRECTS:
        raise SourceError(Reason.REDIRECT_LOOP, f"more than {MAX_REDIRECTS} redirects")
    if authorization is None and hop.location.trusts(target):
        authorization = hop.authorization
    return RequestHop(target, hop.entry, hop.entry_headers, authorization, (*hop.seen, (target, cookies)))


def _merged(ours: Headers, theirs: Headers) -> Headers:
    """Our headers with the stream's own in their place."""
    for name, _ in theirs:
        if not _TOKEN.fullmatch(name):
            raise SourceError(Reason.UNREACHABLE, "a header of the stream has a name that cannot be sent")
    replaced = {name.lower() for name, _ in theirs}
    kept = tuple((name, value) for name, value in ours if name.lower() not in replaced)
    return kept + tuple((name, value) for name, value in theirs if name.lower() not in _HOP_BY_HOP | _UNWANTED)


def _locate(url: str) -> tuple[Location, str | None]:
    """Take an absolute URL apart; what its userinfo amounts to as ``Authorization`` comes second."""
    scheme, authority, path, query = split_reference(url.strip())
    if scheme is None:
        raise ValueError("no scheme, http:// or https://")
    scheme = scheme.lower()
    if scheme not in _PORTS:
        raise ValueError("a scheme other than http and https")
    userinfo, at, netloc = (authority or "").rpartition("@")
    match = _NETLOC.fullmatch(_ascii_netloc(netloc))
    if match is None or "\\" in userinfo:  # to some, a backslash ends the host
        raise ValueError("no usable host")
    port = int(match[2] or _PORTS[scheme])
    if not 0 < port < 65536:
        raise ValueError("a port out of range")
    target = path + query if path else "/" + query
    location = Location(scheme, _plain_host(match[1].lower()), port, _sendable(target))
    return location, _basic(userinfo) if at else None


def _plain_host(host: str) -> str:
    """A host as it is compared, and as everybody reads it: libc takes ``0x7f.1`` for 127.0.0.1, others for a name."""
    try:
        address = parse_address(host)
    except ValueError:
        raise ValueError("an address that is none") from None
    return str(address) if isinstance(address, IPv4Address) else host.strip("[]")


def _ascii_netloc(netloc: str) -> str:
    """Host and port with a non-ASCII host name in its IDNA form (RFC 5891, mapped as UTS 46 says)."""
    if netloc.isascii():
        return netloc
    host, colon, port = netloc.partition(":")
    try:
        return idna.encode(host, uts46=True).decode("ascii") + colon + port
    except UnicodeError:
        raise ValueError("a host name that is none") from None


def _sendable(target: str) -> str:
    """Percent-encode blanks, controls and all beyond ASCII; leave every other byte as it is."""
    raw = target.encode("utf-8", "surrogateescape")
    return _UNSENDABLE.sub(lambda byte: b"%%%02X" % byte[0][0], raw).decode("ascii")


def _basic(userinfo: str) -> str | None:
    """``user:password`` of a URL as the value of ``Authorization`` (RFC 7617)."""
    user, _, password = userinfo.partition(":")
    pair = unquote_to_bytes(user) + b":" + unquote_to_bytes(password)
    return None if pair == b":" else "Basic " + base64.b64encode(pair).decode("ascii")
