"""The media segments of a media playlist, each with the lines that belong to it.

Each line belongs to a segment or to the playlist. Media segment tags (RFC 8216bis section 4.4.4) belong to the segment
that follows. Once the first of these tags was read, unknown lines belong to the following segment too, because player
options stand before the URI they apply to. Tags of the playlist (sections 4.4.2 and 4.4.3) and of a time range
(EXT-X-DATERANGE) stay when segments are removed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import attrs

from .playlist_lines import LineKind, OversizedPlaylist, PlaylistLine, attributes
from .steps import CHARACTERS, MAX_WEIGHT, Steps, run_steps

#: Tags that belong to the playlist at any position.
_PLAYLIST_TAGS = frozenset(
    "EXTM3U EXT-X-VERSION EXT-X-TARGETDURATION EXT-X-MEDIA-SEQUENCE EXT-X-DISCONTINUITY-SEQUENCE EXT-X-ENDLIST"
    " EXT-X-PLAYLIST-TYPE EXT-X-I-FRAMES-ONLY EXT-X-PART-INF EXT-X-SERVER-CONTROL EXT-X-INDEPENDENT-SEGMENTS"
    " EXT-X-START EXT-X-DEFINE EXT-X-ALLOW-CACHE EXT-X-DATERANGE EXT-X-SKIP EXT-X-RENDITION-REPORT".split()
)
#: Tags that belong to a segment; the first of them ends the playlist's header.
_SEGMENT_TAGS = frozenset(
    "EXTINF EXT-X-BYTERANGE EXT-X-DISCONTINUITY EXT-X-KEY EXT-X-MAP EXT-X-PROGRAM-DATE-TIME EXT-X-GAP EXT-X-BITRATE"
    " EXT-X-PART EXT-X-PRELOAD-HINT".split()
)
#: Tags that also apply to later segments.
_STATE_TAGS = frozenset({"EXT-X-DISCONTINUITY", "EXT-X-MAP", "EXT-X-KEY"})
_URI = LineKind.URI
_DURATION = re.compile(r"\s*(\d{1,9}(?:\.\d{0,12})?|\.\d{1,12})")
_INTEGER = re.compile(r"\s*(\d{1,20})\s*")
_BYTE_RANGE = re.compile(r"\s*(\d{1,20})\s*(?:@\s*(\d{1,20}))?\s*")
#: Default KEYFORMAT (RFC 8216bis section 4.4.4.4).
IDENTITY = "identity"
#: Key formats that may apply at a time, one for each DRM. Each segment lists them.
MAX_KEYS = 16


@attrs.frozen
class SegmentByteRange:
    """A sub-range of a resource: ``length`` bytes from ``offset`` on."""

    length: int
    offset: int


@attrs.frozen
class MediaSegment:
    """
    A media segment, with the key and the initialization section that apply to it.

    :ivar sequence: media sequence number.
    :ivar discontinuity_sequence: discontinuity sequence number, including the segment's own EXT-X-DISCONTINUITY.
    :ivar duration: seconds, 0 without EXTINF.
    :ivar uri: the URI as written in the playlist.
    :ivar line: index of the URI line.
    :ivar lines: indexes of all lines of the segment in order; the last is ``line``.
    :ivar keys: indexes of the EXT-X-KEY lines that apply, one for each key format.
    :ivar map: index of the EXT-X-MAP line that applies.
    """

    sequence: int
    discontinuity_sequence: int
    duration: float
    uri: str
    line: int
    lines: tuple[int, ...] = attrs.field(repr=False)
    discontinuity: bool = False
    byte_range: SegmentByteRange | None = None
    keys: tuple[int, ...] = ()
    map: int | None = None
    gap: bool = False
    date: str | None = None


def decimal_integer(text: str) -> int | None:
    """Return the value of a decimal-integer (RFC 8216 section 4.2), or None if the text is not a number."""
    match = _INTEGER.fullmatch(text)
    return int(match[1]) if match else None


def read_segments(
    lines: Sequence[PlaylistLine], first_sequence: int, discontinuity_sequence: int
) -> tuple[tuple[MediaSegment, ...], tuple[int, ...]]:
    """
    Return the segments of a media playlist, and the indexes of the lines after the last segment.

    Lines after the last segment belong to a segment that is not complete yet (parts, preload hints).

    :param first_sequence: media sequence number of the first segment.
    :param discontinuity_sequence: value of EXT-X-DISCONTINUITY-SEQUENCE.
    """
    return run_steps(read_segments_steps(lines, first_sequence, discontinuity_sequence))


def read_segments_steps(
    lines: Sequence[PlaylistLine], first_sequence: int, discontinuity_sequence: int
) -> Steps[tuple[tuple[MediaSegment, ...], tuple[int, ...]]]:
    """Read the segments in steps; see :func:`read_segments`."""
    reader = _SegmentReader(first_sequence, discontinuity_sequence)
    weight = 0
    for index, line in enumerate(lines):
        reader.read_line(index, line)
        weight += 1 + len(line.text) // CHARACTERS
        if weight > MAX_WEIGHT:
            weight = 0
            yield
    return tuple(reader.segments), tuple(reader.pending)


class _SegmentReader:
    """Collects the segments in one pass over the lines."""

    def __init__(self, sequence: int, discontinuity_sequence: int) -> None:
        self.segments: list[MediaSegment] = []
        self.pending: list[int] = []
        self._in_head = True
        self._sequence = sequence
        self._discontinuity_sequence = discontinuity_sequence
        self._keys: dict[str, int] = {}
        self._active_keys: tuple[int, ...] = ()
        self._map: int | None = None
        self._next_offset: tuple[str, int] | None = None
        self._tags: dict[str, PlaylistLine] = {}
        self._durations: dict[str, float] = {}

    def read_line(self, index: int, line: PlaylistLine) -> None:
        """Add the next line."""
        name = line.name
        if name in _PLAYLIST_TAGS:
            return
        if name:
            if self._in_head and name not in _SEGMENT_TAGS:
                return
            self._in_head = False
            self.pending.append(index)
            self._tags[name] = line
            if name in _STATE_TAGS:
                self._read_tag(index, line)
        elif line.kind is _URI:
            self._in_head = False
            self.pending.append(index)
            self._end_segment(index, line)
        elif not self._in_head:
            self.pending.append(index)

    def _read_tag(self, index: int, line: PlaylistLine) -> None:
        if line.name == "EXT-X-DISCONTINUITY":
            self._discontinuity_sequence += 1
        elif line.name == "EXT-X-MAP":
            self._map = index
        elif line.name == "EXT-X-KEY":
            self._read_key(index, {each.name: each.value for each in attributes(line)})

    def _read_key(self, index: int, values: Mapping[str, str]) -> None:
        if values.get("METHOD") == "NONE":
            self._keys.clear()
        else:
            self._keys[values.get("KEYFORMAT") or IDENTITY] = index
        if len(self._keys) > MAX_KEYS:
            raise OversizedPlaylist(f"a playlist with keys in more than {MAX_KEYS} formats")
        self._active_keys = tuple(sorted(self._keys.values()))

    def _end_segment(self, index: int, line: PlaylistLine) -> None:
        tags, self._tags = self._tags, {}
        pending, self.pending = tuple(self.pending), []
        date, uri = tags.get("EXT-X-PROGRAM-DATE-TIME"), line.value
        self.segments.append(
            MediaSegment(
                sequence=self._sequence,
                discontinuity_sequence=self._discontinuity_sequence,
                duration=self._duration(tags.get("EXTINF")),
                uri=uri,
                line=index,
                lines=pending,
                discontinuity="EXT-X-DISCONTINUITY" in tags,
                byte_range=self._byte_range(tags.get("EXT-X-BYTERANGE"), uri),
                keys=self._active_keys,
                map=self._map,
                gap="EXT-X-GAP" in tags,
                date=date.value if date is not None else None,
            )
        )
        self._sequence += 1

    def _byte_range(self, tag: PlaylistLine | None, uri: str) -> SegmentByteRange | None:
        """
        Return the byte range of a segment.

        Without an offset the range starts after that of the previous segment (RFC 8216bis section 4.4.4.2).
        """
        match = _BYTE_RANGE.fullmatch(tag.value) if tag is not None else None
        if match is None:
            self._next_offset = None
            return None
        known = self._next_offset is not None and self._next_offset[0] == uri
        offset = int(match[2]) if match[2] else self._next_offset[1] if known and self._next_offset else 0
        self._next_offset = (uri, offset + int(match[1]))
        return SegmentByteRange(int(match[1]), offset)

    def _duration(self, tag: PlaylistLine | None) -> float:
        """Return the duration of a segment. Most segments of a playlist have the same few."""
        if tag is None:
            return 0.0
        duration = self._durations.get(tag.text)
        if duration is None:
            match = _DURATION.match(tag.value)
            duration = self._durations[tag.text] = float(match[1]) if match else 0.0
        return duration
