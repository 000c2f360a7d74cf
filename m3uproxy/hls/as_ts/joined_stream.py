"""HLS streams with a second form: playlists, and one transport stream joined from the segments.

Listings and counters show one stream. The transport stream is a live stream, created when the first player requests it.
Each form chooses its source by itself. Resources needed by both forms are fetched once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred, gatherResults

from ...core.stream_kind import StreamKind, content_type
from ...errors import SourceError
from ...live.stream import LiveStream
from ...streams.base import ClientInfo, Stream
from ...streams.failover_history import FailoverHistory
from ...streams.spec import StreamSpec
from ..proxy import HlsContext
from ..stream import HlsStream

#: Content-Type of joined segments, independent of the URL's ending.
_TS = content_type("/live/")


class JoinedStream(LiveStream):
    """
    The segments of an HLS stream as one transport stream.

    Both have one history of failovers.
    """

    def __init__(self, hls_stream: HlsStream, *parts: Any) -> None:
        """
        Create the stream without players.

        :param parts: arguments of :class:`m3uproxy.live.stream.LiveStream`.
        """
        self._hls_stream = hls_stream
        super().__init__(*parts, history=hls_stream.history)

    @property
    def kind(self) -> StreamKind:
        """Kind of stream: that of the sources."""
        return StreamKind.HLS

    @property
    def expected_kind(self) -> StreamKind | None:
        """The kind of stream that a source must send; None if players have media or playlists."""
        return None if self._hls_stream.has_served else super().expected_kind

    @property
    def content_type(self) -> str:
        """Content-Type for players."""
        sent = self.broadcaster.format
        return _TS if sent is None else sent.value

    def touch(self) -> None:
        """Record a request for this stream and for the HLS stream."""
        super().touch()
        self._hls_stream.touch()

    def _reset_counters(self) -> None:
        """Keep the counters: they belong to the HLS stream, too."""


class HlsStreamWithTs(HlsStream):
    """
    An HLS stream that can also be played as a transport stream.

    :ivar ts_stream: the transport stream, None until the first request for it.
    """

    def __init__(
        self,
        context: HlsContext,
        stream_id: str,
        spec: StreamSpec,
        make_ts_stream: Callable[[HlsStreamWithTs], JoinedStream],
        history: FailoverHistory | None = None,
    ) -> None:
        """
        Create the stream without players.

        :param make_ts_stream: creates the transport stream.
        """
        super().__init__(context, stream_id, spec, history)
        self._make_ts_stream = make_ts_stream
        self.ts_stream: JoinedStream | None = None

    def open_ts_stream(self) -> JoinedStream:
        """Return the transport stream for a player; create it on the first call."""
        if self.ts_stream is None:
            self.ts_stream = self._make_ts_stream(self)
            self._align_source(self.ts_stream)
        return self.ts_stream

    def _align_source(self, ts_stream: JoinedStream) -> None:
        """
        Move the transport stream to the source of the playlists.

        Both forms together count one failover, so the counters are restored.
        """
        counters = self.history.failover_attempts, self.history.last_failover
        ts_stream.broadcaster.session.choose(super().source_index)
        self.history.failover_attempts, self.history.last_failover = counters

    def _align_and_return(self, done: bool, ts_stream: JoinedStream) -> bool:
        self._align_source(ts_stream)
        return done

    @property
    def _active(self) -> JoinedStream | None:
        """The transport stream if it has clients and the playlists have none, else None."""
        return (
            self.ts_stream
            if self.ts_stream is not None and self.ts_stream.clients() and not len(self.hls_clients)
            else None
        )

    @property
    def source_index(self) -> int:
        """Index of the source in use, 0 for the primary."""
        return super().source_index if self._active is None else self._active.source_index

    @property
    def current_url(self) -> str:
        """URL of the source in use, or of the source that is asked next."""
        return super().current_url if self._active is None else self._active.current_url

    @property
    def bytes_served(self) -> int:
        """Bytes sent to all clients, past ones included."""
        return super().bytes_served + (0 if self.ts_stream is None else self.ts_stream.bytes_served)

    def health(self) -> dict[str, object] | None:
        """Return the content health of the transport stream. The content of segments is not checked otherwise."""
        return None if self.ts_stream is None else self.ts_stream.health()

    def sources(self) -> list[dict[str, object]]:
        """Return the history of each source, in order."""
        return super().sources() if self._active is None else self._active.sources()

    def clients(self) -> Sequence[ClientInfo]:
        """Return all clients, those of the playlists first."""
        return [*self.hls_clients.all(), *(() if self.ts_stream is None else self.ts_stream.clients())]

    def update_spec(self, spec: StreamSpec) -> None:
        """Apply a repeated registration. If the transport stream has clients, keep metadata and counters."""
        if self.ts_stream is not None:
            self.ts_stream.update_spec(spec)
        active, history = self._active, self.history
        counters = history.failover_attempts, history.last_failover, history.error_count
        super().update_spec(spec if active is None else attrs.evolve(spec, metadata=self.spec.metadata))
        if active is not None:
            history.failover_attempts, history.last_failover, history.error_count = counters

    def abort_client(self, client_id: str) -> int:
        """
        Close all connections of a client at once.

        :return: number of connections.
        """
        return super().abort_client(client_id) + (
            0 if self.ts_stream is None else self.ts_stream.abort_client(client_id)
        )

    def fail_over(self, index: int | None = None) -> Deferred[bool]:
        """
        Switch to a source, or to the next one if no index is given.

        If only the transport stream is in use, only its source is switched, else both.
        """
        if self._active is not None:
            return self._active.fail_over(index)
        moved = super().fail_over(index)
        ts_stream = self.ts_stream
        if ts_stream is None:
            return moved
        if not ts_stream.clients():
            moved.addCallback(self._align_and_return, ts_stream)
            return moved
        both = gatherResults([moved, ts_stream.fail_over(self.source_index)], consumeErrors=True)
        return both.addCallback(any)

    def yield_slot(self) -> None:
        """Release the provider connection, because the only viewer now plays another stream."""
        super().yield_slot()
        if self.ts_stream is not None:
            self.ts_stream.yield_slot()

    def run_housekeeping(self) -> None:
        """Remove players that have been silent for too long."""
        super().run_housekeeping()
        if self.ts_stream is not None:
            self.ts_stream.run_housekeeping()

    @property
    def has_served(self) -> bool:
        """True if players have playlists or media of this stream."""
        return super().has_served or (self.ts_stream is not None and self.ts_stream.broadcaster.served)

    def close_with(self, error: SourceError) -> Deferred[None]:
        """Disconnect all clients. The Deferred fires when the source of the transport stream is closed."""
        ended = super().close_with(error)
        return ended if self.ts_stream is None else self.ts_stream.close_with(error)


def live_stream_of(stream: Stream | None) -> LiveStream | None:
    """Return the stream itself if it is live, or the transport stream of an HLS stream, else None."""
    if isinstance(stream, HlsStreamWithTs):
        return stream.ts_stream
    return stream if isinstance(stream, LiveStream) else None
