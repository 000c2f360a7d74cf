"""One HLS source as what is joined of it: its media playlist, and segments that can be read."""

from __future__ import annotations

from collections.abc import Mapping

from ...core.hls.media_segments import MediaSegment
from ...core.hls.renditions import definitions
from ...core.hls.segment_follower import SegmentKey, best_variant, key_of, variables_of
from ...core.hls.uri_rewriter import absolute_url
from ...core.http.byte_ranges import SingleRange
from ...core.http.source_request import SourceRequest
from ...errors import Reason, SourceError, bad_status
from ..fetched_resource import FetchedResource
from ..fetcher import Fetcher
from ..http_client import ResourceRequest
from ..playlist_loader import whole_playlist
from ..served_playlist import ParsedPlaylist
from ..variant_map import PlaylistLocation
from .aes128 import KEY_SIZE, Aes128Decryptor

#: Seconds for which a segment that was fetched is good, and a key.
_SEGMENT, _KEY = 60.0, 5.0


class JoinedSource:
    """Asks for what belongs to one source.

    :ivar request: how the source is asked.
    """

    def __init__(self, fetcher: Fetcher, request: SourceRequest, most_bandwidth: int) -> None:
        """
        Nothing is asked yet.

        :param most_bandwidth: see :func:`m3uproxy.core.hls.segment_follower.best_variant`.
        """
        self.request = request
        self._fetcher = fetcher
        self._most_bandwidth = most_bandwidth
        self._place: PlaylistLocation | None = None
        self._imported: Mapping[str, str] = {}
        self._last_key: tuple[str, bytes] = ("", b"")

    async def media(self, max_age: float) -> ParsedPlaylist:
        """
        The media playlist.

        :param max_age: seconds up to which a copy will do.
        :raises SourceError: if it does not come, or is none.
        """
        if self._place is None:
            entry = await self._playlist(PlaylistLocation(self.request.url), max_age)
            if not entry.playlist.master:
                return entry
            chosen = best_variant(entry.playlist, entry.url, self._most_bandwidth)
            self._imported = definitions(entry.playlist, entry.url)
            self._place = PlaylistLocation(chosen.url, entry.public)
        fetched = await self._playlist(self._place, max_age)
        if fetched.playlist.master:
            raise SourceError(Reason.NOT_VIDEO, "a variant that is a list of variants")
        return fetched

    async def segment(
        self, playlist: ParsedPlaylist, segment: MediaSegment
    ) -> tuple[FetchedResource, Aes128Decryptor | None]:
        """
        A segment, to be delivered or closed, and how it becomes clear.

        :raises SourceError: if it, or its key, cannot be had.
        """
        key = key_of(playlist.playlist, segment)
        decryption = None if key is None else Aes128Decryptor(await self._key(playlist, key), key.vector)
        part = segment.byte_range
        byte_range = None if part is None else SingleRange(part.offset, part.offset + part.length - 1)
        wanted = self._wanted(playlist, segment.uri)
        return await self._ask(wanted, byte_range, _SEGMENT), decryption

    async def _playlist(self, place: PlaylistLocation, max_age: float) -> ParsedPlaylist:
        return await whole_playlist(
            await self._ask(ResourceRequest(place.url, self.request, place.led_by_public), None, max_age)
        )

    async def _key(self, playlist: ParsedPlaylist, key: SegmentKey) -> bytes:
        """Players keep a key as long as its URI stays, too."""
        wanted = self._wanted(playlist, key.uri)
        if self._last_key[0] != wanted.url:
            resource = await self._ask(wanted, None, _KEY)
            self._last_key = (wanted.url, await resource.read_all(KEY_SIZE))
        return self._last_key[1]

    async def _ask(self, wanted: ResourceRequest, byte_range: SingleRange | None, max_age: float) -> FetchedResource:
        resource = await self._fetcher.fetch(wanted, byte_range, max_age)
        if resource.status not in {200, 206}:
            resource.close()
            raise bad_status(resource.status)
        return resource

    def _wanted(self, playlist: ParsedPlaylist, reference: str) -> ResourceRequest:
        variables = variables_of(playlist.playlist, playlist.url, self._imported)
        url = absolute_url(playlist.url, variables.put_in(reference))
        if url is None:
            raise SourceError(Reason.NOT_VIDEO, "a playlist that names something which is not on the web")
        return ResourceRequest(url, self.request, playlist.public)
