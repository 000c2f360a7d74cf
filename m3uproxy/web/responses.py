"""How every answer is written, errors included: ``{"detail": ...}`` is what clients of the API know.

A body over :data:`GZIP_FROM` bytes is compressed for a client that says it takes gzip (RFC 9110 section 12.5.3).
Media does not pass here: it is compressed already, and would be held back by a compressor.

Parameters of a URL.
"""

from __future__ import annotations

# mypy: allow-untyped-calls
import gzip
import json
import math
from collections.abc import Mapping
from http import HTTPStatus

import attrs
from twisted.web.server import Request

# mypy: allow-untyped-calls


Json = Mapping[str, object]

#: Bytes from which on a body is worth compressing.
GZIP_FROM = 1024
#: Large listings are made in the reactor's thread: the fastest level, which takes most of what there is to gain.
_LEVEL = 1
#: Seconds that a client which met a limit is asked to wait before it tries again.
RETRY_AFTER = 5


@attrs.frozen
class RawAnswer:
    """An answer that is not a JSON object, as it goes over the wire."""

    data: bytes
    media_type: str
    headers: Mapping[str, str] = attrs.field(factory=dict)
    status: int = 200


class HTTPError(Exception):
    """Ends a request with this status.

    :param detail: text for people, or for status 422 the list of what is wrong with which field.
    :param headers: to be added to the answer.
    """

    def __init__(self, status: int, detail: object, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}


def accepts_gzip(header: str) -> bool:
    """Whether a client with this ``Accept-Encoding`` takes gzip: named, or meant by ``*``, with a weight above 0."""
    weights: dict[str, float] = {}
    for part in header.lower().split(","):
        coding, *parameters = (word.strip() for word in part.split(";"))
        weights[coding] = min((_weight(word) for word in parameters), default=1.0)
    return max(weights.get("gzip", weights.get("*", 0.0)), weights.get("x-gzip", 0.0)) > 0


def _weight(parameter: str) -> float:
    """RFC 9110 section 12.4.2; what is no weight counts as none, and that means: rather not."""
    name, _, value = parameter.partition("=")
    try:
        weight = float(value) if name.strip() == "q" else 1.0
    except ValueError:
        return 0.0
    return weight if 0 <= weight <= 1 else 0.0


def _finite(value: object) -> object:
    """JSON has no word for infinity, which Python's reader takes all the same (``1e999``)."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, (list, tuple)) else value


def service_unavailable(why: object) -> HTTPError:
    """A limit is reached, ours or a provider's: in a moment somebody may have left."""
    return HTTPError(503, str(why), {"Retry-After": str(RETRY_AFTER)})


def encode(body: Json) -> bytes:
    """JSON in ASCII.

    What an error of a validator refers to may be an exception object; the wire format has ``{}`` in its place.
    """
    try:
        text = json.dumps(body, default=lambda _: {}, separators=(",", ":"), allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(body), default=lambda _: {}, separators=(",", ":"))
    return text.encode("ascii")


def write_content(request: Request, content: RawAnswer) -> bytes:
    """Set status and headers of ``request`` and return the body, for a resource or a route to return in turn."""
    request.setResponseCode(content.status, HTTPStatus(content.status).phrase.encode("ascii"))
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
    """The body as this client takes it. That others may get it otherwise is told to caches in any case."""
    request.responseHeaders.addRawHeader(b"Vary", b"Accept-Encoding")
    accepted = b",".join(request.requestHeaders.getRawHeaders(b"accept-encoding", []))
    if not accepts_gzip(accepted.decode("latin-1")):
        return data
    request.setHeader(b"Content-Encoding", b"gzip")
    return gzip.compress(data, _LEVEL, mtime=0)


def write_json(request: Request, body: Json, status: int = 200) -> bytes:
    """The same for a JSON object."""
    return write_content(request, RawAnswer(encode(body), "application/json", status=status))


def write_error(request: Request, error: HTTPError) -> bytes:
    """The same for an error."""
    for name, value in error.headers.items():
        request.setHeader(name, value)
    return write_json(request, {"detail": error.detail}, error.status)


def raw_error(status: int, detail: str) -> bytes:
    """A whole response, for where there is no request yet to write it with."""
    body = encode({"detail": detail})
    lines = (
        b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode("ascii")),
        b"Content-Type: application/json",
        b"Content-Length: %d" % len(body),
        b"Connection: close",
        b"",
        body,
    )
    return b"\r\n".join(lines)


def query_value(request: Request, name: bytes) -> str | None:
    """A parameter of the URL; the last one counts. What is not UTF-8 in it is replaced."""
    values: list[bytes] = request.args.get(name, [])
    return values[-1].decode("utf-8", "replace") if values else None
