"""The backup is another encode, of another provider: what decoders make of the seam."""

from __future__ import annotations

import io

import av
import pytest
import pytest_twisted
from clip_provider import (
    FAR,
    KEY,
    VIDEO,
    assert_invisible,
    change,
    keys,
    packets_of,
    pictures_before_the_seam,
    pid,
    steps,
    url,
    without_torn_tail,
)
from clips import H264, HEVC, MPEG2, SOUND
from decoding import decode
from test_decodes import lenient_picture_times
from twisted.internet.error import ConnectionLost

pytestmark = pytest.mark.media

RECIPES = {"H.264 + AAC": H264, "HEVC + AC-3": HEVC, "MPEG-2 + MP2": MPEG2, "sound only": SOUND}
#: The first bytes of an IDR picture's slice.
IDR = b"\0\0\1\x65"
#: Pictures after which libavcodec believes that the order of pictures has begun anew.
REORDERED = 16
#: Random access points that are no IDR; of these it has one in 4.8 s.
OPEN = H264.backup(video="h264 open")


@pytest.mark.parametrize("fault", ["close=0", "reset=0"])
@pytest.mark.parametrize("name", RECIPES)
@pytest_twisted.ensureDeferred
async def test_a_backup_of_the_same_kind(rig, air, name, fault):
    recipe = RECIPES[name]
    player = await change(rig, air, recipe, recipe.backup(), fault)
    assert_invisible(player.body, recipe, recipe.backup())


@pytest_twisted.ensureDeferred
async def test_a_backup_that_is_opened_before_the_last_source_is_closed(rig, air):
    """Asked for by the API, with room for two connections: nothing is torn, so no picture of a group is missing."""
    first, second = await air(H264), await air(H264.backup(), FAR)
    stream = rig.register(url(first), url(second), provider="two", max_connections=2)
    player = await rig.play(stream)
    await rig.until_bytes(player, 300_000, 20)
    stream.fail_over()
    await rig.until(lambda: first.channel("x").tally.current == 0, 20)
    await rig.until_bytes(player, len(player.body) + 300_000, 20)
    assert (first.channel("x").tally.total, second.channel("x").tally.total) == (1, 1)
    assert_invisible(player.body, H264, H264.backup(), sound_came=False)


@pytest.mark.parametrize(
    "changes",
    [{"width": 320, "height": 192}, {"rate": 50}, {"video": "h264 baseline"}],
    ids=["size", "picture rate", "profile"],
)
@pytest_twisted.ensureDeferred
async def test_a_backup_of_other_parameters(rig, air, changes):
    player = await change(rig, air, H264, H264.backup(**changes))
    assert_invisible(player.body, H264, H264.backup(**changes))


@pytest.mark.parametrize("other", [HEVC.backup(), H264.backup(audio="ac3")], ids=["both", "sound"])
@pytest_twisted.ensureDeferred
async def test_a_backup_of_other_codecs_ends_the_response(rig, air, other):
    """Whole units to the end, then no end that a player takes for one; who asks again begins with the new source."""
    player = await change(rig, air, H264, other)
    assert isinstance(player.reason, ConnectionLost)
    seen = decode(player.body)
    assert seen.complaints == []
    assert len(seen.pictures) > 40
    again = await rig.ask(player.path)
    await rig.until_bytes(again, 60_000, 20)
    assert decode(without_torn_tail(again.body)).complaints == []


@pytest_twisted.ensureDeferred
async def test_a_player_that_can_take_it_is_told_of_other_codecs(rig, air):
    """Tables with another version come right before the new source; what follows them is whole."""
    await rig.start(carry_on_agents=("VLC",))
    new = HEVC.backup()
    player = await change(rig, air, H264, new, headers=("User-Agent: VLC/3.0.24 LibVLC",))
    assert not player.closed
    packets = packets_of(player.body)
    found = keys(new) - keys(H264)
    first = next(n for n, packet in enumerate(packets) if packet[-KEY:] in found and pid(packet) == VIDEO)
    tables = max(n for n, packet in enumerate(packets[:first]) if pid(packet) == 0)
    seen = decode(without_torn_tail(b"".join(packets[tables:])))
    assert seen.complaints == []
    assert len(seen.pictures) > 40


@pytest_twisted.ensureDeferred
async def test_an_idr_is_waited_for_in_open_groups(rig, air):
    """One comes every 1.2 s; in between random access points that are none."""
    player = await change(rig, air, H264, OPEN)
    assert_invisible(player.body, H264, OPEN)


@pytest_twisted.ensureDeferred
async def test_open_groups_without_an_idr(rig, air):
    """None comes in time. Pictures are then counted on from the old ones: libavcodec shows none for a moment."""
    first, second = await air(H264), await air(OPEN, FAR)
    player = await rig.play(rig.register(url(first), url(second, "rate=1")))
    await rig.until_bytes(player, 130_000, 20)
    first.control("x", "close=0&status=404")
    await rig.until(lambda: second.channel("x").tally.total, 20)
    await rig.until_bytes(player, len(player.body) + 130_000, 20)
    body = without_torn_tail(player.body)
    highest = max(pictures_before_the_seam(body, H264, OPEN))
    with av.open(io.BytesIO(body), format="mpegts") as source:
        assert min(steps([packet.dts for packet in source.demux(video=0) if packet.dts is not None])) > 0
    after = [time for time in lenient_picture_times(body) if time > highest][:-4]
    of_new = keys(OPEN)
    assert not any(IDR in packet and packet[-KEY:] in of_new for packet in packets_of(body))
    missing = (after[-1] - highest) // H264.picture - len(after)
    assert 0 <= missing <= REORDERED
    assert len(after) > 40
    assert set(steps(after[-30:])) == {H264.picture}
