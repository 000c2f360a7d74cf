"""Radio and FLV through ``/stream/<id>``: one provider connection, whole units, reconnects, backups."""

from __future__ import annotations

import pytest
import pytest_twisted

from m3uproxy.core.ingest.audio_sync import AudioSync
from m3uproxy.core.ingest.flv_tags import FlvReader
from m3uproxy.core.stream_kind import StreamKind

CONTENT_TYPES = {"aac": b"audio/aac", "mp3": b"audio/mpeg", "flv": b"video/x-flv"}
FORMATS = list(CONTENT_TYPES)


def assert_whole_units(body: bytes, ending: str) -> int:
    """Assert that a body consists of whole units, except for a torn last one; return their number."""
    if ending == "flv":
        tags = FlvReader()
        found = tags.feed(body)
        assert body.startswith(b"FLV\x01")
        size = 13 + sum(len(tag.data) for tag in found)
        assert b"".join([tag.data for tag in found]) == body[13:size]
        times = [tag.time for tag in found if tag.codec is not None]
        assert times == sorted(times)
        longest = 10_000
    else:
        frames = AudioSync()
        size, longest = len(frames.feed(body)), 400
        assert body[:2] in (b"\xff\xf1", b"\xff\xfb", b"\xff\xfa")
    assert len(body) - size < longest
    return tags.count if ending == "flv" else frames.count


@pytest.mark.parametrize("ending", FORMATS)
@pytest_twisted.ensureDeferred
async def test_players_share_one_provider_connection(rig, ending):
    await rig.start(join_seconds=1)
    stream = rig.register(f"/live/x.{ending}?burst=2&rate=4")
    players = [await rig.play(stream), await rig.play(stream)]
    for player in players:
        await rig.until_bytes(player, 20_000, 8)
    late = await rig.play(stream)
    await rig.until_bytes(late, 20_000, 8)
    for player in (*players, late):
        assert b"Content-Type: " + CONTENT_TYPES[ending] in player.head
        assert assert_whole_units(player.body, ending) > 40
    assert players[0].body[:20_000] == players[1].body[:20_000]
    assert late.body[2000:6000] in players[0].body
    tally = rig.provider.channel("x").tally
    assert (tally.total, tally.peak) == (1, 1)
    for player in (*players, late):
        await player.leave()
    await rig.until(lambda: rig.open_upstreams() == 0, 1, "the upstream is closed behind the last viewer")


@pytest.mark.parametrize(
    ("ending", "fault"), [("mp3", "close"), ("aac", "reset"), ("mp3", "stall"), ("flv", "close"), ("flv", "stall")]
)
@pytest_twisted.ensureDeferred
async def test_stream_recovers_from_the_same_source(rig, ending, fault):
    stream = rig.register(f"/live/x.{ending}?burst=2&{fault}=1.2s")
    player = await rig.play(stream)
    channel = rig.provider.channel("x")
    await rig.until(lambda: channel.tally.total >= 2, 15, "a redial")
    size = len(player.body)
    await rig.until_bytes(player, size + 3_000)
    assert not player.closed
    assert_whole_units(player.body, ending)
    assert channel.tally.peak == 1


@pytest.mark.parametrize("ending", FORMATS)
@pytest_twisted.ensureDeferred
async def test_backup_takes_over(rig, ending):
    stream = rig.register(f"/live/a.{ending}?burst=2", f"/live/b.{ending}?burst=1")
    player = await rig.play(stream)
    await rig.until_bytes(player, 5_000)
    rig.provider.control("a", "close=0&status=404")
    await rig.until(lambda: rig.provider.channel("b").tally.current == 1, 8, "the backup is open")
    size = len(player.body)
    await rig.until_bytes(player, size + 5_000)
    assert not player.closed
    assert_whole_units(player.body, ending)
    assert stream.history.entries()[-1]["bridged_ms"] is not None


@pytest.mark.parametrize("endings", [("ts", "mp3"), ("mp3", "aac"), ("flv", "ts"), ("aac", "flv")])
@pytest_twisted.ensureDeferred
async def test_backup_of_another_format_disconnects_players(rig, endings):
    first, second = endings
    await rig.start(carry_on_agents="VLC")
    stream = rig.register(f"/live/a.{first}?burst=2", f"/live/b.{second}?burst=2")
    players = [await rig.play(stream), await rig.play(stream, headers=("User-Agent: VLC/3",))]
    for player in players:
        await rig.until_bytes(player, 5_000)
    rig.provider.control("a", "close=0&status=404")
    for player in players:
        await rig.until(lambda player=player: player.closed, 8, "the player is disconnected")
        assert "non-clean" in str(player.reason).lower() or "reset" in str(player.reason).lower()
    again = await rig.play(stream)
    await rig.until_bytes(again, 5_000)
    expected = CONTENT_TYPES.get(second, b"video/mp2t")
    assert b"Content-Type: " + expected in again.head
    if second == "ts":
        assert again.body[:5_000:188] == b"G" * len(again.body[:5_000:188])
    else:
        assert_whole_units(again.body, second)


@pytest.mark.parametrize("odd", ["metaint=1000", "head=icy&metaint=8192", "metaint=777&gzip=1"])
@pytest_twisted.ensureDeferred
async def test_icy_titles_are_removed(rig, odd):
    stream = rig.register(f"/live/x.mp3?burst=2&{odd}", headers=(("Icy-MetaData", "1"),))
    player = await rig.play(stream)
    await rig.until_bytes(player, 20_000)
    assert b"StreamTitle" not in player.body
    assert_whole_units(player.body, "mp3")
    asked = {name.lower(): value for name, value in dict(rig.provider.station.requests[-1]["headers"]).items()}
    assert asked["icy-metadata"] == "1"


@pytest_twisted.ensureDeferred
async def test_missing_bytes_cost_whole_frames(rig):
    for ending in FORMATS:
        player = await rig.play(rig.register(f"/live/x.{ending}?burst=3&cut=9000&cut_size=777"))
        await rig.until_bytes(player, 14_000)
        assert_whole_units(player.body, ending)


@pytest_twisted.ensureDeferred
async def test_radio_with_an_end_is_a_file(rig):
    stream = rig.register("/live/x.mp3?length=20000&rate=4")
    player = await rig.play(stream)
    await rig.until(lambda: len(player.body) >= 20_000)
    assert player.status == 200
    assert b"Content-Type: audio/mpeg" in player.head
    assert b"Content-Length: 20000" in player.head
    assert rig.registry.get(stream.id).kind is StreamKind.VOD


@pytest_twisted.ensureDeferred
async def test_head_has_the_content_type(rig):
    stream = rig.register("/live/user/pass/7.mp3?burst=2")
    unplayed = await rig.play(stream, method="HEAD", headers=("Connection: close",))
    await rig.until(lambda: unplayed.closed)
    assert b"Content-Type: audio/mpeg" in unplayed.head
