"""Players: HTTP versions, addresses, several requests over one connection, many players, slow players."""

from __future__ import annotations

import socket

import pytest
import pytest_twisted
from loopback_rig import Player, assert_whole_packets
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol


@pytest_twisted.ensureDeferred
async def test_fifty_concurrent_players_share_one_provider_connection(rig):
    stream = rig.register("/live/x.ts?burst=2")
    players = [await rig.play(stream) for _ in range(50)]
    for player in players:
        await rig.until_bytes(player, 30_000)
        assert_whole_packets(player.body)
    tally = rig.provider.channel("x").tally
    assert (tally.total, tally.peak) == (1, 1)
    assert len(stream.clients()) == 50


@pytest.mark.parametrize("direct", [True, False])
@pytest_twisted.ensureDeferred
async def test_a_late_player_gets_the_same_bytes(rig, direct):
    await rig.start(direct_write=direct, join_seconds=1)
    stream = rig.register("/live/x.ts?burst=2")
    first = await rig.play(stream)
    await rig.until_bytes(first, 60_000)
    late = await rig.play(stream)
    await rig.until_bytes(late, 60_000)
    assert_whole_packets(late.body)
    # Behind PAT and PMT, which a joiner is given first, the bytes are those of the first player.
    sample = late.body[188 * 2 : 188 * 102]
    assert sample in first.body


@pytest_twisted.ensureDeferred
async def test_head_options_and_other_methods_never_reach_the_provider(rig):
    stream = rig.register("/live/x.ts")
    for prefix in ("", "/m3u-proxy"):
        head = await rig.ask(f"{prefix}/stream/{stream.id}", method="HEAD", headers=("Connection: close",))
        await rig.until(lambda head=head: head.closed)
        assert head.status == 200
        assert head.body == b""
        assert b"Accept-Ranges: none" in head.head
        assert b"Content-Length" not in head.head
        assert b"Content-Type: video/mp2t" in head.head
    post = await rig.ask(f"/stream/{stream.id}", method="POST", headers=("Content-Length: 0", "Connection: close"))
    await rig.until(lambda: post.closed)
    assert post.status == 405
    assert b"Allow: GET, HEAD, OPTIONS" in post.head
    assert rig.provider.station.sockets.total == 0


@pytest_twisted.ensureDeferred
async def test_response_head_follows_the_contract(rig):
    player = await rig.play(rig.register("/live/x.ts?burst=2"), headers=("Range: bytes=0-", "Origin: http://tv"))
    await rig.until_bytes(player, 1000)
    head = player.head.decode().split("\r\n")
    assert head[0] == "HTTP/1.1 200 OK"
    assert set(head[1:]) == {
        "Content-Type: video/mp2t",
        "Accept-Ranges: none",
        "Cache-Control: no-cache, no-store, must-revalidate",
        "Pragma: no-cache",
        "Expires: 0",
        "Access-Control-Allow-Origin: *",
        "Access-Control-Allow-Methods: GET, HEAD, OPTIONS",
        "Access-Control-Allow-Headers: *",
        "Access-Control-Expose-Headers: *",
        "Connection: close",
    }


@pytest_twisted.ensureDeferred
async def test_http_1_0(rig):
    player = await rig.play(rig.register("/live/x.ts?burst=2"), version="1.0")
    await rig.until_bytes(player, 20_000)
    assert player.head.startswith(b"HTTP/1.0 200 OK\r\n")
    assert_whole_packets(player.body)


@pytest_twisted.ensureDeferred
async def test_ipv6(rig):
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    await rig.start(host="::1")
    player = await rig.ask(f"/stream/{rig.register('/live/x.ts?burst=2').id}", host="::1")
    await rig.until_bytes(player, 20_000)
    assert_whole_packets(player.body)


@pytest_twisted.ensureDeferred
async def test_a_second_request_does_not_disturb_the_stream(rig):
    stream = rig.register("/live/x.ts?burst=2")
    player = await rig.play(stream)
    player.transport.write(b"GET /health HTTP/1.1\r\nHost: proxy\r\n\r\n" * 3)
    await rig.until_bytes(player, 60_000)
    player.transport.write(b"GET /health HTTP/1.1\r\nHost: proxy\r\n\r\n")
    await rig.until_bytes(player, 90_000)
    assert_whole_packets(player.body)
    assert b"healthy" not in player.body


@pytest_twisted.ensureDeferred
async def test_an_api_request_then_a_stream_on_one_connection(rig):
    stream = rig.register("/live/x.ts?burst=2")
    player = await rig.ask("/health")
    await rig.until(lambda: b"healthy" in player.raw)
    player.raw = b""
    player.transport.write(f"GET /stream/{stream.id} HTTP/1.1\r\nHost: proxy\r\n\r\n".encode())
    await rig.until_bytes(player, 30_000)
    assert player.status == 200
    assert_whole_packets(player.body)


@pytest_twisted.ensureDeferred
async def test_input_of_a_player_does_not_hide_its_disconnection(rig):
    stream = rig.register("/live/x.ts?burst=2")
    player = await rig.play(stream)
    await rig.until_bytes(player, 20_000)
    player.transport.write(b"x" * 40_000)
    await rig.until_bytes(player, 40_000)
    await player.leave()
    await rig.until(lambda: not stream.clients() and rig.open_upstreams() == 0)


@pytest.mark.parametrize("direct", [True, False])
@pytest_twisted.ensureDeferred
async def test_a_paused_player_skips_to_an_access_point_and_does_not_disturb_others(rig, direct):
    """A provider at sixteen times the speed, a ring of one second and small socket buffers keep the test short."""
    await rig.start(direct_write=direct, send_buffer=16_384, ring_seconds=1, join_seconds=0.5)
    stream = rig.register("/live/x.ts?burst=2&rate=16")
    slow, fast = await rig.play(stream, window=65_536), await rig.play(stream)
    await rig.until_bytes(slow, 20_000)
    slow.transport.pauseProducing()
    size = len(fast.body)
    await rig.until_bytes(fast, size + 4_000_000, 15)
    assert_whole_packets(fast.body)
    slow.transport.resumeProducing()
    await rig.until(lambda: sum(client.pump.skips for client in stream.clients()) == 1, 5, "the slow one skips")
    size = len(slow.body)
    await rig.until_bytes(slow, size + 500_000, 5)
    assert_whole_packets(slow.body)
    assert not slow.closed
    assert not fast.closed
    assert [client.pump.skips for client in stream.clients()].count(0) == 1


@pytest_twisted.ensureDeferred
async def test_a_player_that_never_reads_again_is_aborted(rig):
    await rig.start(send_buffer=16_384, viewer_stall_timeout=1)
    stream = rig.register("/live/x.ts?burst=2")
    player = await rig.play(stream, window=65_536)
    await rig.until_bytes(player, 20_000)
    player.transport.pauseProducing()
    await rig.until(lambda: not stream.clients(), 15, "the viewer is gone")
    await rig.until(lambda: rig.open_upstreams() == 0, 1, "and the upstream with it")
    player.transport.resumeProducing()
    await rig.until(lambda: player.closed)


@pytest_twisted.ensureDeferred
async def test_zapping_uses_one_provider_connection_at_a_time(rig):
    for number in range(30):
        player = await rig.play(rig.register(f"/live/{number % 3}.ts?burst=1&limit=1"))
        if number % 2:
            await rig.until_bytes(player, 1)
            assert player.status == 200
        await player.leave()
    await rig.until(lambda: rig.open_upstreams() == 0)
    assert {channel.tally.peak for channel in rig.provider.station.channels.values()} == {1}


@pytest_twisted.ensureDeferred
async def test_linger_keeps_the_provider_connection_for_the_next_player(rig):
    await rig.start(linger=1)
    stream = rig.register("/live/x.ts?burst=2")
    for _ in range(2):
        player = await rig.play(stream)
        await rig.until_bytes(player, 20_000)
        await player.leave()
        await rig.sleep(0.1)
    assert rig.provider.channel("x").tally.total == 1
    await rig.until(lambda: rig.open_upstreams() == 0, 3)


@pytest_twisted.ensureDeferred
async def test_deletion_disconnects_players_and_provider(rig):
    stream = rig.register("/live/x.ts?burst=2")
    player = await rig.play(stream)
    await rig.until_bytes(player, 20_000)
    assert rig.registry.delete(stream.id)
    await rig.until(lambda: player.closed and rig.open_upstreams() == 0, 1)
    gone = await rig.ask(f"/stream/{stream.id}", headers=("Connection: close",))
    await rig.until(lambda: gone.closed)
    assert gone.status == 404


@pytest_twisted.ensureDeferred
async def test_headers_of_the_player_are_not_forwarded(rig):
    stream = rig.register("/live/x.ts?burst=2", headers=(("X-Mine", "1"),))
    player = await rig.play(
        stream, headers=("Cookie: a=secret", "X-Forwarded-For: 192.0.2.9", "User-Agent: Kodi", "Range: bytes=0-")
    )
    await rig.until_bytes(player, 1000)
    headers = dict(rig.provider.station.requests[-1]["headers"])
    assert headers["User-Agent"] == "test/1"
    assert headers["X-Mine"] == "1"
    assert not {"Cookie", "X-Forwarded-For", "Range", "Accept-Encoding"} & set(headers)
    assert stream.clients()[0].ip_address == "192.0.2.9"


@pytest_twisted.ensureDeferred
async def test_random_input_on_the_port(rig):
    import random

    noise = random.Random(7)
    for _ in range(20):
        player = Player("/")
        player._request = noise.randbytes(noise.choice([1, 100, 40_000]))
        rig.players.append(player)
        await connectProtocol(TCP4ClientEndpoint(rig.reactor, "127.0.0.1", rig.port), player)
        await rig.sleep(0.01)
        await player.leave()
    health = await rig.ask("/health")
    await rig.until(lambda: b"healthy" in health.raw)


@pytest_twisted.ensureDeferred
async def test_a_head_of_a_megabyte_is_refused(rig):
    for line in (b"X: " + b"a" * 1_000_000 + b"\r\n", b"X: aaaaaaaa\r\n" * 80_000):
        player = Player("/health")
        player._request = b"GET /health HTTP/1.1\r\nHost: x\r\n" + line + b"\r\n"
        rig.players.append(player)
        await connectProtocol(TCP4ClientEndpoint(rig.reactor, "127.0.0.1", rig.port), player)
        await rig.until(lambda player=player: player.status is not None or player.closed)
        assert player.status == 431
