"""What players of one HLS stream are sent, from whichever of its sources delivers.

A source that does not deliver is left in the middle of a player's request, which is answered from the next one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import Deferred

from ..core.failover.machine import FailoverPolicy
from ..core.hls.delivery_directives import DeliveryDirectives
from ..core.hls.playlist_continuity import STALL_TARGET_DURATIONS, DiscontinuityNumbers
from ..core.hls.uri_rewriter import ResourceKind, RewriteUri
from ..core.hls.url_tokens import TokenTarget, UrlTokens, source_name
from ..core.http.byte_ranges import ByteRange
from ..core.http.source_request import SourceRequest
from ..core.slots.viewer_identity import ViewerIdentity
from ..errors import Reason, SourceError, bad_status
from ..settings import Settings
from ..upstream.slots import SlotAllocator
from .fetched_resource import FetchedResource
from .fetcher import Fetcher
from .playlist_loader import PlaylistLoader
from .served_playlist import CLIENT_MARK, ParsedPlaylist, ServedPlaylist
from .session import HlsSession, SourceRun

if TYPE_CHECKING:
    from ..streams.failover_stream import FailoverStream
    from ..streams.stream_resolver import StreamResolver

#: Playlists of a stream that are remembered: variants, sounds, subtitles, of all its sources.
MAX_PLAYLISTS = 128
#: Different segments that may fail one after another until their source counts as failed.
MAX_FAILED_SEGMENTS = 2
#: What ends a live stream too, which is then dialled again first. Of segments, the next one was that second try.
_INTERRUPTIONS = (Reason.TRUNCATED, Reason.RESET)
#: Target durations without anything new after which players are told that no source delivers.
MAX_SILENCE = 6
#: Endings of paths that are kept; what has another one, or none, is taken for TS.
EXTENSIONS = ("ts", "m4s", "mp4", "m4v", "m4a", "cmfv", "cmfa", "aac", "ac3", "ec3", "mp3", "vtt", "key", "json")
#: Failures of a segment that are not the source's.
_OWN_REASONS = (Reason.STOPPING, Reason.FULL, Reason.NO_SLOT)
#: Seconds for which what is no playlist may be kept; keys may change under their URL.
_MAX_AGE = {ResourceKind.SEGMENT: 60.0, ResourceKind.MAP: 60.0, ResourceKind.PLAYLIST: 1.0}
_MAX_AGE.update(dict.fromkeys((ResourceKind.KEY, ResourceKind.DATA, ResourceKind.STEERING, ResourceKind.ASSETS), 5.0))


@attrs.frozen
class HlsContext:
    """
    What all HLS streams share.

    :ivar wall: the time of day; ``clock`` is for everything else.
    """

    clock: Any
    wall: Callable[[], datetime]
    fetcher: Fetcher
    tokens: UrlTokens
    settings: Settings
    policy: FailoverPolicy
    slots: SlotAllocator
    open_resolver: Callable[[FailoverStream], StreamResolver]


def path_extension(url: str) -> str:
    """The ending of the path that a segment gets: players go by it, ffmpeg refuses MP4 or text that is called TS."""
    path = url.partition("?")[0].lower()
    return next((one for one in EXTENSIONS if path.endswith(f".{one}")), EXTENSIONS[0])


def _segment_group(target: TokenTarget) -> tuple[ResourceKind, str]:
    """
    What follows each other: of one kind, and side by side, as far as one can see.

    That a key can be had, or the sound, says nothing of the pictures.
    """
    return target.kind, target.url.partition("?")[0].rpartition("/")[0]


class HlsProxy:
    """The sources of one stream, and what players have been served of them."""

    def __init__(
        self, context: HlsContext, stream_id: str, session: HlsSession, source_succeeded: Callable[[], None]
    ) -> None:
        """
        Nothing is response before a player asks.

        :param session: says which source is response.
        :param source_succeeded: called when the source that was chosen does.
        """
        self._context = context
        self._clock = context.clock
        self._id = stream_id
        self._session = session
        self._source_succeeded = source_succeeded
        self._failed_segments: set[tuple[TokenTarget, int]] = set()
        self._prefetched: ParsedPlaylist | None = None
        self._close_error: SourceError | None = None
        #: Whether a source begins, from its first answer on, where its redirects led.
        self.sticky = False
        self.reset(SourceError(Reason.ENDED))

    def reset(self, error: SourceError) -> None:
        """
        Nobody watches: whoever comes finds a stream that has served nothing yet.

        :param error: what those are told who wait all the same.
        """
        self._session.stop(error)
        self._served: OrderedDict[object, ServedPlaylist] = OrderedDict()
        self._discontinuities = DiscontinuityNumbers()
        self._loader = PlaylistLoader(self._context.fetcher)

    def close(self, error: SourceError) -> None:
        """Ask nobody any more. Players that wait are told why."""
        self._close_error = error
        self.reset(error)

    @property
    def current_url(self) -> str:
        """The URL in use, or the one that will be response next."""
        return self._loader.variant_map.entry_location(self._session.request()).url

    @property
    def target_duration(self) -> float:
        """Seconds, the longest of all playlists; 0 if nothing is known."""
        return max((served.target_duration for served in self._served.values()), default=0.0)

    def playlist(
        self, target: TokenTarget | None, directives: DeliveryDirectives, viewer: ViewerIdentity | None = None
    ) -> Deferred[ServedPlaylist]:
        """
        A playlist, up to date.

        :param target: a variant, None for the stream itself.
        :param viewer: for whom the stream begins, if it does.
        :return: a Deferred that may be cancelled. It fails with :class:`m3uproxy.errors.SourceError` when no source
            delivers, and with :class:`m3uproxy.hls.variant_map.NoSuchRendition` when the one in use lacks it.
        """
        return Deferred.fromCoroutine(self._playlist(target, directives, viewer))

    def resource(self, target: TokenTarget, byte_range: ByteRange | None) -> Deferred[FetchedResource]:
        """
        A segment, key or whatever else a playlist named.

        :return: a Deferred that fires with whatever status the provider answered, and fails with
            :class:`m3uproxy.errors.SourceError`; it may be cancelled.
        """
        response = Deferred.fromCoroutine(self._resource(target, byte_range))
        segment = (target, (byte_range and byte_range.first) or 0)
        response.addCallbacks(self._segment_received, self._segment_failed, segment, {}, segment)
        return response

    def check_source(self, request: SourceRequest) -> Deferred[None]:
        """See whether a source has a playlist; fails with :class:`m3uproxy.errors.SourceError` if it has none."""
        return Deferred.fromCoroutine(self._loader.check_source(request))

    # playlists

    async def _playlist(
        self, target: TokenTarget | None, directives: DeliveryDirectives, viewer: ViewerIdentity | None
    ) -> ServedPlaylist:
        """What a source has, or for a while what the last one had: a player that is told an error may give up."""
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
        Bring a playlist up to date, from whatever source.

        :raises SourceError: if none delivers in time: soon, if there is something to answer all the same.
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
        """Bring a playlist up to date from one source; in vain, if another is in use by the time it comes."""
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
        """If so set, have the newest segment come already: everybody will ask for it."""
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
        """What players are given for a URL of a source: a path in the shape that clients know."""
        front = f"{self._context.settings.root_path}/hls/{self._id}"

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
        """It may still break off when players have its beginning. If it ends because nobody wants it, nobody is bad."""
        if error is not None and error.reason not in (*_OWN_REASONS, Reason.ENDED):
            self._count_failed_segment(target, first, error)
        elif error is None and self._is_of_current(target):
            group = _segment_group(target)
            self._failed_segments = {failed for failed in self._failed_segments if _segment_group(failed[0]) != group}

    def _segment_failed(self, failure: Any, target: TokenTarget, first: int) -> Any:
        if failure.check(SourceError) and failure.value.reason not in _OWN_REASONS:
            self._count_failed_segment(target, first, failure.value)
        return failure

    def _count_failed_segment(self, target: TokenTarget, first: int, error: SourceError) -> None:
        """
        One that is missing is an accident. The next one that is missing as well is the source's fault.

        :param first: the byte of a file with which it begins.
        """
        run = self._session.run
        if run is None or self._session.has_no_alternative or not self._is_of_current(target):
            return
        self._failed_segments.add((target, first))
        if len(self._failed_segments) >= MAX_FAILED_SEGMENTS:
            reason = Reason.STALLED if error.reason in _INTERRUPTIONS else error.reason
            self._source_failed(run, attrs.evolve(error, reason=reason, detail=f"segments: {error.detail}"))

    def _is_of_current(self, target: TokenTarget) -> bool:
        run = self._session.run
        return run is not None and target.source == source_name(run.request.url)
