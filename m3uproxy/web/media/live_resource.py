"""``/stream/<id>``: the media resource. It stands beside Klein, not in it.

A Klein route that fails after the first byte writes an HTML page and a clean end into the video. Here the head is
held back until there is something to send; until then a failure is a status, afterwards an abort. The response is
delimited by closing the connection: chunked transfer coding would cost a copy and four pieces for each write.
"""

# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from ...downstream.socket_writer import writer_for
from ...errors import Reason, SourceError
from ...hls.as_ts.joined_stream import HlsStreamWithTs, JoinedStream
from ...live.pump import Pump
from ...live.stream import LiveStream
from ...log import make_logger
from ...registry import Registry
from ...settings import Settings
from ...streams.base import Stream
from ...streams.player import PlayerInfo
from ...vod.stream import VodStream
from ..access.cors import MEDIA
from ..responses import HTTPError
from .media_resource import MediaResource, answer_error, player_of, refusal
from .signed_urls import SignedUrls
from .vod_resource import FileResource, play

log = make_logger()

_LIVE = (
    (b"Accept-Ranges", b"none"),
    (b"Cache-Control", b"no-cache, no-store, must-revalidate"),
    (b"Pragma", b"no-cache"),
    (b"Expires", b"0"),
)

#: What of HLS plays, but not as one transport stream.
_ONLY_PLAYLISTS = (Reason.NOT_TRANSPORT_STREAM, Reason.NOT_LIVE)


def live_headers(stream: LiveStream) -> tuple[tuple[bytes, bytes], ...]:
    """The headers of a live response."""
    return ((b"Content-Type", stream.content_type.encode()), *_LIVE, *MEDIA)


class LiveAnswer:
    """The response to one player of a live stream."""

    def __init__(
        self, request: Request, stream: LiveStream, settings: Settings, play_film: Callable[[SourceError], bool]
    ) -> None:
        """
        Say nothing yet.

        :param play_film: called with why there is no live stream; whether there is a film, and it is played instead.
        """
        self._request = request
        self._stream = stream
        self._play_film = play_film
        self._channel: Any = request.channel
        self._transport: Any = self._channel.transport
        self.outlet = writer_for(self._transport, settings.direct_write, settings.send_buffer)

    def begin(self, pump: Pump) -> None:
        """Register the pump. The connection's end is told to it as well (``stopProducing``), but not in each case."""
        self._request.registerProducer(pump, True)
        self._request.notifyFinish().addErrback(lambda _: pump.stopProducing())

    def head(self) -> bytes:
        """The whole head, composed here: Twisted would add chunked transfer coding to an HTTP/1.1 answer."""
        request = self._request
        request.startedWriting = 1
        self._channel.ignore_further_requests()
        headers = (*live_headers(self._stream), (b"Connection", b"close"))
        lines = [b"HTTP/1.0 200 OK" if request.clientproto == b"HTTP/1.0" else b"HTTP/1.1 200 OK"]
        lines += [name + b": " + value for name, value in headers]
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def refuse(self, error: SourceError) -> None:
        """A real status, and a body that says why. The connection ends with it: who was deleted is disconnected."""
        request = self._request
        request.unregisterProducer()
        if error.media_type is not None and self._play_film(error):
            return
        self._channel.close_behind(request)
        request.write(answer_error(request, self._why(error)))
        request.finish()

    def _why(self, error: SourceError) -> HTTPError:
        """A player of what cannot be joined is sent to where that is played."""
        if isinstance(self._stream, JoinedStream) and error.reason in _ONLY_PLAYLISTS:
            _, mark, query = self._request.uri.partition(b"?")
            location = f"../hls/{self._stream.id}/playlist.m3u8" + (mark + query).decode("latin-1")
            return HTTPError(307, str(error), {"Location": location})
        return refusal(error)

    def abort(self) -> None:
        """Not ``loseConnection``, which would wait for a player that takes nothing, and would look like an end."""
        self._transport.abortConnection()


class StreamResource(Resource):
    """All streams, each under its id."""

    def __init__(self, registry: Registry, settings: Settings, tickets: SignedUrls | None = None) -> None:
        """
        Serve what is registered.

        :param tickets: given if a player's URL must be signed.
        """
        super().__init__()
        self._registry = registry
        self._settings = settings
        self._tickets = tickets

    def getChild(self, path: bytes, request: Request) -> Resource:
        """The leaf of one stream, by its kind; an unknown id is told at rendering."""
        name = path.decode("ascii", "replace")
        kind = FileResource if isinstance(self._registry.get(name), VodStream) else LiveResource
        return kind(self._registry, self._settings, self._tickets, name)

    def render(self, request: Request) -> bytes:
        """``/stream`` itself."""
        return answer_error(request, HTTPError(404, "Not Found"))


class LiveResource(MediaResource):
    """One live stream."""

    def _get(self, request: Request) -> int:
        entry = self._entry(request)
        stream = self._live(entry)
        player = player_of(request, self._settings)
        self._check_room(entry, player)
        answer = LiveAnswer(request, stream, self._settings, partial(self._play_film, request, stream, player))
        stream.attach(player, answer, self._settings.start_timeout)
        return NOT_DONE_YET

    def _play_film(self, request: Request, stream: LiveStream, player: PlayerInfo, error: SourceError) -> bool:
        """A URL without an extension may be a film's."""
        title = self._registry.replace_by_file(stream, error)
        if title is not None:
            play(request, title, player, self._settings)
        return title is not None

    def _head(self, request: Request) -> bytes:
        """What a GET would be answered, without asking the provider."""
        stream = self._live(self._entry(request))
        stream.touch()
        for name, value in live_headers(stream):
            request.setHeader(name, value)
        return b""

    def _live(self, entry: Stream) -> LiveStream:
        """What is live of it; of HLS what is joined."""
        if isinstance(entry, HlsStreamWithTs):
            return entry.open_ts_stream()
        if isinstance(entry, LiveStream):
            return entry
        raise HTTPError(501, "This stream is not served here.")
