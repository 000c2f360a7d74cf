"""CORS: access by web pages of other origins (https://fetch.spec.whatwg.org/#http-cors-protocol).

Any page may read media, so that any web player works. Management is for the origins that the operator has configured.
Credentials are never allowed: there are no cookies, and a page that knows the token sends it in a header.
"""

# mypy: allow-untyped-calls

from __future__ import annotations

import re

import attrs
from twisted.web.resource import Resource
from twisted.web.server import Request

from ...settings import Settings
from ..responses import HTTPError, write_error
from .own_url import Authority, parse_authority

_METHODS = (b"DELETE", b"GET", b"HEAD", b"OPTIONS", b"POST")
#: Seconds for which a browser may remember the answer to a preflight.
_MAX_AGE = b"600"
#: Field names (RFC 9110 section 5.1) with commas between; longer lists are not allowed at all.
_HEADER_NAMES = re.compile(rb"[\w!#$%&'*+.^`|~, -]{1,1024}", re.ASCII)
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://([^/]+)/?", re.IGNORECASE)

#: Headers of every response on a media route.
MEDIA = (
    (b"Access-Control-Allow-Origin", b"*"),
    (b"Access-Control-Allow-Methods", b"GET, HEAD, OPTIONS"),
    (b"Access-Control-Allow-Headers", b"*"),
    (b"Access-Control-Expose-Headers", b"*"),
)


@attrs.frozen
class Origin:
    """The origin of a web page (RFC 6454)."""

    scheme: str
    authority: Authority

    def same_as(self, other: Origin) -> bool:
        """Return whether both are the same origin, also if only one of them states the default port."""
        return self.scheme == other.scheme and self.authority.same_as(other.authority, self.scheme)


def parse_origin(text: str) -> Origin | None:
    """Return an origin; None without scheme and host, as in ``null``, the origin of sandboxed pages and local files."""
    match = _ORIGIN.fullmatch(text)
    authority = parse_authority(match[2]) if match else None
    return Origin(match[1].lower(), authority) if match and authority else None


def is_configured(origin: Origin | None, settings: Settings) -> bool:
    """Return whether pages of this origin may use the management API."""
    known = map(parse_origin, settings.cors_origins)
    return origin is not None and any(each is not None and origin.same_as(each) for each in known)


def is_preflight(request: Request) -> bool:
    """Return whether this is a preflight request of a browser."""
    wanted = request.getHeader(b"Access-Control-Request-Method")
    return request.method == b"OPTIONS" and bool(wanted) and bool(request.getHeader(b"Origin"))


def allow_media(request: Request) -> None:
    """Let any page read the response."""
    for name, value in MEDIA:
        request.setHeader(name, value)


def allow_configured(request: Request, settings: Settings) -> None:
    """Let pages of configured origins read the response. Later code must add to ``Vary``, too, not replace it."""
    request.responseHeaders.addRawHeader(b"Vary", b"Origin")
    origin = request.getHeader(b"Origin")
    if origin and is_configured(parse_origin(origin.decode("latin-1")), settings):
        request.setHeader(b"Access-Control-Allow-Origin", origin)
        request.setHeader(b"Access-Control-Expose-Headers", b"*")


def answer_media_preflight(request: Request) -> bytes:
    """Allow the request of any page, and return the body for a resource to return."""
    allow_media(request)
    return _allow(request)


class ManagementPreflight(Resource):
    """The response to a preflight on any management path."""

    isLeaf = True

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings

    def render(self, request: Request) -> bytes:
        """Answer 200 for configured origins, 403 without CORS headers for others."""
        origin = (request.getHeader(b"Origin") or b"").decode("latin-1")
        if not is_configured(parse_origin(origin), self._settings):
            return write_error(request, HTTPError(403, "Pages of this origin may not use the API (CORS_ORIGINS)."))
        if request.getHeader(b"Access-Control-Request-Method") not in _METHODS:
            return write_error(request, HTTPError(400, "No route has this method."))
        request.setHeader(b"Access-Control-Allow-Methods", b", ".join(_METHODS))
        names = request.getHeader(b"Access-Control-Request-Headers")
        if names and _HEADER_NAMES.fullmatch(names):
            request.setHeader(b"Access-Control-Allow-Headers", names)
        return _allow(request)


def _allow(request: Request) -> bytes:
    request.setHeader(b"Access-Control-Max-Age", _MAX_AGE)
    request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
    return b"OK"
