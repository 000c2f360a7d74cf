"""The real thing on loopback: the misbehaving provider, the whole proxy, players on sockets of their own."""

from __future__ import annotations

import pytest_twisted
from loopback_rig import Rig, leftovers
from twisted.internet import reactor


@pytest_twisted.async_yield_fixture
async def rig(tmp_path):
    """A provider and a proxy with short timers; after the test nothing of them may be left."""
    before = leftovers(reactor)
    rig = Rig(reactor, tmp_path)
    await rig.start()
    yield rig
    await rig.stop()
    assert leftovers(reactor) - before == set()
