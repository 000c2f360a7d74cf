"""The record of decisions."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.core.failover.timeline import MAX_DECISIONS, Outcome, SourceLabel, Timeline

NOON = datetime(2026, 3, 1, 12, 0, 0, 5000, timezone.utc)
SECRET = SourceLabel(0, "http://host:80/live/ann/password/1.ts?token=abc")
OTHER = SourceLabel(1, "http://other/live/ann/password/2.ts")


def test_entry_of_a_decision() -> None:
    timeline = Timeline()
    timeline.record(NOON, SECRET, OTHER, "stalled: no packet for 3.0 s", {"silent_ms": 3012.34567, "bytes": 7})
    assert timeline.entries() == [
        {
            "number": 1,
            "time": "2026-03-01T12:00:00.005Z",
            "from": "http://host:80/live/***/***/1.ts?token=***",
            "from_index": 0,
            "to": "http://other/live/***/***/2.ts",
            "to_index": 1,
            "cause": "stalled: no packet for 3.0 s",
            "measured": {"silent_ms": 3012.346, "bytes": 7},
            "lost_bytes": None,
            "lost_ms": None,
            "bridged_ms": None,
        }
    ]


def test_log_line_of_a_decision() -> None:
    timeline = Timeline()
    decision = timeline.record(NOON, SECRET, OTHER, "stalled", {"silent_ms": 3012.34567})
    text = "source 0 http://host:80/live/***/***/1.ts?token=*** -> 1 http://other/live/***/***/2.ts: stalled"
    assert decision.as_log_line() == f"{text} (silent_ms 3012.35)"
    done = timeline.record_outcome(1, Outcome(lost_bytes=376, bridged_ms=120.0))
    assert done is not None
    assert done.as_log_line() == f"{text} (silent_ms 3012.35, lost_bytes 376, bridged_ms 120)"
    assert timeline.record(NOON, None, None, "gave up").as_log_line() == "source none -> none: gave up"


def test_outcome_completes_a_decision() -> None:
    timeline = Timeline(2)
    for _ in range(3):
        timeline.record(NOON, None, OTHER, "start")
    assert timeline.record_outcome(1, Outcome(1)) is None, "dropped"
    assert timeline.record_outcome(3, Outcome(1, 2.0, 3.0)) is not None
    assert timeline.record_outcome(4, Outcome(1)) is None
    assert [entry["lost_bytes"] for entry in timeline.entries()] == [None, 1]


def test_last_two_hundred_decisions_are_kept() -> None:
    timeline = Timeline()
    for number in range(500):
        timeline.record(NOON + timedelta(seconds=number), None, None, "x")
    assert len(timeline) == MAX_DECISIONS
    assert [entry["number"] for entry in timeline.entries()] == list(range(301, 501))


def test_time_is_converted_to_utc_and_must_be_aware() -> None:
    timeline = Timeline()
    there = NOON.astimezone(timezone(timedelta(hours=5)))
    assert timeline.record(there, None, None, "x").as_dict()["time"] == "2026-03-01T12:00:00.005Z"
    with pytest.raises(ValueError, match="zone"):
        timeline.record(NOON.replace(tzinfo=None), None, None, "x")


@given(st.text(max_size=400), st.text(max_size=50), st.dictionaries(st.text(max_size=5), st.floats() | st.integers()))
def test_any_decision_is_one_line_and_json(cause: str, url: str, measured: dict[str, float]) -> None:
    timeline = Timeline()
    decision = timeline.record(NOON, SourceLabel(0, url), None, cause, measured)
    assert json.loads(json.dumps(timeline.entries(), allow_nan=False))
    assert len(decision.cause) <= 200
    assert len(decision.cause.splitlines()) <= 1
