"""Content decides, not the URL: each guess by the URL with each kind of answer.

At both endpoints, and with the source alone or as a backup.
"""

from __future__ import annotations

import itertools
import re

import pytest
import pytest_twisted
from decoding import decode, decode_samples
from kinds_origin import MP4, KindsOrigin
from twisted.internet.error import ConnectionDone

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
    check_pictures(await play_hls(rig, path), 0.8)
    check_entry(rig, origin, stream, "live" if answer == "file" else answer, place)


@pytest.mark.parametrize("name", ["one.ts", "one.m3u8", "one.mp4", "one"])
@pytest_twisted.ensureDeferred
async def test_playlist_of_a_file_that_cannot_be_cut_leads_to_the_file(rig, origin, name):
    stream = rig.register(origin.url(name, "mp4"))
    for _ in range(2):
        player = await rig.ask(f"/hls/{stream.id}/playlist.m3u8?client_id=me")
        await rig.until(lambda player=player: b"}" in player.body)
        assert player.status == 307
        assert f"Location: ../../stream/{stream.id}?client_id=me".encode() in player.head
    player = await rig.ask(f"/stream/{stream.id}?client_id=me")
    await rig.until(lambda: player.body == MP4)
    assert b"Content-Type: video/mp4" in player.head


@pytest_twisted.ensureDeferred
async def test_playlist_of_a_file_has_an_end(rig, origin):
    stream = rig.register(origin.url("one.ts", "file"))
    seen = set()
    for _ in range(40):
        playlist = await rig.ask(f"/hls/{stream.id}/playlist.m3u8?client_id=me", version="1.0")
        await playlist.ended
        for name in sorted(set(re.findall(rb"(?m)^segment.*$", playlist.body)) - seen):
            seen.add(name)
            await (await rig.ask(f"/hls/{stream.id}/{name.decode()}", version="1.0")).ended
        if b"#EXT-X-ENDLIST" in playlist.body:
            break
        await rig.sleep(0.1)
    assert b"#EXT-X-ENDLIST" in playlist.body
    assert len(origin.asked) == 1


FILE_NAMES = "one.ts one one.m2ts one.mpg one.m4v one.mov one.m3u8 timeshift/one.php Videos/one.ts".split()


@pytest.mark.parametrize("answer", ["whole", "file", "untold"])
@pytest.mark.parametrize("name", FILE_NAMES)
@pytest_twisted.ensureDeferred
async def test_file_plays_once_to_its_end_under_any_name(rig, origin, name, answer):
    """With a length, or with a hint in the URL, each byte comes once. Without both, it plays as a live stream."""
    stream = rig.register(origin.url(name, answer))
    is_file = answer != "untold" or "timeshift" in name or "Videos" in name
    player = await rig.ask(f"/stream/{stream.id}")
    await rig.until(lambda: player.closed or (is_file and len(player.body) == len(origin.file)), 8)
    assert player.status == 200
    if is_file:
        assert player.body == origin.file
        assert len(origin.asked) == 1
    else:
        assert isinstance(player.reason, ConnectionDone)
        assert len(origin.asked) == 2
    assert (b"Accept-Ranges: bytes" in player.head) == (answer == "file")


@pytest_twisted.ensureDeferred
async def test_programme_is_seekable_once_a_range_was_answered(rig, origin):
    """The first request has no range, so that nothing is known. A range of a player is asked for."""
    stream = rig.register(origin.url("one.ts", "plain"))
    player = await rig.ask(f"/stream/{stream.id}")
    await rig.until(lambda: len(player.body) == len(origin.file))
    assert b"Accept-Ranges" not in player.head
    await player.leave()
    player = await rig.ask(f"/stream/{stream.id}", headers=("Range: bytes=1000-1999",))
    await rig.until(lambda: len(player.body) == 1000)
    assert player.status == 206
    assert b"Accept-Ranges: bytes" in player.head
    assert player.body == origin.file[1000:2000]


@pytest.mark.parametrize(("guess", "answer"), [(guess, answer) for guess in NAMES for answer in ANSWERS])
@pytest_twisted.ensureDeferred
async def test_players_that_come_at_once_are_all_served(rig, origin, guess, answer):
    """They are served by one stream, and those of a stream or a playlist by one connection."""
    stream = rig.register(origin.url(NAMES[guess], answer))
    players = [await rig.ask(f"/stream/{stream.id}?client_id=p{number}") for number in range(3)]
    await rig.until(lambda: all(len(player.body) > 50_000 for player in players), 6)
    assert [player.status for player in players] == [200, 200, 200]
    entry = rig.registry.get(stream.id)
    assert entry.kind is ANSWERS[answer]
    assert len(entry.clients()) == 3
    assert len(rig.registry.streams()) == 1
    if answer != "file":
        assert origin.current == (answer == "live")
        assert origin.peak == (3 if (guess, answer) == (StreamKind.VOD, "live") else 1)


@pytest.mark.parametrize("answer", ANSWERS)
@pytest_twisted.ensureDeferred
async def test_stream_that_is_deleted_before_its_answer_stays_deleted(rig, origin, answer):
    stream = rig.register(origin.url("one.m3u8" if answer == "live" else "one.ts", "slow_" + answer))
    player = await rig.ask(f"/stream/{stream.id}")
    await rig.until(lambda: origin.asked)
    assert rig.registry.delete(stream.id)
    await player.ended
    assert rig.registry.get(stream.id) is None
    await rig.until(lambda: not origin.connections)


@pytest.mark.media
@pytest.mark.parametrize("answer", ["hls", "file", "whole", "live"])
@pytest.mark.parametrize("name", ["two.ts", "two.m3u8", "two.mp4"])
@pytest_twisted.ensureDeferred
async def test_live_stream_goes_on_with_a_backup_of_any_kind(rig, origin, name, answer):
    """Its players stay connected, and the stream stays live."""
    stream = rig.register(origin.url("one.ts", "cut"), origin.url(name, answer))
    player = await rig.ask(f"/stream/{stream.id}")
    await rig.until(lambda: stream.source_index == 1, 8, "the backup is in use")
    size = len(player.body)
    await rig.until(lambda: len(player.body) > size + 40_000, 8, "the backup plays")
    assert not player.closed
    assert rig.registry.get(stream.id) is stream
    assert sum("two" in path for path in origin.asked) <= 2
    times = [time for time, _ in decode_samples(player.body).pictures][:-4]
    # A reset may cut the last picture, which is lost if the backup does not repeat it.
    assert {later - earlier for earlier, later in itertools.pairwise(times)} <= {PICTURE, 2 * PICTURE}
    assert len(times) > 20


async def head_of(rig, stream) -> bytes:
    asked = await rig.ask(f"/stream/{stream.id}", method="HEAD", version="1.0")
    await asked.ended
    return asked.head


@pytest.mark.parametrize(
    ("name", "answer"), [("one", "live"), ("one", "file"), ("one.mp4", "live"), ("one.mp4", "file")]
)
@pytest_twisted.ensureDeferred
async def test_type_of_a_transport_stream_follows_its_bytes(rig, origin, name, answer):
    """For GET and HEAD, while the stream plays and afterwards."""
    stream = rig.register(origin.url(name, answer))
    player = await play_stream(rig, f"/stream/{stream.id}", 50_000)
    assert b"Content-Type: video/mp2t" in player.head
    assert b"Content-Type: video/mp2t" in await head_of(rig, stream)
    await player.leave()
    await rig.until(lambda: not rig.registry.get(stream.id).clients())
    assert b"Content-Type: video/mp2t" in await head_of(rig, stream)


@pytest_twisted.ensureDeferred
async def test_head_of_a_film_that_is_a_playlist(rig, origin):
    stream = rig.register(origin.url("one.mp4", "ended"))
    assert b"Content-Type: video/mp2t" in await head_of(rig, stream)
    assert rig.registry.get(stream.id).kind is StreamKind.HLS


@pytest.mark.parametrize("answer", ["m2ts", "coded"])
@pytest_twisted.ensureDeferred
async def test_larger_packets_are_shared_as_plain_ones(rig, origin, answer):
    stream = rig.register(origin.url("one", answer))
    players = [await play_stream(rig, f"/stream/{stream.id}") for _ in range(2)]
    for player in players:
        body = bytes(player.body)
        assert set(body[::188]) == {0x47}
        check_pictures(body[: len(body) // 188 * 188], 0.5)
    assert len(origin.asked) == 1
