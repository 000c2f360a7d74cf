"""Undoes gzip, which we never ask for and some providers send all the same.

A thousand bytes of gzip can hold a megabyte, so what one read from the socket may become is bounded: a response that
goes beyond is no video, which hardly shrinks, but an attack or a mistake. The bound counts reads, not pieces: chunked
framing cuts one read into as many pieces as the provider likes, and all of them are kept until the turn is over.

Takes out of radio the titles of songs, which we never ask for and some servers send all the same.

A server that announces ``icy-metaint: N`` puts a block of text behind each N bytes of sound: one byte that says its
length in units of 16, and the text, filled up with zeros. Within frames of sound it is damage.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

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


#: Bytes of a unit of length.
_UNIT = 16


class IcyTitleFilter:
    """The blocks of text in one body."""

    def __init__(self, interval: int) -> None:
        """
        Begin.

        :param interval: bytes of sound between two blocks.
        """
        self._interval = interval
        self._sound = interval
        self._text = 0

    def without(self, data: bytes) -> bytes:
        """What is sound of a piece of the body, perhaps nothing."""
        sound: list[bytes] = []
        at = 0
        while at < len(data):
            if self._text:
                taken = min(self._text, len(data) - at)
                self._text -= taken
            elif self._sound:
                taken = min(self._sound, len(data) - at)
                self._sound -= taken
                sound.append(data[at : at + taken])
            else:
                taken, self._text, self._sound = 1, data[at] * _UNIT, self._interval
            at += taken
        return b"".join(sound)


def icy_title_filter(headers: Sequence[bytes]) -> IcyTitleFilter | None:
    """The blocks that are announced; None if there are none.

    :param headers: values of ``icy-metaint``.
    """
    interval = int(headers[0]) if headers and headers[0].isdigit() and len(headers[0]) < 10 else 0
    return IcyTitleFilter(interval) if interval else None
