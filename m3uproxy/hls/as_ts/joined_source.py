"""Joined source: media playlist, keys and segments of one HLS source."""

from __future__ import annotations

from collections.abc import Mapping

from ...core.hls.media_segments import MediaSegment
from ...core.hls.renditions import definitions
from ...core.hls.segment_follower import SegmentKey, best_variant, media_variables, segment_key
from ...core.hls.uri_rewriter import ResourceKind, absolute_url
from ...core.http.byte_ranges import ByteRange
from ...core.http.source_request import SourceRequest
from ...errors import Reason, SourceError
from ..fetched_resource import FetchedResource
from ..fetcher import Fetcher
from ..http_client import ResourceRequest
from ..playlist_loader import read_playlist
from ..served_playlist import ParsedPlaylist
from ..variant_map import GONE_STATUSES, PlaylistLocation
from .aes128 import KEY_SIZE, Aes128Decryptor

#: Maximum age of cached segments and keys in seconds.
_SEGMENT_MAX_AGE, _KEY_MAX_AGE = 60.0, 5.0


class JoinedSource:
    """
    Fetches the playlists, keys and segments of one source.

    :ivar request: the source's URL with its headers.
    """

    def __init__(
        self, fetcher: Fetcher, request: SourceRequest, max_bandwidth: int, first: ParsedPlaylist | None = None
    ) -> None:
        """
        Initialise without a request.

        :param first: the first playlist, if it has been fetched already.
        :param max_bandwidth: bit/s; see :func:`m3uproxy.core.hls.segment_follower.best_variant`.
        """
        self.request = request
        self._fetcher = fetcher
        self._max_bandwidth = max_bandwidth
        self._first = first
        self._location: PlaylistLocation | None = None
        self._imported: Mapping[str, str] = {}
        self._last_key: tuple[str, bytes] = ("", b"")

    async def media_playlist(self, max_age: float) -> ParsedPlaylist:
        """
        Return the media playlist. In a multivariant playlist the variant is chosen once, and again if its URL ends.

        :param max_age: maximum age in seconds of a cached copy.
        :raises SourceError: if the playlist cannot be fetched, or is not a playlist.
        """
        if self._location is None:
            return await self._choose_playlist(max_age, max_age, None)
        try:
            return await self._fetch_variant(self._location, max_age)
        except SourceError as error:
            if error.status not in GONE_STATUSES:
                raise
            return await self._choose_playlist(0.0, max_age, error)

    async def _choose_playlist(self, entry_age: float, max_age: float, error: SourceError | None) -> ParsedPlaylist:
        """
        Return the first playlist if it is a media playlist, else that of the best variant.

        :param entry_age: maximum age in seconds of a cached copy of the first playlist.
        :param error: the error of the variant that was used so far, which is raised if it is still the one.
        """
        first, self._first = self._first, None
        if first is None:
            first = await self._fetch_playlist(PlaylistLocation(self.request.url), entry_age)
        if not first.playlist.multivariant:
            return first
        variant = best_variant(first.playlist, first.url, self._max_bandwidth)
        if error is not None and self._location is not None and variant.url == self._location.url:
            raise error
        self._imported = definitions(first.playlist, first.url)
        self._location = PlaylistLocation(variant.url, first.public)
        return await self._fetch_variant(self._location, max_age)

    async def _fetch_variant(self, location: PlaylistLocation, max_age: float) -> ParsedPlaylist:
        fetched = await self._fetch_playlist(location, max_age)
        if fetched.playlist.multivariant:
            raise SourceError(Reason.NOT_VIDEO, "a variant that is a multivariant playlist")
        return fetched

    async def open_segment(
        self, playlist: ParsedPlaylist, segment: MediaSegment
    ) -> tuple[FetchedResource, Aes128Decryptor | None]:
        """
        Return a segment, to be delivered or closed, and its decryptor (None if the segment is not encrypted).

        :raises SourceError: if the segment or its key cannot be fetched.
        """
        key = segment_key(playlist.playlist, segment)
        decryptor = None if key is None else Aes128Decryptor(await self._key(playlist, key), key.iv)
        part = segment.byte_range
        byte_range = None if part is None else ByteRange(part.offset, part.offset + part.length - 1)
        request = self._request(playlist, segment.uri, ResourceKind.SEGMENT)
        return await self._fetch(request, byte_range, _SEGMENT_MAX_AGE), decryptor

    async def _fetch_playlist(self, location: PlaylistLocation, max_age: float) -> ParsedPlaylist:
        request = ResourceRequest(location.url, self.request, location.led_by_public)
        resource = await self._fetch(request, None, max_age)
        self._fetcher.check_kind(resource, request)
        return await read_playlist(resource, self._fetcher.playlists)

    async def _key(self, playlist: ParsedPlaylist, key: SegmentKey) -> bytes:
        """
        Return the key, from the cache of one key if the URI is the same.

        Players also keep a key as long as its URI stays the same.
        """
        request = self._request(playlist, key.uri, ResourceKind.KEY)
        if self._last_key[0] != request.url:
            resource = await self._fetch(request, None, _KEY_MAX_AGE)
            self._last_key = (request.url, await resource.read_all(KEY_SIZE))
        return self._last_key[1]

    async def _fetch(self, request: ResourceRequest, byte_range: ByteRange | None, max_age: float) -> FetchedResource:
        resource = await self._fetcher.fetch(request, byte_range, max_age)
        if resource.status not in {200, 206}:
            resource.close()
            raise resource.error
        return resource

    def _request(self, playlist: ParsedPlaylist, reference: str, kind: ResourceKind) -> ResourceRequest:
        variables = media_variables(playlist.playlist, playlist.url, self._imported)
        url = absolute_url(playlist.url, variables.substitute(reference))
        if url is None:
            raise SourceError(Reason.NOT_VIDEO, "a playlist with a URI that is not an HTTP URL")
        return ResourceRequest(url, self.request, playlist.public, kind)
