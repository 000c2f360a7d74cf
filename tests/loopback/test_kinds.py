"""Content decides, not the URL: each guess by the URL with each kind of answer.

At both endpoints, and with the source alone or as a backup.
"""

from __future__ import annotations

import itertools
import re

import pytest
import pytest_twisted
from decoding import decode
from kinds_origin import KindsOrigin

from m3uproxy.core.stream_kind import StreamKind

#: Names by the kind that their URL tells.
NAMES = {StreamKind.LIVE: "one.ts", StreamKind.HLS: "one.m3u8", StreamKind.VOD: "one.mp4"}
#: What the origin sends, and the kind of the stream from then on.
ANSWERS = {"live": StreamKind.LIVE, "hls": StreamKind.HLS, "file": StreamKind.VOD}
TICKS = 90_000
#: Ticks between two pictures of the clip.
PICTURE = 3600


@pytest_twisted.async_yield_fixture
async def origin(rig):
    made = KindsOrigin(rig.reactor)
    await made.listen()
    yield made
    for player in rig.players:
        await player.leave()
    await made.stop()


def register(rig, origin, name: str, answer: str, place: str):
    url = origin.url(name, answer)
    return rig.register(url) if place == "alone" else rig.register(origin.url("first.ts", "down"), url)


def check_pictures(body: bytes, least: float) -> None:
    """Check that a stream decodes, each picture after the other, for some seconds at least."""
    pictures = decode(body).pictures[:-4]  # at the end, pictures that others follow in the stream come late
    assert {later - earlier for earlier, later in itertools.pairwise(pictures)} == {PICTURE}
    assert len(pictures) * PICTURE >= least * TICKS


async def play_stream(rig, path: str, until: float = 100_000):
    player = await rig.ask(path)
    await rig.until(lambda: player.closed or len(player.body) >= until, 6)
    return player


async def play_hls(rig, path: str) -> bytes:
    """Return the segments of a playlist, one after the other."""
    playlist = await rig.ask(path, version="1.0")
    await playlist.ended
    assert playlist.status == 200, playlist.raw
    body = b""
    for line in re.findall(rb"(?m)^[^#\r\n].*$", playlist.body)[:3]:
        segment = await rig.ask(path.rpartition("/")[0] + "/" + line.decode().rpartition("/")[2], version="1.0")
        await segment.ended
        assert segment.status == 200
        body += segment.body
    return body


CASES = [(guess, answer, place) for guess in NAMES for answer in ANSWERS for place in ("alone", "backup")]


def check_entry(rig, origin, stream, answer: str, place: str) -> None:
    """Check that the stream is of the right kind now, after one request for each source."""
    entry = rig.registry.get(stream.id)
    assert entry.kind is ANSWERS[answer]
    assert sum("one" in path for path in origin.asked) == 1
    assert origin.peak == 1
    assert len(entry.clients()) == 1
    assert entry.created_at == stream.created_at
    assert entry.history.error_count == (place == "backup")
    assert entry.source_index == (place == "backup")


@pytest.mark.media
@pytest.mark.parametrize(("guess", "answer", "place"), CASES)
@pytest_twisted.ensureDeferred
async def test_stream_plays_the_answer_whatever_the_url_tells(rig, origin, guess, answer, place):
    stream = register(rig, origin, NAMES[guess], answer, place)
    player = await play_stream(rig, f"/stream/{stream.id}")
    assert player.status == 200, player.raw
    assert b"Content-Type: video/mp2t" in player.head
    check_entry(rig, origin, stream, answer, place)
    if answer == "file":
        await rig.until(lambda: len(player.body) == len(origin.file))
        assert player.body == origin.file
    else:
        assert not player.closed
        check_pictures(player.body, 1.0)


@pytest.mark.media
@pytest.mark.parametrize(("guess", "answer", "place"), CASES)
@pytest_twisted.ensureDeferred
async def test_playlist_plays_the_answer_whatever_the_url_tells(rig, origin, guess, answer, place):
    stream = register(rig, origin, NAMES[guess], answer, place)
    path = f"/hls/{stream.id}/playlist.m3u8?client_id=me"
    if answer == "file":
        player = await rig.ask(path)
        await rig.until(lambda: b"}" in player.body)
        assert player.status == 307
        assert f"Location: ../../stream/{stream.id}?client_id=me".encode() in player.head
        player = await play_stream(rig, f"/stream/{stream.id}?client_id=me", len(origin.file))
        assert player.body == origin.file
    else:
        check_pictures(await play_hls(rig, path), 0.8)
    check_entry(rig, origin, stream, answer, place)
