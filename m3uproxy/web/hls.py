"""``/hls/<id>/…``: playlists, and what playlists name.

What a playlist names comes back as a token that we made (:mod:`m3uproxy.core.hls.tokens`). A URL that is none is
refused, so nothing can be fetched through here that no playlist of the stream named.
"""

# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from ..core.hls.rewrite import Resource as Kind
from ..core.hls.tokens import BadToken, Target
from ..core.kind import content_type
from ..errors import SourceError
from ..fanout.registry import Registry
from ..hls.byte_range import read_range
from ..hls.directives import Directives
from ..hls.guide import NoSuchRendition
from ..hls.resource import Resource as Fetched
from ..hls.stream import HlsStream
from ..hls.viewers import HlsClient
from ..log import make_logger
from ..settings import Settings
from .answer import Content, HTTPError, write_content
from .cors import allow_media
from .media import MediaResource, answer_error, header, player_of, refusal
from .query import query_value
from .tickets import Tickets

log = make_logger()

PLAYLIST = "application/vnd.apple.mpegurl"
#: Where neither the provider nor the URL says what it is.
_SEGMENT = "video/mp2t"


class HlsResource(Resource):
    """All streams, each under its id."""

    def __init__(self, registry: Registry, settings: Settings, tickets: Tickets | None = None) -> None:
        """
        Serve what is registered.

        :param tickets: given if a player's URL must be signed.
        """
        super().__init__()
        self._given = (registry, settings, tickets)

    def getChild(self, path: bytes, request: Request) -> Resource:
        """The leaf of one stream and page; an unknown id is told at rendering."""
        page = PlaylistResource if request.postpath == [b"playlist.m3u8"] else SegmentResource
        return page(*self._given, path.decode("ascii", "replace"))


class _HlsPage(MediaResource):
    """One page of a stream."""

    def _head(self, request: Request) -> Any:
        """What a GET would be answered: there is no other way to know."""
        return self._get(request)

    def _options(self, request: Request) -> bytes:
        """As for a stream, of which the page is a part."""
        request.postpath = []
        return super()._options(request)

    def _stream(self) -> HlsStream:
        entry = self._registry.get(self._id)
        if entry is None:
            raise HTTPError(404, "Stream not found.")
        if not isinstance(entry, HlsStream):
            raise HTTPError(501, "This stream is not HLS, and is not made into HLS yet: play /stream/{id}.")
        return entry

    def _target(self, request: Request) -> Target | None:
        """
        What is asked for; None for the stream itself.

        :raises HTTPError: 403 for a URL that is none of this stream's.
        """
        token = query_value(request, b"url")
        if not token:
            return None
        stream = self._stream()
        if token in stream.spec.sources:
            return None
        try:
            return stream.target(token)
        except BadToken:
            raise HTTPError(403, "This is not a URL of this stream.") from None

    def _admit(self, request: Request) -> None:
        """Who has no ticket learns nothing. Who plays already needs none: what we write into playlists has none."""
        if self._tickets is None:
            return
        entry = self._registry.get(self._id)
        plays = isinstance(entry, HlsStream) and entry.knows(player_of(request, self._settings))
        if not plays or not query_value(request, b"url"):
            self._tickets.check(request, self._id)

    def _client(self, request: Request, stream: HlsStream) -> HlsClient:
        player = player_of(request, self._settings)
        if not stream.knows(player):
            self._check_room(stream, player)
        client = stream.client(player)
        request.setHeader(b"X-Client-ID", client.client_id.encode())
        request.setHeader(b"X-Stream-ID", stream.id.encode())
        return client


class PlaylistResource(_HlsPage):
    """``playlist.m3u8``: the stream itself, or a variant that it named."""

    def _get(self, request: Request) -> int:
        self._admit(request)
        stream, target = self._stream(), self._target(request)
        if target is not None and target.kind is not Kind.PLAYLIST:
            raise HTTPError(403, "This is not a playlist of this stream.")
        client = self._client(request, stream)
        asked = stream.playlist(target, _directives(request), client)
        _answer(request, asked, lambda body: _write_playlist(request, body))
        return NOT_DONE_YET


class SegmentResource(_HlsPage):
    """``segment.ts``: whatever else a playlist named."""

    def _get(self, request: Request) -> int:
        missing = [name for name in ("client_id", "url") if not query_value(request, name.encode())]
        if missing:
            raise HTTPError(422, [_missing(name) for name in missing])
        self._admit(request)
        stream, target = self._stream(), self._target(request)
        if target is None or target.kind is Kind.PLAYLIST:
            raise HTTPError(403, "This is not a segment of this stream.")
        client = self._client(request, stream)
        asked = stream.resource(target, read_range(header(request, b"range")))
        _answer(request, asked, lambda resource: _send(request, stream, client, target, resource))
        return NOT_DONE_YET


def _missing(name: str) -> dict[str, object]:
    return {"type": "missing", "loc": ["query", name], "msg": "Field required", "input": None}


def _directives(request: Request) -> Directives:
    """What a player waits for (RFC 8216bis section 6.2.5.2). What is no number is nothing."""
    values = [query_value(request, name) or "" for name in (b"_HLS_msn", b"_HLS_part")]
    sequence, part = (
        int(value) if value.isascii() and value.isdigit() and len(value) < 19 else None for value in values
    )
    return Directives(sequence, part if sequence is not None else None)


def _answer(request: Request, asked: Deferred[Any], write: Callable[[Any], None]) -> None:
    """Answer when it is there, unless the player has gone by then."""
    gone = request.notifyFinish()

    def left(_: Failure) -> None:
        asked.cancel()

    def failed(failure: Failure) -> None:
        if failure.check(CancelledError):
            return
        if failure.check(NoSuchRendition):
            _refuse(request, HTTPError(404, "The source in use has no such rendition."))
        elif failure.check(SourceError):
            _refuse(request, refusal(cast(SourceError, failure.value)))
        else:
            log.failure("cannot answer {path}", failure=failure, path=request.path)
            _refuse(request, HTTPError(500, "Internal Server Error"))

    gone.addErrback(left)
    asked.addCallbacks(write, failed)
    asked.addErrback(lambda failure: log.failure("cannot answer {path}", failure=failure, path=request.path))


def _refuse(request: Request, error: HTTPError) -> None:
    request.write(answer_error(request, error))
    request.finish()


def _write_playlist(request: Request, body: bytes) -> None:
    allow_media(request)
    data = write_content(request, Content(body, PLAYLIST, {"Cache-Control": "no-cache"}))
    request.write(b"" if request.method == b"HEAD" else data)
    request.finish()


def _send(request: Request, stream: HlsStream, client: HlsClient, target: Target, resource: Fetched) -> None:
    """A segment, with the provider's own status."""
    if resource.status >= 400 and resource.status != 416:
        resource.close()
        _refuse(request, HTTPError(resource.status, f"The provider answers {resource.status}."))
        return
    allow_media(request)
    guess = content_type(target.url)
    request.setHeader(b"Content-Type", (_SEGMENT if guess == "application/octet-stream" else guess).encode())
    request.setHeader(b"Accept-Ranges", b"bytes")
    request.setHeader(b"Cache-Control", b"no-cache")
    transport: Any = request.transport

    def abort() -> None:
        transport.abortConnection()

    def ended(_: object) -> None:
        client.answers.pop(abort, None)
        stream.ends(client)

    client.answers[abort] = None
    if target.kind is Kind.SEGMENT and request.method != b"HEAD":
        stream.begins(client)
    resource.send_to(request, lambda size: stream.served(client, size)).addCallback(ended)
