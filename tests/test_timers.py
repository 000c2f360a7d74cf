from __future__ import annotations

import math

import pytest
from twisted.internet.task import Clock

from m3uproxy.timers import LATE, SilenceTimer, Timer


class TestTimer:
    def test_fires_once(self):
        clock, fired = Clock(), []
        timer = Timer(clock)
        timer.set(2.0, lambda: fired.append(clock.seconds()))
        assert timer.active
        clock.pump([1.0, 1.0, 5.0])
        assert fired == [2.0]
        assert not timer.active

    def test_a_second_call_replaces_the_first(self):
        clock, fired = Clock(), []
        timer = Timer(clock)
        timer.set(1.0, lambda: fired.append("first"))
        timer.set(2.0, lambda: fired.append("second"))
        clock.advance(2.0)
        assert fired == ["second"]
        assert clock.getDelayedCalls() == []

    def test_cancel_is_safe_at_any_time(self):
        clock = Clock()
        timer = Timer(clock)
        timer.cancel()
        timer.set(1.0, lambda: pytest.fail("it was cancelled"))
        timer.cancel()
        timer.cancel()
        assert not timer.active
        assert clock.getDelayedCalls() == []

    def test_can_be_set_from_its_own_call(self):
        clock, fired = Clock(), []
        timer = Timer(clock)

        def again() -> None:
            fired.append(clock.seconds())
            timer.set(1.0, again)

        timer.set(1.0, again)
        clock.pump([1.0, 1.0])
        assert fired == [1.0, 2.0]
        timer.cancel()


class Listener:
    """A side that notes its last activity and has a timeout of 3 seconds for the next one."""

    LIMIT = 3.0

    def __init__(self, late: float = LATE) -> None:
        self.clock = Clock()
        self.active_at: float | None = 0.0
        self.expired_at: list[float] = []
        self.timer = SilenceTimer(self.clock, self._remaining, self._expired, late)

    def _remaining(self) -> float | None:
        return None if self.active_at is None else self.LIMIT - (self.clock.seconds() - self.active_at)

    def _expired(self) -> None:
        self.expired_at.append(self.clock.seconds())

    def advance(self, seconds: float, step: float = 0.25) -> None:
        for _ in range(round(seconds / step)):
            self.clock.advance(step)


class TestSilenceTimer:
    def test_expires_after_the_limit(self):
        listener = Listener()
        listener.timer.start(3.0)
        listener.advance(2.75)
        assert listener.expired_at == []
        listener.advance(5.0)
        assert listener.expired_at == [3.0]
        assert listener.clock.getDelayedCalls() == []

    def test_activity_extends_the_timeout_without_a_new_call(self):
        listener = Listener()
        listener.timer.start(3.0)
        call = listener.clock.getDelayedCalls()[0]
        listener.advance(2.0)
        listener.active_at = 2.0
        assert listener.clock.getDelayedCalls() == [call]
        listener.advance(2.75)
        assert listener.expired_at == []
        listener.advance(0.25)
        assert listener.expired_at == [5.0]

    def test_stops_if_nothing_is_awaited(self):
        listener = Listener()
        listener.timer.start(3.0)
        listener.active_at = None
        listener.advance(10.0)
        assert listener.expired_at == []
        assert listener.clock.getDelayedCalls() == []

    def test_can_be_started_again(self):
        listener = Listener()
        listener.timer.start(3.0)
        listener.active_at = None
        listener.advance(4.0)
        listener.active_at = 4.0
        listener.timer.start(3.0)
        listener.advance(4.0)
        assert listener.expired_at == [7.0]

    def test_start_leaves_a_running_timer_alone(self):
        listener = Listener()
        listener.timer.start(3.0)
        listener.advance(2.0)
        listener.timer.start(3.0)
        listener.advance(1.0)
        assert listener.expired_at == [3.0]

    def test_cancel_is_safe_at_any_time(self):
        listener = Listener()
        listener.timer.cancel()
        listener.timer.start(3.0)
        listener.timer.cancel()
        listener.timer.cancel()
        listener.advance(10.0)
        assert listener.expired_at == []
        assert listener.clock.getDelayedCalls() == []

    def test_a_late_call_is_no_silence(self):
        listener = Listener()
        listener.timer.start(3.0)
        listener.clock.advance(60.0)
        assert listener.expired_at == []
        listener.active_at = 60.25
        listener.advance(3.25)
        assert listener.expired_at == [63.25]

    def test_silence_behind_a_late_call_expires(self):
        listener = Listener()
        listener.timer.start(3.0)
        listener.clock.advance(60.0)
        listener.advance(LATE)
        assert listener.expired_at == [60.5]

    def test_a_call_that_is_a_little_late_counts(self):
        listener = Listener()
        listener.timer.start(3.0)
        listener.clock.advance(3.5)
        assert listener.expired_at == [3.5]

    def test_the_extension_for_late_calls_can_be_off(self):
        listener = Listener(math.inf)
        listener.timer.start(3.0)
        listener.clock.advance(60.0)
        assert listener.expired_at == [60.0]
