"""``/stream/<id>`` of a file: parts of it, with everything that players and browsers want to know of a file.

Unlike a live stream the response has a length, so that the player's connection goes on and its next range comes over
it. A file whose length nobody knows ends with the connection, as chunked transfer coding cannot be sent the direct
way.
"""

# mypy: allow-untyped-calls

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure
from twisted.web.server import NOT_DONE_YET, Request

from ...core.http.byte_ranges import Span, parse_range, unsatisfied_range
from ...core.http.representation import Representation
from ...downstream.socket_writer import writer_for
from ...errors import Reason, SourceError
from ...log import make_logger
from ...settings import Settings
from ...streams.player import PlayerInfo
from ...vod.response import VodResponse
from ...vod.stream import VodStream
from ..access.cors import MEDIA
from ..responses import HTTPError
from .media_resource import MediaResource, answer_error, header, player_of, refusal

log = make_logger()


def file_headers(title: VodStream, edition: Representation) -> tuple[tuple[bytes, bytes], ...]:
    """What is said of a file, whatever part of it is sent."""
    told = [
        ("Content-Type", title.content_type),
        ("Accept-Ranges", {True: "bytes", False: "none", None: ""}[edition.accepts_ranges]),
        ("Cache-Control", "no-cache"),
        ("ETag", edition.etag),
        ("Last-Modified", edition.last_modified),
    ]
    return (*((name.encode(), value.encode("latin-1")) for name, value in told if value), *MEDIA)


def file_error(error: SourceError) -> HTTPError:
    """What a player is told that has had nothing yet: a provider's 4xx is about the file, so it is passed on."""
    status = error.status or 0
    if error.reason is Reason.BAD_STATUS and 400 <= status < 500 and status in HTTPStatus._value2member_map_:
        return HTTPError(status, str(error))
    return refusal(error)


class FileAnswer:
    """The response to one request for a file."""

    def __init__(self, request: Request, title: VodStream, settings: Settings) -> None:
        self._request = request
        self._title = title
        self.link: Any = request.channel
        self._transport: Any = self.link.transport
        self.outlet = writer_for(self._transport, settings.direct_write, settings.send_buffer)

    def begin(self, transfer: VodResponse) -> None:
        """The connection's end is told to the transfer as its producer, but not in each case."""
        self._request.registerProducer(transfer, True)
        self._request.notifyFinish().addErrback(lambda _: transfer.stopProducing())

    def head(self, edition: Representation, span: Span | None) -> None:
        """206 for a part, 200 for the whole."""
        request = self._request
        for name, value in file_headers(self._title, edition):
            request.setHeader(name, value)
        if span is not None and edition.length is not None:
            request.setResponseCode(206)
            request.setHeader(b"Content-Range", span.content_range(edition.length).encode())
        length = len(span) if span is not None else edition.length
        if length is not None:
            request.setHeader(b"Content-Length", b"%d" % length)
            request.write(b"")
        else:
            self._head_without_length()

    def _head_without_length(self) -> None:
        """Twisted would choose chunks."""
        request = self._request
        self.link.close_behind(request)
        request.startedWriting = 1
        self.link.writeHeaders(request.clientproto, b"200", b"OK", request.responseHeaders)

    def refuse(self, error: SourceError) -> None:
        """A real status, and a body that says why. Who was deleted is disconnected."""
        if error.reason in (Reason.DELETED, Reason.STOPPING):
            self.link.close_behind(self._request)
        self._end_with(file_error(error))

    def out_of_range(self, length: int | None) -> None:
        """416 with the length, so that the player can ask again."""
        headers = {} if length is None else {"Content-Range": unsatisfied_range(length)}
        self._end_with(HTTPError(416, "The file has no such part.", {"Accept-Ranges": "bytes", **headers}))

    def _end_with(self, error: HTTPError) -> None:
        request = self._request
        request.unregisterProducer()
        request.write(answer_error(request, error))
        request.finish()

    def finish(self) -> None:
        """The next request may come."""
        self._request.unregisterProducer()
        self._request.finish()

    def abort(self) -> None:
        """A connection that just ended would look like the end of the file."""
        self._transport.abortConnection()


def play(request: Request, title: VodStream, player: PlayerInfo, settings: Settings) -> None:
    """Answer with what a player wants of a file."""
    ranges = parse_range(header(request, b"range") or "")
    title.attach(player, FileAnswer(request, title, settings), ranges, header(request, b"if-range"))


class FileResource(MediaResource):
    """One file."""

    def _get(self, request: Request) -> int:
        title = self._title(request)
        player = player_of(request, self._settings)
        if title.is_new(player, request.channel):
            self._check_room(title, player)
        play(request, title, player, self._settings)
        return NOT_DONE_YET

    def _head(self, request: Request) -> int:
        """What the provider says of the file. A range counts with GET only (RFC 9110 section 14.2)."""
        title = self._title(request)
        asking = title.describe()
        request.notifyFinish().addErrback(lambda _: asking.cancel())
        asking.addCallbacks(self._described, self._not_described, (request, title), {}, (request,))
        asking.addErrback(lambda failure: log.failure("answering HEAD failed", failure=failure))
        return NOT_DONE_YET

    def _described(self, edition: Representation, request: Request, title: VodStream) -> None:
        for name, value in file_headers(title, edition):
            request.setHeader(name, value)
        if edition.length is not None:
            request.setHeader(b"Content-Length", b"%d" % edition.length)
        request.finish()

    def _not_described(self, failure: Failure, request: Request) -> None:
        if failure.check(CancelledError):
            return
        error = failure.value
        if not isinstance(error, SourceError):
            log.failure("asking about a file failed", failure=failure)
            error = SourceError(Reason.INTERNAL)
        request.write(answer_error(request, file_error(error)))
        request.finish()

    def _title(self, request: Request) -> VodStream:
        entry = self._entry(request)
        assert isinstance(entry, VodStream)
        return entry
