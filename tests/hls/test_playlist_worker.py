"""Large playlists are processed in steps, one at a time, and once for all requests."""

from __future__ import annotations

import gc
import time

import pytest
from hls_rig import HlsRig, media, one_turn, uris
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from wire import Wire

from m3uproxy.core.hls.playlist import parse, parse_steps
from m3uproxy.errors import Reason, SourceError
from m3uproxy.hls import playlist_worker
from m3uproxy.hls.playlist_worker import DIRECT_BYTES, MAX_KEPT_BYTES, MAX_WAITING, PlaylistWorker

A, B = "http://a.example/live/index.m3u8", "http://b.example/live/index.m3u8"
LARGE = media(*(f"{n}-{'x' * 60}.ts" for n in range(2000))).encode()
SMALL = media("a.ts").encode()


def numbered(number: int, size: int = 200_000) -> bytes:
    """Return a large playlist of its own."""
    comment = b"#" * 999 + b"\n"
    return (LARGE + b"#%08d\n" % number + comment * (size // len(comment)))[:size]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def worker(clock):
    worker = PlaylistWorker(clock)
    yield worker
    worker.stop()
    assert clock.getDelayedCalls() == []


def start(worker: PlaylistWorker, body: bytes) -> Deferred[object]:
    """Return a Deferred for a parsed playlist; a failure becomes its result."""
    return Deferred.fromCoroutine(worker.parse(body)).addErrback(lambda failure: failure.value)


def finish(worker: PlaylistWorker, clock: Clock) -> int:
    """Run all turns; return their number."""
    turns = 0
    while worker.is_busy:
        one_turn(clock)
        turns += 1
    return turns


class TestPlaylistWorker:
    def test_short_playlist_is_parsed_at_once(self, worker, clock):
        assert start(worker, SMALL).result == parse(SMALL)
        assert not worker.is_busy

    def test_large_playlist_takes_a_step_in_each_turn(self, worker, clock):
        parsed = start(worker, LARGE)
        assert not parsed.called
        assert finish(worker, clock) > 5
        assert parsed.result == parse(LARGE)

    def test_same_playlist_is_parsed_once(self, worker, clock, monkeypatch):
        begun = []
        monkeypatch.setattr(playlist_worker, "parse_steps", lambda body: begun.append(body) or parse_steps(body))
        all_parsed = [start(worker, LARGE) for _ in range(1000)]
        finish(worker, clock)
        assert len({id(parsed.result) for parsed in all_parsed}) == 1
        again = start(worker, bytes(bytearray(LARGE)))
        assert again.result is all_parsed[0].result
        # A generator that is not started costs nothing.
        assert len(begun) == 1000
        assert worker._requests == {}

    def test_playlists_take_turns(self, worker, clock):
        first, second = start(worker, numbered(1)), start(worker, numbered(2))
        while not first.called:
            assert not second.called
            one_turn(clock)
        finish(worker, clock)
        assert second.called

    def test_work_goes_on_when_a_request_is_cancelled(self, worker, clock):
        first, second = start(worker, LARGE), start(worker, LARGE)
        one_turn(clock)
        first.cancel()
        assert isinstance(first.result, CancelledError)
        finish(worker, clock)
        assert second.result == parse(LARGE)
        third = start(worker, numbered(3))
        third.cancel()
        finish(worker, clock)
        assert not worker._requests

    def test_errors_reach_all_requests(self, worker, clock):
        bad = b"#EXTM3U\n" + b"#EXT-X-KEY:" + b"A=," * 300 + b"\n" * DIRECT_BYTES + b"#EXTINF:1,\na\n"
        other = b"x\n" + b"#" * DIRECT_BYTES
        for body, reason in ((bad, Reason.TOO_LARGE), (other, Reason.NOT_VIDEO)):
            failed = [start(worker, body) for _ in range(3)]
            finish(worker, clock)
            assert [error.result.reason for error in failed] == [reason] * 3

    def test_kept_playlists_are_bounded(self, worker, clock):
        size = MAX_KEPT_BYTES // 4
        for number in range(6):
            start(worker, numbered(number, size))
            finish(worker, clock)
        assert len(worker._parsed) == 4
        assert sum(map(len, worker._parsed)) == worker._kept_bytes <= MAX_KEPT_BYTES
        start(worker, numbered(2, size))
        assert not worker.is_busy
        start(worker, numbered(0, size))
        assert worker.is_busy

    def test_waiting_playlists_are_bounded(self, worker, clock):
        all_parsed = [start(worker, numbered(number)) for number in range(MAX_WAITING + 3)]
        assert [each.called for each in all_parsed] == [False] * (MAX_WAITING + 1) + [True] * 2
        assert all_parsed[-1].result.reason is Reason.FULL
        worker.stop()
        assert {each.result.reason for each in all_parsed[:-2]} == {Reason.STOPPING}
        assert start(worker, LARGE).result.reason is Reason.STOPPING

    def test_short_playlist_that_becomes_large_is_continued_in_turns(self, worker, clock):
        def steps():
            for _ in range(100):
                yield
            return "done"

        done = Deferred.fromCoroutine(worker.run(steps(), 10, "key"))
        assert not done.called
        assert finish(worker, clock) == 100 - playlist_worker.DIRECT_STEPS + 1
        assert done.result == "done"

    def test_unexpected_error_is_logged_and_told(self, worker, clock, monkeypatch):
        logged = []
        monkeypatch.setattr(playlist_worker.log, "failure", lambda text, failure: logged.append(failure.value))

        def steps():
            yield
            raise ZeroDivisionError

        done = Deferred.fromCoroutine(worker.run(steps(), DIRECT_BYTES + 1, "key"))
        done.addErrback(lambda failure: failure.value)
        finish(worker, clock)
        assert isinstance(done.result, ZeroDivisionError)
        assert len(logged) == 1


def day(end: bool = True) -> str:
    """Return a day of catch-up: 21,600 segments with dates."""
    unit = "#EXT-X-PROGRAM-DATE-TIME:2026-11-22T18:00:00.000+00:00\n#EXTINF:4.000,\ns-{}.ts?token=0123456789abcdef\n"
    text = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:7\n" + "".join(map(unit.format, range(21_600)))
    return text + ("#EXT-X-ENDLIST\n" if end else "")


def longest_turn(rig: HlsRig) -> float:
    """Run all turns; return the processor seconds of the longest one."""
    longest = 0.0
    gc.collect()
    gc.disable()
    while rig.fetcher.playlists.is_busy:
        began = time.thread_time()
        one_turn(rig.clock)
        longest = max(longest, time.thread_time() - began)
    gc.enable()
    return longest


def test_day_of_catch_up_is_served_in_short_turns(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, day())
    rig.origin.put("http://a.example/live/s-21599.ts?token=0123456789abcdef", b"G" * 188)
    path = f"/hls/{rig.stream(A).id}/playlist.m3u8?client_id="
    wires = [Wire(rig.site) for _ in range(50)]
    for number, wire in enumerate(wires):
        # In memory, a body would be written in one turn.
        wire.send(f"HEAD {path}{number:02} HTTP/1.1\r\nHost: proxy\r\n\r\n".encode())
    assert rig.fetcher.playlists.is_busy
    assert longest_turn(rig) < 0.05
    lengths = {wire.answer("HEAD").headers["Content-Length"] for wire in wires}
    for number in (0, 49):
        answer = rig.get(f"{path}{number:02}")
        assert {answer.headers["Content-Length"], str(len(answer.body))} == lengths
        assert answer.body.count(b"#EXT-X-PROGRAM-DATE-TIME:") == 21_600
        assert answer.body.count(b"&client_id=%02d\n" % number) == 21_600
    assert rig.origin.count(A) == 1
    assert rig.get(uris(answer.body)[-1]).body == b"G" * 188
    for wire in wires:
        wire.lose()


def test_unchanged_large_playlist_is_not_processed_again(make_rig) -> None:
    rig = make_rig()
    text = day()
    rig.origin.put(A, text)
    stream = rig.stream(A)
    first = rig.play(stream).body
    for _ in range(3):
        rig.wait(6)
        rig.origin.put(A, bytes(bytearray(text.encode())))
        wire = rig.open(f"/hls/{stream.id}/playlist.m3u8?client_id=me")
        assert not rig.fetcher.playlists.is_busy
        assert wire.answer().body == first
        wire.lose()
    assert rig.origin.count(A) == 4
    # Another stream, or the same one after a pause, does not parse it again either.
    rig.wait(30)
    parsed = next(iter(rig.fetcher.playlists._parsed.values()))
    assert rig.play(stream).body == first
    assert list(rig.fetcher.playlists._parsed.values()) == [parsed]


def test_large_live_playlist_moves_to_a_backup_and_back(make_rig) -> None:
    rig = make_rig()

    def listed(name: str, first: int) -> str:
        return media(*(f"{name}{n}.ts" for n in range(first, first + 5000)), first=first)

    rig.origin.put(A, listed("a", 100))
    rig.origin.put(B, listed("b", 7))
    stream = rig.stream(A, B)
    assert len(uris(rig.play(stream).body)) == 5000
    rig.wait(6)
    rig.origin.put(A, listed("a", 101))
    assert b"#EXT-X-MEDIA-SEQUENCE:101\n" in rig.play(stream).body
    rig.origin.put(A, status=404)
    rig.wait(6)
    moved = rig.play(stream).body
    assert b"#EXT-X-MEDIA-SEQUENCE:5101\n" in moved
    assert len(uris(moved)) == 3


@pytest.mark.parametrize("how", ["delete", "leave", "stop", "other source"])
def test_stream_that_changes_while_a_large_playlist_is_processed(make_rig, how: str) -> None:
    rig = make_rig()
    rig.origin.put(A, day())
    rig.origin.put(B, media("b.ts"))
    stream = rig.stream(A, B)
    wire = rig.open(f"/hls/{stream.id}/playlist.m3u8?client_id=me")
    for _ in range(100):
        one_turn(rig.clock)
    assert rig.fetcher.playlists.is_busy
    if how == "delete":
        rig.registry.delete(stream.id)
    elif how == "leave":
        wire.lose()
    elif how == "stop":
        rig.fetcher.stop()
    else:
        stream.fail_over()
    rig.finish_work()
    rig.wait(25)
    if how != "leave":
        assert wire.answer().status == {"delete": 404, "stop": 503, "other source": 200}[how]
        wire.lose()


@pytest.mark.parametrize("known", [False, True], ids=["chunked", "length"])
def test_refused_playlist_is_fetched_once(make_rig, known: bool) -> None:
    """Another try would be refused, too. If its length is known, it is not even read."""
    rig = make_rig()
    rig.origin.put(A, day(end=False) if known else "#EXTM3U\n" + "#\n" * 200_000)
    stream = rig.stream(A)
    answer = rig.play(stream)
    assert answer.status == 502
    assert "too large" in answer.detail
    assert rig.origin.count(A) == 1
    rig.origin.put(A, status=404)
    rig.origin.put(B, media("b.ts"))
    both = rig.stream(B, A)
    assert rig.play(both).status == 200


def test_refused_source_is_not_tried_in_later_laps(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, day(end=False))
    rig.origin.put(B, error=SourceError(Reason.REFUSED))
    stream = rig.stream(A, B)
    wire = rig.open(f"/hls/{stream.id}/playlist.m3u8?client_id=me")
    rig.finish_work()
    rig.wait(11)
    assert wire.answer().status == 502
    assert (rig.origin.count(A), rig.origin.count(B)) == (1, 3)


def test_contents_of_one_stream_are_bounded(make_rig, monkeypatch) -> None:
    monkeypatch.setattr("m3uproxy.hls.proxy.MAX_CONTENT_BYTES", 2_000_000)
    rig = make_rig()
    text = "#EXTM3U\n"
    for n in range(6):
        text += f"#EXT-X-STREAM-INF:BANDWIDTH={n + 1}\nv{n}.m3u8\n"
        rig.origin.put(f"http://a.example/live/v{n}.m3u8", LARGE)
    rig.origin.put(A, text)
    stream = rig.stream(A)
    for variant in uris(rig.play(stream).body) * 2:
        assert len(uris(rig.get(variant).body)) == 2000
        assert sum(served.size for served in stream._proxy._served.values()) <= 2_000_000
