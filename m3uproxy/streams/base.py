"""What all kinds of streams have in common in the registry and in listings."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from twisted.internet.defer import Deferred

from ..core.stream_kind import StreamKind, kind_of
from ..errors import Reason
from .context import StreamContext
from .failover_history import FailoverHistory
from .player import PlayerInfo
from .spec import StreamSpec


class ClientInfo(Protocol):
    """A player as listings show it."""

    @property
    def client_id(self) -> str:
        """Its name."""

    @property
    def user_agent(self) -> str:
        """As sent by the player."""

    @property
    def ip_address(self) -> str:
        """Address of the player."""

    @property
    def username(self) -> str | None:
        """As given in header or query."""

    @property
    def bytes_served(self) -> int:
        """Bytes of media sent."""

    @property
    def segments_served(self) -> int:
        """Segments sent, of HLS."""

    @property
    def created_at(self) -> datetime:
        """When it came."""

    @property
    def last_access(self) -> datetime:
        """When it was last there."""


class Stream(ABC):
    """One entry of the registry: a stream as registered, with those who watch it."""

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
        """Seconds since it was first registered."""
        return self._clock.seconds() - self._born

    @property
    def kind(self) -> StreamKind:
        """Of which it is, by its URL."""
        return kind_of(self.spec.url)

    @property
    @abstractmethod
    def source_index(self) -> int:
        """0 for the primary."""

    @property
    def current_url(self) -> str:
        """The URL in use, or the one that will be dialled next."""
        return self.spec.sources[self.source_index]

    @property
    def may_fail_over(self) -> bool:
        """Whether there may be another source to move to."""
        return len(self.spec.sources) > 1

    @property
    @abstractmethod
    def bytes_served(self) -> int:
        """To all clients, past ones included."""

    @property
    def segments_served(self) -> int:
        """To all clients; only HLS has segments."""
        return 0

    @abstractmethod
    def clients(self) -> Sequence[ClientInfo]:
        """Who is connected, oldest first."""

    @abstractmethod
    def update_spec(self, spec: StreamSpec) -> None:
        """The registration was repeated."""

    @abstractmethod
    def abort_client(self, client_id: str) -> int:
        """End the connections that go by that name, now.

        :return: how many there were.
        """

    @abstractmethod
    def fail_over(self, index: int | None = None) -> Deferred[bool]:
        """Move to a source, or one on; behind the last comes the first.

        :return: fires with whether there was one to move to.
        """

    @abstractmethod
    def health(self) -> dict[str, object] | None:
        """What is known of what the source in use brings; None if none delivers or nothing is looked at."""

    @abstractmethod
    def sources(self) -> list[dict[str, object]]:
        """How each source has behaved, in order."""

    @abstractmethod
    def yield_slot(self) -> None:
        """Its viewer plays something else by now, which needs the connection to the provider."""

    @abstractmethod
    def run_housekeeping(self) -> None:
        """Called once a second."""

    @abstractmethod
    def close(self, reason: Reason) -> Deferred[None]:
        """Disconnect everybody; fires when the provider's socket is gone."""

    def continue_history_of(self, other: Stream) -> None:
        """It takes the place of another, which turned out to be of another kind: its history goes on."""
        self.created_at, self._born = other.created_at, other._born
        self.history = other.history

    def touch(self) -> None:
        """Somebody asked for this stream."""
        self.last_access = self._wall()
        self.idle_since = self._clock.seconds()

    def _client_id(self, player: PlayerInfo) -> str:
        """The name of a new client: its own, or one that no other client of this stream has."""
        if player.client_id:
            return player.client_id
        computed = player.computed_id(self.id)
        if any(client.client_id == computed for client in self.clients()):
            return f"{computed}_{secrets.token_hex(4)}"
        return computed
