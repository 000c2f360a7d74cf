"""``/stream/<id>``: live streams, and the root of all streams. The resource is not served by a route of Klein.

If a Klein route fails after the first byte, it writes an HTML page and a clean end into the video. Here the headers are
held back until there are bytes to send. Until then a failure becomes an HTTP status; afterwards it aborts the
connection. The body is delimited by closing the connection: chunked transfer coding would cost a copy and four pieces
for each write.
"""

# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from ...core.body_kind import KindMismatch
from ...downstream.socket_writer import writer_for
from ...errors import Reason, SourceError
from ...hls.as_ts.joined_stream import HlsStreamWithTs, JoinedStream
from ...live.pump import Pump
from ...live.stream import LiveStream
from ...log import make_logger
from ...registry import Registry
from ...settings import Settings
from ...streams.base import Stream
from ...vod.stream import VodStream
from ..access.cors import MEDIA
from ..responses import HTTPError
from .media_resource import MediaResource, abort_on_error, answer_error, player_of, refusal
from .signed_urls import SignedUrls
from .vod_resource import FileResource

log = make_logger()

_LIVE = (
    (b"Accept-Ranges", b"none"),
    (b"Cache-Control", b"no-cache, no-store, must-revalidate"),
    (b"Pragma", b"no-cache"),
    (b"Expires", b"0"),
)

#: Reasons for which HLS cannot be played as one transport stream, but as playlists.
_HLS_ONLY = (Reason.NOT_TRANSPORT_STREAM, Reason.NOT_LIVE)


def live_headers(stream: LiveStream) -> tuple[tuple[bytes, bytes], ...]:
    """Return the headers of a live response."""
    return ((b"Content-Type", stream.content_type.encode()), *_LIVE, *MEDIA)


@abort_on_error
class LiveResponseWriter:
    """The HTTP side of one response: a :class:`m3uproxy.live.pump.LiveResponse`."""

    def __init__(
        self, request: Request, stream: LiveStream, settings: Settings, answer_again: Callable[[KindMismatch], bool]
    ) -> None:
        """
        Initialise a response that has not started.

        :param answer_again: called if the source is of another kind; returns whether another stream answers.
        """
        self._request = request
        self._stream = stream
        self._answer_again = answer_again
        self._channel: Any = request.channel
        self._transport: Any = self._channel.transport
        self.writer = writer_for(self._transport, settings.direct_write, settings.send_buffer)

    def begin(self, pump: Pump) -> None:
        """Register the pump. It is also stopped here, because Twisted does not always do that on disconnection."""
        self._request.notifyFinish().addBoth(lambda _: pump.stopProducing())
        self._request.registerProducer(pump, True)

    def head(self) -> bytes:
        """Return the whole head. Twisted would add chunked transfer coding to an HTTP/1.1 response."""
        request = self._request
        request.startedWriting = 1
        self._channel.ignore_further_requests()
        headers = (*live_headers(self._stream), (b"Connection", b"close"))
        lines = [b"HTTP/1.0 200 OK" if request.clientproto == b"HTTP/1.0" else b"HTTP/1.1 200 OK"]
        lines += [name + b": " + value for name, value in headers]
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def refuse(self, error: SourceError) -> None:
        """Answer with a status and the cause, and close the connection."""
        request = self._request
        request.unregisterProducer()
        if isinstance(error, KindMismatch) and self._answer_again(error):
            return
        self._channel.close_behind(request)
        request.write(answer_error(request, self._http_error(error)))
        request.finish()

    def _http_error(self, error: SourceError) -> HTTPError:
        """Return the error for a player. If the stream is playable only as HLS, redirect to its playlist."""
        if isinstance(self._stream, JoinedStream) and error.reason in _HLS_ONLY:
            _, mark, query = self._request.uri.partition(b"?")
            location = f"../hls/{self._stream.id}/playlist.m3u8" + (mark + query).decode("latin-1")
            return HTTPError(307, str(error), {"Location": location})
        return refusal(error)

    def finish(self) -> None:
        """Close the connection behind the bytes sent: the body ends with it."""
        self._channel.persistent = False
        self._request.unregisterProducer()
        self._request.finish()

    def abort(self) -> None:
        """Reset the connection. ``loseConnection`` would wait for a paused player, and would look like a clean end."""
        self._transport.abortConnection()


class StreamResource(Resource):
    """The parent of all streams, each with its id as the path."""

    def __init__(self, registry: Registry, settings: Settings, signed_urls: SignedUrls | None = None) -> None:
        """
        Serve the streams of a registry.

        :param signed_urls: checks player URLs; None if they need no signature.
        """
        super().__init__()
        self._registry = registry
        self._settings = settings
        self._signed_urls = signed_urls

    def getChild(self, path: bytes, request: Request) -> Resource:
        """Return the resource of a stream, by its kind. For an unknown id its rendering answers 404."""
        name = path.decode("ascii", "replace")
        return self._page(name)

    def _page(self, name: str) -> MediaResource:
        kind = FileResource if isinstance(self._registry.get(name), VodStream) else LiveResource
        return kind(self._registry, self._settings, self._signed_urls, name, partial(self._page, name))

    def render(self, request: Request) -> bytes:
        """Answer 404 for ``/stream`` itself."""
        return answer_error(request, HTTPError(404, "Not Found"))


class LiveResource(MediaResource):
    """The response of a live stream."""

    async def _get(self, request: Request) -> int:
        entry = self._entry(request)
        stream = self._live(entry)
        player = player_of(request, self._settings)
        self._check_room(entry, player)
        writer = LiveResponseWriter(request, stream, self._settings, partial(self.answer_again, request))
        stream.attach(player, writer, self._settings.start_timeout)
        return NOT_DONE_YET

    async def _head(self, request: Request) -> bytes:
        """Answer with the headers of a GET, without a request to the provider."""
        stream = self._live(self._entry(request))
        stream.touch()
        for name, value in live_headers(stream):
            request.setHeader(name, value)
        return b""

    def _live(self, entry: Stream) -> LiveStream:
        """Return the live stream; of an HLS stream, its transport stream."""
        if isinstance(entry, HlsStreamWithTs):
            return entry.open_ts_stream()
        if isinstance(entry, LiveStream):
            return entry
        raise HTTPError(501, "VOD and HLS streams are not available at this path.")
