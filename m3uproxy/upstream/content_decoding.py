"""Undoes gzip, which we never ask for and some providers send all the same.

A thousand bytes of gzip can hold a megabyte, so what one read from the socket may become is bounded: a response that
goes beyond is no video, which hardly shrinks, but an attack or a mistake. The bound counts reads, not pieces: chunked
framing cuts one read into as many pieces as the provider likes, and all of them are kept until the turn is over.
"""

from __future__ import annotations

import zlib

from ..errors import Reason, SourceError

#: Bytes that one read from the socket may become. The largest read that gathers on a tick is 2 MiB.
MOST = 8 * 1_048_576
#: A gzip stream (RFC 1952), with the largest window.
_GZIP = 16 + zlib.MAX_WBITS


class BoundedGunzip:
    """The decoder of one body. What follows the end of the gzip stream is dropped."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(_GZIP)
        self._read = 0
        self._left = MOST

    @property
    def complete(self) -> bool:
        """Whether the gzip stream has ended as it should."""
        return self._stream.eof

    def decode(self, data: bytes, read: int) -> bytes:
        """
        What a piece of the body amounts to, perhaps nothing yet.

        :param read: the number of the read that brought it.
        :raises SourceError: ``NOT_VIDEO`` beyond :data:`MOST`, ``TRUNCATED`` for what is no gzip.
        """
        if read != self._read:
            self._read, self._left = read, MOST
        try:
            plain = self._stream.decompress(data, self._left)
        except zlib.error:
            raise SourceError(Reason.TRUNCATED, "the body cannot be decoded") from None
        self._left -= len(plain)
        if not self._left:
            raise SourceError(Reason.NOT_VIDEO, f"a gzip body of which one read becomes {MOST} bytes")
        return plain
