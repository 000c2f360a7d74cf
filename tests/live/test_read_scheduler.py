"""The shared tick: who is read when, also when the reactor is late or a reader breaks."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from m3uproxy.live.read_scheduler import STEPS, ReadScheduler

INTERVAL = 0.04
GRID = INTERVAL / STEPS


class Reader:
    """Asks for an interval and notes when it is read."""

    def __init__(self, clock: Clock, interval: int = STEPS) -> None:
        self.clock = clock
        self.interval = interval
        self.settled = 0
        self.reads: list[float] = []

    def turn_ended(self) -> None:
        self.settled += 1

    def read(self, step: int) -> int:
        self.reads.append(self.clock.seconds())
        return self.interval

    def read_failed(self) -> None:
        self.broken = True


def run(clock: Clock, seconds: float, pace: float = 0.001) -> None:
    clock.pump([pace] * round(seconds / pace))


def test_silent_until_there_is_something_to_read() -> None:
    clock = Clock()
    tick = ReadScheduler(clock, INTERVAL)
    assert clock.getDelayedCalls() == []
    reader = Reader(clock)
    tick.take(reader)
    assert len(clock.getDelayedCalls()) == 1
    tick.forget(reader)
    assert clock.getDelayedCalls() == []


def test_settled_once_a_turn_and_not_in_the_turn_itself() -> None:
    clock = Clock()
    reader, tick = Reader(clock), ReadScheduler(clock, INTERVAL)
    for _ in range(5):
        tick.has_read(reader)
    assert reader.settled == 0
    clock.advance(0)
    assert reader.settled == 1
    clock.advance(1)
    assert reader.settled == 1
    assert reader.reads == []
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize("interval", [1, 2, 4, 8])
@pytest.mark.parametrize("start", [0.0, 0.013, 12345.678])
def test_read_at_its_interval(interval: int, start: float) -> None:
    clock = Clock()
    clock.advance(start)
    reader, tick = Reader(clock, interval), ReadScheduler(clock, INTERVAL)
    tick.take(reader)
    run(clock, 1.0, 0.0005)
    expected = 1.0 / (interval * GRID)
    assert expected * 0.9 - 1 <= len(reader.reads) <= expected * 1.15 + 2
    tick.forget(reader)
    assert clock.getDelayedCalls() == []


def test_all_are_read_in_the_same_turns() -> None:
    clock = Clock()
    tick = ReadScheduler(clock, INTERVAL)
    readers = [Reader(clock) for _ in range(10)]
    for reader in readers:
        tick.take(reader)
        run(clock, 0.003)
    for reader in readers:
        reader.reads.clear()
    run(clock, 1.0)
    assert len({tuple(reader.reads) for reader in readers}) == 1


@pytest.mark.parametrize("pace", [0.007, 0.0101, 0.013, 0.0231, 0.03, 0.0441, 0.1])
@pytest.mark.parametrize("interval", [1, 2, 4, 8])
def test_a_busy_reactor_delays_reads_but_drops_none(interval: int, pace: float) -> None:
    """Each turn takes ``pace``, so that each wake-up is late: a reader is then read in the next turn there is."""
    clock = Clock()
    reader, tick = Reader(clock, interval), ReadScheduler(clock, INTERVAL)
    tick.take(reader)
    run(clock, 4.0, pace)
    gaps = [b - a for a, b in zip(reader.reads, reader.reads[1:], strict=False)]
    assert reader.reads
    assert max(gaps) <= interval * GRID + 2 * pace
    tick.forget(reader)


def test_a_reader_that_returns_nothing_leaves() -> None:
    clock = Clock()
    reader, tick = Reader(clock, 0), ReadScheduler(clock, INTERVAL)
    tick.take(reader)
    run(clock, 0.1)
    assert len(reader.reads) == 1
    assert clock.getDelayedCalls() == []


def test_forgotten_while_reading_or_waiting() -> None:
    clock = Clock()
    tick = ReadScheduler(clock, INTERVAL)
    first, second = Reader(clock), Reader(clock)
    tick.has_read(first)
    tick.forget(first)
    assert clock.getDelayedCalls() == []
    tick.has_read(first)
    tick.has_read(second)
    tick.forget(first)
    clock.advance(0)
    assert (first.settled, second.settled) == (0, 1)
    tick.take(first)
    tick.take(second)
    tick.forget(first)
    run(clock, 0.1)
    assert first.reads == []
    assert second.reads
    tick.forget(second)
    assert clock.getDelayedCalls() == []


def test_forgotten_by_another_that_is_read_before_it() -> None:
    clock = Clock()
    tick = ReadScheduler(clock, INTERVAL)
    second = Reader(clock)

    class First(Reader):
        def read(self, step: int) -> int:
            tick.forget(second)
            tick.forget(self)
            return super().read(step)

    first = First(clock)
    tick.take(first)
    tick.take(second)
    run(clock, 0.1)
    assert len(first.reads) == 1
    assert second.reads == []
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize("where", ["settle", "read"])
def test_what_breaks_in_one_reader_does_not_reach_the_others(where: str) -> None:
    """A defect in the path of one stream must not stop the reading of all."""
    clock = Clock()
    tick = ReadScheduler(clock, INTERVAL)

    class Broken(Reader):
        def turn_ended(self) -> None:
            if where == "settle":
                raise ZeroDivisionError

        def read(self, step: int) -> int:
            raise ZeroDivisionError

    good = Reader(clock)
    broken = Broken(clock)
    for reader in (broken, good):
        tick.has_read(reader)
        if where == "read":
            tick.take(reader)
    for _ in range(200):
        try:
            clock.advance(0.001)
        except ZeroDivisionError:  # the reactor would log it and go on
            pass
    assert good.settled == 1
    if where == "read":
        assert len(good.reads) >= 4


def test_a_reader_that_breaks_once_more_when_it_is_told_so() -> None:
    clock = Clock()
    tick = ReadScheduler(clock, INTERVAL)

    class Broken(Reader):
        def read(self, step: int) -> int:
            raise ZeroDivisionError

        def read_failed(self) -> None:
            raise ZeroDivisionError

    good = Reader(clock)
    tick.take(Broken(clock))
    tick.take(good)
    for _ in range(200):
        try:
            clock.advance(0.001)
        except ZeroDivisionError:  # the reactor would log it and go on
            pass
    assert len(good.reads) >= 4
