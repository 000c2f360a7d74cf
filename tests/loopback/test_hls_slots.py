"""HLS from accounts with few connections: sockets counted by the provider and by the proxy."""

from __future__ import annotations

import json
import re

import pytest
import pytest_twisted
from loopback_rig import Established
from test_hls import entry, get, number, together, uris

LOW, HIGH = "/hls/one/low/index.m3u8?target=1&window=4", "/hls/two/high/index.m3u8?target=1&window=4"
MASTER = "/hls/one/master.m3u8?target=1&window=4&renditions=1"


def counted(rig, *paths: str, **options):
    """Register a stream of an account with one connection."""
    return rig.register(*paths, **{"provider": "home", "max_connections": 1, **options})


def path(stream) -> str:
    """Return the playlist path for a player without client ID."""
    return f"/hls/{stream.id}/playlist.m3u8"


def row(rig, name: str = "home") -> dict:
    rows = rig.registry.slots.report(())["providers"]
    return next((each for each in rows if each["provider"] == name), {})


async def get_json(rig, path: str, *headers: str) -> dict:
    answer = await get(rig, path, *headers)
    return json.loads(answer.body)


@pytest.mark.parametrize(
    "more", ["", "&redirect=other", "&redirect=other&only=segment", "&gzip=1", "&status=500&only=segment"]
)
@pytest_twisted.ensureDeferred
async def test_any_requests_use_one_provider_socket(rig, more):
    established = Established(rig.provider)
    stream = counted(rig, MASTER + more)

    async def play(n: int) -> None:
        variants = uris((await get(rig, entry(stream).replace("me", f"c{n}"))).body)
        for variant in variants:
            named = uris((await get(rig, variant)).body)
            await together([one(uri) for uri in named[-2:]])

    async def one(uri: str) -> None:
        assert (await get(rig, uri)).status == (500 if "status" in more else 200)

    await together([play(n) for n in range(4)])
    assert established.peak == 1
    assert len([name for name in rig.provider.station.resources if "/seg" in name]) >= 4
    assert (row(rig)["slots_taken"], row(rig)["open_connections"]) in {(1, 0), (1, 1)}
    for n in range(4):
        assert stream.abort_client(f"c{n}") == 1
    await rig.until(lambda: rig.service._sockets.open == 0)
    assert row(rig) == {}


@pytest_twisted.ensureDeferred
async def test_stream_keeps_its_slot_between_requests_and_others_get_503(rig):
    established = Established(rig.provider)
    await rig.start(slot_wait=0.3)
    mine, other, channel = counted(rig, LOW), counted(rig, HIGH), counted(rig, "/live/x.ts?burst=1")
    assert (await get(rig, path(mine), "User-Agent: A")).status == 200
    for refused in (
        await get(rig, path(other), "User-Agent: B"),
        await get(rig, f"/stream/{channel.id}", "User-Agent: B"),
    ):
        assert refused.status == 503
        assert b"Retry-After" in refused.head
        assert "provider 'home' allows 1 connection, all in use" in json.loads(refused.body)["detail"]
    assert (await get(rig, path(mine), "User-Agent: A")).status == 200
    slots = (await get_json(rig, "/stats"))["provider_slots"]
    assert slots["providers"][0]["slots_taken"] == 1
    assert slots["refused"] == 2
    assert established.peak == 1
    assert rig.registry.delete(mine.id)
    assert (await get(rig, path(other), "User-Agent: B")).status == 200
    assert established.peak == 1


@pytest_twisted.ensureDeferred
async def test_zapping_between_playlists_hands_the_slot_over(rig):
    established = Established(rig.provider)
    streams = [counted(rig, f"/hls/z{n}/high/index.m3u8?target=1&window=4") for n in range(10)]
    for zap in range(40):
        stream = streams[zap % 10]
        body = await get(rig, path(stream), "User-Agent: VLC")
        assert body.status == 200, zap
        if zap % 3:
            asked = await rig.ask(uris(body.body)[-1], version="1.0", headers=("User-Agent: VLC",))
            if zap % 3 == 1:
                await asked.ended
                assert asked.status == 200
    assert established.peak == 1
    report = rig.registry.slots.report(())
    assert (report["refused"], report["taken_over"]) == (0, 39)
    assert sum(len(each.clients()) for each in streams) == 1


@pytest_twisted.ensureDeferred
async def test_zapping_between_hls_live_and_vod(rig):
    established = Established(rig.provider)
    agent = "User-Agent: VLC"
    streams = [
        counted(rig, HIGH),
        counted(rig, "/live/ann/pw/1.ts?burst=1"),
        counted(rig, "/movie/ann/pw/film.mp4?size=200M"),
    ]
    for lap in range(3):
        for kind, stream in enumerate(streams):
            if kind == 0:
                assert (await get(rig, path(stream), agent)).status == 200
                continue
            player = await rig.play(stream, headers=(agent,), window=65_536)
            await rig.until_bytes(player, 20_000)
            assert player.status == 200, (lap, kind)
    assert established.peak == 1
    assert rig.registry.slots.report(())["refused"] == 0


@pytest_twisted.ensureDeferred
async def test_backup_of_another_account_is_used_if_the_first_is_full(rig):
    host = "localhost" if "127.0.0.1" in rig.provider.url("/") else "127.0.0.1"
    backup = rig.provider.url(HIGH).replace("127.0.0.1", host)
    accounts = ({"name": "a", "hosts": ("127.0.0.1",), "max_connections": 1}, {"name": "b", "hosts": ("localhost",)})
    await rig.start(slot_wait=0.3, provider=accounts)
    mine, other = rig.register("/live/x.ts?burst=1"), rig.register(LOW, backup)
    first = await rig.play(mine, headers=("User-Agent: A",))
    await rig.until_bytes(first, 20_000)
    assert (await get(rig, path(other), "User-Agent: B")).status == 200
    assert other.source_index == 1
    assert (row(rig, "a")["slots_taken"], row(rig, "b")["slots_taken"]) == (1, 1)
    assert "all in use" in other.history.entries()[0]["cause"]


@pytest_twisted.ensureDeferred
async def test_failover_to_another_account_releases_the_slot(rig):
    backup = rig.provider.url(HIGH).replace("127.0.0.1", "localhost")
    accounts = tuple({"name": name, "hosts": (name,), "max_connections": 1} for name in ("127.0.0.1", "localhost"))
    await rig.start(provider=accounts)
    stream = rig.register(LOW, backup)
    before = uris((await get(rig, entry(stream))).body)
    assert (await get(rig, before[0])).status == 200
    rig.provider.control("one", "status=500&only=playlist")
    await rig.sleep(0.6)
    after = uris((await get(rig, entry(stream))).body)
    assert stream.source_index == 1
    await rig.until(lambda: row(rig, "127.0.0.1") == {})
    assert row(rig, "localhost")["slots_taken"] == 1
    assert (await get(rig, after[0])).status == 200
    # Cached segments are still served. Other segments of the old source are not requested without a slot.
    assert (await get(rig, before[0])).status == 200
    refused = await get(rig, before[1])
    assert refused.status == 503
    assert stream.source_index == 1


@pytest_twisted.ensureDeferred
async def test_segment_download_survives_a_failover_and_counts(rig):
    backup = rig.provider.url(HIGH).replace("127.0.0.1", "localhost")
    accounts = tuple({"name": name, "hosts": (name,), "max_connections": 1} for name in ("127.0.0.1", "localhost"))
    await rig.start(provider=accounts, live_chunk_timeout_seconds=20)
    stream = rig.register(LOW, backup)
    named = uris((await get(rig, entry(stream))).body)
    whole = (await get(rig, named[0])).body
    rig.provider.control("one", "stall=5000&only=segment")
    slow = await rig.ask(named[1], version="1.0")
    await rig.until_bytes(slow, 1000)
    stream.fail_over()
    assert (await get(rig, entry(stream))).status == 200
    assert stream.source_index == 1
    assert not slow.closed
    assert row(rig, "127.0.0.1")["open_connections"] == 1
    rig.provider.control("one", "")
    await rig.until(lambda: slow.closed, 20)
    assert len(slow.body) > len(whole) / 2
    assert len(slow.body) % 188 == 0
    await rig.until(lambda: row(rig, "127.0.0.1") == {})


@pytest_twisted.ensureDeferred
async def test_account_without_a_limit_is_counted(rig):
    stream = counted(rig, HIGH, max_connections=None)
    named = uris((await get(rig, entry(stream))).body)
    await together([get(rig, uri) for uri in named])
    assert row(rig)["max_connections"] is None
    assert row(rig)["open_connections"] == rig.provider.station.sockets.current > 1
    stream.abort_client("me")
    await rig.until(lambda: rig.provider.station.sockets.current == 0)
    assert row(rig) == {}


@pytest_twisted.ensureDeferred
async def test_blocking_requests_share_one_connection(rig):
    established = Established(rig.provider)
    stream = counted(rig, "/hls/one/high/index.m3u8?target=2&parts=1")
    first = (await get(rig, entry(stream))).body
    wanted = number(first) + len(uris(first)) + 1
    hint = re.findall(r'#EXT-X-PRELOAD-HINT:.*URI="([^"]*)"', first.decode())[-1]
    paths = [hint, f"{entry(stream)}&_HLS_msn={wanted}&_HLS_part=0", uris(first)[-1]]

    async def one(path: str) -> None:
        assert (await get(rig, path)).status == 200

    await together([one(path) for path in paths])
    assert established.peak == 1


@pytest_twisted.ensureDeferred
async def test_paused_player_continues_with_a_segment(rig):
    stream = counted(rig, HIGH)
    named = uris((await get(rig, entry(stream))).body)
    stream.abort_client("me")
    await rig.until(lambda: row(rig) == {})
    assert (await get(rig, named[-1])).status == 200
    assert row(rig)["slots_taken"] == 1


@pytest_twisted.ensureDeferred
async def test_interrupted_segment_leaves_no_socket(rig):
    established = Established(rig.provider)
    stream = counted(rig, HIGH)
    other = counted(rig, "/live/x.ts?burst=1")
    named = uris((await get(rig, path(stream), "User-Agent: A")).body)
    rig.provider.control("two", "stall=5000&only=segment")
    player = await rig.ask(named[0], headers=("User-Agent: A",))
    await rig.until_bytes(player, 1000)
    live = await rig.play(other, headers=("User-Agent: A",))
    await rig.until_bytes(live, 20_000)
    assert live.status == 200
    assert player.closed
    assert established.peak == 1
