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
MOST = 1000
#: Sources of which is remembered what they offer.
MOST_SOURCES = 4


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
        self._known: OrderedDict[tuple[bytes, str], Rendition] = OrderedDict()
        self._offered: dict[str, tuple[ParsedPlaylist, tuple[Rendition, ...]]] = {}
        self._pinned: dict[str, PlaylistLocation] = {}
        #: Whether the stream was told to players as a list of variants; None before the first answer.
        self.told_variants: bool | None = None

    def entry(self, request: SourceRequest) -> PlaylistLocation:
        """Where a source begins."""
        return self._pinned.get(request.url, PlaylistLocation(request.url))

    def pin(self, request: SourceRequest, fetched: ParsedPlaylist) -> None:
        """A source begins where its redirects led, from now on (contract of sticky sessions)."""
        if fetched.url != request.url:
            if len(self._pinned) >= MOST:
                self._pinned.clear()
            self._pinned[request.url] = PlaylistLocation(fetched.url, fetched.public)

    def unpin(self, request: SourceRequest) -> bool:
        """
        A source begins at its own URL again.

        :return: whether it did not before.
        """
        return self._pinned.pop(request.url, None) is not None

    def learn(self, request: SourceRequest, fetched: ParsedPlaylist) -> tuple[Rendition, ...]:
        """Remember what a source offers."""
        known = self._offered.get(request.url)
        offered = known[1] if known is not None and known[0] is fetched else renditions(fetched.playlist, fetched.url)
        self._offered[request.url] = (fetched, offered)
        if len(self._offered) > MOST_SOURCES:
            del self._offered[next(iter(self._offered))]
        name = source_name(request.url)
        for one in offered:
            self._known[name, one.url] = one
            self._known.move_to_end((name, one.url))
        while len(self._known) > MOST:
            self._known.popitem(last=False)
        return offered

    def variant(
        self, target: TokenTarget | None, request: SourceRequest, fetched: ParsedPlaylist
    ) -> PlaylistLocation | None:
        """
        The place of a media playlist in a source.

        :param target: what a player asks for, as it was in a source before; None for the stream itself.
        :param fetched: with which the source begins.
        :return: None if that playlist is it.
        :raises NoSuchRendition: if the source has nothing of that kind.
        """
        wanted = self._known.get((target.source, target.url)) if target is not None else None
        if not fetched.playlist.multivariant:
            if wanted is None or wanted.tag == "EXT-X-STREAM-INF":
                return None
            raise NoSuchRendition
        found = counterpart(wanted, self.learn(request, fetched))
        if found is None:
            raise NoSuchRendition
        return PlaylistLocation(found.url, fetched.public)
