"""The playlists and resources of one HLS stream, over all its sources.

If a source fails within a player's request, the request is answered from the next source.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
from twisted.internet.defer import Deferred, TimeoutError

from ..core.body_kind import KindMismatch
from ..core.failover.causes import is_own_fault
from ..core.failover.machine import FailoverPolicy
from ..core.hls.delivery_directives import NO_DIRECTIVES, DeliveryDirectives
from ..core.hls.json_manifests import REWRITERS
from ..core.hls.playlist_continuity import STALL_TARGET_DURATIONS, DiscontinuityNumbers
from ..core.hls.segment_failures import SegmentFailures
from ..core.hls.steps import Steps
from ..core.hls.uri_rewriter import MAX_REWRITTEN, ResourceKind, ResourceRole
from ..core.hls.url_tokens import TokenTarget, UrlTokens, source_name
from ..core.http.byte_ranges import ByteRange
from ..core.http.source_request import SourceRequest
from ..core.slots.viewer_identity import ViewerIdentity
from ..errors import Reason, SourceError, StoredError
from ..streams.context import StreamContext
from .fetched_resource import FetchedResource
from .fetcher import Fetcher
from .player_uris import PlayerUris
from .playlist_loader import PlaylistLoader
from .served_playlist import ParsedPlaylist, ServedPlaylist
from .session import HlsSession, SourceRun
from .variant_map import GONE_STATUSES, NoSuchRendition, RenditionFailed

#: Playlists that are kept for each stream: variants, audio and subtitle renditions, of all its sources.
MAX_PLAYLISTS = 128
#: Bytes of their contents: twice the largest playlist.
MAX_CONTENT_BYTES = 2 * MAX_REWRITTEN
#: Seconds that a request of a failed variant waits for another variant, to see if the source works.
CHECK_SECONDS = 3.0
#: Seconds after its last segment in which a variant counts as working.
EVIDENCE_SECONDS = 30.0
#: After these failures, a live stream redials the same source first. Of an HLS source, the next segment was that
#: second try, so that the failure counts as a stall.
_INTERRUPTIONS = (Reason.TRUNCATED, Reason.RESET)
#: Target durations without a new segment after which players get an error instead of the last playlist.
MAX_SILENCE = 6
#: Maximum ages of cached resources in seconds. Keys may change under their URL.
_MAX_AGE = dict.fromkeys((ResourceKind.SEGMENT, ResourceKind.MAP, ResourceKind.ASSET), 60.0)
_MAX_AGE.update(dict.fromkeys((ResourceKind.KEY, ResourceKind.DATA, *REWRITERS), 5.0))


@attrs.frozen
class HlsContext(StreamContext):
    """The objects that all HLS streams share, and the failover policy of one of them."""

    fetcher: Fetcher
    tokens: UrlTokens
    policy: FailoverPolicy


class HlsProxy:
    """
    The sources of one stream, and its playlists as served to players.

    :ivar uris: makes the URIs for players.
    :ivar sticky: True if a source is requested at the URL that its first redirects led to (sticky session).
    """

    _close_error = StoredError()

    def __init__(
        self,
        context: HlsContext,
        stream_id: str,
        session: HlsSession,
        source_succeeded: Callable[[], None],
        may_change_kind: Callable[[], bool],
    ) -> None:
        """
        Initialise a proxy. It requests nothing before a player does.

        :param session: the session, which chooses the source.
        :param source_succeeded: called when a new source has delivered its first playlist.
        :param may_change_kind: returns whether the stream may become one of another kind. Then a source that sends
            another kind is no failure, and requests fail with :class:`m3uproxy.core.body_kind.KindMismatch`.
        """
        self._context = context
        self._clock = context.clock
        self._id = stream_id
        self._session = session
        self._source_succeeded = source_succeeded
        self._may_change_kind = may_change_kind
        self._failed_segments = SegmentFailures()
        self._prefetched: ParsedPlaylist | None = None
        self.uris = PlayerUris(context.tokens, stream_id)
        self.sticky = False
        self._served: OrderedDict[TokenTarget | None, ServedPlaylist] = OrderedDict()
        self._discontinuities = DiscontinuityNumbers()
        self._loader = PlaylistLoader(context.fetcher)
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
        self._delivered: OrderedDict[TokenTarget, SourceRun] = OrderedDict()
        self._loader = PlaylistLoader(self._context.fetcher, self._loader)

    def close(self, error: SourceError) -> None:
        """Stop for good. Requests that wait, and later ones, fail with ``error``."""
        self._close_error = error
        self.reset(error)

    @property
    def current_url(self) -> str:
        """The URL in use, or the URL that is requested next."""
        return self._loader.variant_map.entry_location(self._session.request()).url

    @property
    def has_served(self) -> bool:
        """True if players have playlists of this stream."""
        return any(served.has_content for served in self._served.values())

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
            delivers, with :class:`m3uproxy.hls.variant_map.NoSuchRendition` when the one in use lacks it, and with
            :class:`m3uproxy.hls.variant_map.RenditionFailed` if the source works without it.
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
            if target is not None and target.kind is ResourceKind.ASSET:
                await self._refresh_asset(target, served)
            else:
                await self._refresh(target, directives, served, viewer)
        except SourceError:
            if not self._may_be_repeated(served):
                raise
        except RenditionFailed as failed:
            if failed.error.status in GONE_STATUSES or not self._may_be_repeated(served):
                raise
        return served

    def _may_be_repeated(self, served: ServedPlaylist) -> bool:
        """Return whether players may get the last playlist again."""
        is_young = served.has_content and served.silence(self._clock.seconds()) <= MAX_SILENCE
        return self._close_error is None and is_young

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
                await self._check_progress(run, target, served)
            except SourceError as error:
                if is_own_fault(error) and run is self._session.run:
                    raise
                await self._playlist_failed(run, target, error)
            else:
                if run is self._session.run:
                    return
        raise self._close_error

    async def _playlist_failed(self, run: SourceRun, target: TokenTarget | None, error: SourceError) -> None:
        """
        Decide whether a failed playlist counts against its source.

        :raises SourceError: if no other source can deliver it.
        :raises RenditionFailed: if the source goes on without it.
        """
        if self._close_error is not None:
            return
        if isinstance(error, KindMismatch) and self._may_change_kind():
            raise error
        if target is not None and target.role is ResourceRole.SIDE:
            raise RenditionFailed(error)
        if self._loader.variant_map.unpin(run.request):
            return
        if await self._another_works(run, target):
            raise RenditionFailed(error)
        if (target is not None and self._session.has_no_alternative) or not self._source_failed(run, error):
            raise error

    async def _another_works(self, run: SourceRun, target: TokenTarget | None) -> bool:
        """Return whether the source delivers another variant that players have asked for, or other separate sound."""
        if target is None:
            return False
        self._delivered.pop(target, None)
        for other, delivered in reversed(list(self._delivered.items())):
            if delivered is run and other.role is target.role and await self._works(run, other):
                return run is self._session.run
        return False

    async def _works(self, run: SourceRun, target: TokenTarget) -> bool:
        """
        Bring another variant up to date, within :data:`CHECK_SECONDS`.

        :return: False if the source is the cause that it did not come.
        """
        served = self._served_playlist(target)
        loaded = Deferred.fromCoroutine(self._load(run, target, NO_DIRECTIVES, served))
        try:
            await loaded.addTimeout(CHECK_SECONDS, self._clock)
        except (SourceError, NoSuchRendition, TimeoutError) as error:
            if isinstance(error, SourceError) and is_own_fault(error):
                return True
            self._delivered.pop(target, None)
            return False
        return not self._is_stalled(served)

    async def _load(
        self, run: SourceRun, target: TokenTarget | None, directives: DeliveryDirectives, served: ServedPlaylist
    ) -> None:
        """Update a playlist from one source. If another source is in use when it comes, drop it."""
        request = run.request
        fetched, variables = await self._loader.playlist(request, target, directives, served, self.sticky)
        if run is not self._session.run:
            return
        now = self._clock.seconds()
        variants = self._loader.variant_map
        find_level = None if fetched.playlist.multivariant else partial(variants.level, request)
        rewrite_uri = self.uris.rewriter(
            source_name(request.url), fetched.public, target, find_level, variants.is_subtitles(target)
        )
        steps = served.update_steps(fetched, rewrite_uri, request.url, run.change, now, variables)
        await self._update(served, fetched, steps, served.update_key(fetched, request.url, run.change))
        if run is not self._session.run:
            return
        self._prefetch_newest(request, fetched)
        if target is None or target.role is not ResourceRole.SIDE:
            self._note_success(run, target)

    async def _update(
        self, served: ServedPlaylist, fetched: ParsedPlaylist, steps: Steps[None], key: tuple[object, ...]
    ) -> None:
        """Carry out an update. If the stream has too much content then, drop that of other playlists."""
        if served.last_update == key:
            return
        await self._context.fetcher.playlists.run(steps, len(fetched.body), (served, key))
        size = sum(each.size for each in self._served.values())
        for each in list(self._served.values()):
            if size > MAX_CONTENT_BYTES and each is not served:
                size -= each.size
                each.rest()

    def _note_success(self, run: SourceRun, target: TokenTarget | None) -> None:
        """Note that a source has delivered a playlist of the main programme."""
        if target is not None:
            self._delivered[target] = run
            self._delivered.move_to_end(target)
            if len(self._delivered) > MAX_PLAYLISTS:
                self._delivered.popitem(last=False)
        if self._session.succeeded(run):
            self._failed_segments.clear()
            self._source_succeeded()

    async def _check_progress(self, run: SourceRun, target: TokenTarget | None, served: ServedPlaylist) -> None:
        """
        Check that a playlist has new segments. A variant that stands still alone is passed on: its players see it.

        :raises SourceError: if the source stands still.
        """
        if self._session.has_no_alternative or not self._is_stalled(served):
            return
        if target is not None and (target.role is ResourceRole.SIDE or await self._another_works(run, target)):
            return
        seconds = served.silence(self._clock.seconds()) * served.target_duration
        raise SourceError(Reason.STALLED, f"no new segment for {seconds:.0f} s")

    def _is_stalled(self, served: ServedPlaylist) -> bool:
        return served.silence(self._clock.seconds()) > STALL_TARGET_DURATIONS

    async def _refresh_asset(self, target: TokenTarget, served: ServedPlaylist) -> None:
        """
        Bring a playlist of an advertisement up to date. It is fetched from its own URL: other sources have others.

        :raises RenditionFailed: if it cannot be fetched.
        """
        if self._close_error is not None:
            raise self._close_error
        request = await self._request_for(target)
        try:
            fetched = await self._loader.asset(request, target, served.max_age)
            rewrite_uri = self.uris.rewriter(target.source, fetched.public, target)
            steps = served.update_steps(fetched, rewrite_uri, request.url, 0, self._clock.seconds())
            await self._update(served, fetched, steps, served.update_key(fetched, request.url, 0))
        except SourceError as error:
            raise RenditionFailed(error) from None

    def _prefetch_newest(self, request: SourceRequest, fetched: ParsedPlaylist) -> None:
        """If HLS_PREFETCH is set, fetch the newest segment, which all players request next."""
        playlist = fetched.playlist
        if not self._context.settings.hls_prefetch or fetched == self._prefetched or playlist.ended:
            return
        self._prefetched = fetched
        if playlist.segments and "{$" not in playlist.segments[-1].uri:
            self._loader.prefetch(request, fetched, playlist.segments[-1], _MAX_AGE[ResourceKind.SEGMENT])

    def _served_playlist(self, target: TokenTarget | None) -> ServedPlaylist:
        is_asset = target is not None and target.kind is ResourceKind.ASSET
        numbers = DiscontinuityNumbers() if is_asset else self._discontinuities
        served = self._served.setdefault(target, ServedPlaylist(numbers))
        self._served.move_to_end(target)
        if len(self._served) > MAX_PLAYLISTS:
            self._served.popitem(last=False)
        return served

    def _source_failed(self, run: SourceRun, error: SourceError) -> bool:
        self._failed_segments.clear()
        return self._session.failed(run, error)

    # segments

    async def _resource(self, target: TokenTarget, byte_range: ByteRange | None) -> FetchedResource:
        request = await self._request_for(target)
        return await self._loader.resource(request, target, byte_range, _MAX_AGE[target.kind])

    async def _request_for(self, target: TokenTarget) -> SourceRequest:
        """Return the request for the source whose playlist named a resource."""
        deadline = self._clock.seconds() + self._context.settings.start_timeout * 0.95
        return await self._session.with_slot(self._session.source_named(target.source), deadline)

    def _segment_received(self, resource: FetchedResource, target: TokenTarget, first: int) -> FetchedResource:
        if resource.status >= 400:
            self._count_failed_segment(target, first, resource.error)
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
            self._failed_segments.succeeded(target, self._clock.seconds())

    def _segment_failed(self, failure: Any, target: TokenTarget, first: int) -> Any:
        if failure.check(SourceError):
            self._count_failed_segment(target, first, failure.value)
        return failure

    def _count_failed_segment(self, target: TokenTarget, first: int, error: SourceError) -> None:
        """
        Count a failed segment, unless it is the fault of this proxy. It may be the second one: the source has failed.

        :param first: the first byte of the range, for segments that are ranges of one file.
        """
        run = self._session.run
        if run is None or self._session.has_no_alternative or not self._is_of_current(target) or is_own_fault(error):
            return
        if self._failed_segments.failed(target, first, self._clock.seconds() - EVIDENCE_SECONDS):
            reason = Reason.STALLED if error.reason in _INTERRUPTIONS else error.reason
            self._source_failed(run, attrs.evolve(error, reason=reason, detail=f"segments: {error.detail}"))

    def _is_of_current(self, target: TokenTarget) -> bool:
        run = self._session.run
        return run is not None and target.source == source_name(run.request.url)
