"""The proxy's own names and URL, as a client sees them."""

# mypy: allow-untyped-calls

from __future__ import annotations

import re
from urllib.parse import urlsplit

import attrs
from twisted.web.server import Request

from ...settings import Settings
from .client_address import comes_from_proxy, forwarded

#: ``host[:port]`` (RFC 9110 section 7.2); a label of a name has 63 characters at most.
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[\w-]{1,63}(?:\.[\w-]{1,63})*\.?)(?::(\d{0,5}))?", re.ASCII)
#: A prefix that a proxy may name: segments that are no dot segments, so that players do not resolve them.
_PREFIX = re.compile(r"(/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)*/?")
_MAX_PREFIX_CHARACTERS = 200
_DEFAULT_PORT = {"http": 80, "https": 443}


@attrs.frozen
class Authority:
    """The host and port of a URL or a Host header.

    ``host`` is in lower case, an IPv6 address without brackets, a name without the dot of the root. ``port`` is None if
    it is omitted.
    """

    host: str
    port: int | None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"

    def same_as(self, other: Authority, scheme: str) -> bool:
        """Return whether both name the same server under a scheme."""
        default = _DEFAULT_PORT.get(scheme)
        return (self.host, self.port or default) == (other.host, other.port or default)


def parse_authority(text: str) -> Authority | None:
    """Return the authority in a text; None if it is not ``host[:port]``."""
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        return None
    host = match[1].strip("[]").removesuffix(".").lower()
    return Authority(host, int(match[2]) if match[2] else None)


def public_authority(settings: Settings) -> Authority | None:
    """Return the authority of ``PUBLIC_URL``, if it is set."""
    return parse_authority(urlsplit(settings.public_url).netloc) if settings.public_url else None


def requested_names(request: Request, settings: Settings) -> list[str]:
    """Return the names in Host, and in ``X-Forwarded-Host`` if a trusted proxy has sent it."""
    lines = request.requestHeaders.getRawHeaders(b"Host", [])
    names = [line.decode("latin-1") for line in lines]
    if comes_from_proxy(request, settings):
        names += forwarded(request, b"X-Forwarded-Host")
    return names


def base_url(request: Request, settings: Settings) -> str:
    """Return the proxy's URL for the client of a request, without a slash at the end.

    If ``PUBLIC_URL`` is set, return it. Otherwise scheme, host, port and prefix are those of a trusted proxy's headers
    (``X-Forwarded-Proto``, ``-Host``, ``-Port``, ``-Prefix``), or else those of the request. The default prefix is
    ``ROOT_PATH``, which is valid without a proxy and behind a proxy that strips it.
    """
    if settings.public_url:
        return settings.public_url
    proxied = comes_from_proxy(request, settings)

    def sent(name: bytes) -> str:
        return next(iter(forwarded(request, name)), "") if proxied else ""

    scheme = sent(b"X-Forwarded-Proto").lower()
    if scheme not in _DEFAULT_PORT:
        scheme = "https" if request.isSecure() else "http"
    authority = parse_authority(sent(b"X-Forwarded-Host")) or _requested_host(request)
    authority = _with_port(authority, sent(b"X-Forwarded-Port"), scheme)
    return f"{scheme}://{authority}{path_prefix(request, settings)}"


def path_prefix(request: Request, settings: Settings) -> str:
    """Return the prefix of the proxy's paths for the client of a request, without a slash at the end.

    Reverse proxies strip the prefix, so paths in playlists must have it. It is that of ``PUBLIC_URL``, or else of
    ``X-Forwarded-Prefix`` of a trusted proxy, or else ``ROOT_PATH``. An unusable header is ignored.
    """
    public = public_prefix(settings)
    if public:
        return public
    sent = forwarded(request, b"X-Forwarded-Prefix")[:1]
    if not sent or not comes_from_proxy(request, settings):
        return settings.root_path
    usable = len(sent[0]) <= _MAX_PREFIX_CHARACTERS and _PREFIX.fullmatch(sent[0])
    return sent[0].rstrip("/") if usable else settings.root_path


def public_prefix(settings: Settings) -> str:
    """Return the path of ``PUBLIC_URL``, without a slash at the end; empty if there is none."""
    return urlsplit(settings.public_url).path if settings.public_url else ""


def _requested_host(request: Request) -> Authority:
    """Return the authority of the Host header. If it is missing or invalid, return the listening address."""
    authority = parse_authority((request.getHeader(b"Host") or b"").decode("latin-1"))
    if authority is None:
        here = request.getHost()
        return Authority(getattr(here, "host", "localhost"), getattr(here, "port", None))
    return authority


def _with_port(authority: Authority, port: str, scheme: str) -> Authority:
    """Add the port of ``X-Forwarded-Port``, unless the authority has one.

    Ports 80 and 443 are ignored: they may be those of an inner proxy behind one that terminates TLS.
    """
    usable = re.fullmatch(r"[0-9]{1,5}", port) and int(port) not in (0, *_DEFAULT_PORT.values())
    if authority.port is None and usable:
        return Authority(authority.host, int(port))
    return authority
