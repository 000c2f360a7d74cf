"""Parsed playlists: type, sequence numbers, and the segments with their keys and initialization sections.

The parser is as tolerant as players are. A body that is not a playlist (login page, JSON, video) is refused, so that
the source counts as failed. An invalid number counts as absent.
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
_OTHER_FORMATS = (("<", "HTML or XML"), ("{", "JSON"), ("[", "JSON"), ("G", "binary data"), ("\0", "binary data"))
#: Target duration in seconds of a playlist without EXT-X-TARGETDURATION and EXTINF.
_DEFAULT_TARGET_DURATION = 10.0


@attrs.frozen
class Playlist:
    """
    A parsed playlist.

    :ivar multivariant: True for a multivariant playlist, False for a media playlist.
    :ivar target_duration: seconds; without EXT-X-TARGETDURATION the duration of the longest segment.
    :ivar sequence: media sequence number of the first segment.
    :ivar discontinuity_sequence: value of EXT-X-DISCONTINUITY-SEQUENCE, 0 if absent.
    :ivar ended: True if EXT-X-ENDLIST is present, so no segment will be added.
    :ivar trailing: indexes of the lines of a segment that is not complete yet: parts, preload hints.
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
        """Total duration of all segments, in seconds."""
        return sum(segment.duration for segment in self.segments)


def parse(body: bytes) -> Playlist:
    """
    Parse a playlist.

    :raises NotAPlaylist: if the body is not a playlist, or exceeds a limit of :mod:`.playlist_limits`.
    """
    check_bytes(body)
    bom, lines = split_lines(body.decode("utf-8", "surrogateescape"))
    names = Counter([line.name for line in lines])
    _check_tags(lines, names.keys())
    if b"\0" in body:
        raise NotAPlaylist("binary data")
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


def begins_playlist(first_bytes: bytes) -> bool:
    """Return whether a body begins like a playlist. No format of media begins like that."""
    return first_bytes.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"#")


def is_nested_playlist(line: PlaylistLine) -> bool:
    """Return whether a URI without EXT-X-STREAM-INF names a playlist. Channel lists contain such URIs."""
    if ".m3u" not in line.text.lower():
        return False
    path = line.value.partition("?")[0].partition("#")[0].lower()
    return path.endswith((".m3u8", ".m3u"))


def can_block_reload(playlist: Playlist) -> bool:
    """Return whether the server supports blocking playlist reload (RFC 8216bis section 6.2.5.2)."""
    control = next((line for line in playlist.lines if line.name == "EXT-X-SERVER-CONTROL"), None)
    return control is not None and attribute(control, "CAN-BLOCK-RELOAD") == "YES"


def _check_tags(lines: tuple[PlaylistLine, ...], names: Set[str]) -> None:
    """Refuse a body that does not start as a playlist, or that has no segments and no variants."""
    first = next((line for line in lines if line.kind is not LineKind.BLANK), None)
    if first is None:
        raise NotAPlaylist("an empty body")
    if first.name.startswith("EXTM3U"):
        if not names & (_MULTIVARIANT_TAGS | _MEDIA_TAGS) and all(line.kind is not LineKind.URI for line in lines):
            raise NotAPlaylist("an empty playlist")
    elif first.kind is LineKind.URI or not names & (_MULTIVARIANT_TAGS | _MEDIA_TAGS):
        raise NotAPlaylist(_describe(first.text.lstrip()))


def _describe(text: str) -> str:
    return next((name for start, name in _OTHER_FORMATS if text.startswith(start)), "text that is not a playlist")


def _tag_number(lines: tuple[PlaylistLine, ...], name: str) -> int:
    return next((decimal_integer(line.value) or 0 for line in lines if line.name == name), 0)


def _target_duration(lines: tuple[PlaylistLine, ...], segments: tuple[MediaSegment, ...]) -> float:
    stated = _tag_number(lines, "EXT-X-TARGETDURATION")
    longest = max((segment.duration for segment in segments), default=0.0)
    return float(stated) or longest or _DEFAULT_TARGET_DURATION
