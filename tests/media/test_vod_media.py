"""Video files through the proxy with a real demuxer. The index is at the end, so the demuxer seeks before it plays."""

from __future__ import annotations

import random
from pathlib import Path

import av
import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

pytestmark = pytest.mark.media

FRAMES, SIZE = 100, (320, 240)


@pytest.fixture(scope="module", params=["mkv", "mp4"])
def video_file(request, tmp_path_factory) -> tuple[str, bytes]:
    """Return some megabytes of noise, which no encoder can compress."""
    path = tmp_path_factory.mktemp("films") / f"film.{request.param}"
    dice = random.Random(1)
    with av.open(str(path), "w") as output:
        video = output.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        video.bit_rate, video.options = 50_000_000, {"qmax": "2", "g": "10"}
        for number in range(FRAMES):
            frame = av.VideoFrame(*SIZE, "yuv420p")
            for plane in frame.planes:
                plane.update(dice.randbytes(plane.buffer_size))
            frame.pts = number
            output.mux(video.encode(frame))
        output.mux(video.encode())
    return request.param, Path(path).read_bytes()


def watch(url: str) -> tuple[int, list[int]]:
    """Play everything, then seek. Return the number of pictures, and the picture number after each seek."""
    with av.open(url, timeout=20) as container:
        video = container.streams.video[0]
        step = 1 / video.time_base / 25
        pictures = sum(1 for _ in container.decode(video))
        positions = []
        for target in (80, 20, 50, 0):
            container.seek(int(target * step), stream=video)
            positions.append(round(next(container.decode(video)).pts / step))
        return pictures, positions


@pytest.mark.parametrize("fault", ["", "reset=1M", "rate=8M"])
@pytest_twisted.ensureDeferred
async def test_demuxer_uses_one_connection_at_a_time(rig, video_file, fault):
    kind, data = video_file
    assert data.find(b"moov" if kind == "mp4" else b"\x1c\x53\xbb\x6b", 5000) > len(data) - 20_000, "index at the end"
    rig.provider.station.files["film"] = data
    stream = rig.register(f"/movie/u/p/film.{kind}?{fault}")
    pictures, positions = await deferToThread(watch, f"http://127.0.0.1:{rig.port}/stream/{stream.id}")
    assert pictures == FRAMES
    assert positions == [80, 20, 50, 0]
    assert rig.provider.channel("film").tally.requests > 2
    assert rig.provider.station.sockets.peak == 1
