"""The tail of a media playlist under other sequence numbers, as sent to players after a change of source.

Two things depend on the removed part. If an AES-128 key has no IV attribute, the initialization vector is the media
sequence number (RFC 8216bis section 5.2). Keys and initialization sections that apply to a segment may be stated in
removed lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from .media_segments import IDENTITY, MediaSegment
from .playlist import Playlist
from .playlist_lines import OversizedPlaylist, attributes
from .steps import CHARACTERS, MAX_WEIGHT, Steps, run_steps
from .uri_rewriter import MAX_REWRITTEN, TOO_LONG

#: Tags that are replaced by new ones at the top.
_SEQUENCE_TAGS = frozenset({"EXT-X-MEDIA-SEQUENCE", "EXT-X-DISCONTINUITY-SEQUENCE"})
#: Tags that are wrong after a change of source: PLAYLIST-TYPE promises that no segment is removed, and a rendition
#: report states sequence numbers of the source.
_STALE_TAGS = frozenset({"EXT-X-PLAYLIST-TYPE", "EXT-X-RENDITION-REPORT"})
#: Encryption methods whose default initialization vector is the media sequence number.
_SEQUENCE_IV_METHODS = frozenset({"AES-128", "SAMPLE-AES"})


@attrs.frozen
class PlaylistWindow:
    """
    The listed part of a playlist and the offsets of its numbers.

    :ivar first: media sequence number of the first listed segment, as the source counts.
    :ivar offset: added to media sequence numbers.
    :ivar discontinuity_offset: added to discontinuity sequence numbers.
    :ivar splice: media sequence number, as the source counts, of the first segment after the change of source; None
        before the first change.
    :ivar target_duration: lower bound of EXT-X-TARGETDURATION, seconds.
    :ivar empty: media and discontinuity sequence numbers of a playlist without segments; None if there are segments.
    """

    first: int
    offset: int = 0
    discontinuity_offset: int = 0
    splice: int | None = None
    target_duration: int = 0
    empty: tuple[int, int] | None = None

    def discontinuity_sequence(self, segment: MediaSegment) -> int:
        """Return the discontinuity sequence number of a segment as players count."""
        return segment.discontinuity_sequence + self.discontinuity_offset

    def numbers(self, segment: MediaSegment) -> tuple[int, int]:
        """Return the media sequence number and the discontinuity sequence number of a segment as players count."""
        return segment.sequence + self.offset, self.discontinuity_sequence(segment)


def apply_window(playlist: Playlist, lines: Sequence[str], window: PlaylistWindow) -> tuple[str, ...]:
    """
    Return the lines for players.

    :param lines: the playlist's lines with rewritten URIs.
    :raises OversizedPlaylist: if the result is too long. A long key line may be repeated for each of many segments.
    """
    return run_steps(apply_window_steps(playlist, lines, window))


def apply_window_steps(playlist: Playlist, lines: Sequence[str], window: PlaylistWindow) -> Steps[tuple[str, ...]]:
    """Make the lines for players in steps; see :func:`apply_window`."""
    if window.empty is not None:
        return _without_segments(playlist, lines, *window.empty)
    shown = [segment for segment in playlist.segments if segment.sequence >= window.first]
    same_target = playlist.target_duration >= window.target_duration
    same_numbers = not window.offset and not window.discontinuity_offset and window.splice is None
    if not shown or (same_numbers and same_target and len(shown) == len(playlist.segments)):
        return tuple(lines)
    written: list[str] = []
    size = weight = 0
    for line in _WindowWriter(playlist, lines, window, shown).lines():
        written.append(line)
        size += len(line)
        weight += 1 + len(line) // CHARACTERS
        if size > MAX_REWRITTEN:
            raise OversizedPlaylist(TOO_LONG)
        if weight > MAX_WEIGHT:
            weight = 0
            yield
    return tuple(written)


def _without_segments(playlist: Playlist, lines: Sequence[str], sequence: int, discontinuities: int) -> tuple[str, ...]:
    """Return the lines of a playlist without segments, under other numbers."""
    ending = playlist.lines[0].ending or "\n"
    kept = [text for text, line in zip(lines, playlist.lines, strict=True) if line.name not in _SEQUENCE_TAGS]
    has_head = playlist.lines[0].name.startswith("EXTM3U")
    tags = [f"#EXT-X-MEDIA-SEQUENCE:{sequence}{ending}"]
    tags += [f"#EXT-X-DISCONTINUITY-SEQUENCE:{discontinuities}{ending}"] if discontinuities else []
    return (*kept[:has_head], *tags, *kept[has_head:])


class _WindowWriter:
    """The writer of the listed part of one playlist."""

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
        """Yield all lines in order."""
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
        """
        Yield the sequence numbers of the first listed segment.

        The discontinuity before that segment is still listed, so it does not count as removed.
        """
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
        """Yield the lines of a segment, preceded by inherited keys and initialization section."""
        if self._is_spliced(segment) and not segment.discontinuity:
            yield f"#EXT-X-DISCONTINUITY{self._ending}"
        restated = self._inherited(segment) if segment is self._shown[0] else set()
        if self._window.offset and any(map(self._lacks_iv, segment.keys)):
            yield from self._with_ivs(segment, restated)
        else:
            yield from (self._line(index, segment) for index in (*sorted(restated), *self._lines_of(segment)))

    def _lines_of(self, segment: MediaSegment) -> Sequence[int]:
        """
        Return the indexes of the segment's lines.

        While the list begins with the change of source, EXT-X-PROGRAM-DATE-TIME is left out. The new source may begin
        with media that the previous source has already shown, so its dates lead back. hls.js knows no segment of such a
        list and aligns by date, begins in the middle and leaves a hole in its buffer, at which playback stops.
        """
        if not self._is_spliced(self._shown[0]):
            return segment.lines
        return [index for index in segment.lines if self._playlist.lines[index].name != "EXT-X-PROGRAM-DATE-TIME"]

    def _with_ivs(self, segment: MediaSegment, restated: set[int]) -> Iterator[str]:
        """
        Yield the lines of a segment, with explicit IV attributes.

        Without the attribute the initialization vector is the media sequence number, and this number is changed.
        """
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
        """
        Return a line of a segment.

        If the first listed segment has a byte range without offset, the offset is added: it continues a removed
        segment.
        """
        line, byte_range = self._playlist.lines[index], segment.byte_range
        if line.name != "EXT-X-BYTERANGE" or byte_range is None or "@" in line.value or segment is not self._shown[0]:
            return self._lines[index]
        return f"#EXT-X-BYTERANGE:{byte_range.length}@{byte_range.offset}{line.ending}"

    def _inherited(self, segment: MediaSegment) -> set[int]:
        """Return the lines of keys and initialization section that are stated before the segment's own lines."""
        lines = {*segment.keys, *(() if segment.map is None else (segment.map,))}
        return lines.difference(segment.lines)

    def _is_spliced(self, segment: MediaSegment) -> bool:
        return segment.sequence == self._window.splice

    def _lacks_iv(self, index: int) -> bool:
        """
        Return whether a key's initialization vector is the media sequence number.

        The answer is cached by key, because many segments share a key.
        """
        if index not in self._lacking_iv:
            values = {each.name: each.value for each in attributes(self._playlist.lines[index])}
            by_number = "IV" not in values and values.get("METHOD") in _SEQUENCE_IV_METHODS
            self._lacking_iv[index] = by_number and (values.get("KEYFORMAT") or IDENTITY) == IDENTITY
        return self._lacking_iv[index]
