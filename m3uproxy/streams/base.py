"""The base class of all streams, for the registry and for listings."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from twisted.internet.defer import Deferred

from ..core.http.source_headers import split_headers
from ..core.stream_kind import StreamKind
from ..errors import Reason, SourceError
from .context import StreamContext
from .failover_history import FailoverHistory
from .player import PlayerInfo
from .spec import StreamSpec


class ClientInfo(Protocol):
    """A client in listings."""

    @property
    def client_id(self) -> str:
        """Name of the client, unique within its stream unless players bring equal names."""

    @property
    def user_agent(self) -> str:
        """User-Agent of the player."""

    @property
    def ip_address(self) -> str:
        """Address of the player."""

    @property
    def username(self) -> str | None:
        """User name from a header or the query."""

    @property
    def bytes_served(self) -> int:
        """Bytes of media sent."""

    @property
    def segments_served(self) -> int:
        """HLS segments sent."""

    @property
    def created_at(self) -> datetime:
        """Time of the first request."""

    @property
    def last_access(self) -> datetime:
        """Time of the last activity."""


class Stream(ABC):
    """A registered stream and its clients."""

    def __init__(
        self,
        context: StreamContext,
        stream_id: str,
        spec: StreamSpec,
        history: FailoverHistory | None = None,
    ) -> None:
        """
        Make a stream without clients.

        :param history: shared with another stream; by default a new one.
        """
        self._context = context
        self._clock, self._wall = context.clock, context.wall
        self.id = stream_id
        self.spec = spec
        self.created_at = self.last_access = context.wall()
        self.idle_since = self._born = context.clock.seconds()
        self.history = FailoverHistory(stream_id, context.clock, context.wall) if history is None else history

    @property
    def age(self) -> float:
        """Seconds since the first registration."""
        return self._clock.seconds() - self._born

    @property
    @abstractmethod
    def kind(self) -> StreamKind:
        """Kind of stream: by the URL until a source has answered, then by the answer."""

    @property
    @abstractmethod
    def has_served(self) -> bool:
        """True if connected players have got media or playlists, so that the kind stays."""

    @property
    @abstractmethod
    def source_index(self) -> int:
        """Position of the source in use or next; 0 for the primary."""

    @property
    def current_url(self) -> str:
        """URL of the source in use or next."""
        return split_headers(self.spec.sources[self.source_index])[0]

    @property
    def may_fail_over(self) -> bool:
        """True if the stream may have another source."""
        return len(self.spec.sources) > 1

    @property
    @abstractmethod
    def bytes_served(self) -> int:
        """Bytes of media sent to all clients, past ones included."""

    @property
    def segments_served(self) -> int:
        """HLS segments sent to all clients; 0 for other kinds."""
        return 0

    @abstractmethod
    def clients(self) -> Sequence[ClientInfo]:
        """Return the clients, oldest first."""

    @abstractmethod
    def update_spec(self, spec: StreamSpec) -> None:
        """Apply a repeated registration."""

    @abstractmethod
    def abort_client(self, client_id: str) -> int:
        """
        Abort all connections of a client.

        :return: number of connections.
        """

    @abstractmethod
    def fail_over(self, index: int | None = None) -> Deferred[bool]:
        """
        Move to a source.

        :param index: position of the source; None for the next one. The primary follows the last source.
        :return: a Deferred that fires with False if there is no other source.
        """

    @abstractmethod
    def health(self) -> dict[str, object] | None:
        """Return the content health of the source in use; None if no source delivers or content is not checked."""

    @abstractmethod
    def sources(self) -> list[dict[str, object]]:
        """Return the state of each source, in order."""

    @abstractmethod
    def yield_slot(self) -> None:
        """Abort all clients and release the provider slot, because the viewer plays another stream that needs it."""

    @abstractmethod
    def run_housekeeping(self) -> None:
        """Remove clients that are stalled or gone. Called once a second."""

    def close(self, reason: Reason) -> Deferred[None]:
        """Abort all clients and close the source, for good.

        :return: a Deferred that fires when the provider's socket has closed.
        """
        return self.close_with(SourceError(reason))

    @abstractmethod
    def close_with(self, error: SourceError) -> Deferred[None]:
        """Close the stream with an error for its clients; see :meth:`close`."""

    @abstractmethod
    def begin_at(self, index: int) -> None:
        """Begin with a source that has answered already. Counters stay. Called before the first client."""

    def continue_from(self, other: Stream) -> None:
        """Take over the age of a stream that this one replaces, because the kind was another one."""
        self.created_at, self._born = other.created_at, other._born

    def touch(self) -> None:
        """Note a request for this stream."""
        self.last_access = self._wall()
        self.idle_since = self._clock.seconds()

    def _client_id(self, player: PlayerInfo) -> str:
        """Return the name of a new client: the one that its player brings, or one that is unique in this stream."""
        if player.client_id:
            return player.client_id
        computed = player.computed_id(self.id)
        if any(client.client_id == computed for client in self.clients()):
            return f"{computed}_{secrets.token_hex(4)}"
        return computed
