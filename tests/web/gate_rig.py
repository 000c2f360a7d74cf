"""A gate before an API that only records its requests, and clients with any address."""

from __future__ import annotations

import attrs
from fakes import FakeDialler
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.task import Clock
from twisted.web.resource import Resource
from wire import Answer, Wire

from m3uproxy.registry import Registry
from m3uproxy.settings import Settings
from m3uproxy.streams.spec import StreamSpec
from m3uproxy.web.access.gate import Gate
from m3uproxy.web.media.live_resource import StreamResource
from m3uproxy.web.media.signed_urls import SignedUrls
from m3uproxy.web.responses import HTTPError, write_error, write_json
from m3uproxy.web.site import Root, Site

HOME = "192.168.1.20"
ABROAD = "203.0.113.5"
TOKEN = "s3cret&+token"


class RecordingApi(Resource):
    """An API that checks the token, as every route does, and records the requests."""

    isLeaf = True

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self._gate = gate
        self.asked: list[str] = []

    def render(self, request) -> bytes:
        try:
            self._gate.check_token(request)
        except HTTPError as error:
            return write_error(request, error)
        self.asked.append(f"{request.method.decode()} {request.path.decode()}")
        return write_json(request, {"streams": ["secret"]})


def peer(address: str):
    """Return the address of a connection's peer."""
    if address == "unix":
        return UNIXAddress(None)
    return (IPv6Address if ":" in address else IPv4Address)("TCP", address, 40000)


@attrs.define
class Guarded:
    """The HTTP side with a gate."""

    clock: Clock
    site: Site
    api: RecordingApi
    registry: Registry
    dialler: FakeDialler
    settings: Settings

    def ask(self, method="GET", path="/streams", host="localhost:8085", frm=HOME, body=b"", **headers) -> Answer:
        """Send a request. In header names ``_`` stands for ``-``; a list means several lines; None omits a header."""
        lines = [f"{method} {path} HTTP/1.1", f"Content-Length: {len(body)}"]
        for name, value in {"Host": host, **headers}.items():
            values = value if isinstance(value, list) else [] if value is None else [value]
            lines += [f"{name.replace('_', '-')}: {each}" for each in values]
        wire = self.connect(frm)
        wire.send("\r\n".join([*lines, "", ""]).encode() + body)
        answer = wire.answer(method)
        wire.lose()
        return answer

    def connect(self, frm: str = HOME) -> Wire:
        return Wire(self.site, peer(frm))

    def play(self, name: str, frm: str = HOME, query: str = "", *headers: str) -> Wire:
        wire = self.connect(frm)
        lines = [f"GET /stream/{name}{query} HTTP/1.1", "Host: tv", *headers, "", ""]
        wire.send("\r\n".join(lines).encode())
        return wire

    def register(self, number: int = 1) -> str:
        return self.registry.register(StreamSpec(f"http://provider.example/live/{number}.ts", "agent")).id


def guarded(wall=None, lifetime: float = 0, **settings) -> Guarded:
    """Return the HTTP side with a gate and given settings."""
    chosen = Settings(**settings)
    clock = Clock()
    dialler = FakeDialler(clock)
    registry = Registry(clock, dialler, chosen, b"k" * 32)
    gate = Gate(chosen, clock)
    api = RecordingApi(gate)
    signed_urls = SignedUrls(b"k" * 32, lifetime, wall) if wall else None
    root = Root(chosen.root_path, StreamResource(registry, chosen, signed_urls), api, gate)
    return Guarded(clock, Site(root, clock), api, registry, dialler, chosen)
