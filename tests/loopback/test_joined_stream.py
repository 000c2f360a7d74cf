"""``/stream/<id>`` of an HLS stream with the complete proxy: one stream, one fetch, and unsuitable sources."""

from __future__ import annotations

import json

import pytest
import pytest_twisted
from loopback_rig import assert_whole_packets

PATH = "/hls/one/high/index.m3u8?target=1"


def entry(stream) -> str:
    return f"/hls/{stream.id}/playlist.m3u8?client_id=me"


@pytest_twisted.ensureDeferred
async def test_two_players_cost_one_stream_and_one_fetch(rig):
    stream = rig.register(PATH)
    players = [await rig.play(stream) for _ in range(2)]
    for player in players:
        await rig.until_bytes(player, 50_000, 15)
        assert player.status == 200
        assert b"Content-Type: video/mp2t" in player.head
        assert_whole_packets(player.body)
    playlist = await rig.ask(entry(stream), version="1.0")
    await playlist.ended
    assert playlist.status == 200
    assert len(rig.registry.streams()) == 1
    assert len(stream.clients()) == 3
    assert stream.bytes_served >= 100_000
    await rig.sleep(2)
    names = [name for name in rig.provider.station.resources if ".ts" in name]
    assert len(names) >= 3
    assert {rig.provider.station.resource(name).requests for name in names} == {1}
    assert stream.health() is not None
    for player in players:
        await player.leave()
    await rig.until(lambda: len(stream.clients()) == 1)
    await rig.until(lambda: not stream.ts_stream.broadcaster.session.active, 15)
    before = len(rig.provider.station.requests)
    await rig.sleep(1.5)
    assert len(rig.provider.station.requests) == before


@pytest_twisted.ensureDeferred
async def test_both_forms_share_the_only_connection_of_an_account(rig):
    stream = rig.register(PATH, provider="home", max_connections=1)
    player = await rig.play(stream)
    await rig.until_bytes(player, 50_000, 15)
    playlist = await rig.ask(entry(stream), version="1.0")
    await playlist.ended
    assert playlist.status == 200
    await rig.until_bytes(player, len(player.body) + 150_000, 15)
    assert not player.closed
    assert len(rig.provider._open) == 1
    names = [name for name in rig.provider.station.resources if ".ts" in name]
    assert {rig.provider.station.resource(name).requests for name in names} == {1}
    assert stream.history.error_count == 0
    await player.leave()


@pytest.mark.parametrize(
    ("kind", "cause"), [("&fmp4=1", "MP4"), ("&renditions=1", "separate playlists"), ("&vod=3", "has ended")]
)
@pytest_twisted.ensureDeferred
async def test_source_that_cannot_be_joined_redirects_to_its_playlist(rig, kind, cause):
    stream = rig.register(f"/hls/one/master.m3u8?target=1{kind}")
    player = await rig.ask(f"/stream/{stream.id}?client_id=me")
    await player.ended
    assert player.status == 307
    assert f"Location: ../hls/{stream.id}/playlist.m3u8?client_id=me".encode() in player.head
    assert cause in json.loads(player.body)["detail"]


@pytest_twisted.ensureDeferred
async def test_backup_of_the_other_kind(rig):
    stream = rig.register("/live/one.ts?status=500", PATH.replace("one", "two"))
    player = await rig.play(stream)
    await rig.until(lambda: stream.source_index == 1, 15)
    before = len(player.body)
    await rig.until_bytes(player, before + 100_000, 15)
    assert not player.closed
    assert_whole_packets(player.body)


@pytest_twisted.ensureDeferred
async def test_failover_and_deletion_by_the_api(rig):
    stream = rig.register(PATH, PATH.replace("one", "two"))
    player = await rig.play(stream)
    await rig.until_bytes(player, 20_000, 15)
    assert stream.fail_over() is not None
    await rig.until(lambda: stream.source_index == 1, 10)
    assert "/hls/two/" in stream.current_url
    assert stream.history.failover_attempts == 1
    before = len(player.body)
    await rig.until_bytes(player, before + 100_000, 15)
    assert_whole_packets(player.body)
    assert rig.registry.delete(stream.id)
    await player.ended
