"""Players and providers of a file, one reactor turn at a time."""

from __future__ import annotations

import attrs
import pytest
from fakes import FakeBody
from kept_exceptions import errors_with_frames
from vod_rig import ETAG, SIZE, PlayerConnection, file_bytes

from m3uproxy.core.failover.causes import status_error
from m3uproxy.core.http.byte_ranges import ByteRange
from m3uproxy.downstream.socket_writer import BufferedWriter
from m3uproxy.errors import Reason, SourceError
from m3uproxy.live.stream import PlayerInfo
from m3uproxy.vod.client import HANDOVER_TIMEOUT
from m3uproxy.vod.file_reader import MAX_SKIP
from m3uproxy.vod.session import LINGER

M = 1_000_000


def header(dial, name: str) -> str | None:
    return dict(dial.request.headers).get(name)


def test_a_range_is_requested_open_ended_with_the_streams_headers(make_rig):
    rig = make_rig()
    response = rig.ask(ByteRange(5 * M, 6 * M - 1))
    dial = rig.dialler.last
    assert dial.request.headers == (("X-Key", "k"), ("Range", "bytes=5000000-"))
    assert response.head is None, "no headers before the first byte"
    body = rig.answer()
    assert response.head is None
    body.bring(file_bytes(5 * M, 7 * M))
    representation, span = response.head
    assert (representation.length, representation.etag, len(span)) == (SIZE, ETAG, M)
    rig.drain(response)
    assert response.finished
    assert response.body == file_bytes(5 * M, 6 * M)


def test_a_paused_player_pauses_its_provider_for_an_hour(make_rig):
    """Nothing is read and no timer runs, but the client is listed. Then the response continues."""
    rig = make_rig()
    response = rig.ask()
    body = rig.answer(status=200)
    for place in range(0, 4 * M, 50_000):
        body.bring(file_bytes(place, place + 50_000))
    rig.turn()
    rig.clock.pump([10, 5])  # the silence timer ends, because no bytes are awaited
    assert body.paused
    held = len(body.held)
    assert 4 * M - held < M, "at most the kernel's queue and two pieces were read"
    assert rig.clock.getDelayedCalls() == []
    for _ in range(3600):
        rig.clock.advance(1)
        rig.stream.run_housekeeping()
    assert (len(rig.stream.clients()), len(body.held), len(rig.dialler.dials)) == (1, held, 1)
    rig.drain(response)
    assert response.body == file_bytes(0, 4 * M)
    rig.clock.advance(0.1)  # the body may be paused while more gathers
    assert not body.paused


def test_a_player_paused_for_too_long_is_aborted(make_rig):
    rig = make_rig(pause=3600.0)
    response = rig.ask()
    rig.answer(status=200).bring(file_bytes(0, 4 * M))
    rig.turn()
    rig.clock.advance(3599)
    rig.stream.run_housekeeping()
    assert not response.aborted
    rig.clock.advance(2)
    rig.stream.run_housekeeping()
    assert response.aborted


def test_a_body_that_ends_during_a_pause_is_dialled_again_after_it(make_rig):
    rig = make_rig()
    response = rig.ask()
    body = rig.answer()
    body.bring(file_bytes(0, 2 * M))
    rig.turn()
    body.end(SourceError(Reason.RESET))
    rig.clock.advance(3000)
    assert len(rig.dialler.dials) == 1
    rig.drain(response)
    assert len(rig.dialler.dials) == 2
    assert header(rig.dialler.last, "Range") == f"bytes={2 * M - 4096}-"
    assert header(rig.dialler.last, "If-Range") == ETAG
    rig.answer().bring(file_bytes(2 * M - 4096, 3 * M))
    rig.drain(response)
    assert response.body == file_bytes(0, 3 * M)


def test_silence_is_a_failure_only_while_bytes_are_awaited(make_rig):
    rig = make_rig(silence=10.0)
    response = rig.ask()
    body = rig.answer()
    body.bring(file_bytes(0, M))
    rig.drain(response)
    rig.clock.pump([0.1] * 90)
    assert not body.closed
    body.bring(file_bytes(M, M + 1000))
    rig.drain(response)
    rig.clock.pump([0.1] * 99)
    assert not body.closed
    rig.clock.pump([0.1] * 2)
    assert body.closed
    assert len(rig.dialler.dials) == 2


def test_a_suspended_process_does_not_count_as_silence(make_rig):
    rig = make_rig(silence=10.0)
    response = rig.ask()
    body = rig.answer()
    body.bring(file_bytes(0, M))
    rig.drain(response)
    rig.clock.advance(500)
    assert not body.closed
    body.bring(file_bytes(M, M + 5))
    rig.drain(response)
    rig.clock.advance(1)
    assert not body.closed


@pytest.mark.parametrize("etag", [ETAG, ""])
def test_different_bytes_of_the_same_url_are_not_sent(make_rig, etag):
    rig = make_rig()
    response = rig.ask()
    body = rig.answer(etag)
    body.bring(file_bytes(0, 3 * M))
    rig.drain(response)
    body.end(SourceError(Reason.RESET))
    second = rig.answer(etag)
    second.bring(file_bytes(3 * M - 4096, 4 * M, seed=1))
    rig.drain(response)
    assert second.closed
    assert response.body == file_bytes(0, 3 * M)
    assert not response.finished


def test_a_body_with_another_etag_is_not_read(make_rig):
    rig = make_rig()
    response = rig.ask()
    body = rig.answer()
    body.bring(file_bytes(0, 3 * M))
    rig.drain(response)
    body.end(SourceError(Reason.RESET))
    second = rig.answer('"another"', status=200)
    assert second.closed
    assert second.consumer is None


def test_a_small_gap_is_skipped_and_a_large_one_dialled(make_rig):
    rig = make_rig()
    connection = PlayerConnection()
    rig.ask(ByteRange(5 * M, 6 * M - 1), connection=connection, kernel=4 * M)
    body = rig.answer()
    body.bring(file_bytes(5 * M, 6 * M))
    rig.drain(rig.responses[0])
    assert rig.responses[0].finished
    assert body.paused
    near = rig.ask(ByteRange(6 * M + MAX_SKIP, 6 * M + MAX_SKIP + 9), connection=connection)
    body.bring(file_bytes(6 * M, 6 * M + MAX_SKIP + 10))
    rig.drain(near)
    assert near.body == file_bytes(6 * M + MAX_SKIP, 6 * M + MAX_SKIP + 10)
    far = rig.ask(ByteRange(9 * M, 9 * M + 9), connection=connection)
    assert body.closed
    assert len(rig.dialler.dials) == 2
    rig.answer().bring(file_bytes(9 * M, 10 * M))
    rig.drain(far)
    assert far.body == file_bytes(9 * M, 9 * M + 10)


def test_an_unused_provider_connection_is_closed_after_the_linger_time(make_rig):
    rig = make_rig()
    connection = PlayerConnection()
    response = rig.ask(ByteRange(5 * M, 6 * M - 1), connection=connection)
    body = rig.answer()
    body.bring(file_bytes(5 * M, 7 * M))
    rig.drain(response)
    rig.clock.advance(LINGER - 0.1)
    assert not body.closed
    rig.clock.advance(0.2)
    assert body.closed
    assert len(rig.stream.clients()) == 1, "the player's connection is still open"
    connection.close()
    assert rig.stream.clients() == []


def test_a_provider_without_ranges_is_asked_for_the_whole_file(make_rig):
    """Also behind the cached bytes. If the provider sends a range after all, bytes before the position are skipped."""
    rig = make_rig()
    first = rig.ask()
    rig.answer(status=200).bring(file_bytes(0, M))
    rig.drain(first)
    first.response.stopProducing()
    for kept, status in ((M, 200), (2 * M, 206)):
        again = rig.ask(ByteRange(30 * M))
        rig.drain(again)
        assert again.body == file_bytes(0, kept)
        assert header(rig.dialler.last, "Range") == "bytes=0-"
        rig.answer(status=status).bring(file_bytes(0, kept + M))
        rig.drain(again)
        assert again.body == file_bytes(0, kept + M)
        assert again.head[1] is None, "the whole file"
        again.response.stopProducing()
    assert len(rig.dialler.dials) == 3


def test_a_disconnected_player_leaves_no_client_and_no_timer(make_rig):
    rig = make_rig()
    response = rig.ask()
    body = rig.answer()
    body.bring(file_bytes(0, M))
    response.response.stopProducing()
    response.connection.close()
    assert body.closed
    assert rig.stream.clients() == []
    assert rig.clock.getDelayedCalls() == [] or rig.clock.advance(11) is None


def test_the_newest_request_gets_the_session_and_returns_it(make_rig):
    rig = make_rig()
    first = rig.ask(kernel=300_000)
    body = rig.answer()
    body.bring(file_bytes(0, 4 * M))
    rig.turn()
    second = rig.ask(ByteRange(30 * M, 31 * M - 1), connection=PlayerConnection())
    assert body.closed
    rig.answer().bring(file_bytes(30 * M, 32 * M))
    rig.drain(second)
    assert second.finished
    assert second.body == file_bytes(30 * M, 31 * M)
    rig.drain(first)
    assert header(rig.dialler.last, "Range") == f"bytes={len(first.body) - 4096}-"
    assert len(rig.dialler.dials) == 3
    rig.answer().bring(file_bytes(len(first.body) - 4096, 5 * M))
    rig.drain(first)
    assert first.body == file_bytes(0, 5 * M)
    assert len(rig.stream.clients()) == 1


def test_two_responses_that_are_both_read_become_two_clients(make_rig):
    rig = make_rig()
    first, second = rig.ask(ByteRange(3 * M)), rig.ask(ByteRange(20 * M))
    assert [dial.cancelled for dial in rig.dialler.dials] == [True, False]
    body = rig.answer()
    body.bring(file_bytes(20 * M, 21 * M))
    rig.drain(second)
    rig.clock.advance(HANDOVER_TIMEOUT - 0.1)
    assert len(rig.stream.clients()) == 1
    body.bring(file_bytes(21 * M, 22 * M))
    rig.drain(second)
    rig.clock.advance(0.2)
    assert len({client.client_id for client in rig.stream.clients()}) == 2
    assert not body.closed
    rig.answer().bring(file_bytes(3 * M, 4 * M))
    rig.drain(first)
    assert first.body == file_bytes(3 * M, 4 * M)
    assert sum(client.bytes_served for client in rig.stream.clients()) == rig.stream.bytes_served == 3 * M


def test_a_paused_response_yields_the_session(make_rig):
    """The player of the response does not read, so it has abandoned it for the other one."""
    rig = make_rig()
    first = rig.ask(ByteRange(3 * M))
    rig.ask(ByteRange(20 * M), kernel=100_000)
    rig.answer().bring(file_bytes(20 * M, 24 * M))
    rig.turn()
    rig.clock.advance(HANDOVER_TIMEOUT + 0.1)
    assert len(rig.stream.clients()) == 1
    rig.answer().bring(file_bytes(3 * M, 4 * M))
    rig.drain(first)
    assert first.body == file_bytes(3 * M, 4 * M)


def test_different_players_have_separate_sessions(make_rig):
    rig = make_rig()
    players = [attrs.evolve(rig.SAME, client_id=name) for name in "ab"]
    for player in players:
        rig.ask(player=player)
    assert [dial.pending for dial in rig.dialler.dials] == [True, True]
    assert [client.client_id for client in rig.stream.clients()] == ["a", "b"]


def test_a_silent_provider_is_refused_at_the_start_timeout(make_rig):
    rig = make_rig(start=20.0)
    response = rig.ask()
    rig.clock.pump([1] * 21)
    assert response.refused is not None
    assert response.refused.player_status == 504


def test_a_refusal_by_all_sources_is_passed_on(make_rig):
    rig = make_rig(2)
    response = rig.ask()
    for _ in range(2):
        rig.dialler.last.deferred.errback(SourceError(Reason.BAD_STATUS, "HTTP 404", 404))
    assert response.refused.status == 404
    assert len(rig.dialler.dials) == 2


def test_416_is_passed_on_without_asking_another_source(make_rig):
    rig = make_rig(2)
    response = rig.ask(ByteRange(SIZE))
    rig.dialler.last.deferred.errback(SourceError(Reason.BAD_STATUS, "HTTP 416", 416, SIZE))
    assert response.range_refused == [SIZE]
    assert len(rig.dialler.dials) == 1


def test_416_of_a_known_file_needs_no_request(make_rig):
    rig = make_rig()
    connection = PlayerConnection()
    response = rig.ask(ByteRange(5 * M, 6 * M - 1), connection=connection)
    rig.answer().bring(file_bytes(5 * M, 6 * M))
    rig.drain(response)
    assert rig.ask(ByteRange(SIZE), connection=connection).range_refused == [SIZE]
    rig.clock.advance(301)
    rig.ask(ByteRange(SIZE), connection=connection)
    assert len(rig.dialler.dials) == 2, "the file is no longer known"


def test_deletion_refuses_waiting_players_and_aborts_the_others(make_rig):
    rig = make_rig()
    playing = rig.ask()
    body = rig.answer()
    body.bring(file_bytes(0, M))
    waiting = rig.ask(ByteRange(30 * M), player=PlayerInfo("192.0.2.2"))
    body.lingers = True
    ended = rig.stream.close(Reason.DELETED)
    assert playing.aborted
    assert waiting.refused.reason is Reason.DELETED
    assert rig.stream.clients() == []
    assert rig.dialler.last.cancelled
    assert not ended.called
    body.vanish()
    assert ended.called


def test_body_of_another_stream_is_left_while_a_socket_closes(make_rig):
    """A dial that is cancelled meanwhile would lose it."""
    rig = make_rig()
    connection, opened = PlayerConnection(), FakeBody()
    rig.ask(connection=connection)
    body = rig.answer()
    body.bring(file_bytes(0, M))
    body.lingers = True
    rig.ask(ByteRange(30 * M), connection=connection)
    rig.opened.keep(rig.stream.requests[0], opened)
    rig.stream.close(Reason.DELETED)
    assert rig.opened.take(rig.stream.requests[0]) is opened
    assert len(rig.dialler.dials) == 1


def test_concurrent_head_requests_share_one_dial(make_rig):
    rig = make_rig()
    answers = [rig.stream.describe(), rig.stream.describe()]
    assert [dial.request.method for dial in rig.dialler.dials] == ["HEAD"]
    assert header(rig.dialler.last, "Range") is None

    body = FakeBody(headers={"Content-Length": "77", "Accept-Ranges": "bytes"})
    rig.dialler.last.answer(body)
    assert [answer.result.length for answer in answers] == [77, 77]
    assert body.closed
    assert rig.stream.describe().result.length == 77


@pytest.mark.parametrize("how", ["no length", "nothing", "silence"])
def test_an_unanswered_head_is_retried_with_get(make_rig, how):
    rig = make_rig()
    asked = rig.stream.describe()
    if how == "no length":
        rig.dialler.last.answer(FakeBody(headers={"Content-Length": "0"}))
    else:
        rig.dialler.last.fail(Reason.RESET if how == "nothing" else Reason.FIRST_BYTE_TIMEOUT)
    rig.clock.advance(1.1)
    assert header(rig.dialler.last, "Range") == "bytes=0-0"
    rig.answer()
    assert asked.result.length == SIZE
    assert len(rig.dialler.dials) == 2


def test_a_cancelled_head_request_completes(make_rig):
    rig = make_rig()
    asking = rig.stream.describe()
    asking.addErrback(lambda _: None)
    asking.cancel()
    rig.dialler.last.deferred.errback(SourceError(Reason.BAD_STATUS, "HTTP 500", 500))
    assert [dial.request.method for dial in rig.dialler.dials] == ["HEAD", "GET"]
    assert header(rig.dialler.last, "Range") == "bytes=0-0"
    rig.answer()
    assert rig.stream.describe().result.length == SIZE


def test_head_waits_for_the_session_of_a_client(make_rig):
    """Also while the session is dialled, and long after it was opened."""
    rig = make_rig(silence=1000.0)
    response = rig.ask()
    asked = rig.stream.describe()
    assert len(rig.dialler.dials) == 1
    body = rig.answer()
    assert not asked.called, "the body may be an HTML page"
    body.bring(file_bytes(0, M))
    assert (asked.result.length, asked.result.etag) == (SIZE, ETAG)
    for place in range(1, 5):
        rig.clock.pump([1.0] * 99)
        body.bring(file_bytes(place * M, (place + 1) * M))
        rig.drain(response)
    assert rig.stream.known_file is None
    assert rig.stream.describe().result.length == SIZE
    assert len(rig.dialler.dials) == 1


def test_a_client_replaces_the_connection_of_a_head_request(make_rig):
    rig = make_rig()
    asked = rig.stream.describe()
    rig.ask()
    first, second = rig.dialler.dials
    assert (first.request.method, first.cancelled, second.request.method) == ("HEAD", True, "GET")
    assert not asked.called
    rig.answer().bring(file_bytes(0, M))
    assert asked.result.length == SIZE


@pytest.mark.parametrize("how", ["left", "refused", "deleted"])
def test_head_dials_when_the_client_learned_nothing(make_rig, how):
    rig = make_rig()
    response = rig.ask()
    asked = rig.stream.describe()
    failed = []
    asked.addErrback(failed.append)
    if how == "left":
        response.response.stopProducing()
    elif how == "refused":
        rig.dialler.last.deferred.errback(status_error(404))
    else:
        rig.stream.close(Reason.DELETED)
        assert failed[0].value.reason is Reason.DELETED
        assert len(rig.dialler.dials) == 1
        return
    assert [dial.request.method for dial in rig.dialler.dials] == ["GET", "HEAD"]
    rig.answer_head()
    assert asked.result.length == SIZE
    assert failed == []


@pytest.mark.parametrize(("status", "asked"), [(403, 2), (404, 1), (500, 2)])
def test_number_of_requests_for_each_status(make_rig, status, asked):
    rig = make_rig()
    response = rig.ask()
    while response.refused is None:
        rig.dialler.last.deferred.errback(status_error(status))
        rig.clock.advance(0.6)
    assert len(rig.dialler.dials) == asked
    assert response.refused.status == status


def test_film_waits_for_an_account_with_too_many_connections(make_rig):
    rig = make_rig()
    response = rig.ask()
    for _ in range(4):
        rig.dialler.last.deferred.errback(status_error(458))
        rig.clock.advance(3.7)
    assert response.refused is None
    rig.answer(status=200).bring(file_bytes(0, M))
    rig.drain(response)
    assert response.head is not None


@pytest.mark.parametrize(("sources", "stalled"), [(1, False), (2, True)])
def test_slow_film_is_awaited_while_no_other_source_is_left(make_rig, sources, stalled):
    rig = make_rig(sources=sources)
    rig.ask()
    assert rig.dialler.last.timeouts.patient is (sources == 1)
    body = rig.answer()
    rig.clock.pump([0.5] * 30)
    assert body.closed is stalled


def test_a_dial_waits_until_the_previous_socket_has_closed(make_rig):
    rig = make_rig()
    connection = PlayerConnection()
    response = rig.ask(ByteRange(3 * M), connection=connection)
    body = rig.answer()
    body.lingers = True
    body.bring(file_bytes(3 * M, 4 * M))
    response.response.stopProducing()
    again = rig.ask(ByteRange(30 * M), connection=connection)
    assert body.closed
    assert len(rig.dialler.dials) == 1
    body.vanish()
    assert len(rig.dialler.dials) == 2
    body = rig.answer()
    body.lingers = True
    body.bring(file_bytes(30 * M, 31 * M))
    again.response.stopProducing()
    rig.ask(ByteRange(40 * M), connection=connection)
    rig.clock.advance(0.9)
    assert len(rig.dialler.dials) == 2
    rig.clock.advance(0.2)
    assert len(rig.dialler.dials) == 3, "the wait has a limit"
    rig.answer().bring(file_bytes(40 * M, 41 * M))


@pytest.mark.parametrize("seconds", [0, 50])
def test_the_timeline_states_how_long_a_source_ran(make_rig, seconds):
    rig = make_rig(2)
    response = rig.ask()
    body = rig.answer()
    body.bring(file_bytes(0, M))
    rig.drain(response)
    for place in range(M, M + 1000 * seconds, 1000):
        rig.clock.advance(1)
        body.bring(file_bytes(place, place + 1000))
        rig.drain(response)
    rig.clock.advance(3)
    body.end(SourceError(Reason.RESET))
    rig.dialler.last.deferred.errback(SourceError(Reason.REFUSED))
    entries = rig.stream.history.entries()
    assert [entry["measured"]["ran_s"] for entry in entries] == [seconds, 0]
    assert [(entry["from_index"], entry["to_index"]) for entry in entries] == [(0, 0), (0, 1)]


@pytest.mark.parametrize("watched", [True, False])
def test_a_manual_failover_is_in_the_timeline(make_rig, watched):
    rig = make_rig(3)
    if watched:
        rig.ask()
        rig.answer().bring(file_bytes(0, M))
    rig.stream.fail_over()
    rig.stream.fail_over(0)
    entries = rig.stream.history.entries()
    assert [(entry["from_index"], entry["to_index"]) for entry in entries] == [(0, 1), (1, 0)]
    assert [entry["to"] for entry in entries] == [f"http://{number}.example/film.mp4" for number in (1, 0)]
    assert all(entry["measured"] == {} for entry in entries)


def two_devices(rig):
    """Return the responses and bodies of two devices with the same player data, which both play."""
    first, second = rig.ask(ByteRange(3 * M)), rig.ask(ByteRange(20 * M))
    bodies = [rig.answer()]
    bodies[0].bring(file_bytes(20 * M, 21 * M))
    rig.drain(second)
    rig.clock.advance(HANDOVER_TIMEOUT + 0.1)
    bodies.insert(0, rig.answer())
    bodies[0].bring(file_bytes(3 * M, 4 * M))
    rig.drain(first)
    assert len(rig.stream.clients()) == 2
    return [first, second], bodies


@pytest.mark.parametrize("same_connection", [True, False])
@pytest.mark.parametrize("which", [0, 1])
def test_a_seek_of_one_of_two_equal_devices_keeps_them_apart(make_rig, which, same_connection):
    rig = make_rig()
    responses, bodies = two_devices(rig)
    responses[which].response.stopProducing()
    if not same_connection:
        responses[which].connection.close()
        connection = PlayerConnection()
        rig.connections.append(connection)
    again = rig.ask(ByteRange(40 * M), connection=responses[which].connection if same_connection else connection)
    assert bodies[which].closed
    assert not bodies[1 - which].closed
    rig.answer().bring(file_bytes(40 * M, 41 * M))
    rig.drain(again)
    rig.clock.advance(HANDOVER_TIMEOUT + 0.1)
    assert len(rig.dialler.dials) == 4
    assert len(rig.stream.clients()) == 2


def test_a_waiting_response_is_served_when_the_other_ends(make_rig):
    rig = make_rig()
    first, second = rig.ask(ByteRange(3 * M)), rig.ask(ByteRange(20 * M, 21 * M - 1))
    rig.answer().bring(file_bytes(20 * M, 22 * M))
    rig.drain(second)
    assert second.finished
    assert header(rig.dialler.last, "Range") == f"bytes={3 * M}-"
    rig.answer().bring(file_bytes(3 * M, 4 * M))
    rig.drain(first)
    assert first.body == file_bytes(3 * M, 4 * M)
    assert len(rig.stream.clients()) == 1


def test_a_player_over_tls(make_rig):
    """All bytes go through the transport, because the socket belongs to OpenSSL. The transport pauses the response."""
    rig = make_rig()
    response = rig.ask(ByteRange(3 * M, 5 * M - 1), writer=BufferedWriter)
    body = rig.answer()
    for place in range(3 * M, 5 * M, 50_000):
        body.bring(file_bytes(place, place + 50_000))
    rig.turn()
    assert body.paused
    assert response.socket.queued < M
    assert not response.finished
    rig.drain(response)
    assert response.finished
    assert response.body == file_bytes(3 * M, 5 * M)


def test_failed_sources_keep_no_frames(make_rig):
    rig = make_rig(2)
    rig.ask()
    for _ in range(2):
        rig.dialler.last.fail(Reason.REFUSED)
        rig.clock.advance(0.1)
    assert rig.stream.clients()[0].last_error == SourceError(Reason.REFUSED)
    assert errors_with_frames() == []
