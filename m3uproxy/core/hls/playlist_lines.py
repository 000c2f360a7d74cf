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
from itertools import chain, islice, repeat
from typing import NamedTuple

from .steps import MAX_WEIGHT, Steps, run_steps

_BOM = "\ufeff"
#: Never matches the empty string, so there is no match at the end of the text.
_LINE = re.compile(r"([^\r\n]*)(\r\n|\n|\r)|([^\r\n]+)")
_TAG = re.compile(r"#(EXT[A-Z0-9-]*):?")
_BLANKS = " \t\v\f"
#: RFC 8216 section 4.2. Providers also send blanks around commas, values without quotes and unterminated quotes.
_ATTRIBUTE = re.compile(r'[\s,]*([A-Za-z0-9_-]+)[ \t]*=[ \t]*(?:"([^"]*)(?:"|\Z)|([^,]*))')


class NotAPlaylist(ValueError):
    """A body that is not a playlist. The text describes the body, for operators."""


class OversizedPlaylist(NotAPlaylist):
    """A playlist that exceeds a limit. Another request for it would be in vain."""


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
    return run_steps(split_lines_steps(text))


def split_lines_steps(text: str) -> Steps[tuple[str, tuple[PlaylistLine, ...]]]:
    """Split in steps; see :func:`split_lines`."""
    bom = _BOM if text.startswith(_BOM) else ""
    raw = _raw_lines(text, len(bom))
    lines: list[PlaylistLine] = []
    while chunk := [_line(line, ending) for line, ending in islice(raw, MAX_WEIGHT)]:
        lines += chunk
        yield
    return bom, tuple(lines)


def _raw_lines(text: str, start: int) -> Iterator[tuple[str, str]]:
    """Return the lines and their endings. Without a carriage return, which is rare, splitting is much faster."""
    if "\r" in text:
        return ((match[1] or match[3] or "", match[2] or "") for match in _LINE.finditer(text, start))
    *lines, last = text[start:].split("\n")
    return chain(zip(lines, repeat("\n"), strict=False), [(last, "")] if last else [])


#: Constants of the module, because an attribute of an Enum takes as long as the rest of a line.
_TAG_KIND, _URI, _COMMENT, _BLANK = LineKind.TAG, LineKind.URI, LineKind.COMMENT, LineKind.BLANK
#: Makes a line without the Python function that a NamedTuple has.
_new = tuple.__new__
#: The tags of most lines, up to the colon.
_COMMON_TAGS = {f"#{name}": name for name in ("EXTINF", "EXT-X-PROGRAM-DATE-TIME", "EXT-X-BYTERANGE", "EXT-X-PART")}


def _line(text: str, ending: str) -> PlaylistLine:
    end = len(text.rstrip(_BLANKS))
    if not end:
        return PlaylistLine(_BLANK, text, ending)
    if text[0] != "#":
        start = len(text) - len(text.lstrip(_BLANKS))
        if text[start] != "#":
            return _new(PlaylistLine, (_URI, text, ending, "", start, end))
    else:
        start = 0
        head = text.partition(":")[0]
        if head in _COMMON_TAGS and len(head) < end:
            return _new(PlaylistLine, (_TAG_KIND, text, ending, _COMMON_TAGS[head], len(head) + 1, end))
    tag = _TAG.match(text, start)
    if tag is None:
        return PlaylistLine(_COMMENT, text, ending)
    return PlaylistLine(_TAG_KIND, text, ending, tag[1], min(tag.end(), end), end)


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
