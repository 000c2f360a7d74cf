"""Decoding of bodies: gzip, deflate, and ICY metadata in radio.

The proxy requests none of these, but some providers send them.

A provider may name a coding that the body does not have. So the first bytes decide whether the body is decoded. What
servers call ``deflate`` has a zlib header (RFC 1950) or none (RFC 1951).

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

from ..core.http.body_sniffing import SNIFF_BYTES, text_format
from ..errors import Reason, SourceError

#: Bytes that one read from the socket may decode to. The largest read on a tick is 2 MiB.
MAX_DECODED_BYTES = 8 * 1_048_576
#: Gzip members that one read may begin; each needs a decoder of its own.
MAX_MEMBERS = 1000
#: Bytes that are passed to the decoder of a further member at a time.
_MEMBER_SLICE = 16_384
#: Windows of a gzip stream (RFC 1952), a zlib stream (RFC 1950), and deflate without a header (RFC 1951).
_GZIP = 16 + zlib.MAX_WBITS
_ZLIB = zlib.MAX_WBITS
_RAW = -zlib.MAX_WBITS
#: Bytes of the beginning that are decoded to tell deflate from another body, and bytes that they may decode to.
_TRIAL_BYTES = 512
_TRIAL_OUTPUT = 65_536
_MAGIC = b"\x1f\x8b"
#: Never the beginning of a member: all data after it is dropped.
_GARBAGE = b"\0"


class ContentDecoder:
    """The decoder of one body, if the body has the coding that its head names."""

    def __init__(self, coding: str) -> None:
        """
        Begin at the first byte of a body.

        :param coding: ``gzip`` or ``deflate``.
        """
        self._coding = coding
        self._start = b""
        self._is_decided = False
        self._inflater: BoundedGunzip | None = None

    @property
    def complete(self) -> bool:
        """True if the compressed data has ended with a correct checksum, or if the body is not compressed."""
        return self._inflater is None or self._inflater.complete

    def decode(self, data: bytes, read: int) -> bytes:
        """Decode a piece of the body; see :meth:`BoundedGunzip.decode`."""
        if not self._is_decided:
            data = self._start = self._start + data
            if len(data) < len(_MAGIC):
                return b""
            window = _window(self._coding, data)
            self._inflater = None if window is None else BoundedGunzip(window)
            self._start, self._is_decided = b"", True
        return data if self._inflater is None else self._inflater.decode(data, read)


def _window(coding: str, start: bytes) -> int | None:
    """Return the window of the compressed data that begins with these bytes; None if the body is not compressed."""
    if start.startswith(_MAGIC):
        return _GZIP
    if coding == "gzip" or text_format(start[:SNIFF_BYTES]) is not None:
        return None
    is_zlib = start[0] & 15 == 8 and int.from_bytes(start[:2], "big") % 31 == 0
    window = _ZLIB if is_zlib else _RAW
    try:
        zlib.decompressobj(window).decompress(start[:_TRIAL_BYTES], _TRIAL_OUTPUT)
    except zlib.error:
        return None
    return window


class BoundedGunzip:
    """
    The gzip decoder of one body, with limits. It also decodes deflate.

    A body may have several members, which decode to one text (RFC 1952 section 2.2). Data that follows a member and
    does not begin like another one is dropped.
    """

    def __init__(self, window: int = _GZIP) -> None:
        self._stream = zlib.decompressobj(window)
        self._between = b""
        self._read = 0
        self._left = MAX_DECODED_BYTES
        self._members_left = MAX_MEMBERS

    @property
    def complete(self) -> bool:
        """True if the last member has ended with a correct checksum."""
        return self._stream.eof

    def decode(self, data: bytes, read: int) -> bytes:
        """
        Decode a piece of the body.

        :param read: the number of the read that brought the piece.
        :return: the decoded bytes, perhaps none yet.
        :raises SourceError: ``NOT_VIDEO`` beyond :data:`MAX_DECODED_BYTES` or :data:`MAX_MEMBERS`, ``TRUNCATED`` for
            data that is not gzip.
        """
        if read != self._read:
            self._read, self._left, self._members_left = read, MAX_DECODED_BYTES, MAX_MEMBERS
        if self._stream.eof:
            return self._next_members(data)
        plain = self._inflate(data)
        return plain + self._next_members(self._stream.unused_data) if self._stream.unused_data else plain

    def _next_members(self, data: bytes) -> bytes:
        """
        Decode the bytes after a member.

        :data:`_MEMBER_SLICE` bytes are passed at a time, because the decoder copies the bytes after each member.
        """
        plain: list[bytes] = []
        for at in range(0, len(data), _MEMBER_SLICE):
            rest = data[at : at + _MEMBER_SLICE]
            while rest:
                rest = self._begin_member(rest) if self._stream.eof else rest
                if rest:
                    plain.append(self._inflate(rest))
                    rest = self._stream.unused_data
        return b"".join(plain)

    def _begin_member(self, data: bytes) -> bytes:
        """Return the beginning of a member, for a new decoder; nothing if the data cannot be one."""
        data, self._between = self._between + data, b""
        if len(data) < len(_MAGIC) and _MAGIC.startswith(data):
            self._between = data
            return b""
        if not data.startswith(_MAGIC):
            self._between = _GARBAGE
            return b""
        self._members_left -= 1
        if self._members_left < 0:
            raise SourceError(Reason.NOT_VIDEO, f"gzip body: one read has more than {MAX_MEMBERS} members")
        self._stream = zlib.decompressobj(_GZIP)
        return data

    def _inflate(self, data: bytes) -> bytes:
        try:
            plain = self._stream.decompress(data, self._left)
        except zlib.error:
            raise SourceError(Reason.TRUNCATED, "the body cannot be decoded") from None
        self._left -= len(plain)
        if not self._left:
            raise SourceError(Reason.NOT_VIDEO, f"one read decodes to {MAX_DECODED_BYTES} bytes or more")
        return plain


#: Bytes per unit of the length of a metadata block.
_LENGTH_UNIT = 16


def gunzip_beginning(head: bytes, size: int) -> bytes:
    """Return at most ``size`` decoded bytes of a gzip stream of which the beginning is there; b"" if it is none."""
    try:
        return zlib.decompressobj(_GZIP).decompress(head, size)
    except zlib.error:
        return b""


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
