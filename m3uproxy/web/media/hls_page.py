"""What all pages below ``/hls`` have in common, whoever makes the playlists."""

# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.web.server import Request

from ...downstream.memory_producer import MemoryProducer
from ...downstream.response_writer import ResponseWriter
from ...errors import LimitReached, SourceError
from ...hls.clients import HlsClient, HlsClients
from ...hls.variant_map import NoSuchRendition
from ...log import make_logger
from ...settings import Settings
from ...streams.base import Stream
from ..access.cors import allow_media
from ..responses import HTTPError, RawAnswer, query_value, service_unavailable, write_content
from .media_resource import MediaResource, answer_error, player_of, refusal

log = make_logger()

PLAYLIST = "application/vnd.apple.mpegurl"


class HlsPage(MediaResource):
    """One page of a stream."""

    def _head(self, request: Request) -> Any:
        """What a GET would be answered: there is no other way to know."""
        return self._get(request)

    def _options(self, request: Request) -> bytes:
        """As for a stream, of which the page is a part."""
        request.postpath = []
        return super()._options(request)

    def _admit(self, request: Request, clients: HlsClients | None) -> None:
        """
        Who has no ticket learns nothing.

        Who plays already needs none: what we write into playlists has none. Players of a stream without variants ask
        again and again for the URL that they began with, though. Its ticket may expire while they play, which is to
        end nobody; so for who plays, from where it plays, an expired one will do. An expired link that was passed on
        will not: it is used from elsewhere.
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
    What every segment's URL has.

    :raises HTTPError: 422 if it has not.
    """
    missing = [name for name in ("client_id", "url") if not query_value(request, name.encode())]
    if missing:
        raise HTTPError(422, [_missing(name) for name in missing])


def _missing(name: str) -> dict[str, object]:
    return {"type": "missing", "loc": ["query", name], "msg": "Field required", "input": None}


def answer_later(request: Request, asked: Deferred[Any], write: Callable[[Any], None]) -> None:
    """Answer when it is there, unless the player has gone by then."""
    gone = request.notifyFinish()

    def left(_: Failure) -> None:
        asked.cancel()

    def failed(failure: Failure) -> None:
        if failure.check(CancelledError) or request.channel is None:
            return
        if failure.check(NoSuchRendition):
            refuse(request, HTTPError(404, "The source in use has no such rendition."))
        elif failure.check(SourceError):
            refuse(request, refusal(cast(SourceError, failure.value)))
        else:
            log.failure("cannot answer {path}", failure=failure, path=request.path)
            refuse(request, HTTPError(500, "Internal Server Error"))

    gone.addErrback(left)
    asked.addCallbacks(write, failed)
    asked.addErrback(lambda failure: log.failure("cannot answer {path}", failure=failure, path=request.path))


def refuse(request: Request, error: HTTPError) -> None:
    """A status instead of what was asked for."""
    request.write(answer_error(request, error))
    request.finish()


def write_playlist(request: Request, body: bytes, media_type: str = PLAYLIST) -> None:
    """A playlist, or what else is small text, which any page may read."""
    allow_media(request)
    data = write_content(request, RawAnswer(body, media_type, {"Cache-Control": "no-cache"}))
    request.write(b"" if request.method == b"HEAD" else data)
    request.finish()


def send_parcel(
    request: Request,
    settings: Settings,
    make: Callable[[Callable[[bytes], None], Callable[[], None]], MemoryProducer],
) -> None:
    """
    A body at the player's pace, whose head is set.

    :param make: makes a parcel of what takes a piece and of what drops the connection of a player that takes nothing:
        if that just ended, it would look like the end of the body.
    """

    def ended(complete: bool) -> None:
        if complete:
            spout.finish()
        elif not parcel.gone:
            spout.abort()

    parcel = make(lambda data: spout.write(data), lambda: spout.abort())
    spout = ResponseWriter(request, parcel, settings.direct_write, settings.send_buffer)
    parcel.ended.addCallback(ended)
    request.notifyFinish().addErrback(lambda _: parcel.stopProducing())
    parcel.start()
