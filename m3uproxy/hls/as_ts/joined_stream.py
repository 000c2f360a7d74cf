"""An HLS stream that is played in two ways: by its playlists, and as one transport stream.

To listings and counts it is one entry. The transport stream is a live stream like any other, made when the first
player asks for it; each way chooses its source by itself, and what both fetch is fetched once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred, gatherResults

from ...core.failover.resolver import ResolverAnswer
from ...core.http.source_request import SourceRequest
from ...core.stream_kind import content_type
from ...errors import Reason, SourceError
from ...live.stream import LiveStream
from ...streams.base import ClientInfo, Stream
from ...streams.spec import StreamSpec
from ..proxy import HlsContext
from ..stream import HlsStream

#: What joined segments are, whatever the URL ends in.
_TS = content_type("/live/")


class JoinedStream(LiveStream):
    """The segments of an HLS stream as one transport stream. What happens to it is noted at the entry, too."""

    def __init__(self, hls_stream: Stream, *parts: Any) -> None:
        """Make one that nobody watches yet; ``parts`` are those of a :class:`.stream.LiveStream`."""
        super().__init__(*parts)
        self._hls_stream = hls_stream
        self.decisions = hls_stream.decisions

    @property
    def content_type(self) -> str:
        """What players are told."""
        sent = self.broadcaster.format
        return _TS if sent is None else sent.value

    def touch(self) -> None:
        """Somebody asked for this stream."""
        super().touch()
        self._hls_stream.touch()

    def source_moved(self, index: int) -> None:
        """See :class:`m3uproxy.streams.interfaces.Observer`."""
        super().source_moved(index)
        self._hls_stream.failover_attempts += 1
        self._hls_stream.last_failover = self.last_failover

    def source_failed(
        self, error: SourceError, left: int, chosen: int | None, ran: float, referral: ResolverAnswer | None
    ) -> None:
        """See :class:`m3uproxy.streams.interfaces.Observer`."""
        super().source_failed(error, left, chosen, ran, referral)
        self._hls_stream.error_count += 1

    def source_doubted(self, error: SourceError, index: int, ran: float) -> None:
        """See :class:`m3uproxy.streams.interfaces.Observer`."""
        super().source_doubted(error, index, ran)
        self._hls_stream.error_count += 1


class HlsStreamWithTs(HlsStream):
    """An HLS stream with what is joined of it.

    :ivar ts_stream: None until somebody asks for it.
    """

    def __init__(
        self,
        context: HlsContext,
        stream_id: str,
        spec: StreamSpec,
        requests: tuple[SourceRequest, ...],
        make_ts_stream: Callable[[HlsStreamWithTs], JoinedStream],
    ) -> None:
        """
        Make a stream that nobody watches yet.

        :param make_ts_stream: makes the transport stream.
        """
        super().__init__(context, stream_id, spec, requests)
        self._make_ts_stream = make_ts_stream
        self.ts_stream: JoinedStream | None = None

    def open_ts_stream(self) -> JoinedStream:
        """The transport stream, for a player."""
        if self.ts_stream is None:
            self.ts_stream = self._make_ts_stream(self)
            self._align_source(self.ts_stream)
        return self.ts_stream

    def _align_source(self, ts_stream: JoinedStream) -> None:
        """The next player of the transport stream gets the source that was chosen; that is one move, not two."""
        counters = self.failover_attempts, self.last_failover
        ts_stream.broadcaster.session.switch(super().source_index)
        self.failover_attempts, self.last_failover = counters

    def _align_and_return(self, done: bool, ts_stream: JoinedStream) -> bool:
        self._align_source(ts_stream)
        return done

    @property
    def _active(self) -> JoinedStream | None:
        """The transport stream, if it is what there is to show: it is watched, and the playlists are not."""
        return (
            self.ts_stream
            if self.ts_stream is not None and self.ts_stream.clients() and not len(self.hls_clients)
            else None
        )

    @property
    def source_index(self) -> int:
        """0 for the primary."""
        return super().source_index if self._active is None else self._active.source_index

    @property
    def current_url(self) -> str:
        """The URL in use, or the one that will be asked next."""
        return super().current_url if self._active is None else self._active.current_url

    @property
    def bytes_served(self) -> int:
        """To all clients, past ones included."""
        return super().bytes_served + (0 if self.ts_stream is None else self.ts_stream.bytes_served)

    def health(self) -> dict[str, object] | None:
        """Of the transport stream: only that is looked into."""
        return None if self.ts_stream is None else self.ts_stream.health()

    def sources(self) -> list[dict[str, object]]:
        """How each source has behaved, in order."""
        return super().sources() if self._active is None else self._active.sources()

    def clients(self) -> Sequence[ClientInfo]:
        """Who watches, of the playlists first."""
        return [*self.hls_clients.all(), *(() if self.ts_stream is None else self.ts_stream.clients())]

    def update_spec(self, spec: StreamSpec, requests: tuple[SourceRequest, ...]) -> None:
        """The registration was repeated: what is watched keeps metadata and counts."""
        if self.ts_stream is not None:
            self.ts_stream.update_spec(spec, requests)
        active, counters = self._active, (self.failover_attempts, self.last_failover, self.error_count)
        super().update_spec(spec if active is None else attrs.evolve(spec, metadata=self.spec.metadata), requests)
        if active is not None:
            self.failover_attempts, self.last_failover, self.error_count = counters

    def abort_client(self, client_id: str) -> int:
        """
        End the connections that go by that name, now.

        :return: how many there were.
        """
        return super().abort_client(client_id) + (
            0 if self.ts_stream is None else self.ts_stream.abort_client(client_id)
        )

    def fail_over(self, index: int | None = None) -> Deferred[bool]:
        """Move what is watched to a source, or one on; the playlists, if nothing is."""
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
        """Its viewer plays something else by now."""
        super().yield_slot()
        if self.ts_stream is not None:
            self.ts_stream.yield_slot()

    def run_housekeeping(self) -> None:
        """Let go of players that have been silent for too long."""
        super().run_housekeeping()
        if self.ts_stream is not None:
            self.ts_stream.run_housekeeping()

    def close(self, reason: Reason) -> Deferred[None]:
        """Disconnect everybody; fires when the joined source is gone."""
        ended = super().close(reason)
        return ended if self.ts_stream is None else self.ts_stream.close(reason)


def live_stream_of(stream: Stream | None) -> LiveStream | None:
    """The live stream that an entry is, or has beside its playlists."""
    if isinstance(stream, HlsStreamWithTs):
        return stream.ts_stream
    return stream if isinstance(stream, LiveStream) else None
