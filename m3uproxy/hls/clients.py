"""The clients of one stream that play HLS, of a proxied stream and of a live stream alike.

HLS players keep no connection: they request, disconnect, and request again. A player is therefore identified by a
name. A client is counted from the first request of its player until the player has requested nothing for some time
and is being sent nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TypeVar
from urllib.parse import quote

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from ..downstream.memory_producer import MemoryProducer
from ..errors import LimitReached
from ..log import make_logger
from ..streams.player import PlayerInfo, PlayerInfoMixin
from ..upstream.slots import SlotAllocator

log = make_logger()

T = TypeVar("T")

#: Clients of one stream. Players choose their names, so one player can send any number of names. If the limit is
#: reached, the client that has been silent longest is removed.
MAX_CLIENTS = 10_000
#: Characters of a name that a player sends, percent-encoded. The name stands in every line of its playlists, in URLs,
#: where one character may become twelve.
MAX_NAME_LENGTH = 256
#: Responses that one client may wait for or receive at a time. A player has a handful, but several players may have
#: the same name.
MAX_OPEN_RESPONSES = 128


@attrs.define(eq=False)
class HlsClient(PlayerInfoMixin):
    """
    A player, as listings show it.

    :ivar active_at: time of its last request, or of the end of its last response (seconds of the clock).
    :ivar open_responses: the responses under way; each key is a function that aborts its response.
    """

    client_id: str
    player: PlayerInfo
    created_at: datetime
    last_access: datetime
    active_at: float
    bytes_served: int = 0
    segments_served: int = 0
    open_responses: dict[Callable[[], None], None] = attrs.field(factory=dict, repr=False)

    def abort(self) -> None:
        """Abort all responses under way."""
        for abort in list(self.open_responses):
            abort()


class HlsClients:
    """
    The HLS clients of one stream, by name.

    Each client is reported to the slot allocator: a viewer that changes channel hands its slot over.

    :ivar bytes_served: bytes sent to all clients, removed ones included.
    :ivar segments_served: segments sent to all clients, removed ones included.
    """

    def __init__(
        self,
        clock: IReactorTime,
        wall: Callable[[], datetime],
        slots: SlotAllocator,
        stream_id: str,
        touched: Callable[[], None],
    ) -> None:
        """
        Initialise an empty list.

        :param wall: returns the time of day; ``clock`` is for everything else.
        :param touched: called at each request of a player, and when a client is removed.
        """
        self._clock = clock
        self._wall = wall
        self._slots = slots
        self._stream_id = stream_id
        self._touched = touched
        self._clients: dict[str, HlsClient] = {}
        self.bytes_served = self.segments_served = 0

    def __len__(self) -> int:
        return len(self._clients)

    def all(self) -> list[HlsClient]:
        """Return all clients, oldest first."""
        return list(self._clients.values())

    def get(self, client_id: str) -> HlsClient | None:
        """Return the client of a name, or None."""
        return self._clients.get(client_id)

    def find(self, player: PlayerInfo) -> HlsClient | None:
        """Return the client of a player, or None if the player is not counted yet."""
        return self.get(self._name_of(player))

    def register(self, player: PlayerInfo) -> HlsClient:
        """
        Return the client of a player that has sent a request. A new player becomes a client.

        :raises LimitReached: if :data:`MAX_OPEN_RESPONSES` responses of the client are under way.
        """
        self._touched()
        client = self.find(player) or self._add(player)
        client.active_at, client.last_access = self._clock.seconds(), self._wall()
        if len(client.open_responses) >= MAX_OPEN_RESPONSES:
            raise LimitReached(f"Limit reached: {MAX_OPEN_RESPONSES} responses for this client are under way.")
        return client

    def silent(self, seconds: float) -> list[HlsClient]:
        """Return the clients that have no response under way and have requested nothing for some seconds."""
        limit = self._clock.seconds() - seconds
        return [client for client in self._clients.values() if client.active_at <= limit and not client.open_responses]

    def remove(self, client: HlsClient) -> None:
        """Remove a client and abort its responses."""
        if self._clients.get(client.client_id) is client:
            del self._clients[client.client_id]
            self._slots.viewer_left(self._stream_id, client.player.viewer)
        client.abort()
        self._touched()
        log.info(
            "client {client!r:.80} left stream {stream} (HLS) after {size} bytes",
            client=client.client_id,
            stream=self._stream_id,
            size=client.bytes_served,
        )

    def response_started(self, client: HlsClient, abort: Callable[[], None]) -> None:
        """
        Count a response as under way.

        :param abort: aborts the response if the client is removed.
        """
        client.open_responses[abort] = None

    def response_ended(self, client: HlsClient, abort: Callable[[], None]) -> None:
        """Count a response as ended, complete or not. The client is silent from now on."""
        client.open_responses.pop(abort, None)
        client.active_at = self._clock.seconds()

    def segment_started(self, client: HlsClient) -> None:
        """Count a segment that is sent to a client."""
        client.segments_served += 1
        self.segments_served += 1

    def bytes_sent(self, client: HlsClient, size: int) -> None:
        """Count bytes of media that were sent to a client."""
        client.bytes_served += size
        self.bytes_served += size

    def wait_for(self, client: HlsClient, response: Deferred[T]) -> Deferred[T]:
        """Count a response as under way until its Deferred fires, which happens in any case."""

        def abort() -> None:
            """Do nothing, because the owner of the Deferred fires it."""

        def fired(result: T) -> T:
            self.response_ended(client, abort)
            return result

        self.response_started(client, abort)
        return response.addBoth(fired)

    def send(
        self,
        client: HlsClient,
        pieces: Iterable[bytes],
        stall: float,
        write: Callable[[bytes], None],
        abort: Callable[[], None],
    ) -> MemoryProducer:
        """
        Return a producer of a body in memory, which counts as under way until the producer has ended.

        :param stall: seconds for which the player may keep the producer paused.
        :param write: takes a piece of the body.
        :param abort: aborts the response if the client is removed.
        """

        def ended(complete: bool) -> bool:
            self.response_ended(client, abort)
            return complete

        producer = MemoryProducer(self._clock, pieces, stall, write)
        self.response_started(client, abort)
        producer.ended.addCallback(ended)
        return producer

    def _name_of(self, player: PlayerInfo) -> str:
        """Return the name that a player sent, or a computed one. Players with equal data share a computed name."""
        name = player.client_id or ""
        return name if 0 < len(quote(name, safe="")) <= MAX_NAME_LENGTH else player.computed_id(self._stream_id)

    def _add(self, player: PlayerInfo) -> HlsClient:
        if len(self._clients) >= MAX_CLIENTS:
            self.remove(min(self._clients.values(), key=lambda client: client.active_at))
        name = self._name_of(player)
        client = self._clients[name] = HlsClient(name, player, self._wall(), self._wall(), 0.0)
        self._slots.viewer_joined(self._stream_id, player.viewer)
        log.info("client {client!r:.80} joined stream {stream} (HLS)", client=name, stream=self._stream_id)
        return client
