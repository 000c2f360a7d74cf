"""A whole web side on a Clock, with a registry that really registers and a provider that never answers."""

from __future__ import annotations

import attrs
import pytest
from fakes import FakeResolver
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from wire import Answer, Wire, call
from zope.interface import implementer

from m3uproxy.hls.fetcher import Fetcher
from m3uproxy.interfaces import IDialler, IUrlChecker
from m3uproxy.registry import Registry
from m3uproxy.settings import Settings
from m3uproxy.web.access.gate import Gate
from m3uproxy.web.api.app import Api
from m3uproxy.web.media.hls_resource import HlsResource
from m3uproxy.web.media.live_resource import StreamResource
from m3uproxy.web.media.signed_urls import SignedUrls
from m3uproxy.web.site import Root, Site

#: A client in the house: without a token the API is for it.
AT_HOME = IPv4Address("TCP", "192.168.1.10", 40000)


@implementer(IDialler)
class SilentProvider:
    """Takes calls and never answers them."""

    def __init__(self) -> None:
        self.dialled: list[str] = []

    def dial(self, request, limits, slot=None):
        self.dialled.append(request.url)
        return Deferred()


class SilentOrigin:
    """The same for playlists."""

    def ask(self, wanted, byte_range, limits):
        return Deferred()


@implementer(IUrlChecker)
class ScriptedProbe:
    """Answers when a test tells it to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, float]] = []
        self.cancelled = 0
        self._answer: Deferred[int] | None = None

    def status(self, url, timeout):
        self.asked.append((url, timeout))
        self._answer = Deferred(lambda _: self._cancel())
        return self._answer

    def answer(self, result) -> None:
        """A status, or an exception."""
        answer, self._answer = self._answer, None
        if isinstance(result, Exception):
            answer.errback(result)
        else:
            answer.callback(result)

    def _cancel(self) -> None:
        self.cancelled += 1


@attrs.define
class Web:
    clock: Clock
    registry: Registry
    site: Site
    provider: SilentProvider
    probe: ScriptedProbe
    api: Api
    resolver: FakeResolver

    def call(self, method: str, path: str, peer=AT_HOME, **more) -> Answer:
        return call(self.site, method, path, peer=peer, **more)

    def register(self, url: str = "http://provider.example/live/1.ts", **more) -> str:
        answer = self.call("POST", "/streams", json={"url": url, **more})
        assert answer.status == 200, answer.body
        return answer.json["stream_id"]

    def connect(self, peer=AT_HOME) -> Wire:
        return Wire(self.site, peer)


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch, tmp_path):
    """Settings of the machine and a .env of the developer are none of a test's business."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def build():
    """Make a web side with settings of one's own."""
    made: list[Web] = []
    fetchers: list[Fetcher] = []

    def make(**settings) -> Web:
        clock, provider, probe = Clock(), SilentProvider(), ScriptedProbe()
        chosen, key = Settings(**settings), b"k" * 32
        resolver = FakeResolver()
        fetcher = Fetcher(clock, SilentOrigin(), chosen)
        fetchers.append(fetcher)
        registry = Registry(clock, provider, chosen, key, resolver=resolver, fetcher=fetcher)
        tickets = None
        if chosen.player_url_lifetime:
            tickets = SignedUrls(key, chosen.player_url_lifetime, lambda: 1_800_000_000 + clock.seconds())
        gate = Gate(chosen, clock)
        api = Api(registry, chosen, clock, gate, probe, tickets)
        given = (registry, chosen, tickets)
        root = Root(chosen.root_path, StreamResource(*given), api.resource(), gate, HlsResource(*given))
        made.append(Web(clock, registry, Site(root, clock), provider, probe, api, resolver))
        return made[-1]

    yield make
    for fetcher in fetchers:
        fetcher.stop()
    for web in made:
        assert web.clock.getDelayedCalls() == []


@pytest.fixture
def web(build) -> Web:
    return build()


@pytest.fixture
def logged():
    """All log events while the test runs."""
    from twisted.logger import globalLogPublisher

    events: list[dict] = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


@pytest.fixture
def flush_errors(logged):
    """Take the logged failures of a type; at the end none may be left."""
    taken: list[dict] = []

    def flush(kind: type[BaseException]) -> list[dict]:
        found = [event for event in logged if "log_failure" in event and event["log_failure"].check(kind)]
        taken.extend(found)
        return found

    yield flush
    assert [event for event in logged if "log_failure" in event and event not in taken] == []
