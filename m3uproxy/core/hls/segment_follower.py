"""Selection of variant, segments and keys to join a live HLS source into one transport stream.

Only segments that are complete transport streams can be concatenated (RFC 8216 section 3.2). Any other source is
refused with :attr:`m3uproxy.errors.Reason.NOT_TRANSPORT_STREAM`; players can use its playlist.
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

#: Smallest distance of the first segment from the end of the playlist, in segments (RFC 8216 section 6.3.3).
START_SEGMENTS = 3
#: Segments of these that are held in reserve to bridge a late or missing segment.
RESERVE_SEGMENTS = START_SEGMENTS - 1
#: Seconds of media that are sent without pacing at the start; several segments if they are shorter.
BURST_SECONDS = 3.0
_IV = re.compile(r"0[xX]([0-9A-Fa-f]{1,32})")


@attrs.frozen
class SegmentKey:
    """
    The key of a segment that is encrypted with AES-128 in CBC mode.

    :ivar uri: the key's URI as written in the playlist.
    :ivar iv: initialization vector, 16 bytes.
    """

    uri: str = attrs.field(repr=False)
    iv: bytes


def not_transport_stream(cause: str) -> SourceError:
    """Return the error for a working source whose segments cannot be joined into a transport stream."""
    return SourceError(Reason.NOT_TRANSPORT_STREAM, f"{cause}; use its HLS playlist")


def best_variant(playlist: Playlist, url: str, max_bandwidth: int = 0) -> Rendition:
    """
    Return the variant of the highest bandwidth that includes its audio.

    :param url: URL of the multivariant playlist after redirects.
    :param max_bandwidth: limit in bit/s, 0 for no limit. If all variants exceed the limit, the lowest bandwidth is
        used.
    :raises SourceError: if there is no variant, or no variant includes its audio.
    """
    separate = _separate_audio_groups(playlist)
    silent: set[int] = set()
    variants = [each for each in renditions(playlist, url) if each.tag == "EXT-X-STREAM-INF"]
    tags = [line for line, has_uri in _variant_lines(playlist) if has_uri]
    for index, line in enumerate(tags):
        if attribute(line, "AUDIO") in separate:
            silent.add(index)
    if len(tags) != len(variants):
        silent.clear()  # some variants have no usable URI, so tags and variants cannot be matched
    complete = [variant for index, variant in enumerate(variants) if index not in silent]
    if variants and not complete:
        raise not_transport_stream("video and audio are in separate playlists")
    within = [each for each in complete if not max_bandwidth or each.bandwidth <= max_bandwidth]
    found = counterpart(None, within) or min(complete, key=lambda each: each.bandwidth, default=None)
    if found is None:
        raise SourceError(Reason.NOT_VIDEO, "a multivariant playlist without variants")
    return found


def _variant_lines(playlist: Playlist) -> list[tuple[PlaylistLine, bool]]:
    """Return the EXT-X-STREAM-INF lines, each with True if a URI follows."""
    found: list[tuple[PlaylistLine, bool]] = []
    for line in playlist.lines:
        if line.name == "EXT-X-STREAM-INF":
            found.append((line, False))
        elif line.kind is LineKind.URI and found and not found[-1][1]:
            found[-1] = (found[-1][0], True)
    return found


def _separate_audio_groups(playlist: Playlist) -> set[str | None]:
    """Return the audio groups that have no member inside the variant itself (RFC 8216 section 4.3.4.2.1)."""
    groups: dict[str | None, bool] = {}
    for line in playlist.lines:
        if line.name == "EXT-X-MEDIA" and attribute(line, "TYPE") == "AUDIO":
            group = attribute(line, "GROUP-ID")
            groups[group] = groups.get(group, True) and bool(attribute(line, "URI"))
    return {group for group, separate in groups.items() if separate and group}


def check_joinable(playlist: Playlist) -> None:
    """
    Check that a media playlist is live and that its last segments can be joined.

    :raises SourceError: if the playlist has ended, or its segments are MP4 or use an unsupported encryption.
    """
    if playlist.ended:
        raise SourceError(Reason.NOT_LIVE, "a playlist that has ended")
    for segment in playlist.segments[-START_SEGMENTS:]:
        if segment.map is not None:
            raise not_transport_stream("the segments are MP4")
        segment_key(playlist, segment)


def segment_key(playlist: Playlist, segment: MediaSegment) -> SegmentKey | None:
    """
    Return the key of a segment, or None if the segment is not encrypted.

    :raises SourceError: if the encryption is not AES-128 with the identity key format.
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
    """Return the initialization vector; its default is the media sequence number (RFC 8216 section 5.2)."""
    match = _IV.fullmatch(stated or "")
    return (int(match[1], 16) if match else sequence).to_bytes(16, "big")


def media_variables(playlist: Playlist, url: str, imported: Mapping[str, str]) -> Variables:
    """Return the variables of a media playlist; ``imported`` are those of the multivariant playlist."""
    variables = Variables(url, imported)
    for line in playlist.lines:
        if line.name == "EXT-X-DEFINE":
            variables.define(line)
    return variables


def _start_segment(segments: Sequence[MediaSegment]) -> MediaSegment:
    """
    Return the segment to start with.

    If the playlist is long enough, it lists the initial burst from this segment on, and the reserve after that.
    """
    first = max(0, len(segments) - START_SEGMENTS)
    listed = sum(segment.duration for segment in segments[first:-RESERVE_SEGMENTS])
    while first and listed < BURST_SECONDS:
        first -= 1
        listed += segments[first].duration
    return segments[first]


class SegmentFollower:
    """The position in a live media playlist."""

    def __init__(self) -> None:
        """Initialise before the first segment."""
        self._next: int | None = None
        self._last: MediaSegment | None = None

    def next_segment(self, playlist: Playlist) -> MediaSegment | None:
        """
        Return the next segment, or None if it is not listed yet. Segments with EXT-X-GAP are skipped.

        Servers of a provider may differ by some segments. Therefore an older playlist counts as a packager restart only
        if it is older by more than all its segments.
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
        """Return the segments that are listed after the next segment."""
        first = self._next if self._next is not None else 0
        return [segment for segment in playlist.segments if segment.sequence > first]

    def advance(self, segment: MediaSegment) -> None:
        """Move past a segment that was delivered or is not available."""
        self._next = segment.sequence + 1

    def segment_started(self, segment: MediaSegment) -> None:
        """Record the segment whose delivery has started."""
        self._last = segment

    def segment_interrupted(self) -> None:
        """Record that the last segment is incomplete or has no successor, so the next one does not continue it."""
        if self._last is not None:
            self._last = attrs.evolve(self._last, sequence=-2)

    def continues(self, segment: MediaSegment) -> bool:
        """Return whether a segment continues the last delivered one. True before the first segment."""
        last = self._last
        if last is None:
            return True
        in_turn = segment.sequence == last.sequence + 1 and not segment.discontinuity
        return in_turn and segment.discontinuity_sequence >= last.discontinuity_sequence
