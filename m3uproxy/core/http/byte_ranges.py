"""Byte ranges: what a player asks for, what that is of a file, and what a provider says it sends.

RFC 9110 section 14. A server may ignore any ``Range``, and answers the whole file then; so what makes no sense is
ignored, and so is a request for several parts at once, which no player of films needs (``multipart/byteranges``).

One range of bytes, as a player asks for it and a provider answers it (RFC 9110 section 14).

Players of HLS ask for single ranges (RFC 8216 section 4.3.2.2). A header that says anything else is treated as if it
were not there, which section 14.2 allows.
"""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime

import attrs

#: More digits than any file has bytes, and fewer than it takes to make a conversion to a number slow.
_NUMBER = r"\d{1,18}"
_SPEC = re.compile(rf"({_NUMBER})-({_NUMBER})?|-({_NUMBER})", re.ASCII)
_CONTENT_RANGE = re.compile(
    rf"\s*bytes[\s=:]+(?:({_NUMBER})-({_NUMBER})|\*)/({_NUMBER}|\*)\s*", re.ASCII | re.IGNORECASE
)
#: Ranges of one request that are looked at; a request with more of them is up to no good (section 17.15).
MAX_RANGES = 16


@attrs.frozen
class ByteRange:
    """
    One range that is asked for.

    :ivar first: offset of the first byte; None asks for the last ``last`` bytes.
    :ivar last: offset of the last byte, inclusive; None for the end of the file.
    """

    first: int | None
    last: int | None = None

    @property
    def header(self) -> str:
        """As the value of ``Range``."""
        first, last = ("" if one is None else str(one) for one in (self.first, self.last))
        return f"bytes={first}-{last}"

    def within(self, length: int) -> Span | None:
        """What it is of a file of that many bytes; None if it is nothing (section 14.1.2)."""
        if self.first is None:
            span = Span(max(0, length - (self.last or 0)), length)
        else:
            span = Span(self.first, length if self.last is None else min(self.last + 1, length))
        return span if span.first < span.stop else None


#: The whole file.
WHOLE = ByteRange(0)


@attrs.frozen
class Span:
    """Bytes of a file: from offset ``first`` up to, and without, offset ``stop``."""

    first: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.first

    def content_range(self, length: int) -> str:
        """As the value of ``Content-Range``, of a file of that many bytes."""
        return f"bytes {self.first}-{self.stop - 1}/{length}"


class Unsatisfiable(Exception):
    """Nothing of the file is asked for: 416."""


def unsatisfied_range(length: int) -> str:
    """The value of ``Content-Range`` in a 416 (section 15.5.17)."""
    return f"bytes */{length}"


def parse_range(value: str) -> tuple[ByteRange, ...]:
    """
    What a ``Range`` asks for.

    :return: nothing if it is to be ignored: another unit, not as section 14.1.1 has it, or too many.
    """
    unit, equals, text = value.partition("=")
    words = [word.strip(" \t") for word in text.split(",", MAX_RANGES + 1)]
    matches = [_SPEC.fullmatch(word) for word in words if word]
    if unit.strip(" \t").lower() != "bytes" or not equals or not 0 < len(matches) <= MAX_RANGES:
        return ()
    ranges = [_range_of(match) for match in matches if match is not None]
    if len(ranges) < len(matches) or any(map(_is_turned_round, ranges)):
        return ()
    return tuple(ranges)


def _range_of(match: re.Match[str]) -> ByteRange:
    first, last, suffix = (None if text is None else int(text) for text in match.groups())
    return ByteRange(None, suffix) if suffix is not None else ByteRange(first, last)


def _is_turned_round(one: ByteRange) -> bool:
    return one.first is not None and one.last is not None and one.last < one.first


def resolve(ranges: tuple[ByteRange, ...], length: int) -> Span | None:
    """
    What is to be sent of a file of that many bytes.

    :return: None for the whole file: no range is asked for, or several are.
    :raises Unsatisfiable: if all that is asked for lies outside of it.
    """
    spans = [span for span in (one.within(length) for one in ranges) if span is not None]
    if ranges and not spans:
        raise Unsatisfiable
    return spans[0] if len(spans) == 1 else None


@attrs.frozen
class ContentRange:
    """
    What a provider says it sends.

    :ivar span: which bytes; None in a 416.
    :ivar length: of the whole file; None if it does not say.
    """

    span: Span | None
    length: int | None


def parse_content_range(value: str) -> ContentRange | None:
    """Read ``Content-Range`` (section 14.4), also of who writes it as ``Range``; None if it makes no sense."""
    match = _CONTENT_RANGE.fullmatch(value)
    if match is None:
        return None
    first, last, total = match.groups()
    length = None if total == "*" else int(total)
    if first is None:
        return None if length is None else ContentRange(None, length)
    span = Span(int(first), int(last) + 1)
    if span.stop <= span.first or (length is not None and span.stop > length):
        return None
    return ContentRange(span, length)


def if_range_holds(value: str, etag: str, last_modified: str) -> bool:
    """
    Whether a ``Range`` counts that came with this ``If-Range``: the player has parts of the very same file.

    Both ways of comparison are strong (section 13.1.5): a weak ETag never holds, and a date holds only to the letter
    of its second.

    :param etag: of the file now, as sent, '' if it has none; the same for ``last_modified``.
    """
    value = value.strip()
    if value.startswith(('"', "W/")):
        return value == etag and value.startswith('"')
    try:
        return parsedate_to_datetime(value) == parsedate_to_datetime(last_modified)
    except (TypeError, ValueError, IndexError, OverflowError):
        return False


_ONE = re.compile(r"bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", re.I)
_CONTENT = re.compile(r"bytes\s+(\d{1,18})\s*-\s*(\d{1,18})\s*/\s*(\d{1,18}|\*)\s*", re.I)


@attrs.frozen
class SingleRange:
    """What is asked for: from ``first`` to ``last`` inclusive, to the end (``last`` None), or the last ``last`` bytes
    (``first`` None)."""

    first: int | None
    last: int | None

    @property
    def header(self) -> str:
        """The value of ``Range``."""
        first = "" if self.first is None else self.first
        return f"bytes={first}-{'' if self.last is None else self.last}"

    def within(self, total: int) -> tuple[int, int] | None:
        """
        Start and stop (exclusive) in a body of ``total`` bytes; None if nothing of it is in there.

        >>> ByteRange(None, 5).within(3)
        (0, 3)
        """
        if self.first is None:
            start, stop = max(0, total - (self.last or 0)), total
        else:
            start, stop = self.first, total if self.last is None else min(total, self.last + 1)
        return (start, stop) if start < stop else None


@attrs.frozen
class SingleContentRange:
    """What is answered: bytes from ``start`` to ``stop`` (exclusive) of ``total``, None if that is not said."""

    start: int
    stop: int
    total: int | None

    @property
    def header(self) -> str:
        """The value of ``Content-Range``."""
        return f"bytes {self.start}-{self.stop - 1}/{'*' if self.total is None else self.total}"


def read_range(header: str | None) -> SingleRange | None:
    """The range of a player's ``Range`` header; None if there is none that we follow."""
    match = _ONE.fullmatch(header.strip()) if header else None
    if match is None or match.groups() == ("", ""):
        return None
    first, last = (int(text) if text else None for text in match.groups())
    if first is not None and last is not None and last < first:
        return None
    return SingleRange(first, last)


def read_content_range(header: str | None) -> SingleContentRange | None:
    """The range that a provider says it sends; None if that makes no sense."""
    match = _CONTENT.fullmatch(header.strip()) if header else None
    if match is None:
        return None
    start, last = int(match[1]), int(match[2])
    total = None if match[3] == "*" else int(match[3])
    if last < start or (total is not None and last >= total):
        return None
    return SingleContentRange(start, last + 1, total)
