"""A playlist as lines, each with what it is, and all of it kept to the byte.

Players read more than any one parser knows: vendors' tags, Kodi's and VLC's options, attributes of the draft after
next. So a playlist is never taken apart into a model and written anew. It is cut into lines; whoever changes
something changes that part of that line.

Lines end as players take them to: CR LF, LF (RFC 8216 section 4.1), and a lone CR, which ffmpeg takes too. Text is
UTF-8; bytes that are not pass through as they are (``surrogateescape``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum

import attrs

_BOM = "\ufeff"
_LINE = re.compile(r"([^\r\n]*)(\r\n|\n|\r|\Z)")
_TAG = re.compile(r"#(EXT[A-Z0-9-]*):?")
_BLANKS = " \t\v\f"
#: RFC 8216 section 4.2. Blanks round commas, values without quotes and a quote that never ends are seen in the wild.
_ATTRIBUTE = re.compile(r'[\s,]*([A-Za-z0-9_-]+)[ \t]*=[ \t]*(?:"([^"]*)(?:"|\Z)|([^,]*))')


class LineKind(Enum):
    """What a line is to a player."""

    TAG = "tag"
    URI = "uri"
    COMMENT = "comment"
    BLANK = "blank"


@attrs.frozen
class Line:
    """
    One line.

    :ivar text: all of it but the ending.
    :ivar ending: how it ends; ``""`` only for the last.
    :ivar name: of a tag, without ``#``: ``EXTINF``; else empty.
    :ivar start: where the value of a tag, or a URI, starts in ``text``.
    :ivar end: where it ends; blanks behind are not part of it.
    """

    kind: LineKind
    text: str
    ending: str
    name: str = ""
    start: int = 0
    end: int = 0

    @property
    def value(self) -> str:
        """What follows the colon of a tag, or the URI."""
        return self.text[self.start : self.end]

    @property
    def whole(self) -> str:
        """The line with its ending."""
        return self.text + self.ending


@attrs.frozen
class Attribute:
    """
    One attribute of a tag.

    :ivar value: without quotes.
    :ivar start: where ``value`` starts in the text of the line.
    :ivar end: where it ends there.
    :ivar quoted: whether it stood in quotes.
    """

    name: str
    value: str
    start: int
    end: int
    quoted: bool


def split_lines(text: str) -> tuple[str, tuple[Line, ...]]:
    """The byte order mark, if there is one, and the lines. Together they are all of the text."""
    bom = _BOM if text.startswith(_BOM) else ""
    lines: list[Line] = []
    at = len(bom)
    while at < len(text):
        match = _LINE.match(text, at)
        assert match is not None  # the expression matches everywhere
        lines.append(_line(match[1], match[2]))
        at = match.end()
    return bom, tuple(lines)


def _line(text: str, ending: str) -> Line:
    end = len(text.rstrip(_BLANKS))
    start = len(text) - len(text.lstrip(_BLANKS))
    if start >= end:
        return Line(LineKind.BLANK, text, ending)
    if text[start] != "#":
        return Line(LineKind.URI, text, ending, "", start, end)
    tag = _TAG.match(text, start)
    if tag is None:
        return Line(LineKind.COMMENT, text, ending)
    return Line(LineKind.TAG, text, ending, tag[1], min(tag.end(), end), end)


def attributes(line: Line) -> Iterator[Attribute]:
    """The attributes of a tag, as far as there are any that can be read."""
    at = line.start
    while match := _ATTRIBUTE.match(line.text, at, line.end):
        group = 2 if match[2] is not None else 3
        value = match[group] if group == 2 else match[group].rstrip(_BLANKS)
        start = match.start(group)
        yield Attribute(match[1], value, start, start + len(value), group == 2)
        at = match.end()


def attribute(line: Line, name: str) -> str | None:
    """The value of one attribute; of several with that name the last, as players take it."""
    found = None
    for each in attributes(line):
        if each.name == name:
            found = each.value
    return found
