"""The check of reactor_hold: it finds calls of the package that hold the reactor, and only these."""

from __future__ import annotations

import time

import pytest
import pytest_twisted
from reactor_hold import LIMIT, ReactorHoldCheck, is_of_the_package
from twisted.internet.task import deferLater


def spin(seconds: float) -> None:
    """Use CPU time."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


@pytest.fixture
def check():
    from twisted.internet import reactor

    with ReactorHoldCheck(reactor).running() as running:
        yield running


def test_paths_of_the_package():
    assert is_of_the_package("/x/site-packages/m3uproxy/core/ring.py")
    assert not is_of_the_package("/x/m3uproxy/provider/site.py")
    assert not is_of_the_package("/x/tests/test_a.py")


@pytest_twisted.ensureDeferred
async def test_long_call_of_the_package_is_found(check):
    from twisted.internet import reactor

    namespace: dict = {}
    source = "def hold(clock, end):\n    while clock() < end:\n        pass\n"
    exec(compile(source, "/x/m3uproxy/live/pump.py", "exec"), {}, namespace)
    reactor.callLater(0, namespace["hold"], time.thread_time, time.thread_time() + 0.3)
    await deferLater(reactor, 0.05)
    [hold] = check.holds
    assert hold.seconds > LIMIT
    assert hold.place in ("live/pump.py:2 hold", "live/pump.py:3 hold")


@pytest_twisted.ensureDeferred
async def test_long_call_of_a_test_is_not_counted(check):
    from twisted.internet import reactor

    reactor.callLater(0, spin, 0.3)
    await deferLater(reactor, 0.05)
    assert check.holds == []


@pytest_twisted.ensureDeferred
async def test_waiting_is_not_counted(check):
    from twisted.internet import reactor

    namespace: dict = {}
    exec(compile("def wait(sleep):\n    sleep(0.3)\n", "/x/m3uproxy/live/pump.py", "exec"), {}, namespace)
    reactor.callLater(0, namespace["wait"], time.sleep)
    await deferLater(reactor, 0.05)
    assert check.holds == []


def test_reactor_is_restored(check):
    from twisted.internet import reactor

    assert "callLater" in vars(reactor)
