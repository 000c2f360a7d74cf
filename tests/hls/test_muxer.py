"""Players of a live stream as HLS, on a clock: when the source is opened and closed, and who is told what."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from fakes import Relay
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


class Asked:
    """What came of asking for a playlist."""

    def __init__(self, audience, player: PlayerInfo) -> None:
        self.client = audience.hls_clients.register(player)
        self.body: bytes | None = None
        self.error: SourceError | None = None
        self.deferred: Deferred[bytes] = audience.playlist(self.client)
        self.deferred.addCallbacks(self._text, self._failed)

    def _text(self, body: bytes) -> None:
        self.body = body

    def _failed(self, failure) -> None:
        self.error = failure.value


def count(asked: Asked) -> int:
    return asked.body.count(b"#EXTINF")


def test_interface() -> None:
    verifyObject(IBlockConsumer, Relay().stream().muxer)


def test_the_first_opens_the_source_and_all_wait_for_the_first_segment() -> None:
    relay = Relay()
    stream = relay.stream()
    joe, ann = Asked(stream.muxer, JOE), Asked(stream.muxer, ANN)
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


def test_the_date_of_a_segment_stays_when_the_time_of_day_is_put_right() -> None:
    relay = Relay()
    stream = relay.stream()
    joe = Asked(stream.muxer, JOE)
    relay.play(relay.dialler.last.answer(), 3)
    stream.muxer._wall = lambda: datetime(2001, 1, 1, tzinfo=timezone.utc)
    ann = Asked(stream.muxer, ANN)
    dates = [next(line for line in asked.body.split(b"\n") if b"DATE-TIME" in line) for asked in (joe, ann)]
    assert dates[0] == dates[1]
    relay.registry.delete(stream.id)
    relay.clock.advance(0)
    assert relay.clock.getDelayedCalls() == []


def test_who_comes_to_a_stream_that_is_watched_gets_what_the_ring_has_at_once() -> None:
    relay = Relay()
    stream = relay.stream()
    relay.player(stream)
    body = relay.dialler.last.answer()
    relay.play(body, 8)
    asked = Asked(stream.muxer, JOE)
    assert count(asked) == 1
    assert len(relay.dialler.dials) == 1


def test_it_is_closed_behind_the_last_that_has_been_silent_for_too_long() -> None:
    assert LIFETIME >= 3 * TARGET_DURATION
    relay = Relay()
    stream = relay.stream()
    Asked(stream.muxer, JOE)
    body = relay.dialler.last.answer()
    relay.play(body, 4)
    Asked(stream.muxer, ANN)
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


def test_who_waits_or_is_being_sent_a_segment_is_not_silent() -> None:
    relay = Relay(start_timeout=300, stream_total_timeout=300)
    stream = relay.stream()
    Asked(stream.muxer, JOE)
    relay.clock.advance(0.5)
    stream.muxer.hls_clients.register(ANN)
    for _ in range(3):
        stream.muxer.hls_clients.get("joe").active_at -= LIFETIME
    stream.run_housekeeping()
    assert "joe" in [client.client_id for client in stream.clients()]
    body = relay.dialler.last.answer()
    relay.play(body, 4)
    client, taken = stream.muxer.hls_clients.register(ANN), []
    parcel = stream.muxer.send(stream.muxer.segment(0), client, taken.append, lambda: None)
    parcel.pauseProducing()
    client.active_at -= 2 * LIFETIME
    stream.run_housekeeping()
    assert client in stream.clients()
    parcel.resumeProducing()
    results = []
    parcel.ended.addCallback(results.append)
    assert results == [True]
    assert b"".join(taken) == b"".join(stream.muxer.segment(0).buffers)
    assert client.bytes_served == stream.muxer.segment(0).size
    client.active_at -= 2 * LIFETIME
    stream.run_housekeeping()
    assert client not in stream.clients()


def test_nothing_in_time() -> None:
    relay = Relay(start_timeout=10)
    stream = relay.stream()
    asked = Asked(stream.muxer, JOE)
    relay.clock.pump([0.1] * 101)
    assert asked.error.player_status == 504


def test_who_stops_waiting() -> None:
    relay = Relay()
    stream = relay.stream()
    asked = Asked(stream.muxer, JOE)
    asked.deferred.cancel()
    assert asked.error is not None
    assert asked.client.open_responses == {}
    assert stream.abort_client("joe") == 1
    relay.clock.advance(0)
    assert relay.dialler.last.cancelled
    assert relay.clock.getDelayedCalls() == []


def test_a_stream_that_is_over() -> None:
    relay = Relay()
    stream = relay.stream()
    stream.close(Reason.DELETED)
    asked = Asked(stream.muxer, JOE)
    assert asked.error.reason is Reason.DELETED
    assert stream.clients() == []
    assert relay.clock.getDelayedCalls() == []


@pytest.mark.parametrize("leave", ["yield_slot", "end"])
def test_all_are_sent_away(leave) -> None:
    relay = Relay()
    stream = relay.stream()
    Asked(stream.muxer, JOE)
    body = relay.dialler.last.answer()
    relay.play(body, 4)
    aborted = []
    client = stream.muxer.hls_clients.register(JOE)
    parcel = stream.muxer.send(
        stream.muxer.segment(0), client, lambda _: parcel.pauseProducing(), lambda: aborted.append(True)
    )
    parcel.start()
    stream.yield_slot() if leave == "yield_slot" else stream.close(Reason.DELETED)
    assert aborted == [True]
    parcel.stopProducing()
    relay.clock.advance(0)
    assert stream.clients() == []
    assert body.closed
    assert relay.clock.getDelayedCalls() == []


@pytest.mark.parametrize("joined", list(SpliceKind))
def test_what_is_a_discontinuity(joined) -> None:
    relay = Relay()
    stream = relay.stream()
    Asked(stream.muxer, JOE)
    body = relay.dialler.last.answer()
    relay.play(body, 4)
    stream.source_joined(SpliceReport(joined, 0.0, changed=("x",)))
    if joined is SpliceKind.FORMAT_CHANGE:
        assert stream.clients() == []
        return
    relay.play(body, 12)
    text = Asked(stream.muxer, JOE).body
    assert (b"#EXT-X-DISCONTINUITY\n" in text) is (joined in (SpliceKind.PLAIN, SpliceKind.CODEC_CHANGE))


def parcel(*pieces: bytes):
    clock, taken, results = Clock(), [], []
    made = MemoryProducer(clock, pieces, 5.0, taken.append)
    made.ended.addCallback(results.append)
    return clock, made, taken, results


def test_a_parcel_goes_at_the_player_s_pace() -> None:
    clock, made, taken, results = parcel(b"a", b"", b"b")
    made.pauseProducing()
    made.start()
    assert taken == []
    clock.advance(4.9)
    made.resumeProducing()
    assert (taken, results) == ([b"a", b"b"], [True])
    made.stopProducing()
    assert results == [True]
    assert clock.getDelayedCalls() == []


def test_a_parcel_that_nobody_takes_is_given_up() -> None:
    clock, made, taken, results = parcel(b"a")
    made.pauseProducing()
    made.start()
    clock.advance(3)
    made.pauseProducing()
    clock.advance(2)
    assert (taken, results) == ([], [False])
    made.resumeProducing()
    assert taken == []
    assert clock.getDelayedCalls() == []


def test_a_player_of_the_stream_that_leaves_does_not_take_it_along() -> None:
    relay = Relay()
    stream = relay.stream()
    viewer = relay.player(stream)
    body = relay.dialler.last.answer()
    Asked(stream.muxer, JOE)
    relay.play(body, 4)
    viewer.transport.leave()
    relay.clock.advance(0)
    assert not body.closed
    assert stream.abort_client("joe") == 1
    relay.clock.advance(0)
    assert body.closed
