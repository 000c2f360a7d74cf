"""Sources that are slow, and accounts with too many connections: players wait, and providers are asked seldom."""

from __future__ import annotations

import pytest
import pytest_twisted
from loopback_rig import assert_whole_packets


async def zapped(rig, query: str):
    """Play a channel of an account and leave it, then play another one of that account."""
    first = await rig.play(rig.register("/live/ann/pw/1.ts?burst=1"))
    await rig.until_bytes(first, 20_000)
    await first.leave()
    return await rig.play(rig.register(f"/live/ann/pw/2.ts?burst=1&{query}"))


@pytest_twisted.ensureDeferred
async def test_slow_source_is_awaited_with_one_request(rig):
    player = await rig.play(rig.register("/live/x.ts?burst=1&delay=1.5"))
    await rig.until_bytes(player, 20_000)
    assert player.status == 200
    assert_whole_packets(player.body)
    assert rig.provider.channel("x").tally.total == 1


@pytest_twisted.ensureDeferred
async def test_slow_backup_gets_the_time_that_is_left(rig):
    player = await rig.play(rig.register("/live/a.ts?status=404", "/live/b.ts?burst=1&delay=1.5"))
    await rig.until_bytes(player, 20_000)
    assert (player.status, rig.provider.channel("b").tally.total) == (200, 1)


@pytest.mark.parametrize("status", [403, 458, 503])
@pytest_twisted.ensureDeferred
async def test_provider_that_counts_the_last_channel_is_asked_again(rig, status):
    player = await zapped(rig, f"status={status}&times=2")
    await rig.until_bytes(player, 20_000)
    assert player.status == 200
    assert 1.4 < player.first_byte < 3


@pytest_twisted.ensureDeferred
async def test_refusal_without_another_connection_is_final(rig):
    player = await rig.play(rig.register("/live/bob/pw/2.ts?burst=1&status=403&times=2"))
    await rig.until(lambda: player.body.endswith(b"}"))
    assert player.status == 502


@pytest_twisted.ensureDeferred
async def test_streams_of_a_full_account_ask_one_after_another(rig):
    streams = [rig.register(f"/live/ann/pw/{n}.ts?burst=1&status=458&times=1") for n in range(2)]
    first = await rig.play(streams[0])
    await rig.until(lambda: rig.provider.channel("0").tally.requests == 1)
    second = await rig.play(streams[1])
    await rig.sleep(0.2)
    assert rig.provider.channel("1").tally.requests == 0, "the account must not be asked yet"
    for player in (first, second):
        await rig.until_bytes(player, 20_000)
        assert player.status == 200
