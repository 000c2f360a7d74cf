"""Rigs for the fetcher: over loopback, with a check that nothing is left; and in memory, on a clock."""

from __future__ import annotations

import pytest
import pytest_twisted
from fakes import FakeBody
from loopback_rig import leftovers
from scripted_provider import DialBench
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from m3uproxy.core.http.outbound_policy import DEFAULT_POLICY
from m3uproxy.core.http.source_request import SourceRequest
from m3uproxy.errors import Reason, SourceError
from m3uproxy.hls.fetcher import Fetcher
from m3uproxy.hls.http_client import HlsHttpClient, ProviderResponse, ResourceRequest
from m3uproxy.settings import load
from m3uproxy.upstream.connection_pool import ConnectionPool

SETTINGS = {"first_byte_timeout": 2, "default_connection_timeout": 2, "live_chunk_timeout_seconds": 1.0}


class WireFetcherRig(DialBench):
    """A fetcher that requests from scripted providers over loopback."""

    def __init__(self, reactor, outbound=DEFAULT_POLICY, per_host=8, idle_timeout=15.0, **settings):
        super().__init__(reactor)
        self.failures = []
        self.set_up(outbound, per_host, idle_timeout, **settings)

    def set_up(self, outbound=DEFAULT_POLICY, per_host=8, idle_timeout=15.0, **settings):
        self.pool = ConnectionPool(self.reactor, self.sockets, outbound, per_host, idle_timeout)
        self.http_client = HlsHttpClient(self.pool)
        self.fetcher = Fetcher(self.reactor, self.http_client, load({**SETTINGS, **settings}))

    def request(self, url, entry=None, headers=(), led_by_public=False, verify_tls=True):
        return ResourceRequest(url, SourceRequest(entry or url, "VLC/3.0", tuple(headers), verify_tls), led_by_public)

    def observe(self, event):
        """Note logged failures: no behaviour of a provider may cause any."""
        if "log_failure" in event:
            self.failures.append(event["log_failure"])

    async def get(self, url, *args, **how):
        """Fetch a resource and return its body."""
        resource = await self.fetcher.fetch(self.request(url, **how), *args)
        return await resource.read_all(10_000_000)

    def get_later(self, *args, **how):
        return Deferred.fromCoroutine(self.get(*args, **how))

    async def renew(self, **how):
        """Start again with other limits."""
        self.fetcher.stop()
        await self.pool.stop()
        self.set_up(**how)

    async def stop(self):
        self.fetcher.stop()
        await self.pool.stop()
        await super().stop()
        await self.turns(0.02)
        assert self.pool.count() == 0
        assert self.sockets.open == 0
        assert self.fetcher.size == 0


@pytest_twisted.async_yield_fixture
async def fetching():
    """A rig. After the test, no new socket, delayed call or reader is left."""
    from twisted.internet import reactor

    before = leftovers(reactor)
    rig = WireFetcherRig(reactor)
    globalLogPublisher.addObserver(rig.observe)
    yield rig
    await rig.stop()
    globalLogPublisher.removeObserver(rig.observe)
    assert rig.failures == []
    assert leftovers(reactor) - before == set()


class ProviderRequest:
    """A request to the provider, which the test answers."""

    def __init__(self, request, byte_range, limits):
        self.request, self.byte_range, self.limits = request, byte_range, limits
        self.cancelled = False
        self.body = None
        self.deferred = Deferred(self._cancel)

    def _cancel(self, _):
        self.cancelled = True

    def answer(self, data=None, length=None, status=200, end=None, **headers):
        """Answer with a head, and optionally with some of the body and its end."""
        if status in (200, 206):
            self.body = FakeBody()
            self.body.length = length
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.deferred.callback(ProviderResponse(status, named, "http://final.example/x", True, self.body))
        if data and not self.body.closed:
            self.body.bring(data)
        if end is not None:
            self.body.end(end)
        return self.body

    def answer_whole(self, data, **how):
        return self.answer(data, len(data), end=SourceError(Reason.ENDED), **how)

    def fail(self, reason=Reason.REFUSED):
        self.deferred.errback(SourceError(reason))


class FetcherRig:
    """A fetcher on a clock. The test plays the provider and the players."""

    def __init__(self, **settings):
        self.clock = Clock()
        self.clock.advance(1000)
        self.requests = []
        self.fetcher = Fetcher(self.clock, self, load({**SETTINGS, **settings}))
        self.source = SourceRequest("http://p.example/a.m3u8", "VLC/3.0", (), True)

    def get(self, request, byte_range, limits):
        self.requests.append(ProviderRequest(request, byte_range, limits))
        return self.requests[-1].deferred

    @property
    def last(self):
        return self.requests[-1]

    def fetch(self, name="seg.ts", *args, kind=None, **how):
        request = ResourceRequest(f"http://p.example/{name}", self.source, kind=kind)
        return FetchResult(self.fetcher.fetch(request, *args, **how))

    def close(self):
        self.fetcher.stop()
        assert self.clock.getDelayedCalls() == []
        assert self.fetcher.size == 0


class FetchResult:
    """The result of a fetch."""

    def __init__(self, deferred):
        self.deferred = deferred
        self.resource = self.error = None
        deferred.addCallbacks(self._got, self._failed)

    def _got(self, resource):
        self.resource = resource

    def _failed(self, failure):
        self.error = failure.value

    def read(self, **how):
        return BodyReceiver(self.resource, **how)

    def all(self, limit=10_000_000):
        """Return the whole body, or None if it is not complete."""
        found = []
        self.resource.read_all(limit).addBoth(found.append)
        return found[0] if found else None


class BodyReceiver:
    """A receiver of a body. Like a transport, it pauses the reader after ``room`` bytes."""

    def __init__(self, resource, room=None):
        self.data = b""
        self.room = room
        self.ended_with = []
        self.reader = resource.deliver(self._write, self.ended_with.append)
        self.reader.start()

    def _write(self, data):
        assert data
        self.data += data
        if self.room is not None:
            self.room -= len(data)
            if self.room <= 0:
                self.reader.pauseProducing()

    def resume(self, room=None):
        self.room = room
        self.reader.resumeProducing()


@pytest.fixture
def fetcher_rig():
    """A rig. After the test, no delayed call and no memory is left."""
    fetcher_rig = FetcherRig()
    yield fetcher_rig
    fetcher_rig.close()
