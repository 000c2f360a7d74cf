"""A live transport stream as HLS: endless provider body, complete proxy, players that request segments."""

from __future__ import annotations

import re

import pytest
import pytest_twisted
from loopback_rig import PACKET, assert_whole_packets

from m3uproxy.core.hls import segmenter
from m3uproxy.hls import muxer


def entry(stream, name: str = "me") -> str:
    return f"/hls/{stream.id}/playlist.m3u8?client_id={name}"


async def get(rig, path: str, **options: object):
    """Return a complete answer. HTTP/1.0 avoids chunked framing."""
    player = await rig.ask(path, version="1.0", **options)
    await player.ended
    return player


def uris(stream, body: bytes) -> list[str]:
    return [f"/hls/{stream.id}/{line}" for line in body.decode().splitlines() if not line.startswith("#")]


def tag(body: bytes, name: str) -> int:
    return int(re.search(rf"#EXT-X-{name}:(\d+)", body.decode())[1])


async def until_listed(rig, stream, count: int, name: str = "me") -> bytes:
    """Return a playlist with at least this many segments."""
    for _ in range(200):
        body = (await get(rig, entry(stream, name))).body
        if body.count(b"#EXTINF") >= count:
            return body
        await rig.sleep(0.05)
    raise AssertionError(body)


@pytest_twisted.ensureDeferred
async def test_playlist_and_segments(rig):
    stream = rig.register("/live/a.ts?burst=3")
    first = await get(rig, entry(stream))
    assert first.status == 200
    assert b"Content-Type: application/vnd.apple.mpegurl" in first.head
    assert b"x-client-id: me" in first.head.lower()
    body = await until_listed(rig, stream, 2)
    assert tag(body, "MEDIA-SEQUENCE") == 0
    lengths = [float(text) for text in re.findall(rb"#EXTINF:([\d.]+),", body)]
    assert all(0 < length <= tag(body, "TARGETDURATION") for length in lengths)
    assert re.search(rb"#EXT-X-PROGRAM-DATE-TIME:\d{4}-\d\d-\d\dT[\d:.]+\+00:00\n", body)
    assert b"#EXT-X-DISCONTINUITY\n" not in body
    for uri in uris(stream, body):
        segment = await get(rig, uri)
        assert segment.status == 200
        assert b"Content-Type: video/mp2t" in segment.head
        assert f"Content-Length: {len(segment.body)}".encode() in segment.head
        assert b"Access-Control-Allow-Origin: *" in segment.head
        assert len(segment.body) % PACKET == 0
        assert_whole_packets(segment.body)
    head = await get(rig, uri, method="HEAD")
    assert head.body == b""
    assert f"Content-Length: {len(segment.body)}".encode() in head.head
    [client] = stream.clients()
    assert (client.client_id, client.segments_served) == ("me", len(lengths))
    assert client.bytes_served == stream.bytes_served > len(segment.body)
    assert stream.segments_served == len(lengths)


@pytest.mark.parametrize("url", ["9999", "x", "-1", "%D9%A3"])
@pytest_twisted.ensureDeferred
async def test_unknown_segment_is_404(rig, url):
    stream = rig.register("/live/a.ts?burst=3")
    await get(rig, entry(stream))
    assert (await get(rig, f"/hls/{stream.id}/segment.ts?url={url}&client_id=me")).status == 404


@pytest_twisted.ensureDeferred
async def test_many_players_cost_one_provider_connection(rig):
    stream = rig.register("/live/a.ts?burst=3")
    viewer = await rig.play(stream)
    bodies = [(await get(rig, entry(stream, f"p{n}"))).body for n in range(5)]
    assert len(stream.clients()) == 6
    first = [(await get(rig, uris(stream, body)[0])).body for body in bodies]
    assert len(set(first)) == 1
    assert first[0][-PACKET:] in viewer.body
    channel = rig.provider.channel("a").tally
    assert (channel.current, channel.total) == (1, 1)


@pytest_twisted.ensureDeferred
async def test_muxer_stops_without_players(rig, monkeypatch):
    monkeypatch.setattr(muxer, "LIFETIME", 1.0)
    stream = rig.register("/live/a.ts?burst=3")
    body = (await get(rig, entry(stream))).body
    assert rig.open_upstreams() == 1
    await rig.until(lambda: not stream.clients() and rig.open_upstreams() == 0, 10)
    assert (await get(rig, uris(stream, body)[0])).status == 404
    again = (await get(rig, entry(stream))).body
    assert tag(again, "MEDIA-SEQUENCE") > tag(body, "MEDIA-SEQUENCE")
    assert again.index(b"#EXT-X-DISCONTINUITY\n") < again.index(b"#EXTINF")


@pytest_twisted.ensureDeferred
async def test_ts_player_keeps_the_source_open(rig, monkeypatch):
    monkeypatch.setattr(muxer, "LIFETIME", 0.5)
    stream = rig.register("/live/a.ts?burst=3")
    viewer = await rig.play(stream)
    await get(rig, entry(stream))
    await rig.until(lambda: len(stream.clients()) == 1, 10)
    await rig.until_bytes(viewer, len(viewer.body) + 20_000)
    assert rig.provider.channel("a").tally.total == 1


@pytest_twisted.ensureDeferred
async def test_failed_source_is_502(rig):
    await rig.start(start_timeout=1.5)
    stream = rig.register("/live/a.ts?status=404")
    answer = await get(rig, entry(stream))
    assert answer.status == 502
    assert b"404" in answer.body
    assert stream.clients() == []


@pytest_twisted.ensureDeferred
async def test_player_leaves_before_the_first_segment(rig):
    stream = rig.register("/live/a.ts?stall=0")
    player = await rig.ask(entry(stream))
    await rig.until(lambda: stream.clients())
    await player.leave()
    await rig.sleep(0.05)
    assert stream.abort_client("me") == 1
    await rig.until(lambda: rig.open_upstreams() == 0)


@pytest_twisted.ensureDeferred
async def test_stream_is_deleted_during_playback(rig):
    stream = rig.register("/live/a.ts?burst=3")
    await get(rig, entry(stream))
    rig.registry.delete(stream.id)
    await rig.until(lambda: rig.open_upstreams() == 0)
    assert (await get(rig, entry(stream))).status == 404


@pytest_twisted.ensureDeferred
async def test_seamless_failover_adds_no_discontinuity(rig, monkeypatch):
    monkeypatch.setattr(segmenter, "MIN_DURATION", 0.5)
    stream = rig.register("/live/a.ts?burst=3", "/live/b.ts?burst=3")
    before = await until_listed(rig, stream, 1)
    rig.provider.control("a", "close=0&status=404")
    await rig.until(lambda: stream.source_index == 1, 10)
    after = await until_listed(rig, stream, before.count(b"#EXTINF") + 3)
    assert b"#EXT-X-DISCONTINUITY\n" not in after
    assert tag(after, "MEDIA-SEQUENCE") == tag(before, "MEDIA-SEQUENCE")
    assert after.splitlines()[-1] > before.splitlines()[-1]


@pytest_twisted.ensureDeferred
async def test_radio_is_not_served_as_hls(rig):
    stream = rig.register("/live/x.aac?burst=2&rate=4")
    answer = await get(rig, entry(stream))
    assert answer.status == 502
    assert b"not a transport stream" in answer.body
    await rig.until(lambda: rig.open_upstreams() == 0)
