"""The registry: all streams by id, their limits, and periodic housekeeping."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from .core.body_kind import KindMismatch
from .core.ring import share_memory
from .core.slots.slot_table import SlotTable
from .errors import LimitReached, Reason
from .hls.as_ts.joined_stream import live_stream_of
from .hls.fetcher import Fetcher
from .interfaces import IDialler, IResolver
from .log import make_logger
from .settings import Settings
from .stream_factory import StreamFactory
from .streams.base import Stream
from .streams.context import StreamContext
from .streams.spec import StreamSpec, stream_id
from .upstream.slots import SlotAllocator

log = make_logger()

#: Interval of housekeeping in seconds.
HOUSEKEEPING_INTERVAL = 1.0

#: The counted objects of each limit.
_COUNTED = {
    "MAX_STREAMS": "streams",
    "MAX_VIEWERS_PER_STREAM": "players of this stream",
    "MAX_VIEWERS_PER_ADDRESS": "players with this address",
}


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)


class Registry:
    """All registered streams. Removes streams without players, and limits the memory of all live streams."""

    def __init__(
        self,
        clock: IReactorTime,
        dialler: IDialler,
        settings: Settings,
        key: bytes,
        wall: Callable[[], datetime] = _utc_now,
        resolver: IResolver | None = None,
        fetcher: Fetcher | None = None,
        players_counted: Callable[[int], None] = lambda _: None,
    ) -> None:
        """
        Make an empty registry.

        :param key: secret behind the stream ids.
        :param wall: returns the time of day (UTC, aware).
        :param resolver: asks applications for the next source of a stream; None if resolvers are not used.
        :param fetcher: fetches playlists and segments; None without HLS.
        :param players_counted: called once a second with the number of players.
        """
        self._clock = clock
        self._settings = settings
        self._key = key
        self._streams: dict[str, Stream] = {}
        self._past_bytes = self._past_segments = 0
        self._housekeeping: IDelayedCall | None = None
        self._players_counted = players_counted
        self.slots = SlotAllocator(clock, SlotTable(settings.slot_wait, settings.slot_takeover), self._yield_slot)
        context = StreamContext(clock, wall, self.slots, settings, resolver)
        self._factory = StreamFactory(context, dialler, key, fetcher)
        self.started = clock.seconds()

    @property
    def bytes_served(self) -> int:
        """Bytes sent to all players since the start, removed streams included."""
        return self._past_bytes + sum(stream.bytes_served for stream in self._streams.values())

    @property
    def segments_served(self) -> int:
        """HLS segments sent to all players since the start, removed streams included."""
        return self._past_segments + sum(stream.segments_served for stream in self._streams.values())

    def start(self) -> None:
        """Start housekeeping."""
        self._housekeeping = self._clock.callLater(HOUSEKEEPING_INTERVAL, self._run_housekeeping)

    def stop(self) -> Deferred[None]:
        """Disconnect all players and close all sources; the Deferred fires when the last source has closed."""
        if self._housekeeping is not None and self._housekeeping.active():
            self._housekeeping.cancel()
        self._housekeeping = None
        closing = [_close(stream, Reason.STOPPING) for stream in self.streams()]
        return DeferredList(closing, consumeErrors=True).addCallback(lambda _: self.slots.stop())

    def get(self, stream_id: str) -> Stream | None:
        """Return the stream with that id, or None."""
        return self._streams.get(stream_id)

    def streams(self) -> list[Stream]:
        """Return all streams, oldest registration first."""
        return list(self._streams.values())

    def register(self, spec: StreamSpec) -> Stream:
        """Register a stream, or update the stream with the same id.

        If the stream has clients, it keeps its metadata and takes the new backups and flags. If it has none, all
        but ``created_at`` is replaced.

        :raises LimitReached: if the stream is new and ``MAX_STREAMS`` streams are registered.
        """
        name = stream_id(spec, self._key)
        stream = self._streams.get(name)
        if stream is None:
            _check_limit("MAX_STREAMS", len(self._streams), self._settings.max_streams)
            stream = self._streams[name] = self._factory.stream(name, spec)
            log.info("stream {stream} registered, sources: {n}", stream=name, n=len(spec.sources))
        else:
            self._factory.update(stream, spec)
        stream.touch()
        return stream

    def change_kind(self, stream: Stream, error: KindMismatch) -> Stream | None:
        """Replace a stream whose source has sent another kind by a stream of that kind.

        Its other players, which wait for the first byte, get ``error`` and are served by the new stream, too.

        :param error: the error that tells the kind.
        :return: the new stream, also if an earlier call made it; None if the stream was deleted, or if players have
            media of it.
        """
        current = self._streams.get(stream.id)
        if current is not stream:
            return current
        if stream.has_served:
            return None
        current = self._streams[stream.id] = self._factory.replacement(stream, error)
        log.info("stream {stream} is of kind {kind}: {error}", stream=stream.id, kind=current.kind.value, error=error)
        _log_failure(stream.close_with(error), stream.id)
        self._past_bytes += stream.bytes_served
        self._past_segments += stream.segments_served
        return current

    def check_viewer_limits(self, stream: Stream, address: str) -> None:
        """Check the limits of players before a player is attached.

        :param address: address of the player, as listings show it; its players are counted over all streams.
        :raises LimitReached: if a limit is reached.
        """
        settings = self._settings
        _check_limit("MAX_VIEWERS_PER_STREAM", len(stream.clients()), settings.max_viewers_per_stream)
        if settings.max_viewers_per_address:
            clients = (client for each in self._streams.values() for client in each.clients())
            count = sum(client.ip_address == address for client in clients)
            _check_limit("MAX_VIEWERS_PER_ADDRESS", count, settings.max_viewers_per_address)

    def delete(self, stream_id: str) -> bool:
        """Remove a stream and disconnect its players. Return False if the id is unknown."""
        stream = self._streams.pop(stream_id, None)
        if stream is None:
            return False
        _close(stream, Reason.DELETED)
        self._past_bytes += stream.bytes_served
        self._past_segments += stream.segments_served
        return True

    def _yield_slot(self, stream_id: str) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.yield_slot()

    def _run_housekeeping(self) -> None:
        self._housekeeping = self._clock.callLater(HOUSEKEEPING_INTERVAL, self._run_housekeeping)
        players = 0
        for stream in self.streams():
            try:
                players += self._look_after(stream)
            except Exception:
                log.failure("housekeeping of stream {stream} failed", stream=stream.id)
        live = [stream for stream in map(live_stream_of, self._streams.values()) if stream is not None]
        share_memory([stream.memory for stream in live], self._settings.ring_total_bytes)
        self._players_counted(players)

    def _look_after(self, stream: Stream) -> int:
        """Run the housekeeping of one stream. If it is unused, remove it. Return the number of its players."""
        stream.run_housekeeping()
        timeout, players = self._settings.stream_timeout, len(stream.clients())
        if timeout and not players and stream.idle_since <= self._clock.seconds() - timeout:
            log.info("stream {stream} removed, no player for {timeout:g} s", stream=stream.id, timeout=timeout)
            self.delete(stream.id)
            return 0
        live = live_stream_of(stream) if self._settings.bridge_with_nulls else None
        if live is not None:
            live.broadcaster.bridge()
        return players


def _check_limit(name: str, count: int, limit: int) -> None:
    """Raise :class:`LimitReached` if the limit is reached. 0 means no limit.

    :param name: the setting.
    """
    if limit and count >= limit:
        raise LimitReached(f"limit reached: {count} {_COUNTED[name]} ({name})")


def _close(stream: Stream, reason: Reason) -> Deferred[None]:
    """Close a stream. The Deferred fires also if that fails, which is logged."""
    closing: Deferred[None] = maybeDeferred(stream.close, reason)
    _log_failure(closing, stream.id)
    return closing


def _log_failure(closing: Deferred[None], stream_id: str) -> None:
    closing.addErrback(lambda failure: log.failure("closing stream {stream} failed", failure=failure, stream=stream_id))
