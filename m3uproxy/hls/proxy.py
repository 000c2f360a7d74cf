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
from ..core.http.byte_ranges import SingleRange
from ..core.http.source_request import SourceRequest
from ..core.slots.viewer_identity import ViewerIdentity
from ..errors import Reason, SourceError, bad_status
from ..settings import Settings
from ..upstream.slots import SlotAllocator
from .fetched_resource import FetchedResource
from .fetcher import Fetcher
from .playlist_loader import PlaylistLoader
from .served_playlist import CLIENT, ParsedPlaylist, ServedPlaylist
from .session import HlsSession, SourceRun

if TYPE_CHECKING:
    from ..streams.failover_stream import FailoverStream
    from ..streams.stream_resolver import StreamResolver

#: Playlists of a stream that are remembered: variants, sounds, subtitles, of all its sources.
MOST_PLAYLISTS = 128
#: Different segments that may fail one after another until their source counts as failed.
BAD_SEGMENTS = 2
#: What ends a live stream too, which is then dialled again first. Of segments, the next one was that second try.
_BREAKS = (Reason.TRUNCATED, Reason.RESET)
#: Target durations without anything new after which players are told that no source delivers.
GIVEN_UP = 6
#: Endings of paths that are kept; what has another one, or none, is taken for TS.
ENDINGS = ("ts", "m4s", "mp4", "m4v", "m4a", "cmfv", "cmfa", "aac", "ac3", "ec3", "mp3", "vtt", "key", "json")
#: Failures of a segment that are not the source's.
_OURS = (Reason.STOPPING, Reason.FULL, Reason.NO_SLOT)
#: Seconds for which what is no playlist may be kept; keys may change under their URL.
_GOOD_FOR = {ResourceKind.SEGMENT: 60.0, ResourceKind.MAP: 60.0, ResourceKind.PLAYLIST: 1.0}
_GOOD_FOR.update(dict.fromkeys((ResourceKind.KEY, ResourceKind.DATA, ResourceKind.STEERING, ResourceKind.ASSETS), 5.0))


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
    open_advice: Callable[[FailoverStream], StreamResolver]


def ending(url: str) -> str:
    """The ending of the path that a segment gets: players go by it, ffmpeg refuses MP4 or text that is called TS."""
    path = url.partition("?")[0].lower()
    return next((one for one in ENDINGS if path.endswith(f".{one}")), ENDINGS[0])


def _row(target: TokenTarget) -> tuple[ResourceKind, str]:
    """
    What follows each other: of one kind, and side by side, as far as one can see.

    That a key can be had, or the sound, says nothing of the pictures.
    """
    return target.kind, target.url.partition("?")[0].rpartition("/")[0]


class HlsProxy:
    """The sources of one stream, and what players have been shown of them."""

    def __init__(self, context: HlsContext, stream_id: str, runs: HlsSession, answers: Callable[[], None]) -> None:
        """
        Nothing is asked before a player asks.

        :param runs: says which source is asked.
        :param answers: called when the source that was chosen does.
        """
        self._context = context
        self._clock = context.clock
        self._id = stream_id
        self._runs = runs
        self._answers = answers
        self._bad_segments: set[tuple[TokenTarget, int]] = set()
        self._looked_at: ParsedPlaylist | None = None
        self._closed: SourceError | None = None
        #: Whether a source begins, from its first answer on, where its redirects led.
        self.sticky = False
        self.begin_anew(SourceError(Reason.ENDED))

    def begin_anew(self, error: SourceError) -> None:
        """
        Nobody watches: whoever comes finds a stream that has shown nothing yet.

        :param error: what those are told who wait all the same.
        """
        self._runs.stop(error)
        self._shown: OrderedDict[object, ServedPlaylist] = OrderedDict()
        self._discontinuities = DiscontinuityNumbers()
        self._loading = PlaylistLoader(self._context.fetcher)

    def close(self, error: SourceError) -> None:
        """Ask nobody any more. Players that wait are told why."""
        self._closed = error
        self.begin_anew(error)

    @property
    def current_url(self) -> str:
        """The URL in use, or the one that will be asked next."""
        return self._loading.guide.entry(self._runs.request()).url

    @property
    def target_duration(self) -> float:
        """Seconds, the longest of all playlists; 0 if nothing is known."""
        return max((shown.target_duration for shown in self._shown.values()), default=0.0)

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

    def resource(self, target: TokenTarget, byte_range: SingleRange | None) -> Deferred[FetchedResource]:
        """
        A segment, key or whatever else a playlist named.

        :return: a Deferred that fires with whatever status the provider answered, and fails with
            :class:`m3uproxy.errors.SourceError`; it may be cancelled.
        """
        asked = Deferred.fromCoroutine(self._resource(target, byte_range))
        wanted = (target, (byte_range and byte_range.first) or 0)
        asked.addCallbacks(self._segment_came, self._segment_failed, wanted, {}, wanted)
        return asked

    def look(self, request: SourceRequest) -> Deferred[None]:
        """See whether a source has a playlist; fails with :class:`m3uproxy.errors.SourceError` if it has none."""
        return Deferred.fromCoroutine(self._loading.look(request))

    # playlists

    async def _playlist(
        self, target: TokenTarget | None, directives: DeliveryDirectives, viewer: ViewerIdentity | None
    ) -> ServedPlaylist:
        """What a source has, or for a while what the last one had: a player that is told an error may give up."""
        shown = self._slot(target)
        try:
            await self._bring(target, directives, shown, viewer)
        except SourceError:
            if self._closed is not None or not shown.has_answer or shown.silence(self._clock.seconds()) > GIVEN_UP:
                raise
        return shown

    async def _bring(
        self,
        target: TokenTarget | None,
        directives: DeliveryDirectives,
        shown: ServedPlaylist,
        viewer: ViewerIdentity | None,
    ) -> None:
        """
        Bring a playlist up to date, from whatever source.

        :raises SourceError: if none delivers in time: soon, if there is something to answer all the same.
        """
        limit = self._context.settings.start_timeout * 0.95
        deadline = self._clock.seconds() + (min(limit, shown.target_duration) if shown.has_answer else limit)
        if self._closed is not None:
            raise self._closed
        if target is None:
            self._runs.start(viewer)
        else:
            self._runs.resume()
        while self._closed is None:
            run = await self._runs.take(deadline)
            try:
                await self._load(run, target, directives, shown)
            except SourceError as error:
                if self._closed is not None or self._loading.guide.unpin(run.request):
                    continue
                if (target is not None and self._runs.alone) or not self._fails(run, error):
                    raise
            else:
                if run is self._runs.run:
                    return
        raise self._closed

    async def _load(
        self, run: SourceRun, target: TokenTarget | None, directives: DeliveryDirectives, shown: ServedPlaylist
    ) -> None:
        """Bring a playlist up to date from one source; in vain, if another is in use by the time it comes."""
        request = run.request
        fetched, variables = await self._loading.playlist(request, target, directives, shown, self.sticky)
        if run is not self._runs.run:
            return
        now = self._clock.seconds()
        rename = self.rename(source_name(request.url), fetched.public)
        shown.update(fetched, rename, request.url, run.change, now, variables)
        self._look_ahead(request, fetched)
        if self._runs.delivers(run):
            self._bad_segments.clear()
            self._answers()
        if shown.silence(now) > STALL_TARGET_DURATIONS and not self._runs.alone:
            seconds = shown.silence(now) * shown.target_duration
            raise SourceError(Reason.STALLED, f"no new segment for {seconds:.0f} s")

    def _look_ahead(self, request: SourceRequest, fetched: ParsedPlaylist) -> None:
        """If so set, have the newest segment come already: everybody will ask for it."""
        playlist = fetched.playlist
        if not self._context.settings.hls_prefetch or fetched is self._looked_at or playlist.ended:
            return
        self._looked_at = fetched
        if playlist.segments and "{$" not in playlist.segments[-1].uri:
            self._loading.ahead(request, fetched, playlist.segments[-1], _GOOD_FOR[ResourceKind.SEGMENT])

    def _slot(self, target: TokenTarget | None) -> ServedPlaylist:
        key = None if target is None else (target.source, target.url)
        shown = self._shown.setdefault(key, ServedPlaylist(self._discontinuities))
        self._shown.move_to_end(key)
        if len(self._shown) > MOST_PLAYLISTS:
            self._shown.popitem(last=False)
        return shown

    def rename(self, source: bytes, public: bool) -> RewriteUri:
        """What players are given for a URL of a source: a path in the shape that clients know."""
        front = f"{self._context.settings.root_path}/hls/{self._id}"

        def rename(kind: ResourceKind, url: str) -> str:
            token = self._context.tokens.make(self._id, TokenTarget(url, source, kind, public))
            if kind is ResourceKind.PLAYLIST:
                return f"{front}/playlist.m3u8?url={token}&client_id={CLIENT}&parent={self._id}"
            return f"{front}/segment.{ending(url)}?url={token}&client_id={CLIENT}"

        return rename

    def _fails(self, run: SourceRun, error: SourceError) -> bool:
        self._bad_segments.clear()
        return self._runs.fails(run, error)

    # segments

    async def _resource(self, target: TokenTarget, byte_range: SingleRange | None) -> FetchedResource:
        deadline = self._clock.seconds() + self._context.settings.start_timeout * 0.95
        request = await self._runs.admitted(self._runs.source(target.source), deadline)
        return await self._loading.resource(request, target, byte_range, _GOOD_FOR[target.kind])

    def _segment_came(self, resource: FetchedResource, target: TokenTarget, first: int) -> FetchedResource:
        if resource.status >= 400:
            self._segment_is_bad(target, first, bad_status(resource.status))
        else:
            resource.when_over(lambda error: self._segment_over(error, target, first))
        return resource

    def _segment_over(self, error: SourceError | None, target: TokenTarget, first: int) -> None:
        """It may still break off when players have its beginning. If it ends because nobody wants it, nobody is bad."""
        if error is not None and error.reason not in (*_OURS, Reason.ENDED):
            self._segment_is_bad(target, first, error)
        elif error is None and self._is_of_current(target):
            good = _row(target)
            self._bad_segments = {bad for bad in self._bad_segments if _row(bad[0]) != good}

    def _segment_failed(self, failure: Any, target: TokenTarget, first: int) -> Any:
        if failure.check(SourceError) and failure.value.reason not in _OURS:
            self._segment_is_bad(target, first, failure.value)
        return failure

    def _segment_is_bad(self, target: TokenTarget, first: int, error: SourceError) -> None:
        """
        One that is missing is an accident. The next one that is missing as well is the source's fault.

        :param first: the byte of a file with which it begins.
        """
        run = self._runs.run
        if run is None or self._runs.alone or not self._is_of_current(target):
            return
        self._bad_segments.add((target, first))
        if len(self._bad_segments) >= BAD_SEGMENTS:
            reason = Reason.STALLED if error.reason in _BREAKS else error.reason
            self._fails(run, attrs.evolve(error, reason=reason, detail=f"segments: {error.detail}"))

    def _is_of_current(self, target: TokenTarget) -> bool:
        run = self._runs.run
        return run is not None and target.source == source_name(run.request.url)
