"""Bodies that a session has opened for the session of another kind."""

from __future__ import annotations

import attrs
import pytest
from fakes import FakeBody
from twisted.internet.task import Clock

from m3uproxy.core.http.source_request import SourceRequest
from m3uproxy.core.slots.accounts import Account
from m3uproxy.core.stream_kind import StreamKind
from m3uproxy.upstream.opened_bodies import KEPT_SECONDS, OpenedBodies

REQUEST = SourceRequest("http://p/1", "agent", (), True)


@pytest.fixture
def clock():
    clock = Clock()
    yield clock
    assert clock.getDelayedCalls() == []


def test_body_has_one_taker(clock) -> None:
    opened, body = OpenedBodies(clock), FakeBody()
    opened.keep(attrs.evolve(REQUEST, expected=StreamKind.LIVE), body)
    assert opened.take(attrs.evolve(REQUEST, url="http://p/2")) is None
    assert opened.take(REQUEST) is body
    assert opened.take(REQUEST) is None
    assert not body.closed


def test_body_without_a_taker_is_closed(clock) -> None:
    opened, body = OpenedBodies(clock), FakeBody()
    opened.keep(REQUEST, body)
    clock.advance(KEPT_SECONDS)
    assert body.closed
    assert opened.take(REQUEST) is None


def test_newer_body_replaces_an_older_one_and_stop_closes(clock) -> None:
    opened, older, newer = OpenedBodies(clock), FakeBody(), FakeBody()
    opened.keep(REQUEST, older)
    opened.keep(REQUEST, newer)
    assert (older.closed, newer.closed) == (True, False)
    opened.stop()
    assert newer.closed


def test_body_on_the_slot_of_an_account_is_closed_at_once(clock) -> None:
    """The slot is free when the socket has closed, and the other session waits for it."""
    opened, body = OpenedBodies(clock), FakeBody()
    opened.keep(attrs.evolve(REQUEST, account=Account("one", 1)), body)
    assert body.closed
