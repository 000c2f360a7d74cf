"""The mapping of the variants of one source to those of another.

Players request the stream, or a variant, by a URL of the source that was in use when they loaded the multivariant
playlist. If another source is in use now, its counterpart of the variant is looked up. The shape of the stream stays
the same over all sources: a stream that began as one media playlist is served as one (then the best variant of a
multivariant source is taken), and a multivariant stream stays multivariant.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence

import attrs

from ..core.hls.renditions import Rendition, counterpart, renditions, same_rendition
from ..core.hls.uri_rewriter import ResourceKind, ResourceRole
from ..core.hls.url_tokens import TokenTarget, source_name
from ..core.http.source_request import SourceRequest
from ..errors import SourceError
from .served_playlist import ParsedPlaylist

#: Renditions that are kept for each stream, of all its sources.
MAX_RENDITIONS = 1000
#: Sources whose list of renditions is kept.
MAX_SOURCES = 4
#: Statuses of a URL that has ended.
GONE_STATUSES = frozenset({401, 403, 404, 410})


class NoSuchRendition(Exception):
    """The source in use has no counterpart of the requested rendition."""


class RenditionFailed(Exception):
    """
    A playlist failed, and the source goes on: it is beside the main programme, or another variant works.

    :ivar error: the failure.
    """

    def __init__(self, error: SourceError) -> None:
        super().__init__(str(error))
        self.error = error


@attrs.frozen
class PlaylistLocation:
    """
    The URL of a playlist.

    :ivar led_by_public: True if a playlist of a public host named it.
    """

    url: str = attrs.field(repr=False)
    led_by_public: bool = False


@attrs.frozen
class OfferedPlaylists:
    """
    The playlists that a multivariant playlist offers.

    :ivar fetched: the multivariant playlist.
    :ivar offered: its variants and renditions.
    :ivar levels: the same by URL, by URL without query, and by path; None if several have it.
    """

    fetched: ParsedPlaylist
    offered: Sequence[Rendition]
    levels: Mapping[str, TokenTarget | None]


class VariantMap:
    """
    The renditions of one stream, of all its sources.

    :ivar is_multivariant: True if the stream is served as a multivariant playlist; None before the first response.
    """

    def __init__(self, earlier: VariantMap | None = None) -> None:
        """
        Initialise a map.

        :param earlier: the map before a pause without players. Players that come back use the URLs that they know.
        """
        self._renditions: OrderedDict[tuple[bytes, ResourceRole, str], Rendition] = OrderedDict()
        if earlier is not None:
            self._renditions.update(earlier._renditions)
        self._renditions_by_source: dict[str, OfferedPlaylists] = {}
        self._moved: OrderedDict[tuple[bytes, str], PlaylistLocation] = OrderedDict()
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

    def add_renditions(self, source: SourceRequest, fetched: ParsedPlaylist) -> Sequence[Rendition]:
        """Note and return the renditions of a source."""
        known = self._renditions_by_source.get(source.url)
        if known is None or known.fetched != fetched:
            offered = renditions(fetched.playlist, fetched.url)
            known = OfferedPlaylists(fetched, offered, _levels(source, fetched, offered))
        self._renditions_by_source[source.url] = known
        if len(self._renditions_by_source) > MAX_SOURCES:
            del self._renditions_by_source[next(iter(self._renditions_by_source))]
        name = source_name(source.url)
        for rendition in known.offered:
            key = name, rendition.role, rendition.url
            self._renditions[key] = rendition
            self._renditions.move_to_end(key)
        while len(self._renditions) > MAX_RENDITIONS:
            self._renditions.popitem(last=False)
        return known.offered

    def level(self, source: SourceRequest, url: str) -> TokenTarget | None:
        """
        Return the playlist of a source that a rendition report means, as players know it; None if it is unknown.

        Reports may lack the query of the playlist's URL, or name another server.
        """
        known = self._renditions_by_source.get(source.url)
        if known is None:
            return None
        return next((known.levels[key] for key in _level_keys(url) if key in known.levels), None)

    def known_location(self, target: TokenTarget | None, source: SourceRequest) -> PlaylistLocation | None:
        """Return the location of a playlist of this source; None if its first playlist must tell."""
        if target is None or target.source != source_name(source.url):
            return None
        key = target.source, target.role, target.url
        if key in self._renditions:
            self._renditions.move_to_end(key)
        return self._moved.get((target.source, target.url), PlaylistLocation(target.url, target.led_by_public))

    def latest_entry(self, source: SourceRequest) -> ParsedPlaylist | None:
        """Return the latest multivariant playlist of a source that is known."""
        known = self._renditions_by_source.get(source.url)
        return None if known is None else known.fetched

    def find_again(
        self, target: TokenTarget | None, source: SourceRequest, fetched: ParsedPlaylist
    ) -> PlaylistLocation | None:
        """
        Return the location of a playlist whose URL has ended. Later requests go there, too.

        The parameters are those of :meth:`locate`.
        """
        if target is None or target.source != source_name(source.url) or not fetched.playlist.multivariant:
            return self.locate(target, source, fetched)
        wanted, offered = self._rendition(target), self.add_renditions(source, fetched)
        url = self._url_again(target, source, wanted, offered)
        location = PlaylistLocation(url, fetched.public)
        self._moved[target.source, target.url] = location
        self._moved.move_to_end((target.source, target.url))
        if len(self._moved) > MAX_RENDITIONS:
            self._moved.popitem(last=False)
        return location

    def _url_again(
        self, target: TokenTarget, source: SourceRequest, wanted: Rendition | None, offered: Sequence[Rendition]
    ) -> str:
        """Return the URL of a rendition by its attributes; if they are unknown since a restart, by its path."""
        if any(each.url == target.url for each in offered):
            return target.url
        level = self.level(source, target.url) if wanted is None else None
        if level is not None:
            return level.url
        if wanted is None and target.role is not ResourceRole.MAIN:
            raise NoSuchRendition
        found = counterpart(None, offered) if wanted is None else same_rendition(wanted, offered)
        if found is None:
            raise NoSuchRendition
        return found.url

    def is_subtitles(self, target: TokenTarget | None) -> bool:
        """Return True for the playlist of a subtitle rendition."""
        rendition = None if target is None else self._rendition(target)
        return rendition is not None and rendition.type == "SUBTITLES"

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
        rendition = None if target is None else self._rendition(target)
        is_main = target is None or (target.role is ResourceRole.MAIN and (rendition is None or rendition.is_main))
        if rendition is None and not is_main:
            raise NoSuchRendition
        if not fetched.playlist.multivariant:
            if is_main:
                return None
            raise NoSuchRendition
        found = counterpart(rendition, self.add_renditions(source, fetched))
        if found is None:
            raise NoSuchRendition
        return PlaylistLocation(found.url, fetched.public)

    def _rendition(self, target: TokenTarget) -> Rendition | None:
        """Return a rendition that was offered, or None. Tokens of earlier releases name no role."""
        keys = ((target.source, role, target.url) for role in (target.role, *ResourceRole))
        return next((self._renditions[key] for key in keys if key in self._renditions), None)


def _levels(
    source: SourceRequest, fetched: ParsedPlaylist, offered: Sequence[Rendition]
) -> Mapping[str, TokenTarget | None]:
    name = source_name(source.url)
    levels: dict[str, TokenTarget | None] = {}
    for rendition in offered:
        target = TokenTarget(rendition.url, name, ResourceKind.PLAYLIST, fetched.public, rendition.role)
        for key in _level_keys(rendition.url):
            levels[key] = _same_level(levels.get(key, target), target)
    return levels


def _same_level(known: TokenTarget | None, target: TokenTarget) -> TokenTarget | None:
    """Return the variant if both have one URL; None if they are different playlists."""
    if known is None or known.url != target.url:
        return None
    return target if target.role is ResourceRole.MAIN else known


def _level_keys(url: str) -> Iterator[str]:
    """Yield a URL, the URL without its query, and its path."""
    without_query = url.partition("?")[0]
    yield from (url, without_query, "/" + without_query.partition("://")[2].partition("/")[2])
