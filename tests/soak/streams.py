"""The streams of the soak test: what providers do on bad days, for live streams, HLS, radio and films."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

_LIVE_FAULTS = (
    "",
    "close=7s&replay=3",
    "close=5s&torn=100&remux=1&replay=3",
    "close=9s&restamp=1000&replay=2",
    "stall=6s&stall_for=5",
    "stall=4s",
    "reset=3s",
    "trickle=0.5",
    "garbage=5s",
    "cut=2M",
    "no_video=4s",
    "frozen=4s",
    "scrambled=4s",
    "damaged=3s",
    "redirect=chain",
    "redirect=loop",
    "head=icy",
    "head=no_colon,space_colon",
    "head=endless",
    "framing=chunked_cut&close=400k",
    "gzip=1",
    "status=458&times=2",
    "html=1",
    "delay=2&limit=1",
    "hang=head",
    "refuse=1",
)
_HLS_QUERIES = (
    "target=1&window=3",
    "target=1&window=3&keys=2",
    "target=1&window=3&renditions=1",
    "target=1&window=4&fmp4=1",
    "target=1&window=3&sign=1",
    "target=1&window=3&parts=1",
    "target=1&window=3&only=segment&status=404&times=6",
    "target=1&window=3&only=playlist&status=503&times=6",
    "target=1&window=3&only=segment&stall=50k",
)
_FILMS = ("size=8M", "size=8M&reset=3M&times=1", "size=8M&ranges=0", "size=8M&stall=1M&times=2")


@attrs.frozen
class SoakStream:
    """A stream to register: its kind (``live``, ``hls`` or ``film``) and the body of the request."""

    kind: str
    url: str
    backups: tuple[str, ...] = ()


def soak_streams(provider: str) -> Iterator[SoakStream]:
    """Yield the streams; ``provider`` is the base URL of the test provider."""
    for number, fault in enumerate(_LIVE_FAULTS):
        url = f"{provider}/live/l{number}.ts?{fault}"
        yield SoakStream("live", url, (f"{provider}/live/l{number}b.ts",) if number % 2 else ())
    yield SoakStream("live", f"{provider}/live/radio.mp3?close=6s&replay=2")
    yield SoakStream("live", f"{provider}/live/video.flv?close=8s", (f"{provider}/live/backup.flv",))
    for number, query in enumerate(_HLS_QUERIES):
        url = f"{provider}/hls/h{number}/master.m3u8?{query}"
        yield SoakStream("hls", url, (f"{provider}/hls/b{number}/master.m3u8?target=1&window=3",))
    for number, query in enumerate(_FILMS):
        yield SoakStream("film", f"{provider}/movie/u/p/f{number}.mkv?{query}")
