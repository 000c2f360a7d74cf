"""A player of a file: its responses, its connections to the proxy, and its session with the provider.

A player of files sends several requests: for the beginning, for the index at the end, for the middle; over one
connection or over several. All of them share the client's session. The newest request gets it, because the player
needs it now. An older request gets the session back when the newer one has ended, or when its player is paused.

Two devices in one home may look the same: same address, same user agent. They are distinguished by their behaviour. A
player that sends a new request abandons the old one: it closes the connection, or stops reading. If a response has
waited for the session for :data:`HANDOVER_TIMEOUT` while another one is being read, there are two devices. From then
on they are two clients, with a session each.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ..core.http.representation import Representation
from ..errors import SourceError
from ..log import make_logger
from ..streams.player import ConnectedClient, PlayerInfo
from .interfaces import KnownFile
from .response import PlayerConnection, VodResponse
from .session import VodSession

log = make_logger()

#: Seconds for which a response waits for the session while another response uses it.
HANDOVER_TIMEOUT = 2.0


class ClientOwner(Protocol):
    """The stream that a client plays."""

    @property
    def id(self) -> str:
        """Id of the stream, for log lines."""

    @property
    def known_file(self) -> KnownFile | None:
        """The file, if a source has confirmed it recently."""

    def cached(self, representation: Representation, offset: int) -> memoryview | None:
        """Return cached bytes of a file from an offset on, or None."""

    def open_session(self, linger_over: Callable[[], None], player: PlayerInfo | None = None) -> VodSession:
        """Return a session without a connection, for the source in use."""

    def session_needed(self) -> None:
        """Close the connection of a HEAD request: the client's session will bring the same result."""

    def send_head_if_idle(self) -> None:
        """Send the HEAD requests that wait, if no client has a session open."""

    def split_off(self, player: PlayerInfo, response: VodResponse) -> VodClient:
        """Return a new client with this response, which belongs to a second device."""

    def client_left(self, client: VodClient) -> None:
        """Remove a client that has neither responses nor connections nor an open session."""


class VodClient(ConnectedClient):
    """A player of a file, listed from its first request until its last connection has closed."""

    def __init__(
        self, clock: IReactorTime, stream: ClientOwner, client_id: str, player: PlayerInfo, wall: Callable[[], datetime]
    ) -> None:
        super().__init__(client_id, player, wall(), wall)
        self._clock = clock
        self._responses: list[VodResponse] = []
        self._connections: dict[PlayerConnection, None] = {}
        self._served: VodResponse | None = None
        self._waiting: dict[VodResponse, None] = {}
        self._served_before: set[VodResponse] = set()
        self._handover_timer: IDelayedCall | None = None
        self._past_bytes = 0
        self._closed = False
        self.stream = stream
        self.session: VodSession = stream.open_session(self._remove_if_unused, player)

    @property
    def label(self) -> str:
        """Client and stream, for log lines."""
        return f"client {self.client_id!r:.80} of stream {self.stream.id}"

    @property
    def bytes_served(self) -> int:
        """Bytes of media sent, over all responses."""
        return self._past_bytes + sum(response.bytes_sent for response in self._responses)

    @property
    def is_reading(self) -> bool:
        """True if the player reads at least one response."""
        return any(response.paused_since is None for response in self._responses)

    @property
    def is_idle(self) -> bool:
        """True if no response is under way."""
        return not self._responses

    @property
    def known_file(self) -> KnownFile | None:
        """The file, if a source has confirmed it recently."""
        return self.stream.known_file

    @property
    def last_error(self) -> SourceError | None:
        """The failure of the source that failed last."""
        return self.session.failover.error

    def cached(self, representation: Representation, offset: int) -> memoryview | None:
        """Return cached bytes of a file from an offset on, or None."""
        return self.stream.cached(representation, offset)

    def uses(self, connection: PlayerConnection) -> bool:
        """Return whether a connection is assigned to this client."""
        return connection in self._connections

    def add(self, response: VodResponse) -> None:
        """Add a response. Its connection is assigned to this client until a request over it is for something else."""
        response.client = self
        self._responses.append(response)
        connection = response.connection
        if connection not in self._connections:
            self._connections[connection] = None
            connection.set_owner(lambda: self._connection_lost(connection))

    def serve(self, response: VodResponse) -> None:
        """Give the session to a response: at its first request at once, later only when no other response has it."""
        if response is not self._served and self._served is not None and response in self._served_before:
            self._wait(response)
            return
        other, self._served = self._served, response
        self._served_before.add(response)
        self._waiting.pop(response, None)
        if other is not None and other is not response and other.can_accept:
            self._wait(other)
        self.stream.session_needed()
        self.session.serve(response)

    def response_ended(self, response: VodResponse, complete: bool) -> None:
        """Remove a response and serve the next one.

        :param complete: the whole range was sent, so that the player may request the next one.
        """
        if response not in self._responses:
            return
        self._responses.remove(response)
        self._served_before.discard(response)
        self._waiting.pop(response, None)
        self._past_bytes += response.bytes_sent
        if response is self._served:
            self._served = None
            self.session.release(response, linger=complete and not self._closed)
            self._serve_next()
        self.stream.send_head_if_idle()
        self._remove_if_unused()

    def close(self, error: SourceError) -> Deferred[None]:
        """Disconnect the player; the Deferred fires when the provider's socket has closed."""
        self._closed = True
        for response in list(self._responses):
            response.abort(error)
        self._release_connections()
        closed = self.session.close()
        self._remove_if_unused()
        return closed

    def abort_paused(self, limit: float, error: SourceError) -> None:
        """Abort the responses whose player has been paused for ``limit`` seconds."""
        since = self._clock.seconds() - limit
        for response in list(self._responses):
            if response.paused_since is not None and response.paused_since <= since:
                response.abort(error)

    # inside

    def _wait(self, response: VodResponse) -> None:
        self._waiting[response] = None
        if self._handover_timer is None:
            self._handover_timer = self._clock.callLater(HANDOVER_TIMEOUT, self._handover_timed_out)

    def _serve_next(self) -> None:
        """Serve a waiting response, the newest first."""
        while self._waiting and self._served is None:
            response, _ = self._waiting.popitem()
            if response.can_accept:
                self.serve(response)

    def _handover_timed_out(self) -> None:
        """For each waiting response: serve it if the other player is paused, otherwise split it off."""
        self._handover_timer = None
        for response in list(self._waiting):
            served = self._served
            if not response.can_accept:
                self._waiting.pop(response, None)
            elif served is None or self._is_paused(served):
                self._waiting.pop(response, None)
                self._served = None
                self.serve(response)
            else:
                self._split_off(response)

    def _is_paused(self, response: VodResponse) -> bool:
        since = response.paused_since
        return since is not None and self._clock.seconds() - since >= HANDOVER_TIMEOUT / 2

    def _split_off(self, response: VodResponse) -> None:
        """Move a response of a second device to a new client."""
        self._waiting.pop(response, None)
        self._served_before.discard(response)
        self._responses.remove(response)
        self._connections.pop(response.connection, None)
        response.connection.set_owner(None)
        other = self.stream.split_off(self.player, response)
        log.info(
            "stream {stream}: two devices share client id {client!r:.80}; second provider connection opened",
            stream=self.stream.id,
            client=self.client_id,
        )
        other.serve(response)

    def _connection_lost(self, connection: PlayerConnection) -> None:
        self._connections.pop(connection, None)
        self._remove_if_unused()

    def _release_connections(self) -> None:
        for connection in list(self._connections):
            connection.set_owner(None)
        self._connections.clear()

    def _remove_if_unused(self) -> None:
        if self._responses or self._connections or self.session.is_open:
            return
        if self._handover_timer is not None and self._handover_timer.active():
            self._handover_timer.cancel()
        self._handover_timer = None
        self.stream.client_left(self)
