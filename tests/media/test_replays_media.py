"""A provider that closes in mid-packet, again and again, and replays its last seconds: players see nothing of it."""

from __future__ import annotations

import os
import random
from itertools import cycle, pairwise

import pytest
import pytest_twisted
from decoding import watch
from loopback_rig import PACKET, assert_whole_packets
from test_decodes import PICTURE, without_torn_tail
from test_seams import SOUND

from m3uproxy.core.splice.plan import SpliceKind
from m3uproxy.provider.faults import parse_faults

pytestmark = pytest.mark.media

#: The provider is so much faster than real time.
RATE = 8
#: It closes after 10 s of the broadcast and replays 3 s, and where it redirects to is good for one request.
CLOSES = f"rate={RATE}&replay=3&close={10 / RATE}s&torn=100&redirect=same&expire=once"
#: How a connection is made. One whose frames of sound are cut is not the first one: no decoder begins in a frame.
KINDS = {
    "as it was": "torn=50",
    "remuxed": "remux=1",
    "remuxed and cut": "remux=cut",
    "restamped": "restamp=1234.5",
    "restamped over the wrap": "restamp=wrap",
    "all of it": "remux=cut&restamp=wrap",
}
#: Connections in two minutes of the broadcast; on a machine that builds fewer are enough.
MANY = 6 if os.environ.get("CI") else 13

#: A machine that is slow may make of a connection one that did not run well.
PATIENT = {"stream_retry_attempts": 9}


def assert_same(body, timeline, pictures):
    """What was decoded is what was broadcast: each picture and each frame of sound once, evenly in time, together."""
    assert_whole_packets(body)
    seen = watch(without_torn_tail(body))
    assert seen.complaints == []
    assert len(seen.pictures) >= pictures
    end = timeline.due_at(len(seen.pictures) / 25 + 20)
    original = watch(timeline.span(timeline.due_at(-4), end), seen.first)
    for ours, theirs, step in ((seen.pictures, original.pictures, PICTURE), (seen.sounds, original.sounds, SOUND)):
        assert {later - sooner for (sooner, _), (later, _) in pairwise(ours)} == {step}
        assert [digest for _, digest in ours] == [digest for _, digest in theirs[: len(ours)]]
    ours, theirs = (each.sounds[0][0] - each.pictures[0][0] for each in (seen, original))
    assert (ours - theirs) % timeline.clip.period == 0, "the clip comes round: either may be found a loop away"


def make(channel, query):
    """Connections that follow are made so; the ones that are, stay."""
    channel.given = parse_faults([pair.split("=") for pair in query.split("&")], strict=True)


async def play_over(rig, player, connections):
    """Let it play until so many connections have been made and the last one has gone on."""
    tally = rig.provider.channel("x").tally
    await rig.until(lambda: tally.total >= connections or player.closed, 60, f"{connections} connections")
    await rig.until_bytes(player, len(player.body) + 100_000, 10)
    assert not player.closed


@pytest.mark.parametrize("kind", ["as it was", "restamped over the wrap", "all of it"])
@pytest_twisted.ensureDeferred
async def test_closes_every_ten_seconds_and_replays_three(rig, joins, kind):
    # Less is known than the clip is long, or it would be replayed from the loop before as well.
    await rig.start(ring_seconds=1, **PATIENT)
    player = await rig.play(rig.register(f"/live/x.ts?{CLOSES}"))
    await rig.until_bytes(player, 1)
    make(rig.provider.channel("x"), KINDS[kind])
    await play_over(rig, player, 4)
    assert_same(player.body, rig.provider.station.timeline, 600)
    assert {report.kind for report in joins[1:]} == {SpliceKind.OVERLAP}


@pytest.mark.slow
@pytest_twisted.ensureDeferred
async def test_two_minutes_of_it_each_time_in_another_way(rig, joins):
    """With the ring as it is, in which the clip comes round ten times; torn at any byte of a packet."""
    await rig.start(**PATIENT)
    dice = random.Random(4)
    stream = rig.register(f"/live/x.ts?{CLOSES}")
    channel, kinds = rig.provider.channel("x"), cycle(KINDS.values())
    player = await rig.play(stream)
    for connections in range(2, MANY + 1):
        await rig.until_bytes(player, len(player.body) + 1)
        make(channel, f"{next(kinds)}&torn={dice.randrange(1, PACKET)}")
        await rig.until(lambda wanted=connections: channel.tally.total >= wanted or player.closed, 20)
    await play_over(rig, player, MANY)
    assert_same(player.body, rig.provider.station.timeline, (MANY - 1) * 245)
    assert {report.kind for report in joins[1:]} == {SpliceKind.OVERLAP}


@pytest_twisted.ensureDeferred
async def test_ten_viewers_at_different_lags_see_the_same(rig, joins):
    """Whoever came when, and however far behind: the bytes are the same for all, over every splice."""
    await rig.start(**PATIENT)
    stream = rig.register(f"/live/x.ts?{CLOSES}&remux=1&restamp=wrap")
    players = [await rig.play(stream)]
    tally = rig.provider.channel("x").tally
    for number in range(9):
        await rig.until_bytes(players[0], 120_000 * (number + 1), 20)
        players.append(await rig.play(stream, window=65_536))
    await rig.until(lambda: all(player.body for player in players), 5)
    for player in players[1::2]:
        player.transport.pauseProducing()
    seams = len(joins)
    await play_over(rig, players[0], tally.total + 1)
    assert len(joins) > seams
    for player in players[1::2]:
        player.transport.resumeProducing()
    await play_over(rig, players[0], tally.total + 1)
    shared = players[0].body.rfind(b"\x47") - 400_000
    end = players[0].body[shared : shared + 20 * PACKET]
    await rig.until(lambda: all(end in player.body for player in players), 10, "all are that far")
    whole = players[0].body
    for player in players[1:]:
        # After the tables, which are of each one's own.
        body = player.body[2 * PACKET :]
        begin = whole.index(body[: 20 * PACKET])
        common = min(len(body), len(whole) - begin)
        assert begin < shared
        assert body[:common] == whole[begin : begin + common]
    assert_same(whole, rig.provider.station.timeline, 600)
    assert_same(players[-1].body, rig.provider.station.timeline, 300)


@pytest.mark.parametrize("kind", ["restamped", "remuxed"])
@pytest_twisted.ensureDeferred
async def test_who_joins_just_after_a_splice_starts_clean(rig, joins, kind):
    """Or just before: with so short a burst the access point lies on the one side or the other."""
    await rig.start(join_seconds=0.2, **PATIENT)
    stream = rig.register(f"/live/x.ts?{CLOSES}&{KINDS[kind]}")
    first = await rig.play(stream)
    players = []
    for seams in range(2, 5):
        await rig.until(lambda wanted=seams: len(joins) >= wanted or first.closed, 10)
        players.append(await rig.play(stream))
        await rig.until_bytes(players[-1], 300_000, 10)
    for player in players:
        assert_same(player.body[:300_000], rig.provider.station.timeline, 60)
