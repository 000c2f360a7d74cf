"""A relay as in Twisted's documentation, the reference for the cost of a channel change.

Each stream has a connection to the provider. Each piece is written to each viewer with ``transport.write`` as it
arrives. The relay has no buffer, access points, failover, limits or statistics. It uses the same libraries as m3uproxy,
so its dial costs the same in Twisted and treq. The floor in C has no such cost.

``python -m benchmarks.textbook PORT`` prints the port that it listens on; its ``/PATH`` plays
``http://127.0.0.1:PORT/PATH``.
"""

from __future__ import annotations

import sys
from typing import Any

from treq.client import HTTPClient
from twisted.internet import reactor as installed
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

reactor: Any = installed


class Stream(Protocol):
    """The stream of a path, while it has viewers."""

    transport: Any

    def __init__(self, opening: Deferred[Any]) -> None:
        self.viewers: dict[Request, None] = {}
        self._opening: Deferred[Any] | None = opening
        opening.addCallback(self._opened)
        opening.addErrback(self._failed)

    def _opened(self, response: Any) -> None:
        self._opening = None
        response.deliverBody(self)

    def _failed(self, failure: Failure) -> None:
        self._opening = None
        if not failure.check(CancelledError):
            failure.printTraceback()

    def dataReceived(self, data: bytes) -> None:
        """Send data to all viewers at once."""
        for viewer in self.viewers:
            viewer.write(data)

    def close(self) -> None:
        """Close the connection to the provider."""
        if self._opening is not None:
            self._opening.cancel()
        elif self.transport is not None:
            self.transport.stopProducing()


class Relay(Resource):
    """All paths of the relay."""

    isLeaf = True

    def __init__(self, provider: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._provider = provider
        self._client = HTTPClient(Agent(reactor, pool=HTTPConnectionPool(reactor, persistent=False)))
        self._streams: dict[bytes, Stream] = {}

    def render_GET(self, request: Request) -> int:
        """Add a viewer."""
        path: bytes = request.uri
        stream = self._streams.get(path)
        if stream is None:
            url = f"http://127.0.0.1:{self._provider}{path.decode('ascii')}"
            stream = self._streams[path] = Stream(self._client.get(url, unbuffered=True))
        stream.viewers[request] = None
        request.notifyFinish().addBoth(lambda _: self._left(path, request))
        request.setHeader(b"Content-Type", b"video/mp2t")
        return NOT_DONE_YET

    def _left(self, path: bytes, request: Request) -> None:
        stream = self._streams[path]
        del stream.viewers[request]
        if not stream.viewers:
            del self._streams[path]
            stream.close()


def main() -> None:
    """Serve until the process is killed."""
    port = reactor.listenTCP(0, Site(Relay(int(sys.argv[1]))), interface="127.0.0.1")
    print("port", port.getHost().port, flush=True)
    reactor.run()


if __name__ == "__main__":
    main()
