"""Decoding of ``/stream/<id>`` with a real demuxer and real decoders, from its first packet on."""

from __future__ import annotations

import contextlib
import io
import itertools

import av
import pytest
import pytest_twisted
from clip_provider import without_torn_tail
from decoding import decode
from loopback_rig import assert_whole_packets

#: Ticks of 90 kHz between two pictures of the demo clip.
PICTURE = 3600

pytestmark = pytest.mark.media


def assert_plays(body: bytes, pictures: int) -> None:
    assert_whole_packets(body)
    decoded = decode(without_torn_tail(body))
    assert decoded.complaints == []
    # With B pictures the end of a recording, in order of presentation, has holes.
    shown = sorted(decoded.pictures)[:-4]
    assert len(shown) >= pictures
    assert {later - earlier for earlier, later in itertools.pairwise(shown)} == {PICTURE}
    assert len(decoded.sounds) >= pictures


def lenient_picture_times(body: bytes) -> list[int]:
    """Return the presentation times of all pictures that can be decoded; units torn at a gap cannot."""
    times = []
    with av.open(io.BytesIO(body), format="mpegts") as container:
        for packet in container.demux(container.streams.video[0]):
            with contextlib.suppress(av.error.InvalidDataError):
                times += [frame.pts for frame in packet.decode() if frame.pts is not None]
    return sorted(times)


@pytest.mark.parametrize("direct", [True, False])
@pytest_twisted.ensureDeferred
async def test_first_and_late_joiner_decode_without_an_error(rig, direct):
    await rig.start(direct_write=direct)
    stream = rig.register("/live/x.ts?rate=4")
    first = await rig.play(stream)
    await rig.until_bytes(first, 500_000)
    late = await rig.play(stream)
    await rig.until_bytes(late, 500_000)
    assert_plays(first.body, 180)
    assert_plays(late.body, 150)
    assert rig.provider.channel("x").tally.total == 1


@pytest.mark.parametrize("oddity", ["framing=chunked", "gzip=1", "framing=chunked&gzip=1", "redirect=chain"])
@pytest_twisted.ensureDeferred
async def test_decodes_with_any_http_framing(rig, oddity):
    player = await rig.play(rig.register(f"/live/x.ts?rate=4&{oddity}"))
    await rig.until_bytes(player, 300_000)
    assert_plays(player.body, 80)


@pytest_twisted.ensureDeferred
async def test_pictures_continue_after_a_skip(rig):
    """Behind the gap pictures continue, and no packet before the gap is torn."""
    await rig.start(send_buffer=16_384, ring_seconds=1, join_seconds=0.5)
    stream = rig.register("/live/x.ts?rate=8")
    watched, player = await rig.play(stream), await rig.play(stream, window=65_536)
    await rig.until_bytes(player, 100_000)
    player.transport.pauseProducing()
    await rig.until_bytes(watched, len(watched.body) + 2_500_000, 15)
    player.transport.resumeProducing()
    await rig.until(lambda: sum(client.pump.skips for client in stream.clients()) >= 1)
    size = len(player.body)
    await rig.until_bytes(player, size + 300_000)
    assert_whole_packets(player.body)
    times = lenient_picture_times(player.body)
    holes = [later - earlier for earlier, later in itertools.pairwise(times) if later - earlier > 25 * PICTURE]
    assert len(holes) == 1
    assert len(times) > 150
