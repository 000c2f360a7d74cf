"""Signs that a source is about to fail."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.core.health.trend import TrendDetector, TrendReading, TrendVerdict

USUAL = TrendReading(1_000_000, 0.2, 0, 1.0)


def verdict(*latest: TrendReading, before: Sequence[TrendReading] = (USUAL,) * 5) -> TrendVerdict:
    suspicion = TrendDetector()
    for reading in before:
        assert not suspicion.judge(reading).suspect
    for reading in latest[:-1]:
        suspicion.judge(reading)
    return suspicion.judge(latest[-1])


def rates(*values: float) -> list[TrendReading]:
    return [TrendReading(value * 1e6, 0.2, 0, 1.0) for value in values]


def pauses(*values: float) -> list[TrendReading]:
    return [TrendReading(1e6, value, 0, 1.0) for value in values]


def errors(*values: float) -> list[TrendReading]:
    return [TrendReading(1e6, 0.2, value, 1.0) for value in values]


def paces(*values: float | None) -> list[TrendReading]:
    return [TrendReading(1e6, 0.2, 0, value) for value in values]


@pytest.mark.parametrize(
    ("latest", "weight"),
    [
        (rates(1, 1, 1), 0),
        (rates(0.9, 0.85, 0.8), 0),
        (rates(0.9, 0.8, 0.75), 1),
        (rates(0.9, 0.7, 0.5), 2),
        (rates(0.5, 0.5, 0.5), 0),
        (rates(0.9, 0.4, 0.5), 0),
        (rates(1.1, 1.5, 3.0), 0),
        (pauses(0.25, 0.3, 0.39), 0),
        (pauses(0.25, 0.3, 0.5), 1),
        (pauses(0.5, 1.0, 1.5), 2),
        (pauses(1.0, 1.0, 2.0), 0),
        (errors(1, 2, 4), 0),
        (errors(1, 3, 5), 1),
        (errors(5, 10, 20), 2),
        (errors(20, 20, 20), 0),
        (paces(0.98, 0.96, 0.96), 0),
        (paces(0.96, 0.96, 0.96), 1),
        (paces(0.89, 0.8, 0.7), 2),
        (paces(0.5, None, 0.5), 0),
        ([TrendReading(9e5, 0.3, 0, 1), TrendReading(8e5, 0.4, 0, 1), TrendReading(7e5, 0.6, 0, 1)], 2),
    ],
)
def test_weight_of_each_sign(latest: list[TrendReading], weight: int) -> None:
    found = verdict(*latest)
    assert found.weight == weight
    assert found.suspect == (weight >= 2)
    assert bool(found.signs) == bool(weight)


def test_recovery_is_no_sign() -> None:
    before = pauses(0.1, 0.1, 0.1, 10)
    assert verdict(*pauses(9, 8, 7), before=before[:3] + before[3:]).weight == 0


def test_sign_names_the_values() -> None:
    assert verdict(*rates(0.9, 0.7, 0.5)).signs == ("bitrate falling from 1000000 to 500000 bytes per second",)


def test_first_readings_are_never_suspect() -> None:
    suspicion = TrendDetector()
    for value in (8, 4, 2):
        assert suspicion.judge(TrendReading(value, 10 / value, 1000, 0.1)) == TrendVerdict(0)


@given(st.lists(st.builds(TrendReading, st.floats(0, 1e8), st.floats(0, 1e3), st.integers(0, 10**6)), max_size=40))
def test_any_readings_are_accepted_and_a_suspicion_needs_a_trend(readings: list[TrendReading]) -> None:
    suspicion = TrendDetector()
    for reading in readings:
        assert 0 <= suspicion.judge(reading).weight <= 6
    for _ in range(4):
        found = suspicion.judge(USUAL)
    if readings:
        assert found.weight == 0
