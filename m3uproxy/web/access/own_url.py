"""Where we are: the name that a client used for us, and the URL that leads it to us."""

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
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")
_DEFAULT_PORT = {"http": 80, "https": 443}


@attrs.frozen
class Authority:
    """A host and a port: who is asked, in a URL or in a Host header.

    ``host`` is in lower case, an IPv6 address without brackets, a name without the dot of the root; ``port`` is None
    where none was given.
    """

    host: str
    port: int | None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"

    def same_as(self, other: Authority, scheme: str) -> bool:
        """Whether both name the same server under this scheme."""
        default = _DEFAULT_PORT.get(scheme)
        return (self.host, self.port or default) == (other.host, other.port or default)


def parse_authority(text: str) -> Authority | None:
    """None for what is no ``host[:port]``."""
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        return None
    host = match[1].strip("[]").removesuffix(".").lower()
    return Authority(host, int(match[2]) if match[2] else None)


def public_authority(settings: Settings) -> Authority | None:
    """That of ``PUBLIC_URL``, if one is set."""
    return parse_authority(urlsplit(settings.public_url).netloc) if settings.public_url else None


def asked_for(request: Request, settings: Settings) -> list[str]:
    """Every name that a request has for us: in Host, and in ``X-Forwarded-Host`` if a trusted proxy sent it."""
    lines = request.requestHeaders.getRawHeaders(b"Host", [])
    names = [line.decode("latin-1") for line in lines]
    if comes_from_proxy(request, settings):
        names += forwarded(request, b"X-Forwarded-Host")
    return names


def base_url(request: Request, settings: Settings) -> str:
    """The URL below which the client that sent this request finds us; without a slash at the end.

    That is ``PUBLIC_URL`` where it is set. Else scheme, host, port and prefix are what a trusted proxy says of them
    (``X-Forwarded-Proto``, ``-Host``, ``-Port``, ``-Prefix``), else what the request says. Where no prefix is told
    it is ``ROOT_PATH``: right for us always, and for a proxy that strips that.
    """
    if settings.public_url:
        return settings.public_url
    proxied = comes_from_proxy(request, settings)

    def told(name: bytes) -> str:
        return next(iter(forwarded(request, name)), "") if proxied else ""

    scheme = told(b"X-Forwarded-Proto").lower()
    if scheme not in _DEFAULT_PORT:
        scheme = "https" if request.isSecure() else "http"
    authority = parse_authority(told(b"X-Forwarded-Host")) or _asked_host(request)
    authority = _with_port(authority, told(b"X-Forwarded-Port"), scheme)
    prefix = told(b"X-Forwarded-Prefix").rstrip("/")
    return f"{scheme}://{authority}{prefix if _PREFIX.fullmatch(prefix) else settings.root_path}"


def _asked_host(request: Request) -> Authority:
    """The Host header, or where we are listening if there is none that can be used."""
    authority = parse_authority((request.getHeader(b"Host") or b"").decode("latin-1"))
    if authority is None:
        here = request.getHost()
        return Authority(getattr(here, "host", "localhost"), getattr(here, "port", None))
    return authority


def _with_port(authority: Authority, port: str, scheme: str) -> Authority:
    """Add a port that a proxy told, unless there is one.

    One that belongs to the other scheme is that of an inner proxy behind one that ends TLS.
    """
    usable = re.fullmatch(r"[0-9]{1,5}", port) and int(port) not in (0, *_DEFAULT_PORT.values())
    if authority.port is None and usable:
        return Authority(authority.host, int(port))
    return authority
