"""Who plays: what a player says of itself, and its connection as listings show it."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import datetime

import attrs

from ..core.slots.viewer_identity import ViewerIdentity


@attrs.frozen
class PlayerInfo:
    """Who a player says it is."""

    ip_address: str = "unknown"
    user_agent: str = "unknown"
    username: str | None = None
    client_id: str | None = None

    @property
    def viewer(self) -> ViewerIdentity:
        """What is compared with other players to see whether somebody zaps."""
        return ViewerIdentity(self.ip_address, self.user_agent, self.username, self.client_id)

    def computed_id(self, stream_id: str) -> str:
        """The name of a player that brought none: the same for the same device, stream and user."""
        parts = (self.ip_address, self.user_agent, stream_id, self.username or "")
        digest = hashlib.md5("-".join(parts).encode(), usedforsecurity=False).hexdigest()
        return f"client_{digest[:16]}"


class PlayerInfoMixin:
    """What listings show of a client is what its player says."""

    __slots__ = ()

    player: PlayerInfo

    @property
    def user_agent(self) -> str:
        """As sent by the player."""
        return self.player.user_agent

    @property
    def ip_address(self) -> str:
        """Address of the player."""
        return self.player.ip_address

    @property
    def username(self) -> str | None:
        """As given in header or query."""
        return self.player.username


@attrs.define(eq=False)
class ConnectedClient(PlayerInfoMixin, ABC):
    """A client that is listed as long as its player is connected; a live stream and a file have such clients."""

    client_id: str
    player: PlayerInfo
    created_at: datetime
    _wall: Callable[[], datetime]

    @property
    @abstractmethod
    def bytes_served(self) -> int:
        """Bytes of media sent."""

    @property
    def segments_served(self) -> int:
        """Zero: only HLS has segments."""
        return 0

    @property
    def last_access(self) -> datetime:
        """The present time, because a client is listed only while it is connected."""
        return self._wall()
