"""ffmpeg plays a live transport stream as HLS, also across a change of source."""

from __future__ import annotations

import pytest
import pytest_twisted
from clip_provider import BACKUP_ORIGIN, url, without_torn_tail
from clips import H264, HEVC
from decoding import decode
from playing import TICKS, address, steps, watch
from twisted.internet.threads import deferToThread

from m3uproxy.core.splice.plan import SpliceKind

pytestmark = pytest.mark.media


@pytest_twisted.ensureDeferred
async def test_playback_of_ten_seconds(rig):
    stream = rig.register("/live/x.ts?rate=4&burst=3")
    pictures, sounds, complaints = await deferToThread(watch, address(rig, stream), 10)
    assert complaints == []
    assert len({*steps(pictures)}) == len({*steps(sounds)}) == 1
    assert rig.provider.channel("x").tally.total == 1


@pytest_twisted.ensureDeferred
async def test_failover_to_another_encoding(rig, start_provider, splices):
    """The backup has other PIDs and another clock. Time continues, and no decoder complains."""
    first, second = await start_provider(H264), await start_provider(H264.backup(), BACKUP_ORIGIN)
    stream = rig.register(url(first, "rate=2&burst=3"), url(second, "rate=2&burst=3"))
    failed = []

    def fail_source(shown: float) -> None:
        if shown > 3 and not failed:
            failed.append(True)
            rig.reactor.callFromThread(first.control, "x", "close=0&status=404")

    pictures, sounds, complaints = await deferToThread(watch, address(rig, stream), 10, fail_source)
    assert complaints == []
    assert stream.source_index == 1
    assert splices[-1].kind is SpliceKind.SHIFTED
    assert min(steps(pictures)) > 0
    assert max(steps(pictures)) < TICKS / 2
    assert min(steps(sounds)) > 0


@pytest_twisted.ensureDeferred
async def test_change_of_codecs_is_a_discontinuity(rig, start_provider):
    """No player is disconnected; both sides decode independently."""
    first, second = await start_provider(H264), await start_provider(HEVC, BACKUP_ORIGIN)
    stream = rig.register(url(first, "rate=4&burst=3"), url(second, "rate=4&burst=3"))

    async def get(page: str) -> bytes:
        player = await rig.ask(f"/hls/{stream.id}/{page}", version="1.0")
        await player.ended
        assert player.status == 200
        return player.body

    async def listed(condition) -> str:
        for _ in range(300):
            text = (await get("playlist.m3u8?client_id=me")).decode()
            if condition(text):
                return text
            await rig.sleep(0.05)
        raise AssertionError(text)

    await listed(lambda text: text.count("#EXTINF") >= 2)
    first.control("x", "close=0&status=404")
    text = await listed(lambda text: text.partition("#EXT-X-DISCONTINUITY\n")[2].count("#EXTINF") >= 2)
    assert text.count("#EXT-X-DISCONTINUITY\n") == 1
    for side, picture in zip(text.split("#EXT-X-DISCONTINUITY\n"), (H264.picture, HEVC.picture), strict=True):
        names = [line for line in side.splitlines() if line and not line.startswith("#")]
        seconds = sum(float(line[8:-1]) for line in side.splitlines() if line.startswith("#EXTINF:"))
        shown = decode(without_torn_tail(b"".join([await get(name) for name in names])))
        assert [one for one in shown.complaints if "Continuity" not in one] == []
        assert abs(len(shown.pictures) * picture / TICKS - seconds) < 0.2
        assert min(steps(sorted(shown.pictures))) > 0
    assert [client.client_id for client in stream.clients()] == ["me"]
