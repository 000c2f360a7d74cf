"""Files through the whole proxy, over real sockets: every byte is compared with the provider's file."""

from __future__ import annotations

import random

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol

from m3uproxy.provider.files import content
from m3uproxy.web.api.serialize import client_object, stream_object

M = 1_000_000


class RangePlayer(Protocol):
    """A player that requests one range after the other, over one connection."""

    def __init__(self, path: str, agent: str = "films/1") -> None:
        self._path = path
        self._agent = agent
        self._buffer = bytearray()
        self._waiting: Deferred | None = None
        self._head: tuple[int, dict[str, str]] | None = None
        self._need: int | None = None
        self._method = "GET"
        self.closed = False
        self.ended: Deferred[None] = Deferred()

    def ask(self, span: str | None = None, method: str = "GET", **headers: str) -> Deferred:
        """Send a request; the Deferred fires with status, headers and body."""
        lines = [f"{method} {self._path} HTTP/1.1", "Host: proxy", f"User-Agent: {self._agent}"]
        lines += [f"Range: bytes={span}"] if span else []
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self._method = method
        self._waiting = Deferred()
        self.transport.write("\r\n".join([*lines, "", ""]).encode())
        return self._waiting

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        if self._head is None and b"\r\n\r\n" in self._buffer:
            head, _, rest = bytes(self._buffer).partition(b"\r\n\r\n")
            self._buffer = bytearray(rest)
            first, *lines = head.decode().split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            self._head = int(first.split()[1]), headers
            length = headers.get("content-length")
            self._need = 0 if self._method == "HEAD" else int(length) if length is not None else None
        if self._head is not None and self._need is not None and len(self._buffer) >= self._need:
            self._answer()

    def _answer(self) -> None:
        body, self._buffer = bytes(self._buffer), bytearray()
        (status, headers), self._head = self._head, None
        waiting, self._waiting = self._waiting, None
        waiting.callback((status, headers, body))

    def connectionLost(self, reason) -> None:
        self.closed = True
        if self._waiting is not None:
            if self._head is not None and self._need is None:
                self._answer()
            else:
                self._waiting.errback(reason)
        self.ended.callback(None)

    def leave(self) -> Deferred[None]:
        if not self.closed:
            self.transport.abortConnection()
        return self.ended


async def player_of(rig, stream, agent: str = "films/1") -> RangePlayer:
    player = RangePlayer(f"/stream/{stream.id}", agent)
    await connectProtocol(TCP4ClientEndpoint(rig.reactor, "127.0.0.1", rig.port), player)
    rig.players.append(player)
    return player


def register_file(rig, name: str = "film", query: str = "", **options):
    return rig.register(f"/movie/u/p/{name}.mp4?size=200M&{query}", **options)


def connections_of(rig, name: str = "film"):
    return rig.provider.channel(name).tally


@pytest_twisted.ensureDeferred
async def test_a_range_has_all_headers(rig):
    stream = register_file(rig)
    player = await player_of(rig, stream)
    status, headers, body = await player.ask("100-1099")
    assert status == 206
    assert headers["content-range"] == "bytes 100-1099/200000000"
    assert headers["content-length"] == "1000"
    assert headers["accept-ranges"] == "bytes"
    assert headers["content-type"] == "video/mp4"
    assert headers["etag"] == '"film-200000000-0"'
    assert headers["last-modified"]
    assert headers["access-control-allow-origin"] == "*"
    assert body == content("film", 0, 100, 1100)


@pytest_twisted.ensureDeferred
async def test_four_players_three_ranges_each(rig):
    stream = register_file(rig)
    players = [await player_of(rig, stream, f"films/{number}") for number in range(4)]

    async def play(player, number):
        for place in (0, 50 * M + 7 * number, 180 * M):
            status, _, body = await player.ask(f"{place}-{place + 20 * M - 1}")
            assert status == 206
            assert body == content("film", 0, place, place + 20 * M)

    await gatherResults([Deferred.fromCoroutine(play(player, n)) for n, player in enumerate(players)])
    assert len(stream.clients()) == 4
    assert connections_of(rig).peak == 4


@pytest_twisted.ensureDeferred
async def test_many_seeks_use_one_connection_at_a_time(rig):
    """Two hundred offsets, one after the other. Some responses are abandoned in the middle."""
    stream = register_file(rig)
    dice = random.Random(7)
    player = await player_of(rig, stream)
    for _ in range(200):
        first = dice.choice([0, dice.randrange(200 * M), dice.randrange(200 * M), 200 * M - dice.randrange(1, M)])
        size = dice.randrange(1, 150_000)
        if dice.random() < 0.2:
            player.asks = player.ask(f"{first}-").addErrback(lambda _: None)
            await rig.until(lambda player=player: player._buffer or player._waiting is None)
            await player.leave()
            player = await player_of(rig, stream)
        status, _, body = await player.ask(f"{first}-{first + size - 1}")
        assert status == 206
        assert body == content("film", 0, first, min(first + size, 200 * M))
    assert connections_of(rig).peak == 1
    assert rig.provider.station.sockets.peak == 1
    assert len(stream.clients()) == 1


@pytest.mark.parametrize("limited", [False, True])
@pytest_twisted.ensureDeferred
async def test_two_hundred_quick_seeks(rig, limited):
    """
    Each seek abandons the previous one in any state. The provider allows one connection.

    A connection that is abandoned while connecting may wait in the provider's queue, closed and without a request.
    """
    options = ONE if limited else {}
    stream = rig.register("/movie/ann/pw/film.mp4?size=200M&delay=0.005&limit=1", **options)
    dice, before = random.Random(5), None
    for _ in range(200):
        first = dice.randrange(200 * M)
        player = await player_of(rig, stream)
        player.ask(f"{first}-").addErrback(lambda _: None)
        await rig.sleep(dice.choice([0, 0, 0.001, 0.004, 0.01, 0.03]))
        if before is not None:
            before.transport.abortConnection()
        before = player
    await rig.until(lambda: len(player._buffer) > 100_000)
    got = bytes(player._buffer)
    assert got == content("film", 0, first, first + len(got))
    assert connections_of(rig).peak == 1
    assert connections_of(rig).requests > 50
    assert stream.history.error_count == 0
    assert len(stream.clients()) == 1
    await player.leave()


@pytest_twisted.ensureDeferred
async def test_a_reset_every_ten_megabytes(rig):
    stream = register_file(rig, query="reset=10M")
    status, headers, body = await (await player_of(rig, stream)).ask()
    assert (status, headers["content-length"]) == (200, "200000000")
    assert len(body) == 200 * M
    for place in range(0, 200 * M, 20 * M):
        assert body[place : place + 20 * M] == content("film", 0, place, place + 20 * M)
    assert connections_of(rig).requests >= 20
    assert rig.provider.station.sockets.peak == 1


@pytest.mark.parametrize("fault", ["stall=3M", "close=3M", "reset=3M", "most=3M", "ranges=0&close=3M&times=1"])
@pytest_twisted.ensureDeferred
async def test_a_broken_body_is_continued(rig, fault):
    await rig.start(vod_stall_timeout=0.3)
    stream = rig.register(f"/movie/u/p/film.mkv?size=8M&{fault}")
    status, _, body = await (await player_of(rig, stream)).ask()
    assert status == 200
    assert body == content("film", 0, 0, 8 * M)
    assert rig.provider.station.sockets.peak == 1


@pytest_twisted.ensureDeferred
async def test_a_backup_with_the_same_file_continues(rig):
    gone = "/movie/u/p/film.mp4?size=8M&reset=3M&after=1&status=404"
    stream = rig.register(gone, "/movie/x/film.mp4?size=8M&etag=elsewhere")
    status, _, body = await (await player_of(rig, stream)).ask()
    assert status == 200
    assert body == content("film", 0, 0, 8 * M)
    assert stream.source_index == 1
    assert rig.provider.station.sockets.peak == 1


@pytest.mark.parametrize(
    "query",
    [
        ("reset=3M&after=1&status=404", "seed=1&etag=film-8000000-0"),
        ("reset=3M&after=1&status=404", "size=9M"),
        ("reset=3M&after=1&etag=another",),
        ("reset=3M&after=1&seed=1&etag=the-same",),
        ("close=3M&after=1&seed=1&etag=none&modified=0",),
        ("close=3M&ranges=0&after=1&seed=1&etag=none&modified=0",),
    ],
)
@pytest_twisted.ensureDeferred
async def test_two_encodes_are_never_mixed(rig, query):
    """The connection is aborted instead, and the player sends another request."""
    await rig.start(stream_retry_attempts=1)
    stream = rig.register(*(f"/movie/{number}/film.mp4?size=8M&{each}" for number, each in enumerate(query)))
    player = await player_of(rig, stream)
    failed = []
    player.ask().addErrback(failed.append)
    await rig.until(lambda: failed)
    got = bytes(player._buffer)
    assert 0 < len(got) < 8 * M
    assert got == content("film", 0, 0, len(got))


@pytest.mark.parametrize(
    ("query", "status"),
    [("status=404", 404), ("status=403", 403), ("status=410", 410), ("status=500", 502), ("status=458", 503),
     ("html=1", 502), ("refuse=1", 502), ("size=0", 416), ("size=0&ranges=0", 502), ("delay=9", 504)],
)  # fmt: skip
@pytest_twisted.ensureDeferred
async def test_a_failure_has_a_status(rig, query, status):
    await rig.start(stream_retry_attempts=1, start_timeout=2)
    stream = rig.register(f"/movie/u/p/film.mp4?{query}")
    told, headers, body = await (await player_of(rig, stream)).ask("0-")
    assert told == status
    assert headers["content-type"] == "application/json"
    assert b"detail" in body


@pytest_twisted.ensureDeferred
async def test_a_refusal_by_one_source_tries_the_next(rig):
    stream = rig.register("/movie/u/p/film.mp4?status=404", "/movie/u/p/film.mp4?size=1M")
    status, _, body = await (await player_of(rig, stream)).ask("5-9")
    assert (status, body) == (206, content("film", 0, 5, 10))


@pytest.mark.parametrize("known", [False, True])
@pytest_twisted.ensureDeferred
async def test_forms_of_ranges(rig, known):
    stream = rig.register("/movie/u/p/film.mp4?size=3M")
    player = await player_of(rig, stream)
    if known:
        await player.ask("0-0")
    for span, first, stop in (("-500", 3 * M - 500, 3 * M), ("2999999-", 3 * M - 1, 3 * M), ("5-9000000", 5, 3 * M)):
        status, headers, body = await player.ask(span)
        assert (status, headers["content-range"]) == (206, f"bytes {first}-{stop - 1}/3000000")
        assert body == content("film", 0, first, stop)
    for span in ("3000000-", "9000000-9000001"):
        status, headers, _ = await player.ask(span)
        assert (status, headers["content-range"]) == (416, "bytes */3000000")
    for span in ("0-1,5-9", "x", "9-5"):
        status, headers, body = await player.ask(span)
        assert (status, len(body)) == (200, 3 * M)
        assert "content-range" not in headers
    status, _, body = await player.ask("10-", If_Range='"film-3000000-0"')
    assert (status, body) == (206, content("film", 0, 10, 3 * M))
    status, _, body = await player.ask("10-", If_Range='"another"')
    assert (status, body) == (200, content("film", 0, 0, 3 * M))
    assert rig.provider.station.sockets.peak == 1


@pytest_twisted.ensureDeferred
async def test_if_range_of_another_file_gets_the_whole_file(rig):
    stream = register_file(rig)
    player = await player_of(rig, stream)
    asked = player.ask("100000000-", If_Range='"another"')
    await rig.until(lambda: len(player._buffer) > M)
    assert player._head[0] == 200
    assert player._buffer[:M] == content("film", 0, 0, M)
    asked.addErrback(lambda _: None)
    await player.leave()


@pytest.mark.parametrize("query", ["", "head_status=405", "head_status=404", "ranges=0"])
@pytest_twisted.ensureDeferred
async def test_head(rig, query):
    stream = rig.register(f"/movie/u/p/film.avi?size=3M&{query}", headers=(("X-Key", "k"),))
    player = await player_of(rig, stream)
    status, headers, body = await player.ask(method="HEAD")
    assert (status, headers["content-length"], body) == (200, "3000000", b"")
    assert headers["content-type"] == "video/x-msvideo"
    assert headers["accept-ranges"] == ("none" if "ranges" in query else "bytes")
    assert headers["etag"] == '"film-3000000-0"'
    for request in rig.provider.station.requests:
        assert ["X-Key", "k"] in request["headers"]
    assert rig.provider.station.requests[0]["method"] == "HEAD"
    await rig.until(lambda: rig.provider.station.sockets.current == 0)
    assert (await player.ask("0-9"))[0] == (200 if "ranges" in query else 206)


@pytest.mark.parametrize("methods", [("HEAD", "GET"), ("GET", "HEAD"), ("HEAD", "HEAD", "GET", "GET")])
@pytest.mark.parametrize("limited", [False, True])
@pytest_twisted.ensureDeferred
async def test_head_and_get_share_one_connection(rig, methods, limited):
    stream = register_file(rig, query="delay=0.1", **(ONE if limited else {}))
    players = [await player_of(rig, stream) for _ in methods]
    asked = []
    for method, player in zip(methods, players, strict=True):
        asked.append(player.ask("5-9" if method == "GET" else None, method=method))
        await rig.sleep(0.03)
    for method, (status, headers, body) in zip(methods, await gatherResults(asked), strict=True):
        expected = (206, "5", content("film", 0, 5, 10)) if method == "GET" else (200, "200000000", b"")
        assert (status, headers["content-length"], body) == expected
    assert rig.provider.station.sockets.peak == 1
    assert stream.history.error_count == 0


@pytest_twisted.ensureDeferred
async def test_head_during_playback_needs_no_connection(rig):
    """Also when the file is no longer known, as long after the start."""
    stream = register_file(rig, query="rate=5M")
    player, other = await player_of(rig, stream), await player_of(rig, stream, "other")
    player.ask("0-").addErrback(lambda _: None)
    await rig.until(lambda: len(player._buffer) > M)
    stream._known_file = None
    for each in (await player_of(rig, stream), other):
        assert (await each.ask(method="HEAD"))[1]["content-length"] == "200000000"
    assert connections_of(rig).requests == rig.provider.station.sockets.peak == 1


@pytest_twisted.ensureDeferred
async def test_head_of_a_missing_file(rig):
    stream = rig.register("/movie/u/p/film.avi?status=404")
    status, _, body = await (await player_of(rig, stream)).ask(method="HEAD")
    assert (status, body) == (404, b"")


@pytest_twisted.ensureDeferred
async def test_a_file_without_ranges_is_sent_whole(rig):
    stream = rig.register("/movie/u/p/film.mp4?size=3M&ranges=0")
    status, headers, body = await (await player_of(rig, stream)).ask("1000000-")
    assert (status, headers["accept-ranges"]) == (200, "none")
    assert body == content("film", 0, 0, 3 * M)


@pytest_twisted.ensureDeferred
async def test_a_file_without_length_ends_with_the_connection(rig):
    stream = rig.register("/movie/u/p/film.mp4?size=3M&chunked=1")
    player = await player_of(rig, stream)
    status, headers, body = await player.ask("1000000-")
    assert (status, headers["connection"]) == (200, "close")
    assert "transfer-encoding" not in headers
    assert body == content("film", 0, 0, 3 * M)


@pytest_twisted.ensureDeferred
async def test_a_pause_pauses_the_provider(rig):
    await rig.start(vod_stall_timeout=0.3)
    stream = register_file(rig)
    player = await player_of(rig, stream)
    asked = player.ask("0-99999999")
    await rig.until(lambda: len(player._buffer) > M)
    player.transport.pauseProducing()
    await rig.sleep(0.5)
    sent = connections_of(rig).octets
    await rig.sleep(1.5)  # five times the stall timeout
    assert connections_of(rig).octets == sent < 60 * M
    assert rig.open_upstreams() == 1
    assert len(stream.clients()) == 1
    player.transport.resumeProducing()
    status, _, body = await asked
    assert status == 206
    assert body == content("film", 0, 0, 100 * M)
    assert connections_of(rig).requests == 1


@pytest_twisted.ensureDeferred
async def test_a_pause_of_a_minute(rig):
    """On the real clock, with the default of all timers."""
    await rig.start(stream_timeout=5)
    stream = rig.register("/movie/u/p/film.mp4?size=60M")
    player = await player_of(rig, stream)
    asked = player.ask()
    await rig.until(lambda: len(player._buffer) > M)
    player.transport.pauseProducing()
    await rig.sleep(1)
    sent = connections_of(rig).octets
    await rig.sleep(59)
    assert connections_of(rig).octets == sent < 40 * M
    assert rig.open_upstreams() == 1
    assert len(stream.clients()) == 1
    player.transport.resumeProducing()
    status, _, body = await asked
    assert (status, body) == (200, content("film", 0, 0, 60 * M))
    assert connections_of(rig).requests == 1


@pytest_twisted.ensureDeferred
async def test_a_following_range_uses_the_same_connection(rig):
    stream = register_file(rig)
    player = await player_of(rig, stream)
    for place in range(50 * M, 52 * M, 100_000):
        _, _, body = await player.ask(f"{place}-{place + 99_999}")
        assert body == content("film", 0, place, place + 100_000)
        assert len(stream.clients()) == 1
    assert connections_of(rig).requests == 1
    assert stream_object(stream)["client_count"] == 1
    assert stream_object(stream)["total_bytes_served"] == 2 * M
    client = client_object(stream.clients()[0], stream)
    assert (client["user_agent"], client["bytes_served"]) == ("films/1", 2 * M)
    await player.leave()
    await rig.until(lambda: not stream.clients(), 8)
    await rig.until(lambda: rig.provider.station.sockets.current == 0)


@pytest_twisted.ensureDeferred
async def test_a_connected_player_is_listed_between_two_ranges(rig):
    """Also when the provider's connection has closed, and no other client keeps the stream registered."""
    await rig.start(stream_timeout=1)
    stream = register_file(rig)
    player = await player_of(rig, stream)
    for first in (50 * M, 90 * M):
        _, _, body = await player.ask(f"{first}-{first + 99_999}")
        assert body == content("film", 0, first, first + 100_000)
        await rig.until(lambda: rig.provider.station.sockets.current == 0, 8)
        await rig.sleep(2.2)
        assert rig.registry.get(stream.id) is stream
        assert [client.bytes_served for client in stream.clients()] == [stream.bytes_served]
    await player.leave()
    await rig.until(lambda: rig.registry.get(stream.id) is None)


@pytest_twisted.ensureDeferred
async def test_a_disconnected_player_is_removed_at_once(rig):
    stream = register_file(rig)
    player = await player_of(rig, stream)
    player.ask("0-").addErrback(lambda _: None)
    await rig.until(lambda: len(player._buffer) > M)
    assert len(stream.clients()) == 1
    await player.leave()
    await rig.until(lambda: not stream.clients() and rig.provider.station.sockets.current == 0, 1)


@pytest_twisted.ensureDeferred
async def test_the_edges_of_a_file_are_requested_once(rig):
    stream = register_file(rig)
    for _ in range(3):
        player = await player_of(rig, stream)
        for first, stop in ((0, 300_000), (199 * M, 200 * M), (0, 200_000), (199 * M + 5000, 200 * M)):
            _, _, body = await player.ask(f"{first}-{stop - 1}")
            assert body == content("film", 0, first, stop)
        await player.leave()
    assert connections_of(rig).requests == 2


@pytest_twisted.ensureDeferred
async def test_two_devices_that_look_alike_both_play(rig):
    """Each has its own pace and provider connection."""
    stream = register_file(rig, query="rate=2M")
    devices = [await player_of(rig, stream), await player_of(rig, stream)]
    for number, device in enumerate(devices):
        device.ask(f"{number * 50 * M}-").addErrback(lambda _: None)
        await rig.sleep(0.3)
    await rig.until(lambda: connections_of(rig).current == 2, 5)
    sizes = [len(device._buffer) for device in devices]
    await rig.until(lambda: all(len(d._buffer) > size + M for d, size in zip(devices, sizes, strict=True)), 8)
    for number, device in enumerate(devices):
        got = bytes(device._buffer)
        assert got == content("film", 0, number * 50 * M, number * 50 * M + len(got))
    names = {client.client_id for client in stream.clients()}
    assert len(names) == 2


@pytest_twisted.ensureDeferred
async def test_a_player_that_requests_the_index_during_playback_uses_one_connection(rig):
    """Like browsers: the first response is paused, not closed."""
    stream = register_file(rig)
    first, second = await player_of(rig, stream), await player_of(rig, stream)
    asked = first.ask("0-149999999")
    await rig.until(lambda: len(first._buffer) > M)
    first.transport.pauseProducing()
    await rig.sleep(0.2)
    status, _, body = await second.ask("190000000-190099999")
    assert (status, body) == (206, content("film", 0, 190 * M, 190 * M + 100_000))
    await rig.sleep(2.5)
    first.transport.resumeProducing()
    status, _, body = await asked
    assert body == content("film", 0, 0, 150 * M)
    assert connections_of(rig).peak == 1
    assert len(stream.clients()) == 1


@pytest_twisted.ensureDeferred
async def test_deletion_disconnects_players(rig):
    stream = register_file(rig)
    player = await player_of(rig, stream)
    player.ask("0-").addErrback(lambda _: None)
    await rig.until(lambda: len(player._buffer) > M)
    assert rig.registry.delete(stream.id)
    await player.ended
    assert stream.clients() == []
    await rig.until(lambda: rig.provider.station.sockets.current == 0)


@pytest_twisted.ensureDeferred
async def test_a_client_is_disconnected_by_its_id(rig):
    stream = register_file(rig)
    player = await player_of(rig, stream)
    player.ask("0-").addErrback(lambda _: None)
    await rig.until(lambda: len(player._buffer) > M)
    assert stream.abort_client(stream.clients()[0].client_id) == 1
    await player.ended
    assert stream.clients() == []


@pytest_twisted.ensureDeferred
async def test_a_manual_failover_continues_the_file(rig):
    stream = rig.register("/movie/u/p/film.mp4?size=60M&rate=5M", "/movie/x/film.mp4?size=60M&etag=else")
    player = await player_of(rig, stream)
    asked = player.ask()
    await rig.until(lambda: len(player._buffer) > M)
    stream.fail_over()
    status, _, body = await asked
    assert status == 200
    assert body == content("film", 0, 0, 60 * M)
    assert (stream.source_index, stream.history.failover_attempts) == (1, 1)
    assert rig.provider.station.sockets.peak == 1


@pytest_twisted.ensureDeferred
async def test_a_login_page_is_not_taken_for_the_file(rig):
    """Neither now nor for later requests, when the provider has recovered."""
    await rig.start(stream_retry_attempts=1)
    rig.provider.station.files["page"] = b"<html>log in</html>"
    stream = rig.register("/movie/u/p/page.mp4")
    player = await player_of(rig, stream)
    assert (await player.ask("0-"))[0] == 502
    rig.provider.station.files["page"] = bytes(1000)
    status, headers, _ = await player.ask("500-")
    assert (status, headers["content-range"]) == (206, "bytes 500-999/1000")


ONE = {"provider": "home", "max_connections": 1}


@pytest_twisted.ensureDeferred
async def test_a_seeking_player_keeps_its_slot(rig):
    """Each seek is a new connection to the proxy and to the provider."""
    stream = rig.register("/movie/ann/pw/film.mp4?size=200M&limit=1", **ONE)
    for place in range(20 * M, 180 * M, 20 * M):
        player = await player_of(rig, stream)
        player.ask(f"{place}-").addErrback(lambda _: None)
        await rig.until(lambda player=player: len(player._buffer) > M)
        assert player._buffer[:M] == content("film", 0, place, place + M)
        await player.leave()
    await rig.until(lambda: rig.registry.slots.report(())["providers"] == [])
    assert rig.registry.slots.report(())["refused"] == 0


@pytest_twisted.ensureDeferred
async def test_another_player_is_refused_without_a_slot(rig):
    await rig.start(slot_wait=0.2, stream_retry_attempts=1)
    stream = rig.register("/movie/ann/pw/film.mp4?size=200M", **ONE)
    player, other = await player_of(rig, stream, "A"), await player_of(rig, stream, "B")
    player.ask("0-").addErrback(lambda _: None)
    await rig.until(lambda: len(player._buffer) > 9 * M)
    status, headers, _ = await other.ask("100000000-")
    assert (status, headers["retry-after"]) == (503, "5")
    assert not player.closed


@pytest_twisted.ensureDeferred
async def test_a_viewer_that_switches_files_keeps_its_slot(rig):
    films = [rig.register(f"/movie/ann/pw/{name}.mp4?size=200M", **ONE) for name in "ab"]
    players = [await player_of(rig, each) for each in films]
    players[0].ask("0-").addErrback(lambda _: None)
    await rig.until(lambda: len(players[0]._buffer) > 9 * M)
    players[1].ask("0-").addErrback(lambda _: None)
    await rig.until(lambda: len(players[1]._buffer) > M)
    assert players[0].closed
    assert films[0].clients() == []
    assert rig.provider.station.sockets.peak == 1


@pytest_twisted.ensureDeferred
async def test_stopping_disconnects_all_players(rig):
    """A playing player, a paused one, one between two ranges, and one without a response."""
    stream, silent = register_file(rig), rig.register("/movie/u/p/silent.mp4?delay=60")
    players = [await player_of(rig, stream, str(number)) for number in range(3)]
    await players[2].ask("50000000-50099999")
    for player in players[:2]:
        player.ask("0-").addErrback(lambda _: None)
    await rig.until(lambda: all(len(player._buffer) > M for player in players[:2]))
    players[0].transport.pauseProducing()
    waiting = await player_of(rig, silent)
    refused = waiting.ask("0-")
    await rig.sleep(0.1)
    await rig.service.stopService()
    assert (await refused)[0] == 503
    await rig.until(lambda: rig.provider.station.sockets.current == 0)
    players[0].transport.resumeProducing()
    await rig.until(lambda: all(player.closed for player in players))
    await rig.start()
