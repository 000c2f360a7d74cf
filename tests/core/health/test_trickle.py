"""Trickles, and slow streams that are none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.core.health.trickle import MIN_RATE, WINDOW, WINDOWS, TrickleDetector


class Body:
    """A body that delivers bytes and clock time in steps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.pulse = TrickleDetector(self.now)
        self.received, self.media = 0, 0.0

    def run(self, seconds: float, rate: float, pace: float = 1.0, step: float = 0.06) -> float | None:
        """Return the seconds until the body is dead; None if it is alive."""
        for number in range(1, round(seconds / step) + 1):
            self.now += step
            self.received += int(rate * step)
            self.media += pace * step
            if self.pulse.update(self.now, self.received, self.media):
                return number * step
        return None


@pytest.mark.parametrize("pace", [0.0, 0.02], ids=["no clock", "some of the clock"])
def test_trickle_from_the_start_is_dead(pace: float) -> None:
    after = Body().run(60, 376, pace, step=0.5)
    assert after == pytest.approx(WINDOWS * WINDOW, abs=1)


@pytest.mark.parametrize(
    ("rate", "pace"),
    [(376, 0.0), (9_000, 0.0), (0.04 * 1e6, 0.04), (500, 0.001)],
    ids="packets nothing slow both".split(),
)
def test_stream_that_becomes_a_trickle_is_dead(rate: float, pace: float) -> None:
    body = Body()
    assert body.run(60, 1e6) is None
    after = body.run(60, rate, pace)
    assert after is not None
    assert after <= (WINDOWS + 1) * WINDOW + 0.2


@pytest.mark.parametrize(
    ("rate", "pace"),
    [
        (6_000, 1.0),  # a black picture at night: the clock and little else
        (1_900, 0.95),
        (150_000, 0.05),  # slow, but above a tenth of the usual rate
        (11_000, 0.0),  # a stream without a clock whose picture stands still
        (800_000, 0.0),  # a clock that stands still
    ],
)
def test_slow_but_playable_stream_is_alive(rate: float, pace: float) -> None:
    body = Body()
    assert body.run(60, 1e6) is None
    assert body.run(600, rate, pace) is None


def test_slowest_radio_without_a_clock_is_alive() -> None:
    assert Body().run(600, MIN_RATE * 1.1, 0) is None


def test_bursts_with_long_pauses_are_alive() -> None:
    """Half a minute of video in one burst, then half a minute of silence."""
    body = Body()
    for _ in range(20):
        assert body.run(0.3, 1e8, 100) is None
        body.now += 29.7


def test_single_starving_window_is_no_trickle() -> None:
    body = Body()
    for _ in range(10):
        assert body.run(20, 1e6) is None
        assert body.run(WINDOW, 300, 0) is None


def test_usual_rate_is_learned_again() -> None:
    body = Body()
    assert body.run(60, 5e6) is None
    assert body.run(120, 2e5) is None
    assert body.run(60, 3e4, 0.05) is None  # below a hundredth of the first rate, above a tenth of the second
    assert body.run(60, 2e3, 0.05) is not None


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 10**9), st.floats(0, 1e6))))
def test_any_steps_are_accepted(steps: list[tuple[float, int, float]]) -> None:
    pulse, now, received, media = TrickleDetector(0.0), 0.0, 0, 0.0
    for passes, size, seconds in steps:
        now, received, media = now + passes, received + size, media + seconds
        assert pulse.update(now, received, media) in (True, False)
        assert pulse.rate >= 0
