"""The playlists and resources of a stream, fetched from one of its sources."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from twisted.internet.defer import Deferred

from ..core.hls.delivery_directives import NO_DIRECTIVES, DeliveryDirectives
from ..core.hls.media_segments import MediaSegment
from ..core.hls.playlist import Playlist, begins_playlist, parse
from ..core.hls.playlist_continuity import STALL_TARGET_DURATIONS
from ..core.hls.playlist_limits import MAX_BYTES
from ..core.hls.playlist_lines import NotAPlaylist
from ..core.hls.renditions import definitions
from ..core.hls.uri_rewriter import ResourceKind, absolute_url, encode_playlist
from ..core.hls.url_tokens import TokenTarget
from ..core.http.byte_ranges import ByteRange
from ..core.http.source_request import SourceRequest
from ..errors import SourceError
from .fetched_resource import FetchedResource
from .fetcher import Fetcher
from .http_client import ResourceRequest
from .playlist_worker import DIRECT_BYTES, PlaylistWorker, playlist_error
from .served_playlist import ParsedPlaylist, ServedPlaylist
from .variant_map import GONE_STATUSES, NoSuchRendition, PlaylistLocation, VariantMap

#: Maximum age of a multivariant playlist in which a variant is looked up, in seconds.
_LOOKUP_MAX_AGE = 30.0
#: Maximum age of one in which a variant is looked up again whose URL is still refused, in seconds.
_REFUSED_MAX_AGE = 5.0
#: URLs that are noted as refused.
MAX_REFUSED = 128
#: Parsed playlists that are kept for each stream, of all its sources. Large ones are kept by the worker.
MAX_PARSED = 16


class PlaylistLoader:
    """
    The loader of one stream. It keeps parsed playlists, so that an unchanged body is not parsed again.

    :ivar variant_map: the variants of the stream's sources.
    """

    def __init__(self, fetcher: Fetcher, earlier: PlaylistLoader | None = None) -> None:
        """
        Initialise a loader without playlists.

        :param earlier: the loader before a pause without players.
        """
        self._fetcher = fetcher
        self._variables: dict[str, Mapping[str, str]] = {}
        self._parsed: OrderedDict[str, ParsedPlaylist] = OrderedDict()
        self._refused: dict[str, None] = {}
        self.variant_map: VariantMap = VariantMap(None if earlier is None else earlier.variant_map)

    def resource(
        self, source: SourceRequest, target: TokenTarget, byte_range: ByteRange | None, max_age: float
    ) -> Deferred[FetchedResource]:
        """Fetch a resource that a playlist named."""
        request = ResourceRequest(target.url, source, target.led_by_public, target.kind)
        return self._fetcher.fetch(request, byte_range, max_age, refusable=True)

    def prefetch(self, source: SourceRequest, fetched: ParsedPlaylist, segment: MediaSegment, max_age: float) -> None:
        """Fetch a segment of a playlist before a player requests it."""
        url, part = absolute_url(fetched.url, segment.uri), segment.byte_range
        byte_range = None if part is None else ByteRange(part.offset, part.offset + part.length - 1)
        if url is not None:
            self._fetcher.prefetch(
                ResourceRequest(url, source, fetched.public, ResourceKind.SEGMENT), byte_range, max_age
            )

    async def playlist(
        self,
        source: SourceRequest,
        target: TokenTarget | None,
        directives: DeliveryDirectives,
        served: ServedPlaylist,
        sticky: bool,
    ) -> tuple[ParsedPlaylist, Mapping[str, str]]:
        """
        Fetch a playlist of a source.

        :param target: a variant, None for the first playlist of the stream.
        :param served: the playlist as players know it.
        :param sticky: True if the source is from now on requested at the URL that its redirects lead to.
        :return: the playlist, and the variables of the multivariant playlist, which it may import (EXT-X-DEFINE).
        :raises SourceError: if no playlist comes.
        :raises NoSuchRendition: if the source has no counterpart of the variant.
        """
        location = self.variant_map.known_location(target, source)
        if location is None:
            is_media = target is None and self.variant_map.is_multivariant is not True
            max_age = served.max_age if target is None else _LOOKUP_MAX_AGE
            entry = await self._load_entry(source, max_age, directives if is_media else NO_DIRECTIVES, served, sticky)
            if target is None and self.variant_map.is_multivariant:
                return entry if entry.playlist.multivariant else _as_multivariant(entry), {}
            location = self.variant_map.locate(target, source, entry)
            if location is None:
                return entry, {}
        try:
            fetched = await self._fetch_playlist(source, location, served.max_age, directives, served)
        except SourceError as error:
            if error.status not in GONE_STATUSES:
                raise
            fetched = await self._fetch_again(source, target, location, error, served, sticky)
        else:
            self._refused.pop(location.url, None)
        if b"IMPORT=" in fetched.body and source.url not in self._variables:
            await self._load_entry(source, _LOOKUP_MAX_AGE, NO_DIRECTIVES, served, sticky)
        return fetched, self._variables.get(source.url, {})

    async def _fetch_again(
        self,
        source: SourceRequest,
        target: TokenTarget | None,
        refused: PlaylistLocation,
        error: SourceError,
        served: ServedPlaylist,
        sticky: bool,
    ) -> ParsedPlaylist:
        """
        Fetch a playlist whose URL has ended from where the source has it now.

        URLs may hold a session that ends. The latest multivariant playlist may name those of a newer one; else it is
        fetched anew, once for all players that wait.

        :param refused: the location that the source refuses.
        :raises SourceError: ``error`` if the source has the playlist nowhere else.
        """
        max_age = _REFUSED_MAX_AGE if refused.url in self._refused else 0.0
        self._note_refused(refused)
        known = self._find_in_latest(source, target)
        if known is not None:
            try:
                return await self._fetch_playlist(source, known, served.max_age)
            except SourceError as again:
                if again.status not in GONE_STATUSES:
                    raise
                self._note_refused(known)
        try:
            entry = await self._load_entry(source, max_age, NO_DIRECTIVES, served, sticky)
            location = self.variant_map.find_again(target, source, entry)
        except (SourceError, NoSuchRendition):
            raise error from None
        if location is None:
            return entry
        if location in (refused, known):
            raise error
        fetched = await self._fetch_playlist(source, location, served.max_age)
        self._refused.pop(location.url, None)
        return fetched

    def _find_in_latest(self, source: SourceRequest, target: TokenTarget | None) -> PlaylistLocation | None:
        """Return the location of a playlist by the latest multivariant playlist, unless that is refused, too."""
        entry = self.variant_map.latest_entry(source)
        try:
            location = None if entry is None else self.variant_map.find_again(target, source, entry)
        except NoSuchRendition:
            return None
        return None if location is None or location.url in self._refused else location

    def _note_refused(self, location: PlaylistLocation) -> None:
        self._refused[location.url] = None
        if len(self._refused) > MAX_REFUSED:
            del self._refused[next(iter(self._refused))]

    async def asset(self, source: SourceRequest, target: TokenTarget, max_age: float) -> ParsedPlaylist:
        """
        Fetch a playlist of an advertisement.

        :raises SourceError: if no playlist comes.
        """
        return await self._fetch_playlist(source, PlaylistLocation(target.url, target.led_by_public), max_age)

    async def check_source(self, source: SourceRequest) -> None:
        """
        Fetch the first playlist of a source, to see if the source works.

        :raises SourceError: if no playlist comes.
        """
        await self._fetch_playlist(source, self.variant_map.entry_location(source), 0.0)

    async def _load_entry(
        self,
        source: SourceRequest,
        max_age: float,
        directives: DeliveryDirectives,
        served: ServedPlaylist,
        sticky: bool,
    ) -> ParsedPlaylist:
        """Fetch the first playlist of a source. The first one of all decides if the stream is multivariant."""
        location = self.variant_map.entry_location(source)
        fetched = await self._fetch_playlist(source, location, max_age, directives, served)
        if self.variant_map.is_multivariant is None:
            self.variant_map.is_multivariant = fetched.playlist.multivariant
        if fetched.playlist.multivariant:
            self.variant_map.add_renditions(source, fetched)
            self._variables[source.url] = definitions(fetched.playlist, fetched.url)
            if len(self._variables) > MAX_PARSED:
                del self._variables[next(iter(self._variables))]
        if sticky and directives == NO_DIRECTIVES:
            self.variant_map.pin(source, fetched)
        return fetched

    async def _fetch_playlist(
        self,
        source: SourceRequest,
        location: PlaylistLocation,
        max_age: float,
        directives: DeliveryDirectives = NO_DIRECTIVES,
        served: ServedPlaylist | None = None,
    ) -> ParsedPlaylist:
        """Fetch a playlist. With delivery directives, the provider blocks until the segment or part is there."""
        url, extra_timeout = location.url, 0.0
        directives = NO_DIRECTIVES if served is None else served.pending(directives)
        if served is not None and directives != NO_DIRECTIVES:
            url, extra_timeout = (
                directives.add_to_url(location.url, served.offset),
                STALL_TARGET_DURATIONS * served.target_duration,
            )
        resource = await self._fetcher.fetch(
            ResourceRequest(url, source, location.led_by_public), None, max_age, extra_timeout
        )
        if resource.status not in {200, 206}:
            resource.close()
            raise resource.error
        self._fetcher.check_kind(resource, ResourceRequest(location.url, source))
        return await self._parse(resource)

    async def _parse(self, resource: FetchedResource) -> ParsedPlaylist:
        """Read and parse a playlist. A body that has not changed is not parsed again."""
        url, public = resource.final_url, resource.public
        body = await read_playlist_body(resource)
        parsed = self._parsed.get(url)
        if parsed is None or parsed.body != body or parsed.public != public:
            parsed = ParsedPlaylist(await self._fetcher.playlists.parse(body), body, url, public)
            if len(body) > DIRECT_BYTES:
                return parsed
            self._parsed[url] = parsed
        self._parsed.move_to_end(url)
        if len(self._parsed) > MAX_PARSED:
            self._parsed.popitem(last=False)
        return parsed


async def read_playlist_body(resource: FetchedResource) -> bytes:
    """
    Read the body of a playlist. If it does not begin like one, stop there, since it may be endless.

    :raises SourceError: if the body does not come, or does not begin like a playlist.
    """
    first_bytes = resource.first_bytes
    if first_bytes and not begins_playlist(first_bytes):
        resource.close()
        parse_body(first_bytes)
    return await resource.read_all(MAX_BYTES)


def parse_body(body: bytes) -> Playlist:
    """
    Parse a short playlist, or fail like one that is none.

    :raises SourceError: with ``NOT_VIDEO`` if the body is no playlist.
    """
    try:
        return parse(body)
    except NotAPlaylist as why:
        raise playlist_error(why) from None


async def read_playlist(resource: FetchedResource, worker: PlaylistWorker) -> ParsedPlaylist:
    """
    Read and parse a playlist.

    :raises SourceError: if no playlist comes.
    """
    url, public = resource.final_url, resource.public
    body = await read_playlist_body(resource)
    return ParsedPlaylist(await worker.parse(body), body, url, public)


def _as_multivariant(fetched: ParsedPlaylist) -> ParsedPlaylist:
    """Return a multivariant playlist with a media playlist as its only variant."""
    body = encode_playlist("", ["#EXTM3U\n", "#EXT-X-STREAM-INF:BANDWIDTH=1\n", f"{fetched.url}\n"])
    return ParsedPlaylist(parse_body(body), body, fetched.url, fetched.public)
