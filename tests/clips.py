"""Clips from real encoders that a provider can loop: codecs and picture sizes that the demo's clip does not have.

All last :data:`SECONDS`: a whole number of pictures (40 ms; 20 ms), of groups of 24 of them, and of frames of AAC (64/3
ms), AC-3 (32 ms) and MPEG-1 layer II (24 ms). Each clip therefore joins onto itself.
"""

from __future__ import annotations

import io
import math
import random
from fractions import Fraction
from functools import cache
from typing import Any

import attrs
import av

from m3uproxy.provider.clip import Clip, parse_clip

SECONDS = Fraction(24, 5)
TICKS = 90_000
SAMPLE_RATE = 48_000
#: Samples in a frame of each audio codec.
SAMPLES = {"aac": 1024, "ac3": 1536, "mp2": 1152}
#: PIDs and service of another provider's multiplexer.
AWAY = {"mpegts_start_pid": "0x300", "mpegts_pmt_start_pid": "0x500", "mpegts_service_id": "7"}

_X264 = "keyint={gop}:min-keyint={gop}:scenecut=0:bframes=2:b-adapt=0:threads=1:log-level=none"
# With open groups libavcodec 62 drops a new picture as repeated if an old one has its number by chance.
_X265 = "keyint={gop}:min-keyint={gop}:open-gop=0:scenecut=0:bframes=2:b-adapt=0:pools=none:frame-threads=1"
_CODERS = {
    "h264": ("libx264", {"preset": "veryfast", "x264-params": _X264 + ":open-gop=0"}),
    "h264 open": ("libx264", {"preset": "veryfast", "x264-params": _X264 + ":open-gop=1"}),
    "h264 baseline": ("libx264", {"preset": "veryfast", "profile": "baseline", "x264-params": _X264}),
    "hevc": ("libx265", {"preset": "ultrafast", "x265-params": _X265 + ":log-level=none"}),
    "mpeg2": ("mpeg2video", {"g": "{gop}", "bf": "2", "sc_threshold": "1000000000"}),
}


@attrs.frozen
class Recipe:
    """The codecs of a clip and its multiplex.

    :ivar video: key of the table of coders; empty for no video.
    :ivar seed: selects other pictures and another tone.
    :ivar mux: options of the multiplexer.
    """

    video: str
    audio: str
    seed: int = 1
    width: int = 160
    height: int = 96
    rate: int = 25
    bit_rate: int = 250_000
    mux: tuple[tuple[str, str], ...] = ()

    @property
    def picture(self) -> int:
        """Ticks from one picture to the next."""
        return TICKS // self.rate

    @property
    def sound(self) -> int:
        """Ticks of an audio frame."""
        return SAMPLES[self.audio] * TICKS // SAMPLE_RATE

    def backup(self, **changes: Any) -> Recipe:
        """Return another provider's encode: other pictures, other PIDs."""
        return attrs.evolve(self, **{"seed": self.seed + 1, "mux": tuple(AWAY.items()), **changes})


H264 = Recipe("h264", "aac")
HEVC = Recipe("hevc", "ac3")
MPEG2 = Recipe("mpeg2", "mp2")
SOUND = Recipe("", "aac")


@cache
def clip_of(recipe: Recipe) -> Clip:
    """Return the clip of a recipe; encoded once in a test run."""
    return parse_clip(encode(recipe), int(SECONDS * TICKS))


def encode(recipe: Recipe) -> bytes:
    """Return a transport stream."""
    target = io.BytesIO()
    options = {"pcr_period": "40", "pat_period": "0.3", "max_delay": "700000", **dict(recipe.mux)}
    with av.open(target, "w", format="mpegts", options=options) as out:
        made: list[Any] = []
        if recipe.video:
            made += _pictures(out, recipe)
        made += _sounds(out, recipe)
        for packet in sorted(made, key=lambda each: each.dts * each.time_base):
            out.mux(packet)
    return target.getvalue()


def _pictures(out: Any, recipe: Recipe) -> list[Any]:
    coder, options = _CODERS[recipe.video]
    filled = {name: text.format(gop=recipe.rate * 24 // 25) for name, text in options.items()}
    stream = out.add_stream(coder, rate=recipe.rate, options=filled)
    stream.width, stream.height, stream.pix_fmt = recipe.width, recipe.height, "yuv420p"
    stream.time_base, stream.bit_rate = Fraction(1, recipe.rate), recipe.bit_rate
    noise = random.Random(recipe.seed).randbytes(recipe.width * 2)
    packets: list[Any] = []
    for number in range(int(SECONDS * recipe.rate)):
        frame = av.VideoFrame(recipe.width, recipe.height, "yuv420p")
        for plane in frame.planes:
            rows = (noise[(n + number * 3) % recipe.width :][: plane.line_size] for n in range(plane.height))
            plane.update(b"".join(row.ljust(plane.line_size, b"\x70") for row in rows))
        frame.pts, frame.time_base = number, Fraction(1, recipe.rate)
        packets += stream.encode(frame)
    return [*packets, *stream.encode(None)]


def _sounds(out: Any, recipe: Recipe) -> list[Any]:
    """Return the audio frames without the encoder's first one, which holds samples from before the start."""
    samples = SAMPLES[recipe.audio]
    stream = out.add_stream(recipe.audio, rate=SAMPLE_RATE, layout="mono")
    stream.bit_rate = 96_000
    wanted = int(SECONDS * SAMPLE_RATE) // samples
    step = 0.05 + recipe.seed * 0.004
    packets: list[Any] = []
    for number in range(wanted + 3):
        frame = av.AudioFrame(format="s16", layout="mono", samples=samples)
        frame.sample_rate, frame.pts = SAMPLE_RATE, number * samples
        tone = (int(9000 * math.sin((number * samples + n) * step)) for n in range(samples))
        frame.planes[0].update(b"".join(sample.to_bytes(2, "little", signed=True) for sample in tone))
        packets += stream.encode(frame)
    kept = [*packets, *stream.encode(None)][1 : wanted + 1]
    for number, packet in enumerate(kept):
        packet.pts = packet.dts = number * samples
    return kept
