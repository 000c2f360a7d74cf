"""One player of a file: its responses, its connections to us, and its one line to the provider.

A player of files comes with several requests: for the head, for the index at the end, for the middle; on one connection
or on many. All of them share the player's line: who asks last has it, because that is what the player wants to know
now. Who had it before gets it back when the other is done, or when the other's player takes nothing.

Two devices in one house may look like one: same address, same user agent. What they do tells them apart. A player that
asks anew lets go of what it asked for before: it closes it, or stops reading. If a response still wants bytes that
another one keeps from it for :data:`PATIENCE` while that one is being read, there are two devices, and from then on two
viewers with a line each.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ..core.http.representation import Representation
from ..errors import SourceError
from ..log import make_logger
from ..streams.player import ConnectedClient, PlayerInfo
from .interfaces import KnownFile
from .response import VodResponse
from .session import VodSession

log = make_logger()

#: Seconds for which a response waits for a line that another one uses.
PATIENCE = 2.0


class ClientOwner(Protocol):
    """The stream that a client plays."""

    @property
    def known(self) -> KnownFile | None:
        """The file, if a source has confirmed it recently."""

    def cached(self, edition: Representation, offset: int) -> memoryview | None:
        """Return cached bytes of the file from an offset on, or None."""

    def open_session(self, idle: Callable[[], None], player: PlayerInfo | None = None) -> VodSession:
        """Return a session, not dialled yet, that begins with the source in use."""

    def session_needed(self) -> None:
        """Close the connection of a HEAD request: a client's session reports the same."""

    def ask_if_idle(self) -> None:
        """Dial for the HEAD requests that wait, if no client has a session open."""

    def split_off(self, player: PlayerInfo, response: VodResponse) -> VodClient:
        """Return a new client with this response, which belongs to a second device."""

    def client_left(self, client: VodClient) -> None:
        """Remove a client without responses, connections and session."""


class VodClient(ConnectedClient):
    """See the module's text. In listings from its first request until its last connection is gone."""

    def __init__(
        self, clock: IReactorTime, title: ClientOwner, client_id: str, player: PlayerInfo, wall: Callable[[], datetime]
    ) -> None:
        super().__init__(client_id, player, wall(), wall)
        self._clock = clock
        self._transfers: list[VodResponse] = []
        self._links: dict[Any, None] = {}
        self._holder: VodResponse | None = None
        self._waiting: dict[VodResponse, None] = {}
        self._asked: set[VodResponse] = set()
        self._timer: IDelayedCall | None = None
        self._past_bytes = 0
        self._gone = False
        self.title = title
        self.line: VodSession = title.open_session(self._look_round, player)

    @property
    def bytes_served(self) -> int:
        """Bytes of media sent, over all responses."""
        return self._past_bytes + sum(transfer.bytes_sent for transfer in self._transfers)

    @property
    def busy(self) -> bool:
        """Whether a response is under way whose player takes it."""
        return any(transfer.blocked_since is None for transfer in self._transfers)

    @property
    def idle(self) -> bool:
        """Whether no response is under way."""
        return not self._transfers

    @property
    def known(self) -> KnownFile | None:
        """The file, if a source has confirmed it recently."""
        return self.title.known

    @property
    def last_error(self) -> SourceError | None:
        """The failure of the source that failed last."""
        return self.line.failover.error

    def cached(self, edition: Representation, offset: int) -> memoryview | None:
        """Return cached bytes of the file from an offset on, or None."""
        return self.title.cached(edition, offset)

    def uses(self, link: Any) -> bool:
        """Whether a connection is this player's."""
        return link in self._links

    def add(self, transfer: VodResponse) -> None:
        """Another response to this player. Its connection is this player's until it asks for something else."""
        transfer.viewer = self
        self._transfers.append(transfer)
        link = transfer.link
        if link not in self._links:
            self._links[link] = None
            link.belongs_to(lambda: self._lost(link))

    def serve(self, transfer: VodResponse) -> None:
        """``transfer`` wants bytes: at its first wish it gets the line, later if nobody else has it."""
        if transfer is not self._holder and self._holder is not None and transfer in self._asked:
            self._wait(transfer)
            return
        other, self._holder = self._holder, transfer
        self._asked.add(transfer)
        self._waiting.pop(transfer, None)
        if other is not None and other is not transfer and other.wants:
            self._wait(other)
        self.title.session_needed()
        self.line.serve(transfer)

    def response_ended(self, transfer: VodResponse, complete: bool) -> None:
        """A response has ended.

        :param complete: as it should, so that the player may ask for what follows.
        """
        if transfer not in self._transfers:
            return
        self._transfers.remove(transfer)
        self._asked.discard(transfer)
        self._waiting.pop(transfer, None)
        self._past_bytes += transfer.bytes_sent
        if transfer is self._holder:
            self._holder = None
            self.line.let_go(transfer, linger=complete and not self._gone)
            self._pass_on()
        self.title.ask_if_idle()
        self._look_round()

    def end(self, error: SourceError) -> Deferred[None]:
        """Disconnect the player; fires when the provider's socket is gone."""
        self._gone = True
        for transfer in list(self._transfers):
            transfer.end(error)
        self._forget_links()
        closed = self.line.close()
        self._look_round()
        return closed

    def end_stalled(self, limit: float, error: SourceError) -> None:
        """Disconnect the responses that have taken nothing for ``limit`` seconds."""
        since = self._clock.seconds() - limit
        for transfer in list(self._transfers):
            if transfer.blocked_since is not None and transfer.blocked_since <= since:
                transfer.end(error)

    # inside

    def _wait(self, transfer: VodResponse) -> None:
        self._waiting[transfer] = None
        if self._timer is None:
            self._timer = self._clock.callLater(PATIENCE, self._sort_out)

    def _pass_on(self) -> None:
        """The line is free for who waits, the last first."""
        while self._waiting and self._holder is None:
            transfer, _ = self._waiting.popitem()
            if transfer.wants:
                self.serve(transfer)

    def _sort_out(self) -> None:
        """Is there one device or are there two?"""
        self._timer = None
        for transfer in list(self._waiting):
            holder = self._holder
            if not transfer.wants:
                self._waiting.pop(transfer, None)
            elif holder is None or self._rests(holder):
                self._waiting.pop(transfer, None)
                self._holder = None
                self.serve(transfer)
            else:
                self._part_with(transfer)

    def _rests(self, holder: VodResponse) -> bool:
        return holder.blocked_since is not None and self._clock.seconds() - holder.blocked_since >= PATIENCE / 2

    def _part_with(self, transfer: VodResponse) -> None:
        """It is another device's."""
        self._waiting.pop(transfer, None)
        self._asked.discard(transfer)
        self._transfers.remove(transfer)
        self._links.pop(transfer.link, None)
        transfer.link.belongs_to(None)
        other = self.title.split_off(self.player, transfer)
        log.info("client {client!r:.80} is two devices", client=self.client_id)
        other.serve(transfer)

    def _lost(self, link: Any) -> None:
        self._links.pop(link, None)
        self._look_round()

    def _forget_links(self) -> None:
        for link in list(self._links):
            link.belongs_to(None)
        self._links.clear()

    def _look_round(self) -> None:
        """Is there anything left of this player?"""
        if self._transfers or self._links or self.line.open:
            return
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        self.title.client_left(self)
