"""``/stream/<id>`` of a file: ranges of it, with the headers that players and browsers expect of a file.

Unlike a live response this one has a length, so that the player's connection stays open for the next range. The body
of a file of unknown length is delimited by closing the connection, because chunked transfer coding cannot be written
straight to the socket.
"""

# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any

from twisted.web.server import NOT_DONE_YET, Request

from ...core.body_kind import KindMismatch
from ...core.http.byte_ranges import Span, parse_range, unsatisfied_range
from ...core.http.representation import Representation
from ...downstream.socket_writer import writer_for
from ...errors import Reason, SourceError
from ...settings import Settings
from ...vod.response import VodResponse
from ...vod.stream import VodStream
from ..access.cors import MEDIA
from ..responses import HTTPError
from .media_resource import MediaResource, abort_on_error, answer_error, header, player_of, refusal


def file_headers(stream: VodStream, representation: Representation) -> tuple[tuple[bytes, bytes], ...]:
    """Return the headers that describe a file, the same for each of its ranges."""
    headers = [
        ("Content-Type", stream.content_type),
        ("Accept-Ranges", {True: "bytes", False: "none", None: ""}[representation.accepts_ranges]),
        ("Cache-Control", "no-cache"),
        ("ETag", representation.etag),
        ("Last-Modified", representation.last_modified),
    ]
    return (*((name.encode(), value.encode("latin-1")) for name, value in headers if value), *MEDIA)


def file_error(error: SourceError) -> HTTPError:
    """Return the error for a player without headers yet. A provider's 4xx is about the file and is passed on."""
    status = error.status or 0
    if error.reason is Reason.BAD_STATUS and 400 <= status < 500 and status in HTTPStatus._value2member_map_:
        return HTTPError(status, str(error))
    return refusal(error)


@abort_on_error
class FileResponseWriter:
    """The HTTP side of one response: a :class:`m3uproxy.vod.response.VodResponseWriter`."""

    def __init__(
        self, request: Request, stream: VodStream, settings: Settings, answer_again: Callable[[KindMismatch], bool]
    ) -> None:
        """
        Initialise a response that has not started.

        :param answer_again: called if the source is no file; returns whether another stream answers.
        """
        self._request = request
        self._answer_again = answer_again
        self._stream = stream
        self.connection: Any = request.channel
        self._transport: Any = self.connection.transport
        self.socket_writer = writer_for(self._transport, settings.direct_write, settings.send_buffer)

    def register(self, response: VodResponse) -> None:
        """Register the producer. It is also stopped here, because Twisted does not always do that on disconnection."""
        self._request.notifyFinish().addBoth(lambda _: response.stopProducing())
        self._request.registerProducer(response, True)

    def write_head(self, representation: Representation, span: Span | None) -> None:
        """Write the headers: 206 for a range, 200 for the whole file."""
        request = self._request
        for name, value in file_headers(self._stream, representation):
            request.setHeader(name, value)
        if span is not None and representation.length is not None:
            request.setResponseCode(206)
            request.setHeader(b"Content-Range", span.content_range(representation.length).encode())
        length = len(span) if span is not None else representation.length
        if length is not None:
            request.setHeader(b"Content-Length", b"%d" % length)
            request.write(b"")
        else:
            self._write_head_without_length()

    def _write_head_without_length(self) -> None:
        """Write the headers directly: Twisted would add chunked transfer coding."""
        request = self._request
        self.connection.close_behind(request)
        request.startedWriting = 1
        self.connection.writeHeaders(request.clientproto, b"200", b"OK", request.responseHeaders)

    def refuse(self, error: SourceError) -> None:
        """Answer with a status and the cause. If the stream is deleted or the server stops, close the connection."""
        self._request.unregisterProducer()
        if isinstance(error, KindMismatch) and self._answer_again(error):
            return
        if error.reason in (Reason.DELETED, Reason.STOPPING):
            self.connection.close_behind(self._request)
        self._finish_with(file_error(error))

    def refuse_range(self, length: int | None) -> None:
        """Answer 416 with the length, so that the player can send another request."""
        self._request.unregisterProducer()
        headers = {} if length is None else {"Content-Range": unsatisfied_range(length)}
        detail = "The file has no bytes in the requested range."
        self._finish_with(HTTPError(416, detail, {"Accept-Ranges": "bytes", **headers}))

    def _finish_with(self, error: HTTPError) -> None:
        request = self._request
        request.write(answer_error(request, error))
        request.finish()

    def finish(self) -> None:
        """End the response. The connection stays open for the next request."""
        self._request.unregisterProducer()
        self._request.finish()

    def abort(self) -> None:
        """Reset the connection: an orderly close would look like the end of the file."""
        self._transport.abortConnection()


class FileResource(MediaResource):
    """The responses of a file."""

    async def _get(self, request: Request) -> int:
        stream = self._file(request)
        player = player_of(request, self._settings)
        connection: Any = request.channel
        if stream.is_new(player, connection):
            self._check_room(stream, player)
        ranges = parse_range(header(request, b"range") or "")
        writer = FileResponseWriter(request, stream, self._settings, partial(self.answer_again, request))
        stream.attach(player, writer, ranges, header(request, b"if-range"))
        return NOT_DONE_YET

    async def _head(self, request: Request) -> bytes:
        """Answer with the headers of the whole file: Range is defined for GET only (RFC 9110 section 14.2)."""
        stream = self._file(request)
        representation = await stream.describe()
        for name, value in file_headers(stream, representation):
            request.setHeader(name, value)
        if representation.length is not None:
            request.setHeader(b"Content-Length", b"%d" % representation.length)
        return b""

    def _refusal(self, error: SourceError) -> HTTPError:
        return file_error(error)

    def _file(self, request: Request) -> VodStream:
        entry = self._entry(request)
        assert isinstance(entry, VodStream)
        return entry
