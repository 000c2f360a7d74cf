"""All streams, by id."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from functools import partial
from typing import TypeVar

import attrs
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from .core.failover.machine import FailoverPolicy
from .core.hls.url_tokens import UrlTokens
from .core.http.source_request import SourceRequest
from .core.ring import Ring, share_memory
from .core.slots.accounts import ProviderEntry, account_of
from .core.slots.slot_table import SlotTable
from .core.stream_kind import StreamKind, kind_of
from .errors import LimitReached, Reason, SourceError
from .hls.as_ts.hls_dialler import HlsDialler
from .hls.as_ts.joined_stream import HlsStreamWithTs, JoinedStream, live_part
from .hls.fetcher import Fetcher
from .hls.muxer import HlsMuxer
from .hls.proxy import HlsContext
from .interfaces import IDialler, IResolver, IStreamSink
from .live.broadcaster import Broadcaster, JoinTiming
from .live.read_scheduler import ReadScheduler
from .live.session import LiveSession
from .live.stream import LiveStream
from .log import make_logger
from .settings.loader import Settings
from .streams.base import Stream
from .streams.failover_stream import FailoverStream
from .streams.monitor_rules import is_strict, watch_rules
from .streams.spec import StreamSpec, stream_id
from .streams.stream_resolver import StreamResolver
from .upstream.slots import SlotAllocator, StreamSlot
from .vod.edge_cache import EdgeCache
from .vod.interfaces import VodLimits, VodUpstream
from .vod.stream import VodStream

log = make_logger()
Live = TypeVar("Live", bound=LiveStream)

#: Seconds between two rounds of housekeeping.
HOUSEKEEPING = 1.0


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)


def source_request(spec: StreamSpec, url: str, providers: Sequence[ProviderEntry] = ()) -> SourceRequest:
    """What to ask the provider, for one source of a stream."""
    account = account_of(url, providers, spec.provider, spec.max_connections)
    return SourceRequest(url, spec.user_agent, spec.headers, spec.verify_tls, account)


def source_requests(spec: StreamSpec, providers: Sequence[ProviderEntry] = ()) -> tuple[SourceRequest, ...]:
    """The same for each source of the list."""
    return tuple(source_request(spec, url, providers) for url in spec.sources)


def policy(settings: Settings, strict: bool = False) -> FailoverPolicy:
    """The limits of an outage. The start ends a little early, so that the answer itself is within the limit.

    :param strict: whether a source that fell silent is left alone for longer.
    """
    made = FailoverPolicy(
        laps=max(1, settings.stream_retry_attempts),
        rest=settings.stream_retry_delay,
        start=settings.start_timeout * 0.95,
        total=settings.stream_total_timeout,
        connect=settings.default_connection_timeout,
        first_byte=settings.first_byte_timeout,
        growth=1.5 if settings.stream_retry_exponential_backoff else 1.0,
        moves=settings.max_failover_attempts,
        quick=settings.live_chunk_timeout_seconds or settings.first_byte_timeout,
        failback=settings.failback_seconds,
    )
    cool_down = settings.strict_live_ts_circuit_breaker_cooldown
    return attrs.evolve(made, stall_cool_down=cool_down) if strict else made


class Registry:
    """Knows every stream, forgets those that nobody plays, and keeps their buffers within bounds."""

    def __init__(
        self,
        clock: IReactorTime,
        dialler: IDialler,
        settings: Settings,
        key: bytes,
        wall: Callable[[], datetime] = _utc_now,
        resolver: IResolver | None = None,
        fetcher: Fetcher | None = None,
    ) -> None:
        """
        Make an empty registry.

        :param key: secret behind the stream ids.
        :param wall: the time of day (UTC, aware).
        :param resolver: asks applications where a stream is to go; None if they are not to be asked.
        :param fetcher: fetches playlists and segments; None where there is no HLS.
        """
        self._clock = clock
        self._dialler = dialler
        self._live_dialler = HlsDialler(clock, fetcher, dialler, settings) if fetcher else dialler
        self._settings = settings
        self._key = key
        self._wall = wall
        self._resolver = resolver
        self._tick = ReadScheduler(clock, settings.tick)
        self._ends = EdgeCache(settings.vod_cache_bytes)
        self._fetcher = fetcher
        self._tokens = UrlTokens(key)
        self._streams: dict[str, Stream] = {}
        self._past_bytes = self._past_segments = 0
        self._housekeeping: IDelayedCall | None = None
        self.slots = SlotAllocator(clock, SlotTable(settings.slot_wait, settings.slot_takeover), self._vacate)
        self.started = clock.seconds()

    @property
    def bytes_served(self) -> int:
        """To all players since the start, also of streams that are forgotten."""
        return self._past_bytes + sum(stream.bytes_served for stream in self._streams.values())

    @property
    def segments_served(self) -> int:
        """The same in segments of HLS."""
        return self._past_segments + sum(stream.segments_served for stream in self._streams.values())

    def start(self) -> None:
        """Begin housekeeping."""
        self._housekeeping = self._clock.callLater(HOUSEKEEPING, self._keep_house)

    def stop(self) -> Deferred[None]:
        """Disconnect all players, then close all sources; fires when the last source that was open is gone."""
        if self._housekeeping is not None and self._housekeeping.active():
            self._housekeeping.cancel()
        self._housekeeping = None
        ends = [stream.end(Reason.STOPPING) for stream in self._streams.values()]
        return DeferredList(ends, consumeErrors=True).addCallback(lambda _: self.slots.stop())

    def get(self, stream_id: str) -> Stream | None:
        """The stream of that id, if it is registered."""
        return self._streams.get(stream_id)

    def streams(self) -> list[Stream]:
        """All of them, oldest registration first."""
        return list(self._streams.values())

    def register(self, spec: StreamSpec) -> Stream:
        """Enter a stream, or renew one.

        A stream that is being watched keeps its metadata and takes the new failovers and flags; one that is not
        takes everything but keeps ``created_at``.

        :raises LimitReached: if it is a new one and there are ``MAX_STREAMS`` already.
        """
        name = stream_id(spec, self._key)
        stream = self._streams.get(name)
        if stream is None:
            _check_limit("MAX_STREAMS", len(self._streams), self._settings.max_streams)
            stream = self._streams[name] = self._new_stream(name, spec)
            log.info("stream {stream} registered with {n} sources", stream=name, n=len(spec.sources))
        else:
            stream.renew(spec, source_requests(spec, self._settings.providers))
            if (live := live_part(stream)) is not None:
                live.session.sources.outage.rules = policy(self._settings, is_strict(self._settings, spec)).rules
        stream.touch()
        return stream

    def as_film(self, stream: LiveStream, error: SourceError) -> VodStream | None:
        """What was taken for a live stream is a film (``error`` says) until it is forgotten. None if it is deleted."""
        entry = self._streams.get(stream.id)
        if entry is stream:
            entry = self._streams[stream.id] = self._new_title(stream.id, stream.spec, error.media_type)
            entry.succeed(stream)
            self._past_bytes += stream.bytes_served
            ended = stream.turn_out(error)
            ended.addErrback(lambda failure: log.failure("closing a source failed", failure=failure))
        return entry if isinstance(entry, VodStream) else None

    def check_room(self, stream: Stream, address: str) -> None:
        """Ask before a player is attached.

        :param address: the player's, as listings show it. For all streams together, it must not have too many.
        :raises LimitReached: if there is no room for it.
        """
        settings = self._settings
        _check_limit("MAX_VIEWERS_PER_STREAM", len(stream.clients()), settings.max_viewers_per_stream)
        if settings.max_viewers_per_address:
            clients = (client for each in self._streams.values() for client in each.clients())
            count = sum(client.ip_address == address for client in clients)
            _check_limit("MAX_VIEWERS_PER_ADDRESS", count, settings.max_viewers_per_address)

    def delete(self, stream_id: str) -> bool:
        """Forget a stream and disconnect its players. False if there is none of that id."""
        stream = self._streams.pop(stream_id, None)
        if stream is None:
            return False
        ended = stream.end(Reason.DELETED)
        ended.addErrback(lambda failure: log.failure("closing a source failed", failure=failure))
        self._past_bytes += stream.bytes_served
        self._past_segments += stream.segments_served
        return True

    # inside

    def _new_stream(self, name: str, spec: StreamSpec) -> Stream:
        kind = kind_of(spec.url)
        if kind is StreamKind.VOD:
            return self._new_title(name, spec)
        if kind is StreamKind.HLS and self._fetcher is not None:
            return self._new_hls(name, spec, self._fetcher)
        return self._new_live(LiveStream, name, spec)

    def _new_live(self, make: Callable[..., Live], name: str, spec: StreamSpec) -> Live:
        settings = self._settings
        opens = (self._open_broadcaster, self._open_advice, self._open_audience)
        evict, agents = settings.lag_policy == "evict", settings.carry_on_agents
        return make(self._clock, self._wall, name, spec, *opens, self.slots, evict, agents)

    def _open_audience(self, stream: LiveStream) -> HlsMuxer:
        return HlsMuxer(self._clock, self._wall, stream, self.slots, self._settings)

    def _open_advice(self, stream: FailoverStream) -> StreamResolver:
        providers = self._settings.providers
        return StreamResolver(
            self._clock, self._resolver, stream, lambda spec, url: source_request(spec, url, providers)
        )

    def _new_title(self, name: str, spec: StreamSpec, media_type: str | None = None) -> VodStream:
        settings = self._settings
        limits = VodLimits(settings.vod_stall_timeout, settings.vod_pause_limit, settings.start_timeout)
        # Who plays a film asks again, for what is missing.
        requests, rules = source_requests(spec, settings.providers), attrs.evolve(policy(settings), patient=False)
        upstream = VodUpstream(self._dialler, rules, self.slots)
        return VodStream(self._clock, self._wall, name, spec, requests, upstream, limits, self._ends, media_type)

    def _new_hls(self, name: str, spec: StreamSpec, fetcher: Fetcher) -> HlsStreamWithTs:
        settings = self._settings
        upstream = (fetcher, self._tokens, settings, policy(settings), self.slots, self._open_advice)
        context = HlsContext(self._clock, self._wall, *upstream)
        requests = source_requests(spec, settings.providers)
        return HlsStreamWithTs(
            context, name, spec, requests, lambda of: self._new_live(partial(JoinedStream, of), name, of.spec)
        )

    def _open_broadcaster(self, stream: LiveStream) -> Broadcaster:
        settings = self._settings
        timing = JoinTiming(settings.join_seconds, settings.join_wait, settings.linger, settings.viewer_stall_timeout)

        def open_session(sink: IStreamSink) -> LiveSession:
            return LiveSession(
                self._clock,
                self._live_dialler,
                self._tick,
                sink,
                source_requests(stream.spec, settings.providers),
                policy(settings, is_strict(settings, stream.spec)),
                lambda: watch_rules(settings, stream.spec),
                stream,
                StreamSlot(self.slots, stream.id),
                stream.advice,
            )

        ring = Ring(settings.ring_seconds, settings.ring_bytes)
        carry_on = bool(settings.carry_on_agents)
        return Broadcaster(self._clock, ring, timing, open_session, stream.source_joined, carry_on)

    def _vacate(self, stream_id: str) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.give_way()

    def _keep_house(self) -> None:
        self._housekeeping = self._clock.callLater(HOUSEKEEPING, self._keep_house)
        for stream in self.streams():
            stream.keep_house()
        self._forget_unplayed()
        live = [stream for stream in map(live_part, self._streams.values()) if stream is not None]
        for stream in live if self._settings.bridge_with_nulls else ():
            stream.broadcaster.bridge()
        share_memory([stream.broadcaster.ring for stream in live], self._settings.ring_total_bytes)

    def _forget_unplayed(self) -> None:
        timeout = self._settings.stream_timeout
        if not timeout:
            return
        limit = self._clock.seconds() - timeout
        for stream in self.streams():
            if not stream.clients() and stream.idle_since <= limit:
                log.info("stream {stream} forgotten, nobody played it", stream=stream.id)
                self.delete(stream.id)


def _check_limit(name: str, count: int, limit: int) -> None:
    """0 is no limit."""
    if limit and count >= limit:
        raise LimitReached(f"There are {count} already, and no more are allowed ({name}).")
