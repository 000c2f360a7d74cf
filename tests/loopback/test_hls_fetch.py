"""HLS resources fetched from a misbehaving provider and sent to players, all over real sockets."""

from __future__ import annotations

import pytest
import pytest_twisted
from fetching import SETTINGS
from loopback_rig import Player, leftovers
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.task import deferLater
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from m3uproxy.core.http.byte_ranges import parse_single_range
from m3uproxy.core.http.source_request import SourceRequest
from m3uproxy.errors import Reason, SourceError
from m3uproxy.hls.fetcher import Fetcher
from m3uproxy.hls.http_client import HlsHttpClient, ResourceRequest
from m3uproxy.provider.hls.segmenter import ClipSegmenter
from m3uproxy.provider.site import Provider
from m3uproxy.settings import load
from m3uproxy.upstream.connection_pool import ConnectionPool
from m3uproxy.upstream.tcp_socket import SocketCounter
from m3uproxy.web.media.hls_resource import send_resource
from m3uproxy.web.responses import HTTPError, write_error
from m3uproxy.web.site import Site

FOREVER = float("inf")


class FetchResource(Resource):
    """Fetches any path from the provider and sends the answer to the player."""

    isLeaf = True

    def __init__(self, rig) -> None:
        super().__init__()
        self.rig = rig
        self.ends: list[SourceError | None] = []
        self.sent = 0

    def render(self, request):
        source = SourceRequest(self.rig.provider.url("/hls/a/master.m3u8"), "test/1", (), True)
        wanted = ResourceRequest(self.rig.provider.url(request.uri.decode()), source)
        part = parse_single_range(request.getHeader("Range"))
        age = 0.5 if b".m3u8" in request.uri else FOREVER
        fetched = self.rig.fetcher.fetch(wanted, part, max_age=age)
        request.notifyFinish().addErrback(lambda _: fetched.cancel())
        fetched.addCallbacks(self._send, self._refuse, (request,), None, (request,))
        return NOT_DONE_YET

    def _send(self, resource, request):
        send_resource(request, resource, self.rig.settings, self._count).addCallback(self.ends.append)

    def _count(self, size):
        self.sent += size

    def _refuse(self, failure, request):
        if failure.check(SourceError) and not request._disconnected:
            request.write(write_error(request, HTTPError(failure.value.player_status, str(failure.value))))
            request.finish()


class FetchRig:
    """A provider, a fetcher and a server for players."""

    def __init__(self, reactor) -> None:
        self.reactor = reactor
        self.provider = Provider(reactor)
        self.sockets = SocketCounter()
        self.players: list[Player] = []
        self.leaf = FetchResource(self)

    async def start(self, **settings) -> None:
        self.settings = load({**SETTINGS, **settings})
        self.pool = ConnectionPool(self.reactor, self.sockets)
        self.fetcher = Fetcher(self.reactor, HlsHttpClient(self.pool), self.settings)
        self.site = Site(self.leaf, self.reactor)
        self.port = self.reactor.listenTCP(0, self.site, interface="127.0.0.1")
        await self.provider.listen()

    async def stop(self) -> None:
        for player in self.players:
            await player.leave()
        self.fetcher.stop()
        await self.pool.stop()
        await self.port.stopListening()
        await self.site.close()
        await self.provider.stop()
        await self.sleep(0.02)
        assert self.fetcher.size == self.sockets.open == self.pool.count() == 0

    def sleep(self, seconds: float) -> Deferred[None]:
        return deferLater(self.reactor, seconds, lambda: None)

    async def until(self, condition, seconds: float = 8.0, what: str = "") -> None:
        deadline = self.reactor.seconds() + seconds
        while not condition():
            assert self.reactor.seconds() < deadline, f"not within {seconds} s: {what}"
            await self.sleep(0.01)

    async def ask(self, path: str, *headers: str, **options) -> Player:
        player = Player(path, headers=("Connection: close", *headers), **options)
        endpoint = TCP4ClientEndpoint(self.reactor, "127.0.0.1", self.port.getHost().port)
        await connectProtocol(endpoint, player)
        self.players.append(player)
        return player

    async def get(self, path: str, *headers: str, **options) -> Player:
        player = await self.ask(path, *headers, **options)
        await player.ended
        return player

    def requests(self, path: str) -> int:
        return self.provider.station.resource(path.partition("?")[0]).requests

    def segment(self, number: int, target: int = 2) -> bytes:
        return ClipSegmenter(self.provider.station.timeline, target).segment(number, "both")


@pytest_twisted.async_yield_fixture
async def rig():
    """Yield a started rig. After the test nothing may be left open."""
    from twisted.internet import reactor

    before = leftovers(reactor)
    rig = FetchRig(reactor)
    await rig.start()
    yield rig
    await rig.stop()
    assert leftovers(reactor) - before == set()


SEGMENT = "/hls/a/high/seg1001.ts?vod=9"


@pytest_twisted.ensureDeferred
async def test_fifty_players_cost_one_request(rig):
    players = [await rig.ask(SEGMENT) for _ in range(50)]
    for player in players:
        await player.ended
    assert {player.body for player in players} == {rig.segment(1)}
    assert {player.status for player in players} == {200}
    assert rig.requests(SEGMENT) == 1
    assert rig.provider.station.sockets.total == 1
    assert rig.leaf.sent == 50 * len(rig.segment(1))
    assert rig.leaf.ends == [None] * 50


@pytest_twisted.ensureDeferred
async def test_players_get_partial_data_while_it_arrives(rig):
    path = SEGMENT + "&stall=20000&stall_for=0.6"
    first = await rig.ask(path)
    await rig.until(lambda: len(first.body) == 20_000, what="the first half")
    second = await rig.ask(path)
    await rig.until(lambda: len(second.body) == 20_000, what="the first half for the second")
    assert not first.closed
    for player in (first, second):
        await player.ended
        assert player.body == rig.segment(1)
    assert rig.requests(path) == 1


@pytest_twisted.ensureDeferred
async def test_one_connection_for_a_playlist_and_its_segments(rig):
    playlist = await rig.get("/hls/a/high/index.m3u8?vod=4&sign=1&keys=2")
    names = [line for line in playlist.body.decode().splitlines() if not line.startswith("#")]
    assert len(names) == 4
    assert all("%2B" in name for name in names)
    for name in names:
        assert (await rig.get(f"/hls/a/high/{name}")).status == 200
    assert rig.provider.station.sockets.total == 1
    assert rig.provider.station.channel("a").tally.requests == 5


@pytest_twisted.ensureDeferred
async def test_byte_ranges(rig):
    whole = rig.segment(1)
    part = await rig.get(SEGMENT, "Range: bytes=100-1099")
    assert (part.status, part.body) == (206, whole[100:1100])
    assert f"Content-Range: bytes 100-1099/{len(whole)}".encode() in part.head
    assert rig.provider.station.requests[-1]["headers"].count(["Range", "bytes=100-1099"]) == 1
    await rig.get(SEGMENT)
    for text, wanted in (("5-9", whole[5:10]), ("-7", whole[-7:]), ("100000-", whole[100_000:])):
        part = await rig.get(SEGMENT, f"Range: bytes={text}")
        assert (part.status, part.body) == (206, wanted)
    gone = await rig.get(SEGMENT, "Range: bytes=9000000-")
    assert (gone.status, gone.body) == (416, b"")
    assert rig.requests(SEGMENT) == 2


@pytest_twisted.ensureDeferred
async def test_head_request(rig):
    player = await rig.get(SEGMENT, method="HEAD")
    assert player.status == 200
    assert f"Content-Length: {len(rig.segment(1))}".encode() in player.head
    assert player.body == b""


@pytest.mark.parametrize(
    "fault", ["stall=60000", "reset=60000", "close=60000", "framing=chunked_cut", "close=60000&framing=chunked"]
)
@pytest_twisted.ensureDeferred
async def test_interrupted_answer_never_looks_complete(rig, fault):
    player = await rig.ask(f"{SEGMENT}&{fault}")
    other = await rig.ask(f"{SEGMENT}&{fault}")
    for each in (player, other):
        await each.ended
        assert each.status in (200, None)  # the reset may overtake what was sent
        assert "non-clean" in str(each.reason).lower() or "reset" in str(each.reason).lower()
        assert b"0\r\n\r\n" not in each.raw[-10:]
    assert rig.requests(SEGMENT) == 1
    again = await rig.get(SEGMENT)
    assert again.body == rig.segment(1)


@pytest.mark.parametrize(
    ("fault", "status", "word"),
    [
        ("status=404", 404, b""),
        ("status=403", 403, b""),
        ("html=1", 502, b"HTML"),
        ("refuse=1", 502, b"reset"),
        ("hang=head", 504, b"first byte timeout"),
        ("hang=body", 504, b"stalled"),
        ("redirect=loop", 502, b"redirect"),
        ("close=0", 502, b"truncated"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_failure_before_the_first_byte_is_a_status(rig, fault, status, word):
    player = await rig.get(f"{SEGMENT}&{fault}")
    assert player.status == status
    assert word in player.body
    await rig.until(lambda: rig.provider.station.viewers.current == 0, what="the provider is left")


@pytest_twisted.ensureDeferred
async def test_missing_segment_is_cached(rig):
    rig.provider.control("a", "only=seg1001.ts&status=404")
    for _ in range(5):
        assert (await rig.get(SEGMENT)).status == 404
    assert rig.requests(SEGMENT) == 1


@pytest.mark.parametrize(
    "fault",
    ["redirect=other", "redirect=chain", "gzip=1", "framing=chunked", "framing=none", "head=icy", "trickle=0.001"],
)
@pytest_twisted.ensureDeferred
async def test_tolerated_oddities(rig, fault):
    player = await rig.get(f"/hls/a/subs/seg1001.vtt?vod=9&{fault}")
    assert player.status == 200
    assert b"second 3" in player.raw


@pytest_twisted.ensureDeferred
async def test_slow_player_does_not_disturb_others(rig):
    path = "/hls/a/high/file100.ts?vod=1000&ranges=10&target=8"  # 4.5 MB
    slow = await rig.ask(path, window=4096)
    await rig.until(lambda: len(slow.body) > 0)
    slow.transport.pauseProducing()
    quick = [await rig.ask(path) for _ in range(5)]
    for player in quick:
        await player.ended
    sizes = {len(player.body) for player in quick}
    assert len(sizes) == 1
    assert len(slow.body) < 1_000_000
    assert rig.leaf.sent < 5 * len(quick[0].body) + 1_500_000
    assert rig.requests(path) == 1
    size = len(slow.body)
    slow.transport.resumeProducing()
    await rig.until(lambda: len(slow.body) > size, what="reading continues")
    assert quick[0].body.startswith(slow.body)


@pytest_twisted.ensureDeferred
async def test_player_that_never_reads_is_disconnected(rig):
    await rig.stop()
    await rig.start(viewer_stall_timeout=1)
    path = "/hls/a/high/file100.ts?vod=1000&ranges=10&target=8"
    slow = await rig.ask(path, window=4096)
    slow.transport.pauseProducing()
    await rig.until(lambda: rig.leaf.ends, what="the delivery ends")
    assert rig.leaf.ends[0].reason.value == "stalled"
    await rig.until(lambda: not rig.site._connections, what="the player is disconnected")


@pytest_twisted.ensureDeferred
async def test_last_player_closes_the_provider_connection(rig):
    path = "/hls/a/high/file100.ts?vod=1000&ranges=10&target=8&stall=300000"
    players = [await rig.ask(path) for _ in range(3)]
    await rig.until(lambda: all(len(player.body) >= 300_000 for player in players))
    tally = rig.provider.station.viewers
    for player in players:
        assert tally.current == 1
        await player.leave()
    await rig.until(lambda: tally.current == 0 and rig.sockets.open == 0, 1, "no reader, no open socket")
    assert [end.reason for end in rig.leaf.ends] == [Reason.UNUSED] * 3
    assert rig.fetcher.size == 0


@pytest_twisted.ensureDeferred
async def test_player_leaves_before_the_first_byte(rig):
    players = [await rig.ask(SEGMENT + "&hang=head") for _ in range(2)]
    await rig.until(lambda: rig.provider.station.sockets.current == 1)
    for player in players:
        await player.leave()
    await rig.until(lambda: rig.provider.station.sockets.current == 0, 1, "the request is dropped")


@pytest_twisted.ensureDeferred
async def test_player_keeps_its_connection(rig):
    player = Player(SEGMENT)
    endpoint = TCP4ClientEndpoint(rig.reactor, "127.0.0.1", rig.port.getHost().port)
    await connectProtocol(endpoint, player)
    rig.players.append(player)
    whole = rig.segment(1)
    for n in range(3):
        await rig.until(lambda n=n: player.raw.count(whole) == n + 1, what="the whole segment")
        player.transport.write(f"GET {SEGMENT} HTTP/1.1\r\nHost: proxy\r\n\r\n".encode())
    assert not player.closed
    assert rig.requests(SEGMENT) == 1


@pytest_twisted.ensureDeferred
async def test_polling_players_cost_as_much_as_one(rig):
    began = rig.reactor.seconds()

    async def watch():
        seen = []
        while rig.reactor.seconds() - began < 3:
            playlist = await rig.get("/hls/a/high/index.m3u8?target=1&window=3")
            names = [line for line in playlist.body.decode().splitlines() if not line.startswith("#")]
            for name in [name for name in names if name not in seen]:
                assert (await rig.get(f"/hls/a/high/{name}")).status == 200
                seen.append(name)
            await rig.sleep(0.1)
        return seen

    all_seen = await gatherResults([Deferred.fromCoroutine(watch()) for _ in range(20)])
    took = rig.reactor.seconds() - began
    assert min(map(len, all_seen)) >= 5
    counts = {path: tally.requests for path, tally in rig.provider.station.resources.items()}
    playlists = counts.pop("/hls/a/high/index.m3u8")
    assert set(counts.values()) == {1}
    assert playlists <= took / 0.5 + 1
    assert rig.provider.station.sockets.peak <= 8
