"""The read schedule: intervals, late reactor turns, and readers that fail."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from m3uproxy.live.read_scheduler import STEPS, ReadScheduler

INTERVAL = 0.04
GRID = INTERVAL / STEPS


class RecordingReader:
    """Returns a fixed interval and records the times of its reads."""

    stream_id = "stream"

    def __init__(self, clock: Clock, interval: int = STEPS) -> None:
        self.clock = clock
        self.interval = interval
        self.turns = 0
        self.reads: list[float] = []

    def turn_ended(self) -> None:
        self.turns += 1

    def read(self, step: int) -> int:
        self.reads.append(self.clock.seconds())
        return self.interval

    def read_failed(self) -> None:
        self.broken = True


def run(clock: Clock, seconds: float, pace: float = 0.001) -> None:
    clock.pump([pace] * round(seconds / pace))


def test_empty_schedule_has_no_timer() -> None:
    clock = Clock()
    scheduler = ReadScheduler(clock, INTERVAL)
    assert clock.getDelayedCalls() == []
    reader = RecordingReader(clock)
    scheduler.schedule(reader)
    assert len(clock.getDelayedCalls()) == 1
    scheduler.remove(reader)
    assert clock.getDelayedCalls() == []


def test_turn_ended_is_called_once_after_each_turn() -> None:
    clock = Clock()
    reader, scheduler = RecordingReader(clock), ReadScheduler(clock, INTERVAL)
    for _ in range(5):
        scheduler.has_read(reader)
    assert reader.turns == 0
    clock.advance(0)
    assert reader.turns == 1
    clock.advance(1)
    assert reader.turns == 1
    assert reader.reads == []
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize("interval", [1, 2, 4, 8])
@pytest.mark.parametrize("start", [0.0, 0.013, 12345.678])
def test_read_at_its_interval(interval: int, start: float) -> None:
    clock = Clock()
    clock.advance(start)
    reader, scheduler = RecordingReader(clock, interval), ReadScheduler(clock, INTERVAL)
    scheduler.schedule(reader)
    run(clock, 1.0, 0.0005)
    expected = 1.0 / (interval * GRID)
    assert expected * 0.9 - 1 <= len(reader.reads) <= expected * 1.15 + 2
    scheduler.remove(reader)
    assert clock.getDelayedCalls() == []


def test_all_are_read_in_the_same_turns() -> None:
    clock = Clock()
    scheduler = ReadScheduler(clock, INTERVAL)
    readers = [RecordingReader(clock) for _ in range(10)]
    for reader in readers:
        scheduler.schedule(reader)
        run(clock, 0.003)
    for reader in readers:
        reader.reads.clear()
    run(clock, 1.0)
    assert len({tuple(reader.reads) for reader in readers}) == 1


@pytest.mark.parametrize("pace", [0.007, 0.0101, 0.013, 0.0231, 0.03, 0.0441, 0.1])
@pytest.mark.parametrize("interval", [1, 2, 4, 8])
def test_a_busy_reactor_delays_reads_but_drops_none(interval: int, pace: float) -> None:
    """Each turn takes ``pace``, so each timer is late. A reader is then read in the next turn."""
    clock = Clock()
    reader, scheduler = RecordingReader(clock, interval), ReadScheduler(clock, INTERVAL)
    scheduler.schedule(reader)
    run(clock, 4.0, pace)
    gaps = [b - a for a, b in zip(reader.reads, reader.reads[1:], strict=False)]
    assert reader.reads
    assert max(gaps) <= interval * GRID + 2 * pace
    scheduler.remove(reader)


def test_reader_that_returns_zero_leaves_the_schedule() -> None:
    clock = Clock()
    reader, scheduler = RecordingReader(clock, 0), ReadScheduler(clock, INTERVAL)
    scheduler.schedule(reader)
    run(clock, 0.1)
    assert len(reader.reads) == 1
    assert clock.getDelayedCalls() == []


def test_reader_may_be_removed_while_reading_or_waiting() -> None:
    clock = Clock()
    scheduler = ReadScheduler(clock, INTERVAL)
    first, second = RecordingReader(clock), RecordingReader(clock)
    scheduler.has_read(first)
    scheduler.remove(first)
    assert clock.getDelayedCalls() == []
    scheduler.has_read(first)
    scheduler.has_read(second)
    scheduler.remove(first)
    clock.advance(0)
    assert (first.turns, second.turns) == (0, 1)
    scheduler.schedule(first)
    scheduler.schedule(second)
    scheduler.remove(first)
    run(clock, 0.1)
    assert first.reads == []
    assert second.reads
    scheduler.remove(second)
    assert clock.getDelayedCalls() == []


def test_reader_may_remove_another_one() -> None:
    clock = Clock()
    scheduler = ReadScheduler(clock, INTERVAL)
    second = RecordingReader(clock)

    class First(RecordingReader):
        def read(self, step: int) -> int:
            scheduler.remove(second)
            scheduler.remove(self)
            return super().read(step)

    first = First(clock)
    scheduler.schedule(first)
    scheduler.schedule(second)
    run(clock, 0.1)
    assert len(first.reads) == 1
    assert second.reads == []
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize("where", ["turn_ended", "read"])
def test_failing_reader_does_not_affect_the_others(where: str) -> None:
    """An error in one stream must not stop the reading of the others."""
    clock = Clock()
    scheduler = ReadScheduler(clock, INTERVAL)

    class Broken(RecordingReader):
        def turn_ended(self) -> None:
            if where == "turn_ended":
                raise ZeroDivisionError

        def read(self, step: int) -> int:
            raise ZeroDivisionError

    good = RecordingReader(clock)
    broken = Broken(clock)
    for reader in (broken, good):
        scheduler.has_read(reader)
        if where == "read":
            scheduler.schedule(reader)
    for _ in range(200):
        try:
            clock.advance(0.001)
        except ZeroDivisionError:  # the reactor would log it and go on
            pass
    assert good.turns == 1
    if where == "read":
        assert len(good.reads) >= 4


def test_failing_reader_may_fail_again_in_read_failed() -> None:
    clock = Clock()
    scheduler = ReadScheduler(clock, INTERVAL)

    class Broken(RecordingReader):
        def read(self, step: int) -> int:
            raise ZeroDivisionError

        def read_failed(self) -> None:
            raise ZeroDivisionError

    good = RecordingReader(clock)
    scheduler.schedule(Broken(clock))
    scheduler.schedule(good)
    for _ in range(200):
        try:
            clock.advance(0.001)
        except ZeroDivisionError:  # the reactor would log it and go on
            pass
    assert len(good.reads) >= 4
