"""The base of all pages below ``/hls``, of proxied HLS and of the muxer."""

# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.web.server import Request

from ...downstream.memory_producer import MemoryProducer
from ...downstream.response_writer import ResponseWriter
from ...errors import LimitReached
from ...hls.clients import HlsClient, HlsClients
from ...settings import Settings
from ...streams.base import Stream
from ..responses import HTTPError, RawAnswer, query_value, service_unavailable, write_content
from .media_resource import MediaResource, player_of

#: Media type of playlists.
PLAYLIST = "application/vnd.apple.mpegurl"


class HlsPage(MediaResource):
    """A page of an HLS stream: a playlist or a segment."""

    async def _head(self, request: Request) -> bytes | int:
        """Answer like a GET without a body: the headers are known only when the page is."""
        return await self._get(request)

    async def _options(self, request: Request) -> bytes:
        """Answer as for the stream that the page belongs to."""
        request.postpath = []
        return await super()._options(request)

    def _check_signature(self, request: Request, clients: HlsClients | None) -> None:
        """
        Check the signature of a request, unless it is for a URL in a playlist and the client is known.

        URLs in playlists have no signature. Players of a stream without variants request their first URL repeatedly,
        and its signature may expire during playback. So an expired signature is accepted from the address of a known
        client. An expired URL that was passed on is refused, because it is used from another address.

        :raises HTTPError: 403 if the signature is missing, wrong or expired.
        """
        if self._signed_urls is None:
            return
        player = player_of(request, self._settings)
        known = clients.find(player) if clients is not None else None
        if known is None or not query_value(request, b"url"):
            is_back = known is not None and known.ip_address == player.ip_address
            self._signed_urls.check(request, self._id, may_be_expired=is_back)

    def _register(self, request: Request, stream: Stream, clients: HlsClients) -> HlsClient:
        """
        Return the client that sent a request, and name it in the response's headers.

        :raises HTTPError: 503 if the stream has too many clients, or the client too many responses under way.
        """
        player = player_of(request, self._settings)
        if clients.find(player) is None:
            self._check_room(stream, player)
        try:
            client = clients.register(player)
        except LimitReached as reached:
            raise service_unavailable(reached) from None
        request.setHeader(b"X-Client-ID", client.client_id.encode())
        request.setHeader(b"X-Stream-ID", stream.id.encode())
        return client


def check_query(request: Request) -> None:
    """
    Check that a segment's URL has the required parameters.

    :raises HTTPError: 422 if one is missing.
    """
    missing = [name for name in ("client_id", "url") if not query_value(request, name.encode())]
    if missing:
        raise HTTPError(422, [_missing(name) for name in missing])


def _missing(name: str) -> dict[str, object]:
    return {"type": "missing", "loc": ["query", name], "msg": "Field required", "input": None}


def playlist_body(request: Request, body: bytes, media_type: str = PLAYLIST) -> bytes:
    """Set the headers of a playlist, or other short text, and return the body as sent."""
    return write_content(request, RawAnswer(body, media_type, {"Cache-Control": "no-cache"}))


def send_from_memory(
    request: Request,
    settings: Settings,
    make: Callable[[Callable[[bytes], None], Callable[[], None]], MemoryProducer],
) -> None:
    """
    Send a body at the player's pace. The headers must be set.

    :param make: makes the producer of the body from two functions. The first one writes a piece. The second one aborts
        the connection of a player that has been paused too long: a clean end would look like the end of the body.
    """

    def ended(complete: bool) -> None:
        if complete:
            writer.finish()
        elif not producer.gone:
            writer.abort()

    transport: Any = request.transport
    producer = make(lambda data: writer.write(data), transport.abortConnection)
    request.notifyFinish().addBoth(lambda _: producer.stopProducing())
    writer = ResponseWriter(request, producer, settings.direct_write, settings.send_buffer)
    producer.ended.addCallback(ended).addErrback(request.processingFailed)
    producer.start()
