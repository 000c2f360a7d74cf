"""Failover of HLS streams: slots, resolver, budget, reviews and history."""

from __future__ import annotations

import pytest
from hls_rig import HlsRig, Page, media, uris
from kept_exceptions import errors_with_frames

from m3uproxy.errors import Reason, SourceError
from m3uproxy.settings import load

A, B, C = (f"http://{name}.example/index.m3u8" for name in "abc")
RESOLVER = "http://editor/resolve"


@pytest.fixture
def make_rig():
    made = []

    def make(**settings) -> HlsRig:
        made.append(HlsRig(**settings))
        for name, url in (("a", A), ("b", B), ("c", C)):
            made[-1].origin.put(url, media(f"{name}1.ts", f"{name}2.ts"))
        return made[-1]

    yield make
    for one in made:
        one.stop()
        assert [call for call in one.clock.getDelayedCalls() if "timeout" not in str(call.func).lower()] == []
        assert one.fetcher.size == 0


def grow(rig: HlsRig, url: str, first: int) -> None:
    """Advance the window of a source's playlist."""
    name = url[7]
    rig.origin.put(url, media(f"{name}{first}.ts", f"{name}{first + 1}.ts", first=first))


def row(rig: HlsRig, name: str = "home") -> dict:
    rows = rig.registry.slots.report(())["providers"]
    return next((each for each in rows if each["provider"] == name), {})


def accounts(*tables: dict):
    return load({"provider": tables}).provider


def counted(rig: HlsRig, *urls: str, **more):
    return rig.stream(*urls, **{"provider": "home", "max_connections": 1, **more})


# slots


def test_slot_is_held_from_the_first_playlist_to_the_last_client(make_rig) -> None:
    rig = make_rig()
    stream = counted(rig, A)
    assert row(rig) == {}
    rig.play(stream)
    rig.wait(14)
    assert row(rig)["slots_taken"] == 1
    rig.wait(4)
    assert stream.clients() == []
    assert row(rig) == {}
    rig.play(stream)
    assert row(rig)["slots_taken"] == 1
    rig.registry.delete(stream.id)
    assert row(rig) == {}


def test_all_requests_use_the_slot_of_the_stream(make_rig) -> None:
    rig = make_rig(hls_prefetch=True)
    rig.origin.put("http://a.example/a1.ts", b"x")
    stream = counted(rig, A)
    for name in ("one", "two"):
        rig.get(uris(rig.play(stream, f"client_id={name}").body)[0])
    rig.wait(4)
    rig.play(stream)
    slots = {wanted.source.slot for wanted in rig.origin.requests}
    assert len(slots) == 1
    assert slots.pop().account.name == "home"
    assert len(rig.origin.asked) == 4
    assert row(rig)["slots_taken"] == 1


def test_slot_is_held_between_distant_requests(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, media("a1.ts", target=100))
    stream = counted(rig, A)
    rig.play(stream)
    rig.wait(200)
    assert row(rig)["slots_taken"] == 1


def test_player_without_slot_gets_an_error_or_the_slot_while_waiting(make_rig) -> None:
    rig = make_rig()
    mine, other = counted(rig, A), counted(rig, B)
    rig.play(mine, "client_id=mine")
    waiting = [rig.open(f"/hls/{other.id}/playlist.m3u8?client_id=c{n}") for n in range(5)]
    rig.wait(3.5)
    answers = [wire.answer() for wire in waiting]
    assert {answer.status for answer in answers} == {503}
    assert {answer.headers["Retry-After"] for answer in answers} == {"5"}
    assert rig.origin.count(B) == 0
    rig.wait(4)
    waiting = [rig.open(f"/hls/{other.id}/playlist.m3u8?client_id=c{n}") for n in range(5)]
    rig.wait(1)
    mine.abort_client("mine")
    assert {wire.answer().status for wire in waiting} == {200}
    assert rig.origin.count(B) == 1


def test_player_that_disconnects_while_waiting_for_a_slot_leaves_nothing(make_rig) -> None:
    rig = make_rig()
    mine, other = counted(rig, A), counted(rig, B)
    rig.play(mine, "client_id=mine")
    wire = rig.open(f"/hls/{other.id}/playlist.m3u8?client_id=other")
    wire.lose()
    other.abort_client("other")
    assert row(rig)["waiting"] == 0
    assert rig.play(mine, "client_id=mine").status == 200


def test_channel_change_takes_the_slot_along_and_resets_the_old_stream(make_rig) -> None:
    rig = make_rig()
    first, second = counted(rig, A), counted(rig, B)
    named = uris(rig.play(first).body)
    assert rig.play(second).status == 200
    assert (first.clients(), len(second.clients())) == ([], 1)
    assert rig.registry.slots.report(())["taken_over"] == 1
    # Requests for the first stream must not end the second.
    wire = rig.open(named[0])
    assert wire.answer().status == 503
    assert len(second.clients()) == 1
    assert rig.play(first).status == 200
    assert second.clients() == []


def test_slot_of_another_viewer_is_not_taken(make_rig) -> None:
    rig = make_rig()
    first, second = counted(rig, A), counted(rig, B)
    rig.play(first, "client_id=one")
    rig.play(first, "client_id=two")
    wire = rig.open(f"/hls/{second.id}/playlist.m3u8?client_id=one")
    rig.wait(1)
    assert len(first.clients()) == 2
    first.abort_client("two")
    assert wire.answer().status == 200


def test_stream_keeps_its_slot_during_backoff(make_rig) -> None:
    rig = make_rig(stream_retry_delay=2.0)
    stream = counted(rig, A)
    _, second = uris(rig.play(stream).body)
    rig.origin.put(A, status=500)
    rig.origin.put("http://a.example/a2.ts", b"y")
    rig.wait(4)
    wire = rig.open(f"/hls/{stream.id}/playlist.m3u8?client_id=me")
    assert stream.session.run is None
    assert row(rig)["slots_taken"] == 1
    assert rig.get(second).body == b"y"
    rig.origin.put(A, media("a1.ts", "a2.ts"))
    rig.wait(2.5)
    assert wire.answer().status == 200


def test_backup_of_another_account_uses_its_slot(make_rig) -> None:
    providers = accounts(
        {"name": "a", "hosts": ("a.example",), "max_connections": 1}, {"name": "b", "hosts": ("b.example",)}
    )
    rig = make_rig(provider=providers)
    first, second = rig.stream(A), rig.stream(C, A, B)
    rig.play(first, "client_id=first")
    rig.origin.put(C, status=404)
    wire = rig.open(f"/hls/{second.id}/playlist.m3u8?client_id=second")
    rig.wait(4)
    assert wire.answer().status == 200
    assert second.source_index == 2
    assert (row(rig, "a")["slots_taken"], row(rig, "b")["slots_taken"]) == (1, 1)
    causes = [entry["cause"] for entry in second.history.entries()]
    assert causes == [
        "bad status: HTTP 404",
        "no free connection to the provider: provider 'a' allows 1 connection, all in use",
    ]
    second.fail_over(0)
    assert row(rig, "b") == {}


# resolver


def resolved(rig: HlsRig, *urls: str, **more):
    return rig.stream(*urls, failover_resolver_url=RESOLVER, metadata={"id": "7"}, **more)


def test_resolver_learns_the_failure_and_its_source_is_played(make_rig) -> None:
    rig = make_rig()
    stream = resolved(rig, A, B)
    rig.play(stream)
    rig.wait(4)
    rig.origin.put(A, status=410)
    wire = rig.open(f"/hls/{stream.id}/playlist.m3u8?client_id=me")
    (asked,) = rig.resolver.asked
    question = asked.question
    assert (asked.url, question.current_url, question.index, question.status) == (RESOLVER, A, 0, 410)
    assert question.metadata == {"id": "7"}
    rig.origin.put("http://c.example/c1.ts", b"!")
    asked.names(C)
    answer = wire.answer()
    assert b"#EXT-X-DISCONTINUITY\n" in answer.body
    assert rig.get(uris(answer.body)[0]).body == b"!"
    assert rig.origin.requests[-1].source.user_agent == "agent"
    assert (stream.current_url, stream.source_index, stream.history.failover_attempts) == (C, 1, 1)
    (entry,) = stream.history.entries()
    assert (entry["from"], entry["to"]) == (A, C)
    assert entry["cause"] == "bad status: HTTP 410; named by the resolver"
    assert entry["measured"] == {"ran_s": 4.0}
    assert entry["bridged_ms"] is not None


def test_stream_keeps_its_slot_while_the_resolver_is_asked(make_rig) -> None:
    rig = make_rig()
    stream = resolved(rig, A, provider="home", max_connections=1)
    rig.play(stream)
    rig.wait(4)
    rig.origin.put(A, status=404)
    rig.open(f"/hls/{stream.id}/playlist.m3u8?client_id=me")
    assert stream.session.asking_resolver
    assert row(rig)["slots_taken"] == 1
    rig.resolver.last.names_none()
    assert row(rig)["slots_taken"] == 1, "the source is asked again"
    rig.wait(40)
    assert row(rig) == {}


def test_resolver_learns_failed_segments(make_rig) -> None:
    rig = make_rig()
    stream = resolved(rig, A)
    for uri in uris(rig.play(stream).body):
        rig.get(uri)
    rig.resolver.last.names(B)
    assert stream.current_url == B
    assert rig.resolver.last.question.reason == "bad status: segments: HTTP 404"


def test_resolver_without_source_leads_to_the_listed_sources(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, status=404)
    stream = resolved(rig, A, B)
    wire = rig.open(f"/hls/{stream.id}/playlist.m3u8?client_id=me")
    rig.resolver.last.names_none()
    assert wire.answer().status == 200
    assert rig.origin.count(B) == 1
    assert stream.history.entries()[-1]["cause"] == "bad status: HTTP 404; the resolver named no source"


def test_silent_resolver_leaves_the_listed_sources(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, status=404)
    stream = resolved(rig, A, B)
    wire = rig.open(f"/hls/{stream.id}/playlist.m3u8?client_id=me")
    rig.wait(9)
    assert wire.answer().status == 200
    assert stream.source_index == 1
    assert rig.resolver.last.cancelled


def test_manual_failover_asks_the_resolver(make_rig) -> None:
    rig = make_rig()
    stream = resolved(rig, A)
    rig.play(stream)
    assert stream.may_fail_over
    moved: list[bool] = []
    stream.fail_over().addCallback(moved.append)
    rig.resolver.last.names(B)
    assert moved == [True]
    assert stream.current_url == B
    rig.wait(6)
    assert rig.play(stream).status == 200
    assert rig.origin.asked == [A, B]


def test_player_waiting_for_the_resolver_of_a_deleted_stream(make_rig) -> None:
    rig = make_rig()
    stream = resolved(rig, A)
    rig.play(stream)
    moved: list[bool] = []
    stream.fail_over().addCallback(moved.append)
    rig.registry.delete(stream.id)
    assert moved == [False]
    assert rig.resolver.last.cancelled


def test_resolver_request_is_cancelled_with_a_deleted_stream(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, status=404)
    stream = resolved(rig, A)
    wire = rig.open(f"/hls/{stream.id}/playlist.m3u8?client_id=me")
    rig.registry.delete(stream.id)
    assert rig.resolver.last.cancelled
    assert wire.answer().status == 404


# limits


def test_outage_is_limited_in_laps(make_rig) -> None:
    rig = make_rig(stream_retry_attempts=2, stream_retry_delay=1.0)
    rig.origin.put(A, status=500)
    rig.origin.put(B, status=500)
    stream = rig.stream(A, B)
    wire = rig.open(f"/hls/{stream.id}/playlist.m3u8?client_id=me")
    rig.wait(3)
    assert wire.answer().status == 502
    # The order of the second lap is random.
    assert (rig.origin.count(A), rig.origin.count(B)) == (2, 2)
    chosen = [entry["to"] for entry in stream.history.entries()]
    assert (len(chosen), chosen[0], chosen[-1]) == (4, B, None)


# reviews


def test_failback_to_a_recovered_better_source(make_rig) -> None:
    rig = make_rig(failback_seconds=20, health_interval=5)
    rig.origin.put(A, status=404)
    stream = rig.stream(A, B)
    rig.play(stream)
    grow(rig, A, 1)
    for n in range(2, 12):
        rig.wait(4)
        grow(rig, B, n)
        assert rig.play(stream).status == 200
        if stream.source_index == 0:
            break
    assert stream.source_index == 0
    assert n > 4
    entry = stream.history.entries()[-1]
    assert (entry["from"], entry["to"], entry["cause"]) == (B, A, "a better source is well again")
    assert stream.history.error_count == 1


@pytest.mark.parametrize("probe", [True, False])
def test_next_backup_is_probed_if_enabled(make_rig, probe) -> None:
    rig = make_rig(probe_backups=probe, health_interval=5)
    stream = rig.stream(A, B)
    rig.origin.put(B, "<html>")
    for n in range(4):
        grow(rig, A, n)
        rig.play(stream)
        rig.wait(4)
    assert rig.origin.count(B) == probe
    assert (stream.sources()[1]["quarantine_seconds"] > 0) == probe
    assert stream.source_index == stream.history.error_count == 0


def test_backup_of_the_same_account_is_probed_with_the_same_slot(make_rig) -> None:
    rig = make_rig(probe_backups=True, health_interval=5)
    stream = counted(rig, A, B)
    for n in range(4):
        grow(rig, A, n)
        rig.play(stream)
        rig.wait(4)
    assert rig.origin.count(B) == 1
    assert len({wanted.source.slot for wanted in rig.origin.requests}) == 1
    assert row(rig)["slots_taken"] == 1


def test_backup_of_a_full_account_is_not_probed(make_rig) -> None:
    providers = accounts(*({"name": name, "hosts": (f"{name}.example",), "max_connections": 1} for name in "ab"))
    rig = make_rig(probe_backups=True, health_interval=5, provider=providers)
    stream, other = rig.stream(A, B), rig.stream(B)

    def watch(seconds: int) -> None:
        for n in range(seconds // 4):
            grow(rig, A, n + 10 * seconds)
            assert rig.play(stream, "client_id=one").status == 200
            rig.wait(4)

    rig.play(other, "client_id=two")
    other.abort_client("two")
    before = rig.origin.count(B)
    watch(12)
    assert rig.origin.count(B) == before + 1
    assert row(rig, "b") == {}
    rig.origin.put(B, silent=True)
    rig.open(f"/hls/{other.id}/playlist.m3u8?client_id=two")
    watch(16)
    assert rig.origin.count(B) == before + 2


def test_probe_is_cancelled_with_the_stream(make_rig) -> None:
    rig = make_rig(probe_backups=True, health_interval=5)
    stream = rig.stream(A, B)
    rig.origin.put(B, silent=True)
    for n in range(3):
        grow(rig, A, n)
        rig.play(stream)
        rig.wait(4)
    assert rig.origin.count(B) == 1
    rig.registry.delete(stream.id)
    assert rig.origin.cancelled == [B]


def test_late_playlist_of_an_earlier_source_is_dropped(make_rig) -> None:
    rig = make_rig()
    stream = counted(rig, A, B)
    rig.origin.put(A, silent=True)
    wire = rig.open(f"/hls/{stream.id}/playlist.m3u8?client_id=me")
    stream.fail_over()
    (waiting,) = rig.origin.waiting
    waiting.callback(rig.origin.answer(Page(media("late.ts").encode()), rig.origin.requests[0]))
    assert len(uris(wire.answer().body)) == 2
    assert rig.origin.asked == [A, B]


def test_error_of_a_removed_client_starts_nothing(make_rig) -> None:
    rig = make_rig()
    stream = counted(rig, A)
    rig.origin.put(A, silent=True)
    wire = rig.open(f"/hls/{stream.id}/playlist.m3u8?client_id=me")
    assert stream.abort_client("me") == 1
    (waiting,) = rig.origin.waiting
    waiting.errback(SourceError(Reason.RESET))
    assert wire.answer().status == 502
    assert row(rig) == {}
    assert rig.origin.asked == [A]


# stored errors


def test_failed_sources_keep_no_frames(make_rig) -> None:
    rig = make_rig()
    for url in (A, B):
        rig.origin.put(url, "no playlist")
    stream = rig.stream(A, B)
    players = [rig.open(f"/hls/{stream.id}/playlist.m3u8?client_id={n}") for n in range(3)]
    rig.wait(12)
    assert all(b"502" in player.take() for player in players)
    assert stream.session.error is not None
    assert stream.history.error_count
    assert errors_with_frames() == []


def test_many_players_of_a_failing_stream_keep_no_frames(make_rig) -> None:
    rig = make_rig(stream_retry_delay=5.0)
    rig.origin.put(A, silent=True)
    stream = rig.stream(A, B)
    players = [rig.open(f"/hls/{stream.id}/playlist.m3u8?client_id={n}") for n in range(20)]
    rig.origin.waiting[0].errback(SourceError(Reason.RESET))
    rig.registry.delete(stream.id)
    rig.wait(1)
    assert all(player.take() for player in players)
    assert errors_with_frames() == []
