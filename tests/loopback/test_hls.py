"""HLS end to end: a provider with segments, signed URLs and encryption, the complete proxy, and ffmpeg as player."""

from __future__ import annotations

import re

import av
import pytest
import pytest_twisted
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread

PACKET = 188


async def get(rig, path: str, *headers: str):
    """Return a complete answer. HTTP/1.0 avoids chunked framing."""
    player = await rig.ask(path, version="1.0", headers=headers)
    await rig.until(lambda: player.closed, 20)
    return player


def entry(stream) -> str:
    return f"/hls/{stream.id}/playlist.m3u8?client_id=me"


def uris(body: bytes) -> list[str]:
    return [line for line in body.decode("utf-8-sig").splitlines() if line and not line.startswith("#")]


def number(body: bytes) -> int:
    return int(re.search(rb"#EXT-X-MEDIA-SEQUENCE:(\d+)", body)[1])


def together(coroutines) -> Deferred[list[None]]:
    return gatherResults([Deferred.fromCoroutine(one) for one in coroutines], consumeErrors=True)


def watch(url: str) -> tuple[int, int]:
    """Return the numbers of pictures and audio frames that ffmpeg decodes from an ended playlist."""
    counts = {"video": 0, "audio": 0}
    with av.open(url, format="hls", timeout=20) as container:
        for packet in container.demux():
            if packet.stream.type in counts:
                counts[packet.stream.type] += len(packet.decode())
    return counts["video"], counts["audio"]


@pytest.mark.media
@pytest.mark.parametrize(
    "kind",
    [
        "",
        "&keys=1",
        "&sign=1&uris=other",
        "&ranges=2&uris=path",
        "&uris=absolute",
        "&fmp4=1",
        "&renditions=1",
        "&style=crlf,vlcopt,comments&redirect=other&only=master",
        "&gzip=1",
    ],
)
@pytest_twisted.ensureDeferred
async def test_ffmpeg_plays_each_kind(rig, kind):
    stream = rig.register(f"/hls/one/master.m3u8?vod=2&target=1{kind}")
    pictures, sounds = await deferToThread(watch, f"http://127.0.0.1:{rig.port}{entry(stream)}")
    assert pictures >= 2 * 24
    assert sounds > 50


@pytest_twisted.ensureDeferred
async def test_byte_ranges_and_signed_urls(rig):
    stream = rig.register("/hls/one/high/index.m3u8?vod=2&target=1&sign=1")
    first = uris((await get(rig, entry(stream))).body)[0]
    whole = await get(rig, first)
    part = await get(rig, first, "Range: bytes=188-375")
    assert (whole.status, part.status) == (200, 206)
    assert part.body == whole.body[188:376]
    assert f"Content-Range: bytes 188-375/{len(whole.body)}".encode() in part.head
    assert whole.body[::PACKET] == b"G" * (len(whole.body) // PACKET)
    assert (await get(rig, first.replace("segment.ts?url=", "segment.ts?url=x"))).status == 403


@pytest_twisted.ensureDeferred
async def test_many_players_cost_one_request_each_resource(rig):
    stream = rig.register("/hls/one/high/index.m3u8?target=2&window=3")

    async def play(n: int) -> None:
        body = (await get(rig, entry(stream).replace("me", f"c{n}"))).body
        for uri in uris(body):
            assert (await get(rig, uri)).status == 200

    await together([play(n) for n in range(12)])
    names = [name for name in rig.provider.station.resources if ".ts" in name]
    assert 3 <= len(names) <= 4
    assert {rig.provider.station.resource(name).requests for name in names} == {1}
    assert len(stream.clients()) == 12


@pytest_twisted.ensureDeferred
async def test_fifty_polling_players_cost_as_much_as_one(rig):
    stream = rig.register("/hls/one/high/index.m3u8?target=1&window=4")
    began = rig.reactor.seconds()

    async def play(n: int) -> None:
        seen: dict[str, bytes] = {}
        await rig.sleep(n / 50)
        while rig.reactor.seconds() - began < 6:
            for uri in uris((await get(rig, entry(stream).replace("me", f"c{n}"))).body):
                if uri not in seen:
                    seen[uri] = (await get(rig, uri)).body
                    assert seen[uri][:1] == b"G"
            await rig.sleep(0.9)
        assert len(seen) >= 6
        bodies.update(seen.values())

    bodies: set[bytes] = set()
    await together([play(n) for n in range(50)])
    took = rig.reactor.seconds() - began
    counts = {name: tally.requests for name, tally in rig.provider.station.resources.items()}
    playlists = counts.pop("/hls/one/high/index.m3u8")
    assert len(bodies) == len(counts), "all are sent the same"
    assert set(counts.values()) == {1}, "each segment is asked for once"
    assert playlists <= took / 0.5 + 1, "a playlist is asked for once in half a target duration"
    assert len(stream.clients()) == 50


async def decrypted(rig, text: str, name: str) -> bytes:
    """Return a segment as a player decrypts it. Without an IV attribute the IV is the media sequence number."""
    lines = text.splitlines()
    at = lines.index(name)
    key = next(line for line in reversed(lines[:at]) if line.startswith("#EXT-X-KEY"))
    secret = (await get(rig, re.search('URI="([^"]*)"', key)[1])).body
    stated = re.search("IV=0x([0-9A-Fa-f]+)", key)
    vector = int(stated[1], 16) if stated else number(text.encode()) + uris(text.encode()).index(name)
    cipher = Cipher(algorithms.AES(secret), modes.CBC(vector.to_bytes(16, "big"))).decryptor()
    padded = cipher.update((await get(rig, name)).body) + cipher.finalize()
    return padded[: -padded[-1]]


@pytest.mark.parametrize("what", ["playlist", "segment"])
@pytest_twisted.ensureDeferred
async def test_failed_source_is_a_discontinuity(rig, what):
    backup = "/hls/two/high/index.m3u8?target=1&keys=1"
    stream = rig.register("/hls/one/high/index.m3u8?target=1&keys=1", backup)
    before = (await get(rig, entry(stream))).body
    assert (await decrypted(rig, before.decode(), uris(before)[0]))[:1] == b"G"
    rig.provider.control("one", f"status=500&only={what}")
    if what == "segment":
        for uri in uris(before)[1:3]:
            assert (await get(rig, uri)).status == 500
    await rig.sleep(0.6)
    after = (await get(rig, entry(stream))).body.decode()
    assert number(after.encode()) == number(before) + len(uris(before))
    assert after.index("#EXT-X-DISCONTINUITY\n") < after.index(uris(after.encode())[0])
    assert stream.source_index == 1
    for name in uris(after.encode()):
        packets = await decrypted(rig, after, name)
        assert packets[::PACKET] == b"G" * (len(packets) // PACKET)
    assert stream.history.failover_attempts == 1


@pytest_twisted.ensureDeferred
async def test_playlist_without_new_segments_causes_failover(rig):
    stream = rig.register("/hls/one/high/index.m3u8?target=1", "/hls/two/high/index.m3u8?target=1")
    await get(rig, entry(stream))
    rig.provider.control("one", "stale=1")

    async def moved() -> bool:
        await get(rig, entry(stream))
        return stream.source_index == 1

    for _ in range(40):
        if await moved():
            break
        await rig.sleep(0.25)
    assert stream.source_index == 1
    assert "no new segment" in stream.history.entries()[-1]["cause"]


@pytest_twisted.ensureDeferred
async def test_low_latency_parts_and_blocking_reload(rig):
    stream = rig.register("/hls/one/high/index.m3u8?target=2&parts=1")
    first = (await get(rig, entry(stream))).body
    assert b"#EXT-X-PART:" in first
    assert b"index.m3u8" not in first
    assert b"seg1" not in first
    wanted = number(first) + len(uris(first)) + 1
    held = (await get(rig, f"{entry(stream)}&_HLS_msn={wanted}&_HLS_part=0")).body
    assert number(held) + len(uris(held)) >= wanted
    part = re.findall(r'#EXT-X-PART:.*URI="([^"]*)"', held.decode())[-1]
    assert (await get(rig, part)).status == 200


@pytest_twisted.ensureDeferred
async def test_no_requests_without_players(rig):
    stream = rig.register("/hls/one/high/index.m3u8?target=1")
    await get(rig, entry(stream))
    before = len(rig.provider.station.requests)
    await rig.sleep(1.5)
    assert len(rig.provider.station.requests) == before
