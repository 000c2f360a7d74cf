"""The registry: registration, removal, memory limits, stop."""

from __future__ import annotations

import pytest
from fakes import Programme, Relay
from hypothesis import given
from hypothesis import strategies as st
from kept_exceptions import errors_with_frames
from twisted.logger import capturedLogs

from m3uproxy.core.ingest.parser import Chunk
from m3uproxy.core.ring import Ring, share_memory
from m3uproxy.errors import Reason
from m3uproxy.hls.muxer import muxer_of
from m3uproxy.live.stream import LiveStream
from m3uproxy.streams.player import PlayerInfo

KB = 1000


def test_streams_are_found_by_id() -> None:
    relay = Relay()
    stream = relay.stream()
    assert relay.registry.get(stream.id) is stream
    assert relay.registry.get("nothing") is None
    assert relay.registry.streams() == [stream]
    other = relay.stream("http://provider/2.ts")
    assert relay.registry.streams() == [stream, other]
    assert relay.registry.delete(stream.id)
    assert not relay.registry.delete(stream.id)
    assert relay.registry.streams() == [other]


def test_stream_without_players_is_removed_after_the_timeout() -> None:
    relay = Relay(tick=0.4)
    relay.registry.start()
    stream = relay.stream()
    relay.pass_time(59)
    assert relay.registry.get(stream.id)
    relay.pass_time(2)
    assert relay.registry.get(stream.id) is None


def test_player_or_request_keeps_the_stream() -> None:
    relay = Relay(tick=0.4)
    relay.registry.start()
    stream = relay.stream()
    relay.pass_time(50)
    stream.touch()
    relay.pass_time(50)
    player = relay.player(stream)
    body = relay.dialler.last.answer()
    relay.play(body, 100)
    assert relay.registry.get(stream.id)
    player.transport.leave()
    relay.pass_time(59)
    assert relay.registry.get(stream.id)
    served = relay.registry.bytes_served
    assert served > 0
    relay.pass_time(3)
    assert relay.registry.get(stream.id) is None
    assert relay.registry.bytes_served == served


def test_stream_timeout_0_keeps_streams() -> None:
    relay = Relay(stream_timeout=0)
    relay.registry.start()
    stream = relay.stream()
    relay.clock.pump([1.0] * 5000)
    assert relay.registry.get(stream.id)


def test_stop_fires_when_the_last_socket_has_closed() -> None:
    relay = Relay()
    relay.registry.start()
    bodies = []
    for n in range(3):
        relay.player(relay.stream(f"http://p/{n}.ts"))
        bodies.append(relay.dialler.last.answer())
    relay.stream("http://p/unwatched.ts")
    stopped = relay.registry.stop()
    assert all(body.closed for body in bodies)
    for body in bodies:
        assert not stopped.called
        body.vanish()
    assert stopped.called
    relay.nothing_left()


def test_stop_before_start_and_twice() -> None:
    relay = Relay()
    assert relay.registry.stop().called
    relay.registry.start()
    assert relay.registry.stop().called
    assert relay.registry.stop().called
    assert relay.clock.getDelayedCalls() == []


def test_player_after_the_stop_opens_no_source() -> None:
    relay = Relay()
    stream = relay.stream()
    relay.registry.stop()
    relay.player(stream)
    assert relay.dialler.dials == []


def test_housekeeping_continues_after_a_failure() -> None:
    relay = Relay()
    relay.registry.start()
    stream = relay.stream()
    stream.broadcaster.abort_stalled = lambda: 1 / 0  # type: ignore[assignment,return-value,method-assign]
    for _ in range(3):
        relay.clock.advance(1)
    assert len(relay.clock.getDelayedCalls()) == 1


@pytest.mark.parametrize("method", ["run_housekeeping", "clients", "close"])
def test_failure_of_one_stream_does_not_affect_the_others(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    relay = Relay(stream_timeout=5)
    relay.registry.start()
    first, second, third = (relay.stream(f"http://provider/{n}.ts") for n in range(3))
    monkeypatch.setattr(second, method, lambda *_: 1 / 0)
    with capturedLogs() as events:
        relay.pass_time(6.5)
    assert relay.registry.get(first.id) is relay.registry.get(third.id) is None
    failures = [event for event in events if event.get("log_failure")]
    assert failures
    assert all(second.id in event["log_format"].format(**event) for event in failures)


def test_stream_that_cannot_be_closed_does_not_affect_the_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    relay = Relay()
    first, second = relay.stream("http://provider/1.ts"), relay.stream("http://provider/2.ts")
    relay.player(second)
    monkeypatch.setattr(first, "close", lambda _: 1 / 0)
    stopped: list[object] = []
    relay.registry.stop().addCallback(stopped.append)
    relay.clock.advance(0)
    assert stopped == [None]
    assert second.clients() == []


def test_players_are_counted_once_a_second() -> None:
    counts: list[int] = []
    relay = Relay()
    relay.registry._players_counted = counts.append
    relay.registry.start()
    relay.pass_time(1)
    player = relay.player(relay.stream())
    relay.pass_time(1)
    player.transport.leave()
    relay.pass_time(1)
    assert counts == [0, 1, 0]


def ring_of(size: int, groups: int) -> Ring:
    ring = Ring(1000, 10**9)
    for n in range(groups):
        ring.append(Chunk(bytes(size // groups), b"psi", True), float(n))
    return ring


def test_memory_is_taken_from_the_largest_rings() -> None:
    small, medium, large = ring_of(100 * KB, 10), ring_of(500 * KB, 50), ring_of(2000 * KB, 200)
    share_memory([large, small, medium], 900 * KB)
    assert small.size == 100 * KB
    assert medium.size == large.size == 400 * KB


def test_memory_within_the_limit_is_kept() -> None:
    rings = [ring_of(300 * KB, 30), ring_of(500 * KB, 50)]
    share_memory(rings, 800 * KB)
    assert [ring.size for ring in rings] == [300 * KB, 500 * KB]


def test_ring_keeps_at_least_a_group() -> None:
    rings = [ring_of(300 * KB, 2), ring_of(500 * KB, 2)]
    share_memory(rings, 10 * KB)
    assert [ring.size for ring in rings] == [300 * KB, 500 * KB]
    share_memory([], 1)


@given(st.lists(st.integers(1, 400), max_size=8), st.integers(0, 2000))
def test_shares_keep_the_limit(sizes: list[int], limit: int) -> None:
    rings = [ring_of(size * 10, size) for size in sizes]
    share_memory(rings, limit)
    floors = sum(ring.min_size for ring in rings)
    assert sum(ring.size for ring in rings) <= max(limit, limit + floors)
    assert all(ring.size <= size * 10 for ring, size in zip(rings, sizes, strict=True))


@given(st.lists(st.integers(1, 400), min_size=1, max_size=8), st.integers(0, 2000))
def test_shares_use_the_whole_limit(sizes: list[int], limit: int) -> None:
    rings = [ring_of(size * 10, size) for size in sizes]
    share_memory(rings, limit)
    [share] = {ring._share for ring in rings}
    assert sum(min(size * 10, share) for size in sizes) >= min(limit, 10 * sum(sizes)) - len(sizes)


def test_share_holds_until_the_next_one() -> None:
    ring = ring_of(500 * KB, 50)
    share_memory([ring], 200 * KB)
    for n in range(50, 100):
        ring.append(Chunk(bytes(10 * KB), b"psi", True), float(n))
        assert ring.size <= 200 * KB
    share_memory([ring], 400 * KB)
    for n in range(100, 150):
        ring.append(Chunk(bytes(10 * KB), b"psi", True), float(n))
    assert ring.size == 400 * KB


def bytes_held(stream: LiveStream) -> int:
    """Return the bytes of all blocks that the ring and the segments of a stream refer to."""
    segmenter = muxer_of(stream)._segmenter
    blocks = [*stream.broadcaster.ring._blocks, *segmenter._blocks]
    blocks += [block for segment in segmenter._kept for block in segment.blocks]
    return sum({id(block): len(block.data) for block in blocks}.values())


def test_total_memory_includes_the_segments_of_live_streams() -> None:
    """Streams of 4 Mbit/s are played as HLS. Their segments would take 18 MB each."""
    limit = 16 * 1024 * 1024
    relay = Relay(tick=0.4, ring_total_bytes=limit, ring_seconds=5, join_seconds=1)
    relay.registry.start()
    streams = [relay.stream(f"http://p/{n}.ts") for n in range(3)]
    bodies = []
    for stream in streams:
        client = muxer_of(stream).hls_clients.register(PlayerInfo("10.0.0.1", "tv", None, stream.id))
        muxer_of(stream).playlist(client)
        bodies.append(relay.dialler.last.answer())
    most = 0
    programmes = [Programme() for _ in streams]
    for _ in range(16):
        for stream, body, programme in zip(streams, bodies, programmes, strict=True):
            body.bring(programme.group(25, 20_000))
            muxer_of(stream).hls_clients.register(PlayerInfo("10.0.0.1", "tv", None, stream.id))
        relay.pass_time(1.0)
        held = [bytes_held(stream) for stream in streams]
        assert [stream.memory.size for stream in streams] == held
        most = max(most, sum(held))
    assert 0.8 * limit < most <= limit
    assert all(muxer_of(stream)._segmenter.has_segments for stream in streams)


def test_total_memory_is_limited_during_playback() -> None:
    relay = Relay(tick=0.4, ring_total_bytes=16 * 1024 * 1024, ring_seconds=600, join_seconds=1)
    relay.registry.start()
    streams = [relay.stream(f"http://p/{n}.ts") for n in range(3)]
    bodies = []
    for stream in streams:
        relay.player(stream)
        bodies.append(relay.dialler.last.answer())
    for _ in range(12):
        for body in bodies:
            body.bring(relay.programme.group(5, 200_000))
        relay.pass_time(1.0)
    held = sum(stream.broadcaster.ring.size for stream in streams)
    assert held <= 16 * 1024 * 1024 + 3 * 1_100_000


def test_failed_live_sources_keep_no_frames() -> None:
    relay = Relay(stream_retry_delay=0.5)
    stream = relay.stream("http://provider/1.ts", "http://provider/2.ts")
    relay.player(stream)
    for _ in range(4):
        relay.dialler.last.fail(Reason.REFUSED)
        relay.pass_time(1)
    assert stream.session.error is not None
    assert errors_with_frames() == []
