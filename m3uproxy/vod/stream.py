"""A registered file: what is known of it, who plays it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from random import random
from typing import Any

import attrs
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.interfaces import IReactorTime

from ..core.failover.machine import FailoverMachine
from ..core.failover.sources import Sources
from ..core.failover.timeline import SourceLabel
from ..core.http.byte_ranges import ByteRange
from ..core.http.redact import redact
from ..core.http.representation import Representation
from ..core.http.source_request import SourceRequest
from ..core.stream_kind import StreamKind, content_type
from ..errors import Reason, SourceError
from ..log import make_logger
from ..streams.base import Stream
from ..streams.player import PlayerInfo
from ..streams.spec import StreamSpec
from ..upstream.slots import StreamSlot
from .client import VodClient
from .edge_cache import EdgeCache
from .head_request import HeadRequest
from .interfaces import KnownFile, VodLimits, VodUpstream
from .response import VodResponse, VodResponseWriter
from .session import VodSession

log = make_logger()

#: Seconds for which what a provider said of a file is believed without asking again.
FRESH = 300.0
#: Seconds within which one of several devices that look alike comes back, on a new connection, when it seeks.
AWAY = 10.0


class VodStream(Stream):
    """A file that players see, each at its own place. Each has a line of its own; they share the file's ends."""

    #: Whatever its URL says.
    kind = StreamKind.VOD

    def __init__(
        self,
        clock: IReactorTime,
        wall: Callable[[], datetime],
        stream_id: str,
        spec: StreamSpec,
        requests: tuple[SourceRequest, ...],
        upstream: VodUpstream,
        limits: VodLimits,
        ends: EdgeCache,
        media_type: str | None = None,
    ) -> None:
        """
        Make a title that nobody plays yet.

        :param requests: one for each source, in order.
        :param media_type: what it is, if the URL does not say that.
        """
        super().__init__(clock, wall, stream_id, spec)
        self._upstream = upstream
        self._limits = limits
        self._ends = ends
        self._viewers: dict[VodClient, None] = {}
        self._away: dict[PlayerInfo, float] = {}
        self._known: KnownFile | None = None
        self._index = 0
        self._past_bytes = 0
        self.enquiry = HeadRequest(self.open_session, self._learn)
        self._media_type = media_type
        self.requests = requests

    @property
    def content_type(self) -> str:
        """What players are told."""
        return self._media_type or content_type(self.current_url)

    @property
    def source_index(self) -> int:
        """0 for the primary."""
        return self._index

    @property
    def bytes_served(self) -> int:
        """To all clients, past ones included."""
        return self._past_bytes + sum(viewer.bytes_served for viewer in self._viewers)

    @property
    def known(self) -> KnownFile | None:
        """What the file is, if that is not long ago."""
        known = self._known
        return known if known is not None and self._clock.seconds() - known.at < FRESH else None

    def clients(self) -> list[Any]:
        """Who is connected, oldest first."""
        return list(self._viewers)

    def is_new(self, player: PlayerInfo, link: Any) -> bool:
        """Whether a request would be a new client's."""
        return self._viewer_of(player, link) is None

    def attach(
        self, player: PlayerInfo, answer: VodResponseWriter, ranges: tuple[ByteRange, ...], if_range: str | None
    ) -> None:
        """A player asks for the file, or for a part of it."""
        self.touch()
        viewer = self._viewer_of(player, answer.link) or self._join(player)
        transfer = VodResponse(self._clock, answer, viewer, ranges, if_range)
        viewer.add(transfer)
        transfer.start(self._limits.patience)

    def describe(self) -> Deferred[Representation]:
        """What the file is, from what is known or from a provider."""
        self.touch()
        lines = (viewer.line.edition for viewer in self._viewers)
        told = self.known.edition if self.known is not None else next(filter(None, lines), None)
        if told is not None:
            return succeed(told)
        answer = self.enquiry.answer()
        self.ask_if_idle()
        return answer

    def update_spec(self, spec: StreamSpec, requests: tuple[SourceRequest, ...]) -> None:
        """The registration was repeated: what is under way goes on, and dials the new sources when it breaks."""
        self.spec = attrs.evolve(spec, metadata=self.spec.metadata) if self._viewers else spec
        changed = [each.url for each in requests] != [each.url for each in self.requests]
        self.requests = requests
        for viewer in list(self._viewers):
            viewer.line.replace_sources(requests)
        if changed:
            self._index = min(self._index, len(requests) - 1) if self._viewers else 0
        if not self._viewers:
            self._index = 0
            self.failover_attempts, self.last_failover, self.error_count = 0, None, 0

    def abort_client(self, client_id: str) -> int:
        """End the connections that go by that name, now."""
        named = [viewer for viewer in self._viewers if viewer.client_id == client_id]
        for viewer in named:
            viewer.end(SourceError(Reason.DELETED, "asked for by the API"))
        return len(named)

    def fail_over(self, index: int | None = None) -> Deferred[bool]:
        """Move to a source, or one on, for who plays and who comes: if it is the same file there."""
        left = self._place(self._index)
        self._moved((self._index + 1) % len(self.requests) if index is None else index)
        self.decisions.chosen(left, self._place(self._index), "asked for by the API", bool(self._viewers))
        if not self._viewers:
            self._forget()
        for viewer in list(self._viewers):
            viewer.line.switch(self._index)
        return succeed(True)

    def run_housekeeping(self) -> None:
        """Disconnect players that have paused for longer than anybody does."""
        error = SourceError(Reason.STALLED, "the player has taken nothing for too long")
        for viewer in list(self._viewers):
            viewer.end_stalled(self._limits.pause, error)

    def health(self) -> dict[str, object] | None:
        """Nobody looks into files."""
        return None

    def sources(self) -> list[dict[str, object]]:
        """How each source has behaved, to the player that came last."""
        viewer = next(reversed(self._viewers), None)
        sources = viewer.line.failover.sources if viewer is not None else self._fresh_sources()
        return sources.report(self._clock.seconds())

    def yield_slot(self) -> None:
        """Its player plays something else by now."""
        error = SourceError(Reason.NO_SLOT, "its viewer moved on to another stream")
        for viewer in list(self._viewers):
            viewer.end(error)

    def close(self, reason: Reason) -> Deferred[None]:
        """Disconnect everybody."""
        error = SourceError(reason)
        closing = [self.enquiry.give_way()]
        self.enquiry.failed(error)
        closing += [viewer.end(error) for viewer in list(self._viewers)]
        self._forget()
        return DeferredList(closing, consumeErrors=True).addCallback(lambda _: None)

    # for viewers

    def open_session(self, idle: Callable[[], None], player: PlayerInfo | None = None) -> VodSession:
        """A line, closed as yet, that begins with the source in use."""
        upstream = self._upstream
        failover = FailoverMachine(upstream.policy, self._fresh_sources())
        if self._index:
            failover.switched(self._clock.seconds(), self._index)
        admission = StreamSlot(upstream.slots, self.id)
        admission.viewer = player.viewer if player is not None else None
        return VodSession(self._clock, upstream.dialler, self, failover, admission, self._limits.silence, idle)

    def session_needed(self) -> None:
        """Close the connection of a HEAD request: a client's session reports the same."""
        self.enquiry.give_way()

    def split_off(self, player: PlayerInfo, transfer: VodResponse) -> VodClient:
        """What seemed to be one player is two; this response is the other one's."""
        viewer = self._join(player)
        viewer.add(transfer)
        return viewer

    def client_left(self, viewer: VodClient) -> None:
        """Nothing is left of a player."""
        if self._viewers.pop(viewer, viewer) is viewer:
            return
        self._upstream.slots.left(self.id, viewer.player.viewer)
        self._past_bytes += viewer.bytes_served
        self._away.pop(viewer.player, None)
        if any(other.player == viewer.player for other in self._viewers):
            self._away[viewer.player] = self._clock.seconds()
        self.touch()
        seconds = (self.last_access - viewer.created_at).total_seconds()
        log.info(
            "client {client!r:.80} left file {stream} after {seconds:.1f} s and {size} bytes",
            client=viewer.client_id,
            stream=self.id,
            seconds=seconds,
            size=viewer.bytes_served,
        )

    def ask_if_idle(self) -> None:
        """Whoever wants to know what the file is learns it from a player's line, if one is open."""
        if not any(viewer.line.open for viewer in self._viewers):
            self.enquiry.ask()

    def cached(self, edition: Representation, offset: int) -> memoryview | None:
        """Bytes from there on that passed before."""
        known = self._known
        return self._ends.read(self.id, offset) if known is not None and known.edition == edition else None

    # for lines

    def passed(self, edition: Representation | None, offset: int, data: memoryview) -> None:
        """Some bytes of the file passed."""
        known = self._known
        if known is not None and known.edition == edition:
            self._ends.keep(self.id, known.edition.length, offset, data)

    def confirmed(self, edition: Representation, url: str, index: int) -> None:
        """A source delivers."""
        self._learn(edition, url)
        if index != self._index:
            self._moved(index)

    def source_failed(self, error: SourceError, left: int, chosen: int | None, ran: float) -> None:
        """A source failed one of the lines."""
        self.error_count += 1
        target = self._place(chosen) if chosen is not None else None
        self.decisions.decided(self._place(left), target, str(error), {"ran_s": ran})

    # inside

    def _fresh_sources(self) -> Sources:
        return Sources([request.url for request in self.requests], self._upstream.policy.rules, random)

    def _place(self, index: int) -> SourceLabel:
        """A line may have begun with other sources than there are now."""
        index = index if index < len(self.requests) else 0
        return SourceLabel(index, self.requests[index].url)

    def _moved(self, index: int) -> None:
        self._index = index
        self.failover_attempts += 1
        self.last_failover = self._wall()
        log.info("file {stream} moves to {url}", stream=self.id, url=redact(self.current_url))

    def _learn(self, edition: Representation, url: str) -> None:
        """This is the file. What is kept of another one is of no use."""
        if self._known is not None and edition != self._known.edition:
            self._ends.forget(self.id)
        self._known = KnownFile(edition, url, self._clock.seconds())
        self.enquiry.told(edition)

    def _forget(self) -> None:
        self._known = None
        self._ends.forget(self.id)

    def _join(self, player: PlayerInfo) -> VodClient:
        self._upstream.slots.joined(self.id, player.viewer)
        self._away.pop(player, None)
        viewer = VodClient(self._clock, self, self._client_id(player), player, self._wall)
        self._viewers[viewer] = None
        log.info("client {client!r:.80} plays file {stream}", client=viewer.client_id, stream=self.id)
        return viewer

    def _viewer_of(self, player: PlayerInfo, link: Any) -> VodClient | None:
        """Whose request it is: of who uses that connection, or looks alike, rather one that has nothing under way."""
        alike = [viewer for viewer in reversed(self._viewers) if viewer.player == player]
        found = next((viewer for viewer in alike if viewer.uses(link)), None)
        found = found or next((viewer for viewer in alike if viewer.idle), None)
        if found is None and self._clock.seconds() - self._away.get(player, float("-inf")) < AWAY:
            return None
        return found or next((viewer for viewer in alike if not viewer.busy), None) or next(iter(alike), None)
