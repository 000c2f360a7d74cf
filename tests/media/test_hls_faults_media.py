"""ffmpeg as player of a provider with single faulty segments."""

from __future__ import annotations

import av
import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

pytestmark = pytest.mark.media

RATE = 24


def watch(url: str, max_pictures: float = 1e9) -> list[float]:
    """Return the times in seconds of the decoded pictures. ffmpeg requests segments again and skips missing ones."""
    times: list[float] = []
    with av.open(url, format="hls", timeout=20) as container:
        for packet in container.demux(video=0):
            times += [float(frame.pts * frame.time_base) for frame in packet.decode()]
            if len(times) >= max_pictures:
                break
    return times


@pytest.mark.parametrize("fault", ["status=404", "html=1", "close=20000", "stall=20000"])
@pytest_twisted.ensureDeferred
async def test_playback_continues_after_a_missing_segment(rig, fault):
    await rig.start(live_chunk_timeout_seconds=0.7)
    stream = rig.register("/hls/one/high/index.m3u8?vod=5&target=1")
    rig.provider.control("one", f"only=seg1002.ts&{fault}")
    url = f"http://127.0.0.1:{rig.port}/hls/{stream.id}/playlist.m3u8?client_id=me"
    times = await deferToThread(watch, url)
    assert 3 * RATE <= len(times) <= 5 * RATE
    assert times[-1] - times[0] > 4


@pytest.mark.parametrize("fault", ["only=playlist&html=1", "only=segment&stall=20000", "stale=1"])
@pytest_twisted.ensureDeferred
async def test_playback_continues_after_a_live_source_fails(rig, fault):
    await rig.start(live_chunk_timeout_seconds=0.7)
    stream = rig.register("/hls/one/high/index.m3u8?target=1", "/hls/two/high/index.m3u8?target=1")
    url = f"http://127.0.0.1:{rig.port}/hls/{stream.id}/playlist.m3u8?client_id=me"
    watching = deferToThread(watch, url, 10 * RATE)
    await rig.until(lambda: stream.segments_served >= 3, what="playback starts")
    rig.provider.control("one", fault)
    times = await watching
    assert len(times) >= 10 * RATE
    assert stream.source_index == 1
