"""The timeout of a silent source, by its rhythm."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.core.health.silence import MAX_TIMEOUT, SHORTEST_PAUSE, SilenceTracker


def deliver_evenly(silence: SilenceTracker, start: float, seconds: float, step: float = 0.06) -> float:
    """Deliver packets at every step and return the time of the last ones."""
    at = start
    while at + step <= start + seconds:
        at += step
        silence.packets_received(at)
    return at


def deliver_in_bursts(silence: SilenceTracker, start: float, period: float, bursts: int, length: float = 0.2) -> float:
    at = start
    for _ in range(bursts):
        deliver_evenly(silence, at, length)
        at += period
        silence.packets_received(at)
    return at


def test_even_source_has_the_base_timeout() -> None:
    silence = SilenceTracker(3, 0)
    last = deliver_evenly(silence, 0, 60)
    assert silence.timeout() == 3
    assert not silence.is_stalled(last + 2.99)
    assert silence.is_stalled(last + 3)
    assert silence.silence(last + 2) == pytest.approx(2)


@pytest.mark.parametrize(
    ("period", "expected"), [(1.0, 3.0), (2.0, 3.64), (6.0, 11.64), (15.0, 29.64), (20.0, MAX_TIMEOUT)]
)
def test_bursts_extend_the_timeout_to_twice_the_usual_pause(period: float, expected: float) -> None:
    silence = SilenceTracker(3, 0)
    deliver_in_bursts(silence, 0, period, 4)
    assert silence.timeout() == pytest.approx(expected, abs=0.1)


def test_single_hiccup_of_an_even_source_is_soon_forgotten() -> None:
    silence = SilenceTracker(3, 0)
    last = deliver_evenly(silence, 0, 20)
    silence.packets_received(last + 2.5)
    assert silence.timeout() == pytest.approx(5)
    deliver_evenly(silence, last + 2.5, 2.6)
    assert silence.timeout() == 3


def test_rare_hiccups_do_not_extend_the_timeout() -> None:
    silence = SilenceTracker(3, 0)
    last = 0.0
    for _ in range(8):
        last = deliver_evenly(silence, last, 20)
        last += 2.9
        silence.packets_received(last)
    deliver_evenly(silence, last, 3)
    assert silence.timeout() == 3


def test_single_long_pause_does_not_set_the_timeout() -> None:
    silence = SilenceTracker(3, 0)
    last = deliver_in_bursts(silence, 0, 2, 3)
    silence.packets_received(last + 20)
    last = deliver_in_bursts(silence, last + 20, 2, 3)
    assert silence.timeout() < 5


def test_even_source_that_changes_to_bursts_extends_the_timeout() -> None:
    silence = SilenceTracker(3, 0)
    last = deliver_evenly(silence, 0, 600)
    deliver_in_bursts(silence, last, 4, 3)
    assert silence.timeout() == pytest.approx(2 * 3.8, abs=0.1)


def test_media_ahead_extends_the_timeout_until_the_first_pause() -> None:
    silence = SilenceTracker(3, 0)
    last = deliver_evenly(silence, 0, 0.3)
    silence.media_received(6.0)
    assert silence.timeout() == pytest.approx(3 + 6.0 - last)
    silence.packets_received(6.0)
    assert silence.timeout() == pytest.approx(2 * (6.0 - last)), "the pause is known now"


def test_media_ahead_does_not_count_after_the_first_pause() -> None:
    silence = SilenceTracker(3, 0)
    silence.packets_received(0.3)
    silence.packets_received(1.5)
    silence.media_received(20)
    assert silence.timeout() == 3


def test_initial_burst_of_an_even_source_extends_the_timeout_briefly() -> None:
    silence = SilenceTracker(3, 0)
    last = deliver_evenly(silence, 0, 2)
    silence.media_received(12)
    assert silence.timeout() == pytest.approx(3 + 12 - last)
    deliver_evenly(silence, last, 1.2)
    silence.media_received(13)
    assert silence.timeout() == 3


@pytest.mark.parametrize("media", [-100.0, 0.0])
def test_source_behind_real_time_has_the_base_timeout(media: float) -> None:
    silence = SilenceTracker(3, 0)
    deliver_evenly(silence, 0, 1)
    silence.media_received(media)
    assert silence.timeout() == 3


def test_timeout_is_bounded_unless_the_setting_is_longer() -> None:
    silence = SilenceTracker(3, 0)
    silence.media_received(1000)
    assert silence.timeout() == MAX_TIMEOUT
    silence = SilenceTracker(3600, 0)
    assert silence.timeout() == 3600


def test_base_zero_switches_stalls_off() -> None:
    silence = SilenceTracker(0, 0)
    assert silence.timeout() == 0
    assert not silence.is_stalled(1e9)


@given(
    st.floats(0.1, 10),
    st.lists(st.floats(0, 40), max_size=40),
    st.one_of(st.none(), st.floats(-10, 100)),
)
def test_timeout_and_check_interval_are_bounded(base: float, gaps: list[float], media: float | None) -> None:
    silence, now = SilenceTracker(base, 0), 0.0
    for gap in gaps:
        now += gap
        silence.packets_received(now)
        if media is not None:
            silence.media_received(media)
        assert base <= silence.timeout() <= max(base, MAX_TIMEOUT)
        assert 0.05 <= silence.check_after(now + gap) <= max(base, 0.05)
    if all(gap < SHORTEST_PAUSE for gap in gaps) and media is None:
        assert silence.timeout() == base


@given(st.floats(1, 10), st.lists(st.floats(0, 20), max_size=30))
def test_checks_at_the_returned_interval_find_every_stall(base: float, gaps: list[float]) -> None:
    silence, now = SilenceTracker(base, 0), 0.0
    for gap in gaps:
        now += gap
        silence.packets_received(now)
    looked, looks = now, 0
    while not silence.is_stalled(looked + 1e-9):
        looked += silence.check_after(looked)
        looks += 1
        assert looks < 1000
    assert looked - now <= silence.timeout() + 0.06
