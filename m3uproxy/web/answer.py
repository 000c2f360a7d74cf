"""How every JSON answer is written, errors included: ``{"detail": ...}`` is what clients of the API know."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from http import HTTPStatus

from twisted.web.server import Request

Json = Mapping[str, object]


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


def _finite(value: object) -> object:
    """JSON has no word for infinity, which Python's reader takes all the same (``1e999``)."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, (list, tuple)) else value


def _encode(body: Json) -> bytes:
    # What an error of a validator refers to may be an exception object; the wire format has {} in its place.
    return json.dumps(_finite(body), default=lambda _: {}, separators=(",", ":")).encode("ascii")


def write_json(request: Request, body: Json, status: int = 200) -> bytes:
    """Set status and headers of ``request`` and return the body, for a resource or a route to return in turn."""
    encoded = _encode(body)
    request.setResponseCode(status, HTTPStatus(status).phrase.encode("ascii"))
    request.setHeader(b"Content-Type", b"application/json")
    request.setHeader(b"Content-Length", b"%d" % len(encoded))
    return encoded


def write_error(request: Request, error: HTTPError) -> bytes:
    """The same for an error."""
    for name, value in error.headers.items():
        request.setHeader(name, value)
    return write_json(request, {"detail": error.detail}, error.status)


def raw_error(status: int, detail: str) -> bytes:
    """A whole response, for where there is no request yet to write it with."""
    body = _encode({"detail": detail})
    lines = (
        b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode("ascii")),
        b"Content-Type: application/json",
        b"Content-Length: %d" % len(body),
        b"Connection: close",
        b"",
        body,
    )
    return b"\r\n".join(lines)
