"""The playlists and resources of one HLS stream, over all its sources.

If a source fails within a player's request, the request is answered from the next source.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred

from ..core.failover.causes import is_own_fault
from ..core.failover.machine import FailoverPolicy
from ..core.hls.delivery_directives import DeliveryDirectives
from ..core.hls.playlist_continuity import STALL_TARGET_DURATIONS, DiscontinuityNumbers
from ..core.hls.uri_rewriter import ResourceKind, RewriteUri
from ..core.hls.url_tokens import TokenTarget, UrlTokens, source_name
from ..core.http.byte_ranges import ByteRange
from ..core.http.source_request import SourceRequest
from ..core.slots.viewer_identity import ViewerIdentity
from ..errors import Reason, SourceError, StoredError, bad_status
from ..streams.context import StreamContext
from .fetched_resource import FetchedResource
from .fetcher import Fetcher
from .playlist_loader import PlaylistLoader
from .served_playlist import CLIENT_MARK, PREFIX_MARK, ParsedPlaylist, ServedPlaylist
from .session import HlsSession, SourceRun

#: Playlists that are kept for each stream: variants, audio and subtitle renditions, of all its sources.
MAX_PLAYLISTS = 128
#: Different segments that fail one after another until their source counts as failed.
MAX_FAILED_SEGMENTS = 2
#: After these failures, a live stream redials the same source first. Of an HLS source, the next segment was that
#: second try, so that the failure counts as a stall.
_INTERRUPTIONS = (Reason.TRUNCATED, Reason.RESET)
#: Target durations without a new segment after which players get an error instead of the last playlist.
MAX_SILENCE = 6
#: File name extensions that segments keep; any other one becomes the first of these.
EXTENSIONS = ("ts", "m4s", "mp4", "m4v", "m4a", "cmfv", "cmfa", "aac", "ac3", "ec3", "mp3", "vtt", "key", "json")
#: Maximum ages of cached resources in seconds. Keys may change under their URL.
_MAX_AGE = {ResourceKind.SEGMENT: 60.0, ResourceKind.MAP: 60.0, ResourceKind.PLAYLIST: 1.0}
_MAX_AGE.update(dict.fromkeys((ResourceKind.KEY, ResourceKind.DATA, ResourceKind.STEERING, ResourceKind.ASSETS), 5.0))


@attrs.frozen
class HlsContext(StreamContext):
    """The objects that all HLS streams share, and the failover policy of one of them."""

    fetcher: Fetcher
    tokens: UrlTokens
    policy: FailoverPolicy


def path_extension(url: str) -> str:
    """Return the file name extension for a segment. Players rely on it: ffmpeg rejects MP4 or text named ``.ts``."""
    path = url.partition("?")[0].lower()
    return next((each for each in EXTENSIONS if path.endswith(f".{each}")), EXTENSIONS[0])


def _segment_group(target: TokenTarget) -> tuple[ResourceKind, str]:
    """
    Return the group of a segment: its kind and the folder of its URL.

    A success clears the failures of its own group only: available keys or audio say nothing about the video.
    """
    return target.kind, target.url.partition("?")[0].rpartition("/")[0]


class HlsProxy:
    """
    The sources of one stream, and its playlists as served to players.

    :ivar sticky: True if a source is requested at the URL that its first redirects led to (sticky session).
    """

    _close_error = StoredError()

    def __init__(
        self, context: HlsContext, stream_id: str, session: HlsSession, source_succeeded: Callable[[], None]
    ) -> None:
        """
        Initialise a proxy. It requests nothing before a player does.

        :param session: the session, which chooses the source.
        :param source_succeeded: called when a new source has delivered its first playlist.
        """
        self._context = context
        self._clock = context.clock
        self._id = stream_id
        self._session = session
        self._source_succeeded = source_succeeded
        self._failed_segments: set[tuple[TokenTarget, int]] = set()
        self._prefetched: ParsedPlaylist | None = None
        self.sticky = False
        self._served: OrderedDict[object, ServedPlaylist] = OrderedDict()
        self._discontinuities = DiscontinuityNumbers()
        self.reset(SourceError(Reason.UNUSED))

    def reset(self, error: SourceError) -> None:
        """
        Stop the session and drop all content, because the stream has no clients.

        The sequence numbers of the playlists are kept: a player may sleep longer than it is listed as a client.

        :param error: the error for requests that still wait.
        """
        self._session.stop(error)
        for served in self._served.values():
            served.rest()
        self._loader = PlaylistLoader(self._context.fetcher)

    def close(self, error: SourceError) -> None:
        """Stop for good. Requests that wait, and later ones, fail with ``error``."""
        self._close_error = error
        self.reset(error)

    @property
    def current_url(self) -> str:
        """The URL in use, or the URL that is requested next."""
        return self._loader.variant_map.entry_location(self._session.request()).url

    @property
    def target_duration(self) -> float:
        """The longest target duration of all playlists, in seconds; 0 if unknown."""
        return max((served.target_duration for served in self._served.values()), default=0.0)

    def playlist(
        self, target: TokenTarget | None, directives: DeliveryDirectives, viewer: ViewerIdentity | None = None
    ) -> Deferred[ServedPlaylist]:
        """
        Fetch a playlist, up to date.

        :param target: a variant, None for the stream itself.
        :param viewer: the viewer for whom the session starts, if it is idle.
        :return: a Deferred that may be cancelled. It fails with :class:`m3uproxy.errors.SourceError` when no source
            delivers, and with :class:`m3uproxy.hls.variant_map.NoSuchRendition` when the one in use lacks it.
        """
        return Deferred.fromCoroutine(self._playlist(target, directives, viewer))

    def resource(self, target: TokenTarget, byte_range: ByteRange | None) -> Deferred[FetchedResource]:
        """
        Fetch a segment, key or other resource that a playlist named.

        :return: a Deferred that fires with any status of the provider, and fails with
            :class:`m3uproxy.errors.SourceError`; it may be cancelled.
        """
        response = Deferred.fromCoroutine(self._resource(target, byte_range))
        segment = (target, (byte_range and byte_range.first) or 0)
        response.addCallbacks(self._segment_received, self._segment_failed, segment, {}, segment)
        return response

    def check_source(self, request: SourceRequest) -> Deferred[None]:
        """Fetch the playlist of a source; fail with :class:`m3uproxy.errors.SourceError` if it has none."""
        return Deferred.fromCoroutine(self._loader.check_source(request))

    # playlists

    async def _playlist(
        self, target: TokenTarget | None, directives: DeliveryDirectives, viewer: ViewerIdentity | None
    ) -> ServedPlaylist:
        """
        Return a playlist. If no source delivers, return the last one for some time, since players may give up at an
        error.
        """
        served = self._served_playlist(target)
        try:
            await self._refresh(target, directives, served, viewer)
        except SourceError:
            if (
                self._close_error is not None
                or not served.has_content
                or served.silence(self._clock.seconds()) > MAX_SILENCE
            ):
                raise
        return served

    async def _refresh(
        self,
        target: TokenTarget | None,
        directives: DeliveryDirectives,
        served: ServedPlaylist,
        viewer: ViewerIdentity | None,
    ) -> None:
        """
        Bring a playlist up to date; try one source after another.

        :raises SourceError: if no source delivers in time. The time is short if an earlier playlist can be served.
        """
        limit = self._context.settings.start_timeout * 0.95
        deadline = self._clock.seconds() + (min(limit, served.target_duration) if served.has_content else limit)
        if self._close_error is not None:
            raise self._close_error
        if target is None:
            self._session.start(viewer)
        else:
            self._session.resume()
        while self._close_error is None:
            run = await self._session.current_run(deadline)
            try:
                await self._load(run, target, directives, served)
            except SourceError as error:
                if is_own_fault(error) and run is self._session.run:
                    raise
                if self._close_error is not None or self._loader.variant_map.unpin(run.request):
                    continue
                if (target is not None and self._session.has_no_alternative) or not self._source_failed(run, error):
                    raise
            else:
                if run is self._session.run:
                    return
        raise self._close_error

    async def _load(
        self, run: SourceRun, target: TokenTarget | None, directives: DeliveryDirectives, served: ServedPlaylist
    ) -> None:
        """Update a playlist from one source. If another source is in use when it comes, drop it."""
        request = run.request
        fetched, variables = await self._loader.playlist(request, target, directives, served, self.sticky)
        if run is not self._session.run:
            return
        now = self._clock.seconds()
        rewrite_uri = self.uri_rewriter(source_name(request.url), fetched.public)
        served.update(fetched, rewrite_uri, request.url, run.change, now, variables)
        self._prefetch_newest(request, fetched)
        if self._session.succeeded(run):
            self._failed_segments.clear()
            self._source_succeeded()
        if served.silence(now) > STALL_TARGET_DURATIONS and not self._session.has_no_alternative:
            seconds = served.silence(now) * served.target_duration
            raise SourceError(Reason.STALLED, f"no new segment for {seconds:.0f} s")

    def _prefetch_newest(self, request: SourceRequest, fetched: ParsedPlaylist) -> None:
        """If HLS_PREFETCH is set, fetch the newest segment, which all players request next."""
        playlist = fetched.playlist
        if not self._context.settings.hls_prefetch or fetched is self._prefetched or playlist.ended:
            return
        self._prefetched = fetched
        if playlist.segments and "{$" not in playlist.segments[-1].uri:
            self._loader.prefetch(request, fetched, playlist.segments[-1], _MAX_AGE[ResourceKind.SEGMENT])

    def _served_playlist(self, target: TokenTarget | None) -> ServedPlaylist:
        key = None if target is None else (target.source, target.url)
        served = self._served.setdefault(key, ServedPlaylist(self._discontinuities))
        self._served.move_to_end(key)
        if len(self._served) > MAX_PLAYLISTS:
            self._served.popitem(last=False)
        return served

    def uri_rewriter(self, source: bytes, public: bool) -> RewriteUri:
        """
        Return the function that makes the URI for players from a URI of a source.

        :param source: the name of the source (:func:`m3uproxy.core.hls.url_tokens.source_name`).
        :param public: True if a public host sent the playlist.
        """
        front = f"{PREFIX_MARK}hls/{self._id}"

        def rewrite_uri(kind: ResourceKind, url: str) -> str:
            token = self._context.tokens.make(self._id, TokenTarget(url, source, kind, public))
            if kind is ResourceKind.PLAYLIST:
                return f"{front}/playlist.m3u8?url={token}&client_id={CLIENT_MARK}&parent={self._id}"
            return f"{front}/segment.{path_extension(url)}?url={token}&client_id={CLIENT_MARK}"

        return rewrite_uri

    def _source_failed(self, run: SourceRun, error: SourceError) -> bool:
        self._failed_segments.clear()
        return self._session.failed(run, error)

    # segments

    async def _resource(self, target: TokenTarget, byte_range: ByteRange | None) -> FetchedResource:
        deadline = self._clock.seconds() + self._context.settings.start_timeout * 0.95
        request = await self._session.with_slot(self._session.source_named(target.source), deadline)
        return await self._loader.resource(request, target, byte_range, _MAX_AGE[target.kind])

    def _segment_received(self, resource: FetchedResource, target: TokenTarget, first: int) -> FetchedResource:
        if resource.status >= 400:
            self._count_failed_segment(target, first, bad_status(resource.status))
        else:
            resource.when_complete(lambda error: self._segment_ended(error, target, first))
        return resource

    def _segment_ended(self, error: SourceError | None, target: TokenTarget, first: int) -> None:
        """
        Note the end of a segment, which may fail after players have received its beginning.

        If it ended for a cause of this proxy, it counts neither as a failure nor as a success.
        """
        if error is not None:
            self._count_failed_segment(target, first, error)
        elif self._is_of_current(target):
            group = _segment_group(target)
            self._failed_segments = {failed for failed in self._failed_segments if _segment_group(failed[0]) != group}

    def _segment_failed(self, failure: Any, target: TokenTarget, first: int) -> Any:
        if failure.check(SourceError):
            self._count_failed_segment(target, first, failure.value)
        return failure

    def _count_failed_segment(self, target: TokenTarget, first: int, error: SourceError) -> None:
        """
        Count a failed segment, unless it is the fault of this proxy. If a second segment fails, the source has failed.

        :param first: the first byte of the range, for segments that are ranges of one file.
        """
        run = self._session.run
        if run is None or self._session.has_no_alternative or not self._is_of_current(target) or is_own_fault(error):
            return
        self._failed_segments.add((target, first))
        if len(self._failed_segments) >= MAX_FAILED_SEGMENTS:
            reason = Reason.STALLED if error.reason in _INTERRUPTIONS else error.reason
            self._source_failed(run, attrs.evolve(error, reason=reason, detail=f"segments: {error.detail}"))

    def _is_of_current(self, target: TokenTarget) -> bool:
        run = self._session.run
        return run is not None and target.source == source_name(run.request.url)
