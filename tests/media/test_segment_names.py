"""ffmpeg plays segments of each format through the proxy, whatever the provider calls them.

libavformat 61.9.100 and later compares the end of a segment's path with the format that it finds in the segment.
"""

from __future__ import annotations

import io
import random

import av
import pytest
import pytest_twisted
from playing import address
from twisted.internet.threads import deferToThread
from twisted.web.resource import Resource
from twisted.web.server import Site

pytestmark = pytest.mark.media

SECONDS = 2
CUES = "WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:0,LOCAL:00:00:00.000\n\n00:00:00.000 --> 00:00:01.000\nHello\n\n"


def encode(container: str, codec: str, **options: str) -> bytes:
    """Return two seconds of noise."""
    file = io.BytesIO()
    with av.open(file, "w", format=container, options=options) as out:
        if codec == "libx264":
            stream = out.add_stream(codec, rate=25, options={"x264-params": "keyint=25:log-level=none"})
            stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
            frames = [av.VideoFrame(160, 96, "yuv420p") for _ in range(25 * SECONDS)]
        else:
            stream = out.add_stream(codec, rate=48000, layout="stereo")
            size = stream.codec_context.frame_size or 1152
            frames = [av.AudioFrame("fltp", "stereo", size) for _ in range(48000 * SECONDS // size)]
        for number, frame in enumerate(frames):
            noise = random.Random(number)
            for plane in frame.planes:
                plane.update(bytes(plane.buffer_size) if codec != "libx264" else noise.randbytes(plane.buffer_size))
            if codec == "libx264":
                frame.pts = number
            else:
                frame.sample_rate, frame.pts = 48000, number * frame.samples
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return file.getvalue()


class Files(Resource):
    """A server of files, all under one wrong type."""

    isLeaf = True

    def __init__(self, files: dict[bytes, bytes]) -> None:
        super().__init__()
        self.files = files

    def render_GET(self, request) -> bytes:
        request.setHeader(b"Content-Type", b"binary/octet-stream")
        return self.files[request.uri.rpartition(b"/")[2]]


def open_playlist(url: str) -> tuple[str, int]:
    """Return the codec of the first stream, and how many packets it has."""
    with av.open(url, format="hls", timeout=20) as played:
        stream = played.streams[0]
        count = sum(packet.size > 0 for packet in played.demux(stream))
        return stream.codec_context.name if stream.codec_context else stream.type, count


async def played(rig, name: str, body: bytes, section: tuple[str, bytes] | None = None) -> tuple[str, int]:
    """Play a stream of two segments of that name."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", f"#EXT-X-TARGETDURATION:{SECONDS}"]
    files = {name.encode(): body}
    if section is not None:
        lines.append(f'#EXT-X-MAP:URI="{section[0]}"')
        files[section[0].encode()] = section[1]
    lines += [f"#EXTINF:{SECONDS},", name, "#EXT-X-ENDLIST", ""]
    files[b"index.m3u8"] = "\n".join(lines).encode()
    port = rig.reactor.listenTCP(0, Site(Files(files)), interface="127.0.0.1")
    try:
        stream = rig.register(f"http://127.0.0.1:{port.getHost().port}/index.m3u8")
        return await deferToThread(open_playlist, address(rig, stream))
    finally:
        await port.stopListening()


@pytest.mark.parametrize(
    "name", ["s.ts", "s", "s.jpg", "s.php?id=1", "s.TS", "s.m2ts", "s.mpegts", "s.m4s", "s.ts;v=1"]
)
@pytest_twisted.ensureDeferred
async def test_transport_stream(rig, name):
    codec, count = await played(rig, name, encode("mpegts", "libx264"))
    assert (codec, count) == ("h264", 25 * SECONDS)


@pytest.mark.parametrize("section", ["init.mp4", "init", "init.ts"])
@pytest.mark.parametrize(
    "name", ["s.m4s", "s", "s.jpg", "s.mp4", "s.cmfv", "s.ts", "s.m4v", "s.dash", "s.aac", "s.fmp4"]
)
@pytest_twisted.ensureDeferred
async def test_mp4_with_an_initialization_section(rig, name, section):
    data = encode("mp4", "libx264", movflags="frag_keyframe+empty_moov+default_base_moof")
    start = data.index(b"moof") - 4
    codec, count = await played(rig, name, data[start:], (section, data[:start]))
    assert (codec, count) == ("h264", 25 * SECONDS)


@pytest.mark.parametrize(
    ("name", "container", "codec", "found"),
    [
        ("s.aac", "adts", "aac", "aac"),
        ("s.adts", "adts", "aac", "aac"),
        ("s.ts", "adts", "aac", "aac"),
        ("s", "adts", "aac", "aac"),
        ("s.mp3", "mp3", "libmp3lame", "mp3"),
        ("s.mp2", "mp2", "mp2", "mp2"),
        ("s.mpa", "mp2", "mp2", "mp2"),
        ("s.ac3", "ac3", "ac3", "ac3"),
        ("s.eac3", "eac3", "eac3", "eac3"),
        ("s.ec3", "eac3", "eac3", "eac3"),
        ("s.m4a", "mp4", "aac", "aac"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_sound(rig, name, container, codec, found):
    options = {"movflags": "frag_keyframe+empty_moov+default_base_moof"} if container == "mp4" else {}
    data = encode(container, codec, **options)
    section = None
    if container == "mp4":
        start = data.index(b"moof") - 4
        section, data = ("init.mp4", data[:start]), data[start:]
    codec, count = await played(rig, name, data, section)
    assert codec.removesuffix("float") == found
    assert count > 30


@pytest.mark.parametrize("name", ["s.vtt", "s.webvtt", "s.VTT?n=1"])
@pytest_twisted.ensureDeferred
async def test_subtitles(rig, name):
    codec, count = await played(rig, name, CUES.encode())
    assert (codec, count) == ("webvtt", 1)
