"""A registered file: the state that its clients share."""

from __future__ import annotations

from collections.abc import Callable
from random import random

import attrs
from twisted.internet.defer import Deferred, DeferredList, succeed

from ..core.failover.machine import FailoverMachine
from ..core.failover.sources import Sources
from ..core.failover.timeline import SourceLabel
from ..core.http.byte_ranges import ByteRange
from ..core.http.representation import Representation
from ..core.ingest.parser import Format
from ..core.stream_kind import StreamKind, content_type, kind_of
from ..errors import Reason, SourceError
from ..log import make_logger
from ..streams.base import Stream
from ..streams.context import StreamContext
from ..streams.failover_history import FailoverHistory
from ..streams.player import PlayerInfo
from ..streams.spec import StreamSpec
from ..upstream.slots import StreamSlot
from .client import VodClient
from .head_request import HeadRequest
from .interfaces import KnownFile, VodLimits, VodUpstream
from .response import PlayerConnection, VodResponse, VodResponseWriter
from .session import VodSession

log = make_logger()

#: Seconds for which a confirmed file is trusted without asking a provider again.
KNOWN_LIFETIME = 300.0
#: Seconds within which one of several devices that look the same reconnects when it seeks.
RECONNECT_WINDOW = 10.0


class VodStream(Stream):
    """
    A file with its clients. Each client has its own session; the clients share the edge cache.

    :ivar is_proven: whether a source has sent a file. Before, only the URL tells that the stream is one.
    """

    def __init__(
        self,
        context: StreamContext,
        stream_id: str,
        spec: StreamSpec,
        upstream: VodUpstream,
        limits: VodLimits,
        history: FailoverHistory | None = None,
        media_type: str | None = None,
    ) -> None:
        """
        Initialise a stream without clients.

        :param history: shared with another stream; by default a new one.
        :param media_type: the Content-Type, if it is known already. The answer of a source has shown then that the
            stream is a file.
        """
        super().__init__(context, stream_id, spec, history)
        self._upstream = upstream
        self._limits = limits
        self._edge_cache = upstream.edge_cache
        self._clients: dict[VodClient, None] = {}
        self._reconnecting: dict[PlayerInfo, float] = {}
        self._known_file: KnownFile | None = None
        self._source_index = 0
        self._past_bytes = 0
        self._head_request = HeadRequest(self.open_session, self._file_known)
        self._media_type = media_type
        self.is_proven = history is not None
        self.requests = context.requests(spec)

    @property
    def kind(self) -> StreamKind:
        """Kind of stream: by the URL until a source has sent a file."""
        return StreamKind.VOD if self.is_proven else kind_of(self.spec.url)

    @property
    def may_be_segmented(self) -> bool:
        """True unless the source has sent a file that is no transport stream."""
        return not self.is_proven or self.content_type == Format.TS.value

    @property
    def has_served(self) -> bool:
        """True if a connected player has got bytes of the file."""
        return any(client.bytes_served for client in self._clients)

    @property
    def content_type(self) -> str:
        """Content-Type of the responses."""
        return self._media_type or content_type(self.current_url)

    @property
    def source_index(self) -> int:
        """Index of the source for new sessions; 0 for the primary source."""
        return self._source_index

    @property
    def bytes_served(self) -> int:
        """Bytes of media sent to all clients, past ones included."""
        return self._past_bytes + sum(client.bytes_served for client in self._clients)

    @property
    def known_file(self) -> KnownFile | None:
        """The file, if a source has confirmed it within :data:`KNOWN_LIFETIME`."""
        known = self._known_file
        return known if known is not None and self._clock.seconds() - known.confirmed_at < KNOWN_LIFETIME else None

    def clients(self) -> list[VodClient]:
        """Return the connected clients, oldest first."""
        return list(self._clients)

    def is_new(self, player: PlayerInfo, connection: PlayerConnection) -> bool:
        """Return whether a request would add a client."""
        return self._find_client(player, connection) is None

    def attach(
        self, player: PlayerInfo, writer: VodResponseWriter, ranges: tuple[ByteRange, ...], if_range: str | None
    ) -> None:
        """Start a response to a player.

        :param ranges: the ranges that the player requests; empty for the whole file.
        """
        self.touch()
        client = self._find_client(player, writer.connection) or self._add_client(player)
        response = VodResponse(self._clock, writer, client, ranges, if_range)
        client.add(response)
        response.start(self._limits.start)

    def describe(self) -> Deferred[Representation]:
        """Return the file, as known already or as a provider answers."""
        self.touch()
        in_sessions = (client.session.representation for client in self._clients)
        known = self.known_file.representation if self.known_file is not None else next(filter(None, in_sessions), None)
        if known is not None:
            return succeed(known)
        waiting = self._head_request.wait()
        self.send_head_if_idle()
        return waiting

    def update_spec(self, spec: StreamSpec) -> None:
        """Update a stream that was registered again. Open bodies are used further; the next dial uses the new sources.

        If the stream has clients, it keeps its metadata.
        """
        self.spec = attrs.evolve(spec, metadata=self.spec.metadata) if self._clients else spec
        requests = self._context.requests(spec)
        changed = [each.url for each in requests] != [each.url for each in self.requests]
        self.requests = requests
        for client in list(self._clients):
            client.session.replace_sources(requests)
        if changed:
            self._source_index = min(self._source_index, len(requests) - 1) if self._clients else 0
        if not self._clients:
            self._source_index = 0
            self.history.reset_counters()

    def abort_client(self, client_id: str) -> int:
        """Disconnect the clients with an id and return their number."""
        found = [client for client in self._clients if client.client_id == client_id]
        for client in found:
            client.close(SourceError(Reason.DELETED, "asked for by the API"))
        return len(found)

    def fail_over(self, index: int | None = None) -> Deferred[bool]:
        """Switch all clients to another source, which must have the same file.

        :param index: the source; None for the next one.
        """
        left = self._source_label(self._source_index)
        self._source_changed((self._source_index + 1) % len(self.requests) if index is None else index)
        chosen = self._source_label(self._source_index)
        self.history.source_chosen(left, chosen, "asked for by the API", bool(self._clients))
        if not self._clients:
            self._discard_known_file()
        for client in list(self._clients):
            client.session.switch_to(self._source_index)
        return succeed(True)

    def run_housekeeping(self) -> None:
        """Abort responses that have been paused for longer than ``VOD_PAUSE_LIMIT``."""
        limit = self._limits.pause
        error = SourceError(Reason.STALLED, f"the player has read nothing for {limit:g} s (VOD_PAUSE_LIMIT)")
        for client in list(self._clients):
            client.abort_paused(limit, error)

    def health(self) -> dict[str, object] | None:
        """Return None: the content of files is not sampled."""
        return None

    def sources(self) -> list[dict[str, object]]:
        """Return the state of each source, as the newest client's session has it."""
        client = next(reversed(self._clients), None)
        sources = client.session.failover.sources if client is not None else self._fresh_sources()
        return sources.report(self._clock.seconds())

    def yield_slot(self) -> None:
        """Disconnect all clients: the viewer plays another stream, which needs the slot."""
        error = SourceError(Reason.NO_SLOT, "its viewer moved on to another stream")
        for client in list(self._clients):
            client.close(error)

    def begin_at(self, index: int) -> None:
        """Begin with a source that has answered already."""
        self._source_index = index

    def close_with(self, error: SourceError) -> Deferred[None]:
        """Disconnect all clients; the Deferred fires when the providers' sockets have closed."""
        closing = [self._head_request.close_session()]
        self._head_request.sources_failed(error)
        closing += [client.close(error) for client in list(self._clients)]
        self._discard_known_file()
        return DeferredList(closing, consumeErrors=True).addCallback(lambda _: None)

    # ClientOwner

    def open_session(self, linger_over: Callable[[], None], player: PlayerInfo | None = None) -> VodSession:
        """Return a session without a connection, for the source in use."""
        upstream = self._upstream
        failover = FailoverMachine(upstream.policy, self._fresh_sources())
        if self._source_index:
            failover.switched(self._clock.seconds(), self._source_index)
        slot = StreamSlot(self._context.slots, self.id)
        slot.viewer = player.viewer if player is not None else None
        return VodSession(self._clock, upstream, self, failover, slot, self._limits.silence, linger_over)

    def session_needed(self) -> None:
        """Close the connection of a HEAD request: the client's session will bring the same result."""
        self._head_request.close_session()

    def split_off(self, player: PlayerInfo, response: VodResponse) -> VodClient:
        """Return a new client with this response, which belongs to a second device."""
        client = self._add_client(player)
        client.add(response)
        return client

    def client_left(self, client: VodClient) -> None:
        """Remove a client that has neither responses nor connections nor an open session."""
        if self._clients.pop(client, client) is client:
            return
        self._context.slots.viewer_left(self.id, client.player.viewer)
        self._past_bytes += client.bytes_served
        self._reconnecting.pop(client.player, None)
        if any(other.player == client.player for other in self._clients):
            self._reconnecting[client.player] = self._clock.seconds()
        self.touch()
        seconds = (self.last_access - client.created_at).total_seconds()
        log.info(
            "client {client!r:.80} left stream {stream} after {seconds:.1f} s and {size} bytes",
            client=client.client_id,
            stream=self.id,
            seconds=seconds,
            size=client.bytes_served,
        )

    def send_head_if_idle(self) -> None:
        """Send the HEAD requests that wait, if no client has a session open: that session would bring the result."""
        if not any(client.session.is_open for client in self._clients):
            self._head_request.send()

    def cached(self, representation: Representation, offset: int) -> memoryview | None:
        """Return cached bytes of a file from an offset on; None if they are not cached, or of another file."""
        known = self._known_file
        is_same = known is not None and known.representation == representation
        return self._edge_cache.read(self.id, offset) if is_same else None

    # VodFile

    def bytes_read(self, representation: Representation | None, offset: int, data: memoryview) -> None:
        """Cache bytes of the file that a session has read."""
        known = self._known_file
        if known is not None and known.representation == representation:
            self._edge_cache.store(self.id, known.representation.length, offset, data)

    def media_known(self, media_type: str) -> None:
        """Note the media type of the file, by its first bytes: the source has sent a file."""
        self._media_type, self.is_proven = media_type, True

    def source_confirmed(self, representation: Representation, url: str, index: int) -> None:
        """Note that the source with this index delivers the file; new sessions use that source."""
        self.is_proven = True
        self._file_known(representation, url)
        if index != self._source_index:
            self._source_changed(index)

    def source_failed(self, error: SourceError, left: int, chosen: int | None, ran: float) -> None:
        """Note a failure of a session's source."""
        target = self._source_label(chosen) if chosen is not None else None
        self.history.source_replaced(self._source_label(left), target, error, ran)

    # inside

    def _fresh_sources(self) -> Sources:
        return Sources([request.url for request in self.requests], self._upstream.policy.rules, random)

    def _source_label(self, index: int) -> SourceLabel:
        """Return the label of a source. A session may still have an index of removed sources; use the primary then."""
        index = index if index < len(self.requests) else 0
        return SourceLabel(index, self.requests[index].url)

    def _source_changed(self, index: int) -> None:
        self._source_index = index
        self.history.source_moved(self._source_label(index))

    def _file_known(self, representation: Representation, url: str) -> None:
        """Remember the file. If it is another one than before, remove the cached bytes."""
        if self._known_file is not None and representation != self._known_file.representation:
            self._edge_cache.remove(self.id)
        self._known_file = KnownFile(representation, url, self._clock.seconds())
        self._head_request.succeed(representation)

    def _discard_known_file(self) -> None:
        self._known_file = None
        self._edge_cache.remove(self.id)

    def _add_client(self, player: PlayerInfo) -> VodClient:
        self._context.slots.viewer_joined(self.id, player.viewer)
        self._reconnecting.pop(player, None)
        client = VodClient(self._clock, self, self._client_id(player), player, self._wall)
        self._clients[client] = None
        log.info("client {client!r:.80} joined stream {stream}", client=client.client_id, stream=self.id)
        return client

    def _find_client(self, player: PlayerInfo, connection: PlayerConnection) -> VodClient | None:
        """Return the client of a request: with the same connection, otherwise with the same player.

        Of several clients with the same player the preferred one is idle, then paused. None if the request is of a
        new client, also if one of several devices that look the same is reconnecting.
        """
        alike = [client for client in reversed(self._clients) if client.player == player]
        found = next((client for client in alike if client.uses(connection)), None)
        found = found or next((client for client in alike if client.is_idle), None)
        if found is None and self._clock.seconds() - self._reconnecting.get(player, float("-inf")) < RECONNECT_WINDOW:
            return None
        return found or next((client for client in alike if not client.is_reading), None) or next(iter(alike), None)
