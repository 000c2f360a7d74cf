"""How long a source may be silent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.core.health.silence import MAX_TIMEOUT, SHORTEST_PAUSE, SilenceTracker


def evenly(silence: SilenceTracker, start: float, seconds: float, step: float = 0.06) -> float:
    """Packets at every step; when the last came."""
    at = start
    while at + step <= start + seconds:
        at += step
        silence.packets_received(at)
    return at


def in_bursts(silence: SilenceTracker, start: float, period: float, bursts: int, length: float = 0.2) -> float:
    at = start
    for _ in range(bursts):
        evenly(silence, at, length)
        at += period
        silence.packets_received(at)
    return at


def test_an_even_source_has_three_seconds() -> None:
    silence = SilenceTracker(3, 0)
    last = evenly(silence, 0, 60)
    assert silence.timeout() == 3
    assert not silence.is_stalled(last + 2.99)
    assert silence.is_stalled(last + 3)
    assert silence.silence(last + 2) == pytest.approx(2)


@pytest.mark.parametrize(
    ("period", "expected"), [(1.0, 3.0), (2.0, 3.64), (6.0, 11.64), (15.0, 29.64), (20.0, MAX_TIMEOUT)]
)
def test_bursts_stretch_it_to_twice_the_usual_pause(period: float, expected: float) -> None:
    silence = SilenceTracker(3, 0)
    in_bursts(silence, 0, period, 4)
    assert silence.timeout() == pytest.approx(expected, abs=0.1)


def test_one_hiccup_of_an_even_source_is_soon_forgotten() -> None:
    silence = SilenceTracker(3, 0)
    last = evenly(silence, 0, 20)
    silence.packets_received(last + 2.5)
    assert silence.timeout() == pytest.approx(5)
    evenly(silence, last + 2.5, 2.6)
    assert silence.timeout() == 3


def test_rare_hiccups_are_no_rhythm() -> None:
    silence = SilenceTracker(3, 0)
    last = 0.0
    for _ in range(8):
        last = evenly(silence, last, 20)
        last += 2.9
        silence.packets_received(last)
    evenly(silence, last, 3)
    assert silence.timeout() == 3


def test_one_long_pause_among_short_ones_does_not_set_it() -> None:
    silence = SilenceTracker(3, 0)
    last = in_bursts(silence, 0, 2, 3)
    silence.packets_received(last + 20)
    last = in_bursts(silence, last + 20, 2, 3)
    assert silence.timeout() < 5


def test_a_source_that_begins_to_deliver_in_bursts_is_noticed() -> None:
    silence = SilenceTracker(3, 0)
    last = evenly(silence, 0, 600)
    in_bursts(silence, last, 4, 3)
    assert silence.timeout() == pytest.approx(2 * 3.8, abs=0.1)


def test_what_is_ahead_counts_until_the_rhythm_is_known() -> None:
    silence = SilenceTracker(3, 0)
    last = evenly(silence, 0, 0.3)
    silence.media_received(6.0)
    assert silence.timeout() == pytest.approx(3 + 6.0 - last)
    silence.packets_received(6.0)
    assert silence.timeout() == pytest.approx(2 * (6.0 - last)), "now the pause itself is known"


def test_after_the_first_pause_what_is_ahead_counts_no_more() -> None:
    silence = SilenceTracker(3, 0)
    silence.packets_received(0.3)
    silence.packets_received(1.5)
    silence.media_received(20)
    assert silence.timeout() == 3


def test_a_burst_at_the_start_of_an_even_source_stretches_nothing_for_long() -> None:
    silence = SilenceTracker(3, 0)
    last = evenly(silence, 0, 2)
    silence.media_received(12)
    assert silence.timeout() == pytest.approx(3 + 12 - last)
    evenly(silence, last, 1.2)
    silence.media_received(13)
    assert silence.timeout() == 3


@pytest.mark.parametrize("media", [-100.0, 0.0])
def test_a_source_that_is_behind_has_its_three_seconds(media: float) -> None:
    silence = SilenceTracker(3, 0)
    evenly(silence, 0, 1)
    silence.media_received(media)
    assert silence.timeout() == 3


def test_never_longer_than_the_longest_unless_the_setting_is() -> None:
    silence = SilenceTracker(3, 0)
    silence.media_received(1000)
    assert silence.timeout() == MAX_TIMEOUT
    silence = SilenceTracker(3600, 0)
    assert silence.timeout() == 3600


def test_switched_off() -> None:
    silence = SilenceTracker(0, 0)
    assert silence.timeout() == 0
    assert not silence.is_stalled(1e9)


@given(
    st.floats(0.1, 10),
    st.lists(st.floats(0, 40), max_size=40),
    st.one_of(st.none(), st.floats(-10, 100)),
)
def test_bounds(base: float, gaps: list[float], media: float | None) -> None:
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
def test_looking_again_when_told_finds_every_stall(base: float, gaps: list[float]) -> None:
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
