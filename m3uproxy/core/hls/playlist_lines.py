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
from typing import NamedTuple

_BOM = "\ufeff"
#: Never empty, so that it does not match behind the last.
_LINE = re.compile(r"([^\r\n]*)(\r\n|\n|\r)|([^\r\n]+)")
_TAG = re.compile(r"#(EXT[A-Z0-9-]*):?")
_BLANKS = " \t\v\f"
#: RFC 8216 section 4.2. Blanks round commas, values without quotes and a quote that never ends are seen in the wild.
_ATTRIBUTE = re.compile(r'[\s,]*([A-Za-z0-9_-]+)[ \t]*=[ \t]*(?:"([^"]*)(?:"|\Z)|([^,]*))')


class NotAPlaylist(ValueError):
    """A body is something else, or more than anybody plays. The text says what, for people."""


class LineKind(Enum):
    """What a line is to a player."""

    TAG = "tag"
    URI = "uri"
    COMMENT = "comment"
    BLANK = "blank"


class PlaylistLine(NamedTuple):
    """
    One line. A tuple, because there may be ten thousands.

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
    def raw(self) -> str:
        """The line with its ending."""
        return self.text + self.ending


class Attribute(NamedTuple):
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


def split_lines(text: str) -> tuple[str, tuple[PlaylistLine, ...]]:
    """The byte order mark, if there is one, and the lines. Together they are all of the text."""
    bom = _BOM if text.startswith(_BOM) else ""
    found = _LINE.findall(text, len(bom))
    return bom, tuple([_line(line or last, ending) for line, ending, last in found])


def _line(text: str, ending: str) -> PlaylistLine:
    end = len(text.rstrip(_BLANKS))
    if not end:
        return PlaylistLine(LineKind.BLANK, text, ending)
    start = len(text) - len(text.lstrip(_BLANKS))
    if text[start] != "#":
        return PlaylistLine(LineKind.URI, text, ending, "", start, end)
    tag = _TAG.match(text, start)
    if tag is None:
        return PlaylistLine(LineKind.COMMENT, text, ending)
    return PlaylistLine(LineKind.TAG, text, ending, tag[1], min(tag.end(), end), end)


def attributes(line: PlaylistLine) -> Iterator[Attribute]:
    """The attributes of a tag, as far as there are any that can be read."""
    at = line.start
    while match := _ATTRIBUTE.match(line.text, at, line.end):
        name, value, bare = match.groups()
        quoted = value is not None
        if not quoted:
            value = bare.rstrip(_BLANKS)
        start = match.start(2 if quoted else 3)
        yield Attribute(name, value, start, start + len(value), quoted)
        at = match.end()


def attribute(line: PlaylistLine, name: str) -> str | None:
    """The value of one attribute; of several with that name the last, as players take it."""
    found = None
    for each in attributes(line):
        if each.name == name:
            found = each.value
    return found
