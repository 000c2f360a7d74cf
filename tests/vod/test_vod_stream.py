"""Players and providers of a film, turn by turn."""

from __future__ import annotations

import attrs
import pytest
from cinema import ETAG, SIZE, Link, film
from fakes import FakeBody

from m3uproxy.core.http.byte_ranges import ByteRange
from m3uproxy.downstream.socket_writer import BufferedWriter
from m3uproxy.errors import Reason, SourceError
from m3uproxy.live.stream import PlayerInfo
from m3uproxy.vod.client import PATIENCE
from m3uproxy.vod.file_reader import SKIP
from m3uproxy.vod.session import LINGER

M = 1_000_000


def header(dial, name: str) -> str | None:
    return dict(dial.request.headers).get(name)


def test_a_part_is_asked_for_up_to_the_end_with_the_stream_s_headers(cinema):
    house = cinema()
    response = house.ask(ByteRange(5 * M, 6 * M - 1))
    dial = house.dialler.last
    assert dial.request.headers == (("X-Key", "k"), ("Range", "bytes=5000000-"))
    assert response.began is None, "nothing is said before the first byte"
    body = house.answer()
    assert response.began is None
    body.bring(film(5 * M, 7 * M))
    edition, span = response.began
    assert (edition.length, edition.etag, len(span)) == (SIZE, ETAG, M)
    house.drain(response)
    assert response.finished
    assert response.body == film(5 * M, 6 * M)


def test_a_pause_of_an_hour(cinema):
    """Nothing is read, no timer runs, the client counts; then it goes on where it was."""
    house = cinema()
    response = house.ask()
    body = house.answer(status=200)
    for place in range(0, 4 * M, 50_000):
        body.bring(film(place, place + 50_000))
    house.turn()
    house.clock.advance(15)  # the last silence timer finds that nothing is waited for
    assert body.paused
    held = len(body.held)
    assert 4 * M - held < M, "the kernel's queue and a piece or two"
    assert house.clock.getDelayedCalls() == []
    for _ in range(3600):
        house.clock.advance(1)
        house.title.keep_house()
    assert (len(house.title.clients()), len(body.held), len(house.dialler.dials)) == (1, held, 1)
    house.drain(response)
    assert response.body == film(0, 4 * M)
    house.clock.advance(0.1)  # it may rest while more gathers
    assert not body.paused


def test_a_pause_has_an_end(cinema):
    house = cinema(pause=3600.0)
    response = house.ask()
    house.answer(status=200).bring(film(0, 4 * M))
    house.turn()
    house.clock.advance(3599)
    house.title.keep_house()
    assert not response.aborted
    house.clock.advance(2)
    house.title.keep_house()
    assert response.aborted


def test_a_provider_that_closes_during_a_pause_is_asked_again_when_it_is_over(cinema):
    house = cinema()
    response = house.ask()
    body = house.answer()
    body.bring(film(0, 2 * M))
    house.turn()
    body.end(SourceError(Reason.RESET))
    house.clock.advance(3000)
    assert len(house.dialler.dials) == 1
    house.drain(response)
    assert len(house.dialler.dials) == 2
    assert header(house.dialler.last, "Range") == f"bytes={2 * M - 4096}-"
    assert header(house.dialler.last, "If-Range") == ETAG
    house.answer().bring(film(2 * M - 4096, 3 * M))
    house.drain(response)
    assert response.body == film(0, 3 * M)


def test_silence_is_a_failure_only_while_more_is_wanted(cinema):
    house = cinema(silence=10.0)
    response = house.ask()
    body = house.answer()
    body.bring(film(0, M))
    house.drain(response)
    house.clock.pump([0.1] * 90)
    assert not body.closed
    body.bring(film(M, M + 1000))
    house.drain(response)
    house.clock.pump([0.1] * 99)
    assert not body.closed
    house.clock.pump([0.1] * 2)
    assert body.closed
    assert len(house.dialler.dials) == 2


def test_a_process_that_was_stopped_does_not_blame_the_provider(cinema):
    house = cinema(silence=10.0)
    response = house.ask()
    body = house.answer()
    body.bring(film(0, M))
    house.drain(response)
    house.clock.advance(500)
    assert not body.closed
    body.bring(film(M, M + 5))
    house.drain(response)
    house.clock.advance(1)
    assert not body.closed


@pytest.mark.parametrize("etag", [ETAG, ""])
def test_other_bytes_under_the_same_name_are_not_sent(cinema, etag):
    house = cinema()
    response = house.ask()
    body = house.answer(etag)
    body.bring(film(0, 3 * M))
    house.drain(response)
    body.end(SourceError(Reason.RESET))
    second = house.answer(etag)
    second.bring(film(3 * M - 4096, 4 * M, seed=1))
    house.drain(response)
    assert second.closed
    assert response.body == film(0, 3 * M)
    assert not response.finished


def test_another_file_is_not_even_read(cinema):
    house = cinema()
    response = house.ask()
    body = house.answer()
    body.bring(film(0, 3 * M))
    house.drain(response)
    body.end(SourceError(Reason.RESET))
    second = house.answer('"another"', status=200)
    assert second.closed
    assert second.consumer is None


def test_what_begins_close_behind_is_read_up_to(cinema):
    house = cinema()
    link = Link()
    house.ask(ByteRange(5 * M, 6 * M - 1), link=link, kernel=4 * M)
    body = house.answer()
    body.bring(film(5 * M, 6 * M))
    house.drain(house.responses[0])
    assert house.responses[0].finished
    assert body.paused
    near = house.ask(ByteRange(6 * M + SKIP, 6 * M + SKIP + 9), link=link)
    body.bring(film(6 * M, 6 * M + SKIP + 10))
    house.drain(near)
    assert near.body == film(6 * M + SKIP, 6 * M + SKIP + 10)
    far = house.ask(ByteRange(9 * M, 9 * M + 9), link=link)
    assert body.closed
    assert len(house.dialler.dials) == 2
    house.answer().bring(film(9 * M, 10 * M))
    house.drain(far)
    assert far.body == film(9 * M, 9 * M + 10)


def test_a_connection_that_nobody_uses_is_closed_soon(cinema):
    house = cinema()
    link = Link()
    response = house.ask(ByteRange(5 * M, 6 * M - 1), link=link)
    body = house.answer()
    body.bring(film(5 * M, 7 * M))
    house.drain(response)
    house.clock.advance(LINGER - 0.1)
    assert not body.closed
    house.clock.advance(0.2)
    assert body.closed
    assert len(house.title.clients()) == 1, "its connection is still open"
    link.close()
    assert house.title.clients() == []


def test_who_sends_no_parts_is_asked_for_all_of_it(cinema):
    """Also for what follows what is kept; and if it sends parts after all, it is read up to the place."""
    house = cinema()
    first = house.ask()
    house.answer(status=200).bring(film(0, M))
    house.drain(first)
    first.transfer.stopProducing()
    for kept, status in ((M, 200), (2 * M, 206)):
        again = house.ask(ByteRange(30 * M))
        house.drain(again)
        assert again.body == film(0, kept)
        assert header(house.dialler.last, "Range") == "bytes=0-"
        house.answer(status=status).bring(film(0, kept + M))
        house.drain(again)
        assert again.body == film(0, kept + M)
        assert again.began[1] is None, "the whole"
        again.transfer.stopProducing()
    assert len(house.dialler.dials) == 3


def test_who_hangs_up_in_the_middle_leaves_nothing(cinema):
    house = cinema()
    response = house.ask()
    body = house.answer()
    body.bring(film(0, M))
    response.transfer.stopProducing()
    response.link.close()
    assert body.closed
    assert house.title.clients() == []
    assert house.clock.getDelayedCalls() == [] or house.clock.advance(11) is None


def test_the_newest_request_has_the_connection_and_gives_it_back(cinema):
    house = cinema()
    first = house.ask(kernel=300_000)
    body = house.answer()
    body.bring(film(0, 4 * M))
    house.turn()
    second = house.ask(ByteRange(30 * M, 31 * M - 1), link=Link())
    assert body.closed
    house.answer().bring(film(30 * M, 32 * M))
    house.drain(second)
    assert second.finished
    assert second.body == film(30 * M, 31 * M)
    house.drain(first)
    assert header(house.dialler.last, "Range") == f"bytes={len(first.body) - 4096}-"
    assert len(house.dialler.dials) == 3
    house.answer().bring(film(len(first.body) - 4096, 5 * M))
    house.drain(first)
    assert first.body == film(0, 5 * M)
    assert len(house.title.clients()) == 1


def test_two_that_both_want_are_two_players(cinema):
    house = cinema()
    first, second = house.ask(ByteRange(3 * M)), house.ask(ByteRange(20 * M))
    assert [dial.cancelled for dial in house.dialler.dials] == [True, False]
    body = house.answer()
    body.bring(film(20 * M, 21 * M))
    house.drain(second)
    house.clock.advance(PATIENCE - 0.1)
    assert len(house.title.clients()) == 1
    body.bring(film(21 * M, 22 * M))
    house.drain(second)
    house.clock.advance(0.2)
    assert len({client.client_id for client in house.title.clients()}) == 2
    assert not body.closed
    house.answer().bring(film(3 * M, 4 * M))
    house.drain(first)
    assert first.body == film(3 * M, 4 * M)
    assert sum(client.bytes_served for client in house.title.clients()) == house.title.bytes_served == 3 * M


def test_one_that_rests_gives_way(cinema):
    """Its player does not read: it is the one that was left for the other."""
    house = cinema()
    first = house.ask(ByteRange(3 * M))
    house.ask(ByteRange(20 * M), kernel=100_000)
    house.answer().bring(film(20 * M, 24 * M))
    house.turn()
    house.clock.advance(PATIENCE + 0.1)
    assert len(house.title.clients()) == 1
    house.answer().bring(film(3 * M, 4 * M))
    house.drain(first)
    assert first.body == film(3 * M, 4 * M)


def test_different_players_have_lines_of_their_own(cinema):
    house = cinema()
    players = [attrs.evolve(house.SAME, client_id=name) for name in "ab"]
    for player in players:
        house.ask(player=player)
    assert [dial.pending for dial in house.dialler.dials] == [True, True]
    assert [client.client_id for client in house.title.clients()] == ["a", "b"]


def test_nobody_is_left_without_an_answer(cinema):
    house = cinema(patience=20.0)
    response = house.ask()
    house.clock.pump([1] * 21)
    assert response.refused is not None
    assert response.refused.player_status == 504


def test_all_sources_refuse(cinema):
    house = cinema(2)
    response = house.ask()
    for _ in range(2):
        house.dialler.last.deferred.errback(SourceError(Reason.BAD_STATUS, "HTTP 404", 404))
    assert response.refused.status == 404
    assert len(house.dialler.dials) == 2


def test_out_of_range_is_told_without_asking_another(cinema):
    house = cinema(2)
    response = house.ask(ByteRange(SIZE))
    house.dialler.last.deferred.errback(SourceError(Reason.BAD_STATUS, "HTTP 416", 416, SIZE))
    assert response.range_refused == [SIZE]
    assert len(house.dialler.dials) == 1


def test_once_known_it_is_told_without_asking(cinema):
    house = cinema()
    link = Link()
    response = house.ask(ByteRange(5 * M, 6 * M - 1), link=link)
    house.answer().bring(film(5 * M, 6 * M))
    house.drain(response)
    assert house.ask(ByteRange(SIZE), link=link).range_refused == [SIZE]
    house.clock.advance(301)
    house.ask(ByteRange(SIZE), link=link)
    assert len(house.dialler.dials) == 2, "that was long ago"


def test_deleting_answers_who_waits_and_disconnects_who_plays(cinema):
    house = cinema()
    playing = house.ask()
    body = house.answer()
    body.bring(film(0, M))
    waiting = house.ask(ByteRange(30 * M), player=PlayerInfo("192.0.2.2"))
    body.lingers = True
    ended = house.title.end(Reason.DELETED)
    assert playing.aborted
    assert waiting.refused.reason is Reason.DELETED
    assert house.title.clients() == []
    assert house.dialler.last.cancelled
    assert not ended.called
    body.vanish()
    assert ended.called


def test_head_is_asked_once_for_all_who_ask(cinema):
    house = cinema()
    answers = [house.title.describe(), house.title.describe()]
    assert [dial.request.method for dial in house.dialler.dials] == ["HEAD"]
    assert header(house.dialler.last, "Range") is None

    body = FakeBody(headers={"Content-Length": "77", "Accept-Ranges": "bytes"})
    house.dialler.last.answer(body)
    assert [answer.result.length for answer in answers] == [77, 77]
    assert body.closed
    assert house.title.describe().result.length == 77


@pytest.mark.parametrize("how", ["no length", "nothing", "silence"])
def test_head_that_brings_nothing_is_asked_with_get(cinema, how):
    house = cinema()
    asked = house.title.describe()
    if how == "no length":
        house.dialler.last.answer(FakeBody(headers={"Content-Length": "0"}))
    else:
        house.dialler.last.fail(Reason.RESET if how == "nothing" else Reason.FIRST_BYTE_TIMEOUT)
    house.clock.advance(1.1)
    assert header(house.dialler.last, "Range") == "bytes=0-0"
    house.answer()
    assert asked.result.length == SIZE
    assert len(house.dialler.dials) == 2


def test_head_that_nobody_waits_for(cinema):
    house = cinema()
    asking = house.title.describe()
    asking.addErrback(lambda _: None)
    asking.cancel()
    house.dialler.last.deferred.errback(SourceError(Reason.BAD_STATUS, "HTTP 500", 500))
    assert [dial.request.method for dial in house.dialler.dials] == ["HEAD", "GET"]
    assert header(house.dialler.last, "Range") == "bytes=0-0"
    house.answer()
    assert house.title.describe().result.length == SIZE


def test_head_waits_for_the_line_of_who_plays(cinema):
    """Also while that is dialled, and long after it was opened."""
    house = cinema(silence=1000.0)
    response = house.ask()
    asked = house.title.describe()
    assert len(house.dialler.dials) == 1
    body = house.answer()
    assert not asked.called, "it may be a page"
    body.bring(film(0, M))
    assert (asked.result.length, asked.result.etag) == (SIZE, ETAG)
    for place in range(1, 5):
        house.clock.pump([1.0] * 99)
        body.bring(film(place * M, (place + 1) * M))
        house.drain(response)
    assert house.title.known is None
    assert house.title.describe().result.length == SIZE
    assert len(house.dialler.dials) == 1


def test_who_plays_takes_the_place_of_who_asks(cinema):
    house = cinema()
    asked = house.title.describe()
    house.ask()
    first, second = house.dialler.dials
    assert (first.request.method, first.cancelled, second.request.method) == ("HEAD", True, "GET")
    assert not asked.called
    house.answer().bring(film(0, M))
    assert asked.result.length == SIZE


@pytest.mark.parametrize("how", ["left", "refused", "deleted"])
def test_head_asks_itself_when_who_played_could_not_tell(cinema, how):
    house = cinema()
    response = house.ask()
    asked = house.title.describe()
    failed = []
    asked.addErrback(failed.append)
    if how == "left":
        response.transfer.stopProducing()
    elif how == "refused":
        house.dialler.last.deferred.errback(SourceError(Reason.BAD_STATUS, "HTTP 403", 403))
    else:
        house.title.end(Reason.DELETED)
        assert failed[0].value.reason is Reason.DELETED
        assert len(house.dialler.dials) == 1
        return
    assert [dial.request.method for dial in house.dialler.dials] == ["GET", "HEAD"]
    house.answer_head()
    assert asked.result.length == SIZE
    assert failed == []


def test_a_dial_waits_until_the_socket_before_it_is_gone(cinema):
    house = cinema()
    link = Link()
    response = house.ask(ByteRange(3 * M), link=link)
    body = house.answer()
    body.lingers = True
    body.bring(film(3 * M, 4 * M))
    response.transfer.stopProducing()
    again = house.ask(ByteRange(30 * M), link=link)
    assert body.closed
    assert len(house.dialler.dials) == 1
    body.vanish()
    assert len(house.dialler.dials) == 2
    body = house.answer()
    body.lingers = True
    body.bring(film(30 * M, 31 * M))
    again.transfer.stopProducing()
    house.ask(ByteRange(40 * M), link=link)
    house.clock.advance(0.9)
    assert len(house.dialler.dials) == 2
    house.clock.advance(0.2)
    assert len(house.dialler.dials) == 3, "not for ever"
    house.answer().bring(film(40 * M, 41 * M))


@pytest.mark.parametrize("seconds", [0, 50])
def test_the_timeline_says_how_long_a_source_ran(cinema, seconds):
    house = cinema(2)
    response = house.ask()
    body = house.answer()
    body.bring(film(0, M))
    house.drain(response)
    for place in range(M, M + 1000 * seconds, 1000):
        house.clock.advance(1)
        body.bring(film(place, place + 1000))
        house.drain(response)
    house.clock.advance(3)
    body.end(SourceError(Reason.RESET))
    house.dialler.last.deferred.errback(SourceError(Reason.REFUSED))
    entries = house.title.decisions.entries()
    assert [entry["measured"]["ran_s"] for entry in entries] == [seconds, 0]
    assert [(entry["from_index"], entry["to_index"]) for entry in entries] == [(0, 0), (0, 1)]


@pytest.mark.parametrize("watched", [True, False])
def test_a_source_chosen_by_hand_is_in_the_timeline(cinema, watched):
    house = cinema(3)
    if watched:
        house.ask()
        house.answer().bring(film(0, M))
    house.title.fail_over()
    house.title.fail_over(0)
    entries = house.title.decisions.entries()
    assert [(entry["from_index"], entry["to_index"]) for entry in entries] == [(0, 1), (1, 0)]
    assert [entry["to"] for entry in entries] == [f"http://{number}.example/film.mp4" for number in (1, 0)]
    assert all(entry["measured"] == {} for entry in entries)


def two_devices(house):
    """Two that look alike and both play: their responses, and the bodies that they are sent."""
    first, second = house.ask(ByteRange(3 * M)), house.ask(ByteRange(20 * M))
    bodies = [house.answer()]
    bodies[0].bring(film(20 * M, 21 * M))
    house.drain(second)
    house.clock.advance(PATIENCE + 0.1)
    bodies.insert(0, house.answer())
    bodies[0].bring(film(3 * M, 4 * M))
    house.drain(first)
    assert len(house.title.clients()) == 2
    return [first, second], bodies


@pytest.mark.parametrize("same_link", [True, False])
@pytest.mark.parametrize("which", [0, 1])
def test_a_device_that_seeks_is_not_taken_for_the_other(cinema, which, same_link):
    house = cinema()
    responses, bodies = two_devices(house)
    responses[which].transfer.stopProducing()
    if not same_link:
        responses[which].link.close()
        link = Link()
        house.links.append(link)
    again = house.ask(ByteRange(40 * M), link=responses[which].link if same_link else link)
    assert bodies[which].closed
    assert not bodies[1 - which].closed
    house.answer().bring(film(40 * M, 41 * M))
    house.drain(again)
    house.clock.advance(PATIENCE + 0.1)
    assert len(house.dialler.dials) == 4
    assert len(house.title.clients()) == 2


def test_who_waits_goes_on_as_soon_as_the_other_is_done(cinema):
    house = cinema()
    first, second = house.ask(ByteRange(3 * M)), house.ask(ByteRange(20 * M, 21 * M - 1))
    house.answer().bring(film(20 * M, 22 * M))
    house.drain(second)
    assert second.finished
    assert header(house.dialler.last, "Range") == f"bytes={3 * M}-"
    house.answer().bring(film(3 * M, 4 * M))
    house.drain(first)
    assert first.body == film(3 * M, 4 * M)
    assert len(house.title.clients()) == 1


def test_a_player_over_tls(cinema):
    """Its socket belongs to OpenSSL: all goes through the transport, which says when it has enough."""
    house = cinema()
    response = house.ask(ByteRange(3 * M, 5 * M - 1), outlet=BufferedWriter)
    body = house.answer()
    for place in range(3 * M, 5 * M, 50_000):
        body.bring(film(place, place + 50_000))
    house.turn()
    assert body.paused
    assert response.socket.queued < M
    assert not response.finished
    house.drain(response)
    assert response.finished
    assert response.body == film(3 * M, 5 * M)
