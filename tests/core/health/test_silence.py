"""The timeout of a silent source, by its rhythm."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.core.health.silence import (
    MAX_AHEAD,
    MAX_TIMEOUT,
    SHORTEST_PAUSE,
    RhythmMemory,
    SilenceTracker,
    SourceRhythm,
)


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


class Media:
    """The media of a body, in seconds."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_media_ahead_extends_the_timeout_until_real_time_has_caught_up() -> None:
    media = Media()
    silence = SilenceTracker(3, 0, media)
    media.seconds = 6.0
    last = deliver_evenly(silence, 0, 0.3)
    assert silence.timeout() == pytest.approx(3 + 6.0 - last + SHORTEST_PAUSE)
    assert not silence.is_stalled(9.4)
    assert silence.is_stalled(9.6)


def test_media_of_later_bursts_count_too() -> None:
    """Bursts of 2 s are followed by one of 10 s: the usual pause alone would allow 4 s."""
    media = Media()
    silence = SilenceTracker(3, 0, media)
    for burst in range(4):
        media.seconds += 2
        silence.packets_received(burst * 2.0)
        assert not silence.is_stalled(burst * 2.0 + 1)
    media.seconds += 10
    silence.packets_received(8)
    assert silence.timeout() == pytest.approx(3 + 10 + SHORTEST_PAUSE, abs=0.1)


def test_what_is_ahead_is_used_up_by_pauses() -> None:
    media = Media()
    silence = SilenceTracker(1, 0, media)
    media.seconds = 10
    silence.packets_received(0.1)
    assert silence.timeout() == pytest.approx(1 + 9.9 + SHORTEST_PAUSE)
    silence.packets_received(8.1)
    silence.packets_received(8.2)
    assert silence.timeout() == pytest.approx(16, abs=0.1), "twice the pause"
    rhythm = SourceRhythm()
    silence = SilenceTracker(1, 0, media, rhythm)
    silence.packets_received(0.1)
    assert not silence.is_stalled(5)
    silence.packets_received(8.1)
    rhythm._pauses.clear()
    assert silence.timeout() == pytest.approx(1 + 1.9 + SHORTEST_PAUSE)


def test_initial_burst_of_an_even_source_is_soon_forgotten() -> None:
    """It counts while the source delivers faster than real time, and for one window of the timeout more."""
    media = Media()
    media.seconds = 12.0
    silence = SilenceTracker(3, 0, media)
    now = 0.0
    for _ in range(20):
        now += 0.1
        media.seconds += 0.1
        silence.packets_received(now)
    assert silence.timeout() == pytest.approx(3 + 12 + SHORTEST_PAUSE)
    for _ in range(45):
        now += 0.1
        media.seconds += 0.1
        silence.packets_received(now)
    assert silence.timeout() == 3


def test_slow_burst_is_not_even() -> None:
    """Thirty seconds of media take five seconds to arrive."""
    media = Media()
    silence, now = SilenceTracker(3, 0, media), 0.0
    for _ in range(50):
        now += 0.1
        media.seconds += 0.6
        silence.packets_received(now)
    assert silence.timeout() == pytest.approx(3 + 25 + SHORTEST_PAUSE)


@pytest.mark.parametrize("seconds", [-100.0, 0.0, 1.0])
def test_source_behind_real_time_has_the_base_timeout(seconds: float) -> None:
    media = Media()
    media.seconds = seconds
    silence = SilenceTracker(3, 0, media)
    deliver_evenly(silence, 0, 1)
    assert silence.timeout() == 3


def test_media_counted_from_zero_again_are_no_loss() -> None:
    media = Media()
    silence = SilenceTracker(3, 0, media)
    media.seconds = 5
    assert silence.timeout() == 3 + 5 + SHORTEST_PAUSE
    media.seconds = 1
    silence.discontinuity()
    assert silence.timeout() == 3 + 6 + SHORTEST_PAUSE


def test_media_ahead_are_bounded_unless_the_setting_is_longer() -> None:
    media = Media()
    media.seconds = 1000
    silence = SilenceTracker(3, 0, media)
    assert silence.timeout() == 3 + MAX_AHEAD + SHORTEST_PAUSE
    silence = SilenceTracker(3600, 0)
    assert silence.timeout() == 3600


def test_exact_timeout_holds_whatever_comes() -> None:
    media = Media()
    media.seconds = 20
    silence = SilenceTracker(2, 0, media, exact=True)
    deliver_in_bursts(silence, 0, 6, 4)
    assert silence.timeout() == 2


# over connections


def test_pauses_are_known_after_a_redial() -> None:
    rhythm = SourceRhythm()
    deliver_in_bursts(SilenceTracker(3, 0, rhythm=rhythm), 0, 6, 4)
    silence = SilenceTracker(3, 1000, rhythm=rhythm)
    deliver_evenly(silence, 1000, 0.2)
    assert silence.timeout() == pytest.approx(11.64, abs=0.2)


def test_pauses_cut_off_by_a_stall_are_learned() -> None:
    """A source of unknown clock pauses for 8 s. Each redial is more patient, until the pause is seen to its end."""
    rhythm, now, dials = SourceRhythm(), 0.0, 0
    while True:
        dials += 1
        silence = SilenceTracker(3, now, rhythm=rhythm)
        now = deliver_evenly(silence, now, 0.2)
        if not silence.is_stalled(now + 7.8):
            break
        now += silence.timeout()
        silence.stalled(now)
    assert dials == 3


def test_stall_of_an_even_source_teaches_nothing() -> None:
    rhythm = SourceRhythm()
    silence = SilenceTracker(3, 0, rhythm=rhythm)
    last = deliver_evenly(silence, 0, 20)
    silence.stalled(last + 3)
    silence = SilenceTracker(3, 30, rhythm=rhythm)
    deliver_evenly(silence, 30, 5)
    assert silence.timeout() == 3


def test_memory_keeps_the_latest_sources() -> None:
    memory = RhythmMemory(2)
    first = memory.of("http://a/")
    memory.of("http://b/")
    assert memory.of("http://a/") is first
    memory.of("http://c/")
    assert memory.of("http://a/") is first
    rhythm = memory.of("http://b/")
    rhythm.add(0, 5)
    assert memory.of("http://b/") is rhythm


def test_base_zero_switches_stalls_off() -> None:
    silence = SilenceTracker(0, 0)
    assert silence.timeout() == 0
    assert not silence.is_stalled(1e9)


@given(
    st.floats(0.1, 10),
    st.lists(st.floats(0, 40), max_size=40),
    st.one_of(st.none(), st.floats(-10, 100)),
)
def test_timeout_and_check_interval_are_bounded(base: float, gaps: list[float], step: float | None) -> None:
    media, now = Media(), 0.0
    silence = SilenceTracker(base, 0, media)
    for gap in gaps:
        now += gap
        silence.packets_received(now)
        media.seconds += step or 0.0
        assert base <= silence.timeout() <= max(MAX_TIMEOUT, base + MAX_AHEAD + SHORTEST_PAUSE)
        assert 0.05 <= silence.check_after(now + gap) <= max(base, 0.05)
    if all(gap < SHORTEST_PAUSE for gap in gaps) and step is None:
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
