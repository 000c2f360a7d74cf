"""``/stream/<id>`` of an HLS source: joined segments in a real demuxer and real decoders."""

from __future__ import annotations

import pytest
import pytest_twisted
from clip_provider import BACKUP_ORIGIN, assert_clock_continues, steps, without_torn_tail
from decoding import decode
from loopback_rig import assert_whole_packets
from test_live_media import PICTURE
from test_source_changes import SOUND
from twisted.web.resource import Resource
from twisted.web.server import Site

from m3uproxy.core.splice.plan import SpliceKind
from m3uproxy.provider.site import Provider

pytestmark = pytest.mark.media

SECONDS = 4
HLS = "/hls/{}/high/index.m3u8?target=1"


async def start_player(rig, stream):
    """Return a player that has received the first bytes of the body."""
    player = await rig.play(stream)
    await rig.until(lambda: len(player.body) > 0 or player.closed, 15)
    assert player.status == 200, player.raw[:500]
    return player


#: Step between pictures, in ticks, at a splice without overlap. The last picture of a source has no known end. It is
#: sent only if the next source repeats it (overlap). In a segment of the clip its presentation precedes the last but
#: one.
MISSING_PICTURE = 2 * PICTURE
#: Upper bound of this step for a body that ends inside a group of pictures.
INTERRUPTED = 3 * PICTURE

#: Largest lag of audio behind video in a segment of the clip, in ticks (165 ms). The multiplexer sends audio that much
#: later. If the next segment is missing, this audio is missing too.
AUDIO_LAG = 14_880


def irregular_steps(body: bytes, seconds: float, silence: int = 0) -> list[int]:
    """
    Check that no decoder complains, and that audio and pictures are evenly spaced.

    :param silence: ticks without audio that a splice may have.
    :return: irregular steps from one picture to the next, in ticks.
    """
    assert_whole_packets(body)
    assert_clock_continues(body)
    seen = decode(without_torn_tail(body))
    assert seen.complaints == []
    # With B pictures the end of a recording has gaps in presentation order.
    shown = sorted(seen.pictures)[:-4]
    assert len(shown) >= seconds * 25
    assert min(steps(shown)) == PICTURE
    assert min(steps(seen.sounds)) > 0
    assert max(steps(seen.sounds)) < 2 * SOUND + 90 + silence
    return [step for step in steps(shown) if step != PICTURE]


@pytest.mark.parametrize(
    "path",
    [
        "/hls/one/high/index.m3u8?target=1",
        "/hls/one/master.m3u8?target=1",
        "/hls/one/high/index.m3u8?target=1&keys=2",
        "/hls/one/high/index.m3u8?target=1&ranges=2",
        "/hls/one/high/index.m3u8?target=1&sign=1&uris=other",
        "/hls/one/high/index.m3u8?target=1&framing=chunked",
    ],
    ids=["plain", "variants", "keys", "ranges", "signed", "chunked"],
)
@pytest_twisted.ensureDeferred
async def test_joined_stream_decodes_without_messages(rig, path):
    player = await start_player(rig, rig.register(path))
    await rig.sleep(SECONDS)
    assert b"Content-Type: video/mp2t" in player.head
    assert irregular_steps(player.body, SECONDS - 1) == []


@pytest.mark.parametrize("fault", ["stale=1", "status=500&only=segment", "status=404&only=playlist"])
@pytest_twisted.ensureDeferred
async def test_hls_backup_takes_over(rig, splices, fault):
    """The backup repeats the last media sent. The repeated part is dropped, nothing is missing."""
    stream = rig.register(HLS.format("one"), HLS.format("two") + "&keys=1")
    player = await start_player(rig, stream)
    await rig.sleep(1.5)
    rig.provider.control("one", fault)
    await rig.until(lambda: stream.source_index == 1, 20)
    await rig.until_bytes(player, len(player.body) + 200_000, 20)
    assert not player.closed
    assert [report.kind for report in splices[1:]] == [SpliceKind.OVERLAP]
    assert irregular_steps(player.body, SECONDS) == []
    assert stream.history.failover_attempts == 1


@pytest.mark.parametrize(
    ("sources", "fault", "limit"),
    [
        ((HLS.format("one"), "/live/two.ts?burst=3"), "status=500", MISSING_PICTURE),
        (("/live/one.ts?burst=3", HLS.format("two")), "close=0&status=404", INTERRUPTED),
    ],
    ids=["segments first", "segments last"],
)
@pytest_twisted.ensureDeferred
async def test_backup_of_the_other_kind_takes_over(rig, sources, fault, limit):
    stream = rig.register(*sources)
    player = await start_player(rig, stream)
    await rig.sleep(1.5)
    rig.provider.control("one", fault)
    await rig.until(lambda: stream.source_index == 1, 20)
    await rig.until_bytes(player, len(player.body) + 200_000, 20)
    assert not player.closed
    found = irregular_steps(player.body, SECONDS, AUDIO_LAG)
    assert len(found) <= 1
    assert max(found, default=0) <= limit


@pytest.mark.parametrize("fault", ["stall=30k&only=segment", "close=30k&only=segment", "html=video&only=segment"])
@pytest_twisted.ensureDeferred
async def test_failover_inside_a_segment(rig, fault):
    stream = rig.register(HLS.format("one"), HLS.format("two"))
    player = await start_player(rig, stream)
    rig.provider.control("one", fault)
    await rig.until(lambda: stream.source_index == 1, 20)
    await rig.until_bytes(player, len(player.body) + 200_000, 20)
    assert not player.closed
    assert max(irregular_steps(player.body, SECONDS, AUDIO_LAG), default=0) <= INTERRUPTED


@pytest_twisted.ensureDeferred
async def test_missing_segment_causes_no_failover(rig):
    stream = rig.register(HLS.format("one") + "&window=5")
    player = await start_player(rig, stream)
    rig.provider.control("one", "status=404&only=segment&times=1")
    await rig.sleep(5)
    assert stream.history.error_count == 0
    assert irregular_steps(player.body, 3.2, AUDIO_LAG) == [MISSING_PICTURE]


class DiscontinuityPlaylist(Resource):
    """A live playlist of four 1-second segments over parts of several providers' broadcasts."""

    isLeaf = True

    def __init__(self, clock, parts: list[list[str]]) -> None:
        super().__init__()
        self._clock = clock
        self._began = clock.seconds()
        self._lines = [
            f"{'#EXT-X-DISCONTINUITY' + chr(10) if part and not place else ''}#EXTINF:1,\n{uri}"
            for part, uris in enumerate(parts)
            for place, uri in enumerate(uris)
        ]

    def render_GET(self, request):
        first = min(int(self._clock.seconds() - self._began), len(self._lines) - 4)
        gone = sum("DISCONTINUITY" in line for line in self._lines[:first])
        head = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:{first}\n"
        head += f"#EXT-X-DISCONTINUITY-SEQUENCE:{gone}\n"
        return (head + "\n".join(self._lines[first : first + 4]) + "\n").encode()


@pytest_twisted.async_yield_fixture
async def discontinuity_url(rig):
    """Yield the URL of a playlist with discontinuities: parts of two providers with separate clocks and counters."""
    other = Provider(rig.reactor, origin=BACKUP_ORIGIN)
    await other.listen()
    # Each part starts with more audio before its first picture than is missing at the end of the previous part.
    names = [[985, 986, 987, 988], [994, 995, 996], [986, 987, 988, 989, 990, 991, 992, 993]]
    parts = [
        [provider.url(f"/hls/x/high/seg{name}.ts?target=1&window=20") for name in part]
        for provider, part in zip([rig.provider, other, rig.provider], names, strict=True)
    ]
    port = rig.reactor.listenTCP(0, Site(DiscontinuityPlaylist(rig.reactor, parts)), interface="127.0.0.1")
    yield f"http://127.0.0.1:{port.getHost().port}/index.m3u8"
    for player in rig.players:
        await player.leave()
    await port.stopListening()
    await other.stop()


@pytest_twisted.ensureDeferred
async def test_discontinuities_are_spliced(rig, splices, discontinuity_url):
    stream = rig.register(discontinuity_url)
    player = await start_player(rig, stream)
    await rig.until(lambda: len(splices) >= 3, 20)
    await rig.until_bytes(player, len(player.body) + 150_000, 20)
    assert [report.kind for report in splices[1:]] == [SpliceKind.SHIFTED] * 2
    assert stream.history.error_count == 0
    assert irregular_steps(player.body, 6) == [MISSING_PICTURE] * 2
