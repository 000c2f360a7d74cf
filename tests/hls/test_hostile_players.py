"""Hostile players: floods, unread responses, injection."""

from __future__ import annotations

import pytest
from hls_rig import media, uris
from twisted.logger import formatEvent, globalLogPublisher
from wire import Wire

from m3uproxy.hls import cache as kept
from m3uproxy.hls import fetcher as fetch
from m3uproxy.hls.clients import MAX_OPEN_RESPONSES

A, B = "http://a.example/live/index.m3u8", "http://b.example/index.m3u8"
SEGMENT = "http://a.example/live/a.ts"


class FullWire(Wire):
    """A connection whose player reads nothing: the first write fills it."""

    def __init__(self, site) -> None:
        super().__init__(site)
        write = self.transport.write

        def written(data: bytes) -> None:
            write(data)
            self.channel.pauseProducing()

        self.transport.write = written


def test_flood_of_ranges_is_bounded(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, media("a.ts"))
    rig.origin.put(SEGMENT, bytes(256) * 30)
    stream = rig.stream(A)
    (uri,) = uris(rig.play(stream).body)
    for n in range(kept.MAX_ENTRIES_PER_SOURCE + 200):
        assert rig.get(uri, headers={"Range": f"bytes={n}-{n + 1}"}).status == 206
    assert rig.fetcher.count <= kept.MAX_ENTRIES_PER_SOURCE
    # The segment that is requested all the time is still cached.
    assert rig.play(stream).status == 200


def test_one_stream_does_not_evict_the_segments_of_another(make_rig, monkeypatch) -> None:
    monkeypatch.setattr(kept, "MAX_ENTRIES_PER_SOURCE", 20)
    rig = make_rig()
    other = rig.stream(B)
    rig.origin.put(B, media("b.ts"))
    rig.origin.put("http://b.example/b.ts", b"b" * 100)
    watched = uris(rig.play(other).body)[0]
    assert rig.get(watched).status == 200
    rig.origin.put(A, media("a.ts"))
    rig.origin.put(SEGMENT, bytes(1000))
    (uri,) = uris(rig.play(rig.stream(A)).body)
    for n in range(100):
        rig.get(uri, headers={"Range": f"bytes={n}-{n + 1}"})
    assert rig.get(watched).status == 200
    assert rig.origin.count("http://b.example/b.ts") == 1


def test_entries_of_all_streams_are_bounded(make_rig, monkeypatch) -> None:
    monkeypatch.setattr(kept, "MAX_ENTRIES", 20)
    rig = make_rig()
    for n in range(30):
        rig.origin.put(f"http://a.example/{n}.m3u8", media("a.ts"))
        assert rig.play(rig.stream(f"http://a.example/{n}.m3u8")).status == 200
    assert rig.fetcher.count == 20


def test_too_many_requests_are_refused_without_blaming_the_source(make_rig, monkeypatch) -> None:
    monkeypatch.setattr(fetch, "MAX_REQUESTS_PER_SOURCE", 10)
    rig = make_rig()
    rig.origin.put(A, media("a.ts"))
    rig.origin.put(SEGMENT, silent=True)
    stream = rig.stream(A, B)
    (uri,) = uris(rig.play(stream).body)
    wires = [rig.open(uri.replace("client_id=me", f"client_id=c{n}"), f"Range: bytes={n}-") for n in range(20)]
    assert rig.origin.count(SEGMENT) == 10
    refused = [wire.answer() for wire in wires[10:]]
    assert {(answer.status, answer.headers["Retry-After"]) for answer in refused} == {(503, "5")}
    assert all("limit reached: 10 requests" in answer.detail for answer in refused)
    # A request that shares a download is not refused, and the playlist comes.
    rig.open(uri, "Range: bytes=0-")
    rig.wait(6)
    rig.origin.put(A, media("a.ts", "b.ts"))
    assert len(uris(rig.play(stream).body)) == 2
    assert (stream.source_index, stream.history.error_count) == (0, 0)
    for wire in wires[:5]:
        wire.lose()
    rig.open(uri, "Range: bytes=77-")
    assert rig.origin.count(SEGMENT) == 11


@pytest.mark.parametrize("what", ["playlist", "segment"])
def test_open_responses_of_one_client_are_limited(make_rig, what) -> None:
    rig = make_rig()
    rig.origin.put(A, media("a.ts"))
    stream = rig.stream(A)
    (uri,) = uris(rig.play(stream).body)
    rig.wait(6)
    rig.origin.put(A if what == "playlist" else SEGMENT, silent=True)
    path = uri if what == "segment" else f"/hls/{stream.id}/playlist.m3u8?client_id=me"
    wires = [rig.open(path) for _ in range(MAX_OPEN_RESPONSES + 1)]
    assert wires[-1].answer().status == 503
    assert {wire.take() for wire in wires[:-1]} == {b""}
    # Another player is not refused.
    assert rig.open(path.replace("client_id=me", "client_id=you")).take() == b""
    wires[0].lose()
    assert rig.open(path).take() == b""
    for wire in wires[1:-1]:
        wire.lose()
    assert len(stream.clients()) == 2


def test_blocked_requests_are_bounded_by_possible_parts(make_rig) -> None:
    """Each number that players wait for is a request of its own, which the provider blocks."""
    rig = make_rig()
    more = "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES\n#EXT-X-PART-INF:PART-TARGET=2"
    rig.origin.put(A, media("a.ts", "b.ts", first=100, more=more))
    stream = rig.stream(A)
    rig.play(stream)
    parts = {f"_HLS_msn={sequence}&_HLS_part={part}" for sequence in (102, 103) for part in range(4)}
    may_come = {"_HLS_msn=102", "_HLS_msn=103"} | parts
    for query in may_come:
        rig.origin.pages[f"{A}?{query}"] = rig.origin.pages[A]
    for sequence in [*range(98, 110), 10**17]:
        for part in ["", *range(10), 10**17]:
            assert rig.play(stream, f"client_id=me&_HLS_msn={sequence}&_HLS_part={part}").status == 200
    assert {url.partition("?")[2] for url in rig.origin.asked} == {""} | may_come


@pytest.mark.parametrize("how", ["delete", "disconnect"])
def test_player_waiting_for_a_segment_of_a_removed_stream(make_rig, how) -> None:
    rig = make_rig()
    rig.origin.put(A, media("a.ts"))
    rig.origin.put(SEGMENT, silent=True)
    stream = rig.stream(A, B)
    wire = rig.open(uris(rig.play(stream).body)[0])
    assert wire.take() == b""
    if how == "delete":
        rig.registry.delete(stream.id)
    else:
        assert stream.abort_client("me") == 1
    assert rig.origin.cancelled == [SEGMENT]
    assert wire.answer().status == (404 if how == "delete" else 502)
    assert stream.clients() == []
    assert stream.history.error_count == 0
    rig.wait(1)
    assert wire.take() == b""


@pytest.mark.parametrize("name", ["a%0d%0aX-Evil:%201", "a%0aX-Evil:%201%0a%0a<html>", "%00", "%ff", "%22,URI=%22x"])
def test_client_name_cannot_inject_headers_or_lines(make_rig, name) -> None:
    rig = make_rig()
    rig.origin.put(A, media("a.ts", more='#EXT-X-KEY:METHOD=AES-128,URI="k"'))
    answer = rig.play(rig.stream(A), f"client_id={name}")
    assert answer.status == 200
    assert "X-Evil" not in answer.headers
    assert b"<html>" not in answer.body
    assert len(answer.body.splitlines()) == 6
    assert answer.body.count(b'"') == 2


@pytest.mark.parametrize("token", ["..%2f..%2fetc%2fpasswd", "%0d%0aX-Evil:%201", "%00", "a" * 16_000, "%ff" * 10])
def test_token_cannot_inject_headers_or_paths(make_rig, token) -> None:
    rig = make_rig()
    rig.origin.put(A, media("a.ts"))
    stream = rig.stream(A)
    for path in ("segment.ts", "segment", "playlist.m3u8"):
        answer = rig.get(f"/hls/{stream.id}/{path}?url={token}&client_id=me")
        assert answer.status == 403
        assert "X-Evil" not in answer.headers
        assert token[:10] not in answer.detail
    assert rig.origin.asked == []


def test_joining_and_leaving_clients_are_logged(make_rig) -> None:
    lines: list[str] = []

    def observe(event) -> None:
        lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    try:
        rig = make_rig()
        rig.origin.put(A, media("a.ts"))
        stream = rig.stream(A)
        rig.play(stream)
        rig.play(stream)
        rig.wait(20)
    finally:
        globalLogPublisher.removeObserver(observe)
    client_lines = [line for line in lines if "client 'me'" in line]
    assert client_lines[0] == f"client 'me' joined stream {stream.id} (HLS)"
    assert client_lines[1] == f"client 'me' left stream {stream.id} (HLS) after 0 bytes"
    assert len(client_lines) == 2


LARGE = [f"segment-{n}.ts?{'x' * 100}" for n in range(1000)]


def test_large_playlist_is_complete_and_uncompressed(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, media(*LARGE))
    stream = rig.stream(A)
    plain, name = rig.play(stream), "%22" * 30
    packed = rig.play(stream, f"client_id={name}", headers={"Accept-Encoding": "gzip"})
    for answer, each in ((plain, "me"), (packed, name)):
        assert answer.headers["Content-Length"] == str(len(answer.body))
        assert answer.headers["Content-Encoding"] is None
        assert answer.headers["Content-Type"] == "application/vnd.apple.mpegurl"
        assert [uri.endswith(f"&client_id={each}") for uri in uris(answer.body)] == [True] * 1000
    head = rig.play(stream, method="HEAD")
    assert (head.headers["Content-Length"], head.body) == (plain.headers["Content-Length"], b"")
    rig.origin.put(B, media(*LARGE[:20]))
    small = rig.play(rig.stream(B), headers={"Accept-Encoding": "gzip"})
    assert small.headers["Content-Encoding"] == "gzip"


def test_unread_large_playlist_takes_little_memory_for_limited_time(make_rig) -> None:
    rig = make_rig(viewer_stall_timeout=30.0)
    rig.origin.put(A, media(*LARGE))
    stream = rig.stream(A)
    size = len(rig.play(stream).body)
    wire = FullWire(rig.site)
    wire.send(f"GET /hls/{stream.id}/playlist.m3u8?client_id=full HTTP/1.1\r\nHost: proxy\r\n\r\n".encode())
    rig.finish_work()
    assert 0 < len(wire.transport.value()) < size / 2
    rig.wait(25)
    assert {client.client_id for client in stream.clients()} == {"full"}
    assert not wire.aborted
    rig.wait(6)
    assert wire.aborted
    wire.lose()
    rig.wait(20)
    assert stream.clients() == []


@pytest.mark.parametrize("how", ["delete", "disconnect", "leave"])
def test_large_playlist_is_aborted_with_its_client(make_rig, how) -> None:
    rig = make_rig()
    rig.origin.put(A, media(*LARGE))
    stream = rig.stream(A)
    wire = FullWire(rig.site)
    wire.send(f"GET /hls/{stream.id}/playlist.m3u8?client_id=me HTTP/1.1\r\nHost: proxy\r\n\r\n".encode())
    rig.finish_work()
    if how == "delete":
        rig.registry.delete(stream.id)
    elif how == "disconnect":
        assert stream.abort_client("me") == 1
    else:
        wire.lose()
    assert wire.aborted is (how != "leave")
    if how != "leave":
        wire.lose()
    rig.wait(20)
    assert stream.clients() == []


def test_player_that_disconnects_during_a_playlist_is_no_source_failure(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, media("a.ts"), endless=True)
    stream = rig.stream(A, B)
    wire = rig.open(f"/hls/{stream.id}/playlist.m3u8?client_id=me")
    assert wire.take() == b""
    wire.lose()
    rig.wait(1)
    assert rig.origin.asked == [A]
    assert (stream.source_index, stream.history.error_count, stream.history.failover_attempts) == (0, 0, 0)
    assert stream.history.entries() == []
