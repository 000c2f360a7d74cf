"""Splices to a backup that is another encode of another provider, with real decoders."""

from __future__ import annotations

import io

import av
import pytest
import pytest_twisted
from clip_provider import (
    BACKUP_ORIGIN,
    KEY,
    VIDEO,
    assert_seamless_change,
    keys,
    packets_of,
    pictures_before_splice,
    pid,
    steps,
    url,
    watch_source_change,
    without_torn_tail,
)
from clips import H264, HEVC, MPEG2, SOUND
from decoding import decode
from test_live_media import lenient_picture_times
from twisted.internet.error import ConnectionLost

pytestmark = pytest.mark.media

RECIPES = {"H.264 + AAC": H264, "HEVC + AC-3": HEVC, "MPEG-2 + MP2": MPEG2, "sound only": SOUND}
#: First bytes of a slice of an IDR picture.
IDR = b"\0\0\1\x65"
#: Pictures after which libavcodec accepts that the order of pictures has restarted.
REORDERED = 16
#: Random access points without IDR; the clip has one IDR in 4.8 s.
OPEN = H264.backup(video="h264 open")


@pytest.mark.parametrize("fault", ["close=0", "reset=0"])
@pytest.mark.parametrize("name", RECIPES)
@pytest_twisted.ensureDeferred
async def test_backup_of_the_same_codecs(rig, start_provider, name, fault):
    recipe = RECIPES[name]
    player = await watch_source_change(rig, start_provider, recipe, recipe.backup(), fault)
    assert_seamless_change(player.body, recipe, recipe.backup())


@pytest_twisted.ensureDeferred
async def test_standby_backup_leaves_no_gap(rig, start_provider):
    """The API requests the change, with room for two connections.

    No unit is torn, so no picture of a group is missing.
    """
    first, second = await start_provider(H264), await start_provider(H264.backup(), BACKUP_ORIGIN)
    stream = rig.register(url(first), url(second), provider="two", max_connections=2)
    player = await rig.play(stream)
    await rig.until_bytes(player, 300_000, 20)
    stream.fail_over()
    await rig.until(lambda: first.channel("x").tally.current == 0, 20)
    await rig.until_bytes(player, len(player.body) + 300_000, 20)
    assert (first.channel("x").tally.total, second.channel("x").tally.total) == (1, 1)
    assert_seamless_change(player.body, H264, H264.backup(), audio_arrived=False)


@pytest.mark.parametrize(
    "changes",
    [{"width": 320, "height": 192}, {"rate": 50}, {"video": "h264 baseline"}],
    ids=["size", "picture rate", "profile"],
)
@pytest_twisted.ensureDeferred
async def test_backup_of_other_parameters(rig, start_provider, changes):
    player = await watch_source_change(rig, start_provider, H264, H264.backup(**changes))
    assert_seamless_change(player.body, H264, H264.backup(**changes))


@pytest.mark.parametrize("other", [HEVC.backup(), H264.backup(audio="ac3")], ids=["both", "sound"])
@pytest_twisted.ensureDeferred
async def test_backup_of_other_codecs_ends_the_response(rig, start_provider, other):
    """The body ends with whole units, and the end is an error for a player.

    The next request begins with the new source.
    """
    player = await watch_source_change(rig, start_provider, H264, other)
    assert isinstance(player.reason, ConnectionLost)
    seen = decode(player.body)
    assert seen.complaints == []
    assert len(seen.pictures) > 40
    again = await rig.ask(player.path)
    await rig.until_bytes(again, 60_000, 20)
    assert decode(without_torn_tail(again.body)).complaints == []


@pytest_twisted.ensureDeferred
async def test_new_codecs_are_announced_to_a_capable_player(rig, start_provider):
    """Tables with another version precede the new source. The packets behind them are whole."""
    await rig.start(carry_on_agents=("VLC",))
    new = HEVC.backup()
    player = await watch_source_change(rig, start_provider, H264, new, headers=("User-Agent: VLC/3.0.24 LibVLC",))
    assert not player.closed
    packets = packets_of(player.body)
    found = keys(new) - keys(H264)
    first = next(n for n, packet in enumerate(packets) if packet[-KEY:] in found and pid(packet) == VIDEO)
    tables = max(n for n, packet in enumerate(packets[:first]) if pid(packet) == 0)
    seen = decode(without_torn_tail(b"".join(packets[tables:])))
    assert seen.complaints == []
    assert len(seen.pictures) > 40


@pytest_twisted.ensureDeferred
async def test_open_groups_without_an_idr(rig, start_provider):
    """No IDR arrives in time. Pictures are counted on from the old ones: libavcodec shows none for a moment."""
    first, second = await start_provider(H264), await start_provider(OPEN, BACKUP_ORIGIN)
    player = await rig.play(rig.register(url(first), url(second, "rate=1")))
    await rig.until_bytes(player, 130_000, 20)
    first.control("x", "close=0&status=404")
    await rig.until(lambda: second.channel("x").tally.total, 20)
    await rig.until_bytes(player, len(player.body) + 130_000, 20)
    body = without_torn_tail(player.body)
    highest = max(pictures_before_splice(body, H264, OPEN))
    with av.open(io.BytesIO(body), format="mpegts") as source:
        assert min(steps([packet.dts for packet in source.demux(video=0) if packet.dts is not None])) > 0
    after = [time for time in lenient_picture_times(body) if time > highest][:-4]
    of_new = keys(OPEN)
    assert not any(IDR in packet and packet[-KEY:] in of_new for packet in packets_of(body))
    missing = (after[-1] - highest) // H264.picture - len(after)
    assert 0 <= missing <= REORDERED
    assert len(after) > 40
    assert set(steps(after[-30:])) == {H264.picture}
