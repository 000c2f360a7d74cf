"""The HLS muxer of a live stream, on a clock: opening and closing of the source, playlists, errors."""

from __future__ import annotations

import re
from datetime import datetime, timezone

import pytest
from fakes import FakeBody, Programme, Relay
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from m3uproxy.core.hls.segmenter import TARGET_DURATION
from m3uproxy.core.splice.plan import SpliceKind
from m3uproxy.core.splice.splicer import SpliceReport
from m3uproxy.downstream.memory_producer import MemoryProducer
from m3uproxy.errors import Reason, SourceError
from m3uproxy.hls.muxer import LIFETIME
from m3uproxy.interfaces import IBlockConsumer
from m3uproxy.streams.player import PlayerInfo

JOE = PlayerInfo("10.0.0.1", "tv", "joe", "joe")
ANN = PlayerInfo("10.0.0.2", "tv", "ann", "ann")


class PlaylistRequest:
    """A request for a playlist, and its result."""

    def __init__(self, muxer, player: PlayerInfo) -> None:
        self.client = muxer.hls_clients.register(player)
        self.body: bytes | None = None
        self.error: SourceError | None = None
        self.deferred: Deferred[bytes] = muxer.playlist(self.client)
        self.deferred.addCallbacks(self._text, self._failed)

    def _text(self, body: bytes) -> None:
        self.body = body

    def _failed(self, failure) -> None:
        self.error = failure.value


def count(asked: PlaylistRequest) -> int:
    return asked.body.count(b"#EXTINF")


def test_muxer_provides_its_interface() -> None:
    verifyObject(IBlockConsumer, Relay().stream().muxer)


def test_first_client_opens_the_source_and_all_wait_for_a_segment() -> None:
    relay = Relay()
    stream = relay.stream()
    joe, ann = PlaylistRequest(stream.muxer, JOE), PlaylistRequest(stream.muxer, ANN)
    assert stream.broadcaster.waiting
    assert len(relay.dialler.dials) == 1
    body = relay.dialler.last.answer()
    relay.play(body, 1)
    assert joe.body is ann.body is None
    relay.play(body, 2)
    assert count(joe) == 1
    assert joe.body.replace(b"=joe", b"=ann") == ann.body
    assert not stream.broadcaster.waiting
    assert len(relay.dialler.dials) == 1
    assert [client.client_id for client in stream.clients()] == ["joe", "ann"]
    relay.registry.delete(stream.id)
    relay.clock.advance(0)
    assert body.closed
    assert stream.clients() == []
    assert relay.clock.getDelayedCalls() == []


def test_segment_date_stays_after_a_clock_correction() -> None:
    relay = Relay()
    stream = relay.stream()
    joe = PlaylistRequest(stream.muxer, JOE)
    relay.play(relay.dialler.last.answer(), 3)
    stream.muxer._wall = lambda: datetime(2001, 1, 1, tzinfo=timezone.utc)
    ann = PlaylistRequest(stream.muxer, ANN)
    dates = [next(line for line in asked.body.split(b"\n") if b"DATE-TIME" in line) for asked in (joe, ann)]
    assert dates[0] == dates[1]
    relay.registry.delete(stream.id)
    relay.clock.advance(0)
    assert relay.clock.getDelayedCalls() == []


def test_client_of_a_running_stream_gets_the_ring_at_once() -> None:
    relay = Relay()
    stream = relay.stream()
    relay.player(stream)
    body = relay.dialler.last.answer()
    relay.play(body, 8)
    asked = PlaylistRequest(stream.muxer, JOE)
    assert count(asked) == 1
    assert len(relay.dialler.dials) == 1


def test_source_is_closed_after_the_last_silent_client() -> None:
    assert LIFETIME >= 3 * TARGET_DURATION
    relay = Relay()
    stream = relay.stream()
    PlaylistRequest(stream.muxer, JOE)
    body = relay.dialler.last.answer()
    relay.play(body, 4)
    PlaylistRequest(stream.muxer, ANN)
    relay.play(body, LIFETIME - 1)
    stream.run_housekeeping()
    assert [client.client_id for client in stream.clients()] == ["ann"]
    assert not body.closed
    relay.play(body, 4)
    stream.run_housekeeping()
    relay.clock.advance(0)
    assert stream.clients() == []
    assert body.closed
    assert relay.clock.getDelayedCalls() == []
    assert stream.muxer.segment(0) is None


def test_client_with_open_response_is_not_silent() -> None:
    relay = Relay(start_timeout=300, stream_total_timeout=300)
    stream = relay.stream()
    PlaylistRequest(stream.muxer, JOE)
    relay.clock.advance(0.5)
    stream.muxer.hls_clients.register(ANN)
    for _ in range(3):
        stream.muxer.hls_clients.get("joe").active_at -= LIFETIME
    stream.run_housekeeping()
    assert "joe" in [client.client_id for client in stream.clients()]
    body = relay.dialler.last.answer()
    relay.play(body, 4)
    client, taken = stream.muxer.hls_clients.register(ANN), []
    producer = stream.muxer.send(stream.muxer.segment(0), client, taken.append, lambda: None)
    producer.pauseProducing()
    client.active_at -= 2 * LIFETIME
    stream.run_housekeeping()
    assert client in stream.clients()
    producer.resumeProducing()
    results = []
    producer.ended.addCallback(results.append)
    assert results == [True]
    assert b"".join(taken) == b"".join(stream.muxer.segment(0).buffers)
    assert client.bytes_served == stream.muxer.segment(0).size
    client.active_at -= 2 * LIFETIME
    stream.run_housekeeping()
    assert client not in stream.clients()


def test_no_segment_in_time_is_an_error() -> None:
    relay = Relay(start_timeout=10)
    stream = relay.stream()
    asked = PlaylistRequest(stream.muxer, JOE)
    relay.clock.pump([0.1] * 101)
    assert asked.error.player_status == 504


def test_cancelled_playlist_request_leaves_no_response() -> None:
    relay = Relay()
    stream = relay.stream()
    asked = PlaylistRequest(stream.muxer, JOE)
    asked.deferred.cancel()
    assert asked.error is not None
    assert asked.client.open_responses == {}
    assert stream.abort_client("joe") == 1
    relay.clock.advance(0)
    assert relay.dialler.last.cancelled
    assert relay.clock.getDelayedCalls() == []


def test_ended_stream_fails_waiting_requests() -> None:
    relay = Relay()
    stream = relay.stream()
    stream.close(Reason.DELETED)
    asked = PlaylistRequest(stream.muxer, JOE)
    assert asked.error.reason is Reason.DELETED
    assert stream.clients() == []
    assert relay.clock.getDelayedCalls() == []


@pytest.mark.parametrize("leave", ["yield_slot", "end"])
def test_ended_stream_aborts_its_responses(leave) -> None:
    relay = Relay()
    stream = relay.stream()
    PlaylistRequest(stream.muxer, JOE)
    body = relay.dialler.last.answer()
    relay.play(body, 4)
    aborted = []
    client = stream.muxer.hls_clients.register(JOE)
    producer = stream.muxer.send(
        stream.muxer.segment(0), client, lambda _: producer.pauseProducing(), lambda: aborted.append(True)
    )
    producer.start()
    stream.yield_slot() if leave == "yield_slot" else stream.close(Reason.DELETED)
    assert aborted == [True]
    producer.stopProducing()
    relay.clock.advance(0)
    assert stream.clients() == []
    assert body.closed
    assert relay.clock.getDelayedCalls() == []


@pytest.mark.parametrize("joined", list(SpliceKind))
def test_splices_that_begin_a_discontinuity(joined) -> None:
    relay = Relay()
    stream = relay.stream()
    PlaylistRequest(stream.muxer, JOE)
    body = relay.dialler.last.answer()
    relay.play(body, 4)
    stream.source_joined(SpliceReport(joined, 0.0, changed=("x",)))
    if joined is SpliceKind.FORMAT_CHANGE:
        assert stream.clients() == []
        return
    relay.play(body, 12)
    text = PlaylistRequest(stream.muxer, JOE).body
    assert (b"#EXT-X-DISCONTINUITY\n" in text) is (joined in (SpliceKind.PLAIN, SpliceKind.CODEC_CHANGE))


def producer(*pieces: bytes):
    clock, taken, results = Clock(), [], []
    made = MemoryProducer(clock, pieces, 5.0, taken.append)
    made.ended.addCallback(results.append)
    return clock, made, taken, results


def test_segment_is_sent_at_the_player_s_pace() -> None:
    clock, made, taken, results = producer(b"a", b"", b"b")
    made.pauseProducing()
    made.start()
    assert taken == []
    clock.advance(4.9)
    made.resumeProducing()
    assert (taken, results) == ([b"a", b"b"], [True])
    made.stopProducing()
    assert results == [True]
    assert clock.getDelayedCalls() == []


def test_stalled_segment_is_ended() -> None:
    clock, made, taken, results = producer(b"a")
    made.pauseProducing()
    made.start()
    clock.advance(3)
    made.pauseProducing()
    clock.advance(2)
    assert (taken, results) == ([], [False])
    made.resumeProducing()
    assert taken == []
    assert clock.getDelayedCalls() == []


def test_leaving_live_player_keeps_the_source_for_hls_clients() -> None:
    relay = Relay()
    stream = relay.stream()
    viewer = relay.player(stream)
    body = relay.dialler.last.answer()
    PlaylistRequest(stream.muxer, JOE)
    relay.play(body, 4)
    viewer.transport.leave()
    relay.clock.advance(0)
    assert not body.closed
    assert stream.abort_client("joe") == 1
    relay.clock.advance(0)
    assert body.closed


def send_as_read(relay: Relay, body: FakeBody, parts: list[bytes], seconds: float) -> None:
    """Let a provider send a programme as fast as it is read, and end the body behind it."""
    for _ in range(round(seconds * 20)):
        if parts and len(body.held) < 200_000:
            body.bring(parts.pop(0))
        elif not body.held and not body.ended:
            body.end()
        relay.pass_time(0.05)


def listed_numbers(playlist: bytes) -> list[int]:
    return [int(number) for number in re.findall(rb"segment\.ts\?url=(\d+)", playlist)]


@pytest.mark.parametrize(("length", "requests"), [(1 << 30, 1), (None, 2)])
def test_programme_is_read_as_its_segments_are_requested_and_the_playlist_ends(
    length: int | None, requests: int
) -> None:
    relay = Relay()
    stream = relay.stream()
    joe = PlaylistRequest(stream.muxer, JOE)
    programme = Programme()
    parts = [programme.group(25, 4000) for _ in range(60)]
    beginning = parts[0]
    body = relay.dialler.last.answer(length=length)
    send_as_read(relay, body, parts, 10)
    assert 30 < len(parts) < 45, "the player has not requested a segment"
    taken: list[bytes] = []
    played = -1
    for _ in range(60):
        send_as_read(relay, body, parts, 1)
        if relay.dialler.last.pending:
            again = relay.dialler.last.answer()
            again.bring(beginning)
            relay.pass_time(0.1)
            again.vanish()
        joe = PlaylistRequest(stream.muxer, JOE)
        upcoming = [number for number in listed_numbers(joe.body) if number > played]
        if upcoming:
            assert upcoming[0] == played + 1
            played = upcoming[0]
            stream.muxer.send(stream.muxer.segment(played), joe.client, taken.append, lambda: None).start()
    assert joe.body.endswith(b"#EXT-X-ENDLIST\n")
    assert len(relay.dialler.dials) == requests
    numbers = [int(number) for number in re.findall(rb"A(\d{8})\.", b"".join(taken))]
    assert sorted(set(numbers)) == list(range(1, 60 * 25 + 1)), "each picture, from the first to the last"
    relay.pass_time(LIFETIME + 1)
    relay.registry._run_housekeeping()
    assert stream.clients() == []
    PlaylistRequest(stream.muxer, ANN)
    assert len(relay.dialler.dials) == requests + 1, "a later player starts the programme anew"
    relay.registry.delete(stream.id)


def test_client_without_a_segment_fails_at_the_end_of_a_programme() -> None:
    relay = Relay()
    stream = relay.stream()
    joe = PlaylistRequest(stream.muxer, JOE)
    body = relay.dialler.last.answer(length=376)
    programme = Programme()
    body.bring(programme.tables() + programme.picture())
    relay.pass_time(0.1)
    body.end()
    relay.pass_time(0.1)
    assert joe.error is not None
    assert joe.error.reason is Reason.PROGRAMME_ENDED
    assert stream.clients() == []
