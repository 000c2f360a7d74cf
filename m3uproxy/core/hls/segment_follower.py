"""What of a live HLS source makes one transport stream: which variant, which segment next, under which key.

Only segments that are transport streams by themselves can be put one behind the other (RFC 8216 section 3.2). What
cannot be is told, with :attr:`m3uproxy.errors.Reason.NOT_TRANSPORT_STREAM`; its players are served by the playlist.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import attrs

from ...errors import Reason, SourceError
from .media_segments import IDENTITY, MediaSegment
from .playlist import Playlist
from .playlist_lines import LineKind, PlaylistLine, attribute
from .renditions import Rendition, counterpart, renditions
from .variables import Variables

#: Segments from the end at which to begin, at least (RFC 8216 section 6.3.3).
START_SEGMENTS = 3
#: How many of these are kept back: what is listed behind bridges a late one, or one that is missing.
RESERVE_SEGMENTS = START_SEGMENTS - 1
#: Seconds of media that go at once in the beginning; if segments are shorter, several do.
BURST_SECONDS = 3.0
_IV = re.compile(r"0[xX]([0-9A-Fa-f]{1,32})")


@attrs.frozen
class SegmentKey:
    """
    How a segment is encrypted, with AES-128 in CBC mode.

    :ivar uri: as it stands in the playlist.
    :ivar iv: 16 bytes.
    """

    uri: str = attrs.field(repr=False)
    iv: bytes


def not_transport_stream(cause: str) -> SourceError:
    """A source that works, but whose segments make no transport stream."""
    return SourceError(Reason.NOT_TRANSPORT_STREAM, f"{cause}; its playlist plays")


def best_variant(playlist: Playlist, url: str, max_bandwidth: int = 0) -> Rendition:
    """
    The variant to join: that of the highest bandwidth, which has its sound with it.

    :param url: of the multivariant playlist, after redirects.
    :param max_bandwidth: bit/s; variants above count only if none is below. 0 for any.
    :raises SourceError: if no variant has its sound with it, or there is none.
    """
    separate = _separate_audio_groups(playlist)
    silent: set[int] = set()
    variants = [one for one in renditions(playlist, url) if one.tag == "EXT-X-STREAM-INF"]
    tags = [line for line, has_uri in _variant_lines(playlist) if has_uri]
    for place, line in enumerate(tags):
        if attribute(line, "AUDIO") in separate:
            silent.add(place)
    if len(tags) != len(variants):
        silent.clear()  # some lead nowhere, so it is not known which is which
    complete = [one for place, one in enumerate(variants) if place not in silent]
    if variants and not complete:
        raise not_transport_stream("picture and sound are in playlists of their own")
    within = [one for one in complete if not max_bandwidth or one.bandwidth <= max_bandwidth]
    found = counterpart(None, within) or min(complete, key=lambda one: one.bandwidth, default=None)
    if found is None:
        raise SourceError(Reason.NOT_VIDEO, "a playlist without a variant")
    return found


def _variant_lines(playlist: Playlist) -> list[tuple[PlaylistLine, bool]]:
    """The tags that announce variants, and whether a URI follows."""
    found: list[tuple[PlaylistLine, bool]] = []
    for line in playlist.lines:
        if line.name == "EXT-X-STREAM-INF":
            found.append((line, False))
        elif line.kind is LineKind.URI and found and not found[-1][1]:
            found[-1] = (found[-1][0], True)
    return found


def _separate_audio_groups(playlist: Playlist) -> set[str | None]:
    """Groups of sound of which no member is in the variant itself (RFC 8216 section 4.3.4.2.1)."""
    groups: dict[str | None, bool] = {}
    for line in playlist.lines:
        if line.name == "EXT-X-MEDIA" and attribute(line, "TYPE") == "AUDIO":
            group = attribute(line, "GROUP-ID")
            groups[group] = groups.get(group, True) and bool(attribute(line, "URI"))
    return {group for group, separate in groups.items() if separate and group}


def check_joinable(playlist: Playlist) -> None:
    """
    See whether a media playlist is live, and of segments that can be joined.

    :raises SourceError: if not.
    """
    if playlist.ended:
        raise SourceError(Reason.NOT_LIVE, "a playlist that has ended")
    for segment in playlist.segments[-START_SEGMENTS:]:
        if segment.map is not None:
            raise not_transport_stream("the segments are MP4")
        segment_key(playlist, segment)


def segment_key(playlist: Playlist, segment: MediaSegment) -> SegmentKey | None:
    """
    The key of a segment; None if it is not encrypted.

    :raises SourceError: if it is encrypted in a way that only players know.
    """
    tags = [playlist.lines[index] for index in segment.keys]
    if not tags:
        return None
    for tag in tags:
        uri = attribute(tag, "URI")
        known = (attribute(tag, "KEYFORMAT") or IDENTITY) == IDENTITY
        if uri and known and attribute(tag, "METHOD") == "AES-128":
            return SegmentKey(uri, _iv_of(attribute(tag, "IV"), segment.sequence))
    raise not_transport_stream(f"the segments are encrypted ({attribute(tags[0], 'METHOD')})")


def _iv_of(stated: str | None, sequence: int) -> bytes:
    """Where none is stated it is the media sequence number (RFC 8216 section 5.2)."""
    match = _IV.fullmatch(stated or "")
    return (int(match[1], 16) if match else sequence).to_bytes(16, "big")


def media_variables(playlist: Playlist, url: str, imported: Mapping[str, str]) -> Variables:
    """The variables of a media playlist; ``imported`` are those of the multivariant playlist."""
    variables = Variables(url, imported)
    for line in playlist.lines:
        if line.name == "EXT-X-DEFINE":
            variables.define(line)
    return variables


def _start_segment(segments: Sequence[MediaSegment]) -> MediaSegment:
    """Where to begin: at the end, as far as what goes at once and what is kept back are there."""
    first = max(0, len(segments) - START_SEGMENTS)
    while first and sum(segment.duration for segment in segments[first:-RESERVE_SEGMENTS]) < BURST_SECONDS:
        first -= 1
    return segments[first]


class SegmentFollower:
    """Goes from segment to segment of a live playlist."""

    def __init__(self) -> None:
        """Nothing was taken yet."""
        self._next: int | None = None
        self._last: MediaSegment | None = None

    def next_segment(self, playlist: Playlist) -> MediaSegment | None:
        """
        The segment that is to be taken; None if it is still to come.

        Servers of one provider may differ by some segments, so an older playlist is none of a packager that counts
        anew, unless it is older by more than all its segments.
        """
        segments = playlist.segments
        if not segments:
            return None
        if self._next is None or segments[-1].sequence + max(len(segments), START_SEGMENTS) < self._next - 1:
            self._next = _start_segment(segments).sequence
            self.segment_interrupted()
        while (index := max(self._next, playlist.sequence) - playlist.sequence) < len(segments):
            self._next = segments[index].sequence
            if not segments[index].gap:
                return segments[index]
            self._next += 1
        return None

    def segments_after_next(self, playlist: Playlist) -> Sequence[MediaSegment]:
        """What is listed behind the segment that is to be taken."""
        first = self._next if self._next is not None else 0
        return [segment for segment in playlist.segments if segment.sequence > first]

    def advance(self, segment: MediaSegment) -> None:
        """It was taken, or cannot be had: the next one is next."""
        self._next = segment.sequence + 1

    def segment_started(self, segment: MediaSegment) -> None:
        """It is being taken."""
        self._last = segment

    def segment_interrupted(self) -> None:
        """What was taken last has no end, or no successor: nothing continues it."""
        if self._last is not None:
            self._last = attrs.evolve(self._last, sequence=-2)

    def continues(self, segment: MediaSegment) -> bool:
        """Whether it goes on from what was taken last; also if nothing was."""
        last = self._last
        if last is None:
            return True
        in_turn = segment.sequence == last.sequence + 1 and not segment.discontinuity
        return in_turn and segment.discontinuity_sequence >= last.discontinuity_sequence
