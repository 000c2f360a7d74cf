"""Who watches an HLS stream.

Its players have no connection that lasts: they ask, go, and ask again. So a player is known by its name, and counts
from its first request until it has asked for nothing for a while and takes nothing any more.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import attrs
from twisted.internet.interfaces import IReactorTime

from ..streams.player import PlayerInfo, PlayerInfoMixin
from ..upstream.slots import SlotAllocator

#: Names are made up by clients: of more than this the one that has been silent longest is forgotten.
MAX_CLIENTS = 10_000


@attrs.define(eq=False)
class HlsClient(PlayerInfoMixin):
    """One player, for listings."""

    client_id: str
    player: PlayerInfo
    created_at: datetime
    last_access: datetime
    active_at: float
    bytes_served: int = 0
    segments_served: int = 0
    #: What ends the responses that it is being sent.
    open_responses: dict[Callable[[], None], None] = attrs.field(factory=dict, repr=False)

    def abort(self) -> None:
        """Abort its responses now."""
        for abort in list(self.open_responses):
            abort()


class HlsClients:
    """The players of one stream, by name. Who watches what is told to where slots are asked for."""

    def __init__(self, clock: IReactorTime, wall: Callable[[], datetime], slots: SlotAllocator, stream: str) -> None:
        """
        Nobody watches.

        :param stream: its id.
        """
        self._clock = clock
        self._wall = wall
        self._slots = slots
        self._stream = stream
        self._clients: dict[str, HlsClient] = {}

    def __len__(self) -> int:
        return len(self._clients)

    def all(self) -> list[HlsClient]:
        """All that count, oldest first."""
        return list(self._clients.values())

    def get(self, client_id: str) -> HlsClient | None:
        """Who goes by that name."""
        return self._clients.get(client_id)

    def register(self, client_id: str, player: PlayerInfo) -> HlsClient:
        """Somebody asks for something."""
        client = self._clients.get(client_id)
        if client is None:
            if len(self._clients) >= MAX_CLIENTS:
                self.remove(min(self._clients.values(), key=lambda one: one.active_at))
            client = HlsClient(client_id, player, self._wall(), self._wall(), 0.0)
            self._clients[client_id] = client
            self._slots.joined(self._stream, player.viewer)
        client.active_at, client.last_access = self._clock.seconds(), self._wall()
        return client

    def silent(self, seconds: float) -> list[HlsClient]:
        """Who has asked for nothing for so long, and is being sent nothing."""
        limit = self._clock.seconds() - seconds
        return [client for client in self._clients.values() if client.active_at <= limit and not client.open_responses]

    def remove(self, client: HlsClient) -> None:
        """It counts no more."""
        if self._clients.get(client.client_id) is client:
            del self._clients[client.client_id]
            self._slots.left(self._stream, client.player.viewer)
        client.abort()
