"""HLS of the provider, played by a real demuxer and decoder."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import av
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from m3uproxy.provider import Provider

pytestmark = pytest.mark.media


@pytest.fixture
def provider():
    made = Provider(reactor)
    pytest_twisted.blockon(made.listen())
    yield made
    pytest_twisted.blockon(made.stop())
    assert made.station.sockets.current == 0


def play(url, pictures):
    """Return stream types, times of pictures and of audio frames, from the last video and the first audio stream."""
    shown, sounds = [], []
    with av.open(url, timeout=20) as container:
        kinds = [stream.type for stream in container.streams]
        chosen = [container.streams.video[-1], container.streams.audio[0]]
        for packet in container.demux(chosen):
            for frame in packet.decode():
                (shown if packet.stream.type == "video" else sounds).append(frame.pts * frame.time_base)
            if len(shown) >= pictures:
                break
    return kinds, shown, sounds


@pytest.mark.parametrize(
    "query",
    [
        "vod=3",
        "vod=3&fmp4=1",
        "vod=3&fmp4=1&keys=1&uris=absolute",
        "vod=3&renditions=1&uris=path",
        "vod=4&keys=2&sign=1&style=crlf,vlcopt,comments",
        "vod=6&target=1&ranges=2&keys=1&uris=other",
        "vod=3&only=segment&redirect=other&framing=chunked",
        "target=1&window=4",
    ],
)
@pytest_twisted.ensureDeferred
async def test_plays_without_a_gap(provider, query):
    kinds, shown, sounds = await deferToThread(play, provider.url(f"/hls/a/master.m3u8?{query}"), 120)
    assert len(shown) >= 120
    assert {later - sooner for sooner, later in pairwise(shown)} == {Fraction(1, 25)}
    assert {round(float(later - sooner), 4) for sooner, later in pairwise(sounds)} == {0.0213}
    assert ("subtitle" in kinds) == ("renditions" in query)
    assert provider.station.channel("a").tally.requests == len(provider.station.requests)
