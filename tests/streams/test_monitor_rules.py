"""The monitor rules, from settings and registration."""

from __future__ import annotations

import attrs
import pytest
from fakes import Relay

from m3uproxy.core.health.content import HealthLimits
from m3uproxy.settings import Settings
from m3uproxy.streams.monitor_rules import MAX_SILENCE, MonitorRules, monitor_rules
from m3uproxy.streams.spec import StreamSpec

SPEC = StreamSpec("http://provider/live/1.ts", "agent")
STRICT = attrs.evolve(SPEC, strict_live_ts=True)


def test_default_settings_give_the_default_rules() -> None:
    assert monitor_rules(Settings(), SPEC) == MonitorRules(lone_silence=3)


def test_silence_without_another_source() -> None:
    assert monitor_rules(Settings(join_seconds=8), SPEC).lone_silence == 8
    assert monitor_rules(Settings(live_chunk_timeout_seconds=3), SPEC).lone_silence is None, "set by the operator"
    assert monitor_rules(Settings(), STRICT).lone_silence is None


def test_silence_of_a_strict_stream_is_exact() -> None:
    rules = monitor_rules(Settings(), STRICT)
    assert (rules.silence, rules.exact) == (2, True)
    assert rules.with_pause(10) == rules
    assert not monitor_rules(Settings(strict_live_ts_circuit_breaker_timeout=0), STRICT).exact


def test_pause_of_a_body_is_added_to_the_silence() -> None:
    rules = monitor_rules(Settings(), SPEC)
    assert rules.with_pause(0) is rules
    assert rules.with_pause(10) == attrs.evolve(rules, silence=13)


@pytest.mark.parametrize(
    ("setting", "value", "limit"),
    [
        ("video_gone_seconds", 7, {"video_gone": 7, "video_missing": 14}),
        ("video_frozen_seconds", 0, {"frozen": 0}),
        ("scrambled_seconds", 9, {"scrambled": 9}),
        ("max_transport_errors", 0.5, {"transport_errors": 0.5}),
        ("max_continuity_errors", 0.25, {"continuity": 0.25}),
        ("enable_bitrate_monitoring", True, {"bitrate": 62_500}),
        ("min_bitrate_threshold", 10, {}),
        ("bitrate_check_interval", 2, {"window": 2}),
        ("bitrate_failover_threshold", 5, {"windows": 5}),
        ("bitrate_monitoring_grace_period", 0, {"grace": 0}),
    ],
)
def test_limits(setting: str, value: float, limit: dict[str, float]) -> None:
    rules = monitor_rules(Settings(**{setting: value}), SPEC)
    assert rules.limits == attrs.evolve(HealthLimits(), **limit)


def test_disabled_content_checks_have_no_limits() -> None:
    assert monitor_rules(Settings(content_checks=False), SPEC).limits is None
    assert monitor_rules(Settings(), attrs.evolve(SPEC, content_checks=False)).limits is None


def test_silence_of_strict_streams() -> None:
    assert monitor_rules(Settings(), STRICT).silence == 2
    assert monitor_rules(Settings(strict_live_ts=True), SPEC).silence == 2
    assert monitor_rules(Settings(strict_live_ts_circuit_breaker_timeout=5), STRICT).silence == 5
    assert monitor_rules(Settings(live_chunk_timeout_seconds=0), SPEC).silence == MAX_SILENCE
    assert monitor_rules(Settings(strict_live_ts_circuit_breaker_timeout=0), STRICT).silence == MAX_SILENCE


def test_repeated_registration_makes_a_stream_strict() -> None:
    relay = Relay()
    stream = relay.stream()
    assert stream.broadcaster.session.sources.rules.stall_cool_down == 10
    relay.player(stream)
    assert relay.stream(strict_live_ts=True) is stream
    assert stream.broadcaster.session.sources.rules.stall_cool_down == 60
    assert stream.broadcaster.session._monitor_rules().silence == 2
    relay.registry.stop()


def test_stream_shows_health_and_sources() -> None:
    relay = Relay()
    stream = relay.stream("http://provider/live/1.ts", "http://provider/live/2.ts")
    assert stream.health() is None
    relay.player(stream)
    relay.play(relay.dialler.last.answer(), 8)
    health = stream.health()
    assert health is not None
    assert health["fault"] is None
    assert health["signs"] == []
    assert health["bytes_received"] >= 300_000
    assert [source["in_use"] for source in stream.sources()] == [True, False]
    relay.registry.stop()
    assert stream.health() is None
