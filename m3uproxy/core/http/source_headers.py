"""Headers that a stream may set for its provider, and headers that playlists write behind a URL.

Playlists for Kodi have ``http://host/1.ts|User-Agent=VLC&Referer=http%3A%2F%2Fx%2F``. Names and values are encoded as
in a form. They belong to this one URL.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_plus

from .redirects import Headers

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
#: RFC 9110 section 5.6.2.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
#: Headers that belong to one connection; the proxy sets them.
_RESERVED = frozenset({"host", "connection", "content-length", "transfer-encoding"})
#: Text behind a bar that is headers. A bar without such text is a part of the URL.
_OPTIONS = re.compile(r"[^=/?#]+=.*", re.DOTALL)
#: Options of Kodi's file system, which are not sent.
_KODI_OPTIONS = frozenset(
    {"seekable", "verifypeer", "failonerror", "connection-timeout", "redirect-limit", "noshout", "sslcipherlist"}
)


def check_header_name(name: str) -> None:
    """Raise ValueError if a stream cannot set a header of this name."""
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{name!r} is not a header name")
    if name.lower() in _RESERVED:
        raise ValueError(f"the header {name} cannot be set")


def check_header_value(value: str) -> str:
    """Return a text without control characters, else raise ValueError."""
    if _CONTROL.search(value):
        raise ValueError("must not contain control characters")
    return value


def split_headers(url: str) -> tuple[str, Headers]:
    """
    Split ``URL|NAME=VALUE&NAME=VALUE`` into the URL and its headers, decoded once. Blanks around the URL are dropped.

    :raises ValueError: for a header that a stream cannot set; the text has no value of a header.
    """
    url = url.strip()
    plain, bar, options = url.partition("|")
    if not bar or not _OPTIONS.fullmatch(options):
        return url, ()
    pairs = (_decoded(piece) for piece in options.split("&") if piece)
    headers = tuple((name, value) for name, value in pairs if name.lower() not in _KODI_OPTIONS)
    return plain.strip(), headers


def merged_headers(behind_url: Headers, own: Headers) -> Headers:
    """Return the headers of one source. Those in the registration replace those behind the URL, whatever their case."""
    replaced = {name.lower() for name, _ in own}
    return tuple(pair for pair in behind_url if pair[0].lower() not in replaced) + own


def _decoded(piece: str) -> tuple[str, str]:
    name, equals, value = piece.partition("=")
    name, value = unquote_plus(name).strip(" \t"), unquote_plus(value).strip(" \t")
    if not equals:
        raise ValueError("a header behind the URL must have the form NAME=VALUE")
    check_header_name(name)
    try:
        check_header_value(value)
    except ValueError as why:
        raise ValueError(f"the header {name} behind the URL {why}") from None
    return name, value
