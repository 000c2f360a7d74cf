"""The construction of streams: a registration and the settings make a live stream, an HLS stream or a file.

The only module that knows all kinds of stream.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import attrs

from .core.body_kind import KindMismatch
from .core.hls.url_tokens import UrlTokens
from .core.ring import Ring
from .core.stream_kind import StreamKind, likely_kind
from .hls.as_ts.content_dialler import ContentDialler
from .hls.as_ts.joined_stream import HlsStreamWithTs, JoinedStream, live_stream_of
from .hls.fetcher import Fetcher
from .hls.muxer import HlsMuxer
from .hls.proxy import HlsContext
from .interfaces import IDialler
from .live.broadcaster import Broadcaster, JoinTiming
from .live.read_scheduler import ReadScheduler
from .live.session import LiveSession
from .live.source_connection import LiveUpstream
from .live.stream import LiveStream
from .streams.base import Stream
from .streams.context import StreamContext, failover_policy
from .streams.failover_history import FailoverHistory
from .streams.spec import StreamSpec
from .upstream.opened_bodies import OpenedBodies
from .vod.edge_cache import EdgeCache
from .vod.interfaces import VodLimits, VodUpstream
from .vod.stream import VodStream

Live = TypeVar("Live", bound=LiveStream)


class StreamFactory:
    """Makes streams of all kinds, and applies a repeated registration to a stream."""

    def __init__(self, context: StreamContext, dialler: IDialler, key: bytes, fetcher: Fetcher | None) -> None:
        """
        Make the objects that streams of one kind share.

        :param key: secret behind the tokens in HLS URLs.
        :param fetcher: fetches playlists and segments; None without HLS: then all streams but files are live.
        """
        self._context = context
        clock, settings = context.clock, context.settings
        self._dialler = dialler
        self._opened = fetcher.opened if fetcher is not None else OpenedBodies(clock)
        live_dialler = ContentDialler(clock, fetcher, dialler, settings) if fetcher is not None else dialler
        self._live_upstream = LiveUpstream(clock, live_dialler, ReadScheduler(clock, settings.tick))
        self._edge_cache = EdgeCache(settings.vod_cache_bytes)
        self._tokens = UrlTokens(key)
        self._fetcher = fetcher

    def stream(self, stream_id: str, spec: StreamSpec) -> Stream:
        """Return a new stream; its kind is a guess from its primary URL."""
        return self._stream_of(likely_kind(spec.url), stream_id, spec)

    def replacement(self, stream: Stream, error: KindMismatch) -> Stream:
        """
        Return the stream that replaces one whose source has sent another kind.

        :param error: the error that tells the kind, and the source.
        """
        made = self._stream_of(error.kind, stream.id, stream.spec, stream.history, error.media_type)
        made.continue_from(stream)
        urls = [request.url for request in self._context.requests(stream.spec)]
        if error.url in urls:
            made.begin_at(urls.index(error.url))
        return made

    def _stream_of(
        self,
        kind: StreamKind,
        stream_id: str,
        spec: StreamSpec,
        history: FailoverHistory | None = None,
        media_type: str | None = None,
    ) -> Stream:
        if kind is StreamKind.VOD:
            return self._vod_stream(stream_id, spec, history, media_type)
        if kind is StreamKind.HLS and self._fetcher is not None:
            return self._hls_stream(stream_id, spec, self._fetcher, history)
        return self._live_stream(partial(LiveStream, history=history), stream_id, spec)

    def update(self, stream: Stream, spec: StreamSpec) -> None:
        """Apply a repeated registration to its stream, with the current settings."""
        stream.update_spec(spec)
        live = live_stream_of(stream)
        if live is not None:
            live.session.sources.budget.rules = self._context.live_policy(spec).rules

    # kinds of stream

    def _vod_stream(
        self, stream_id: str, spec: StreamSpec, history: FailoverHistory | None, media_type: str | None
    ) -> VodStream:
        settings = self._context.settings
        limits = VodLimits(settings.vod_stall_timeout, settings.vod_pause_limit, settings.start_timeout)
        # Players of files send a request again for missing bytes.
        policy = attrs.evolve(failover_policy(settings), unlimited_laps=False)
        upstream = VodUpstream(self._dialler, self._opened, policy, self._edge_cache)
        return VodStream(self._context, stream_id, spec, upstream, limits, history, media_type)

    def _hls_stream(
        self, stream_id: str, spec: StreamSpec, fetcher: Fetcher, history: FailoverHistory | None
    ) -> HlsStreamWithTs:
        shared = attrs.asdict(self._context, recurse=False)
        policy = failover_policy(self._context.settings)
        context = HlsContext(**shared, fetcher=fetcher, tokens=self._tokens, policy=policy)
        return HlsStreamWithTs(context, stream_id, spec, self._joined_stream, history)

    def _joined_stream(self, entry: HlsStreamWithTs) -> JoinedStream:
        return self._live_stream(partial(JoinedStream, entry), entry.id, entry.spec)

    def _live_stream(self, make: Callable[..., Live], stream_id: str, spec: StreamSpec) -> Live:
        return make(self._context, stream_id, spec, self._broadcaster, self._hls_muxer)

    # parts of a live stream

    def _broadcaster(self, stream: LiveStream) -> Broadcaster:
        settings = self._context.settings
        timing = JoinTiming(
            settings.join_seconds,
            settings.join_wait,
            settings.linger,
            settings.viewer_stall_timeout,
            settings.vod_pause_limit,
        )
        ring = Ring(settings.ring_seconds, settings.ring_bytes)
        make_session = partial(LiveSession, self._context, self._live_upstream, stream)
        has_carry_on = bool(settings.carry_on_agents)
        return Broadcaster(self._context.clock, ring, timing, make_session, stream.source_joined, has_carry_on)

    def _hls_muxer(self, stream: LiveStream) -> HlsMuxer:
        return HlsMuxer(self._context, stream)
