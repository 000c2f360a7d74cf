"""Real streams: the access points are the key frames that a demuxer reports."""

from __future__ import annotations

import io
import random
from typing import Any

import av
import pytest

from m3uproxy.core.mpegts.access_index import AccessIndex, AccessPoint
from m3uproxy.core.mpegts.align import Aligner
from m3uproxy.core.mpegts.random_access import AccessKind

SIZE = 188
NAMES = ["h264", "h264 open", "hevc", "mpeg2", "audio"]


def scan_in_chunks(data: bytes, seed: int) -> list[AccessPoint]:
    """Feed aligner and index in chunks of odd sizes; return the access points with offsets in the stream."""
    sizes = random.Random(seed)
    aligner, index = Aligner(), AccessIndex()
    points: list[AccessPoint] = []
    at = done = 0
    while at < len(data):
        end = at + sizes.randrange(1, 9000)
        packets = aligner.feed(data[at:end])
        points += [AccessPoint(done + p.offset, p.psi, p.kind) for p in index.scan(packets)]
        done += len(packets)
        at = end
    assert done == len(data)
    return points


def without_flags(data: bytes) -> bytes:
    """Return the stream without random access indicators, as some multiplexers write it."""
    out = bytearray(data)
    for at in range(0, len(out), SIZE):
        if out[at + 3] & 0x20 and out[at + 4]:
            out[at + 5] &= ~0x40
    return bytes(out)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("flags", [True, False])
def test_access_points_are_the_key_frames(clips: dict[str, Any], name: str, flags: bool) -> None:
    clip = clips[name]
    data = clip.data if flags else without_flags(clip.data)
    found = scan_in_chunks(data, seed=len(name))
    assert tuple(point.offset for point in found) == clip.keyframes
    assert len(found) >= 4


def test_kinds_of_first_pictures(clips: dict[str, Any]) -> None:
    """The first picture is skipped: the encoder's signature may push it out of its packet (unknown kind)."""
    kinds = {name: [p.kind for p in scan_in_chunks(clips[name].data, 1)][1:] for name in NAMES}
    assert set(kinds["h264"]) == {AccessKind.IDR}
    assert set(kinds["h264 open"]) == {AccessKind.OTHER}
    assert AccessKind.OTHER not in kinds["hevc"]
    assert set(kinds["mpeg2"]) == {AccessKind.OTHER}


@pytest.mark.parametrize("name", NAMES)
def test_player_can_start_at_each_access_point(clips: dict[str, Any], name: str) -> None:
    clip = clips[name]
    for point in scan_in_chunks(clip.data, seed=3):
        joined = point.psi + clip.data[point.offset :]
        assert len(point.psi) == 2 * SIZE
        with av.open(io.BytesIO(joined), format="mpegts") as source:
            stream = (source.streams.video or source.streams.audio)[0]
            packets = list(source.demux(stream))
            frames = [frame for packet in packets for frame in packet.decode()]
        assert packets[0].is_keyframe
        assert packets[0].pos == len(point.psi)
        assert name == "audio" or frames[0].key_frame
