"""The preparation of the reactor."""

from __future__ import annotations

import time

from twisted.internet.selectreactor import SelectReactor

from m3uproxy.daemon.process import prepare_reactor
from m3uproxy.upstream.name_resolver import NameResolver


def test_reactor_has_a_monotonic_clock_and_our_name_resolver() -> None:
    reactor = SelectReactor()
    prepare_reactor(reactor)
    assert reactor.seconds is time.monotonic
    assert isinstance(reactor.nameResolver, NameResolver)
