"""Decoding of bodies: gzip, and ICY metadata in radio.

The proxy requests neither, but some providers send both.

A thousand bytes of gzip can decode to a megabyte. So the decoded size of each read from the socket is limited: video
hardly shrinks by gzip, and a response beyond the limit is an attack or a mistake. The limit counts reads, because
chunked framing cuts one read into any number of pieces, and all of them are kept until the reactor turn is over.

A radio server that announces ``icy-metaint: N`` puts a block of metadata, such as the title of a song, after each N
bytes of audio: one byte with the length of the text in units of 16 bytes, then the text, padded with zeros. Inside
audio frames such a block is damage.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from ..errors import Reason, SourceError

#: Bytes that one read from the socket may decode to. The largest read on a tick is 2 MiB.
MAX_DECODED_BYTES = 8 * 1_048_576
#: A gzip stream (RFC 1952), with the largest window.
_GZIP = 16 + zlib.MAX_WBITS


class BoundedGunzip:
    """The gzip decoder of one body, with a limit. Data after the end of the gzip stream is dropped."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(_GZIP)
        self._read = 0
        self._left = MAX_DECODED_BYTES

    @property
    def complete(self) -> bool:
        """True if the gzip stream has ended with a correct checksum."""
        return self._stream.eof

    def decode(self, data: bytes, read: int) -> bytes:
        """
        Decode a piece of the body.

        :param read: the number of the read that brought the piece.
        :return: the decoded bytes, perhaps none yet.
        :raises SourceError: ``NOT_VIDEO`` beyond :data:`MAX_DECODED_BYTES`, ``TRUNCATED`` for data that is not gzip.
        """
        if read != self._read:
            self._read, self._left = read, MAX_DECODED_BYTES
        try:
            plain = self._stream.decompress(data, self._left)
        except zlib.error:
            raise SourceError(Reason.TRUNCATED, "the body cannot be decoded") from None
        self._left -= len(plain)
        if not self._left:
            raise SourceError(Reason.NOT_VIDEO, f"gzip body: one read decodes to {MAX_DECODED_BYTES} bytes or more")
        return plain


#: Bytes per unit of the length of a metadata block.
_LENGTH_UNIT = 16


class IcyTitleFilter:
    """The filter that removes ICY metadata blocks from a radio body."""

    def __init__(self, interval: int) -> None:
        """
        Begin at the first byte of a body.

        :param interval: bytes of audio between two blocks.
        """
        self._interval = interval
        self._audio_left = interval
        self._text_left = 0

    def remove_titles(self, data: bytes) -> bytes:
        """Return the audio in a piece of the body, perhaps none."""
        audio: list[bytes] = []
        at = 0
        while at < len(data):
            if self._text_left:
                taken = min(self._text_left, len(data) - at)
                self._text_left -= taken
            elif self._audio_left:
                taken = min(self._audio_left, len(data) - at)
                self._audio_left -= taken
                audio.append(data[at : at + taken])
            else:
                taken, self._text_left, self._audio_left = 1, data[at] * _LENGTH_UNIT, self._interval
            at += taken
        return b"".join(audio)


def icy_title_filter(headers: Sequence[bytes]) -> IcyTitleFilter | None:
    """
    Return a filter for the announced metadata blocks; None if none are announced.

    :param headers: values of ``icy-metaint``.
    """
    interval = int(headers[0]) if headers and headers[0].isdigit() and len(headers[0]) < 10 else 0
    return IcyTitleFilter(interval) if interval else None
