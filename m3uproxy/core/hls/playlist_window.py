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
from .uri_rewriter import MAX_REWRITTEN, TOO_MUCH

#: Written anew, at the top.
_NUMBERS = frozenset({"EXT-X-MEDIA-SEQUENCE", "EXT-X-DISCONTINUITY-SEQUENCE"})
#: Say of the playlist what is not true of one that goes on with another source: nothing will be removed, and how far
#: others have come by numbers that are not theirs any more.
_UNTRUE = frozenset({"EXT-X-PLAYLIST-TYPE", "EXT-X-RENDITION-REPORT"})
#: Methods that fall back to the media sequence number.
_BY_NUMBER = frozenset({"AES-128", "SAMPLE-AES"})


@attrs.frozen
class PlaylistWindow:
    """
    How a playlist is shown.

    :ivar first: the source's media sequence number of the first segment that is shown.
    :ivar offset: what is added to media sequence numbers.
    :ivar shift: what is added to discontinuity sequence numbers.
    :ivar splice: the source's number of the segment before which the source changed; None if it never did.
    :ivar target_duration: the least that is told, seconds.
    """

    first: int
    offset: int = 0
    shift: int = 0
    splice: int | None = None
    target_duration: int = 0

    def discontinuity(self, segment: MediaSegment) -> int:
        """A segment's discontinuity sequence number as players count it."""
        return segment.discontinuity_sequence + self.shift


def apply_window(playlist: Playlist, pieces: Sequence[str], view: PlaylistWindow) -> tuple[str, ...]:
    """
    The lines that players are sent.

    :param pieces: the playlist's lines, rewritten.
    :raises NotAPlaylist: if that gets too long: a long key may be told anew for each of many segments.
    """
    shown = [segment for segment in playlist.segments if segment.sequence >= view.first]
    same_target = playlist.target_duration >= view.target_duration
    same_numbers = not view.offset and not view.shift and view.splice is None
    if not shown or (same_numbers and same_target and len(shown) == len(playlist.segments)):
        return tuple(pieces)
    lines: list[str] = []
    size = 0
    for line in _Excerpt(playlist, pieces, view, shown).lines():
        lines.append(line)
        size += len(line)
        if size > MAX_REWRITTEN:
            raise NotAPlaylist(TOO_MUCH)
    return tuple(lines)


class _Excerpt:
    """One playlist on its way out."""

    def __init__(
        self, playlist: Playlist, pieces: Sequence[str], view: PlaylistWindow, shown: Sequence[MediaSegment]
    ) -> None:
        self._playlist = playlist
        self._pieces = pieces
        self._view = view
        self._shown = shown
        self._ending = playlist.lines[0].ending or "\n"
        self._vectorless: dict[int, bool] = {}
        self._owner = {index: segment for segment in playlist.segments for index in segment.lines}

    def lines(self) -> Iterator[str]:
        """All lines in order."""
        has_head = self._playlist.lines[0].name.startswith("EXTM3U")
        if not has_head:
            yield from self._numbers()
        for index, line in enumerate(self._playlist.lines):
            owner = self._owner.get(index)
            if owner is not None:
                if index == owner.lines[0] and owner.sequence >= self._view.first:
                    yield from self._segment(owner)
            elif line.name == "EXT-X-TARGETDURATION":
                yield self._target(self._pieces[index])
            elif line.name not in _NUMBERS and not (line.name in _UNTRUE and self._view.splice is not None):
                yield self._pieces[index]
            if index == 0 and has_head:
                yield from self._numbers()

    def _numbers(self) -> Iterator[str]:
        """Of the first segment shown. The discontinuity before it is not one that was removed."""
        first = self._shown[0]
        own = sum(self._playlist.lines[index].name == "EXT-X-DISCONTINUITY" for index in first.lines)
        removed = self._view.discontinuity(first) - max(own, int(self._is_spliced(first)))
        yield f"#EXT-X-MEDIA-SEQUENCE:{first.sequence + self._view.offset}{self._ending}"
        if removed:
            yield f"#EXT-X-DISCONTINUITY-SEQUENCE:{removed}{self._ending}"

    def _target(self, piece: str) -> str:
        if self._playlist.target_duration >= self._view.target_duration:
            return piece
        return f"#EXT-X-TARGETDURATION:{self._view.target_duration}{self._ending}"

    def _segment(self, segment: MediaSegment) -> Iterator[str]:
        """The lines of a segment, and before them what lines that are not shown say of it."""
        if self._is_spliced(segment) and not segment.discontinuity:
            yield f"#EXT-X-DISCONTINUITY{self._ending}"
        restated = self._in_force_before(segment) if segment is self._shown[0] else set()
        if self._view.offset and any(map(self._lacks_vector, segment.keys)):
            yield from self._with_vectors(segment, restated)
        else:
            yield from (self._piece(index, segment) for index in (*sorted(restated), *self._own(segment)))

    def _own(self, segment: MediaSegment) -> Sequence[int]:
        """
        Its lines; without its date, as long as the list begins with the change of source.

        A new source begins with what the old one has shown, so its dates lead back. hls.js, which knows no segment of
        such a list, goes by them and begins in its middle: what is before it becomes a hole, at which playback stops.
        """
        if not self._is_spliced(self._shown[0]):
            return segment.lines
        return [index for index in segment.lines if self._playlist.lines[index].name != "EXT-X-PROGRAM-DATE-TIME"]

    def _with_vectors(self, segment: MediaSegment, restated: set[int]) -> Iterator[str]:
        """The same where a key goes by the number of the segment: with the vector that this amounts to."""
        changes = [index for index in segment.lines if self._playlist.lines[index].name == "EXT-X-KEY"]
        before = restated.difference(segment.keys) if changes else restated.union(segment.keys)
        for index in sorted(before):
            yield self._key(index, segment) if index in segment.keys else self._pieces[index]
        for index in self._own(segment):
            if index not in changes or index not in segment.keys:
                yield self._piece(index, segment)
            if changes and index == changes[-1]:
                yield from (self._key(key, segment) for key in segment.keys)

    def _key(self, index: int, segment: MediaSegment) -> str:
        piece = self._pieces[index]
        if not self._lacks_vector(index):
            return piece
        text = piece.rstrip("\r\n").rstrip()
        return f"{text},IV=0x{segment.sequence:032X}{self._playlist.lines[index].ending}"

    def _piece(self, index: int, segment: MediaSegment) -> str:
        """A line as it is. A byte range that goes on where a segment ended that is not shown says where that is."""
        line, part = self._playlist.lines[index], segment.byte_range
        if line.name != "EXT-X-BYTERANGE" or part is None or "@" in line.value or segment is not self._shown[0]:
            return self._pieces[index]
        return f"#EXT-X-BYTERANGE:{part.length}@{part.offset}{line.ending}"

    def _in_force_before(self, segment: MediaSegment) -> set[int]:
        """Keys and map of the first segment shown that stand in lines of segments before it."""
        lines = {*segment.keys, *(() if segment.map is None else (segment.map,))}
        return lines.difference(segment.lines)

    def _is_spliced(self, segment: MediaSegment) -> bool:
        return segment.sequence == self._view.splice

    def _lacks_vector(self, index: int) -> bool:
        """Looked up once for a key, not for each segment that goes by it."""
        if index not in self._vectorless:
            said = {each.name: each.value for each in attributes(self._playlist.lines[index])}
            by_number = "IV" not in said and said.get("METHOD") in _BY_NUMBER
            self._vectorless[index] = by_number and (said.get("KEYFORMAT") or IDENTITY) == IDENTITY
        return self._vectorless[index]
