"""Limits of playlists: reading and rewriting must take at most a tenth of a second.

A playlist is processed in one step, in the thread that also serves all video. Therefore the limit is an estimated cost,
not a size: a URI is resolved, encrypted and replaced, a blank line costs next to nothing. The weights were measured
with the worst input of each kind (microseconds, rounded up). The limit allows about 5,000 to 6,000 segments: three
hours of 2-second segments, or nine hours of 6-second segments. Ended playlists are fetched once; their limit is four
times higher.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .playlist_lines import LineKind, NotAPlaylist, PlaylistLine

#: Largest size in bytes.
MAX_BYTES = 2_097_152
#: Largest number of lines.
MAX_LINES = 40_000
#: Longest line in characters: a URI of 16 KiB, some keys and dates.
MAX_LINE_CHARACTERS = 65_536
#: Largest number of attributes of a tag.
MAX_ATTRIBUTES = 250
#: Largest number of variables (EXT-X-DEFINE). Each may be long and refer to others.
MAX_VARIABLES = 100
#: Largest estimated cost in microseconds.
MAX_COST = 95_000
#: Factor of the cost limit for ended playlists.
_ENDED_FACTOR = 4

_PER_LINE = 1.5
_PER_URI = 10.0
_PER_ATTRIBUTE = 1.5
_PER_BYTE = 0.03
#: Attributes of variants are read a second time to find counterparts.
_PER_VARIANT_ATTRIBUTE = 4.0

#: Tags that describe variants and renditions.
_VARIANT_TAGS = frozenset({"EXT-X-STREAM-INF", "EXT-X-MEDIA", "EXT-X-I-FRAME-STREAM-INF", "EXT-X-IMAGE-STREAM-INF"})
#: All tags whose attributes are read.
WEIGHED_TAGS = _VARIANT_TAGS | frozenset(
    "EXT-X-KEY EXT-X-SESSION-KEY EXT-X-MAP EXT-X-PART EXT-X-PRELOAD-HINT EXT-X-RENDITION-REPORT EXT-X-SESSION-DATA"
    " EXT-X-DATERANGE EXT-X-CONTENT-STEERING EXT-X-DEFINE EXT-X-SERVER-CONTROL EXT-X-PART-INF".split()
)


def check_bytes(body: bytes) -> None:
    """
    Check the size before parsing.

    :raises NotAPlaylist: if there are too many bytes or lines.
    """
    if len(body) > MAX_BYTES:
        raise NotAPlaylist(f"a playlist of more than {MAX_BYTES} bytes")
    if max(body.count(b"\n"), body.count(b"\r")) > MAX_LINES:
        raise NotAPlaylist(f"a playlist of more than {MAX_LINES} lines")


def check_lines(body: bytes, lines: Sequence[PlaylistLine], tag_counts: Mapping[str, int]) -> None:
    """
    Check lines, attributes, variables and the estimated cost of processing.

    :param tag_counts: number of lines by tag name.
    :raises NotAPlaylist: if a limit is exceeded.
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
            # Each attribute has an equals sign. There may be more equals signs than attributes.
            attributes = text.count("=")
            if attributes > MAX_ATTRIBUTES:
                raise NotAPlaylist(f"a playlist with a line of more than {MAX_ATTRIBUTES} attributes")
            uris += text.count("URI") + text.count("LIST")
            cost += attributes * (_PER_VARIANT_ATTRIBUTE if line.name in _VARIANT_TAGS else _PER_ATTRIBUTE)
    if cost + _PER_URI * uris > MAX_COST * (_ENDED_FACTOR if "EXT-X-ENDLIST" in tag_counts else 1):
        raise NotAPlaylist(f"an oversized playlist ({len(lines)} lines, {uris} URIs)")
