"""Sources that close, fail and change while a player reads ``/stream/<id>``. The decoded stream must not show it."""

from __future__ import annotations

import itertools

import pytest
import pytest_twisted
from decoding import decode
from loopback_rig import assert_whole_packets
from test_live_media import PICTURE, without_torn_tail

from m3uproxy.core.splice.plan import SpliceKind

pytestmark = pytest.mark.media

#: Ticks of a frame of the demo clip's sound (AAC, 1024 samples at 48 kHz).
SOUND = 1920


def assert_seamless(body: bytes, pictures: int, without_gap: bool) -> None:
    """Check that no decoder complains, time continues evenly, and less than an audio frame is missing."""
    assert_whole_packets(body)
    decoded = decode(without_torn_tail(body))
    assert decoded.complaints == []
    shown = sorted(decoded.pictures)[:-4]
    assert len(shown) >= pictures
    steps = {later - earlier for earlier, later in itertools.pairwise(shown)}
    assert steps == {PICTURE} if without_gap else max(steps) <= 3 * PICTURE
    audio_steps = [later - earlier for earlier, later in itertools.pairwise(decoded.sounds)]
    assert min(audio_steps) > 0
    assert max(audio_steps) < 2 * SOUND + 90


def causes(stream) -> list[str]:
    return [entry["cause"] for entry in stream.history.entries()]


@pytest_twisted.ensureDeferred
async def test_provider_that_closes_within_a_packet_and_replays(rig, splices):
    """Every connection ends after 500,001 bytes and begins with three seconds that were sent before."""
    stream = rig.register("/live/x.ts?rate=4&burst=3&close=500001")
    player = await rig.play(stream)
    await rig.until_bytes(player, 700_000, 20)
    assert rig.provider.channel("x").tally.total >= 3
    assert_seamless(player.body, 250, without_gap=True)
    assert {report.kind for report in splices[1:]} == {SpliceKind.OVERLAP}
    assert all(report.repeated > 10 for report in splices[1:])


@pytest_twisted.ensureDeferred
async def test_provider_that_closes_without_replay(rig, splices):
    stream = rig.register("/live/x.ts?close=150001")
    player = await rig.play(stream)
    await rig.until_bytes(player, 400_000, 20)
    assert rig.provider.channel("x").tally.total >= 3
    # The last pictures of a torn group refer to one that never arrived.
    assert_seamless(player.body, 80, without_gap=False)
    assert len(splices) >= 3


@pytest.mark.parametrize("fault", ["reset", "stall"])
@pytest_twisted.ensureDeferred
async def test_backup_continues_the_failed_source(rig, splices, fault):
    stream = rig.register("/live/a.ts?rate=4&burst=1", "/live/b.ts?rate=4&burst=1")
    player = await rig.play(stream)
    await rig.until_bytes(player, 300_000, 20)
    rig.provider.control("a", f"{fault}=0&status=404")
    await rig.until_bytes(player, len(player.body) + 300_000, 20)
    assert stream.source_index == 1
    # Without overlap, the picture that was held back is lost.
    assert_seamless(player.body, 150, without_gap=fault == "reset")
    (*_, entry) = stream.history.entries()
    assert "/live/b.ts" in entry["to"]
    assert entry["bridged_ms"] is not None


@pytest_twisted.ensureDeferred
async def test_players_at_different_positions_get_the_same_splice(rig, splices):
    stream = rig.register("/live/x.ts?rate=4&burst=3&close=700001")
    players = []
    for _ in range(3):
        players.append(await rig.play(stream))
        await rig.until_bytes(players[0], 120_000 * len(players), 20)
    for player in players:
        await rig.until_bytes(player, len(player.body) + 300_000, 20)
        assert_seamless(player.body, 80, without_gap=True)
