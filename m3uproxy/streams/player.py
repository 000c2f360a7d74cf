"""Players: the data that a player sends about itself, and the base classes of clients."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import datetime

import attrs

from ..core.slots.viewer_identity import ViewerIdentity


@attrs.frozen
class PlayerInfo:
    """The data that a player sends about itself."""

    ip_address: str = "unknown"
    user_agent: str = "unknown"
    username: str | None = None
    client_id: str | None = None

    @property
    def viewer(self) -> ViewerIdentity:
        """The identity by which a viewer that zaps is recognised."""
        return ViewerIdentity(self.ip_address, self.user_agent, self.username, self.client_id)

    def computed_id(self, stream_id: str) -> str:
        """Return a client name for a player without one: the same for the same device, stream and user."""
        parts = (self.ip_address, self.user_agent, stream_id, self.username or "")
        digest = hashlib.md5("-".join(parts).encode(), usedforsecurity=False).hexdigest()
        return f"client_{digest[:16]}"


class PlayerInfoMixin:
    """The part of a listing that comes from the player."""

    __slots__ = ()

    player: PlayerInfo

    @property
    def user_agent(self) -> str:
        """User-Agent of the player."""
        return self.player.user_agent

    @property
    def ip_address(self) -> str:
        """Address of the player."""
        return self.player.ip_address

    @property
    def username(self) -> str | None:
        """User name from a header or the query."""
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
