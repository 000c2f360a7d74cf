"""The moving average of the bitrate that sizes the rings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.core.ring import Bitrate


def feed(rate: Bitrate, size: int, gap: float, count: int, start: float = 100.0) -> float:
    now = start
    for _ in range(count):
        rate.add(size, now)
        now += gap
    return now


def test_unknown_until_a_second_of_arrival() -> None:
    rate = Bitrate()
    feed(rate, 1000, 0.25, 4)
    assert not rate.known
    assert rate.value == 0
    rate.add(1000, 101.0)
    assert rate.known
    assert rate.value == pytest.approx(4000)


def test_first_piece_is_not_counted() -> None:
    """The first piece is a burst over an unknown time."""
    rate = Bitrate()
    rate.add(10_000_000, 5.0)
    feed(rate, 1000, 0.5, 4, 5.5)
    assert rate.value == pytest.approx(2000)


def test_follows_a_change_within_about_five_seconds() -> None:
    rate = Bitrate()
    now = feed(rate, 1000, 0.1, 100)
    assert rate.value == pytest.approx(10_000, rel=0.01)
    feed(rate, 4000, 0.1, 50, now)
    assert 27_000 < rate.value < 33_000


def test_outage_counts_as_one_second() -> None:
    rate = Bitrate()
    now = feed(rate, 1000, 0.1, 100)
    rate.add(1000, now + 3600)
    assert rate.value > 8_000


@given(st.lists(st.tuples(st.integers(1, 10**6), st.floats(0, 30)), max_size=60))
def test_average_stays_between_zero_and_the_fastest_rate(pieces: list[tuple[int, float]]) -> None:
    rate, now, total = Bitrate(), 0.0, 0
    for size, gap in pieces:
        now += gap
        total += size
        rate.add(size, now)
        assert 0 <= rate.value <= total
        assert rate.known == (rate.value > 0)
