"""One range of bytes, as a player asks for it and a provider answers it (RFC 9110 section 14).

Players of HLS ask for single ranges (RFC 8216 section 4.3.2.2). A header that says anything else is treated as if it
were not there, which section 14.2 allows.
"""

from __future__ import annotations

import re

import attrs

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
