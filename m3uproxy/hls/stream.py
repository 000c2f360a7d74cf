"""A registered HLS stream: its registration data, its sources, its clients.

Everything is fetched on request of a player. A stream without clients has no timer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from ..core.hls.delivery_directives import DeliveryDirectives
from ..core.hls.uri_rewriter import ResourceKind, ResourceRole
from ..core.hls.url_tokens import TokenTarget
from ..core.http.byte_ranges import ByteRange
from ..core.stream_kind import StreamKind
from ..downstream.memory_producer import MemoryProducer
from ..errors import Reason, SourceError, StoredError
from ..streams.base import ClientInfo
from ..streams.failover_history import FailoverHistory
from ..streams.failover_stream import FailoverStream
from ..streams.spec import StreamSpec
from .clients import HlsClient, HlsClients
from .fetched_resource import FetchedResource, read_manifest
from .proxy import HlsContext, HlsProxy
from .served_playlist import PlaylistCopy, fill_marks
from .session import HlsSession

#: Silence after which a client is removed: this many target durations, but at least this many seconds.
LIFETIME = 3
MIN_LIFETIME = 15.0


class HlsStream(FailoverStream):
    """
    A stream of playlists and segments.

    :ivar hls_clients: the clients.
    """

    _close_error = StoredError()

    def __init__(
        self, context: HlsContext, stream_id: str, spec: StreamSpec, history: FailoverHistory | None = None
    ) -> None:
        super().__init__(context, stream_id, spec, history)
        self._hls_context = context
        self._session = HlsSession(context, self, context.policy, lambda request: self._proxy.check_source(request))
        self._proxy = HlsProxy(
            context, stream_id, self._session, lambda: self.history.source_answered(), lambda: not self.has_served
        )
        self._proxy.sticky = spec.use_sticky_session
        self.hls_clients = HlsClients(context.clock, context.wall, context.slots, stream_id, self.touch)

    # listings

    @property
    def kind(self) -> StreamKind:
        """Kind of stream: HLS, whatever the URL tells."""
        return StreamKind.HLS

    @property
    def has_served(self) -> bool:
        """True if players have playlists of this stream."""
        return bool(len(self.hls_clients)) and self._proxy.has_served

    @property
    def session(self) -> HlsSession:
        """The provider's side: the source in use."""
        return self._session

    @property
    def current_url(self) -> str:
        """The URL in use, or the URL that is requested next."""
        return self._proxy.current_url

    @property
    def bytes_served(self) -> int:
        """Bytes sent to all clients, removed ones included."""
        return self.hls_clients.bytes_served

    @property
    def segments_served(self) -> int:
        """Segments sent to all clients, removed ones included."""
        return self.hls_clients.segments_served

    def health(self) -> dict[str, object] | None:
        """Return None: segments are passed on without parsing them."""
        return None

    def clients(self) -> Sequence[ClientInfo]:
        """Return the clients, oldest first."""
        return self.hls_clients.all()

    # API and housekeeping

    def update_spec(self, spec: StreamSpec) -> None:
        """Take over a repeated registration. If the stream has clients, it keeps its metadata, like a live stream."""
        has_clients = bool(len(self.hls_clients))
        self.spec = attrs.evolve(spec, metadata=self.spec.metadata) if has_clients else spec
        self._proxy.sticky = spec.use_sticky_session
        self._session.replace_sources(self._context.requests(spec))
        if not has_clients:
            self._proxy.reset(_without_clients())
            self._session.choose(0)
            self.history.reset_counters()

    def abort_client(self, client_id: str) -> int:
        """
        Remove a client and abort its responses.

        :return: the number of clients of that name, 0 or 1.
        """
        client = self.hls_clients.get(client_id)
        if client is None:
            return 0
        self._remove(client)
        return 1

    def yield_slot(self) -> None:
        """Remove all clients and release the slot, because the viewer plays another stream now."""
        for client in self.hls_clients.all():
            self._remove(client)
        self._proxy.reset(SourceError(Reason.NO_SLOT, "the viewer changed to another stream"))

    def close_with(self, error: SourceError) -> Deferred[None]:
        """
        Remove all clients and close the session.

        :param error: the error that players get.
        """
        self._close_error = error
        self.resolver.close()
        for client in self.hls_clients.all():
            self.hls_clients.remove(client)
        self._proxy.close(self._close_error)
        return succeed(None)

    def run_housekeeping(self) -> None:
        """Remove the clients that have been silent for too long. After the last one, close the session."""
        lifetime = max(MIN_LIFETIME, LIFETIME * self._proxy.target_duration)
        for client in self.hls_clients.silent(lifetime):
            self._remove(client)

    # requests of players

    def target(self, token: str) -> TokenTarget:
        """
        Return the target of a URL token of this stream.

        :raises BadToken: if the token is not one of this stream.
        """
        return self._hls_context.tokens.read(self.id, token)

    def playlist(
        self, target: TokenTarget | None, directives: DeliveryDirectives, client: HlsClient, prefix: str
    ) -> Deferred[PlaylistCopy]:
        """
        Fetch a playlist for a client; see :meth:`m3uproxy.hls.proxy.HlsProxy.playlist`.

        :param prefix: the prefix of paths for this client, without a slash at the end.
        """
        response = self.hls_clients.wait_for(client, self._proxy.playlist(target, directives, client.player.viewer))
        return response.addCallback(lambda served: served.copy_for(client.client_id, prefix))

    def send(
        self, copy: PlaylistCopy, client: HlsClient, write: Callable[[bytes], None], abort: Callable[[], None]
    ) -> MemoryProducer:
        """
        Return a producer that sends a playlist to a client; the caller starts it.

        :param write: takes a piece of the playlist.
        :param abort: aborts the response if the client is removed.
        """
        stall = self._context.settings.viewer_stall_timeout
        return self.hls_clients.send(client, copy.pieces(), stall, write, abort)

    def resource(
        self, target: TokenTarget, byte_range: ByteRange | None, client: HlsClient
    ) -> Deferred[FetchedResource]:
        """Fetch a resource that a playlist named, for a client; see :meth:`m3uproxy.hls.proxy.HlsProxy.resource`."""
        response = self._proxy.resource(target, byte_range)
        aborted: list[SourceError] = []

        def abort() -> None:
            aborted.append(self._close_error or SourceError(Reason.UNUSED, "the player was disconnected"))
            response.cancel()

        def fired(result: FetchedResource | Failure) -> FetchedResource | Failure:
            self.hls_clients.response_ended(client, abort)
            return Failure(aborted[0]) if aborted else result

        self.hls_clients.response_started(client, abort)
        return response.addBoth(fired)

    def manifest(
        self, resource: FetchedResource, target: TokenTarget, client: HlsClient, prefix: str
    ) -> Deferred[bytes]:
        """
        Read a JSON manifest that a playlist named, and rewrite its URIs for a client.

        :param prefix: the prefix of paths for this client, without a slash at the end.
        :return: a Deferred that fails with :class:`m3uproxy.errors.SourceError`; it may be cancelled.
        """
        rewrite_uri = self._proxy.uris.rewriter(target.source, resource.public, target)

        def rewrite_for_client(kind: ResourceKind, url: str, role: ResourceRole) -> str:
            return fill_marks(rewrite_uri(kind, url, role), client.client_id, prefix)

        return Deferred.fromCoroutine(read_manifest(resource, target.kind, rewrite_for_client))

    def _remove(self, client: HlsClient) -> None:
        """Remove a client. After the last one, the session ends, and the next client finds a stream that is new."""
        self.hls_clients.remove(client)
        if not len(self.hls_clients):
            self._proxy.reset(_without_clients())


def _without_clients() -> SourceError:
    return SourceError(Reason.UNUSED, "the stream has no clients any more")
