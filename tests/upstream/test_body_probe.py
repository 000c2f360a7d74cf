"""Probing a source that is not in use."""

from __future__ import annotations

import pytest
from fakes import FakeBody, FakeDialler, Programme
from radiobuild import adts_frames, configuration, header, metadata, programme
from twisted.internet.task import Clock

from m3uproxy.core.http.source_request import DialTimeouts, SourceRequest
from m3uproxy.core.mpegts.packets import null_packet
from m3uproxy.errors import Reason, SourceError
from m3uproxy.upstream.body_probe import probe_source


def probe_body(clock: Clock, body: FakeBody, data: bytes) -> list[object]:
    """Return the results of a probe of a body."""
    dialler = FakeDialler(clock)
    results: list[object] = []
    looking = probe_source(clock, dialler, SourceRequest("http://s/1.x", "agent", (), True), DialTimeouts(4, 6, 20))
    looking.addBoth(lambda result: results.append(getattr(result, "value", result)))
    dialler.last.answer(body)
    for at in range(0, len(data), 500):
        if body.consumer is not None and not body.closed:
            body.consumer.body_received(data[at : at + 500])
    return results


@pytest.mark.parametrize(
    "data", [Programme().group(), b"".join(adts_frames(1, 40)), b"".join(programme(20))], ids=["ts", "radio", "flv"]
)
def test_source_of_a_known_format_delivers(data: bytes) -> None:
    clock, body = Clock(), FakeBody()
    assert probe_body(clock, body, data) == [None]
    assert body.closed
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    "data",
    [null_packet() * 20_000, Programme().tables() * 500, header() + metadata() + configuration(9)],
    ids=["padding", "tables", "flv without pictures"],
)
def test_source_without_pictures_and_sound_does_not_deliver(data: bytes) -> None:
    clock, body = Clock(), FakeBody()
    results = probe_body(clock, body, data)
    clock.advance(5.9)
    assert results == []
    clock.advance(0.2)
    (error,) = results
    assert isinstance(error, SourceError)
    assert error.reason is Reason.FIRST_BYTE_TIMEOUT
    assert body.closed
    assert clock.getDelayedCalls() == []


def test_web_page_does_not_deliver() -> None:
    clock, body = Clock(), FakeBody()
    (error,) = probe_body(clock, body, b"<html>" * 100)
    assert isinstance(error, SourceError)
    assert error.reason is Reason.NOT_VIDEO
    assert clock.getDelayedCalls() == []
