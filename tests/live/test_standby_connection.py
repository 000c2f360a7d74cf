"""The standby connection: takeover, timeouts, and closing at each stage."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from fakes import FakeBody, FakeDialler, Programme
from radiobuild import mpeg_frames, programme
from twisted.internet.task import Clock
from zope.interface import implementer
from zope.interface.verify import verifyObject

from m3uproxy.core.http.source_request import DialTimeouts, SourceRequest
from m3uproxy.core.ingest.media_progress import MediaCount
from m3uproxy.core.programme import BodyNature
from m3uproxy.core.slots.accounts import Account
from m3uproxy.core.slots.slot_table import SlotTable
from m3uproxy.errors import Reason, SourceError
from m3uproxy.interfaces import IStreamSink
from m3uproxy.live import standby_connection as module
from m3uproxy.live.read_scheduler import ReadScheduler
from m3uproxy.live.source_connection import LiveUpstream
from m3uproxy.live.standby_connection import MAX_WAIT, StandbyBuffer, StandbyConnection
from m3uproxy.upstream.slots import SlotAllocator

LIMITS = DialTimeouts(4, 6, 20)


@implementer(IStreamSink)
@attrs.define
class NextSink:
    """The sink that the reader is moved to."""

    data: bytes = b""
    waiting: bool = False
    is_full: bool = False
    media: float = 0.0

    def source_changed(self, nature: BodyNature = BodyNature.LIVE) -> None:
        raise AssertionError("the session tells, not the reader")

    def bytes_received(self, data: bytes) -> None:
        self.data += data

    @property
    def progress(self) -> MediaCount:
        return MediaCount(size=len(self.data))

    def flush(self) -> None:
        """Nothing waits."""

    def observe(self, observer: object) -> None:
        raise AssertionError("the session watches")

    def programme_ended(self, error: SourceError) -> None:
        raise AssertionError(error)

    def sources_exhausted(self, error: SourceError) -> None:
        raise AssertionError(error)


class StandbyConnectionRig:
    """A standby connection and its owner."""

    stream_id = "stream"

    def __init__(self, url: str = "http://s/") -> None:
        self.clock = Clock()
        self.dialler = FakeDialler(self.clock)
        self.desk = SlotAllocator(self.clock, SlotTable(), lambda _: None)
        self.slot: Any = None
        self.desk.request(Account("acme", 1), "s").addCallback(lambda slot: setattr(self, "slot", slot))
        self.ready: list[StandbyConnection] = []
        self.errors: list[SourceError] = []
        upstream = LiveUpstream(self.clock, self.dialler, ReadScheduler(self.clock, 0.06))
        self.standby = StandbyConnection(upstream, 1, self.slot, self)
        self.programme = Programme()
        self.standby.open(SourceRequest(url, "agent", (), True), LIMITS)

    def standby_ready(self, standby: StandbyConnection) -> None:
        self.ready.append(standby)

    def standby_failed(self, standby: StandbyConnection, error: SourceError) -> None:
        self.errors.append(error)

    # as the owner of a reader that moved

    def source_started(self) -> None:
        raise AssertionError("it was flowing before")

    def data_received(self) -> None:
        """Ignore the packets."""

    def source_ended(self, error: SourceError) -> None:
        self.errors.append(error)

    def bring(self, body: FakeBody, data: bytes) -> None:
        body.bring(data)
        self.clock.pump([0.002] * 100)

    def nothing_left(self) -> None:
        for dial in self.dialler.dials:
            body = dial.body
            if body is not None and not body.gone:
                body.vanish()
        assert self.desk.table.report()["providers"] == []
        assert self.clock.getDelayedCalls() == []


def test_interface() -> None:
    verifyObject(IStreamSink, StandbyBuffer())


def test_ready_at_the_first_access_point_and_not_before() -> None:
    rig = StandbyConnectionRig()
    body = rig.dialler.last.answer()
    group = rig.programme.group()
    middle = rig.programme.group()[188 * 4 :]
    rig.bring(body, middle)
    assert rig.standby.has_started
    assert rig.ready == []
    rig.bring(body, group)
    assert rig.ready == [rig.standby]
    connection, slot, buffered = rig.standby.hand_over()
    assert slot is rig.slot
    assert buffered == middle + group
    rig.standby.close()
    assert not body.closed, "it is not the standby's any more"
    connection.close()
    rig.slot.release()
    rig.nothing_left()


def test_data_after_the_hand_over_go_to_the_new_sink() -> None:
    rig = StandbyConnectionRig()
    body = rig.dialler.last.answer()
    rig.bring(body, rig.programme.group())
    connection, _, _ = rig.standby.hand_over()
    sink = NextSink()
    connection.move(sink, rig)
    more = rig.programme.group()
    rig.bring(body, more)
    rig.clock.pump([0.01] * 20)
    assert sink.data == more
    body.end(SourceError(Reason.RESET))
    assert [error.reason for error in rig.errors] == [Reason.RESET]


def test_standby_without_an_access_point_is_ready_after_a_timeout() -> None:
    rig = StandbyConnectionRig()
    body = rig.dialler.last.answer()
    rig.bring(body, rig.programme.group()[188 * 4 :])
    rig.clock.advance(MAX_WAIT - 1)
    assert rig.ready == []
    rig.clock.advance(1)
    assert rig.ready == [rig.standby]
    rig.standby.close()
    assert body.closed
    rig.nothing_left()


def test_standby_buffer_is_bounded(monkeypatch) -> None:
    monkeypatch.setattr(module, "MAX_BUFFER", 20_000)
    rig = StandbyConnectionRig()
    body = rig.dialler.last.answer()
    middle = rig.programme.group()[188 * 4 :]
    while not rig.ready:
        rig.bring(body, middle)
    assert len(rig.standby.hand_over()[2]) < 20_000 + 2 * len(middle)


@pytest.mark.parametrize("how", ["dial", "head only", "ends", "not video"])
def test_failure_is_reported_once_and_leaves_nothing(how: str) -> None:
    rig = StandbyConnectionRig()
    expected = Reason.REFUSED
    if how == "dial":
        rig.dialler.last.fail(Reason.REFUSED)
    elif how == "head only":
        rig.dialler.last.answer()
        rig.clock.advance(LIMITS.first_byte)
        expected = Reason.FIRST_BYTE_TIMEOUT
    elif how == "ends":
        body = rig.dialler.last.answer()
        rig.bring(body, rig.programme.group()[188 * 4 :])
        body.end(SourceError(Reason.ENDED))
        expected = Reason.ENDED
    else:
        rig.bring(rig.dialler.last.answer(), b"<!DOCTYPE html><html><body>no</body></html>")
        expected = Reason.NOT_VIDEO
    assert [error.reason for error in rig.errors] == [expected]
    assert rig.ready == []
    rig.standby.close()
    rig.nothing_left()


@pytest.mark.parametrize("stage", ["dialling", "head", "flowing", "ready"])
def test_closed_connection_tells_its_owner_nothing(stage: str) -> None:
    rig = StandbyConnectionRig()
    if stage != "dialling":
        body = rig.dialler.last.answer()
        if stage == "flowing":
            rig.bring(body, rig.programme.group()[188 * 4 :])
        elif stage == "ready":
            body.bring(rig.programme.group())
            rig.clock.advance(0)
    ready_before = list(rig.ready)
    assert bool(ready_before) == (stage == "ready")
    rig.standby.close()
    rig.clock.advance(MAX_WAIT * 2)
    assert rig.ready == ready_before
    assert rig.errors == []
    assert rig.dialler.last.cancelled or body.closed
    rig.nothing_left()


@pytest.mark.parametrize("body", [b"".join(mpeg_frames(1, 20)), b"".join(programme(20))])
def test_radio_and_flv_can_take_over_too(body: bytes) -> None:
    buffer = StandbyBuffer()
    buffer.bytes_received(body)
    assert buffer.ready
    assert buffer.progress.size > 1000
    assert buffer.drain() == body
