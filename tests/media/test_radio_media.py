"""Decoding of radio and FLV through ``/stream/<id>``: from each player's first byte on, over changes of source."""

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


def whole_units(body: bytes, extension: str) -> bytes:
    """Return the body without the last unit, which may be torn by the player's disconnection."""
    if extension == "flv":
        return body[:13] + b"".join(tag.data for tag in FlvReader().feed(body))
    return AudioSync().feed(body)


def assert_plays(body: bytes, extension: str, sounds: int) -> Decoded:
    """Check that demuxer and decoders do not complain and that time never steps back."""
    whole = whole_units(body, extension)
    assert body.startswith(whole)
    decoded = decode(whole, format=extension)
    assert decoded.complaints == []
    assert len(decoded.sounds) >= sounds
    assert bool(decoded.pictures) == (extension == "flv")
    for times in (decoded.sounds, decoded.pictures):
        assert all(later > earlier for earlier, later in pairwise(times))
    return decoded


async def wait_for_third_connection(rig, player) -> None:
    """Wait until the provider has closed twice and the player has received data of the third connection."""
    await rig.until(lambda: rig.provider.channel("x").tally.total >= 3, 20)
    await rig.until_bytes(player, len(player.body) + 4_000, 10)


@pytest.mark.parametrize("extension", FORMATS)
@pytest_twisted.ensureDeferred
async def test_first_and_late_joiner_over_reconnects(rig, splices, extension):
    stream = rig.register(f"/live/x.{extension}?burst=4&close=1.6s")
    first = await rig.play(stream)
    await rig.until_bytes(first, 12_000, 10)
    late = await rig.play(stream)
    await wait_for_third_connection(rig, first)
    for player in (first, late):
        assert not player.closed
        if extension != "flv":  # the replay is dropped, and the next frame follows
            assert whole_units(player.body, extension) in load_radio(extension).span(0, 200_000)
        decoded = assert_plays(player.body, extension, 100)
        if extension == "flv":
            assert max(later - earlier for earlier, later in pairwise(decoded.pictures)) <= 3 * PICTURE
            assert max(later - earlier for earlier, later in pairwise(decoded.sounds)) <= 3 * PICTURE + SOUND
    assert {report.kind for report in splices[1:]} == {SpliceKind.SHIFTED if extension == "flv" else SpliceKind.OVERLAP}


@pytest.mark.parametrize("extension", FORMATS)
@pytest_twisted.ensureDeferred
async def test_backup_continues(rig, extension):
    stream = rig.register(f"/live/a.{extension}?rate=4&burst=1", f"/live/b.{extension}?rate=4&burst=1&metaint=4000")
    player = await rig.play(stream)
    await rig.until_bytes(player, 20_000, 10)
    rig.provider.control("a", "reset=0&status=404")
    await rig.until_bytes(player, len(player.body) + 30_000, 20)
    assert stream.source_index == 1
    assert_plays(player.body, extension, 150)
