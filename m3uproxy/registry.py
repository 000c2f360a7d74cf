"""All streams, by id."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from .core.ring import share_memory
from .core.slots.slot_table import SlotTable
from .errors import LimitReached, Reason, SourceError
from .hls.as_ts.joined_stream import live_stream_of
from .hls.fetcher import Fetcher
from .interfaces import IDialler, IResolver
from .live.stream import LiveStream
from .log import make_logger
from .settings import Settings
from .stream_factory import StreamFactory
from .streams.base import Stream
from .streams.spec import StreamSpec, stream_id
from .upstream.slots import SlotAllocator
from .vod.stream import VodStream

log = make_logger()

#: Seconds between two rounds of housekeeping.
HOUSEKEEPING = 1.0


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)


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
        self._settings = settings
        self._key = key
        self._streams: dict[str, Stream] = {}
        self._past_bytes = self._past_segments = 0
        self._housekeeping: IDelayedCall | None = None
        self.slots = SlotAllocator(clock, SlotTable(settings.slot_wait, settings.slot_takeover), self._vacate)
        self._factory = StreamFactory(clock, wall, dialler, settings, self.slots, key, resolver, fetcher)
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
        ends = [stream.close(Reason.STOPPING) for stream in self._streams.values()]
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
            stream = self._streams[name] = self._factory.stream(name, spec)
            log.info("stream {stream} registered with {n} sources", stream=name, n=len(spec.sources))
        else:
            self._factory.update(stream, spec)
        stream.touch()
        return stream

    def as_film(self, stream: LiveStream, error: SourceError) -> VodStream | None:
        """What was taken for a live stream is a film (``error`` says) until it is forgotten. None if it is deleted."""
        entry = self._streams.get(stream.id)
        if entry is stream:
            entry = self._streams[stream.id] = self._factory.file_of(stream, error)
            self._past_bytes += stream.bytes_served
            ended = stream.close_with(error)
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
        ended = stream.close(Reason.DELETED)
        ended.addErrback(lambda failure: log.failure("closing a source failed", failure=failure))
        self._past_bytes += stream.bytes_served
        self._past_segments += stream.segments_served
        return True

    # inside

    def _vacate(self, stream_id: str) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.yield_slot()

    def _keep_house(self) -> None:
        self._housekeeping = self._clock.callLater(HOUSEKEEPING, self._keep_house)
        for stream in self.streams():
            stream.run_housekeeping()
        self._forget_unplayed()
        live = [stream for stream in map(live_stream_of, self._streams.values()) if stream is not None]
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
