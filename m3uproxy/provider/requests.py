"""Parsing of requests. The parser is strict: only the provider's answers are malformed."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote, urlsplit

import attrs

from m3uproxy.provider.radio import CONTENT_TYPES

#: Largest head in bytes.
MAX_HEAD = 65_536


class BadRequest(ValueError):
    """Bytes that are not a request head."""


@attrs.frozen
class Request:
    """A request as received.

    :ivar target: path and query, unchanged.
    :ivar headers: pairs of name and value, in order.
    """

    method: str
    target: str
    version: str
    headers: tuple[tuple[str, str], ...]

    @property
    def path(self) -> str:
        """Decoded path."""
        return unquote(urlsplit(self.target).path)

    @property
    def query(self) -> list[tuple[str, str]]:
        """Decoded pairs of the query."""
        return parse_qsl(urlsplit(self.target).query, keep_blank_values=True)

    def header(self, name: str) -> str | None:
        """Return the first header of this name, or None."""
        wanted = name.lower()
        return next((value for key, value in self.headers if key.lower() == wanted), None)

    @property
    def closes(self) -> bool:
        """Flag: the connection ends with the answer."""
        connection = (self.header("Connection") or "").lower()
        return "close" in connection or (self.version == "HTTP/1.0" and "keep-alive" not in connection)


@attrs.frozen
class MediaPath:
    """The path of a channel.

    :ivar account: user name in the path, or None.
    :ivar ending: format, a key of :data:`m3uproxy.provider.radio.CONTENT_TYPES`.
    """

    channel: str
    account: str | None = None
    ending: str = "ts"


def split_head(buffer: bytes) -> tuple[Request | None, bytes]:
    """Split the first request from a buffer.

    :return: the request, or None if its head is incomplete, and the remaining bytes.
    :raises BadRequest: an invalid or too long head.
    """
    head, end, rest = buffer.partition(b"\r\n\r\n")
    if len(head) > MAX_HEAD:
        raise BadRequest("head too long")
    return (parse_request(head), rest) if end else (None, buffer)


def parse_request(head: bytes) -> Request:
    """Parse a head without its empty line.

    :raises BadRequest: an invalid head.
    """
    first, *lines = head.decode("latin-1").lstrip("\r\n").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[1].startswith("/") or words[2] not in ("HTTP/1.0", "HTTP/1.1"):
        raise BadRequest(f"not a request line: {first[:80]!r}")
    headers = []
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or name != name.strip() or not name:
            raise BadRequest(f"not a header: {line[:80]!r}")
        headers.append((name, value.strip()))
    return Request(words[0], words[1], words[2], tuple(headers))


def media_path(path: str) -> MediaPath | None:
    """Parse the path of a channel: ``/live/NAME.ts``, ``/live/USER/PASS/ID`` or ``/live/USER/PASS/ID.ts``.

    Instead of ``ts`` the ending may be ``aac``, ``mp3`` or ``flv``. Return None for other paths.
    """
    parts = path.split("/")
    if parts[:2] != ["", "live"] or not all(parts[2:]):
        return None
    name, _, ending = parts[-1].rpartition(".")
    known = bool(name) and ending in CONTENT_TYPES
    if len(parts) == 3 and known:
        return MediaPath(name, None, ending)
    if len(parts) == 5:
        return MediaPath(name, parts[2], ending) if known else MediaPath(parts[4], parts[2])
    return None
