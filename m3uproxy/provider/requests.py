"""Reading what a client asks for. Heads are small and strict: it is the other direction that is meant to be odd."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote, urlsplit

import attrs

from m3uproxy.provider.radio import CONTENT_TYPES

#: A head that grows beyond this is not read on.
MAX_HEAD = 65_536


class BadRequest(ValueError):
    """These bytes are no request head."""


@attrs.frozen
class Request:
    """One request, as it came.

    :ivar target: path and query, unchanged.
    :ivar headers: (name, value) in the order they came.
    """

    method: str
    target: str
    version: str
    headers: tuple[tuple[str, str], ...]

    @property
    def path(self) -> str:
        """The path, decoded."""
        return unquote(urlsplit(self.target).path)

    @property
    def query(self) -> list[tuple[str, str]]:
        """The query as pairs, decoded."""
        return parse_qsl(urlsplit(self.target).query, keep_blank_values=True)

    def header(self, name: str) -> str | None:
        """The first header of this name."""
        wanted = name.lower()
        return next((value for key, value in self.headers if key.lower() == wanted), None)

    @property
    def closes(self) -> bool:
        """Whether the connection ends with the answer."""
        connection = (self.header("Connection") or "").lower()
        return "close" in connection or (self.version == "HTTP/1.0" and "keep-alive" not in connection)


@attrs.frozen
class MediaPath:
    """What a channel's path says.

    :ivar ending: what it is to be sent as, one of :data:`m3uproxy.provider.radio.CONTENT_TYPES`.
    """

    channel: str
    account: str | None = None
    ending: str = "ts"


def split_head(buffer: bytes) -> tuple[Request | None, bytes]:
    """Take the first request off a buffer.

    :return: the request, or None while it is not complete, and what is left.
    :raises BadRequest: also when it is too long.
    """
    head, end, rest = buffer.partition(b"\r\n\r\n")
    if len(head) > MAX_HEAD:
        raise BadRequest("head too long")
    return (parse_request(head), rest) if end else (None, buffer)


def parse_request(head: bytes) -> Request:
    """Parse a head, given without its empty line.

    :raises BadRequest: it is none.
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
    """Tell a channel's path: ``/live/NAME.ts``, ``/live/USER/PASS/ID`` or ``/live/USER/PASS/ID.ts``.

    Instead of ``ts`` there may be ``aac``, ``mp3`` or ``flv``.
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
