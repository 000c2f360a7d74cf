"""The kind of a body by its head and its first bytes: playlist, file, programme, or live stream.

The answer of a source decides how it is played. Its URL counts only where the answer does not tell. Providers send
wrong Content-Types, so the type counts only for a page. A length counts unless it is one of those that servers state
for streams without end.

=========  =========================================================================  ==========================
kind       sign                                                                       played as
=========  =========================================================================  ==========================
playlist   the first bytes                                                            HLS
file       a length, and ranges: status 206 or ``Accept-Ranges: bytes``               file, seekable
programme  a length without ranges; or none, but a container of files, or a URL that  file, to its end
           names a programme
live       any other media                                                            live stream
=========  =========================================================================  ==========================
"""

from __future__ import annotations

import re
from enum import Enum

import attrs

from ..errors import Reason, SourceError
from .http.body_sniffing import M2TS_TYPE, PAGE_TYPES, container_type, is_image, text_format
from .ingest.detect import FormatDetector
from .ingest.parser import Format
from .stream_kind import StreamKind, has_file_hint, kind_of


class BodyKind(Enum):
    """The kinds of a body. The values are for people."""

    PLAYLIST = "a playlist"
    FILE = "a file"
    PROGRAMME = "a programme with an end"
    LIVE = "a live stream"


#: Bytes that are enough to tell any container from others: three packets, and a few bytes to find the first one.
ENOUGH_BYTES = 600
#: Bytes that are enough to tell text from other data.
_TEXT_BYTES = 16
#: Lengths that servers state for streams without end.
_ENDLESS_LENGTHS = frozenset({0, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53 - 1})
#: Bytes above which a length is not believed.
_LARGEST_LENGTH = 10**12
_PLAYLIST = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*#EXTM3U")
_BEGINS_PLAYLIST = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*(?:#(?:E(?:X(?:T(?:M(?:3U?)?)?)?)?)?)?")
#: Media types of the formats that live streams have.
STREAMED_TYPES = frozenset(each.value for each in Format) | {M2TS_TYPE}
#: Types of files in the container of ISO/IEC 14496-12, which begin alike.
_MP4_TYPES = frozenset({"video/mp4", "video/quicktime", "video/x-m4v", "audio/mp4", "video/3gpp"})
#: Types of playlists. They count only in the answer to a HEAD request, which has no body.
PLAYLIST_TYPES = frozenset(
    {"application/vnd.apple.mpegurl", "application/x-mpegurl", "audio/mpegurl", "audio/x-mpegurl"}
)
_MEDIA_TYPES = ("video/", "audio/")
_KINDS_OF_STREAM = {BodyKind.PLAYLIST: StreamKind.HLS, BodyKind.LIVE: StreamKind.LIVE}


@attrs.frozen
class BodyFacts:
    """
    The facts about a body that decide its kind.

    :ivar url: URL of the source.
    :ivar status: 200 or 206.
    :ivar length: bytes of the whole representation, as stated; None if the head states none.
    :ivar accepts_ranges: whether the head has ``Accept-Ranges: bytes``.
    :ivar content_type: ``Content-Type`` in lower case, without parameters.
    :ivar head: the first bytes.
    """

    url: str = attrs.field(repr=False)
    status: int
    length: int | None
    accepts_ranges: bool
    content_type: str
    head: bytes = attrs.field(repr=False)

    @property
    def is_finite(self) -> bool:
        """True if a length is stated and believed."""
        return believed_length(self.length) is not None


def believed_length(length: int | None) -> int | None:
    """Return a stated length; None if it is one that servers state for streams without end."""
    if length is None or length in _ENDLESS_LENGTHS or length > _LARGEST_LENGTH:
        return None
    return length


def is_decided(url: str, head: bytes, has_length: bool) -> bool:
    """
    Return whether the first bytes are enough for :func:`body_kind`.

    :param has_length: whether the body has a length. It may be a file then, which is recognised by more bytes.
    """
    if _PLAYLIST.match(head) or len(head) >= ENOUGH_BYTES:
        return True
    may_be_file = has_length or kind_of(url) is StreamKind.VOD
    return not may_be_file and len(head) >= _TEXT_BYTES and not _BEGINS_PLAYLIST.fullmatch(head)


def body_kind(facts: BodyFacts) -> BodyKind | None:
    """Return the kind of a body; None for a page, a picture, and anything else that cannot be played."""
    if _PLAYLIST.match(facts.head) or (kind_of(facts.url) is StreamKind.HLS and facts.head.lstrip()[:1] == b"#"):
        return BodyKind.PLAYLIST
    if text_format(facts.head) is not None or is_image(facts.head):
        return None
    media_type = media_type_of(facts.head)
    if facts.is_finite:
        return _finite_kind(facts, media_type)
    in_container = media_type is not None and media_type not in STREAMED_TYPES
    is_file_url = media_type is None and kind_of(facts.url) is StreamKind.VOD
    if in_container or is_file_url or has_file_hint(facts.url):
        return BodyKind.PROGRAMME
    return BodyKind.LIVE


def _finite_kind(facts: BodyFacts, media_type: str | None) -> BodyKind | None:
    if media_type is None and facts.content_type.startswith(PAGE_TYPES):
        return None
    if facts.status == 206 or facts.accepts_ranges:
        return BodyKind.FILE
    is_file_url = kind_of(facts.url) is StreamKind.VOD or has_file_hint(facts.url)
    is_media = media_type is not None or facts.content_type.startswith(_MEDIA_TYPES)
    return BodyKind.PROGRAMME if is_media or is_file_url else None


def stream_kind_of(kind: BodyKind) -> StreamKind:
    """Return the kind of stream that plays a body."""
    return _KINDS_OF_STREAM.get(kind, StreamKind.VOD)


def media_type_of(head: bytes) -> str | None:
    """Return the media type of a body by its first bytes; None if they are unknown."""
    found = container_type(head)
    if found is not None:
        return found
    detected = FormatDetector().feed(head)
    return None if detected is None else detected.value


def told_type(facts: BodyFacts) -> str | None:
    """Return the media type of a file for players: by its bytes; of types with one container, the provider's."""
    found = media_type_of(facts.head)
    return facts.content_type if found in _MP4_TYPES and facts.content_type in _MP4_TYPES else found


@attrs.define(auto_exc=True, eq=False)
class KindMismatch(SourceError):
    """
    A source sends another kind of stream than the session plays.

    :ivar kind: the kind that was found.
    :ivar url: URL of the source.
    :ivar media_type: media type of a file; None if it is unknown.
    """

    kind: StreamKind = StreamKind.LIVE
    url: str = attrs.field(default="", repr=False)
    media_type: str | None = None


def kind_mismatch(facts: BodyFacts, kind: BodyKind) -> KindMismatch:
    """Return the error of a body whose kind is not the one of the session."""
    return KindMismatch(
        Reason.OTHER_KIND,
        f"the source is {kind.value}",
        kind=stream_kind_of(kind),
        url=facts.url,
        media_type=told_type(facts),
    )


def unplayable(facts: BodyFacts) -> SourceError:
    """Return the error of a body that cannot be played. A page may be replaced by video soon, a file will not."""
    name = text_format(facts.head) or ("a picture" if is_image(facts.head) else None)
    if name is not None:
        return SourceError(Reason.NOT_VIDEO, f"the provider sent {name}")
    if facts.content_type.startswith(PAGE_TYPES):
        return SourceError(Reason.NOT_VIDEO, f"the provider sent {facts.content_type}, {facts.length} bytes")
    return SourceError(Reason.NOT_LIVE, f"{facts.length} bytes")
