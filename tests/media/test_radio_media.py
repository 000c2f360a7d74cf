"""Real decoders on radio and FLV through ``/stream/<id>``: from each player's first byte on, over changes of source."""

from __future__ import annotations

from itertools import pairwise

import pytest
import pytest_twisted
from decoding import Decoded, decode

from m3uproxy.core.ingest.audio_sync import AudioSync
from m3uproxy.core.ingest.flv_tags import FlvReader
from m3uproxy.core.splice.plan import SpliceKind
from m3uproxy.provider.radio import load_radio

pytestmark = pytest.mark.media

FORMATS = ["aac", "mp3", "flv"]
#: Milliseconds of a picture of the provider's clip, and of a frame of its sound, rounded up.
PICTURE, SOUND = 100, 22


def whole_units(body: bytes, ending: str) -> bytes:
    """The player hung up somewhere: leave out the last unit, which may not be whole."""
    if ending == "flv":
        return body[:13] + b"".join(tag.data for tag in FlvReader().feed(body))
    return AudioSync().feed(body)


def assert_plays(body: bytes, ending: str, sounds: int) -> Decoded:
    """No complaint of demuxer and decoders, nothing steps back in time."""
    whole = whole_units(body, ending)
    assert body.startswith(whole)
    decoded = decode(whole, format=ending)
    assert decoded.complaints == []
    assert len(decoded.sounds) >= sounds
    assert bool(decoded.pictures) == (ending == "flv")
    for times in (decoded.sounds, decoded.pictures):
        assert all(later > sooner for sooner, later in pairwise(times))
    return decoded


async def three_connections(rig, player) -> None:
    """Wait until the provider has closed twice and the player has something of the third connection."""
    await rig.until(lambda: rig.provider.channel("x").tally.total >= 3, 20)
    await rig.until_bytes(player, len(player.body) + 4_000, 10)


@pytest.mark.parametrize("ending", FORMATS)
@pytest_twisted.ensureDeferred
async def test_first_and_late_joiner_over_reconnects(rig, joins, ending):
    stream = rig.register(f"/live/x.{ending}?burst=4&close=1.6s")
    first = await rig.play(stream)
    await rig.until_bytes(first, 12_000, 10)
    late = await rig.play(stream)
    await three_connections(rig, first)
    for player in (first, late):
        assert not player.closed
        if ending != "flv":  # replayed, and gone on from with the very next frame
            assert whole_units(player.body, ending) in load_radio(ending).span(0, 200_000)
        decoded = assert_plays(player.body, ending, 100)
        if ending == "flv":
            assert max(later - sooner for sooner, later in pairwise(decoded.pictures)) <= 3 * PICTURE
            assert max(later - sooner for sooner, later in pairwise(decoded.sounds)) <= 3 * PICTURE + SOUND
    assert {report.kind for report in joins[1:]} == {SpliceKind.SHIFTED if ending == "flv" else SpliceKind.OVERLAP}


@pytest.mark.parametrize("ending", FORMATS)
@pytest_twisted.ensureDeferred
async def test_a_backup(rig, ending):
    stream = rig.register(f"/live/a.{ending}?rate=4&burst=1", f"/live/b.{ending}?rate=4&burst=1&metaint=4000")
    player = await rig.play(stream)
    await rig.until_bytes(player, 20_000, 10)
    rig.provider.control("a", "reset=0&status=404")
    await rig.until_bytes(player, len(player.body) + 30_000, 20)
    assert stream.source_index == 1
    assert_plays(player.body, ending, 150)
