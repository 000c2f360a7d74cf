"""The live stream: clients, counters, repeated registrations, responses to players."""

from __future__ import annotations

import attrs
import pytest
from fakes import FakeBody, FakePlayer, Relay

from m3uproxy.errors import Reason
from m3uproxy.live.stream import PlayerInfo

LAPTOP = PlayerInfo("192.0.2.1", "VLC", "ann")


def test_client_id_is_the_player_s_own_or_computed() -> None:
    relay = Relay()
    stream = relay.stream()
    relay.player(stream, player=attrs.evolve(LAPTOP, client_id="mine"))
    relay.player(stream, player=LAPTOP)
    relay.player(stream, player=LAPTOP)
    mine, first, second = [client.client_id for client in stream.clients()]
    assert mine == "mine"
    assert first == LAPTOP.computed_id(stream.id)
    assert first.startswith("client_")
    assert len(first) == len("client_") + 16
    assert second.startswith(first + "_")
    assert len(second) == len(first) + 9


def test_computed_id_depends_on_device_stream_and_user() -> None:
    name = LAPTOP.computed_id("s")
    assert LAPTOP.computed_id("s") == name
    assert LAPTOP.computed_id("t") != name
    for change in ({"ip_address": "192.0.2.2"}, {"user_agent": "mpv"}, {"username": None}):
        assert attrs.evolve(LAPTOP, **change).computed_id("s") != name


def test_clients_come_and_go() -> None:
    relay = Relay()
    stream = relay.stream()
    player = relay.player(stream, player=LAPTOP)
    (client,) = stream.clients()
    assert (client.ip_address, client.user_agent, client.username) == ("192.0.2.1", "VLC", "ann")
    assert client.bytes_served == 0
    relay.play(relay.dialler.last.answer(), 2)
    relay.settle()
    assert client.bytes_served == len(player.media) == stream.bytes_served
    player.transport.leave()
    relay.clock.advance(0)
    assert stream.clients() == []
    assert stream.bytes_served == len(player.media)


def test_counters_of_a_failover() -> None:
    relay = Relay()
    stream = relay.stream("http://a/1.ts", "http://b/1.ts")
    relay.player(stream)
    assert stream.current_url == "http://a/1.ts"
    relay.dialler.last.fail()
    assert (stream.history.error_count, stream.history.failover_attempts, stream.source_index) == (1, 1, 1)
    assert stream.current_url == "http://b/1.ts"
    assert stream.history.last_failover is not None
    relay.play(relay.dialler.last.answer(), 1)
    stream.fail_over()
    assert stream.source_index == 0
    assert stream.history.failover_attempts == 2


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (Reason.REFUSED, 502),
        (Reason.DNS, 502),
        (Reason.BAD_STATUS, 502),
        (Reason.CONNECT_TIMEOUT, 504),
        (Reason.FIRST_BYTE_TIMEOUT, 504),
        (Reason.NO_SLOT, 503),
    ],
)
def test_player_without_a_byte_gets_a_status(reason: Reason, status: int) -> None:
    relay = Relay(stream_retry_attempts=1)
    stream = relay.stream()
    players = [relay.player(stream) for _ in range(3)]
    relay.dialler.last.fail(reason)
    for player in players:
        assert player.refused is not None
        assert player.refused.reason is reason
        assert player.refused.player_status == status
        assert not player.transport.aborted
    assert stream.clients() == []
    relay.nothing_left()


def test_no_video_is_a_bad_gateway() -> None:
    relay = Relay(stream_retry_attempts=1)
    player = relay.player(relay.stream())
    relay.dialler.last.answer().bring(b"<html>")
    relay.pass_time(0.1)
    assert player.refused is not None
    assert player.refused.player_status == 502


def test_player_with_bytes_is_aborted() -> None:
    relay = Relay(stream_retry_attempts=1, stream_total_timeout=0)
    player = relay.player(relay.stream())
    body = relay.dialler.last.answer()
    relay.play(body, 2)
    body.end()
    relay.dialler.last.fail()
    assert player.transport.aborted
    assert player.refused is None


@pytest.mark.parametrize("how", ["never answers", "no access point", "joins during an outage"])
def test_waiting_player_is_refused_at_the_start_timeout(how: str) -> None:
    relay = Relay(start_timeout=20, stream_retry_attempts=1000, stream_total_timeout=0, join_wait=60)
    stream = relay.stream()
    began = relay.clock.seconds()
    if how == "joins during an outage":
        first = relay.player(stream)
        body = relay.dialler.last.answer()
        relay.play(body, 2)
        stream.broadcaster.ring.clear()
        body.end()
        began = relay.clock.seconds()
    player = relay.player(stream)
    if how == "no access point":
        body = relay.dialler.last.answer()
        for _ in range(250):
            if not body.closed:
                body.bring(b"G\x01\x00\x10" + bytes(184))
            relay.pass_time(0.1)
    else:
        relay.pass_time(25)
    assert player.refused is not None
    assert began + 19 <= relay.clock.seconds()
    if how == "joins during an outage":
        assert player.refused.reason is Reason.ENDED
        assert not first.transport.aborted
    else:
        assert player.refused.player_status == 504


def test_hanging_dial_ends_at_the_start_timeout() -> None:
    relay = Relay(start_timeout=20)
    player = relay.player(relay.stream())
    relay.pass_time(19.9)
    assert player.refused is None
    relay.pass_time(0.2)
    assert player.refused is not None
    assert relay.dialler.last.cancelled
    relay.nothing_left()


def test_deleted_and_stopping() -> None:
    relay = Relay()
    stream = relay.stream()
    waiting = relay.player(stream)
    assert relay.registry.delete(stream.id)
    assert waiting.refused is not None
    assert waiting.refused.player_status == 404
    assert relay.dialler.last.cancelled
    stream = relay.stream()
    playing = relay.player(stream)
    body = relay.dialler.last.answer()
    relay.play(body, 1)
    stopped = relay.registry.stop()
    assert playing.transport.aborted
    assert not stopped.called
    body.vanish()
    assert stopped.called
    relay.nothing_left()


def test_repeated_registration_with_clients() -> None:
    relay = Relay()
    stream = relay.stream("http://a/1.ts", "http://b/1.ts", metadata={"name": "old"})
    relay.player(stream)
    relay.dialler.last.fail()
    body = relay.dialler.last.answer()
    relay.play(body, 2)
    again = relay.stream("http://a/1.ts", "http://b/1.ts", "http://c/1.ts", metadata={"name": "new"})
    assert again is stream
    assert stream.spec.metadata == {"name": "old"}
    assert stream.spec.failover_urls == ("http://b/1.ts", "http://c/1.ts")
    assert stream.source_index == 1
    assert not body.closed
    assert stream.history.failover_attempts == 1


def test_repeated_registration_without_clients() -> None:
    relay = Relay()
    stream = relay.stream("http://a/1.ts", "http://b/1.ts", metadata={"name": "old"})
    player = relay.player(stream)
    relay.dialler.last.fail()
    body = relay.dialler.last.answer()
    relay.play(body, 2)
    player.transport.leave()
    relay.clock.advance(0)
    body.vanish()
    created = stream.created_at
    again = relay.stream("http://a/1.ts", metadata={"name": "new"})
    assert again is stream
    assert again.created_at == created
    assert stream.spec.metadata == {"name": "new"}
    assert (stream.source_index, stream.history.failover_attempts, stream.history.error_count) == (0, 0, 0)
    assert stream.history.last_failover is None
    dials = len(relay.dialler.dials)
    relay.player(stream)
    assert len(relay.dialler.dials) == dials + 1
    assert relay.dialler.last.request.url == "http://a/1.ts"


def test_repeated_registration_while_lingering_dials_nothing() -> None:
    relay = Relay(linger=30)
    stream = relay.stream()
    player = relay.player(stream)
    body = relay.dialler.last.answer()
    relay.play(body, 2)
    player.transport.leave()
    relay.clock.advance(0)
    relay.stream()
    assert not body.closed
    assert len(relay.dialler.dials) == 1


def test_the_same_place_for_the_same_player_counts_again() -> None:
    relay = Relay()
    stream = relay.stream()
    one = relay.player(stream, player=LAPTOP)
    two = relay.player(stream, player=LAPTOP)
    body: FakeBody = relay.dialler.last.answer()
    relay.play(body, 1)
    one.transport.leave()
    relay.clock.advance(0)
    assert len(stream.clients()) == 1
    relay.play(body, 1)
    relay.settle()
    assert stream.bytes_served == one.taken + two.taken


def test_player_may_leave_before_the_first_byte() -> None:
    relay = Relay()
    stream = relay.stream()
    player = FakePlayer(relay.clock).join(stream)
    other = relay.player(stream)
    player.transport.leave()
    relay.clock.advance(0)
    relay.play(relay.dialler.last.answer(), 1)
    assert player.heads == 0
    assert other.heads == 1
