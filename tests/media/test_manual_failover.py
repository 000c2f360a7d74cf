"""Repeated ``POST /streams/{id}/failover``: each request is one step, and the played stream shows none of them."""

from __future__ import annotations

import json
from collections import Counter

import pytest
import pytest_twisted
from clip_provider import BACKUP_ORIGIN, KEY, keys, packets_of, steps, url, without_torn_tail
from clips import H264
from decoding import decode
from loopback_rig import PACKET, Player, assert_whole_packets
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol

from m3uproxy.core.splice import plan

pytestmark = pytest.mark.media

TIMES = 100
#: Mbit/s -> times the speed of the clips.
SPEEDS = {"0.5": 1.1, "2": 4.4, "20": 44}


class PieceRecorder(Player):
    """A player that keeps the received data in pieces, because much data is searched all the time."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.pieces: list[bytes] = []
        self.size = 0

    def dataReceived(self, data: bytes) -> None:
        if self.first_byte is None:
            super().dataReceived(data)
            data = self.body
        self.pieces.append(data)
        self.size += len(data)

    def contains(self, keys: set[bytes], since: int) -> bool:
        """Return True if a packet of a clip is among the bytes from ``since`` on."""
        size, recent = self.size, []
        for data in reversed(self.pieces):
            if size <= since:
                break
            recent.insert(0, data)
            size -= len(data)
        return any(packet[-KEY:] in keys for packet in packets_of(b"".join(recent)[-size % PACKET :]))


async def fail_over(rig, stream) -> dict:
    path = f"/streams/{stream.id}/failover"
    asked = await rig.ask(path, method="POST", headers=("Content-Length: 0", "Connection: close"))
    await rig.until(lambda: asked.closed, 20)
    assert asked.status == 200
    return json.loads(asked.body)


@pytest.mark.parametrize("speed", SPEEDS)
@pytest_twisted.ensureDeferred
async def test_hundred_failovers_each_awaited(rig, start_provider, monkeypatch, speed):
    """Each step completes before the next request: the player gets packets that only that source has."""
    # A source with the players' clock (the first one) would be given time to reach packets that were not sent yet.
    monkeypatch.setattr(plan, "_SAME_CLOCK", 0)
    recipes = [H264, *(H264.backup(seed=seed) for seed in range(2, 6))]
    providers = [await start_provider(recipe, number * BACKUP_ORIGIN) for number, recipe in enumerate(recipes)]
    times = Counter(key for recipe in recipes for key in keys(recipe))
    only = [{key for key in keys(recipe) if times[key] == 1} for recipe in recipes]
    query = f"rate={SPEEDS[speed]}&burst=1.2"
    stream = rig.register(*(url(provider, query) for provider in providers))
    player = PieceRecorder(f"/stream/{stream.id}")
    await connectProtocol(TCP4ClientEndpoint(rig.reactor, "127.0.0.1", rig.port), player)
    rig.players.append(player)
    await rig.until(lambda: player.size > 60_000, 20)
    for number in range(1, TIMES + 1):
        since, index = player.size, number % len(recipes)
        asked = [provider.channel("x").tally.requests for provider in providers]
        answer = await fail_over(rig, stream)
        assert (answer["failover_index"], answer["failover_attempts"]) == (index, number)
        await rig.until(lambda: player.contains(only[index], since), 20)  # noqa: B023
        now = [provider.channel("x").tally.requests for provider in providers]
        # A machine too slow for 44 times the speed is disconnected, and dials the same source again.
        assert now[index] > asked[index]
        assert now[:index] + now[index + 1 :] == asked[:index] + asked[index + 1 :]
    assert not player.closed
    body = b"".join(player.pieces)
    assert_whole_packets(body)
    seen = decode(without_torn_tail(body))
    assert seen.complaints == []
    assert min(steps(seen.pictures)) > 0
    assert min(steps(seen.sounds)) > 0


@pytest_twisted.ensureDeferred
async def test_hundred_failovers_without_a_pause(rig):
    """Five sources. Sources that are stepped over are hardly dialled."""
    stream = rig.register(*(f"/live/{name}.ts?burst=1.5" for name in "abcde"))
    player = await rig.play(stream)
    await rig.until_bytes(player, 60_000, 20)
    for number in range(1, TIMES + 2):
        answer = await fail_over(rig, stream)
        assert (answer["failover_index"], answer["failover_attempts"]) == (number % 5, number)
    size = len(player.body)
    await rig.until_bytes(player, size + 60_000, 20)
    assert stream.source_index == 1
    assert decode(without_torn_tail(player.body)).complaints == []
    assert rig.open_upstreams() == 1
