"""The HTTP server: routing of paths to resources, requests, and the site with its connections.

Each request is answered, or its connection ends, whatever raises. A resource returns its body, or a Deferred of it. An
exception on either way ends in :meth:`Request.processingFailed`.

Media paths branch off here, below Klein. If a response fails midway, Klein ends it with an HTML page and a clean last
chunk, which a player would play as video.
"""

# mypy: allow-untyped-calls

from __future__ import annotations

import re
from collections.abc import Callable
from io import BytesIO
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
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

#: Seconds within which a request must be complete, and for which a connection may be idle between requests.
REQUEST_TIMEOUT = 30

#: Beginnings of the names of headers that describe a body, in lower case.
_DESCRIBES_BODY = (b"content-", b"etag", b"last-modified", b"accept-ranges", b"cache-control", b"retry-after")

#: Absolute form of a request target, as sent to proxies. Servers must accept it, too (RFC 9112 section 3.2.2).
_ABSOLUTE_FORM = re.compile(rb"https?://(?:[^/?#@]*@)?([^/?#@]*)([/?][^#]*)?", re.IGNORECASE)

#: Paths below ``/hls/{id}`` for players. All other paths are management.
_PAGE = re.compile(rb"playlist\.m3u8|segment(\.[a-z0-9]{1,5})?")


class Refusal(Resource):
    """A resource that answers every method with the same error."""

    isLeaf = True

    def __init__(self, error: HTTPError) -> None:
        super().__init__()
        self._error = error

    def render(self, request: server.Request) -> bytes:
        """Write the error."""
        return write_error(request, self._error)


class Redirect(Resource):
    """A 307 with a relative reference, which is also right behind a proxy that strips a prefix from the path."""

    isLeaf = True

    def __init__(self, location: bytes) -> None:
        super().__init__()
        self._location = location

    def render(self, request: server.Request) -> bytes:
        """Redirect, with the query of the request."""
        _, mark, query = request.uri.partition(b"?")
        request.setHeader(b"Location", self._location + mark + query)
        return write_error(request, HTTPError(307, "Temporary Redirect"))


class Root(Resource):
    """The root resource: routes each request to media or to the API, without the prefix of the path."""

    def __init__(
        self,
        root_path: str,
        stream: IResource,
        api: IResource,
        gate: Gate | None = None,
        hls: IResource | None = None,
        public_prefix: Callable[[], str] = str,
    ) -> None:
        """
        Set the resources.

        :param root_path: ``Settings.root_path``.
        :param stream: serves ``/stream/{id}``; the id is in ``request.postpath``.
        :param api: serves all other paths.
        :param gate: checks requests to the API before anything else; None for no checks.
        :param hls: serves ``/hls/{id}/…`` like ``stream``; None without HLS.
        :param public_prefix: returns the path of ``PUBLIC_URL``. Media paths may begin with it, because paths in
            playlists do, also for a player that does not come through the proxy that strips it.
        """
        super().__init__()
        self._prefix = root_path.encode().split(b"/")[1:]
        self._media_below = {b"stream": stream, b"hls": hls or stream}
        self._api = api
        self._gate = gate
        self._public_prefix = public_prefix

    def getChildWithDefault(self, path: bytes, request: server.Request) -> IResource:
        """Consume all segments at once: those that lead to a resource move from ``postpath`` to ``prepath``."""
        segments = [path, *(request.postpath or ())]
        depth = len(self._prefix)
        if segments[:depth] != self._prefix:
            depth = self._public_depth(segments)
        rest = segments[depth:]
        request.prepath, request.postpath = segments[:depth], rest
        if _is_media(rest):
            return self._media(request, rest)
        return self._management(request, rest)

    def _public_depth(self, segments: list[bytes]) -> int:
        """Return the number of segments of the public prefix, 0 if this is no media path below it."""
        public = self._public_prefix().encode().split(b"/")[1:]
        depth = len(public)
        return depth if segments[:depth] == public and _is_media(segments[depth:]) else 0

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
            return Refusal(HTTPError(400, "Host header is not a valid host name."))
        return self._api


def _is_media(rest: list[bytes]) -> bool:
    """Return whether a path is ``/stream/{id}`` or a page of ``/hls/{id}``, also with a slash at the end."""
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
    """A request with errors in JSON and its body in memory."""

    transport: Any
    content: Any

    def gotLength(self, length: int | None) -> None:
        """Keep the body in memory; :class:`HttpChannel` limits it. Twisted would write more than 100 kB to a file."""
        self.content = BytesIO()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Route a complete request.

        Twisted would also parse the bodies of forms, and mix their fields with those of the query.

        :param path: the request target.
        """
        self.method, self.clientproto, self.path = command, version, path
        try:
            self._route(path)
        except Exception:
            self.processingFailed(Failure())

    def _route(self, path: bytes) -> None:
        self.content.seek(0)
        self.uri = self._origin_form(path)
        self.path, _, query = self.uri.partition(b"?")
        self.args = parse_qs(query, keep_blank_values=True)
        if self.uri[:1] == b"/" or self.uri == b"*":
            self.process()
        else:
            self.answer(write_error(self, HTTPError(400, "The request target is not a path.")))

    def _origin_form(self, target: bytes) -> bytes:
        """Return path and query of a request target. If it has a host, set that as the Host header."""
        match = _ABSOLUTE_FORM.fullmatch(target)
        if match is None:
            return target
        self.requestHeaders.setRawHeaders(b"Host", [match[1]])
        path = match[2] or b"/"
        return path if path[:1] == b"/" else b"/" + path

    def render(self, resrc: IResource) -> None:
        """Render a resource and write its response. A resource may return a Deferred of the body, too."""
        body: Any
        try:
            body = resrc.render(self)
        except UnsupportedMethod as error:
            allowed = b", ".join(error.allowedMethods).decode("ascii")
            body = write_error(self, HTTPError(405, "Method Not Allowed", {"Allow": allowed}))
        if isinstance(body, Deferred):
            self.answer_later(body)
        elif body is not NOT_DONE_YET:
            self.answer(body)

    def answer_later(self, body: Deferred[Any]) -> None:
        """Answer when a Deferred fires. Cancel it if the client disconnects before, or the request is ended."""
        body.addCallback(self._body_ready).addErrback(self._body_failed)
        body.addErrback(lambda failure: log.failure("ending a request failed", failure=failure))
        if not body.called or body.paused:
            self.notifyFinish().addBoth(lambda _: body.cancel())

    def _body_ready(self, body: Any) -> None:
        if body is not NOT_DONE_YET and not self.is_over:
            self.answer(body)

    def _body_failed(self, failure: Failure) -> None:
        if not (self.is_over and failure.check(CancelledError)):
            self.processingFailed(failure)

    @property
    def is_over(self) -> bool:
        """True if the response is complete or the client has disconnected."""
        return bool(self.finished or self._disconnected)

    def processingFailed(self, reason: Failure) -> Failure:
        """Answer 500 for an unexpected error. A response that has started is aborted, so that it looks incomplete."""
        log.failure("cannot answer {method} {path}", failure=reason, method=self.method, path=self.path)
        if self.is_over:
            return reason
        if not self.startedWriting:
            try:
                self._answer_internal_error()
                return reason
            except Exception:
                log.failure("cannot answer {path} with an error", path=self.path)
        self.transport.abortConnection()
        return reason

    def abort(self, reason: Failure) -> None:
        """Abort the connection for an unexpected error: the caller may still write to it."""
        log.failure("{method} {path} failed", failure=reason, method=self.method, path=self.path)
        if not self.is_over:
            self.transport.abortConnection()

    def begin_within(self, seconds: float) -> None:
        """
        Abort the connection if no response has begun after some seconds.

        Each step of a response has a timeout of its own. This one is for a fault in the step itself, or in its timeout.
        """

        def begin_timeout() -> None:
            if not self.startedWriting:
                log.error("no response to {method} {path} in {s:g} s", method=self.method, path=self.path, s=seconds)
                self.transport.abortConnection()

        timer = self.channel.callLater(seconds, begin_timeout)
        self.notifyFinish().addBoth(lambda _: timer.cancel() if timer.active() else None)

    def _answer_internal_error(self) -> None:
        """Answer 500, without the producer and the headers of the response that failed."""
        if self.producer is not None:
            self.unregisterProducer()
        for name, _ in list(self.responseHeaders.getAllRawHeaders()):
            if name.lower().startswith(_DESCRIBES_BODY):
                self.responseHeaders.removeHeader(name)
        self.answer(write_error(self, HTTPError(500, "Internal Server Error")))

    def answer(self, body: bytes) -> None:
        """Write a whole body and finish the response. Its status and headers are set."""
        if self.method != b"HEAD":
            self.setHeader(b"Content-Length", b"%d" % len(body))
        self.write(body)
        self.finish()


class Site(server.Site):
    """The factory of connections. There is no access log: it would contain tokens, and not the viewers of a stream."""

    protocol = HttpChannel  # type: ignore[assignment]
    displayTracebacks = False
    noisy = False

    def __init__(self, root: IResource, reactor: IReactorTime, request_timeout: float = REQUEST_TIMEOUT) -> None:
        """
        Initialise a site that is not listening.

        :param reactor: for the timeouts of requests.
        :param request_timeout: seconds within which head and body of a request must be complete, and for which a
            connection may be idle between requests.
        """
        super().__init__(root, requestFactory=Request, reactor=reactor, timeout=request_timeout)
        self._connections: set[HttpChannel] = set()
        self._all_closed: Deferred[None] | None = None

    def acceptableProtocols(self) -> list[bytes]:
        """Return HTTP/1.1 only, for TLS. Twisted may support HTTP/2, but :class:`HttpChannel` does not."""
        return [b"http/1.1"]

    def startFactory(self) -> None:
        """Do nothing: Twisted would open an access log and start a timer for its time stamps."""

    def stopFactory(self) -> None:
        """Do nothing: there is no access log to close."""

    def connection_opened(self, connection: HttpChannel) -> None:
        """Add a connection."""
        self._connections.add(connection)

    def connection_closed(self, connection: HttpChannel) -> None:
        """Remove a connection. If it was the last one, :meth:`close` is complete."""
        self._connections.discard(connection)
        if self._all_closed is not None and not self._connections:
            all_closed, self._all_closed = self._all_closed, None
            all_closed.callback(None)

    def close(self) -> Deferred[None]:
        """Close all connections. Call this once, when the ports are closed.

        :return: a Deferred that fires when the last connection has closed.
        """
        if not self._connections:
            return succeed(None)
        all_closed: Deferred[None] = Deferred()
        self._all_closed = all_closed
        for connection in list(self._connections):
            connection.close()
        return all_closed
