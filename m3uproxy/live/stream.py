"""A registered live stream: its registration, broadcaster, HLS muxer and clients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import attrs
from twisted.internet.defer import Deferred

from ..core.ingest.parser import Format
from ..core.ring import Ring
from ..core.splice.plan import SpliceKind
from ..core.splice.splicer import SpliceReport
from ..core.stream_kind import StreamKind, content_type
from ..errors import Reason, SourceError
from ..log import make_logger
from ..streams.base import ClientInfo
from ..streams.context import StreamContext
from ..streams.failover_history import FailoverHistory
from ..streams.failover_stream import FailoverStream
from ..streams.player import ConnectedClient, PlayerInfo
from ..streams.spec import StreamSpec
from .broadcaster import Broadcaster
from .pump import LiveResponse, Pump, PumpState
from .session import LiveSession

log = make_logger()


class StreamMuxer(Protocol):
    """The part of a live stream that serves it as HLS (:class:`m3uproxy.hls.muxer.HlsMuxer`)."""

    @property
    def bytes_served(self) -> int:
        """Bytes sent to all clients, removed ones included."""

    @property
    def segments_served(self) -> int:
        """Segments sent to all clients, removed ones included."""

    def clients(self) -> Sequence[ClientInfo]:
        """Return the clients that play HLS, oldest first."""

    def source_joined(self, report: SpliceReport) -> None:
        """Begin a new part of the playlist if the new source does not continue the old one."""

    def abort_client(self, client_id: str) -> int:
        """Abort the answers of a client.

        :return: the number of clients of that name.
        """

    def run_housekeeping(self) -> None:
        """Remove clients that have asked for nothing for too long. Called once a second."""

    def size_before(self, position: int) -> int:
        """Return the bytes that the segments hold of the stream before a position."""

    def set_share(self, share: int) -> None:
        """Limit the memory of the segments, but keep the newest one."""


@attrs.frozen
class StreamMemory:
    """The memory of one live stream: its ring, and the blocks that only its segments still hold."""

    ring: Ring
    muxer: StreamMuxer

    @property
    def size(self) -> int:
        """Bytes that are held. A block of ring and segments counts once."""
        return self.ring.size + self.muxer.size_before(self.ring.start)

    def set_share(self, share: int) -> None:
        """Hold no more than a number of bytes from now on, but a group of pictures and the newest segment."""
        self.ring.set_share(share)
        self.muxer.set_share(share)


@attrs.define(eq=False)
class LiveClient(ConnectedClient):
    """A player of a live stream."""

    pump: Pump | None = None

    @property
    def bytes_served(self) -> int:
        """Bytes of media sent."""
        return self.pump.bytes_sent if self.pump is not None else 0


class LiveStream(FailoverStream):
    """A live stream. All its clients share one session, except while it has none."""

    def __init__(
        self,
        context: StreamContext,
        stream_id: str,
        spec: StreamSpec,
        make_broadcaster: Callable[[LiveStream], Broadcaster],
        make_muxer: Callable[[LiveStream], StreamMuxer],
        *,
        history: FailoverHistory | None = None,
    ) -> None:
        """Make a stream without clients."""
        super().__init__(context, stream_id, spec, history)
        self._evict_laggards = context.settings.lag_policy == "evict"
        self._carry_on_agents = tuple(agent.lower() for agent in context.settings.carry_on_agents)
        self._clients: dict[LiveClient, None] = {}
        self._past_bytes = 0
        self._format: Format | None = None
        self.broadcaster = make_broadcaster(self)
        self.muxer = make_muxer(self)
        self.memory = StreamMemory(self.broadcaster.ring, self.muxer)

    @property
    def kind(self) -> StreamKind:
        """Kind of stream: live, whatever the URL tells."""
        return StreamKind.LIVE

    @property
    def expected_kind(self) -> StreamKind | None:
        """The kind of stream that a source must send; None if players have media, so that the kind stays."""
        return None if self.broadcaster.served else self.kind

    @property
    def is_segmented(self) -> bool:
        """True if all players of the stream play it as HLS."""
        return not self._clients

    @property
    def has_served(self) -> bool:
        """True if connected players have got media."""
        return self.broadcaster.served

    @property
    def session(self) -> LiveSession:
        """The provider side: the source in use and its connection."""
        return self.broadcaster.session

    @property
    def bytes_served(self) -> int:
        """Bytes of media sent to all clients, past ones included."""
        current = sum(client.bytes_served for client in self._clients)
        return self._past_bytes + current + self.muxer.bytes_served

    @property
    def segments_served(self) -> int:
        """HLS segments sent to all clients."""
        return self.muxer.segments_served

    def health(self) -> dict[str, object] | None:
        """Return the content health of the source in use; None if no source streams or content is not checked."""
        monitor = self.broadcaster.session.monitor
        snapshot = monitor.snapshot if monitor is not None else None
        if monitor is None or snapshot is None:
            return None
        return {**attrs.asdict(snapshot), "signs": list(monitor.signs)}

    @property
    def content_type(self) -> str:
        """Content-Type of the responses."""
        self._format = self.broadcaster.format or self._format
        return content_type(self.current_url, self._format)

    def clients(self) -> list[ClientInfo]:
        """Return the clients, oldest first; those that play HLS are last."""
        return [*self._clients, *self.muxer.clients()]

    def update_spec(self, spec: StreamSpec) -> None:
        """
        Apply a repeated registration.

        If the stream has clients, keep its metadata and update the rest. Otherwise update everything and start from the
        primary source.
        """
        has_clients = bool(self.clients())
        self.spec = attrs.evolve(spec, metadata=self.spec.metadata) if has_clients else spec
        self.broadcaster.session.replace_sources(self._context.requests(spec))
        if not has_clients:
            if not self.broadcaster.session.active:
                self.broadcaster.session.choose(0)
            self._reset_counters()

    def attach(self, player: PlayerInfo, response: LiveResponse, start_timeout: float) -> Pump:
        """
        Add a client, and return the pump that serves it.

        :param start_timeout: seconds after which the player is refused if nothing could be sent.
        """
        self.touch()
        client = LiveClient(self._client_id(player), player, self._wall(), self._wall)
        pump = Pump(
            self._clock,
            response,
            self.broadcaster,
            self._evict_laggards,
            lambda: self._client_left(client),
            client.client_id,
            self.id,
        )
        client.pump = pump
        self._clients[client] = None
        response.begin(pump)
        log.info("client {client!r:.80} joined stream {stream}", client=client.client_id, stream=self.id)
        self._context.slots.viewer_joined(self.id, player.viewer)
        self.broadcaster.attach(pump, player.viewer)
        pump.set_start_timeout(start_timeout, lambda: self.broadcaster.session.error)
        return pump

    def abort_client(self, client_id: str) -> int:
        """
        Abort all connections of a client.

        :return: number of connections.
        """
        pumps = [client.pump for client in self._clients if client.client_id == client_id]
        for pump in pumps:
            if pump is not None:
                pump.abort("asked for by the API")
        return len(pumps) + self.muxer.abort_client(client_id)

    def source_joined(self, report: SpliceReport) -> None:
        """
        Record how a source was spliced to the previous one.

        If codecs or format have changed, disconnect the players that have begun, so that they start again: players
        built on libavformat keep their decoders, and no player accepts another format.
        """
        self.history.source_joined(report)
        self.muxer.source_joined(report)
        if report.kind is SpliceKind.FORMAT_CHANGE:
            self._abort_started(SourceError(Reason.FORMAT, ", ".join(report.changed)))
        elif report.kind is SpliceKind.CODEC_CHANGE:
            self._abort_started(SourceError(Reason.CODECS, ", ".join(report.changed)), self._carry_on_agents)

    def _abort_started(self, error: SourceError, spared_agents: tuple[str, ...] = ()) -> None:
        """Disconnect started players, except those with one of these parts in their User-Agent (lower case)."""
        for client in tuple(self._clients):
            agent = client.user_agent.lower()
            started = client.pump is not None and client.pump.state not in (PumpState.WAITING, PumpState.FINISHING)
            if client.pump is not None and started and not any(part in agent for part in spared_agents):
                client.pump.close(error)

    def run_housekeeping(self) -> None:
        """Disconnect stalled players, and remove HLS clients that have asked for nothing for too long."""
        self.broadcaster.abort_stalled()
        self.muxer.run_housekeeping()

    def close_with(self, error: SourceError) -> Deferred[None]:
        """Disconnect all clients and close the source, for good; see :meth:`m3uproxy.streams.base.Stream.close`."""
        self.resolver.close()
        return self.broadcaster.close(error)

    def _reset_counters(self) -> None:
        self.history.reset_counters()

    def yield_slot(self) -> None:
        """Disconnect all clients and close the source: the viewer plays another stream that needs the slot."""
        self.broadcaster.reset(SourceError(Reason.NO_SLOT, "its viewer moved on to another stream"))

    def _client_left(self, client: LiveClient) -> None:
        self._clients.pop(client, None)
        self._context.slots.viewer_left(self.id, client.player.viewer)
        self._past_bytes += client.bytes_served
        self.touch()
        seconds = (self.last_access - client.created_at).total_seconds()
        log.info(
            "client {client!r:.80} left stream {stream} after {seconds:.1f} s and {size} bytes, skipped {skips} times",
            client=client.client_id,
            stream=self.id,
            seconds=seconds,
            size=client.bytes_served,
            skips=client.pump.skips if client.pump is not None else 0,
        )
