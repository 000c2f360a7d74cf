"""A short look at a source that is not in use: whatever can be shared would deliver, and nothing else."""

from __future__ import annotations

import pytest
from fakes import FakeBody, FakeDialler, Programme
from radiobuild import adts_frames, programme
from twisted.internet.task import Clock

from m3uproxy.core.http.source_request import DialTimeouts, SourceRequest
from m3uproxy.errors import Reason, SourceError
from m3uproxy.upstream.body_probe import probe_source


def look(clock: Clock, body: FakeBody, data: bytes) -> list[object]:
    """What came of it."""
    dialler = FakeDialler(clock)
    told: list[object] = []
    looking = probe_source(clock, dialler, SourceRequest("http://s/1.x", "agent", (), True), DialTimeouts(4, 6, 20))
    looking.addBoth(lambda result: told.append(getattr(result, "value", result)))
    dialler.last.answer(body)
    for at in range(0, len(data), 500):
        if body.consumer is not None and not body.closed:
            body.consumer.body_received(data[at : at + 500])
    return told


@pytest.mark.parametrize(
    "data", [Programme().group(), b"".join(adts_frames(1, 40)), b"".join(programme(20))], ids=["ts", "radio", "flv"]
)
def test_what_can_be_shared_would_deliver(data: bytes) -> None:
    clock, body = Clock(), FakeBody()
    assert look(clock, body, data) == [None]
    assert body.closed
    assert clock.getDelayedCalls() == []


def test_a_web_page_would_not() -> None:
    clock, body = Clock(), FakeBody()
    (error,) = look(clock, body, b"<html>" * 100)
    assert isinstance(error, SourceError)
    assert error.reason is Reason.NOT_VIDEO
    assert clock.getDelayedCalls() == []
