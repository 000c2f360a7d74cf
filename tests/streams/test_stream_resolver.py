"""The resolver of a stream: questions of the session and of the API, answers, and the end."""

from __future__ import annotations

import attrs
import pytest
from fakes import FakeBody, Relay
from twisted.internet.defer import Deferred

from m3uproxy.core.failover.causes import status_error
from m3uproxy.errors import Reason, SourceError
from m3uproxy.live.stream import LiveStream

URL = "http://editor/resolve"
PRIMARY, BACKUP, NAMED, OTHER = (f"http://{host}/1.ts" for host in ("a", "b", "named", "other"))


def resolved(relay: Relay, *failover: str, **more: object) -> LiveStream:
    """Return a stream with a resolver, on one account that allows one connection."""
    options = {"provider": "account", "max_connections": 1, **more}
    return relay.stream(PRIMARY, *failover, failover_resolver_url=URL, metadata={"id": "7"}, **options)


def playing(relay: Relay, stream: LiveStream) -> FakeBody:
    """Play two seconds of the primary."""
    relay.player(stream)
    body = relay.dialler.last.answer()
    relay.play(body, 2)
    return body


def moved(deferred: Deferred[bool]) -> bool | None:
    """Return the result of a failover; None while it is unknown."""
    results: list[bool] = []

    def keep(result: bool) -> bool:
        results.append(result)
        return result

    deferred.addCallback(keep)
    return results[0] if results else None


# the session asks


def test_resolver_gets_the_failure_and_its_source_is_played() -> None:
    relay = Relay()
    stream = resolved(relay, BACKUP)
    player = relay.player(stream)
    relay.dialler.last.fail(Reason.BAD_STATUS)
    (asked,) = relay.resolver.asked
    question = asked.question
    assert (asked.url, question.current_url, question.index) == (URL, PRIMARY, 0)
    assert (question.metadata, question.reason) == ({"id": "7"}, "bad status")
    assert (stream.current_url, stream.source_index, stream.history.error_count) == (PRIMARY, 0, 0)
    asked.names(NAMED)
    assert relay.dialler.last.request.url == NAMED
    assert (stream.current_url, stream.source_index) == (NAMED, 1)
    assert (stream.history.error_count, stream.history.failover_attempts) == (1, 1)
    relay.play(relay.dialler.last.answer(), 2)
    relay.settle()
    assert player.media
    (entry,) = stream.history.entries()
    assert (entry["from"], entry["to"]) == (PRIMARY, NAMED)
    assert (entry["from_index"], entry["to_index"]) == (0, 1)
    assert entry["cause"] == "bad status; named by the resolver"


def test_resolver_gets_the_status_of_the_provider() -> None:
    relay = Relay()
    relay.player(resolved(relay))
    relay.dialler.last.deferred.errback(status_error(458))
    assert relay.resolver.last.question.status == 458
    relay.resolver.last.names(NAMED)
    body = relay.dialler.last.answer()
    relay.play(body, 2)
    body.end()
    relay.dialler.last.fail()
    question = relay.resolver.last.question
    assert (question.current_url, question.index, question.status) == (NAMED, 1, None)


def test_a_named_source_is_asked_for_as_the_others_are() -> None:
    relay = Relay()
    stream = resolved(relay, headers=(("Referer", "http://r/"),), verify_tls=False)
    relay.player(stream)
    first = relay.dialler.last.request
    relay.dialler.last.fail()
    relay.resolver.last.names(NAMED)
    request = relay.dialler.last.request
    assert (request.url, request.user_agent) == (NAMED, first.user_agent)
    assert (request.headers, request.verify_tls) == (first.headers, False)
    assert request.account is not None


def test_resolver_without_a_source_leads_to_the_list() -> None:
    relay = Relay()
    stream = resolved(relay, BACKUP)
    player = relay.player(stream)
    relay.dialler.last.fail()
    relay.resolver.last.names_none()
    assert player.refused is None
    assert stream.current_url == BACKUP
    (entry,) = stream.history.entries()
    assert (entry["to"], entry["cause"]) == (BACKUP, "refused; the resolver named no source")


def test_resolver_without_a_source_is_told_of_the_return_to_the_primary() -> None:
    relay = Relay()
    stream = resolved(relay)
    body = playing(relay, stream)
    body.end()
    relay.dialler.last.fail()
    relay.resolver.last.names(NAMED)
    body = relay.dialler.last.answer()
    relay.play(body, 2)
    body.end(SourceError(Reason.STALLED))
    relay.resolver.last.names_none()
    assert relay.dialler.last.request.url == NAMED, "the source in use"
    relay.dialler.last.fail()
    assert (relay.dialler.last.request.url, stream.source_index) == (PRIMARY, 0)
    for _ in range(2):
        relay.dialler.last.fail()
        relay.pass_time(2)
    question = relay.resolver.last.question
    assert (question.current_url, question.index) == (PRIMARY, 0)
    assert len(relay.resolver.asked) == 3, "once in the new lap"
    relay.resolver.last.names_none()
    relay.pass_time(3)
    relay.play(relay.dialler.last.answer(), 1)
    assert not relay.players[0].transport.aborted


def test_failed_resolver_leaves_the_list() -> None:
    relay = Relay()
    stream = resolved(relay, BACKUP)
    relay.player(stream)
    relay.dialler.last.fail()
    relay.resolver.last.breaks()
    assert (stream.current_url, stream.source_index) == (BACKUP, 1)
    relay.dialler.last.fail()
    assert len(relay.resolver.asked) == 1, "asked twice in one outage"


def test_silent_resolver_leaves_the_list_after_half_of_the_time() -> None:
    relay = Relay(start_timeout=20)
    stream = resolved(relay, BACKUP)
    relay.player(stream)
    relay.dialler.last.fail()
    asked = relay.resolver.last
    relay.pass_time(9.4)
    assert not asked.cancelled
    relay.pass_time(0.2)
    assert asked.cancelled
    assert stream.current_url == BACKUP
    assert relay.dialler.last.pending


@pytest.mark.parametrize("how", ["left", "deleted", "stopped"])
def test_a_question_ends_with_the_stream(how: str) -> None:
    relay = Relay()
    stream = resolved(relay, BACKUP)
    player = relay.player(stream)
    relay.dialler.last.fail()
    if how == "left":
        player.transport.leave()
        relay.clock.advance(0)
    elif how == "deleted":
        relay.registry.delete(stream.id)
    else:
        relay.registry.stop()
    assert relay.resolver.last.cancelled
    relay.nothing_left()


def test_without_a_resolver_the_list_is_used() -> None:
    relay = Relay()
    factory = relay.registry._factory
    factory._context = attrs.evolve(factory._context, resolver=None)
    stream = resolved(relay, BACKUP)
    relay.player(stream)
    relay.dialler.last.fail()
    assert relay.resolver.asked == []
    assert stream.current_url == BACKUP


def test_repeated_registration_adds_or_removes_the_resolver() -> None:
    relay = Relay()
    stream = relay.stream(PRIMARY, BACKUP)
    body = playing(relay, stream)
    assert resolved(relay) is stream
    body.end()
    relay.dialler.last.fail()
    assert relay.resolver.last.question.metadata == {}, "of the first registration, which is being watched"
    relay.resolver.last.names(NAMED)
    relay.play(relay.dialler.last.answer(), 2)
    relay.stream(PRIMARY, BACKUP)
    assert (stream.current_url, stream.source_index) == (NAMED, 1), "it goes on"
    assert stream.resolver.available is False


# the API asks


def test_the_api_asks_while_the_stream_plays_on() -> None:
    relay = Relay()
    stream = resolved(relay, BACKUP)
    body = playing(relay, stream)
    done = stream.fail_over()
    assert moved(done) is None
    question = relay.resolver.last.question
    assert (question.current_url, question.index, question.reason) == (PRIMARY, 0, "manual")
    assert question.status is None
    relay.play(body, 5)
    assert not body.closed
    relay.resolver.last.names(NAMED)
    assert body.closed
    assert moved(done) is True
    assert (stream.current_url, stream.source_index, stream.history.failover_attempts) == (NAMED, 1, 1)
    (entry,) = stream.history.entries()
    assert (entry["from"], entry["to"]) == (PRIMARY, NAMED)
    assert entry["cause"] == "asked for by the API; named by the resolver"
    body.vanish()
    assert relay.dialler.last.request.url == NAMED


def test_resolver_without_a_source_changes_nothing_for_the_api() -> None:
    relay = Relay()
    stream = resolved(relay, BACKUP)
    body = playing(relay, stream)
    done = stream.fail_over()
    relay.resolver.last.names_none()
    assert moved(done) is False
    assert not body.closed
    assert stream.history.failover_attempts == 0


@pytest.mark.parametrize(("backups", "then"), [((BACKUP,), BACKUP), ((), None)])
def test_failed_question_of_the_api_moves_to_the_next_source(backups: tuple[str, ...], then: str | None) -> None:
    relay = Relay()
    stream = resolved(relay, *backups)
    body = playing(relay, stream)
    done = stream.fail_over()
    relay.resolver.last.breaks()
    assert moved(done) is (then is not None)
    assert stream.current_url == (then or PRIMARY)
    assert body.closed is (then is not None)


def test_list_begins_again_after_a_named_source() -> None:
    relay = Relay()
    stream = resolved(relay)
    stream.fail_over()
    relay.resolver.last.names(NAMED)
    stream.fail_over()
    relay.resolver.last.breaks()
    assert (stream.current_url, stream.source_index) == (PRIMARY, 0)


def test_a_source_by_its_index_needs_no_question() -> None:
    relay = Relay()
    stream = resolved(relay, BACKUP)
    assert moved(stream.fail_over(1)) is True
    assert relay.resolver.asked == []
    assert stream.current_url == BACKUP


def test_source_chosen_while_idle_is_dialled_at_the_next_start() -> None:
    relay = Relay()
    stream = resolved(relay, BACKUP)
    done = stream.fail_over()
    relay.resolver.last.names(NAMED)
    assert moved(done) is True
    assert relay.dialler.dials == []
    (entry,) = stream.history.entries()
    assert (entry["from"], entry["from_index"], entry["to"], entry["to_index"]) == (PRIMARY, 0, NAMED, 1)
    assert entry["measured"] == {}
    relay.player(stream)
    assert relay.dialler.last.request.url == NAMED
    relay.pass_time(3)
    relay.play(relay.dialler.last.answer(), 2)
    assert stream.history.entries()[0]["bridged_ms"] is None, "no player waited"


def test_a_second_call_waits_for_the_same_answer_and_makes_no_second_step() -> None:
    relay = Relay()
    stream = resolved(relay, BACKUP)
    playing(relay, stream)
    calls = [stream.fail_over(), stream.fail_over()]
    assert len(relay.resolver.asked) == 1
    relay.resolver.last.names(NAMED)
    assert [moved(call) for call in calls] == [True, True]
    assert stream.history.failover_attempts == 1


def test_failure_while_the_api_asks_shares_the_answer() -> None:
    relay = Relay()
    stream = resolved(relay, BACKUP)
    body = playing(relay, stream)
    done = stream.fail_over()
    body.end()
    relay.dialler.last.fail()
    assert stream.broadcaster.session.asking_resolver
    assert len(relay.resolver.asked) == 1
    relay.resolver.last.names(NAMED)
    assert moved(done) is True
    assert (stream.source_index, stream.history.failover_attempts) == (1, 1)


@pytest.mark.parametrize(("answer", "then"), [("names_none", False), ("breaks", True)])
def test_the_api_asks_while_the_session_does(answer: str, then: bool) -> None:
    relay = Relay()
    stream = resolved(relay, BACKUP, "http://c/1.ts")
    relay.player(stream)
    relay.dialler.last.fail()
    done = stream.fail_over()
    assert len(relay.resolver.asked) == 1
    getattr(relay.resolver.last, answer)()
    assert moved(done) is then
    assert stream.source_index == 1, "one step"


def test_the_api_is_answered_within_eight_seconds() -> None:
    relay = Relay()
    stream = resolved(relay, BACKUP)
    body = playing(relay, stream)
    done = stream.fail_over()
    relay.play(body, 6.5)
    assert moved(done) is None
    relay.play(body, 1)
    assert moved(done) is True
    assert relay.resolver.last.cancelled
    assert stream.current_url == BACKUP


def test_the_api_is_answered_in_time_while_nothing_plays() -> None:
    relay = Relay()
    stream = resolved(relay)
    relay.player(stream)
    relay.dialler.last.fail()
    done = stream.fail_over()
    relay.pass_time(7.5)
    assert moved(done) is True
    assert relay.resolver.last.cancelled
    assert stream.current_url == PRIMARY
    assert stream.broadcaster.session.active


def test_timed_out_session_leaves_the_question_to_the_api() -> None:
    relay = Relay(start_timeout=10)
    stream = resolved(relay, BACKUP)
    relay.player(stream)
    relay.dialler.last.fail()
    done = stream.fail_over()
    relay.pass_time(6)
    assert stream.current_url == BACKUP
    assert not relay.resolver.last.cancelled
    relay.resolver.last.names(NAMED)
    assert moved(done) is True
    assert stream.current_url == NAMED


def test_api_failover_happens_after_the_caller_left() -> None:
    relay = Relay()
    stream = resolved(relay, BACKUP)
    playing(relay, stream)
    done = stream.fail_over()
    done.addErrback(lambda _: None)
    done.cancel()
    relay.resolver.last.names(NAMED)
    assert stream.current_url == NAMED


def test_deleted_stream_answers_waiting_requests() -> None:
    relay = Relay()
    stream = resolved(relay, BACKUP)
    done = stream.fail_over()
    relay.registry.delete(stream.id)
    assert relay.resolver.last.cancelled
    assert moved(done) is False
    relay.nothing_left()


def test_next_player_starts_at_the_primary() -> None:
    relay = Relay()
    stream = resolved(relay)
    player = relay.player(stream)
    relay.dialler.last.fail()
    relay.resolver.last.names(NAMED)
    body = relay.dialler.last.answer()
    relay.play(body, 2)
    player.transport.leave()
    relay.clock.advance(0)
    body.vanish()
    relay.pass_time(1)
    relay.player(stream)
    relay.pass_time(2)
    assert relay.dialler.last.request.url == PRIMARY
    assert stream.source_index == 0


# what is played is not what it should be

FROZEN = SourceError(Reason.CONTENT, "frozen for 5.0 s")


def streaming_with_fault(relay: Relay, stream: LiveStream) -> FakeBody:
    body = playing(relay, stream)
    stream.broadcaster.session.fault_found(FROZEN)
    assert not body.closed
    assert relay.resolver.last.question.reason == "bad content: frozen for 5.0 s"
    return body


def test_resolver_replaces_a_faulty_source_during_playback() -> None:
    relay = Relay()
    stream = resolved(relay, BACKUP)
    body = streaming_with_fault(relay, stream)
    relay.play(body, 2)
    assert not body.closed
    relay.resolver.last.names(NAMED)
    assert body.closed
    body.vanish()
    assert relay.dialler.last.request.url == NAMED
    assert (stream.source_index, stream.history.error_count) == (1, 1)
    (entry,) = stream.history.entries()
    assert (entry["from"], entry["to"], entry["cause"]) == (PRIMARY, NAMED, str(FROZEN))
    relay.dialler.last.fail()
    assert relay.resolver.last.question.index == 1


@pytest.mark.parametrize(
    ("backups", "answer", "then"),
    [((BACKUP,), "names_none", None), ((BACKUP,), "breaks", BACKUP), ((), "breaks", None)],
)
def test_fault_without_another_source_stays(backups: tuple[str, ...], answer: str, then: str | None) -> None:
    relay = Relay()
    stream = resolved(relay, *backups)
    body = streaming_with_fault(relay, stream)
    getattr(relay.resolver.last, answer)()
    assert body.closed is (then is not None)
    assert stream.current_url == (then or PRIMARY)
    assert stream.history.error_count == 1
    (entry,) = stream.history.entries()
    assert entry["to"] == (then or PRIMARY)


def test_question_about_a_fault_ends_with_its_source() -> None:
    relay = Relay()
    stream = resolved(relay)
    body = streaming_with_fault(relay, stream)
    body.end()
    assert relay.resolver.last.cancelled
    assert relay.dialler.last.request.url == PRIMARY, "redialled"
    assert stream.history.entries()[-1]["cause"] == "ended"


def test_late_named_source_does_not_replace_the_standby() -> None:
    """Two named sources are known at a time: the one in use and the standby."""
    relay = Relay()
    stream = relay.stream(PRIMARY, failover_resolver_url=URL)
    body = playing(relay, stream)
    stream.broadcaster.session.fault_found(FROZEN)
    relay.resolver.last.names(NAMED)
    assert (relay.dialler.last.request.url, body.closed) == (NAMED, False)
    for url in (OTHER, BACKUP):
        stream.broadcaster.session.fault_found(FROZEN)
        relay.resolver.last.names(url)
    session = stream.broadcaster.session
    assert len(relay.dialler.dials) == 2
    candidate = relay.dialler.last.answer()
    relay.play(candidate, 2)
    assert body.closed
    assert (stream.current_url, session.request().url) == (NAMED, NAMED)
    (entry,) = stream.history.entries()
    assert (entry["from"], entry["to"]) == (PRIMARY, NAMED)


def test_fault_and_api_share_one_answer() -> None:
    relay = Relay()
    stream = resolved(relay)
    streaming_with_fault(relay, stream)
    done = stream.fail_over()
    assert len(relay.resolver.asked) == 1
    relay.resolver.last.names(NAMED)
    assert moved(done) is True
    assert stream.history.failover_attempts == 1
    (entry,) = stream.history.entries()
    assert entry["cause"] == "asked for by the API; named by the resolver"
