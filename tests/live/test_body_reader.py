"""The body reader: fast and slow bodies, completeness, and the check of the first bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fakes import FakeBody, FakeDialler, Programme
from twisted.internet.task import Clock
from zope.interface import implementer
from zope.interface.verify import verifyObject

from m3uproxy.core.ingest.media_progress import MediaProgress
from m3uproxy.core.ingest.ts_parser import PacketObserver, TsParser
from m3uproxy.core.programme import BodyNature
from m3uproxy.errors import Reason, SourceError
from m3uproxy.interfaces import IBodyConsumer, IDialler, IResponseBody, IStreamSink
from m3uproxy.live.body_reader import BodyReader
from m3uproxy.live.read_scheduler import LITTLE, MUCH, ReadScheduler

INTERVAL = 0.04


@implementer(IStreamSink)
class RecordingSink:
    """Records calls and bytes, and counts media as the broadcaster does."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.data = b""
        self.parser = TsParser()
        self.on_bytes: Callable[[], None] = lambda: None
        self.on_flush: Callable[[], None] = lambda: None
        self.error: SourceError | None = None
        self.waiting = self.is_full = False
        self.media = 0.0

    def source_changed(self, nature: BodyNature = BodyNature.LIVE) -> None:
        self.log.append("changed")
        self.parser.next_source(0.0)

    def bytes_received(self, data: bytes) -> None:
        assert data
        self.log.append("bytes")
        self.data += data
        self.parser.feed(data, 0.0)
        self.on_bytes()

    @property
    def progress(self) -> MediaProgress:
        return self.parser.media

    def flush(self) -> None:
        self.log.append("flush")
        self.parser.flush(0.0)
        self.on_flush()

    def observe(self, observer: PacketObserver | None) -> None:
        self.parser.observer = observer

    def programme_ended(self, error: SourceError) -> None:
        raise AssertionError("only a session calls it")

    def sources_exhausted(self, error: SourceError) -> None:
        self.error = error


class RecordingOwner:
    """Records the events of a reader."""

    stream_id = "stream"

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.when: Callable[[], None] = lambda: None

    def source_started(self) -> None:
        self.log.append("started")
        self.when()

    def reading_held(self) -> None:
        self.log.append("held")

    def data_received(self) -> None:
        self.log.append("data")

    def discontinuity(self) -> None:
        self.log.append("changed")

    def source_ended(self, error: SourceError) -> None:
        self.log.append(error.reason)
        self.when()


class BodyReaderRig:
    """A reader with its body, sink and owner."""

    def __init__(self, content_type: str = "video/mp2t") -> None:
        self.clock = Clock()
        self.scheduler = ReadScheduler(self.clock, INTERVAL)
        self.body, self.sink, self.owner = FakeBody(content_type), RecordingSink(), RecordingOwner()
        self.reader = BodyReader(self.body, self.sink, self.scheduler, self.owner)
        self.reader.start()
        self.programme = Programme()

    def bring(self, size: int, piece: int = 1316) -> bytes:
        """Deliver video in pieces, all in one reactor turn."""
        data = b""
        while len(data) < size:
            data += self.programme.group()
        data = data[: size - size % 188]
        for at in range(0, len(data), piece):
            self.body.bring(data[at : at + piece])
        return data

    def pass_time(self, seconds: float) -> None:
        self.clock.pump([0.0005] * round(seconds / 0.0005))
        if not self.body.paused and self.body.held:
            self.body.bring_anyway()
            self.clock.advance(0)

    def done(self) -> None:
        self.reader.close()
        assert self.clock.getDelayedCalls() == []


def test_discontinuity_within_a_body_is_like_another_body() -> None:
    rig = BodyReaderRig()
    rig.bring(20_000)
    rig.pass_time(1)
    rig.body.bring(b"G" + b"x" * 50)  # torn
    rig.reader.discontinuity()
    assert rig.sink.log[-1] == "changed"
    assert "changed" not in rig.owner.log
    rig.bring(20_000)
    rig.pass_time(1)
    assert rig.owner.log.count("changed") == 1
    assert rig.owner.log.count("started") == 1
    assert rig.owner.log.index("changed") < len(rig.owner.log) - 1
    rig.done()
    rig.reader.discontinuity()
    assert rig.sink.log.count("changed") == 2


def test_interfaces() -> None:
    rig = BodyReaderRig()
    verifyObject(IBodyConsumer, rig.reader)
    verifyObject(IResponseBody, rig.body)
    verifyObject(IStreamSink, rig.sink)
    verifyObject(IDialler, FakeDialler(rig.clock))
    rig.done()


def test_pieces_of_a_turn_are_passed_on_together() -> None:
    rig = BodyReaderRig()
    data = rig.bring(10_000)
    assert rig.sink.log == ["changed"]
    rig.clock.advance(0)
    assert rig.sink.log[:3] == ["changed", "bytes", "flush"]
    assert rig.sink.log.count("bytes") == 1
    assert rig.sink.data == data
    rig.done()


def test_slow_source_is_paused_and_read_on_schedule() -> None:
    rig = BodyReaderRig()
    data = rig.bring(5_000)
    rig.clock.advance(0)
    assert rig.body.paused
    for _ in range(50):
        data += rig.bring(5_000)
        rig.pass_time(INTERVAL)
    assert rig.sink.data == data
    assert (rig.body.pauses, rig.body.resumes) == (1, 0)
    rig.done()


def test_a_slow_source_is_read_no_more_often_than_the_interval() -> None:
    rig = BodyReaderRig()
    rig.bring(1_000)
    rig.pass_time(0.5)
    rig.body.reads = 0
    for _ in range(1000):
        rig.bring(188)
        rig.pass_time(0.001)
    assert 23 <= rig.body.reads <= 28
    rig.done()


def test_read_data_are_flushed_within_one_and_a_half_intervals() -> None:
    rig = BodyReaderRig()
    rig.bring(1_000)
    rig.pass_time(0.5)
    waited, worst = 0.0, 0.0
    for _ in range(1000):
        rig.bring(564)
        rig.sink.log.clear()
        rig.pass_time(0.001)
        waited = 0.0 if "flush" in rig.sink.log else waited + 0.001
        worst = max(worst, waited)
    assert worst <= 0.06
    rig.done()


@pytest.mark.parametrize("window", [65_536, 100_000, 262_144])
@pytest.mark.parametrize("megabits", [2, 8, 20, 50, 200])
def test_no_source_is_throttled(megabits: int, window: int) -> None:
    """Between two reads, the source sends less than the receive window holds."""
    rig = BodyReaderRig()
    rig.body.window = window
    packet = rig.programme.picture(key=True, size=100)
    piece = packet * max(1, int(megabits * 125_000 * 0.001 / len(packet)))
    most = 0
    for turn in range(400):
        rig.body.bring(piece)
        rig.pass_time(0.001)
        if turn > 200:  # it may take a moment to find out how fast a source is
            most = max(most, len(rig.body.held))
    assert most <= window
    rig.reader.close()


def test_a_wider_window_saves_reads() -> None:
    reads = {}
    for window in (65_536, 262_144):
        rig = BodyReaderRig()
        rig.body.window = window
        piece = rig.programme.picture(key=True, size=100)
        for _ in range(2_000):
            rig.body.bring(piece * (1_000 // len(piece)))
            rig.pass_time(0.001)
        reads[window] = rig.body.reads
        rig.done()
    assert reads[65_536] > 1.8 * reads[262_144]


def test_a_full_sink_is_not_read_for() -> None:
    rig = BodyReaderRig()
    data = rig.bring(5_000)
    rig.pass_time(0.5)
    rig.sink.is_full = True
    rig.body.bring(rig.programme.picture(size=5_000))
    reads = rig.body.reads
    rig.pass_time(1)
    assert (rig.body.reads, rig.sink.data) == (reads, data)
    assert "held" in rig.owner.log
    rig.sink.is_full = False
    rig.pass_time(0.1)
    assert len(rig.sink.data) > len(data)
    rig.done()


def test_the_reactor_stops_reading_for_a_full_sink() -> None:
    rig = BodyReaderRig()
    fast(rig)
    rig.sink.is_full = True
    rig.bring(60_000)
    rig.clock.advance(0)
    assert rig.body.paused
    rig.done()


def fast(rig: BodyReaderRig) -> None:
    """Make a source so fast that the reactor reads it."""
    rig.bring(1_000)
    for _ in range(200):
        if rig.body.resumes:
            return
        rig.body.bring(rig.programme.picture(size=100) * 320)
        rig.pass_time(0.005)
    raise AssertionError("never fast enough")


def test_fast_source_is_read_by_the_reactor() -> None:
    rig = BodyReaderRig()
    fast(rig)
    pauses = rig.body.pauses
    for _ in range(50):
        rig.body.bring(rig.programme.picture(size=100) * 100)
        rig.clock.advance(0)
    assert rig.body.pauses == pauses
    rig.body.bring(rig.programme.picture(size=100))
    rig.clock.advance(0)
    assert rig.body.pauses == pauses + 1
    rig.done()


@pytest.mark.parametrize("size", [LITTLE + 188, MUCH + 188, 60_000])
def test_end_of_fast_data_is_flushed_within_two_intervals(size: int) -> None:
    """A provider that sends segments sends bursts. The end of a burst must not wait for the next one."""
    rig = BodyReaderRig()
    fast(rig)
    rig.sink.log.clear()
    rig.body.bring(rig.programme.picture(size=100) * (size // 188))
    rig.pass_time(2 * INTERVAL)
    assert rig.sink.log[:2] == ["bytes", "flush"]
    rig.done()


def test_reactor_reads_while_a_player_waits() -> None:
    rig = BodyReaderRig()
    rig.sink.waiting = True
    for _ in range(5):
        rig.bring(1_000)
        rig.clock.advance(0)
        assert not rig.body.paused
    rig.sink.waiting = False
    rig.bring(1_000)
    rig.clock.advance(0)
    assert rig.body.paused
    rig.done()


def test_burst_from_a_slow_source_is_flushed() -> None:
    rig = BodyReaderRig()
    rig.bring(1_000)
    rig.pass_time(0.5)
    for _ in range(5):
        rig.bring(60_000)
        rig.pass_time(INTERVAL)
    rig.sink.log.clear()
    rig.bring(60_000)
    rig.pass_time(2 * INTERVAL)
    assert "flush" in rig.sink.log
    rig.done()


def test_data_received_while_paused_are_kept() -> None:
    rig = BodyReaderRig()
    data = rig.bring(5_000)
    rig.clock.advance(0)
    assert rig.body.paused
    more = rig.programme.group()
    rig.body.bring_anyway(more)
    rig.clock.advance(0)
    assert rig.sink.data == data + more
    rig.done()


def test_body_may_end_within_a_read() -> None:
    rig = BodyReaderRig()
    data = rig.bring(5_000)
    rig.clock.advance(0)
    data += rig.bring(5_000)
    rig.body.ends_with_read = SourceError(Reason.ENDED)
    rig.pass_time(INTERVAL)
    assert rig.sink.data == data
    assert rig.owner.log[-1] is Reason.ENDED
    assert rig.clock.getDelayedCalls() == []


def test_one_source_does_not_keep_the_reactor() -> None:
    rig = BodyReaderRig()
    rig.bring(1_000)
    rig.clock.advance(0)
    rig.body.held = bytes(10_000_000)
    rig.body.reads = 0
    while not rig.body.reads and rig.clock.seconds() < 1:
        rig.clock.advance(0.001)
    assert 1 <= rig.body.reads <= 16
    rig.reader.close()


def test_end_follows_the_data() -> None:
    rig = BodyReaderRig()
    data = rig.bring(5_000)
    rig.body.end(SourceError(Reason.RESET))
    assert rig.sink.data == data
    assert rig.owner.log == ["data", "started", Reason.RESET]
    assert rig.clock.getDelayedCalls() == []


def test_the_end_while_paused() -> None:
    rig = BodyReaderRig()
    rig.bring(5_000)
    rig.clock.advance(0)
    rig.body.end()
    assert rig.owner.log[-1] is Reason.ENDED
    assert rig.clock.getDelayedCalls() == []
    resumes = rig.body.resumes
    rig.clock.advance(1)
    assert rig.body.resumes == resumes


def test_closed_reader_passes_nothing_on() -> None:
    rig = BodyReaderRig()
    rig.bring(5_000)
    rig.reader.close()
    rig.body.bring_anyway(rig.programme.group())
    rig.body.end()
    rig.clock.advance(1)
    assert rig.sink.log == ["changed"]
    assert rig.owner.log == []
    assert rig.clock.getDelayedCalls() == []


@pytest.mark.parametrize("where", ["started", "bytes", "flush", "read"])
def test_close_inside_callbacks(where: str) -> None:
    rig = BodyReaderRig()
    if where == "read":
        rig.bring(1_000)
        rig.pass_time(INTERVAL)
        rig.body.reads = 0
    if where == "started":
        rig.owner.when = rig.reader.close
    elif where == "bytes":
        rig.sink.on_bytes = rig.reader.close
    else:
        rig.sink.on_flush = rig.reader.close
    rig.bring(5_000)
    rig.pass_time(2 * INTERVAL if where == "read" else 0.0005)
    assert rig.clock.getDelayedCalls() == [], "closed, yet still to be woken"
    reads = rig.body.reads
    rig.clock.advance(1)
    assert (rig.body.resumes, rig.body.reads) == (0, reads)


def test_reader_closed_by_its_first_bytes_does_not_check_them() -> None:
    rig = BodyReaderRig()
    rig.sink.on_bytes = rig.reader.close
    rig.body.bring(b"<html>")
    rig.clock.advance(0)
    assert rig.owner.log == []
    assert rig.clock.getDelayedCalls() == []


def test_reader_closed_by_source_changed_leaves_the_body_alone() -> None:
    """The flush of the previous body may show that the last player has left."""
    clock = Clock()
    body, sink = FakeBody(), RecordingSink()
    reader = BodyReader(body, sink, ReadScheduler(clock, INTERVAL), RecordingOwner())

    def leave(nature: BodyNature) -> None:
        reader.close()
        body.close()

    sink.source_changed = leave  # type: ignore[method-assign]
    reader.start()
    assert body.consumer is None
    assert clock.getDelayedCalls() == []


def test_source_started_is_reported_once() -> None:
    rig = BodyReaderRig()
    for _ in range(3):
        rig.bring(5_000)
        rig.pass_time(INTERVAL)
    assert rig.owner.log.count("started") == 1
    rig.done()


@pytest.mark.parametrize(
    ("body", "content_type", "reason"),
    [
        (b"<html><body>expired</body></html>", "video/mp2t", Reason.NOT_VIDEO),
        (b'{"user_info": {}}', "application/json", Reason.NOT_VIDEO),
        (b"#EXTM3U\n", "video/mp2t", Reason.NOT_VIDEO),
        (b"limit reached. " * 40, "text/plain", Reason.NOT_VIDEO),
        (bytes(70_000), "video/mp2t", Reason.NOT_TRANSPORT_STREAM),
    ],
)
def test_no_video(body: bytes, content_type: str, reason: Reason) -> None:
    rig = BodyReaderRig(content_type)
    rig.body.bring(body)
    rig.clock.advance(0)
    assert rig.owner.log[-1] is reason
    assert rig.clock.getDelayedCalls() == []


def test_first_bytes_may_come_one_by_one() -> None:
    rig = BodyReaderRig()
    for byte in b"<html>":
        rig.body.bring(bytes([byte]))
        rig.pass_time(INTERVAL)
        if Reason.NOT_VIDEO in rig.owner.log:
            break
    assert rig.owner.log[-1] is Reason.NOT_VIDEO
    rig.done()


def test_video_behind_some_garbage() -> None:
    rig = BodyReaderRig()
    rig.body.bring(b"\0" * 1000)
    rig.pass_time(INTERVAL)
    assert rig.owner.log == []
    rig.bring(5_000)
    rig.pass_time(INTERVAL)
    assert "started" in rig.owner.log
    rig.done()


def test_short_html_page_is_reported_as_one() -> None:
    rig = BodyReaderRig()
    rig.body.bring(b"<html>")
    rig.body.end()
    assert rig.owner.log == [Reason.NOT_VIDEO]


def test_received_counts_bytes() -> None:
    rig = BodyReaderRig()
    data = rig.bring(5_000)
    assert rig.reader.received == len(data)
    rig.done()
