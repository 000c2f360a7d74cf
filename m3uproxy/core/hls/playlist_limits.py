"""Limits of playlists, which bound memory and time.

A playlist takes about twenty times its size in memory, and the processor of all players for some time. The time counts
by an estimated cost: a URI is resolved, encrypted and replaced, a blank line costs next to nothing. The weights were
measured with the worst input of each kind (microseconds, rounded up). Large playlists are processed in steps
(:mod:`.steps`), so that the limits need not prevent delays.

A live playlist is fetched and processed again for each new segment. Its limit allows about 12,000 segments: seven hours
of 2-second segments, or twenty hours of 6-second segments. A playlist that has ended is processed once. Its limit
allows a day of 2-second segments with dates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .playlist_lines import LineKind, OversizedPlaylist, PlaylistLine
from .steps import CHARACTERS, MAX_WEIGHT, Steps

#: Largest size in bytes.
MAX_BYTES = 6_291_456
#: Largest number of lines.
MAX_LINES = 150_000
#: Longest line in characters: a URI of 16 KiB, some keys and dates.
MAX_LINE_CHARACTERS = 65_536
#: Largest number of attributes of a tag.
MAX_ATTRIBUTES = 250
#: Largest number of variables (EXT-X-DEFINE). Each may be long and refer to others.
MAX_VARIABLES = 100
#: Largest estimated cost in microseconds: of a live playlist, of one that has ended, and of a multivariant playlist,
#: whose variants are compared with those of other sources in one step.
MAX_COST = 200_000
MAX_ENDED_COST = 800_000
MAX_MULTIVARIANT_COST = 45_000

_PER_LINE = 1.5
_PER_URI = 10.0
_PER_ATTRIBUTE = 1.5
_PER_BYTE = 0.03
#: Attributes of variants are read a second time to find counterparts.
_PER_VARIANT_ATTRIBUTE = 4.0

#: Tags that describe variants and renditions.
VARIANT_TAGS = frozenset({"EXT-X-STREAM-INF", "EXT-X-MEDIA", "EXT-X-I-FRAME-STREAM-INF", "EXT-X-IMAGE-STREAM-INF"})
#: All tags whose attributes are read.
WEIGHED_TAGS = VARIANT_TAGS | frozenset(
    "EXT-X-KEY EXT-X-SESSION-KEY EXT-X-MAP EXT-X-PART EXT-X-PRELOAD-HINT EXT-X-RENDITION-REPORT EXT-X-SESSION-DATA"
    " EXT-X-DATERANGE EXT-X-CONTENT-STEERING EXT-X-DEFINE EXT-X-SERVER-CONTROL EXT-X-PART-INF".split()
)


_ENDLIST = "EXT-X-ENDLIST"
_URI = LineKind.URI


def check_bytes(body: bytes) -> None:
    """
    Check the size before parsing, and the cost of what can be counted.

    :raises OversizedPlaylist: if there are too many bytes, lines or segments.
    """
    if len(body) > MAX_BYTES:
        raise OversizedPlaylist(f"a playlist of more than {MAX_BYTES} bytes")
    lines = max(body.count(b"\n"), body.count(b"\r"))
    if lines > MAX_LINES:
        raise OversizedPlaylist(f"a playlist of more than {MAX_LINES} lines")
    segments = body.count(b"#EXTINF:")
    cost = _PER_LINE * lines + _PER_BYTE * len(body) + _PER_URI * segments
    if cost > (MAX_ENDED_COST if f"#{_ENDLIST}".encode() in body else MAX_COST):
        raise OversizedPlaylist(f"an oversized playlist ({lines} lines, {segments} segments)")


def check_lines_steps(body: bytes, lines: Sequence[PlaylistLine], tag_counts: Mapping[str, int]) -> Steps[None]:
    """
    Check lines, attributes, variables and the estimated cost of processing, in steps.

    :param tag_counts: number of lines by tag name.
    :raises OversizedPlaylist: if a limit is exceeded.
    """
    if len(lines) > MAX_LINES:
        raise OversizedPlaylist(f"a playlist of more than {MAX_LINES} lines")
    if tag_counts.get("EXT-X-DEFINE", 0) > MAX_VARIABLES:
        raise OversizedPlaylist(f"a playlist of more than {MAX_VARIABLES} variables")
    uris, cost, weight = 0, _PER_LINE * len(lines) + _PER_BYTE * len(body), 0
    for line in lines:
        size = len(line.text)
        if size > MAX_LINE_CHARACTERS:
            raise OversizedPlaylist(f"a playlist with a line of more than {MAX_LINE_CHARACTERS} characters")
        if line.kind is _URI:
            uris += 1
        elif line.name in WEIGHED_TAGS:
            cost += _attribute_cost(line)
            uris += line.text.count("URI") + line.text.count("LIST")
            weight += size // CHARACTERS
        weight += 1
        if weight > 10 * MAX_WEIGHT:
            weight = 0
            yield
    if cost + _PER_URI * uris > _max_cost(tag_counts):
        raise OversizedPlaylist(f"an oversized playlist ({len(lines)} lines, {uris} URIs)")


def _attribute_cost(line: PlaylistLine) -> float:
    """Return the cost of a tag. Each attribute has an equals sign. There may be more equals signs than attributes."""
    attributes = line.text.count("=")
    if attributes > MAX_ATTRIBUTES:
        raise OversizedPlaylist(f"a playlist with a line of more than {MAX_ATTRIBUTES} attributes")
    return attributes * (_PER_VARIANT_ATTRIBUTE if line.name in VARIANT_TAGS else _PER_ATTRIBUTE)


def _max_cost(tag_counts: Mapping[str, int]) -> int:
    if "EXTINF" not in tag_counts and not VARIANT_TAGS.isdisjoint(tag_counts):
        return MAX_MULTIVARIANT_COST
    return MAX_ENDED_COST if _ENDLIST in tag_counts else MAX_COST
