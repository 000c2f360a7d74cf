"""The last part of a media playlist, under other numbers: what players are sent after a change of source.

Numbers are not only names. The initialization vector of AES-128 is the media sequence number where a key does not
state one (RFC 8216bis section 5.2), and what is in force at a segment may stand in lines that go.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from .media_segments import IDENTITY, MediaSegment
from .playlist import Playlist
from .playlist_lines import NotAPlaylist, attributes
from .uri_rewriter import MAX_REWRITTEN, TOO_LONG

#: Written anew, at the top.
_SEQUENCE_TAGS = frozenset({"EXT-X-MEDIA-SEQUENCE", "EXT-X-DISCONTINUITY-SEQUENCE"})
#: Say of the playlist what is not true of one that goes on with another source: nothing will be removed, and how far
#: others have come by numbers that are not theirs any more.
_STALE_TAGS = frozenset({"EXT-X-PLAYLIST-TYPE", "EXT-X-RENDITION-REPORT"})
#: Methods that fall back to the media sequence number.
_SEQUENCE_IV_METHODS = frozenset({"AES-128", "SAMPLE-AES"})


@attrs.frozen
class PlaylistWindow:
    """
    How a playlist is shown.

    :ivar first: the source's media sequence number of the first segment that is shown.
    :ivar offset: what is added to media sequence numbers.
    :ivar discontinuity_offset: what is added to discontinuity sequence numbers.
    :ivar splice: the source's number of the segment before which the source changed; None if it never did.
    :ivar target_duration: the least that is told, seconds.
    """

    first: int
    offset: int = 0
    discontinuity_offset: int = 0
    splice: int | None = None
    target_duration: int = 0

    def discontinuity_sequence(self, segment: MediaSegment) -> int:
        """A segment's discontinuity sequence number as players count it."""
        return segment.discontinuity_sequence + self.discontinuity_offset


def apply_window(playlist: Playlist, lines: Sequence[str], window: PlaylistWindow) -> tuple[str, ...]:
    """
    The lines that players are sent.

    :param lines: the playlist's lines, rewritten.
    :raises NotAPlaylist: if that gets too long: a long key may be told anew for each of many segments.
    """
    shown = [segment for segment in playlist.segments if segment.sequence >= window.first]
    same_target = playlist.target_duration >= window.target_duration
    same_numbers = not window.offset and not window.discontinuity_offset and window.splice is None
    if not shown or (same_numbers and same_target and len(shown) == len(playlist.segments)):
        return tuple(lines)
    written: list[str] = []
    size = 0
    for line in _WindowWriter(playlist, lines, window, shown).lines():
        written.append(line)
        size += len(line)
        if size > MAX_REWRITTEN:
            raise NotAPlaylist(TOO_LONG)
    return tuple(written)


class _WindowWriter:
    """One playlist on its way out."""

    def __init__(
        self, playlist: Playlist, lines: Sequence[str], window: PlaylistWindow, shown: Sequence[MediaSegment]
    ) -> None:
        self._playlist = playlist
        self._lines = lines
        self._window = window
        self._shown = shown
        self._ending = playlist.lines[0].ending or "\n"
        self._lacking_iv: dict[int, bool] = {}
        self._segment_of_line = {index: segment for segment in playlist.segments for index in segment.lines}

    def lines(self) -> Iterator[str]:
        """All lines in order."""
        has_head = self._playlist.lines[0].name.startswith("EXTM3U")
        if not has_head:
            yield from self._sequence_tags()
        for index, line in enumerate(self._playlist.lines):
            segment = self._segment_of_line.get(index)
            if segment is not None:
                if index == segment.lines[0] and segment.sequence >= self._window.first:
                    yield from self._write_segment(segment)
            elif line.name == "EXT-X-TARGETDURATION":
                yield self._target_duration(self._lines[index])
            elif line.name not in _SEQUENCE_TAGS and not (line.name in _STALE_TAGS and self._window.splice is not None):
                yield self._lines[index]
            if index == 0 and has_head:
                yield from self._sequence_tags()

    def _sequence_tags(self) -> Iterator[str]:
        """Of the first segment shown. The discontinuity before it is not one that was removed."""
        first = self._shown[0]
        own_discontinuities = sum(self._playlist.lines[index].name == "EXT-X-DISCONTINUITY" for index in first.lines)
        removed = self._window.discontinuity_sequence(first) - max(own_discontinuities, int(self._is_spliced(first)))
        yield f"#EXT-X-MEDIA-SEQUENCE:{first.sequence + self._window.offset}{self._ending}"
        if removed:
            yield f"#EXT-X-DISCONTINUITY-SEQUENCE:{removed}{self._ending}"

    def _target_duration(self, line: str) -> str:
        if self._playlist.target_duration >= self._window.target_duration:
            return line
        return f"#EXT-X-TARGETDURATION:{self._window.target_duration}{self._ending}"

    def _write_segment(self, segment: MediaSegment) -> Iterator[str]:
        """The lines of a segment, and before them what lines that are not shown say of it."""
        if self._is_spliced(segment) and not segment.discontinuity:
            yield f"#EXT-X-DISCONTINUITY{self._ending}"
        restated = self._inherited(segment) if segment is self._shown[0] else set()
        if self._window.offset and any(map(self._lacks_iv, segment.keys)):
            yield from self._with_ivs(segment, restated)
        else:
            yield from (self._line(index, segment) for index in (*sorted(restated), *self._lines_of(segment)))

    def _lines_of(self, segment: MediaSegment) -> Sequence[int]:
        """
        Its lines; without its date, as long as the list begins with the change of source.

        A new source begins with what the old one has shown, so its dates lead back. hls.js, which knows no segment of
        such a list, goes by them and begins in its middle: what is before it becomes a hole, at which playback stops.
        """
        if not self._is_spliced(self._shown[0]):
            return segment.lines
        return [index for index in segment.lines if self._playlist.lines[index].name != "EXT-X-PROGRAM-DATE-TIME"]

    def _with_ivs(self, segment: MediaSegment, restated: set[int]) -> Iterator[str]:
        """The same where a key goes by the number of the segment: with the vector that this amounts to."""
        changes = [index for index in segment.lines if self._playlist.lines[index].name == "EXT-X-KEY"]
        before = restated.difference(segment.keys) if changes else restated.union(segment.keys)
        for index in sorted(before):
            yield self._key_with_iv(index, segment) if index in segment.keys else self._lines[index]
        for index in self._lines_of(segment):
            if index not in changes or index not in segment.keys:
                yield self._line(index, segment)
            if changes and index == changes[-1]:
                yield from (self._key_with_iv(key, segment) for key in segment.keys)

    def _key_with_iv(self, index: int, segment: MediaSegment) -> str:
        line = self._lines[index]
        if not self._lacks_iv(index):
            return line
        text = line.rstrip("\r\n").rstrip()
        return f"{text},IV=0x{segment.sequence:032X}{self._playlist.lines[index].ending}"

    def _line(self, index: int, segment: MediaSegment) -> str:
        """A line as it is. A byte range that goes on where a segment ended that is not shown says where that is."""
        line, byte_range = self._playlist.lines[index], segment.byte_range
        if line.name != "EXT-X-BYTERANGE" or byte_range is None or "@" in line.value or segment is not self._shown[0]:
            return self._lines[index]
        return f"#EXT-X-BYTERANGE:{byte_range.length}@{byte_range.offset}{line.ending}"

    def _inherited(self, segment: MediaSegment) -> set[int]:
        """Keys and map of the first segment shown that stand in lines of segments before it."""
        lines = {*segment.keys, *(() if segment.map is None else (segment.map,))}
        return lines.difference(segment.lines)

    def _is_spliced(self, segment: MediaSegment) -> bool:
        return segment.sequence == self._window.splice

    def _lacks_iv(self, index: int) -> bool:
        """Looked up once for a key, not for each segment that goes by it."""
        if index not in self._lacking_iv:
            values = {each.name: each.value for each in attributes(self._playlist.lines[index])}
            by_number = "IV" not in values and values.get("METHOD") in _SEQUENCE_IV_METHODS
            self._lacking_iv[index] = by_number and (values.get("KEYFORMAT") or IDENTITY) == IDENTITY
        return self._lacking_iv[index]
