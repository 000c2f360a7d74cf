"""Live streams, by their URL, whose source turns out to be a file."""

from __future__ import annotations

import os

import pytest
import pytest_twisted
from test_vod import ONE, player_of

from m3uproxy.vod.stream import VodStream
from m3uproxy.web.api.serialize import stream_object

M = 1_000_000
MP4, EBML, TS = b"\0\0\0\x20ftypisom", b"\x1a\x45\xdf\xa3", (b"G" + bytes(187)) * 3


def register_unmarked(rig, head: bytes, size: int = 40 * M, query: str = "", *more: str, **options):
    data = rig.provider.station.files["7"] = head + os.urandom(size - len(head))
    return rig.register(f"/file/ann/pw/7?{query}", *more, **options), data


@pytest.mark.parametrize(("head", "media_type"), [(MP4, "video/mp4"), (EBML, "video/x-matroska"), (TS, "video/mp2t")])
@pytest_twisted.ensureDeferred
async def test_a_file_is_played_as_a_file(rig, head, media_type):
    stream, data = register_unmarked(rig, head, **ONE)
    player = await player_of(rig, stream)
    status, headers, body = await player.ask()
    assert (status, headers["content-type"], headers["accept-ranges"]) == (200, media_type, "bytes")
    assert body == data
    status, _, body = await player.ask("33000000-33000999")
    assert (status, body) == (206, data[33 * M : 33 * M + 1000])
    assert (await player.ask(method="HEAD"))[1]["content-length"] == str(40 * M)
    file = rig.registry.get(stream.id)
    assert isinstance(file, VodStream)
    assert stream_object(file)["stream_type"] == "VOD"
    assert len(file.clients()) == 1
    assert file.created_at == stream.created_at
    assert len(file.history.entries()) == 1
    assert rig.provider.station.sockets.peak == 1
    assert rig.registry.bytes_served == 40 * M + 1000


@pytest_twisted.ensureDeferred
async def test_all_waiting_players_get_the_file(rig):
    stream, data = register_unmarked(rig, MP4, query="delay=0.1")
    players = [await player_of(rig, stream, f"films/{number}") for number in range(3)]
    asked = [player.ask("1000-1999") for player in players]
    for each in asked:
        status, _, body = await each
        assert (status, body) == (206, data[1000:2000])
    assert len(rig.registry.get(stream.id).clients()) == 3


@pytest.mark.parametrize(
    ("head", "query", "ranges"), [(MP4, "", "bytes"), (TS, "ranges=0", "none"), (b"unknown", "", "bytes")]
)
@pytest_twisted.ensureDeferred
async def test_short_file_is_played_as_well(rig, head, query, ranges):
    stream, data = register_unmarked(rig, head, 50_000, query)
    status, headers, body = await (await player_of(rig, stream)).ask()
    assert (status, headers["accept-ranges"]) == (200, ranges)
    assert body == data
    assert rig.provider.station.channel("7").tally.requests == 1


@pytest_twisted.ensureDeferred
async def test_silent_file_is_refused(rig):
    await rig.start(stream_retry_attempts=1)
    stream, _ = register_unmarked(rig, MP4, query="stall=0")
    assert (await (await player_of(rig, stream)).ask())[0] == 504
    assert rig.registry.get(stream.id) is stream
    await rig.until(lambda: rig.provider.station.sockets.current == 0)


@pytest_twisted.ensureDeferred
async def test_file_is_played_if_no_other_source_delivers(rig):
    """A file in place of a channel may be a notice. It is better than nothing."""
    stream, data = register_unmarked(rig, MP4, 50_000, "", rig.provider.url("/live/u/p/1.ts?status=404"))
    status, _, body = await (await player_of(rig, stream)).ask()
    assert (status, body) == (200, data)
    assert rig.registry.get(stream.id).source_index == 0


@pytest_twisted.ensureDeferred
async def test_a_live_backup_is_preferred(rig):
    """A stream with both kinds of source is meant to be live."""
    stream, _ = register_unmarked(rig, MP4, 40 * M, "", rig.provider.url("/live/u/p/1.ts"))
    player = await rig.play(stream)
    await rig.until_bytes(player, 100_000)
    assert player.status == 200
    assert rig.registry.get(stream.id) is stream


@pytest_twisted.ensureDeferred
async def test_a_disconnection_during_detection_closes_the_source(rig):
    stream, _ = register_unmarked(rig, MP4, query="stall=0")
    player = await rig.play(stream)
    await rig.until(lambda: rig.provider.station.sockets.current == 1)
    await rig.sleep(0.1)
    await player.leave()
    await rig.until(lambda: rig.provider.station.sockets.current == 0, 0.5)
