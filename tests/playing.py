"""A player of HLS: libavformat, which asks for playlists and segments by itself, and real decoders behind it."""

from __future__ import annotations

import itertools
import time

import av
import av.logging

TICKS = 90_000


def watch(address: str, seconds: float, tell=lambda shown: None):
    """Play that much, by time stamps, jumps left out: of several variants and renditions the first.

    :param tell: called with how many seconds were shown so far.
    :return: times of pictures and of sounds in order of decoding, and what the libraries complained of.
    """
    before = av.logging.get_level()
    av.logging.set_level(av.logging.WARNING)
    try:
        with av.logging.Capture(local=False) as messages:
            times = _play(address, seconds, tell)
    finally:
        av.logging.set_level(before)
    return times["video"], times["audio"], [text for _, _, text in messages]


def _play(address: str, seconds: float, tell) -> dict[str, list[int]]:
    times: dict[str, list[int]] = {"video": [], "audio": []}
    deadline = time.monotonic() + 60
    with av.open(address, format="hls", timeout=20) as container:
        first = [*container.streams.video[:1], *container.streams.audio[:1]]
        for stream in first:
            stream.codec_context.options = {"err_detect": "explode"}
            stream.codec_context.thread_count = 1
        for packet in container.demux(first):
            for frame in packet.decode():
                times[packet.stream.type].append(frame.pts)
            shown = sum(step for step in steps(times["video"]) if 0 < step < TICKS) / TICKS
            tell(shown)
            if shown >= seconds:
                break
            assert time.monotonic() < deadline, times
    return times


def kinds(address: str) -> list[str]:
    """What kinds of streams there are."""
    with av.open(address, format="hls", timeout=20) as container:
        return [stream.type for stream in container.streams]


def steps(values: list[int]) -> list[int]:
    """From each to the next."""
    return [later - sooner for sooner, later in itertools.pairwise(values)]


def address(rig, stream) -> str:
    """Of its playlist."""
    return f"http://127.0.0.1:{rig.port}/hls/{stream.id}/playlist.m3u8?client_id=me"
