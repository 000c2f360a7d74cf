"""Responses of the server: JSON, errors, compression; and the query parameters of requests.

Errors have the body ``{"detail": ...}``, which clients of the API expect. A body over :data:`GZIP_FROM` bytes is
compressed if the client accepts gzip (RFC 9110 section 12.5.3). Media is not sent through this module: it is
compressed already, and a compressor would delay it.
"""

# mypy: allow-untyped-calls

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Mapping
from http import HTTPStatus

import attrs
from twisted.web.server import Request
from werkzeug.http import parse_accept_header

Json = Mapping[str, object]

#: Bodies larger than this (bytes) are compressed.
GZIP_FROM = 1024
#: The fastest level, because large listings are compressed in the reactor's thread. It saves most of the bytes.
_LEVEL = 1
_REGISTERED = frozenset(HTTPStatus)
#: Seconds in the Retry-After header of a client that has reached a limit.
RETRY_AFTER = 5


@attrs.frozen
class RawAnswer:
    """A response body as sent, with its media type; for anything but JSON objects."""

    data: bytes
    media_type: str
    headers: Mapping[str, str] = attrs.field(factory=dict)
    status: int = 200


class HTTPError(Exception):
    """An error response.

    :param detail: text for people; for status 422 the list of errors by field.
    :param headers: added to the response.
    """

    def __init__(self, status: int, detail: object, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}


def accepts_gzip(header: str) -> bool:
    """Return whether an ``Accept-Encoding`` header accepts gzip: by name, or by ``*``, with a weight above 0.

    ``*`` counts only if gzip is not named. Items with an invalid weight are ignored, and so are quoted ones.
    """
    if '"' in header:
        return False
    weights = {coding.lower(): weight for coding, weight in parse_accept_header(header)}
    default = 0 if "gzip" in header.lower() else weights.get("*", 0)
    return max(weights.get("gzip", default), weights.get("x-gzip", 0)) > 0


def _finite(value: object) -> object:
    """Replace infinite numbers by None. JSON has no infinity, but Python's parser returns it for ``1e999``."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, (list, tuple)) else value


def service_unavailable(why: object, retry_after: float = 0.0) -> HTTPError:
    """
    Return a 503 with Retry-After: a client or provider limit is reached.

    :param retry_after: seconds for which the provider asks not to be requested again.
    """
    return HTTPError(503, str(why), {"Retry-After": str(max(RETRY_AFTER, math.ceil(retry_after)))})


def encode(body: Json) -> bytes:
    """Return JSON in ASCII.

    Validation errors may contain exception objects; the wire format has ``{}`` in their place.
    """
    try:
        text = json.dumps(body, default=lambda _: {}, separators=(",", ":"), allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(body), default=lambda _: {}, separators=(",", ":"))
    return text.encode("ascii")


def _phrase(status: int) -> bytes:
    """Return the reason phrase of a status; providers send statuses that no registry has."""
    return HTTPStatus(status).phrase.encode("ascii") if status in _REGISTERED else b"Unregistered Status"


def write_content(request: Request, content: RawAnswer) -> bytes:
    """Set status and headers of a request and return the body, which its resource or route must return."""
    request.setResponseCode(content.status, _phrase(content.status))
    for name, value in content.headers.items():
        request.setHeader(name, value)
    if content.status == HTTPStatus.NO_CONTENT:
        return b""
    data = content.data
    request.setHeader(b"Content-Type", content.media_type.encode("ascii"))
    if len(data) > GZIP_FROM and not content.media_type.startswith("image/"):
        data = _compressed(request, data)
    request.setHeader(b"Content-Length", b"%d" % len(data))
    return data


def _compressed(request: Request, data: bytes) -> bytes:
    """Return the body, compressed if the client accepts gzip. Vary is set in any case, for caches."""
    request.responseHeaders.addRawHeader(b"Vary", b"Accept-Encoding")
    accepted = b",".join(request.requestHeaders.getRawHeaders(b"accept-encoding", []))
    if not accepts_gzip(accepted.decode("latin-1")):
        return data
    request.setHeader(b"Content-Encoding", b"gzip")
    return gzip.compress(data, _LEVEL, mtime=0)


def write_json(request: Request, body: Json, status: int = 200) -> bytes:
    """Set status and headers of a request and return the body of a JSON object."""
    return write_content(request, RawAnswer(encode(body), "application/json", status=status))


def write_error(request: Request, error: HTTPError) -> bytes:
    """Set status and headers of a request and return the body of an error."""
    for name, value in error.headers.items():
        request.setHeader(name, value)
    return write_json(request, {"detail": error.detail}, error.status)


def raw_error(status: int, detail: str) -> bytes:
    """Return a whole response, for a connection without a complete request."""
    body = encode({"detail": detail})
    lines = (
        b"HTTP/1.1 %d %s" % (status, _phrase(status)),
        b"Content-Type: application/json",
        b"Content-Length: %d" % len(body),
        b"Connection: close",
        b"",
        body,
    )
    return b"\r\n".join(lines)


def query_value(request: Request, name: bytes) -> str | None:
    """Return the last query parameter with a name, or None. Bytes that are not UTF-8 are replaced."""
    values: list[bytes] = request.args.get(name, [])
    return values[-1].decode("utf-8", "replace") if values else None
