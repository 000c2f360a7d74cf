"""The HTTP server: which resource answers which path, and what holds for all of them.

Media and API part ways here, below Klein: Klein ends a response that fails midway with an HTML page and a clean
last chunk, which in a video would be played.
"""

# mypy: allow-untyped-calls

from __future__ import annotations

import re
from io import BytesIO
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.error import UnsupportedMethod
from twisted.web.http import parse_qs
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET

from ..log import make_logger
from .access import cors
from .access.gate import Gate
from .access.own_url import parse_authority
from .http_channel import HttpChannel
from .responses import HTTPError, write_error

log = make_logger()

#: Seconds within which a request must be complete, and that a connection may idle between requests.
REQUEST_TIMEOUT = 30

#: A request target with everything in it, as proxies are asked (RFC 9112 section 3.2.2). Servers must take it, too.
_ABSOLUTE_FORM = re.compile(rb"https?://(?:[^/?#@]*@)?([^/?#@]*)([/?][^#]*)?", re.IGNORECASE)


#: What there is below ``/hls/{id}`` for players; the rest is management.
_PAGE = re.compile(rb"playlist\.m3u8|segment(\.[a-z0-9]{1,5})?")


class Refusal(Resource):
    """Answers every method with the same error."""

    isLeaf = True

    def __init__(self, error: HTTPError) -> None:
        super().__init__()
        self._error = error

    def render(self, request: server.Request) -> bytes:
        """Write the error."""
        return write_error(request, self._error)


class Redirect(Resource):
    """Answers 307, by a relative reference: right also behind a proxy that strips a prefix from the path."""

    isLeaf = True

    def __init__(self, location: bytes) -> None:
        super().__init__()
        self._location = location

    def render(self, request: server.Request) -> bytes:
        """The query goes along."""
        _, mark, query = request.uri.partition(b"?")
        request.setHeader(b"Location", self._location + mark + query)
        return write_error(request, HTTPError(307, "Temporary Redirect"))


class Root(Resource):
    """Sends each request to the media or to the API, with the prefix taken off once if it is there."""

    def __init__(
        self, root_path: str, stream: IResource, api: IResource, gate: Gate | None = None, hls: IResource | None = None
    ) -> None:
        """
        Join the two.

        :param root_path: ``Settings.root_path``.
        :param stream: a leaf, answers ``/stream/{id}`` and finds the id in ``request.postpath``.
        :param api: a leaf, answers everything else.
        :param gate: judges what goes to the API before anything of it is looked at; None lets all pass.
        :param hls: the same as ``stream`` for ``/hls/{id}/…``; None if there is none.
        """
        super().__init__()
        self._prefix = root_path.encode().split(b"/")[1:]
        self._media_below = {b"stream": stream, b"hls": hls or stream}
        self._api = api
        self._gate = gate

    def getChildWithDefault(self, path: bytes, request: server.Request) -> IResource:
        """Take all segments at once; those that lead to a resource move from ``postpath`` to ``prepath``."""
        segments = [path, *(request.postpath or ())]
        depth = len(self._prefix)
        if segments[:depth] != self._prefix:
            depth = 0
        rest = segments[depth:]
        request.prepath, request.postpath = segments[:depth], rest
        if _is_media(rest):
            return self._media(request, rest)
        return self._management(request, rest)

    def _media(self, request: server.Request, rest: list[bytes]) -> IResource:
        if not all(map(_is_text, rest)):
            return Refusal(HTTPError(404, "Not Found"))
        if rest[-1] == b"":
            cors.allow_media(request)
            return _without_slash(request)
        request.prepath, request.postpath = [*(request.prepath or ()), rest[0]], rest[1:]
        return self._media_below[rest[0]]

    def _management(self, request: server.Request, rest: list[bytes]) -> IResource:
        try:
            preflight = self._gate.admit(request) if self._gate is not None else None
        except HTTPError as error:
            return Refusal(error)
        if preflight is not None:
            return preflight
        if not rest:
            return Redirect(self._prefix[-1] + b"/")
        if not all(map(_is_text, rest)):
            return Refusal(HTTPError(404, "Not Found"))
        if len(rest) > 1 and rest[-1] == b"" and rest[-2] != b"":
            return _without_slash(request)
        if parse_authority((request.getHeader(b"Host") or b"none").decode("latin-1")) is None:
            return Refusal(HTTPError(400, "The Host header is not a host."))
        return self._api


def _is_media(rest: list[bytes]) -> bool:
    """``/stream/{id}`` or a page of ``/hls/{id}``, perhaps with a slash at the end."""
    if rest[1:2] in ([], [b""]):
        return False
    if rest[0] == b"hls":
        return rest[2:3] != [] and bool(_PAGE.fullmatch(rest[2])) and rest[3:] in ([], [b""])
    return rest[0] == b"stream" and rest[2:] in ([], [b""])


def _without_slash(request: server.Request) -> IResource:
    return Redirect(b"../" + request.uri.partition(b"?")[0].split(b"/")[-2])


def _is_text(segment: bytes) -> bool:
    try:
        segment.decode()
    except UnicodeDecodeError:
        return False
    return True


class Request(server.Request):
    """A request whose failures are answered in JSON, and whose body stays in memory."""

    transport: Any
    content: Any

    def gotLength(self, length: int | None) -> None:
        """Twisted would write bodies over 100 kB to a file; :class:`HttpChannel` bounds them all."""
        self.content = BytesIO()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """All of a request is there.

        Twisted would also parse the bodies of forms, and mix their fields with those of the query.

        :param path: the request target.
        """
        self.content.seek(0)
        self.method, self.clientproto = command, version
        self.uri = self._origin_form(path)
        self.path, _, query = self.uri.partition(b"?")
        self.args = parse_qs(query, keep_blank_values=True)
        if self.uri[:1] == b"/" or self.uri == b"*":
            self.process()
        else:
            self._answer(write_error(self, HTTPError(400, "The request target is not a path.")))

    def _origin_form(self, target: bytes) -> bytes:
        """The path and query of a request target. A host in it replaces the Host header."""
        match = _ABSOLUTE_FORM.fullmatch(target)
        if match is None:
            return target
        self.requestHeaders.setRawHeaders(b"Host", [match[1]])
        path = match[2] or b"/"
        return path if path[:1] == b"/" else b"/" + path

    def render(self, resrc: IResource) -> None:
        """Have a resource answer."""
        try:
            body = resrc.render(self)
        except UnsupportedMethod as error:
            allowed = b", ".join(error.allowedMethods).decode("ascii")
            body = write_error(self, HTTPError(405, "Method Not Allowed", {"Allow": allowed}))
        if body is not NOT_DONE_YET:
            self._answer(body)

    def processingFailed(self, reason: Failure) -> Failure:
        """Our own fault. What has begun must not look complete."""
        log.failure("cannot answer {method} {path}", failure=reason, method=self.method, path=self.path)
        if self.startedWriting:
            self.transport.abortConnection()
        else:
            self._answer(write_error(self, HTTPError(500, "Internal Server Error")))
        return reason

    def _answer(self, body: bytes) -> None:
        if self.method != b"HEAD":
            self.setHeader(b"Content-Length", b"%d" % len(body))
        self.write(body)
        self.finish()


class Site(server.Site):
    """The factory of connections. It writes no access log: that would hold tokens and would lack viewers."""

    protocol = HttpChannel  # type: ignore[assignment]
    displayTracebacks = False
    noisy = False

    def __init__(self, root: IResource, reactor: IReactorTime, request_timeout: float = REQUEST_TIMEOUT) -> None:
        """
        Make a site that is not listening yet.

        :param reactor: for the timeouts of requests.
        :param request_timeout: seconds within which a request, head and body, must be complete, and that a
            connection may idle between requests.
        """
        super().__init__(root, requestFactory=Request, reactor=reactor, timeout=request_timeout)
        self._connections: set[HttpChannel] = set()
        self._all_closed: Deferred[None] | None = None

    def acceptableProtocols(self) -> list[bytes]:
        """For TLS: HTTP/1.1 alone, also where Twisted finds what it needs for HTTP/2, which our channel is not."""
        return [b"http/1.1"]

    def startFactory(self) -> None:
        """Open no log file, so that nothing is logged, and start no clock for its lines."""

    def stopFactory(self) -> None:
        """There is nothing to close."""

    def connection_opened(self, connection: HttpChannel) -> None:
        """A client has connected."""
        self._connections.add(connection)

    def connection_closed(self, connection: HttpChannel) -> None:
        """A client's connection is gone."""
        self._connections.discard(connection)
        if self._all_closed is not None and not self._connections:
            all_closed, self._all_closed = self._all_closed, None
            all_closed.callback(None)

    def close(self) -> Deferred[None]:
        """Close every connection. To be called once, when there is no listening any more.

        :return: fires when they are gone.
        """
        if not self._connections:
            return succeed(None)
        all_closed: Deferred[None] = Deferred()
        self._all_closed = all_closed
        for connection in list(self._connections):
            connection.close()
        return all_closed
