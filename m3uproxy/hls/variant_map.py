"""The mapping of the variants of one source to those of another.

Players request the stream, or a variant, by a URL of the source that was in use when they loaded the multivariant
playlist. If another source is in use now, its counterpart of the variant is looked up. The shape of the stream stays
the same over all sources: a stream that began as one media playlist is served as one (then the best variant of a
multivariant source is taken), and a multivariant stream stays multivariant.
"""

from __future__ import annotations

from collections import OrderedDict

import attrs

from ..core.hls.renditions import Rendition, counterpart, renditions
from ..core.hls.url_tokens import TokenTarget, source_name
from ..core.http.source_request import SourceRequest
from .served_playlist import ParsedPlaylist

#: Renditions that are kept for each stream, of all its sources.
MAX_RENDITIONS = 1000
#: Sources whose list of renditions is kept.
MAX_SOURCES = 4


class NoSuchRendition(Exception):
    """The source in use has no counterpart of the requested rendition."""


@attrs.frozen
class PlaylistLocation:
    """
    The URL of a playlist.

    :ivar led_by_public: True if a playlist of a public host named it.
    """

    url: str = attrs.field(repr=False)
    led_by_public: bool = False


class VariantMap:
    """
    The renditions of one stream, of all its sources.

    :ivar is_multivariant: True if the stream is served as a multivariant playlist; None before the first response.
    """

    def __init__(self) -> None:
        self._renditions: OrderedDict[tuple[bytes, str], Rendition] = OrderedDict()
        self._renditions_by_source: dict[str, tuple[ParsedPlaylist, tuple[Rendition, ...]]] = {}
        self._pinned: dict[str, PlaylistLocation] = {}
        self.is_multivariant: bool | None = None

    def entry_location(self, source: SourceRequest) -> PlaylistLocation:
        """Return the location of the first playlist of a source."""
        return self._pinned.get(source.url, PlaylistLocation(source.url))

    def pin(self, source: SourceRequest, fetched: ParsedPlaylist) -> None:
        """Request a source from now on at the URL that its redirects led to (sticky session)."""
        if fetched.url != source.url:
            if len(self._pinned) >= MAX_RENDITIONS:
                self._pinned.clear()
            self._pinned[source.url] = PlaylistLocation(fetched.url, fetched.public)

    def unpin(self, source: SourceRequest) -> bool:
        """
        Request a source at its own URL again.

        :return: True if it was pinned.
        """
        return self._pinned.pop(source.url, None) is not None

    def add_renditions(self, source: SourceRequest, fetched: ParsedPlaylist) -> tuple[Rendition, ...]:
        """Note and return the renditions of a source."""
        known = self._renditions_by_source.get(source.url)
        found = known[1] if known is not None and known[0] is fetched else renditions(fetched.playlist, fetched.url)
        self._renditions_by_source[source.url] = (fetched, found)
        if len(self._renditions_by_source) > MAX_SOURCES:
            del self._renditions_by_source[next(iter(self._renditions_by_source))]
        name = source_name(source.url)
        for rendition in found:
            self._renditions[name, rendition.url] = rendition
            self._renditions.move_to_end((name, rendition.url))
        while len(self._renditions) > MAX_RENDITIONS:
            self._renditions.popitem(last=False)
        return found

    def locate(
        self, target: TokenTarget | None, source: SourceRequest, fetched: ParsedPlaylist
    ) -> PlaylistLocation | None:
        """
        Return the location of a media playlist in a source.

        :param target: the requested variant, of any source; None for the stream itself.
        :param fetched: the first playlist of the source.
        :return: None if the first playlist is the media playlist.
        :raises NoSuchRendition: if the source has no counterpart.
        """
        rendition = self._renditions.get((target.source, target.url)) if target is not None else None
        if not fetched.playlist.multivariant:
            if rendition is None or rendition.tag == "EXT-X-STREAM-INF":
                return None
            raise NoSuchRendition
        found = counterpart(rendition, self.add_renditions(source, fetched))
        if found is None:
            raise NoSuchRendition
        return PlaylistLocation(found.url, fetched.public)
