"""Parsed playlists: type, sequence numbers, and the segments with their keys and initialization sections.

The parser is as tolerant as players are. A body that is not a playlist (login page, JSON, video) is refused, so that
the source counts as failed. An invalid number counts as absent.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Set

import attrs

from .media_segments import MediaSegment, decimal_integer, read_segments_steps
from .playlist_limits import check_bytes, check_lines_steps
from .playlist_lines import LineKind, NotAPlaylist, PlaylistLine, attribute, split_lines_steps
from .steps import Steps, run_steps

_MULTIVARIANT_TAGS = frozenset(
    {"EXT-X-STREAM-INF", "EXT-X-I-FRAME-STREAM-INF", "EXT-X-IMAGE-STREAM-INF", "EXT-X-MEDIA"}
)
_MEDIA_TAGS = frozenset({"EXTINF", "EXT-X-TARGETDURATION", "EXT-X-MEDIA-SEQUENCE", "EXT-X-PART"})
#: Attributes; providers also leave quotes out, and put blanks around.
_IS_AUDIO = re.compile(r"[:,\s]TYPE\s*=\s*AUDIO\b")
_GROUP, _AUDIO_GROUP = (re.compile(rf'[:,\s]{name}\s*=\s*"?([^",]+)') for name in ("GROUP-ID", "AUDIO"))
_OTHER_FORMATS = (("<", "HTML or XML"), ("{", "JSON"), ("[", "JSON"), ("G", "binary data"), ("\0", "binary data"))
#: Tags of a playlist whose values are needed.
HEAD_TAGS = frozenset(
    "EXT-X-TARGETDURATION EXT-X-MEDIA-SEQUENCE EXT-X-DISCONTINUITY-SEQUENCE EXT-X-SERVER-CONTROL EXT-X-PART-INF".split()
)
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
    :ivar tags: the first line of each tag in :data:`HEAD_TAGS`.
    :ivar trailing: indexes of the lines of a segment that is not complete yet: parts, preload hints.
    :ivar sound_lines: indexes of the EXT-X-MEDIA lines without whose sound a variant is silent: the only member of a
        group that the variant names as its AUDIO.
    """

    bom: str
    lines: tuple[PlaylistLine, ...] = attrs.field(repr=False)
    multivariant: bool
    target_duration: float
    sequence: int
    discontinuity_sequence: int
    ended: bool
    tags: Mapping[str, PlaylistLine] = attrs.field(repr=False)
    segments: tuple[MediaSegment, ...] = attrs.field(repr=False)
    trailing: tuple[int, ...] = attrs.field(repr=False)
    sound_lines: frozenset[int] = frozenset()

    @property
    def duration(self) -> float:
        """Total duration of all segments, in seconds."""
        return sum(segment.duration for segment in self.segments)


def parse(body: bytes) -> Playlist:
    """
    Parse a playlist.

    :raises NotAPlaylist: if the body is not a playlist; :class:`.playlist_lines.OversizedPlaylist` if it exceeds a
        limit of :mod:`.playlist_limits`.
    """
    return run_steps(parse_steps(body))


def parse_steps(body: bytes) -> Steps[Playlist]:
    """Parse in steps; see :func:`parse`."""
    check_bytes(body)
    bom, lines = yield from split_lines_steps(body.decode("utf-8", "surrogateescape"))
    names = Counter([line.name for line in lines])
    yield
    _check_tags(lines, names.keys())
    if b"\0" in body:
        raise NotAPlaylist("binary data")
    yield from check_lines_steps(body, lines, names)
    multivariant = not names.keys().isdisjoint(_MULTIVARIANT_TAGS) and "EXTINF" not in names
    tags = _first_tags(lines, names.keys())
    yield
    first, start = _tag_number(tags, "EXT-X-MEDIA-SEQUENCE"), _tag_number(tags, "EXT-X-DISCONTINUITY-SEQUENCE")
    segments: tuple[MediaSegment, ...] = ()
    trailing: tuple[int, ...] = ()
    if not multivariant:
        segments, trailing = yield from read_segments_steps(lines, first, start)
    return Playlist(
        bom=bom,
        lines=lines,
        multivariant=multivariant,
        target_duration=_target_duration(tags, segments),
        sequence=first,
        discontinuity_sequence=start,
        ended="EXT-X-ENDLIST" in names,
        tags=tags,
        segments=segments,
        trailing=trailing,
        sound_lines=_sound_lines(lines) if multivariant and "EXT-X-MEDIA" in names else frozenset(),
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
    control = playlist.tags.get("EXT-X-SERVER-CONTROL")
    return control is not None and attribute(control, "CAN-BLOCK-RELOAD") == "YES"


def _sound_lines(lines: tuple[PlaylistLine, ...]) -> frozenset[int]:
    """Return :attr:`Playlist.sound_lines`. Expressions are faster here than reading all attributes once more."""
    members: dict[str, list[int]] = defaultdict(list)
    named = set()
    for index, line in enumerate(lines):
        if line.name == "EXT-X-MEDIA" and _IS_AUDIO.search(line.text):
            group = _GROUP.search(line.text)
            members[group[1] if group else ""].append(index)
        elif line.name == "EXT-X-STREAM-INF" and "AUDIO" in line.text:
            named.update(_AUDIO_GROUP.findall(line.text))
    return frozenset(each[0] for group, each in members.items() if group in named and len(each) == 1)


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


def _first_tags(lines: tuple[PlaylistLine, ...], names: Set[str]) -> Mapping[str, PlaylistLine]:
    """Return the first line of each tag in :data:`HEAD_TAGS`."""
    return {name: next(line for line in lines if line.name == name) for name in HEAD_TAGS & names}


def _tag_number(tags: Mapping[str, PlaylistLine], name: str) -> int:
    return decimal_integer(tags[name].value) or 0 if name in tags else 0


def _target_duration(tags: Mapping[str, PlaylistLine], segments: tuple[MediaSegment, ...]) -> float:
    stated = _tag_number(tags, "EXT-X-TARGETDURATION")
    longest = max((segment.duration for segment in segments), default=0.0)
    return float(stated) or longest or _DEFAULT_TARGET_DURATION
