"""Content faults: with a backup the source is left, without one the fault is recorded."""

from __future__ import annotations

import json

import pytest
import pytest_twisted
from loopback_rig import PACKET, assert_whole_packets

from m3uproxy.web.api.response_types import HealthObject

#: Short timeouts, for short tests.
QUICK = {
    "video_gone_seconds": 0.7,
    "video_frozen_seconds": 0.7,
    "scrambled_seconds": 0.7,
    "bitrate_check_interval": 0.5,
    "bitrate_failover_threshold": 2,
    "bitrate_monitoring_grace_period": 0.5,
}
#: Fault of the provider -> cause in the timeline, and the required settings.
FAULTS = {
    "no_video": ("video gone", {}),
    "frozen": ("picture frozen", {}),
    "scrambled": ("scrambled", {}),
    "damaged": ("transport errors", {}),
    "thin": ("low bitrate", {"enable_bitrate_monitoring": True, "min_bitrate_threshold": 20_000}),
}


def timeline(stream) -> list[dict]:
    return stream.history.entries()


async def stream_object(rig, stream) -> dict:
    """Return the stream object of the API."""
    player = await rig.ask(f"/streams/{stream.id}", headers=("Connection: close",))
    await player.ended
    return json.loads(player.body)["stream"]


@pytest.mark.parametrize("fault", FAULTS)
@pytest_twisted.ensureDeferred
async def test_content_fault_moves_to_the_backup(rig, fault):
    words, settings = FAULTS[fault]
    await rig.start(**QUICK, **settings)
    stream = rig.register(f"/live/a.ts?burst=2&{fault}=1s", "/live/b.ts?burst=3")
    player = await rig.play(stream)
    await rig.until(lambda: stream.source_index == 1, 12, "the backup is in use")
    size = len(player.body)
    await rig.until_bytes(player, size + 100_000, 10)
    assert not player.closed
    assert_whole_packets(player.body)
    assert stream.source_index == 1
    await rig.until(lambda: timeline(stream)[0]["bridged_ms"] is not None, 5, "the change is complete")
    [entry] = timeline(stream)
    assert words in entry["cause"]
    assert entry["from"] != entry["to"]
    [first, second] = (await stream_object(rig, stream))["sources"]
    assert (first["in_use"], first["failures"], second["in_use"], second["failures"]) == (False, 1, True, 0)
    assert first["quarantine_seconds"] > 0
    assert first["last_cause"] == ("low bitrate" if fault == "thin" else "content fault")


@pytest.mark.parametrize("fault", FAULTS)
@pytest_twisted.ensureDeferred
async def test_content_fault_without_a_backup_is_recorded(rig, fault):
    words, settings = FAULTS[fault]
    await rig.start(**QUICK, **settings)
    stream = rig.register(f"/live/a.ts?burst=2&{fault}=1s")
    player = await rig.play(stream)
    await rig.until(lambda: timeline(stream), 12, "it is noted")
    size = len(player.body)
    await rig.until_bytes(player, size + 5 * PACKET, 5)
    assert not player.closed
    assert rig.provider.channel("a").tally.total == 1
    [entry] = timeline(stream)
    assert words in entry["cause"]
    assert entry["from"] == entry["to"]
    health = (await stream_object(rig, stream))["health"]
    assert health["fault"] == words
    assert set(health) == set(HealthObject.__annotations__)


@pytest_twisted.ensureDeferred
async def test_healthy_channel_has_no_fault(rig):
    """All checks are on, and the clip loops."""
    await rig.start(
        **{**QUICK, "min_bitrate_threshold": 20_000, "max_continuity_errors": 0.01},
        enable_bitrate_monitoring=True,
        health_interval=1,
        leave_suspect_sources=True,
    )
    stream = rig.register("/live/a.ts?burst=3&rate=3", "/live/b.ts")
    player = await rig.play(stream)
    await rig.sleep(4)
    assert not player.closed
    assert timeline(stream) == []
    health = (await stream_object(rig, stream))["health"]
    assert health["fault"] is None
    assert health["transport_errors"] == health["scrambled_packets"] == health["clock_jumps"] == 0
    assert health["bytes_received"] > 300_000


@pytest_twisted.ensureDeferred
async def test_content_checks_can_be_switched_off(rig):
    await rig.start(**QUICK)
    one = rig.register("/live/a.ts?burst=2&no_video=1s", "/live/b.ts", content_checks=False)
    await rig.play(one)
    await rig.sleep(3)
    assert one.source_index == 0
    assert (await stream_object(rig, one))["health"] is None


@pytest_twisted.ensureDeferred
async def test_trickling_source_is_left(rig):
    await rig.start(start_timeout=60, first_byte_timeout=10)
    stream = rig.register("/live/a.ts?trickle=0.25", "/live/b.ts?burst=3")
    player = await rig.play(stream)
    await rig.until(lambda: stream.source_index == 1, 60, "the backup is in use")
    await rig.until_bytes(player, 100_000, 5)
    assert "trickle" in timeline(stream)[0]["cause"]


@pytest.mark.parametrize("moment", ["0s", "1s"])
@pytest_twisted.ensureDeferred
async def test_padding_and_tables_are_silence(rig, moment):
    """From the start: no response begins before the backup delivers. Later: the source has stalled."""
    await rig.start(first_byte_timeout=0.6, live_chunk_timeout_seconds=0.6)
    stream = rig.register(f"/live/a.ts?no_media={moment}", "/live/b.ts?burst=1")
    player = await rig.ask(f"/stream/{stream.id}")
    await rig.until(lambda: stream.source_index == 1, 6, "the backup is in use")
    assert bool(player.body) == (moment == "1s")
    await rig.until_bytes(player, len(player.body) + 50_000, 5)
    assert rig.provider.channel("a").tally.requests == 1
    words = "first byte timeout" if moment == "0s" else "stalled: no picture or sound"
    assert words in timeline(stream)[0]["cause"]
    await player.leave()


@pytest_twisted.ensureDeferred
async def test_failback_to_the_primary(rig):
    await rig.start(health_interval=0.3, failback_seconds=1)
    stream = rig.register("/live/a.ts?burst=3&close=1s&times=1", "/live/b.ts?burst=3")
    rig.provider.control("a", "status=500&times=3")
    player = await rig.play(stream)
    await rig.until_bytes(player, 50_000)
    assert stream.source_index == 1
    rig.provider.control("a", "fault=none")
    await rig.until(lambda: stream.source_index == 0, 8, "the primary is in use again")
    size = len(player.body)
    await rig.until_bytes(player, size + 50_000)
    assert not player.closed
    assert_whole_packets(player.body)
    assert "a better source" in timeline(stream)[-1]["cause"]


@pytest_twisted.ensureDeferred
async def test_backups_are_probed_if_set_and_at_other_hosts_only(rig):
    for wanted, host in ((False, "localhost"), (True, "127.0.0.1"), (True, "localhost")):
        await rig.start(health_interval=0.3, probe_backups=wanted)
        backup = rig.provider.url("/live/b.ts?status=403").replace("127.0.0.1", host)
        stream = rig.register("/live/a.ts?burst=3", backup)
        player = await rig.play(stream)
        await rig.until_bytes(player, 50_000)
        await rig.sleep(1.5)
        expected = wanted and host == "localhost"
        assert (rig.provider.channel("b").tally.requests > 0) == expected
        assert stream.source_index == 0
        assert (stream.broadcaster.session.sources.quarantine(1, rig.reactor.seconds()) != 0) == expected
        await player.leave()
        await rig.until(lambda: rig.open_upstreams() == 0, 2, "nothing is left")


@pytest_twisted.ensureDeferred
async def test_strict_stream_leaves_a_silent_source_sooner(rig):
    await rig.start(live_chunk_timeout_seconds=30, strict_live_ts_circuit_breaker_timeout=1)
    stream = rig.register("/live/a.ts?burst=3&stall=3s", "/live/b.ts?burst=3", strict_live_ts=True)
    await rig.play(stream)
    await rig.until(lambda: stream.source_index == 1, 10, "the backup is in use")
    assert stream.broadcaster.session.sources.report(rig.reactor.seconds())[0]["quarantine_seconds"] > 30
