"""What it takes to fetch: over loopback, with nothing left afterwards; and in memory, on a clock."""

from __future__ import annotations

import pytest_twisted
from loopback_rig import leftovers
from scripted import Bench

from m3uproxy.core.outbound import DEFAULT
from m3uproxy.hls.asking import Asker, Wanted
from m3uproxy.hls.fetch import Fetcher
from m3uproxy.settings import load
from m3uproxy.upstream.dial import SourceRequest
from m3uproxy.upstream.lines import Lines

SETTINGS = {"first_byte_timeout": 2, "default_connection_timeout": 2, "live_chunk_timeout_seconds": 1.0}


class Rig(Bench):
    """Scripted providers, and what fetches from them."""

    def __init__(self, reactor, outbound=DEFAULT, per_host=8, rest=15.0, **settings):
        super().__init__(reactor)
        self.set_up(outbound, per_host, rest, **settings)

    def set_up(self, outbound=DEFAULT, per_host=8, rest=15.0, **settings):
        self.lines = Lines(self.reactor, self.sockets, outbound, per_host, rest)
        self.asker = Asker(self.lines)
        self.fetcher = Fetcher(self.reactor, self.asker, load({**SETTINGS, **settings}))

    def wanted(self, url, entry=None, headers=(), led_by_public=False):
        return Wanted(url, SourceRequest(entry or url, "VLC/3.0", tuple(headers), True), led_by_public)

    async def get(self, url, *args, **how):
        """The body of what is fetched."""
        resource = await self.fetcher.fetch(self.wanted(url, **how), *args)
        return await resource.read_all(10_000_000)

    async def stop(self):
        self.fetcher.stop()
        await self.lines.stop()
        await super().stop()
        await self.turns(0.02)
        assert self.lines.count() == 0
        assert self.sockets.open == 0
        assert self.fetcher.size == 0


@pytest_twisted.async_yield_fixture
async def fetching():
    """A rig, and after the test no socket, delayed call or reader that was not there before."""
    from twisted.internet import reactor

    before = leftovers(reactor)
    rig = Rig(reactor)
    yield rig
    await rig.stop()
    assert leftovers(reactor) - before == set()
