"""The construction of streams: a registration and the settings make a live stream, an HLS stream or a file.

The only module that knows all kinds of stream.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import TypeVar

import attrs
from twisted.internet.interfaces import IReactorTime

from .core.failover.machine import FailoverPolicy
from .core.hls.url_tokens import UrlTokens
from .core.http.source_request import SourceRequest
from .core.ring import Ring
from .core.slots.accounts import ProviderEntry, account_of
from .core.stream_kind import StreamKind, kind_of
from .errors import SourceError
from .hls.as_ts.hls_dialler import HlsDialler
from .hls.as_ts.joined_stream import HlsStreamWithTs, JoinedStream, live_stream_of
from .hls.fetcher import Fetcher
from .hls.muxer import HlsMuxer
from .hls.proxy import HlsContext
from .interfaces import IDialler, IResolver, IStreamSink
from .live.broadcaster import Broadcaster, JoinTiming
from .live.read_scheduler import ReadScheduler
from .live.session import LiveSession
from .live.stream import LiveStream
from .settings import Settings
from .streams.base import Stream
from .streams.failover_stream import FailoverStream
from .streams.monitor_rules import is_strict, watch_rules
from .streams.spec import StreamSpec
from .streams.stream_resolver import StreamResolver
from .upstream.slots import SlotAllocator, StreamSlot
from .vod.edge_cache import EdgeCache
from .vod.interfaces import VodLimits, VodUpstream
from .vod.stream import VodStream

Live = TypeVar("Live", bound=LiveStream)


def source_request(spec: StreamSpec, url: str, providers: Sequence[ProviderEntry] = ()) -> SourceRequest:
    """Return the request for one source of a stream, with the provider account that it counts for."""
    account = account_of(url, providers, spec.provider, spec.max_connections)
    return SourceRequest(url, spec.user_agent, spec.headers, spec.verify_tls, account)


def source_requests(spec: StreamSpec, providers: Sequence[ProviderEntry] = ()) -> tuple[SourceRequest, ...]:
    """Return the requests for all sources of a registration, in its order."""
    return tuple(source_request(spec, url, providers) for url in spec.sources)


def failover_policy(settings: Settings, strict: bool = False) -> FailoverPolicy:
    """
    Return the limits of an outage.

    The limit of the start is 95 % of ``START_TIMEOUT``, so that the answer with the error is within it.

    :param strict: the stream is strict: a source that stalled is avoided for longer.
    """
    made = FailoverPolicy(
        laps=max(1, settings.stream_retry_attempts),
        backoff=settings.stream_retry_delay,
        start=settings.start_timeout * 0.95,
        total=settings.stream_total_timeout,
        connect=settings.default_connection_timeout,
        first_byte=settings.first_byte_timeout,
        backoff_growth=1.5 if settings.stream_retry_exponential_backoff else 1.0,
        max_changes=settings.max_failover_attempts,
        quick=settings.live_chunk_timeout_seconds or settings.first_byte_timeout,
        failback=settings.failback_seconds,
    )
    cool_down = settings.strict_live_ts_circuit_breaker_cooldown
    return attrs.evolve(made, stall_cool_down=cool_down) if strict else made


class StreamFactory:
    """Makes streams of all kinds, and applies a repeated registration to a stream."""

    def __init__(
        self,
        clock: IReactorTime,
        wall: Callable[[], datetime],
        dialler: IDialler,
        settings: Settings,
        slots: SlotAllocator,
        key: bytes,
        resolver: IResolver | None,
        fetcher: Fetcher | None,
    ) -> None:
        """
        Make the objects that all streams share.

        :param wall: returns the time of day (UTC, aware).
        :param key: secret behind the tokens in HLS URLs.
        :param resolver: asks applications for the next source of a stream; None if resolvers are not used.
        :param fetcher: fetches playlists and segments; None without HLS: then all streams but files are live.
        """
        self._clock = clock
        self._wall = wall
        self._dialler = dialler
        self._live_dialler = HlsDialler(clock, fetcher, dialler, settings) if fetcher else dialler
        self._settings = settings
        self._slots = slots
        self._tokens = UrlTokens(key)
        self._resolver = resolver
        self._fetcher = fetcher
        self._scheduler = ReadScheduler(clock, settings.tick)
        self._edge_cache = EdgeCache(settings.vod_cache_bytes)

    def stream(self, stream_id: str, spec: StreamSpec) -> Stream:
        """Return a new stream; its kind follows from its primary URL."""
        kind = kind_of(spec.url)
        if kind is StreamKind.VOD:
            return self._vod_stream(stream_id, spec)
        if kind is StreamKind.HLS and self._fetcher is not None:
            return self._hls_stream(stream_id, spec, self._fetcher)
        return self._live_stream(LiveStream, stream_id, spec)

    def file_of(self, stream: LiveStream, error: SourceError) -> VodStream:
        """
        Return the VOD stream that replaces a live stream whose source is a file.

        :param error: the failure that reported the file, with its media type.
        """
        made = self._vod_stream(stream.id, stream.spec, error.media_type)
        made.continue_history_of(stream)
        return made

    def update(self, stream: Stream, spec: StreamSpec) -> None:
        """Apply a repeated registration to its stream, with the current settings."""
        stream.update_spec(spec, self._requests(spec))
        live = live_stream_of(stream)
        if live is not None:
            live.session.sources.budget.rules = self._live_policy(spec).rules

    # kinds of stream

    def _vod_stream(self, stream_id: str, spec: StreamSpec, media_type: str | None = None) -> VodStream:
        settings = self._settings
        limits = VodLimits(settings.vod_stall_timeout, settings.vod_pause_limit, settings.start_timeout)
        # Players of files send a request again for missing bytes.
        policy = attrs.evolve(failover_policy(settings), unlimited_laps=False)
        upstream = VodUpstream(self._dialler, policy, self._slots)
        return VodStream(
            self._clock,
            self._wall,
            stream_id,
            spec,
            self._requests(spec),
            upstream,
            limits,
            self._edge_cache,
            media_type,
        )

    def _hls_stream(self, stream_id: str, spec: StreamSpec, fetcher: Fetcher) -> HlsStreamWithTs:
        context = HlsContext(
            self._clock,
            self._wall,
            fetcher,
            self._tokens,
            self._settings,
            failover_policy(self._settings),
            self._slots,
            self._stream_resolver,
        )
        return HlsStreamWithTs(context, stream_id, spec, self._requests(spec), self._joined_stream)

    def _joined_stream(self, entry: HlsStreamWithTs) -> JoinedStream:
        return self._live_stream(partial(JoinedStream, entry), entry.id, entry.spec)

    def _live_stream(self, make: Callable[..., Live], stream_id: str, spec: StreamSpec) -> Live:
        settings = self._settings
        return make(
            self._clock,
            self._wall,
            stream_id,
            spec,
            self._broadcaster,
            self._stream_resolver,
            self._hls_muxer,
            self._slots,
            settings.lag_policy == "evict",
            settings.carry_on_agents,
        )

    # parts of a stream

    def _broadcaster(self, stream: LiveStream) -> Broadcaster:
        settings = self._settings
        timing = JoinTiming(settings.join_seconds, settings.join_wait, settings.linger, settings.viewer_stall_timeout)
        ring = Ring(settings.ring_seconds, settings.ring_bytes)
        open_session = partial(self._live_session, stream)
        return Broadcaster(
            self._clock, ring, timing, open_session, stream.source_joined, bool(settings.carry_on_agents)
        )

    def _live_session(self, stream: LiveStream, sink: IStreamSink) -> LiveSession:
        return LiveSession(
            self._clock,
            self._live_dialler,
            self._scheduler,
            sink,
            self._requests(stream.spec),
            self._live_policy(stream.spec),
            lambda: watch_rules(self._settings, stream.spec),
            stream.history,
            StreamSlot(self._slots, stream.id),
            stream.resolver,
        )

    def _hls_muxer(self, stream: LiveStream) -> HlsMuxer:
        return HlsMuxer(self._clock, self._wall, stream, self._slots, self._settings)

    def _stream_resolver(self, stream: FailoverStream) -> StreamResolver:
        providers = self._settings.providers
        return StreamResolver(
            self._clock, self._resolver, stream, lambda spec, url: source_request(spec, url, providers)
        )

    def _requests(self, spec: StreamSpec) -> tuple[SourceRequest, ...]:
        return source_requests(spec, self._settings.providers)

    def _live_policy(self, spec: StreamSpec) -> FailoverPolicy:
        return failover_policy(self._settings, is_strict(self._settings, spec))
