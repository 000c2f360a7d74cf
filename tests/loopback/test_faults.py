"""Faults of the provider: the status before the first byte, the recovery after it."""

from __future__ import annotations

import json

import pytest
import pytest_twisted
from loopback_rig import assert_whole_packets

from m3uproxy.provider.heads import ODDITIES

#: Fault of the only source -> status of the answer, and a word of the reason.
BEFORE_THE_FIRST_BYTE = {
    "refuse=1": (502, "reset"),
    "hang=head": (504, "first byte timeout"),
    "hang=body": (504, "first byte timeout"),
    "delay=3": (504, "first byte timeout"),
    "slow_head=0.5": (504, "first byte timeout"),
    "status=401": (502, "401"),
    "status=403": (502, "403"),
    "status=404": (502, "404"),
    "status=500": (502, "500"),
    "status=429": (503, "too many"),
    "status=458": (503, "too many"),
    "status=503": (502, "503"),
    "status=509": (503, "too many"),
    "html=1": (502, "HTML"),
    "html=video": (502, "HTML"),
    "json=1": (502, "JSON"),
    "limit=0": (503, "too many"),
    "limit=0&limit_answer=html": (502, "HTML"),
    "limit=0&limit_answer=403": (502, "403"),
    "redirect=loop": (502, "redirect"),
    "redirect=chain&hops=12": (502, "redirect"),
    "redirect=none": (502, "redirect"),
    "redirect=empty": (502, "redirect"),
    "redirect=ftp": (502, "redirect"),
    "redirect=https": (504, "first byte timeout"),
    "garbage=0&rate=0": (502, "not a transport stream"),
    "close=0": (502, "ended"),
    "stall=0": (504, "first byte timeout"),
}

#: Unusual responses with valid video.
PLAYS = [
    "",
    "head=icy",
    "framing=chunked",
    "gzip=1",
    "framing=chunked&gzip=1",
    "redirect=same",
    "redirect=other",
    "redirect=relative",
    "redirect=path",
    "redirect=chain",
    "redirect=other&head=icy&framing=chunked",
    "slow_head=0.001",
    "ctype=text/html",
    "burst=3",
    "rate=4",
]


@pytest.mark.parametrize("fault", BEFORE_THE_FIRST_BYTE)
@pytest_twisted.ensureDeferred
async def test_status_before_the_first_byte(rig, fault):
    status, word = BEFORE_THE_FIRST_BYTE[fault]
    await rig.start(stream_retry_attempts=1, start_timeout=1)
    player = await rig.play(rig.register(f"/live/x.ts?{fault}"))
    await rig.until(lambda: player.status is not None and b"}" in player.body, 6)
    assert player.status == status
    assert word in json.loads(player.body)["detail"]
    assert (b"Retry-After: 5" in player.head) == (status == 503)
    await rig.until(lambda: rig.open_upstreams() == 0, what="no upstream is left")


@pytest.mark.parametrize("fault", PLAYS)
@pytest_twisted.ensureDeferred
async def test_unusual_responses_play(rig, fault):
    player = await rig.play(rig.register(f"/live/x.ts?{fault}"))
    await rig.until_bytes(player, 60_000)
    assert player.status == 200
    assert_whole_packets(player.body)
    await player.leave()
    await rig.until(lambda: rig.open_upstreams() == 0, 1, "the upstream is closed behind the last viewer")


#: Heads without a status, without an end within 64 KiB, and no head at all.
UNREADABLE_HEADS = {"text_status", "huge", "endless", "missing"}


@pytest.mark.parametrize("odd", ODDITIES)
@pytest_twisted.ensureDeferred
async def test_odd_heads_play_or_are_refused(rig, odd):
    await rig.start(stream_retry_attempts=1)
    player = await rig.play(rig.register(f"/live/x.ts?head={odd}&burst=3"))
    await rig.until_bytes(player, 20 if odd in UNREADABLE_HEADS else 20_000)
    assert player.status == (502 if odd in UNREADABLE_HEADS else 200)
    assert (b"bad response head" in player.body) == (odd in UNREADABLE_HEADS)


AFTER_THE_FIRST_BYTE = {
    "close=2s": "ended",
    "close=2s&framing=chunked": "ended",
    "close=2s&framing=chunked_cut": "truncated",
    "reset=2s": "reset",
    "stall=2s": "stalled",
    "bad_chunk=2s&framing=chunked": "truncated",
    "garbage=2s": "stalled",
}


@pytest.mark.parametrize("fault", AFTER_THE_FIRST_BYTE)
@pytest_twisted.ensureDeferred
async def test_stream_recovers_from_the_same_source(rig, fault):
    stream = rig.register(f"/live/x.ts?burst=2&{fault}")
    player = await rig.play(stream)
    channel = rig.provider.channel("x")
    await rig.until(lambda: channel.tally.total >= 2, 8, "a redial")
    size = len(player.body)
    await rig.until_bytes(player, size + 30_000)
    assert not player.closed
    assert_whole_packets(player.body)
    assert stream.broadcaster.session.error.reason.value.endswith(AFTER_THE_FIRST_BYTE[fault])
    assert channel.tally.peak == 1


@pytest.mark.parametrize("fault", ["close", "reset", "stall", "status=404", "refuse=1", "html=1", "hang=head"])
@pytest_twisted.ensureDeferred
async def test_backup_takes_over(rig, fault):
    broken_from_the_start = "=" in fault
    stream = rig.register(f"/live/a.ts?burst=2&{fault if broken_from_the_start else ''}", "/live/b.ts?burst=1")
    player = await rig.play(stream)
    await rig.until_bytes(player, 30_000, 6)
    if not broken_from_the_start:
        rig.provider.control("a", f"{fault}=1.2s&refuse=1")
    await rig.until(lambda: rig.provider.channel("b").tally.current == 1, 8, "the backup is open")
    size = len(player.body)
    await rig.until_bytes(player, size + 30_000)
    assert_whole_packets(player.body)
    assert stream.source_index == 1
    assert stream.current_url.endswith("b.ts?burst=1")


@pytest_twisted.ensureDeferred
async def test_alignment_survives_missing_bytes(rig):
    player = await rig.play(rig.register("/live/x.ts?burst=3&cut=50k&cut_size=777"))
    await rig.until_bytes(player, 150_000)
    assert_whole_packets(player.body)
    assert rig.provider.channel("x").tally.total == 1


@pytest_twisted.ensureDeferred
async def test_player_is_aborted_if_all_sources_fail_after_the_first_bytes(rig):
    await rig.start(stream_total_timeout=3)
    player = await rig.play(rig.register("/live/x.ts?burst=2"))
    await rig.until_bytes(player, 30_000)
    rig.provider.control("x", "close=0")
    await rig.provider.close_port()
    await rig.until(lambda: player.closed, 8)
    assert "reset" in str(player.reason).lower() or "non-clean" in str(player.reason).lower()


@pytest_twisted.ensureDeferred
async def test_dead_address_and_dead_name_are_bounded(rig):
    for url in ("http://127.0.0.1:1/live/x.ts", "http://no-such-host.invalid/live/x.ts"):
        player = await rig.play(rig.register(url))
        await rig.until(lambda player=player: player.status is not None, 6, url)
        assert player.status in (502, 504)
