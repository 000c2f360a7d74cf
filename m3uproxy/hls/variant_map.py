"""Where a source has what players ask for.

A player asks for what it was once told of: the stream, or a variant, by a URL of the source that was in use then. If
another is in use now, the counterpart there is looked up. And what was told to players as one media playlist stays
one, whatever the next source has: then its best variant is taken; as a list of variants stays a list.
"""

from __future__ import annotations

from collections import OrderedDict

import attrs

from ..core.hls.renditions import Rendition, counterpart, renditions
from ..core.hls.url_tokens import TokenTarget, source_name
from ..core.http.source_request import SourceRequest
from .served_playlist import ParsedPlaylist

#: Variants that are remembered of a stream, of all its sources.
MAX_RENDITIONS = 1000
#: Sources of which is remembered what they offer.
MAX_SOURCES = 4


class NoSuchRendition(Exception):
    """The source in use has nothing like what a player asks for."""


@attrs.frozen
class PlaylistLocation:
    """Where to ask for a playlist."""

    url: str = attrs.field(repr=False)
    led_by_public: bool = False


class VariantMap:
    """What is known of the multivariant playlists of one stream."""

    def __init__(self) -> None:
        self._renditions: OrderedDict[tuple[bytes, str], Rendition] = OrderedDict()
        self._renditions_by_source: dict[str, tuple[ParsedPlaylist, tuple[Rendition, ...]]] = {}
        self._pinned: dict[str, PlaylistLocation] = {}
        #: Whether the stream was told to players as a list of variants; None before the first answer.
        self.is_multivariant: bool | None = None

    def entry_location(self, source: SourceRequest) -> PlaylistLocation:
        """Where a source begins."""
        return self._pinned.get(source.url, PlaylistLocation(source.url))

    def pin(self, source: SourceRequest, fetched: ParsedPlaylist) -> None:
        """A source begins where its redirects led, from now on (contract of sticky sessions)."""
        if fetched.url != source.url:
            if len(self._pinned) >= MAX_RENDITIONS:
                self._pinned.clear()
            self._pinned[source.url] = PlaylistLocation(fetched.url, fetched.public)

    def unpin(self, source: SourceRequest) -> bool:
        """
        A source begins at its own URL again.

        :return: whether it did not before.
        """
        return self._pinned.pop(source.url, None) is not None

    def add_renditions(self, source: SourceRequest, fetched: ParsedPlaylist) -> tuple[Rendition, ...]:
        """Remember what a source offers."""
        known = self._renditions_by_source.get(source.url)
        offered = known[1] if known is not None and known[0] is fetched else renditions(fetched.playlist, fetched.url)
        self._renditions_by_source[source.url] = (fetched, offered)
        if len(self._renditions_by_source) > MAX_SOURCES:
            del self._renditions_by_source[next(iter(self._renditions_by_source))]
        name = source_name(source.url)
        for one in offered:
            self._renditions[name, one.url] = one
            self._renditions.move_to_end((name, one.url))
        while len(self._renditions) > MAX_RENDITIONS:
            self._renditions.popitem(last=False)
        return offered

    def locate(
        self, target: TokenTarget | None, source: SourceRequest, fetched: ParsedPlaylist
    ) -> PlaylistLocation | None:
        """
        The place of a media playlist in a source.

        :param target: what a player asks for, as it was in a source before; None for the stream itself.
        :param fetched: with which the source begins.
        :return: None if that playlist is it.
        :raises NoSuchRendition: if the source has nothing of that kind.
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
