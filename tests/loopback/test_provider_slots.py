"""Accounts with few connections: zapping, waiting, takeover, limits."""

from __future__ import annotations

import json

import pytest
import pytest_twisted
from loopback_rig import assert_whole_packets


class SocketPeak:
    """Peak of the open provider sockets, by the proxy's count."""

    def __init__(self, sockets) -> None:
        self.peak = 0
        opened = sockets._opened

        def count_opened() -> None:
            opened()
            self.peak = max(self.peak, sockets.open)

        sockets._opened = count_opened


def channels(rig, count: int, **options) -> list:
    """Register streams of an account that allows one connection and answers 458 to a second one."""
    options = {"provider": "home", "max_connections": 1, **options}
    return [rig.register(f"/live/ann/pw/{n}.ts?burst=1&account_limit=1", **options) for n in range(count)]


@pytest.mark.parametrize("overlapping", [False, True])
@pytest_twisted.ensureDeferred
async def test_two_hundred_zaps_use_one_connection(rig, overlapping):
    """``overlapping``: the player requests the new channel before it closes the old one."""
    await rig.start(stream_timeout=0)
    sockets = SocketPeak(rig.service._sockets)
    streams = channels(rig, 50)
    old = None
    for zap in range(200):
        if old is not None and not overlapping:
            await old.leave()
        player = await rig.play(streams[zap % 50], headers=("User-Agent: VLC",))
        if zap % 4 == 0:
            await rig.until_bytes(player, 20_000)
            assert_whole_packets(player.body)
        else:
            await rig.until(lambda player=player: player.raw or player.closed)
        assert player.status == 200
        if old is not None and overlapping:
            await rig.until(lambda old=old: old.closed)
        old = player
    assert sockets.peak == 1
    slots = rig.registry.slots.report(())
    assert slots["refused"] == 0
    assert slots["taken_over"] == (199 if overlapping else 0)


@pytest_twisted.ensureDeferred
async def test_other_viewer_waits_and_gets_the_limit_as_error(rig):
    await rig.start(slot_wait=0.5)
    mine, other = channels(rig, 2)
    first = await rig.play(mine, headers=("User-Agent: A",))
    await rig.until_bytes(first, 20_000)
    second = await rig.play(other, headers=("User-Agent: B",))
    await rig.until(lambda: second.body)
    assert second.status == 503
    assert b"Retry-After" in second.head
    assert "provider 'home' allows 1 connection, all in use" in json.loads(second.body)["detail"]
    assert not first.closed
    assert rig.provider.channel("1").tally.total == 0


@pytest_twisted.ensureDeferred
async def test_waiting_player_gets_the_released_connection(rig):
    mine, other = channels(rig, 2)
    first = await rig.play(mine, headers=("User-Agent: A",))
    await rig.until_bytes(first, 20_000)
    second = await rig.play(other, headers=("User-Agent: B",))
    await rig.sleep(0.1)
    assert not second.raw
    await first.leave()
    await rig.until_bytes(second, 20_000)
    assert_whole_packets(second.body)


@pytest_twisted.ensureDeferred
async def test_without_takeover_players_stay_connected(rig):
    await rig.start(slot_takeover=False, slot_wait=0.3)
    mine, other = channels(rig, 2)
    first = await rig.play(mine, headers=("User-Agent: A",))
    await rig.until_bytes(first, 20_000)
    second = await rig.play(other, headers=("User-Agent: A",))
    await rig.until(lambda: second.raw)
    assert second.status == 503
    assert not first.closed


@pytest_twisted.ensureDeferred
async def test_backup_of_another_account_is_used_if_the_account_is_full(rig):
    await rig.start(slot_wait=0.3, provider=({"name": "a", "account": "ann", "max_connections": 1},))
    mine = rig.register("/live/ann/pw/1.ts?burst=1")
    other = rig.register("/live/ann/pw/2.ts?burst=1", "/live/bob/pw/2.ts?burst=1")
    first = await rig.play(mine, headers=("User-Agent: A",))
    await rig.until_bytes(first, 20_000)
    second = await rig.play(other, headers=("User-Agent: B",))
    await rig.until_bytes(second, 20_000)
    assert other.source_index == 1
    assert rig.provider.station.accounts["bob"].current == 1
    assert rig.provider.station.accounts["ann"].peak == 1


@pytest_twisted.ensureDeferred
async def test_redirects_and_redials_stay_within_one_connection(rig):
    sockets = SocketPeak(rig.service._sockets)
    stream = rig.register("/live/x.ts?burst=1&redirect=same&close=1.2s", provider="home", max_connections=1)
    player = await rig.play(stream)
    await rig.until(lambda: rig.provider.channel("x").tally.total >= 3, 15)
    assert sockets.peak == 1
    assert not player.closed


@pytest_twisted.ensureDeferred
async def test_statistics_show_the_taken_slots(rig):
    await rig.start(provider=({"name": "acme", "hosts": ("127.0.0.*",), "max_connections": 2},))
    player = await rig.play(rig.register("/live/x.ts?burst=1"))
    await rig.until_bytes(player, 20_000)
    answer = await rig.ask("/stats", headers=("Connection: close",))
    await rig.until(lambda: answer.closed)
    slots = json.loads(answer.body)["provider_slots"]
    row = {"provider": "acme", "max_connections": 2, "open_connections": 1, "slots_taken": 1, "waiting": 0}
    assert slots["providers"] == [row]
    assert slots["granted"] == 1


@pytest_twisted.ensureDeferred
async def test_lingering_stream_releases_its_connection(rig):
    await rig.start(linger=30)
    mine, other = channels(rig, 2)
    first = await rig.play(mine, headers=("User-Agent: A",))
    await rig.until_bytes(first, 20_000)
    await first.leave()
    await rig.sleep(0.05)
    assert rig.open_upstreams() == 1
    second = await rig.play(other, headers=("User-Agent: B",))
    await rig.until_bytes(second, 20_000)
    assert rig.open_upstreams() == 1


@pytest_twisted.ensureDeferred
async def test_next_source_is_opened_before_the_last_is_closed(rig):
    await rig.start(provider=({"name": "acme", "hosts": ("127.0.0.*",), "max_connections": 2},))
    sockets = SocketPeak(rig.service._sockets)
    stream = rig.register("/live/a.ts?burst=1", "/live/b.ts?burst=1")
    player = await rig.play(stream)
    await rig.until_bytes(player, 50_000)
    for step in range(4):
        answer = await rig.ask(f"/streams/{stream.id}/failover", method="POST", headers=("Connection: close",))
        await rig.until(lambda answer=answer: answer.closed)
        assert json.loads(answer.body)["failover_index"] == (step + 1) % 2
        left, chosen = ("a", "b") if step % 2 == 0 else ("b", "a")
        await rig.until(lambda left=left: rig.provider.channel(left).tally.current == 0)
        assert rig.provider.channel(chosen).tally.current == 1
        received = len(player.body)
        await rig.until_bytes(player, received + 50_000)
    assert sockets.peak == 2
    assert stream.history.failover_attempts == 4
    assert stream.history.error_count == 0
    assert_whole_packets(player.body)
    await player.leave()
    await rig.until(lambda: rig.service._sockets.open == 0)
    assert rig.registry.slots.report(())["providers"] == []


@pytest_twisted.ensureDeferred
async def test_standby_connection_respects_the_limit(rig):
    sockets = SocketPeak(rig.service._sockets)
    stream = rig.register("/live/a.ts?burst=1", "/live/b.ts?burst=1", provider="home", max_connections=1)
    player = await rig.play(stream)
    await rig.until_bytes(player, 50_000)
    stream.fail_over()
    await rig.until(lambda: rig.provider.channel("b").tally.current == 1)
    received = len(player.body)
    await rig.until_bytes(player, received + 50_000)
    assert sockets.peak == 1


@pytest_twisted.ensureDeferred
async def test_film_and_channel_share_one_connection(rig):
    """The player opens one before it closes the other, and both use the same connection."""
    sockets = SocketPeak(rig.service._sockets)
    (channel,) = channels(rig, 1)
    film = rig.register("/movie/ann/pw/film.mp4?size=200M&account_limit=1", provider="home", max_connections=1)
    for _ in range(2):
        first = await rig.play(film, headers=("User-Agent: VLC",), window=65_536)
        await rig.until_bytes(first, 20_000)
        second = await rig.play(channel, headers=("User-Agent: VLC",))
        await rig.until_bytes(second, 20_000)
        assert second.status == 200
        await rig.until(lambda first=first: first.closed)
    assert sockets.peak == 1
    assert rig.registry.slots.report(())["refused"] == 0
