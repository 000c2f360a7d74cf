"""HTTP in memory: real bytes in and out of a real site, on a Clock."""

from __future__ import annotations

import json as json_module
from http.client import HTTPResponse
from io import BytesIO

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

PEER = IPv4Address("TCP", "192.0.2.10", 40000)


class _Transport(StringTransport):
    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True
        super().abortConnection()


class _Socket:
    """The part of a socket that ``HTTPResponse`` uses."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> BytesIO:
        return BytesIO(self._data)


class Wire:
    """A connection to a site."""

    def __init__(self, site, peer=PEER) -> None:
        self.transport = _Transport(peerAddress=peer)
        self.channel = site.buildProtocol(peer)
        self.channel.makeConnection(self.transport)

    @property
    def closing(self) -> bool:
        return self.transport.disconnecting

    @property
    def aborted(self) -> bool:
        return self.transport.aborted

    def send(self, data: bytes) -> None:
        self.channel.dataReceived(data)

    def lose(self) -> None:
        self.channel.connectionLost(Failure(ConnectionDone()))

    def take(self) -> bytes:
        data = self.transport.value()
        self.transport.clear()
        return data

    def answer(self, method: str = "GET") -> Answer:
        return Answer(self.take(), method)


class Answer:
    """A parsed response."""

    def __init__(self, data: bytes, method: str = "GET") -> None:
        self.raw = data
        response = HTTPResponse(_Socket(data), method=method)
        response.begin()
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self):
        assert self.headers["Content-Type"] == "application/json"
        return json_module.loads(self.body)

    @property
    def detail(self):
        return self.json["detail"]


def call(
    site, method: str, path: str, json=None, body: bytes | None = None, headers=(), peer=PEER, wait=lambda: None
) -> Answer:
    """
    Send a request on a connection of its own, and return the response.

    :param wait: called before the response is read.
    """
    content = json_module.dumps(json).encode() if json is not None else body or b""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(content)}"]
    lines += [f"{name}: {value}" for name, value in dict(headers).items()]
    wire = Wire(site, peer)
    wire.send("\r\n".join([*lines, "", ""]).encode() + content)
    wait()
    answer = wire.answer(method)
    wire.lose()
    return answer
