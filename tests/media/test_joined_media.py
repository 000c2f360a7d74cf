"""``/stream/<id>`` of an HLS source: what a real demuxer and real decoders make of the joined segments."""

from __future__ import annotations

from itertools import pairwise

import pytest
import pytest_twisted
from decoding import decode
from loopback_rig import assert_whole_packets

pytestmark = pytest.mark.media

#: Fewer than these seconds of the test clip's pictures, 25 in a second.
SECONDS = 4
#: What a seam may cost, 90 kHz: a fifth of a second of pictures.
SEAM = 18_000


async def record(rig, stream, seconds: float):
    """What a player has after some seconds."""
    player = await rig.play(stream)
    await rig.until(lambda: len(player.body) > 0 or player.closed, 15)
    assert player.status == 200, player.raw[:500]
    await rig.sleep(seconds)
    return player


def steps(times) -> set[int]:
    """Between one picture and the next, 90 kHz."""
    return {after - before for before, after in pairwise(sorted(times))}


@pytest.mark.parametrize(
    "path",
    [
        "/hls/one/high/index.m3u8?target=1",
        "/hls/one/master.m3u8?target=1",
        "/hls/one/high/index.m3u8?target=1&keys=2",
        "/hls/one/high/index.m3u8?target=1&ranges=2",
        "/hls/one/high/index.m3u8?target=1&sign=1&uris=other",
    ],
    ids=["plain", "variants", "keys", "ranges", "signed"],
)
@pytest_twisted.ensureDeferred
async def test_it_decodes_without_a_message(rig, path):
    player = await record(rig, rig.register(path), SECONDS)
    assert b"Content-Type: video/mp2t" in player.head
    assert_whole_packets(player.body)
    seen = decode(player.body[: len(player.body) // 188 * 188])
    assert seen.complaints == []
    assert len(seen.pictures) > SECONDS * 20
    assert len(seen.sounds) > SECONDS * 30
    assert 0 < min(steps(seen.pictures)) <= max(steps(seen.pictures)) <= 2 * 3750


@pytest.mark.parametrize("fault", ["stale=1", "status=500&only=segment", "status=404&only=playlist"])
@pytest_twisted.ensureDeferred
async def test_a_backup_that_is_hls_takes_over(rig, fault):
    stream = rig.register("/hls/one/high/index.m3u8?target=1", "/hls/two/high/index.m3u8?target=1&keys=1")
    player = await record(rig, stream, 1.5)
    rig.provider.control("one", fault)
    await rig.until(lambda: stream.source_index == 1, 20)
    before = len(player.body)
    await rig.until(lambda: len(player.body) > before + 300_000 or player.closed, 20)
    assert not player.closed
    seen = decode(player.body[: len(player.body) // 188 * 188])
    assert seen.complaints == []
    assert 0 < min(steps(seen.pictures)) <= max(steps(seen.pictures)) <= SEAM
    assert stream.failover_attempts == 1


@pytest_twisted.ensureDeferred
async def test_one_missing_segment_is_a_seam_and_no_failover(rig):
    stream = rig.register("/hls/one/high/index.m3u8?target=1&window=5")
    player = await record(rig, stream, 0.3)
    rig.provider.control("one", "status=404&only=segment&times=1")
    await rig.sleep(5)
    seen = decode(player.body[: len(player.body) // 188 * 188])
    assert stream.error_count == 0
    assert seen.complaints == []
    assert 0 < min(steps(seen.pictures)) <= max(steps(seen.pictures)) <= 2 * 3750
    assert len(seen.pictures) > 80
