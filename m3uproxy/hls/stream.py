"""A registered HLS stream: what was asked for, its sources, its players.

Everything is fetched because a player asks for it; without players there is not even a timer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from urllib.parse import quote

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from ..core.hls.delivery_directives import DeliveryDirectives
from ..core.hls.uri_rewriter import ResourceKind
from ..core.hls.url_tokens import TokenTarget
from ..core.http.byte_ranges import ByteRange
from ..core.http.source_request import SourceRequest
from ..downstream.memory_producer import MemoryProducer
from ..errors import LimitReached, Reason, SourceError
from ..log import make_logger
from ..streams.base import ClientInfo
from ..streams.failover_stream import FailoverStream
from ..streams.monitor_rules import watch_rules
from ..streams.player import PlayerInfo
from ..streams.spec import StreamSpec
from ..upstream.slots import StreamSlot
from .clients import HlsClient, HlsClients
from .fetched_resource import FetchedResource, read_manifest
from .proxy import HlsContext, HlsProxy
from .served_playlist import CLIENT_MARK, PlaylistCopy, ServedPlaylist
from .session import HlsSession

log = make_logger()

#: Characters of a name that a player brings, as it stands in every line of its playlists: in URLs, where one character
#: may be twelve.
MAX_NAME_LENGTH = 256
#: The least number of seconds for which a silent player still counts.
MIN_LIFETIME = 15.0
#: Target durations for which it does.
LIFETIME = 3
#: Answers that a player may be waiting for or taking at a time. One has a handful, but several may look like one.
MAX_OPEN_RESPONSES = 128


class HlsStream(FailoverStream):
    """A stream of playlists and segments."""

    def __init__(
        self, context: HlsContext, stream_id: str, spec: StreamSpec, requests: tuple[SourceRequest, ...]
    ) -> None:
        """
        Make a stream that nobody watches yet.

        :param requests: what to ask, for each source.
        """
        super().__init__(context.clock, context.wall, stream_id, spec, context.open_resolver)
        self._context = context
        self._session = HlsSession(
            context.clock,
            requests,
            context.policy,
            lambda: watch_rules(context.settings, self.spec),
            self,
            StreamSlot(context.slots, stream_id),
            self.resolver,
            lambda request: self._proxy.check_source(request),
        )
        self._proxy = HlsProxy(context, stream_id, self._session, lambda: self.decisions.resumed())
        self._proxy.sticky = spec.use_sticky_session
        self._bytes = self._segments = 0
        self._close_error: SourceError | None = None
        self.hls_clients = HlsClients(context.clock, context.wall, context.slots, stream_id)

    # what listings show

    @property
    def session(self) -> HlsSession:
        """Which source it is on."""
        return self._session

    @property
    def current_url(self) -> str:
        """The URL in use, or the one that will be asked next."""
        return self._proxy.current_url

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

    def clients(self) -> Sequence[ClientInfo]:
        """Who watches, oldest first."""
        return self.hls_clients.all()

    # what the API does

    def update_spec(self, spec: StreamSpec, requests: tuple[SourceRequest, ...]) -> None:
        """The registration was repeated: as for live streams, metadata stays while somebody watches."""
        watched = bool(len(self.hls_clients))
        self.spec = attrs.evolve(spec, metadata=self.spec.metadata) if watched else spec
        self._proxy.sticky = spec.use_sticky_session
        self._session.replace_sources(requests)
        if not watched:
            self._proxy.reset(SourceError(Reason.ENDED, "nobody watches any more"))
            self._session.switch(0)
            self.failover_attempts, self.last_failover, self.error_count = 0, None, 0

    def abort_client(self, client_id: str) -> int:
        """
        Forget a player and end what it is being sent.

        :return: how many there were of that name.
        """
        client = self.hls_clients.get(client_id)
        if client is None:
            return 0
        self._gone(client)
        return 1

    def yield_slot(self) -> None:
        """Its viewer plays something else by now."""
        for client in self.hls_clients.all():
            self._gone(client)
        self._proxy.reset(SourceError(Reason.NO_SLOT, "its viewer moved on to another stream"))

    def close(self, reason: Reason) -> Deferred[None]:
        """Disconnect everybody."""
        self._close_error = SourceError(reason)
        self.resolver.close()
        for client in self.hls_clients.all():
            self.hls_clients.remove(client)
        self._proxy.close(self._close_error)
        return succeed(None)

    def run_housekeeping(self) -> None:
        """Let go of players that have been silent for too long, and with the last of them of the source."""
        lifetime = max(MIN_LIFETIME, LIFETIME * self._proxy.target_duration)
        for client in self.hls_clients.silent(lifetime):
            self._gone(client)

    # what players ask for

    def name_of(self, player: PlayerInfo) -> str:
        """The name of a player, that it brought or that is made for it. Two that look the same are one."""
        brought = player.client_id or ""
        return brought if 0 < len(quote(brought, safe="")) <= MAX_NAME_LENGTH else player.computed_id(self.id)

    def known(self, player: PlayerInfo) -> HlsClient | None:
        """Who a player is, if it counts already."""
        return self.hls_clients.get(self.name_of(player))

    def client(self, player: PlayerInfo) -> HlsClient:
        """
        Who asks; it counts from now on.

        :raises LimitReached: if it waits for too much already.
        """
        self.touch()
        known, client = self.known(player), self.hls_clients.register(self.name_of(player), player)
        if known is None:
            log.info("client {client!r:.80} joins stream {stream}", client=client.client_id, stream=self.id)
        if len(client.open_responses) >= MAX_OPEN_RESPONSES:
            raise LimitReached(f"This player waits for {MAX_OPEN_RESPONSES} answers already, and for no more.")
        return client

    def target(self, token: str) -> TokenTarget:
        """
        What a token of this stream stands for.

        :raises BadToken: if it is none.
        """
        return self._context.tokens.read(self.id, token)

    def playlist(
        self, target: TokenTarget | None, directives: DeliveryDirectives, client: HlsClient
    ) -> Deferred[PlaylistCopy]:
        """A playlist for a player, who is there while it waits; see :meth:`m3uproxy.hls.proxy.HlsProxy.playlist`."""

        def waits() -> None:
            """Nothing to end: it is answered in any case."""

        def answered(result: ServedPlaylist | Failure) -> ServedPlaylist | Failure:
            client.open_responses.pop(waits, None)
            self.ends(client)
            return result

        client.open_responses[waits] = None
        response = self._proxy.playlist(target, directives, client.player.viewer).addBoth(answered)
        return response.addCallback(lambda served: served.copy_for(client.client_id))

    def send(
        self, copy: PlaylistCopy, client: HlsClient, write: Callable[[bytes], None], abort: Callable[[], None]
    ) -> MemoryProducer:
        """
        Hand a playlist on to a player; start what is returned, and pause and resume it.

        :param abort: ends that, if the player has to go.
        """

        def ended(complete: bool) -> bool:
            client.open_responses.pop(abort, None)
            self.ends(client)
            return complete

        client.open_responses[abort] = None
        producer = MemoryProducer(self._clock, copy.pieces(), self._context.settings.viewer_stall_timeout, write)
        producer.ended.addCallback(ended)
        return producer

    def resource(
        self, target: TokenTarget, byte_range: ByteRange | None, client: HlsClient
    ) -> Deferred[FetchedResource]:
        """What a playlist named, for a player; see :meth:`m3uproxy.hls.proxy.HlsProxy.resource`."""
        response = self._proxy.resource(target, byte_range)
        aborted: list[SourceError] = []

        def abort() -> None:
            aborted.append(self._close_error or SourceError(Reason.ENDED, "the player was disconnected"))
            response.cancel()

        def answered(result: FetchedResource | Failure) -> FetchedResource | Failure:
            client.open_responses.pop(abort, None)
            self.ends(client)
            return Failure(aborted[0]) if aborted else result

        client.open_responses[abort] = None
        return response.addBoth(answered)

    def manifest(self, resource: FetchedResource, target: TokenTarget, client: HlsClient) -> Deferred[bytes]:
        """
        JSON that a playlist named, with a player's own URIs in it.

        :return: a Deferred that fails with :class:`m3uproxy.errors.SourceError`; it may be cancelled.
        """
        rewrite_uri, name = self._proxy.uri_rewriter(target.source, resource.public), quote(client.client_id, safe="")

        def named(kind: ResourceKind, url: str) -> str:
            return rewrite_uri(kind, url).replace(CLIENT_MARK, name)

        return Deferred.fromCoroutine(read_manifest(resource, target.kind, named))

    def begins(self, client: HlsClient) -> None:
        """A player is sent a segment."""
        client.segments_served += 1
        self._segments += 1

    def ends(self, client: HlsClient) -> None:
        """It was sent, or not: its silence begins."""
        client.active_at = self._clock.seconds()

    def served(self, client: HlsClient, size: int) -> None:
        """Bytes were sent to a player."""
        client.bytes_served += size
        self._bytes += size

    # inside

    def _gone(self, client: HlsClient) -> None:
        self.hls_clients.remove(client)
        self.touch()
        log.info(
            "client {client!r:.80} left stream {stream} after {size} bytes",
            client=client.client_id,
            stream=self.id,
            size=client.bytes_served,
        )
        if not len(self.hls_clients):
            self._proxy.reset(SourceError(Reason.ENDED, "nobody watches any more"))
