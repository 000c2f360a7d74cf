"""The chunked coding of a response body (RFC 9112 section 7.1), read leniently and written strictly.

Embedded servers pad the size of a chunk with blanks or tabs, write it in capitals or with leading zeros, add
extensions, or end lines with LF alone. Players accept all of that, and Twisted's decoder refuses most of it. So the
framing is written again before Twisted sees it. All data of one read becomes one chunk, which saves the decoder the
time that this module takes.

A size that is no number, and data behind a chunk that is no line end, are still errors.
"""

from __future__ import annotations

import re
from enum import Enum

#: Longest line with a size and extensions, in bytes.
MAX_SIZE_LINE = 4096
#: Bytes of all trailer fields together.
MAX_TRAILERS = 65_536

_SIZE = re.compile(rb"[ \t]*0*([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?", re.DOTALL)
#: The line of a usual chunk.
_PLAIN_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})\r\n")
_LAST_CHUNK = b"0\r\n\r\n"
#: A chunk that Twisted's decoder refuses.
_MALFORMED_CHUNK = b"malformed\r\n"


class _Step(Enum):
    """The line that follows the data of the current chunk."""

    SIZE = "size of the next chunk"
    LINE_END = "line end behind the data of a chunk"
    TRAILER = "trailer field, or the empty line that ends the body"
    COMPLETE = "none: the body is complete"
    MALFORMED = "none: the framing has an error"


class ChunkedBody:
    """The framing of one body in chunked coding."""

    def __init__(self) -> None:
        self._step = _Step.SIZE
        self._left = 0
        self._line = b""
        self._trailers = 0

    def rewrite(self, data: bytes) -> bytes:
        """
        Return a piece of the body in strict framing.

        Bytes behind the end of the body are returned unchanged. Nothing is returned behind a framing error.
        """
        if self._ended:
            return data if self._step is _Step.COMPLETE else b""
        pieces: list[bytes] = []
        at = 0
        while at < len(data) and not self._ended:
            if self._step is _Step.SIZE and not self._line:
                at = _take_whole_chunks(data, at, pieces)
            if self._left:
                pieces.append(data[at : at + self._left])
                at += len(pieces[-1])
                self._left -= len(pieces[-1])
            else:
                at = self._read_line(data, at)
        return _chunk(pieces) + self._ending(data[at:])

    def close(self) -> bytes:
        """Return the end of the body if the connection was closed within the trailers, else nothing."""
        return _LAST_CHUNK if self._step is _Step.TRAILER else b""

    @property
    def _ended(self) -> bool:
        return self._step is _Step.COMPLETE or self._step is _Step.MALFORMED

    def _ending(self, rest: bytes) -> bytes:
        """Return the end of a body that has just ended, with the bytes behind it."""
        if self._step is _Step.COMPLETE:
            return _LAST_CHUNK + rest
        return _MALFORMED_CHUNK if self._step is _Step.MALFORMED else b""

    def _read_line(self, data: bytes, at: int) -> int:
        """Read a line or a part of it. Return the index behind it."""
        end = data.find(b"\n", at)
        self._line += data[at : end if end >= 0 else len(data)]
        if len(self._line) > (MAX_TRAILERS if self._step is _Step.TRAILER else MAX_SIZE_LINE):
            self._step = _Step.MALFORMED
        elif end >= 0:
            line, self._line = self._line, b""
            self._take_line(line.removesuffix(b"\r"))
        return end + 1 if end >= 0 else len(data)

    def _take_line(self, line: bytes) -> None:
        if self._step is _Step.SIZE:
            self._begin_chunk(line)
        elif self._step is _Step.LINE_END:
            self._step = _Step.MALFORMED if line.strip(b" \t") else _Step.SIZE
        elif not line:
            self._step = _Step.COMPLETE
        else:
            self._trailers += len(line)
            self._step = _Step.TRAILER if self._trailers <= MAX_TRAILERS else _Step.MALFORMED

    def _begin_chunk(self, line: bytes) -> None:
        size = _SIZE.fullmatch(line)
        if size is None:
            self._step = _Step.MALFORMED
            return
        self._left = int(size[1], 16)
        self._step = _Step.LINE_END if self._left else _Step.TRAILER


def _take_whole_chunks(data: bytes, at: int, pieces: list[bytes]) -> int:
    """Take usual chunks that are there as a whole, which costs a fifth. Return the index behind them."""
    while (line := _PLAIN_SIZE.match(data, at)) is not None:
        start = line.end()
        end = start + int(line[1], 16)
        if end == start or data[end : end + 2] != b"\r\n":
            break
        pieces.append(data[start:end])
        at = end + 2
    return at


def _chunk(pieces: list[bytes]) -> bytes:
    """Return pieces of data as one chunk; nothing if there is no data, because an empty chunk would end the body."""
    data = b"".join(pieces)
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
