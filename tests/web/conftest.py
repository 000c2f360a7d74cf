"""The whole HTTP side on a Clock, with a real registry and a provider that never answers."""

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

#: A client in the home network, which may use the API without a token.
AT_HOME = IPv4Address("TCP", "192.168.1.10", 40000)


@implementer(IDialler)
class SilentProvider:
    """A dialler whose dials never complete."""

    def __init__(self) -> None:
        self.dialled: list[str] = []

    def dial(self, request, limits, slot=None):
        self.dialled.append(request.url)
        return Deferred()


class SilentOrigin:
    """A source of playlists whose requests never complete."""

    def ask(self, wanted, byte_range, limits):
        return Deferred()


@implementer(IUrlChecker)
class ScriptedProbe:
    """A URL check that a test completes."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, float]] = []
        self.cancelled = 0
        self._answer: Deferred[int] | None = None

    def status(self, url, timeout):
        self.asked.append((url, timeout))
        self._answer = Deferred(lambda _: self._cancel())
        return self._answer

    def answer(self, result) -> None:
        """Complete the check with a status or an exception."""
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
    """Hide the environment and the .env file of the developer from the tests."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def build():
    """Return a function that makes the HTTP side with given settings."""
    made: list[Web] = []
    fetchers: list[Fetcher] = []

    def make(**settings) -> Web:
        clock, provider, probe = Clock(), SilentProvider(), ScriptedProbe()
        chosen, key = Settings(**settings), b"k" * 32
        resolver = FakeResolver()
        fetcher = Fetcher(clock, SilentOrigin(), chosen)
        fetchers.append(fetcher)
        registry = Registry(clock, provider, chosen, key, resolver=resolver, fetcher=fetcher)
        signed_urls = None
        if chosen.player_url_lifetime:
            signed_urls = SignedUrls(key, chosen.player_url_lifetime, lambda: 1_800_000_000 + clock.seconds())
        gate = Gate(chosen, clock)
        api = Api(registry, chosen, clock, gate, probe, signed_urls)
        given = (registry, chosen, signed_urls)
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
    """Collect all log events of a test."""
    from twisted.logger import globalLogPublisher

    events: list[dict] = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


@pytest.fixture
def flush_errors(logged):
    """Return a function that takes the logged failures of a type. Failures left at the end fail the test."""
    taken: list[dict] = []

    def flush(kind: type[BaseException]) -> list[dict]:
        found = [event for event in logged if "log_failure" in event and event["log_failure"].check(kind)]
        taken.extend(found)
        return found

    yield flush
    assert [event for event in logged if "log_failure" in event and event not in taken] == []
