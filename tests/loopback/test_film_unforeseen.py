"""URLs that do not say what they are, and turn out to be films."""

from __future__ import annotations

import os

import pytest
import pytest_twisted
from test_vod import ONE, player_of

from m3uproxy.vod.stream import VodStream
from m3uproxy.web.api.serialize import stream_object

M = 1_000_000
MP4, EBML, TS = b"\0\0\0\x20ftypisom", b"\x1a\x45\xdf\xa3", (b"G" + bytes(187)) * 3


def film(rig, head: bytes, size: int = 40 * M, query: str = "", *more: str, **options):
    data = rig.provider.station.files["7"] = head + os.urandom(size - len(head))
    return rig.register(f"/file/ann/pw/7?{query}", *more, **options), data


@pytest.mark.parametrize(("head", "media_type"), [(MP4, "video/mp4"), (EBML, "video/x-matroska"), (TS, "video/mp2t")])
@pytest_twisted.ensureDeferred
async def test_it_is_played_as_one(rig, head, media_type):
    stream, data = film(rig, head, **ONE)
    player = await player_of(rig, stream)
    status, headers, body = await player.ask()
    assert (status, headers["content-type"], headers["accept-ranges"]) == (200, media_type, "bytes")
    assert body == data
    status, _, body = await player.ask("33000000-33000999")
    assert (status, body) == (206, data[33 * M : 33 * M + 1000])
    assert (await player.ask(method="HEAD"))[1]["content-length"] == str(40 * M)
    title = rig.registry.get(stream.id)
    assert isinstance(title, VodStream)
    assert stream_object(title)["stream_type"] == "VOD"
    assert len(title.clients()) == 1
    assert title.created_at == stream.created_at
    assert len(title.decisions.entries()) == 1
    assert rig.provider.station.sockets.peak == 1
    assert rig.registry.bytes_served == 40 * M + 1000


@pytest_twisted.ensureDeferred
async def test_all_who_wait_are_played_it(rig):
    stream, data = film(rig, MP4, query="delay=0.1")
    players = [await player_of(rig, stream, f"films/{number}") for number in range(3)]
    asked = [player.ask("1000-1999") for player in players]
    for each in asked:
        status, _, body = await each
        assert (status, body) == (206, data[1000:2000])
    assert len(rig.registry.get(stream.id).clients()) == 3


@pytest.mark.parametrize(
    ("head", "size", "query"),
    [(MP4, 5 * M, ""), (TS, 40 * M, "ranges=0"), (b"nothing", 40 * M, ""), (MP4, 40 * M, "stall=0")],
    ids=["in place of a channel", "no parts", "unknown", "silent"],
)
@pytest_twisted.ensureDeferred
async def test_what_is_none_is_refused(rig, head, size, query):
    await rig.start(stream_retry_attempts=1)
    stream, _ = film(rig, head, size, query)
    assert (await (await player_of(rig, stream)).ask())[0] == 502
    assert rig.registry.get(stream.id) is stream
    await rig.until(lambda: rig.provider.station.sockets.current == 0)


@pytest_twisted.ensureDeferred
async def test_a_live_backup_comes_first(rig):
    """Who registered both wants to see the channel."""
    stream, _ = film(rig, MP4, 40 * M, "", rig.provider.url("/live/u/p/1.ts"))
    player = await rig.play(stream)
    await rig.until_bytes(player, 100_000)
    assert player.status == 200
    assert rig.registry.get(stream.id) is stream


@pytest_twisted.ensureDeferred
async def test_who_leaves_while_it_is_looked_at(rig):
    stream, _ = film(rig, MP4, query="stall=0")
    player = await rig.play(stream)
    await rig.until(lambda: rig.provider.station.sockets.current == 1)
    await rig.sleep(0.1)
    await player.leave()
    await rig.until(lambda: rig.provider.station.sockets.current == 0, 0.5)
