"""Playlists and segments of a stream, out of one of its sources."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from twisted.internet.defer import Deferred

from ..core.hls.delivery_directives import NO_DIRECTIVES, DeliveryDirectives
from ..core.hls.media_segments import MediaSegment
from ..core.hls.playlist_continuity import STALL_TARGET_DURATIONS
from ..core.hls.playlist_limits import MAX_BYTES
from ..core.hls.renditions import definitions
from ..core.hls.uri_rewriter import absolute_url, encode_playlist
from ..core.hls.url_tokens import TokenTarget, source_name
from ..core.http.byte_ranges import SingleRange
from ..core.http.source_request import SourceRequest
from ..errors import bad_status
from .fetched_resource import FetchedResource
from .fetcher import Fetcher
from .http_client import ResourceRequest
from .served_playlist import ParsedPlaylist, ServedPlaylist, read
from .variant_map import PlaylistLocation, VariantMap

#: Seconds for which a multivariant playlist is good when something is looked up in it.
_LOOK_UP = 30.0
#: Playlists that are remembered as they were read, of all sources of a stream, and bytes of them all.
MOST_READ = 16
MOST_READ_BYTES = 2 * MAX_BYTES


class PlaylistLoader:
    """Fetches what belongs to one stream."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._variables: dict[str, Mapping[str, str]] = {}
        self._read: OrderedDict[str, ParsedPlaylist] = OrderedDict()
        self.guide = VariantMap()

    def resource(
        self, request: SourceRequest, target: TokenTarget, byte_range: SingleRange | None, good_for: float
    ) -> Deferred[FetchedResource]:
        """Something that a playlist named."""
        wanted = ResourceRequest(target.url, request, target.led_by_public)
        return self._fetcher.fetch(wanted, byte_range, good_for, refusable=True)

    def ahead(self, request: SourceRequest, fetched: ParsedPlaylist, segment: MediaSegment, good_for: float) -> None:
        """Have a segment of a playlist fetched before anybody asks for it."""
        url, part = absolute_url(fetched.url, segment.uri), segment.byte_range
        byte_range = None if part is None else SingleRange(part.offset, part.offset + part.length - 1)
        if url is not None:
            self._fetcher.fetch_ahead(ResourceRequest(url, request, fetched.public), byte_range, good_for)

    async def playlist(
        self,
        request: SourceRequest,
        target: TokenTarget | None,
        directives: DeliveryDirectives,
        shown: ServedPlaylist,
        sticky: bool,
    ) -> tuple[ParsedPlaylist, Mapping[str, str]]:
        """
        A playlist of a source, and the variables that it may import.

        :param target: a variant, None for the stream itself.
        :param shown: what players have been shown of it.
        :param sticky: whether the source begins from now on where its redirects lead.
        :raises SourceError: if it does not come, or is none.
        :raises NoSuchRendition: if the source lacks it.
        """
        place: PlaylistLocation | None
        if target is not None and target.source == source_name(request.url):
            place = PlaylistLocation(target.url, target.led_by_public)
        else:
            entry = await self._entry(request, target, directives, shown, sticky)
            if target is None and self.guide.told_variants:
                return entry if entry.playlist.multivariant else _list_of_one(entry), {}
            place = self.guide.variant(target, request, entry)
            if place is None:
                return entry, {}
        fetched = await self._fetch(request, place, shown.good_for, directives, shown)
        if b"IMPORT=" in fetched.body and request.url not in self._variables:
            await self._entry(request, target, directives, shown, sticky)
        return fetched, self._variables.get(request.url, {})

    async def look(self, request: SourceRequest) -> None:
        """
        See whether a source has a playlist now.

        :raises SourceError: if it does not come, or is none.
        """
        await self._fetch(request, self.guide.entry(request), 0.0)

    async def _entry(
        self,
        request: SourceRequest,
        target: TokenTarget | None,
        directives: DeliveryDirectives,
        shown: ServedPlaylist,
        sticky: bool,
    ) -> ParsedPlaylist:
        """What a source begins with. Whether that is a list of variants is settled by the first."""
        place = self.guide.entry(request)
        if target is None and self.guide.told_variants is not True:
            fetched = await self._fetch(request, place, shown.good_for, directives, shown)
        else:
            fetched = await self._fetch(request, place, shown.good_for if target is None else _LOOK_UP)
        if self.guide.told_variants is None:
            self.guide.told_variants = fetched.playlist.multivariant
        if fetched.playlist.multivariant:
            self.guide.learn(request, fetched)
            self._variables[request.url] = definitions(fetched.playlist, fetched.url)
            if len(self._variables) > MOST_READ:
                del self._variables[next(iter(self._variables))]
        if sticky and directives == NO_DIRECTIVES:
            self.guide.pin(request, fetched)
        return fetched

    async def _fetch(
        self,
        request: SourceRequest,
        place: PlaylistLocation,
        good_for: float,
        directives: DeliveryDirectives = NO_DIRECTIVES,
        shown: ServedPlaylist | None = None,
    ) -> ParsedPlaylist:
        """A playlist as it is now, or as soon as there is what the directives ask for."""
        url, held = place.url, 0.0
        directives = NO_DIRECTIVES if shown is None else shown.still_to_come(directives)
        if shown is not None and directives != NO_DIRECTIVES:
            url, held = directives.add_to_url(place.url, shown.offset), STALL_TARGET_DURATIONS * shown.target_duration
        resource = await self._fetcher.fetch(ResourceRequest(url, request, place.led_by_public), None, good_for, held)
        if resource.status not in {200, 206}:
            resource.close()
            raise bad_status(resource.status)
        return await self._whole(resource)

    async def _whole(self, resource: FetchedResource) -> ParsedPlaylist:
        """All of a playlist. What has not changed is not read again."""
        url, public = resource.final_url, resource.public
        body = await whole_body(resource)
        known = self._read.get(url)
        if known is None or known.body != body or known.public != public:
            known = self._read[url] = ParsedPlaylist(read(body), body, url, public)
        self._read.move_to_end(url)
        while len(self._read) > MOST_READ or sum(len(each.body) for each in self._read.values()) > MOST_READ_BYTES:
            self._read.popitem(last=False)
        return known


async def whole_body(resource: FetchedResource) -> bytes:
    """
    All of what should be a playlist.

    :raises SourceError: if it does not come, or does not begin like one: that may have no end.
    """
    beginning = resource.beginning
    if beginning and not beginning.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"#"):
        resource.close()
        read(beginning)
    return await resource.read_all(MAX_BYTES)


async def whole_playlist(resource: FetchedResource) -> ParsedPlaylist:
    """
    A playlist.

    :raises SourceError: if it does not come, or is none.
    """
    url, public = resource.final_url, resource.public
    body = await whole_body(resource)
    return ParsedPlaylist(read(body), body, url, public)


def _list_of_one(fetched: ParsedPlaylist) -> ParsedPlaylist:
    """A multivariant playlist with a media playlist as its only variant."""
    body = encode_playlist("", ["#EXTM3U\n", "#EXT-X-STREAM-INF:BANDWIDTH=1\n", f"{fetched.url}\n"])
    return ParsedPlaylist(read(body), body, fetched.url, fetched.public)
