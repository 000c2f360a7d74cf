"""Byte ranges: the ``Range`` of a player, its part of a representation, and the ``Content-Range`` of a provider.

RFC 9110 section 14. A server may ignore any ``Range`` and send the whole representation. An invalid ``Range`` is
therefore ignored, and so is a request for several parts (``multipart/byteranges``), which no player needs. HLS uses
single ranges only (RFC 8216 section 4.3.2.2).

A ``Content-Range`` is accepted in the forms that real servers send: ``bytes=0-1/5`` and ``bytes: 0-1/5``, too. The end
of a representation that grows is not known: its ``Content-Range`` has the largest possible end, and ``*`` as the length
of the whole (RFC 8673).
"""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime

import attrs

#: More digits than any file has bytes, and few enough for a fast conversion to a number.
_NUMBER = r"\d{1,18}"
#: An end, which may be as large as 2**64 - 1: it then stands for whatever comes.
_END = r"\d{1,20}"
#: Larger offsets count as this one, so that a length stays below 2**63, the limit of ``len``.
_LARGEST = 2**63 - 2
_SPEC = re.compile(rf"({_NUMBER})-({_END})?|-({_NUMBER})", re.ASCII)
_UNIT = r"\s*bytes[\s=:]+"
_CONTENT_RANGE = re.compile(rf"{_UNIT}({_NUMBER})-({_END})/({_END}|\*)\s*", re.ASCII | re.IGNORECASE)
_UNSATISFIED = re.compile(rf"{_UNIT}\*/({_NUMBER})\s*", re.ASCII | re.IGNORECASE)
#: Ranges in one request. A request with more is ignored (denial of service, section 17.15).
MAX_RANGES = 16


@attrs.frozen
class ByteRange:
    """
    A range of a ``Range`` header.

    :ivar first: offset of the first byte; None for a suffix, the last ``last`` bytes.
    :ivar last: offset of the last byte, inclusive; None for the end of the representation.
    """

    first: int | None
    last: int | None = None

    @property
    def header(self) -> str:
        """The value of ``Range``."""
        first, last = ("" if offset is None else str(offset) for offset in (self.first, self.last))
        return f"bytes={first}-{last}"

    def within(self, length: int) -> Span | None:
        """
        Return the bytes that the range selects (section 14.1.2).

        :param length: bytes of the representation.
        :return: None if the range selects nothing.
        """
        if self.first is None:
            span = Span(max(0, length - (self.last or 0)), length)
        else:
            span = Span(self.first, length if self.last is None else min(self.last + 1, length))
        return span if span.first < span.stop else None


#: The whole representation.
WHOLE = ByteRange(0)


@attrs.frozen
class Span:
    """Bytes of a representation, from offset ``first`` up to and excluding offset ``stop``."""

    first: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.first

    def content_range(self, length: int | None) -> str:
        """Return the value of ``Content-Range`` for a representation of ``length`` bytes, None if unknown."""
        return f"bytes {self.first}-{self.stop - 1}/{'*' if length is None else length}"


class Unsatisfiable(Exception):
    """No requested range lies in the representation: 416."""


def unsatisfied_range(length: int) -> str:
    """Return the value of ``Content-Range`` for a 416 (section 15.5.17)."""
    return f"bytes */{length}"


def parse_range(value: str) -> tuple[ByteRange, ...]:
    """
    Parse a ``Range`` header.

    :return: the ranges; empty if the header is to be ignored: another unit, invalid by section 14.1.1, or more than
        :data:`MAX_RANGES` ranges. Empty list elements are skipped (section 5.6.1.2).
    """
    unit, equals, text = value.partition("=")
    specs = [spec.strip(" \t") for spec in text.split(",", MAX_RANGES + 1)]
    matches = [_SPEC.fullmatch(spec) for spec in specs if spec]
    if unit.strip(" \t").lower() != "bytes" or not equals or not 0 < len(matches) <= MAX_RANGES:
        return ()
    ranges = [_range_of(match) for match in matches if match is not None]
    if len(ranges) < len(matches) or any(map(_is_reversed, ranges)):
        return ()
    return tuple(ranges)


def parse_single_range(value: str | None) -> ByteRange | None:
    """Parse a ``Range`` header with one range; return None for any other, which is ignored."""
    ranges = parse_range(value or "")
    return ranges[0] if len(ranges) == 1 else None


def _range_of(match: re.Match[str]) -> ByteRange:
    first, last, suffix = (None if text is None else _offset(text) for text in match.groups())
    return ByteRange(None, suffix) if suffix is not None else ByteRange(first, last)


def _is_reversed(byte_range: ByteRange) -> bool:
    first, last = byte_range.first, byte_range.last
    return first is not None and last is not None and last < first


def resolve(ranges: tuple[ByteRange, ...], length: int) -> Span | None:
    """
    Return the bytes to send of a representation of ``length`` bytes.

    :return: None for the whole: no range is requested, or several select something.
    :raises Unsatisfiable: if ranges are requested and none selects anything.
    """
    spans = [span for span in (one.within(length) for one in ranges) if span is not None]
    if ranges and not spans:
        raise Unsatisfiable
    return spans[0] if len(spans) == 1 else None


@attrs.frozen
class ContentRange:
    """
    The part of a representation that a response contains.

    :ivar length: bytes of the whole representation; None if unknown.
    """

    span: Span
    length: int | None

    @property
    def is_whole(self) -> bool:
        """True if the part is the whole representation."""
        return self.span.first == 0 and self.span.stop == self.length

    @property
    def header(self) -> str:
        """The value of ``Content-Range``."""
        return self.span.content_range(self.length)


def parse_content_range(value: str | None) -> ContentRange | None:
    """Parse the ``Content-Range`` of a 206 (section 14.4); return None if it is absent or invalid."""
    match = _CONTENT_RANGE.fullmatch(value or "")
    if match is None:
        return None
    span = Span(_offset(match[1]), _offset(match[2]) + 1)
    length = None if match[3] == "*" else _offset(match[3])
    if span.stop <= span.first or (length is not None and span.stop > length):
        return None
    return ContentRange(span, length)


def parse_complete_length(value: str) -> int | None:
    """Return the length of the whole representation that a ``Content-Range`` states, in a 416 or a 206."""
    content_range = parse_content_range(value)
    if content_range is not None:
        return content_range.length
    match = _UNSATISFIED.fullmatch(value)
    return None if match is None else _offset(match[1])


def _offset(text: str) -> int:
    return min(int(text), _LARGEST)


def if_range_holds(value: str, etag: str, last_modified: str) -> bool:
    """
    Return whether an ``If-Range`` holds, so that the ``Range`` of the request applies.

    Both comparisons are strong (section 13.1.5): a weak ETag never holds, and a date must match to the second.

    :param value: the ``If-Range`` of the player.
    :param etag: the present ETag of the representation, as sent; '' for none.
    :param last_modified: its present ``Last-Modified``; '' for none.
    """
    value = value.strip()
    if value.startswith(('"', "W/")):
        return value == etag and value.startswith('"')
    try:
        return parsedate_to_datetime(value) == parsedate_to_datetime(last_modified)
    except (TypeError, ValueError, IndexError, OverflowError):
        return False
