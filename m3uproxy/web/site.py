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
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET

from ..log import make_logger
from .answer import HTTPError, write_error
from .channel import Channel

log = make_logger()

#: Seconds within which a request must be complete, and that a connection may idle between requests.
REQUEST_TIMEOUT = 30


#: What may stand in a Host header (RFC 9110 section 7.2); a label of a name has 63 characters at most.
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[\w-]{1,63}(\.[\w-]{1,63})*\.?)(:\d*)?", re.ASCII)


class Refusal(Resource):
    """Answers every method with the same error."""

    isLeaf = True

    def __init__(self, status: int, detail: str) -> None:
        super().__init__()
        self._error = HTTPError(status, detail)

    def render(self, request: server.Request) -> bytes:
        """Write the error."""
        return write_error(request, self._error)


class Moved(Resource):
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

    def __init__(self, root_path: str, stream: IResource, api: IResource) -> None:
        """
        Join the two.

        :param root_path: ``Settings.root_path``.
        :param stream: a leaf, answers ``/stream/{id}`` and finds the id in ``request.postpath``.
        :param api: a leaf, answers everything else.
        """
        super().__init__()
        self._prefix = root_path.encode().split(b"/")[1:]
        self._stream = stream
        self._api = api

    def getChildWithDefault(self, path: bytes, request: server.Request) -> IResource:
        """Take all segments at once; those that lead to a resource move from ``postpath`` to ``prepath``."""
        postpath: list[bytes] = request.postpath or []
        segments = [path, *postpath]
        if not all(map(_is_text, segments)):
            return Refusal(404, "Not Found")
        depth = len(self._prefix)
        if depth and segments[:depth] == self._prefix:
            if len(segments) == depth:
                return Moved(self._prefix[-1] + b"/")
        else:
            depth = 0
        rest = segments[depth:]
        if len(rest) > 1 and rest[-1] == b"" and rest[-2] != b"":
            return Moved(b"../" + request.uri.partition(b"?")[0].split(b"/")[-2])
        if len(rest) == 2 and rest[0] == b"stream":
            depth += 1
            resource = self._stream
        elif _HOST.fullmatch(request.getHeader(b"host") or b"none"):
            resource = self._api
        else:
            return Refusal(400, "The Host header is not a host.")
        request.prepath, request.postpath = segments[:depth], segments[depth:]
        return resource


def _is_text(segment: bytes) -> bool:
    try:
        segment.decode()
    except UnicodeDecodeError:
        return False
    return True


class Request(server.Request):
    """A request whose failures are answered in JSON, and whose body stays in memory."""

    transport: Any

    def gotLength(self, length: int | None) -> None:
        """Twisted would write bodies over 100 kB to a file; :class:`Channel` bounds them all."""
        self.content = BytesIO()

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

    protocol = Channel  # type: ignore[assignment]
    displayTracebacks = False
    noisy = False

    def __init__(self, root: IResource, reactor: IReactorTime) -> None:
        """
        Make a site that is not listening yet.

        :param reactor: for the timeouts of requests.
        """
        super().__init__(root, requestFactory=Request, reactor=reactor, timeout=REQUEST_TIMEOUT)
        self._connections: set[Channel] = set()
        self._all_closed: Deferred[None] | None = None

    def startFactory(self) -> None:
        """Open no log file, so that nothing is logged, and start no clock for its lines."""

    def stopFactory(self) -> None:
        """There is nothing to close."""

    def opened(self, connection: Channel) -> None:
        """A client has connected."""
        self._connections.add(connection)

    def closed(self, connection: Channel) -> None:
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
