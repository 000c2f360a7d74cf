"""What a playlist says: of which kind it is, its numbers, its segments with all that is in force for each.

Reading is tolerant where players are, and no further: what is no playlist (a login page, JSON, a video) is told, so
that the source counts as failed. A number that is none counts as absent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Set

import attrs

from .media_segments import MediaSegment, decimal_integer, read_segments
from .playlist_limits import check_bytes, check_lines
from .playlist_lines import LineKind, NotAPlaylist, PlaylistLine, attribute, split_lines

_MULTIVARIANT_TAGS = frozenset(
    {"EXT-X-STREAM-INF", "EXT-X-I-FRAME-STREAM-INF", "EXT-X-IMAGE-STREAM-INF", "EXT-X-MEDIA"}
)
_MEDIA_TAGS = frozenset({"EXTINF", "EXT-X-TARGETDURATION", "EXT-X-MEDIA-SEQUENCE", "EXT-X-PART"})
_OTHER_FORMATS = (("<", "HTML or XML"), ("{", "JSON"), ("[", "JSON"), ("G", "no text"), ("\0", "no text"))
#: Seconds, where a playlist says nothing that helps.
_DEFAULT_TARGET_DURATION = 10.0


@attrs.frozen
class Playlist:
    """
    One playlist.

    :ivar multivariant: whether it lists playlists (a multivariant playlist) and not segments.
    :ivar target_duration: seconds; that of the longest segment where it is not told.
    :ivar sequence: the media sequence number of the first segment.
    :ivar discontinuity_sequence: the one that the playlist states, 0 if it does not.
    :ivar ended: nothing will be added (EXT-X-ENDLIST).
    :ivar trailing: indexes of the lines that belong to a segment that is still to come: parts, hints.
    """

    bom: str
    lines: tuple[PlaylistLine, ...] = attrs.field(repr=False)
    multivariant: bool
    target_duration: float
    sequence: int
    discontinuity_sequence: int
    ended: bool
    segments: tuple[MediaSegment, ...] = attrs.field(repr=False)
    trailing: tuple[int, ...] = attrs.field(repr=False)

    @property
    def duration(self) -> float:
        """Seconds of all segments."""
        return sum(segment.duration for segment in self.segments)


def parse(body: bytes) -> Playlist:
    """
    Read a playlist.

    :raises NotAPlaylist: also for one that is too large.
    """
    check_bytes(body)
    bom, lines = split_lines(body.decode("utf-8", "surrogateescape"))
    names = Counter([line.name for line in lines])
    _check_tags(lines, names.keys())
    if b"\0" in body:
        raise NotAPlaylist("no text")
    check_lines(body, lines, names)
    multivariant = not names.keys().isdisjoint(_MULTIVARIANT_TAGS) and "EXTINF" not in names
    first, start = _tag_number(lines, "EXT-X-MEDIA-SEQUENCE"), _tag_number(lines, "EXT-X-DISCONTINUITY-SEQUENCE")
    segments, trailing = ((), ()) if multivariant else read_segments(lines, first, start)
    return Playlist(
        bom=bom,
        lines=lines,
        multivariant=multivariant,
        target_duration=_target_duration(lines, segments),
        sequence=first,
        discontinuity_sequence=start,
        ended="EXT-X-ENDLIST" in names,
        segments=segments,
        trailing=trailing,
    )


def is_nested_playlist(line: PlaylistLine) -> bool:
    """Whether a URI that no EXT-X-STREAM-INF precedes names a playlist all the same: lists of channels do that."""
    if ".m3u" not in line.text.lower():
        return False
    path = line.value.partition("?")[0].partition("#")[0].lower()
    return path.endswith((".m3u8", ".m3u"))


def can_block_reload(playlist: Playlist) -> bool:
    """Whether the server holds a request for a playlist that is still to come (RFC 8216bis section 6.2.5.2)."""
    control = next((line for line in playlist.lines if line.name == "EXT-X-SERVER-CONTROL"), None)
    return control is not None and attribute(control, "CAN-BLOCK-RELOAD") == "YES"


def _check_tags(lines: tuple[PlaylistLine, ...], names: Set[str]) -> None:
    """Whether it begins as playlists do, and whether there is anything to play in it."""
    first = next((line for line in lines if line.kind is not LineKind.BLANK), None)
    if first is None:
        raise NotAPlaylist("an empty body")
    if first.name.startswith("EXTM3U"):
        if not names & (_MULTIVARIANT_TAGS | _MEDIA_TAGS) and all(line.kind is not LineKind.URI for line in lines):
            raise NotAPlaylist("a playlist with nothing in it")
    elif first.kind is LineKind.URI or not names & (_MULTIVARIANT_TAGS | _MEDIA_TAGS):
        raise NotAPlaylist(_describe(first.text.lstrip()))


def _describe(text: str) -> str:
    return next((name for start, name in _OTHER_FORMATS if text.startswith(start)), "something that is no playlist")


def _tag_number(lines: tuple[PlaylistLine, ...], name: str) -> int:
    return next((decimal_integer(line.value) or 0 for line in lines if line.name == name), 0)


def _target_duration(lines: tuple[PlaylistLine, ...], segments: tuple[MediaSegment, ...]) -> float:
    stated = _tag_number(lines, "EXT-X-TARGETDURATION")
    longest = max((segment.duration for segment in segments), default=0.0)
    return float(stated) or longest or _DEFAULT_TARGET_DURATION
