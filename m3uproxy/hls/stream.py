"""A registered HLS stream: what was asked for, its sources, its players.

Everything is fetched because a player asks for it; without players there is not even a timer.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from ..core.hls.tokens import Target
from ..core.timeline import Place
from ..errors import Reason, SourceError
from ..fanout.entry import Entry, Listed
from ..fanout.spec import StreamSpec
from ..fanout.stream import Player
from ..log import make_logger
from ..upstream.dial import SourceRequest
from .byte_range import ByteRange
from .directives import Directives
from .resource import Resource
from .shown import Shown
from .supply import HlsContext, Supply
from .viewers import HlsClient, Viewers

log = make_logger()

#: Characters of a name that a player brings, as it stands in every line of its playlists: in URLs, where one character
#: may be twelve.
LONGEST_NAME = 256
#: The least number of seconds for which a silent player still counts.
LEAST_LIFETIME = 15.0
#: Target durations for which it does.
LIFETIME = 3


class HlsStream(Entry):
    """A stream of playlists and segments."""

    def __init__(
        self, context: HlsContext, stream_id: str, spec: StreamSpec, requests: tuple[SourceRequest, ...]
    ) -> None:
        """
        Make a stream that nobody watches yet.

        :param requests: what to ask, for each source.
        """
        super().__init__(context.clock, context.wall, stream_id, spec)
        self._context = context
        self._supply = Supply(context, stream_id, requests, self)
        self._supply.sticky = spec.use_sticky_session
        self._bytes = self._segments = 0
        self.viewers = Viewers(context.clock, context.wall)

    # what listings show

    @property
    def source_index(self) -> int:
        """0 for the primary."""
        return self._supply.index

    @property
    def current_url(self) -> str:
        """The URL in use, or the one that will be asked next."""
        return self._supply.current_url

    @property
    def bytes_served(self) -> int:
        """To all clients, past ones included."""
        return self._bytes

    @property
    def segments_served(self) -> int:
        """The same in segments."""
        return self._segments

    def health(self) -> dict[str, object] | None:
        """Nobody looks into segments."""
        return None

    def sources(self) -> list[dict[str, object]]:
        """How each source has behaved, in order."""
        return self._supply.report()

    def clients(self) -> Sequence[Listed]:
        """Who watches, oldest first."""
        return self.viewers.all()

    # what the API does

    def renew(self, spec: StreamSpec, requests: tuple[SourceRequest, ...]) -> None:
        """The registration was repeated: as for live streams, metadata stays while somebody watches."""
        watched = bool(len(self.viewers))
        self.spec = attrs.evolve(spec, metadata=self.spec.metadata) if watched else spec
        self._supply.sticky = spec.use_sticky_session
        self._supply.renew(requests)
        if not watched:
            self._supply.begin_anew()
            self._supply.choose(0)
            self.failover_attempts, self.last_failover, self.error_count = 0, None, 0

    def disconnect(self, client_id: str) -> int:
        """
        Forget a player and end what it is being sent.

        :return: how many there were of that name.
        """
        client = self.viewers.get(client_id)
        if client is None:
            return 0
        self._gone(client)
        return 1

    def fail_over(self, index: int | None = None) -> Deferred[bool]:
        """Move to a source, or one on; behind the last comes the first."""
        left = self.source_index
        index = (left + 1) % len(self.spec.sources) if index is None else index
        self.decisions.chosen(self._place(left), self._place(index), "asked for by the API", self._supply.in_use)
        self._supply.choose(index)
        if index != left:
            self._moved()
        return succeed(True)

    def give_way(self) -> None:
        """Its viewer plays something else by now."""
        for client in self.viewers.all():
            self._gone(client)

    def end(self, reason: Reason) -> Deferred[None]:
        """Disconnect everybody."""
        for client in self.viewers.all():
            self.viewers.remove(client)
        self._supply.close(SourceError(reason))
        return succeed(None)

    def keep_house(self) -> None:
        """Let go of players that have been silent for too long, and with the last of them of the source."""
        lifetime = max(LEAST_LIFETIME, LIFETIME * self._supply.target_duration)
        for client in self.viewers.silent(lifetime):
            self._gone(client)

    # what players ask for

    def name_of(self, player: Player) -> str:
        """The name of a player, that it brought or that is made for it. Two that look the same are one."""
        brought = player.client_id or ""
        return brought if 0 < len(quote(brought, safe="")) <= LONGEST_NAME else player.computed_id(self.id)

    def knows(self, player: Player) -> bool:
        """Whether a player counts already."""
        return self.viewers.get(self.name_of(player)) is not None

    def client(self, player: Player) -> HlsClient:
        """Who asks; it counts from now on."""
        self.touch()
        return self.viewers.seen(self.name_of(player), player)

    def target(self, token: str) -> Target:
        """
        What a token of this stream stands for.

        :raises BadToken: if it is none.
        """
        return self._context.tokens.read(self.id, token)

    def playlist(self, target: Target | None, directives: Directives, client: HlsClient) -> Deferred[bytes]:
        """A playlist for a player, who is there while it waits; see :meth:`m3uproxy.hls.supply.Supply.playlist`."""

        def waits() -> None:
            """Nothing to end: it is answered in any case."""

        def answered(result: Shown | Failure) -> Shown | Failure:
            client.answers.pop(waits, None)
            self.ends(client)
            return result

        client.answers[waits] = None
        asked = self._supply.playlist(target, directives).addBoth(answered)
        return asked.addCallback(lambda shown: shown.answer(client.client_id))

    def resource(self, target: Target, byte_range: ByteRange | None) -> Deferred[Resource]:
        """What a playlist named; see :meth:`m3uproxy.hls.supply.Supply.resource`."""
        return self._supply.resource(target, byte_range)

    def begins(self, client: HlsClient) -> None:
        """A player is sent a segment."""
        client.segments_served += 1
        self._segments += 1

    def ends(self, client: HlsClient) -> None:
        """It was sent, or not: its silence begins."""
        client.seen = self._clock.seconds()

    def served(self, client: HlsClient, size: int) -> None:
        """Bytes were sent to a player."""
        client.bytes_served += size
        self._bytes += size

    # inside

    def source_failed(self, error: SourceError, left: int, chosen: int | None) -> None:
        """See :class:`m3uproxy.hls.supply.Listener`."""
        self.error_count += 1
        target = None if chosen is None else self._place(chosen)
        self.decisions.decided(self._place(left), target, str(error), {})
        if chosen is not None and chosen != left:
            self._moved()

    def source_answers(self) -> None:
        """See :class:`m3uproxy.hls.supply.Listener`."""
        self.decisions.resumed()

    def _place(self, index: int) -> Place:
        return Place(index, self.spec.sources[index])

    def _moved(self) -> None:
        self.failover_attempts += 1
        self.last_failover = self._wall()

    def _gone(self, client: HlsClient) -> None:
        self.viewers.remove(client)
        self.touch()
        log.info(
            "client {client!r:.80} left stream {stream} after {size} bytes",
            client=client.client_id,
            stream=self.id,
            size=client.bytes_served,
        )
        if not len(self.viewers):
            self._supply.begin_anew()
