"""A provider that closes within a packet and replays its last seconds, repeatedly: players must not notice."""

from __future__ import annotations

import os
import random
from itertools import cycle, pairwise

import pytest
import pytest_twisted
from decoding import decode_samples
from loopback_rig import PACKET, assert_whole_packets
from test_live_media import PICTURE, without_torn_tail
from test_source_changes import SOUND

from m3uproxy.core.splice.plan import SpliceKind
from m3uproxy.provider.faults import parse_faults

pytestmark = pytest.mark.media

#: Speed of the provider, as a multiple of real time.
RATE = 8
#: It closes after 10 s of the broadcast and replays 3 s. The target of its redirect is valid for one request.
CLOSES = f"rate={RATE}&replay=3&close={10 / RATE}s&torn=100&redirect=same&expire=once"
#: Kinds of connections. The first connection has no cut audio frames, because no decoder can start within a frame.
KINDS = {
    "as it was": "torn=50",
    "remuxed": "remux=1",
    "remuxed and cut": "remux=cut",
    "restamped": "restamp=1234.5",
    "restamped over the wrap": "restamp=wrap",
    "all of it": "remux=cut&restamp=wrap",
}
#: Connections in two minutes of the broadcast; fewer are enough in CI.
CONNECTIONS = 6 if os.environ.get("CI") else 13

#: More retries, because on a slow machine a connection may count as failed.
RETRY_SETTINGS = {"stream_retry_attempts": 9}


def assert_as_broadcast(body, timeline, pictures):
    """Check that the decoded frames are the broadcast: each picture and audio frame once, evenly spaced, in sync."""
    assert_whole_packets(body)
    seen = decode_samples(without_torn_tail(body))
    assert seen.complaints == []
    assert len(seen.pictures) >= pictures, (
        "a provider on a busy machine sends less before it closes, but not that little"
    )
    end = timeline.due_at(len(seen.pictures) / 25 + 20)
    original = decode_samples(timeline.span(timeline.due_at(-4), end), seen.first)
    for received, expected, step in (
        (seen.pictures, original.pictures, PICTURE),
        (seen.sounds, original.sounds, SOUND),
    ):
        assert {later - earlier for (earlier, _), (later, _) in pairwise(received)} == {step}
        assert [digest for _, digest in received] == [digest for _, digest in expected[: len(received)]]
    received, expected = (each.sounds[0][0] - each.pictures[0][0] for each in (seen, original))
    assert (received - expected) % timeline.clip.period == 0, "the clip is a loop: either may be found one loop away"


def configure_connections(channel, query):
    """Set the faults of later connections; existing ones stay as they are."""
    channel.given = parse_faults([pair.split("=") for pair in query.split("&")], strict=True)


async def play_until(rig, player, connections):
    """Wait until so many connections were made and the last one has continued."""
    tally = rig.provider.channel("x").tally
    await rig.until(lambda: tally.total >= connections or player.closed, 60, f"{connections} connections")
    await rig.until_bytes(player, len(player.body) + 100_000, 10)
    assert not player.closed


@pytest.mark.parametrize("kind", ["as it was", "restamped over the wrap", "all of it"])
@pytest_twisted.ensureDeferred
async def test_replays_of_three_seconds_every_ten_seconds(rig, splices, kind):
    # The ring is shorter than the clip, or the replay would also match the loop before.
    await rig.start(ring_seconds=1, **RETRY_SETTINGS)
    player = await rig.play(rig.register(f"/live/x.ts?{CLOSES}"))
    await rig.until_bytes(player, 1)
    configure_connections(rig.provider.channel("x"), KINDS[kind])
    await play_until(rig, player, 4)
    assert_as_broadcast(player.body, rig.provider.station.timeline, 450)
    assert {report.kind for report in splices[1:]} == {SpliceKind.OVERLAP}


@pytest.mark.slow
@pytest_twisted.ensureDeferred
async def test_two_minutes_of_varied_replays(rig, splices):
    """The ring has its default size and holds ten loops of the clip. Connections are torn at any byte of a packet."""
    await rig.start(**RETRY_SETTINGS)
    dice = random.Random(4)
    stream = rig.register(f"/live/x.ts?{CLOSES}")
    channel, kinds = rig.provider.channel("x"), cycle(KINDS.values())
    player = await rig.play(stream)
    for connections in range(2, CONNECTIONS + 1):
        await rig.until_bytes(player, len(player.body) + 1)
        configure_connections(channel, f"{next(kinds)}&torn={dice.randrange(1, PACKET)}")
        await rig.until(lambda wanted=connections: channel.tally.total >= wanted or player.closed, 20)
    await play_until(rig, player, CONNECTIONS)
    assert_as_broadcast(player.body, rig.provider.station.timeline, (CONNECTIONS - 1) * 100)
    assert {report.kind for report in splices[1:]} == {SpliceKind.OVERLAP}


@pytest_twisted.ensureDeferred
async def test_ten_players_with_different_lags_get_the_same_bytes(rig, splices):
    """All players get the same bytes over every splice, with any join time and lag."""
    await rig.start(**RETRY_SETTINGS)
    stream = rig.register(f"/live/x.ts?{CLOSES}&remux=1&restamp=wrap")
    players = [await rig.play(stream)]
    tally = rig.provider.channel("x").tally
    for number in range(9):
        await rig.until_bytes(players[0], 120_000 * (number + 1), 20)
        players.append(await rig.play(stream, window=65_536))
    await rig.until(lambda: all(player.body for player in players), 5)
    for player in players[1::2]:
        player.transport.pauseProducing()
    splice_count = len(splices)
    await play_until(rig, players[0], tally.total + 1)
    assert len(splices) > splice_count
    for player in players[1::2]:
        player.transport.resumeProducing()
    await play_until(rig, players[0], tally.total + 1)
    shared = players[0].body.rfind(b"\x47") - 400_000
    end = players[0].body[shared : shared + 20 * PACKET]
    await rig.until(lambda: all(end in player.body for player in players), 10, "all players reach this position")
    whole = players[0].body
    for player in players[1:]:
        # Behind the tables, which each player gets separately.
        body = player.body[2 * PACKET :]
        begin = whole.index(body[: 20 * PACKET])
        common = min(len(body), len(whole) - begin)
        assert begin < shared
        assert body[:common] == whole[begin : begin + common]
    assert_as_broadcast(whole, rig.provider.station.timeline, 450)
    assert_as_broadcast(players[-1].body, rig.provider.station.timeline, 300)


@pytest.mark.parametrize("kind", ["restamped", "remuxed"])
@pytest_twisted.ensureDeferred
async def test_player_that_joins_near_a_splice_starts_clean(rig, splices, kind):
    """The burst is so short that the access point lies before or behind the splice."""
    await rig.start(join_seconds=0.2, **RETRY_SETTINGS)
    stream = rig.register(f"/live/x.ts?{CLOSES}&{KINDS[kind]}")
    first = await rig.play(stream)
    players = []
    for splice_count in range(2, 5):
        await rig.until(lambda wanted=splice_count: len(splices) >= wanted or first.closed, 10)
        players.append(await rig.play(stream))
        await rig.until_bytes(players[-1], 300_000, 10)
    for player in players:
        assert_as_broadcast(player.body[:300_000], rig.provider.station.timeline, 60)
