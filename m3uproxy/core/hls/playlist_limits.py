"""How large a playlist may be: as large as can be read and rewritten in a tenth of a second.

All of that is done in one go, in the thread in which everybody's video is handed on. So it is not the bytes that count
but what they cost: a URI is taken apart, encrypted and put in place, a blank line costs next to nothing. The weights
were measured (microseconds, rounded up) with the worst that fits into each of them; what they amount to is some five
or six thousand segments: three hours in pieces of two seconds, nine in pieces of six. A playlist that is over is not
read again and again, so one of a film or of a day may be four times as large.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .playlist_lines import LineKind, NotAPlaylist, PlaylistLine

#: Bytes.
MAX_BYTES = 2_097_152
#: Lines.
MAX_LINES = 40_000
#: Characters of one line: a URI of 16 KiB, some keys and dates.
MAX_LINE_CHARACTERS = 65_536
#: Attributes of one tag.
MAX_ATTRIBUTES = 250
#: Definitions (EXT-X-DEFINE). Each may be long, and made of others.
MAX_VARIABLES = 100
#: What all of it may cost.
MAX_COST = 95_000
#: As a multiple of that, what a playlist may cost that has its end in it.
_ENDED_FACTOR = 4

_PER_LINE = 1.5
_PER_URI = 10.0
_PER_ATTRIBUTE = 1.5
_PER_BYTE = 0.03
#: Those of variants are looked at again, to know which is the counterpart of which.
_PER_VARIANT_ATTRIBUTE = 4.0

#: Tags whose attributes are read.
_VARIANT_TAGS = frozenset({"EXT-X-STREAM-INF", "EXT-X-MEDIA", "EXT-X-I-FRAME-STREAM-INF", "EXT-X-IMAGE-STREAM-INF"})
WEIGHED_TAGS = _VARIANT_TAGS | frozenset(
    "EXT-X-KEY EXT-X-SESSION-KEY EXT-X-MAP EXT-X-PART EXT-X-PRELOAD-HINT EXT-X-RENDITION-REPORT EXT-X-SESSION-DATA"
    " EXT-X-DATERANGE EXT-X-CONTENT-STEERING EXT-X-DEFINE EXT-X-SERVER-CONTROL EXT-X-PART-INF".split()
)


def check_bytes(body: bytes) -> None:
    """
    Before anything is read.

    :raises NotAPlaylist: for too much.
    """
    if len(body) > MAX_BYTES:
        raise NotAPlaylist(f"a playlist of more than {MAX_BYTES} bytes")
    if max(body.count(b"\n"), body.count(b"\r")) > MAX_LINES:
        raise NotAPlaylist(f"a playlist of more than {MAX_LINES} lines")


def check_lines(body: bytes, lines: Sequence[PlaylistLine], tag_counts: Mapping[str, int]) -> None:
    """
    When it has been cut into lines.

    :param tag_counts: how often there is a tag of a name.
    :raises NotAPlaylist: for too much.
    """
    if len(lines) > MAX_LINES:
        raise NotAPlaylist(f"a playlist of more than {MAX_LINES} lines")
    if tag_counts.get("EXT-X-DEFINE", 0) > MAX_VARIABLES:
        raise NotAPlaylist(f"a playlist of more than {MAX_VARIABLES} variables")
    uris, cost = 0, _PER_LINE * len(lines) + _PER_BYTE * len(body)
    for line in lines:
        text = line.text
        if len(text) > MAX_LINE_CHARACTERS:
            raise NotAPlaylist(f"a playlist with a line of more than {MAX_LINE_CHARACTERS} characters")
        if line.kind is LineKind.URI:
            uris += 1
        elif line.name in WEIGHED_TAGS:
            # Each has one of these, if not the other way round.
            attributes = text.count("=")
            if attributes > MAX_ATTRIBUTES:
                raise NotAPlaylist(f"a playlist with a line of more than {MAX_ATTRIBUTES} attributes")
            uris += text.count("URI") + text.count("LIST")
            cost += attributes * (_PER_VARIANT_ATTRIBUTE if line.name in _VARIANT_TAGS else _PER_ATTRIBUTE)
    if cost + _PER_URI * uris > MAX_COST * (_ENDED_FACTOR if "EXT-X-ENDLIST" in tag_counts else 1):
        raise NotAPlaylist(f"a playlist out of all measure, of {len(lines)} lines that name {uris} resources")
