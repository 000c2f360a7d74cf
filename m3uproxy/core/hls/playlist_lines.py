"""Playlists as lines, preserved byte for byte.

Players read more than a single parser knows: vendor tags, Kodi and VLC options, attributes of later drafts. Therefore a
playlist is never parsed into a model and serialised again. The text is split into lines, and a change replaces only the
affected part of a line.

Line endings are those that players accept: CR LF and LF (RFC 8216 section 4.1), and a lone CR, as in ffmpeg. The text
is UTF-8. Invalid bytes are passed through (``surrogateescape``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

_BOM = "\ufeff"
#: Never matches the empty string, so there is no match at the end of the text.
_LINE = re.compile(r"([^\r\n]*)(\r\n|\n|\r)|([^\r\n]+)")
_TAG = re.compile(r"#(EXT[A-Z0-9-]*):?")
_BLANKS = " \t\v\f"
#: RFC 8216 section 4.2. Providers also send blanks around commas, values without quotes and unterminated quotes.
_ATTRIBUTE = re.compile(r'[\s,]*([A-Za-z0-9_-]+)[ \t]*=[ \t]*(?:"([^"]*)(?:"|\Z)|([^,]*))')


class NotAPlaylist(ValueError):
    """A body that is not a playlist, or that exceeds a limit. The text describes the body, for operators."""


class LineKind(Enum):
    """The kinds of lines."""

    TAG = "tag"
    URI = "uri"
    COMMENT = "comment"
    BLANK = "blank"


class PlaylistLine(NamedTuple):
    """
    A line of a playlist. A tuple for speed, because a playlist may have 40,000 lines.

    :ivar text: the line without its ending.
    :ivar ending: the line ending; ``""`` only for the last line.
    :ivar name: tag name without ``#``, for example ``EXTINF``; empty if the line is not a tag.
    :ivar start: start index in ``text`` of the tag's value or of the URI.
    :ivar end: end index in ``text``, without trailing blanks.
    """

    kind: LineKind
    text: str
    ending: str
    name: str = ""
    start: int = 0
    end: int = 0

    @property
    def value(self) -> str:
        """Text after the colon of a tag, or the URI."""
        return self.text[self.start : self.end]

    @property
    def raw(self) -> str:
        """The line with its ending."""
        return self.text + self.ending


class Attribute(NamedTuple):
    """
    An attribute of a tag.

    :ivar value: without quotes.
    :ivar start: start index of ``value`` in the text of the line.
    :ivar end: end index of ``value`` in the text of the line.
    :ivar quoted: True if the value is a quoted-string.
    """

    name: str
    value: str
    start: int
    end: int
    quoted: bool


def split_lines(text: str) -> tuple[str, tuple[PlaylistLine, ...]]:
    """Return the byte order mark (empty if absent) and the lines. Together they are the complete text."""
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
    """Yield the attributes of a tag, up to the first unreadable one."""
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
    """
    Return the value of an attribute, or None if it is absent.

    If the name is repeated, the last value is returned, as players do.
    """
    found = None
    for each in attributes(line):
        if each.name == name:
            found = each.value
    return found
