"""Two hundred channels with a player each, at the same time."""

from __future__ import annotations

import pytest
import pytest_twisted
from loopback_rig import assert_whole_packets

STREAMS = 200


# The read scheduler reads all sources of a tick in one call: with two hundred sources that is up to 80 ms.
@pytest.mark.capacity
@pytest_twisted.ensureDeferred
async def test_two_hundred_streams_with_a_player_each(rig):
    streams = [rig.register(f"/live/c{number}.ts?burst=1") for number in range(STREAMS)]
    players = [await rig.play(stream) for stream in streams]
    for player in players:
        await rig.until_bytes(player, 20_000, 30)
        assert player.status == 200
        assert_whole_packets(player.body)
    assert [len(stream.clients()) for stream in streams] == [1] * STREAMS
    assert rig.open_upstreams() == STREAMS
    for player in players:
        await player.leave()
    await rig.until(lambda: rig.open_upstreams() == 0, 10, "all sources closed")
    assert sum(len(stream.clients()) for stream in streams) == 0
