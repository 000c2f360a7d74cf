"""``/stream/<id>`` of an HLS source: what a real demuxer and real decoders make of the joined segments."""

from __future__ import annotations

import pytest
import pytest_twisted
from clip_provider import FAR, assert_clock_runs_on, steps, without_torn_tail
from decoding import decode
from loopback_rig import assert_whole_packets
from test_decodes import PICTURE
from test_seams import SOUND
from twisted.web.resource import Resource
from twisted.web.server import Site

from m3uproxy.core.splice.plan import SpliceKind
from m3uproxy.provider.site import Provider

pytestmark = pytest.mark.media

SECONDS = 4
HLS = "/hls/{}/high/index.m3u8?target=1"


async def begin(rig, stream):
    """A player that has the first of the body."""
    player = await rig.play(stream)
    await rig.until(lambda: len(player.body) > 0 or player.closed, 15)
    assert player.status == 200, player.raw[:500]
    return player


#: The step over a seam. A picture ends where the next one begins, so the last one of a source is not known to
#: be complete, and is sent only if the next source repeats it (an overlap). In a segment of the clip it is shown before
#: the last but one, and missed there.
SEAM = 2 * PICTURE
#: The same where a body is torn in a group of pictures, at most.
TORN = 3 * PICTURE

#: Ticks by which sound ends before the pictures do in a segment of the clip, at most (165 ms): the multiplexer sends it
#: that much later. If another segment than the next one follows, it is not there.
LATER = 14_880


def holes(body: bytes, seconds: float, mute: int = 0) -> list[int]:
    """
    No decoder complains, and sound and pictures come evenly.

    :param mute: ticks without sound that a seam may have.
    :return: steps from one picture to the next that are longer than the others.
    """
    assert_whole_packets(body)
    assert_clock_runs_on(body)
    seen = decode(without_torn_tail(body))
    assert seen.complaints == []
    # With B pictures the end of a recording, in order of presentation, has holes.
    shown = sorted(seen.pictures)[:-4]
    assert len(shown) >= seconds * 25
    assert min(steps(shown)) == PICTURE
    assert min(steps(seen.sounds)) > 0
    assert max(steps(seen.sounds)) < 2 * SOUND + 90 + mute
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
async def test_it_decodes_without_a_message(rig, path):
    player = await begin(rig, rig.register(path))
    await rig.sleep(SECONDS)
    assert b"Content-Type: video/mp2t" in player.head
    assert holes(player.body, SECONDS - 1) == []


@pytest.mark.parametrize("fault", ["stale=1", "status=500&only=segment", "status=404&only=playlist"])
@pytest_twisted.ensureDeferred
async def test_a_backup_that_is_hls_takes_over(rig, joins, fault):
    """It repeats the last of what was sent, which is left out; nothing is missing."""
    stream = rig.register(HLS.format("one"), HLS.format("two") + "&keys=1")
    player = await begin(rig, stream)
    await rig.sleep(1.5)
    rig.provider.control("one", fault)
    await rig.until(lambda: stream.source_index == 1, 20)
    await rig.until_bytes(player, len(player.body) + 200_000, 20)
    assert not player.closed
    assert [report.kind for report in joins[1:]] == [SpliceKind.OVERLAP]
    assert holes(player.body, SECONDS) == []
    assert stream.failover_attempts == 1


@pytest.mark.parametrize(
    ("sources", "fault", "seam"),
    [
        ((HLS.format("one"), "/live/two.ts?burst=3"), "status=500", SEAM),
        (("/live/one.ts?burst=3", HLS.format("two")), "close=0&status=404", TORN),
    ],
    ids=["segments first", "segments last"],
)
@pytest_twisted.ensureDeferred
async def test_a_backup_of_the_other_kind_takes_over(rig, sources, fault, seam):
    stream = rig.register(*sources)
    player = await begin(rig, stream)
    await rig.sleep(1.5)
    rig.provider.control("one", fault)
    await rig.until(lambda: stream.source_index == 1, 20)
    await rig.until_bytes(player, len(player.body) + 200_000, 20)
    assert not player.closed
    found = holes(player.body, SECONDS, LATER)
    assert len(found) <= 1
    assert max(found, default=0) <= seam


@pytest.mark.parametrize("fault", ["stall=30k&only=segment", "close=30k&only=segment", "html=video&only=segment"])
@pytest_twisted.ensureDeferred
async def test_what_is_torn_in_a_segment_is_joined_to(rig, fault):
    stream = rig.register(HLS.format("one"), HLS.format("two"))
    player = await begin(rig, stream)
    rig.provider.control("one", fault)
    await rig.until(lambda: stream.source_index == 1, 20)
    await rig.until_bytes(player, len(player.body) + 200_000, 20)
    assert not player.closed
    assert max(holes(player.body, SECONDS, LATER), default=0) <= TORN


@pytest_twisted.ensureDeferred
async def test_one_missing_segment_is_a_seam_and_no_failover(rig):
    stream = rig.register(HLS.format("one") + "&window=5")
    player = await begin(rig, stream)
    rig.provider.control("one", "status=404&only=segment&times=1")
    await rig.sleep(5)
    assert stream.error_count == 0
    assert holes(player.body, 3.2, LATER) == [SEAM]


class Breaks(Resource):
    """A window of four segments of a second over parts of several providers' broadcasts."""

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
async def breaks(rig):
    """The URL of a playlist with discontinuities: parts of two providers, each with clocks and counters of its own."""
    other = Provider(rig.reactor, origin=FAR)
    await other.listen()
    # Each part begins with more sound from before its first picture than is missing at the end of the part before.
    names = [[985, 986, 987, 988], [994, 995, 996], [986, 987, 988, 989, 990, 991, 992, 993]]
    parts = [
        [provider.url(f"/hls/x/high/seg{name}.ts?target=1&window=20") for name in part]
        for provider, part in zip([rig.provider, other, rig.provider], names, strict=True)
    ]
    port = rig.reactor.listenTCP(0, Site(Breaks(rig.reactor, parts)), interface="127.0.0.1")
    yield f"http://127.0.0.1:{port.getHost().port}/index.m3u8"
    for player in rig.players:
        await player.leave()
    await port.stopListening()
    await other.stop()


@pytest_twisted.ensureDeferred
async def test_discontinuities_are_not_seen(rig, joins, breaks):
    stream = rig.register(breaks)
    player = await begin(rig, stream)
    await rig.until(lambda: len(joins) >= 3, 20)
    await rig.until_bytes(player, len(player.body) + 150_000, 20)
    assert [report.kind for report in joins[1:]] == [SpliceKind.SHIFTED] * 2
    assert stream.error_count == 0
    assert holes(player.body, 6) == [SEAM] * 2
