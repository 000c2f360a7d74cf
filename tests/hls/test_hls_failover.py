"""From source to source, with slots, a resolver, reviews and notes: as live streams, but nothing flows."""

from __future__ import annotations

import pytest
from origin import Page, Side, media, uris

from m3uproxy.errors import Reason, SourceError
from m3uproxy.settings.loader import load

A, B, C = (f"http://{name}.example/index.m3u8" for name in "abc")
RESOLVER = "http://editor/resolve"


@pytest.fixture
def side():
    made = []

    def make(**settings) -> Side:
        made.append(Side(**settings))
        for name, url in (("a", A), ("b", B), ("c", C)):
            made[-1].origin.put(url, media(f"{name}1.ts", f"{name}2.ts"))
        return made[-1]

    yield make
    for one in made:
        one.stop()
        assert [call for call in one.clock.getDelayedCalls() if "timeout" not in str(call.func).lower()] == []
        assert one.fetcher.size == 0


def grow(here: Side, url: str, first: int) -> None:
    """The window of a source rolls."""
    name = url[7]
    here.origin.put(url, media(f"{name}{first}.ts", f"{name}{first + 1}.ts", first=first))


def row(here: Side, name: str = "home") -> dict:
    rows = here.registry.slots.report(())["providers"]
    return next((each for each in rows if each["provider"] == name), {})


def accounts(*tables: dict):
    return load({"provider": tables}).provider


def counted(here: Side, *urls: str, **more):
    return here.stream(*urls, **{"provider": "home", "max_connections": 1, **more})


# slots


def test_a_slot_is_held_from_the_first_playlist_until_nobody_watches(side) -> None:
    here = side()
    stream = counted(here, A)
    assert row(here) == {}
    here.play(stream)
    here.wait(14)
    assert row(here)["slots_taken"] == 1
    here.wait(4)
    assert stream.clients() == []
    assert row(here) == {}
    here.play(stream)
    assert row(here)["slots_taken"] == 1
    here.registry.delete(stream.id)
    assert row(here) == {}


def test_what_is_asked_for_is_asked_on_the_slot(side) -> None:
    here = side(hls_prefetch=True)
    here.origin.put("http://a.example/a1.ts", b"x")
    stream = counted(here, A)
    for name in ("one", "two"):
        here.get(uris(here.play(stream, f"client_id={name}").body)[0])
    here.wait(4)
    here.play(stream)
    slots = {wanted.source.slot for wanted in here.origin.wanted}
    assert len(slots) == 1
    assert slots.pop().account.name == "home"
    assert len(here.origin.asked) == 4
    assert row(here)["slots_taken"] == 1


def test_a_slot_is_not_forgotten_between_two_requests_that_are_far_apart(side) -> None:
    here = side()
    here.origin.put(A, media("a1.ts", target=100))
    stream = counted(here, A)
    here.play(stream)
    here.wait(200)
    assert row(here)["slots_taken"] == 1


def test_who_finds_no_slot_is_told_soon_and_who_waits_gets_it(side) -> None:
    here = side()
    mine, other = counted(here, A), counted(here, B)
    here.play(mine, "client_id=mine")
    waiting = [here.open(f"/hls/{other.id}/playlist.m3u8?client_id=c{n}") for n in range(5)]
    here.wait(3.5)
    answers = [wire.answer() for wire in waiting]
    assert {answer.status for answer in answers} == {503}
    assert {answer.headers["Retry-After"] for answer in answers} == {"5"}
    assert here.origin.count(B) == 0
    here.wait(4)
    waiting = [here.open(f"/hls/{other.id}/playlist.m3u8?client_id=c{n}") for n in range(5)]
    here.wait(1)
    mine.disconnect("mine")
    assert {wire.answer().status for wire in waiting} == {200}
    assert here.origin.count(B) == 1


def test_who_leaves_while_he_waits_for_a_slot_leaves_nothing(side) -> None:
    here = side()
    mine, other = counted(here, A), counted(here, B)
    here.play(mine, "client_id=mine")
    wire = here.open(f"/hls/{other.id}/playlist.m3u8?client_id=other")
    wire.lose()
    other.disconnect("other")
    assert row(here)["waiting"] == 0
    assert here.play(mine, "client_id=mine").status == 200


def test_who_plays_another_takes_his_slot_along_and_the_other_begins_anew(side) -> None:
    here = side()
    first, second = counted(here, A), counted(here, B)
    named = uris(here.play(first).body)
    assert here.play(second).status == 200
    assert (first.clients(), len(second.clients())) == ([], 1)
    assert here.registry.slots.report(())["taken_over"] == 1
    # What he had of the first in mind is no reason to end the second.
    wire = here.open(named[0])
    assert wire.answer().status == 503
    assert len(second.clients()) == 1
    assert here.play(first).status == 200
    assert second.clients() == []


def test_somebody_elses_stream_is_not_taken(side) -> None:
    here = side()
    first, second = counted(here, A), counted(here, B)
    here.play(first, "client_id=one")
    here.play(first, "client_id=two")
    wire = here.open(f"/hls/{second.id}/playlist.m3u8?client_id=one")
    here.wait(1)
    assert len(first.clients()) == 2
    first.disconnect("two")
    assert wire.answer().status == 200


def test_a_stream_keeps_its_slot_while_it_rests(side) -> None:
    here = side(stream_retry_delay=2.0)
    stream = counted(here, A)
    _, second = uris(here.play(stream).body)
    here.origin.put(A, status=500)
    here.origin.put("http://a.example/a2.ts", b"y")
    here.wait(4)
    wire = here.open(f"/hls/{stream.id}/playlist.m3u8?client_id=me")
    assert stream.session.run is None
    assert row(here)["slots_taken"] == 1
    assert here.get(second).body == b"y"
    here.origin.put(A, media("a1.ts", "a2.ts"))
    here.wait(2.5)
    assert wire.answer().status == 200


def test_a_backup_of_another_account(side) -> None:
    providers = accounts(
        {"name": "a", "hosts": ("a.example",), "max_connections": 1}, {"name": "b", "hosts": ("b.example",)}
    )
    here = side(provider=providers)
    first, second = here.stream(A), here.stream(C, A, B)
    here.play(first, "client_id=first")
    here.origin.put(C, status=404)
    wire = here.open(f"/hls/{second.id}/playlist.m3u8?client_id=second")
    here.wait(4)
    assert wire.answer().status == 200
    assert second.source_index == 2
    assert (row(here, "a")["slots_taken"], row(here, "b")["slots_taken"]) == (1, 1)
    causes = [entry["cause"] for entry in second.decisions.entries()]
    assert causes == [
        "bad status: HTTP 404",
        "no free connection to the provider: provider 'a' allows 1 connection, all in use",
    ]
    second.fail_over(0)
    assert row(here, "b") == {}


# a resolver


def resolved(here: Side, *urls: str, **more):
    return here.stream(*urls, failover_resolver_url=RESOLVER, metadata={"id": "7"}, **more)


def test_a_failure_is_told_and_what_is_named_is_played(side) -> None:
    here = side()
    stream = resolved(here, A, B)
    here.play(stream)
    here.wait(4)
    here.origin.put(A, status=410)
    wire = here.open(f"/hls/{stream.id}/playlist.m3u8?client_id=me")
    (asked,) = here.resolver.asked
    question = asked.question
    assert (asked.url, question.current_url, question.index, question.status) == (RESOLVER, A, 0, 410)
    assert question.metadata == {"id": "7"}
    here.origin.put("http://c.example/c1.ts", b"!")
    asked.names(C)
    answer = wire.answer()
    assert b"#EXT-X-DISCONTINUITY\n" in answer.body
    assert here.get(uris(answer.body)[0]).body == b"!"
    assert here.origin.wanted[-1].source.user_agent == "agent"
    assert (stream.current_url, stream.source_index, stream.failover_attempts) == (C, 1, 1)
    (entry,) = stream.decisions.entries()
    assert (entry["from"], entry["to"]) == (A, C)
    assert entry["cause"] == "bad status: HTTP 410; the resolver named it"
    assert entry["measured"] == {"ran_s": 4.0}
    assert entry["bridged_ms"] is not None


def test_a_stream_keeps_its_slot_while_its_resolver_is_asked(side) -> None:
    here = side()
    stream = resolved(here, A, provider="home", max_connections=1)
    here.play(stream)
    here.wait(4)
    here.origin.put(A, status=404)
    here.open(f"/hls/{stream.id}/playlist.m3u8?client_id=me")
    assert stream.session.asking
    assert row(here)["slots_taken"] == 1
    here.resolver.last.names_none()
    assert row(here) == {}


def test_segments_that_fail_are_told(side) -> None:
    here = side()
    stream = resolved(here, A)
    for uri in uris(here.play(stream).body):
        here.get(uri)
    here.resolver.last.names(B)
    assert stream.current_url == B
    assert here.resolver.last.question.reason == "bad status: segments: HTTP 404"


def test_none_is_the_end_for_who_has_had_nothing(side) -> None:
    here = side()
    here.origin.put(A, status=404)
    stream = resolved(here, A, B)
    wire = here.open(f"/hls/{stream.id}/playlist.m3u8?client_id=me")
    here.resolver.last.names_none()
    assert wire.answer().status == 502
    assert here.origin.count(B) == 0
    assert stream.decisions.entries()[-1]["cause"] == "bad status: HTTP 404; the resolver named none"


def test_a_resolver_that_is_silent_leaves_the_list(side) -> None:
    here = side()
    here.origin.put(A, status=404)
    stream = resolved(here, A, B)
    wire = here.open(f"/hls/{stream.id}/playlist.m3u8?client_id=me")
    here.wait(9)
    assert wire.answer().status == 200
    assert stream.source_index == 1
    assert here.resolver.last.cancelled


def test_the_resolver_is_asked_when_the_api_moves_the_stream(side) -> None:
    here = side()
    stream = resolved(here, A)
    here.play(stream)
    assert stream.may_fail_over
    moved: list[bool] = []
    stream.fail_over().addCallback(moved.append)
    here.resolver.last.names(B)
    assert moved == [True]
    assert stream.current_url == B
    here.wait(6)
    assert here.play(stream).status == 200
    assert here.origin.asked == [A, B]


def test_who_waits_for_the_resolver_of_a_stream_that_is_deleted(side) -> None:
    here = side()
    stream = resolved(here, A)
    here.play(stream)
    moved: list[bool] = []
    stream.fail_over().addCallback(moved.append)
    here.registry.delete(stream.id)
    assert moved == [False]
    assert here.resolver.last.cancelled


def test_nobody_is_asked_when_nobody_watches_any_more(side) -> None:
    here = side()
    here.origin.put(A, status=404)
    stream = resolved(here, A)
    wire = here.open(f"/hls/{stream.id}/playlist.m3u8?client_id=me")
    here.registry.delete(stream.id)
    assert here.resolver.last.cancelled
    assert wire.answer().status == 404


# limits of an outage


def test_an_outage_has_limits(side) -> None:
    here = side(stream_retry_attempts=2, stream_retry_delay=1.0)
    here.origin.put(A, status=500)
    here.origin.put(B, status=500)
    stream = here.stream(A, B)
    wire = here.open(f"/hls/{stream.id}/playlist.m3u8?client_id=me")
    here.wait(3)
    assert wire.answer().status == 502
    # Which comes first in the second lap is drawn.
    assert (here.origin.count(A), here.origin.count(B)) == (2, 2)
    chosen = [entry["to"] for entry in stream.decisions.entries()]
    assert (len(chosen), chosen[0], chosen[-1]) == (4, B, None)


# reviews


def test_a_better_source_that_is_well_again_is_gone_back_to(side) -> None:
    here = side(failback_seconds=20, health_interval=5)
    here.origin.put(A, status=404)
    stream = here.stream(A, B)
    here.play(stream)
    grow(here, A, 1)
    for n in range(2, 12):
        here.wait(4)
        grow(here, B, n)
        assert here.play(stream).status == 200
        if stream.source_index == 0:
            break
    assert stream.source_index == 0
    assert n > 4
    entry = stream.decisions.entries()[-1]
    assert (entry["from"], entry["to"], entry["cause"]) == (B, A, "a better source is well again")
    assert stream.error_count == 1


@pytest.mark.parametrize("probe", [True, False])
def test_the_next_backup_is_looked_at_if_so_set(side, probe) -> None:
    here = side(probe_backups=probe, health_interval=5)
    stream = here.stream(A, B)
    here.origin.put(B, "<html>")
    for n in range(4):
        grow(here, A, n)
        here.play(stream)
        here.wait(4)
    assert here.origin.count(B) == probe
    assert (stream.sources()[1]["quarantine_seconds"] > 0) == probe
    assert stream.source_index == stream.error_count == 0


def test_a_backup_of_the_same_account_is_looked_at_with_the_same_slot(side) -> None:
    here = side(probe_backups=True, health_interval=5)
    stream = counted(here, A, B)
    for n in range(4):
        grow(here, A, n)
        here.play(stream)
        here.wait(4)
    assert here.origin.count(B) == 1
    assert len({wanted.source.slot for wanted in here.origin.wanted}) == 1
    assert row(here)["slots_taken"] == 1


def test_a_backup_of_an_account_that_is_full_is_not_looked_at(side) -> None:
    providers = accounts(*({"name": name, "hosts": (f"{name}.example",), "max_connections": 1} for name in "ab"))
    here = side(probe_backups=True, health_interval=5, provider=providers)
    stream, other = here.stream(A, B), here.stream(B)

    def watch(seconds: int) -> None:
        for n in range(seconds // 4):
            grow(here, A, n + 10 * seconds)
            assert here.play(stream, "client_id=one").status == 200
            here.wait(4)

    here.play(other, "client_id=two")
    other.disconnect("two")
    before = here.origin.count(B)
    watch(12)
    assert here.origin.count(B) == before + 1
    assert row(here, "b") == {}
    here.origin.put(B, silent=True)
    here.open(f"/hls/{other.id}/playlist.m3u8?client_id=two")
    watch(16)
    assert here.origin.count(B) == before + 2


def test_a_look_that_is_under_way_ends_with_the_stream(side) -> None:
    here = side(probe_backups=True, health_interval=5)
    stream = here.stream(A, B)
    here.origin.put(B, silent=True)
    for n in range(3):
        grow(here, A, n)
        here.play(stream)
        here.wait(4)
    assert here.origin.count(B) == 1
    here.registry.delete(stream.id)
    assert here.origin.cancelled == [B]


def test_what_comes_of_a_source_that_was_left_is_not_shown(side) -> None:
    here = side()
    stream = counted(here, A, B)
    here.origin.put(A, silent=True)
    wire = here.open(f"/hls/{stream.id}/playlist.m3u8?client_id=me")
    stream.fail_over()
    (waiting,) = here.origin.waiting
    waiting.callback(here.origin.answer(Page(media("late.ts").encode()), here.origin.wanted[0]))
    assert len(uris(wire.answer().body)) == 2
    assert here.origin.asked == [A, B]


def test_an_error_of_a_player_that_does_not_count_any_more_begins_nothing(side) -> None:
    here = side()
    stream = counted(here, A)
    here.origin.put(A, silent=True)
    wire = here.open(f"/hls/{stream.id}/playlist.m3u8?client_id=me")
    assert stream.disconnect("me") == 1
    (waiting,) = here.origin.waiting
    waiting.errback(SourceError(Reason.RESET))
    assert wire.answer().status == 502
    assert row(here) == {}
    assert here.origin.asked == [A]
