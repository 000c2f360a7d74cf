"""``/stream/<id>``: the media resource. It stands beside Klein, not in it.

A Klein route that fails after the first byte writes an HTML page and a clean end into the video. Here the head is
held back until there is something to send; until then a failure is a status, afterwards an abort. The response is
delimited by closing the connection: chunked transfer coding would cost a copy and four pieces for each write.
"""

# mypy: allow-untyped-calls

from __future__ import annotations

from typing import Any

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from ..errors import LimitReached, SourceError
from ..fanout.outlet import outlet_for
from ..fanout.pump import Pump
from ..fanout.registry import Registry
from ..fanout.stream import Player, Stream
from ..log import make_logger
from ..settings import Settings
from .answer import HTTPError, no_room, write_error
from .cors import MEDIA, allow_media, answer_media_preflight, is_preflight
from .peer import client_address
from .query import query_value
from .tickets import Tickets

log = make_logger()

_METHODS = "GET, HEAD, OPTIONS"
_LIVE = (
    (b"Accept-Ranges", b"none"),
    (b"Cache-Control", b"no-cache, no-store, must-revalidate"),
    (b"Pragma", b"no-cache"),
    (b"Expires", b"0"),
)


def live_headers(stream: Stream) -> tuple[tuple[bytes, bytes], ...]:
    """The headers of a live response."""
    return ((b"Content-Type", stream.content_type.encode()), *_LIVE, *MEDIA)


def player_of(request: Request, settings: Settings) -> Player:
    """Who asks."""
    address = client_address(request, settings)
    names = (query_value(request, name) for name in (b"username", b"user", b"u"))
    return Player(
        ip_address=str(address or "unknown"),
        user_agent=_header(request, b"user-agent") or "unknown",
        username=_header(request, b"x-username") or next((name for name in names if name), None),
        client_id=query_value(request, b"client_id"),
    )


def _header(request: Request, name: bytes) -> str | None:
    value = request.requestHeaders.getRawHeaders(name, [None])[0]
    return value.decode("utf-8", "replace") if value else None


class LiveAnswer:
    """The response to one player of a live stream."""

    def __init__(self, request: Request, stream: Stream, settings: Settings) -> None:
        self._request = request
        self._stream = stream
        self._channel: Any = request.channel
        self._transport: Any = self._channel.transport
        self.outlet = outlet_for(self._transport, settings.direct_write, settings.send_buffer)

    def begin(self, pump: Pump) -> None:
        """Register the pump. The connection's end is told to it as well (``stopProducing``), but not in each case."""
        self._request.registerProducer(pump, True)
        self._request.notifyFinish().addErrback(lambda _: pump.stopProducing())

    def head(self) -> bytes:
        """The whole head, composed here: Twisted would add chunked transfer coding to an HTTP/1.1 answer."""
        request = self._request
        request.startedWriting = 1
        self._channel.answer_to_the_end()
        headers = (*live_headers(self._stream), (b"Connection", b"close"))
        lines = [b"HTTP/1.0 200 OK" if request.clientproto == b"HTTP/1.0" else b"HTTP/1.1 200 OK"]
        lines += [name + b": " + value for name, value in headers]
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def refuse(self, error: SourceError) -> None:
        """A real status, and a body that says why. The connection ends with it: who was deleted is disconnected."""
        request = self._request
        request.unregisterProducer()
        self._channel.close_behind(request)
        request.write(_answer_error(request, _refusal(error)))
        request.finish()

    def abort(self) -> None:
        """Not ``loseConnection``, which would wait for a player that takes nothing, and would look like an end."""
        self._transport.abortConnection()


def _refusal(error: SourceError) -> HTTPError:
    return no_room(error) if error.player_status == 503 else HTTPError(error.player_status, str(error))


def _answer_error(request: Request, error: HTTPError) -> bytes:
    """An error that a web page may read too; the body for a resource to return."""
    allow_media(request)
    request.setHeader(b"Cache-Control", b"no-cache")
    body = write_error(request, error)
    return b"" if request.method == b"HEAD" else body


class StreamResource(Resource):
    """All streams, each under its id."""

    def __init__(self, registry: Registry, settings: Settings, tickets: Tickets | None = None) -> None:
        """
        Serve what is registered.

        :param tickets: given if a player's URL must be signed.
        """
        super().__init__()
        self._registry = registry
        self._settings = settings
        self._tickets = tickets

    def getChild(self, path: bytes, request: Request) -> Resource:
        """The leaf of one stream; an unknown id is told at rendering."""
        return LiveResource(self._registry, self._settings, self._tickets, path.decode("ascii", "replace"))

    def render(self, request: Request) -> bytes:
        """``/stream`` itself."""
        return _answer_error(request, HTTPError(404, "Not Found"))


class LiveResource(Resource):
    """One live stream."""

    isLeaf = True
    allowedMethods = (b"GET", b"HEAD", b"OPTIONS")

    def __init__(self, registry: Registry, settings: Settings, tickets: Tickets | None, stream_id: str) -> None:
        super().__init__()
        self._registry = registry
        self._settings = settings
        self._tickets = tickets
        self._id = stream_id

    def render(self, request: Request) -> Any:
        """What a method needs is looked at in this order: the method, the ticket, the stream, the room."""
        try:
            answer = {b"GET": self._get, b"HEAD": self._head, b"OPTIONS": self._options}.get(request.method)
            if answer is None:
                raise HTTPError(405, "Method Not Allowed", {"Allow": _METHODS})
            return answer(request)
        except HTTPError as error:
            return _answer_error(request, error)

    def _stream(self, request: Request) -> Stream:
        """Whoever has no ticket learns nothing of what there is."""
        if self._tickets is not None:
            self._tickets.check(request, self._id)
        stream = self._registry.get(self._id)
        if stream is None or any(request.postpath or ()):
            raise HTTPError(404, "Stream not found.")
        return stream

    def _get(self, request: Request) -> int:
        stream = self._stream(request)
        player = player_of(request, self._settings)
        try:
            self._registry.check_room(stream, player.ip_address)
        except LimitReached as reached:
            raise no_room(reached) from None
        stream.attach(player, LiveAnswer(request, stream, self._settings), self._settings.start_timeout)
        return NOT_DONE_YET

    def _head(self, request: Request) -> bytes:
        """What a GET would be answered, without asking the provider."""
        stream = self._stream(request)
        stream.touch()
        for name, value in live_headers(stream):
            request.setHeader(name, value)
        return b""

    def _options(self, request: Request) -> bytes:
        if is_preflight(request):
            return answer_media_preflight(request)
        self._stream(request)
        allow_media(request)
        request.setHeader(b"Allow", _METHODS.encode())
        return b""
