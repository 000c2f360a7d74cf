"""An HLS stream, from the requests of players to those sent to the provider."""

from __future__ import annotations

import re

import pytest
from hls_rig import HlsRig, Page, media, uris
from twisted.internet.address import IPv4Address

from m3uproxy.errors import Reason, SourceError

A, B = "http://a.example/live/index.m3u8", "http://b.example/x/y.m3u8?k=%2B"
MASTER_A, MASTER_B = "http://a.example/master.m3u8", "http://b.example/master.m3u8"
PATH = r"/m3u-proxy/hls/{}/{}\?url=[A-Za-z0-9_-]+&client_id=me"


def test_playlist_and_its_segments_are_served(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, media("s1.ts?sig=a%2Bb%3D", "/deep/s2.ts"))
    rig.origin.put("http://a.example/live/s1.ts?sig=a%2Bb%3D", b"G" * 188)
    stream = rig.stream(A)
    answer = rig.play(stream)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/vnd.apple.mpegurl"
    assert answer.headers["Content-Length"] == str(len(answer.body))
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Access-Control-Expose-Headers"] == "*"
    assert (answer.headers["X-Client-ID"], answer.headers["X-Stream-ID"]) == ("me", stream.id)
    one, two = uris(answer.body)
    assert re.fullmatch(PATH.format(stream.id, "segment.ts"), one)
    assert one != two
    segment = rig.get(one)
    assert (segment.status, segment.body) == (200, b"G" * 188)
    assert segment.headers["Access-Control-Allow-Origin"] == "*"
    assert rig.get(one.replace("segment.ts", "segment")).body == b"G" * 188
    assert rig.get(one.removeprefix("/m3u-proxy")).status == 200
    assert rig.origin.count("http://a.example/live/s1.ts?sig=a%2Bb%3D") == 1
    assert (stream.bytes_served, stream.segments_served) == (3 * 188, 3)


def test_tokens_stay_the_same_in_each_reload(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, media("s1.ts", "s2.ts"))
    stream = rig.stream(A)
    before = uris(rig.play(stream).body)
    rig.origin.put(A, media("s2.ts", "s3.ts", first=1))
    rig.wait(6)
    after = uris(rig.play(stream).body)
    assert before[1] == after[0]
    other = HlsRig()
    other.origin.put(A, media("s1.ts", "s2.ts"))
    assert uris(other.play(other.stream(A)).body) == before
    other.stop()


def test_fifty_players_share_one_request(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, media("s1.ts"))
    rig.origin.put("http://a.example/live/s1.ts", b"x" * 1000)
    stream = rig.stream(A)
    for n in range(50):
        answer = rig.play(stream, f"client_id=c{n}")
        (uri,) = uris(answer.body)
        assert uri.endswith(f"&client_id=c{n}")
        assert rig.get(uri).body == b"x" * 1000
    assert rig.origin.count(A) == 1
    assert rig.origin.count("http://a.example/live/s1.ts") == 1
    assert len(stream.clients()) == 50


@pytest.mark.parametrize("ahead", [True, False])
def test_newest_segment_is_prefetched_if_enabled(make_rig, ahead) -> None:
    rig = make_rig(hls_prefetch=ahead)
    rig.origin.put(A, media("a1.ts", "a2.ts"))
    rig.origin.put("http://a.example/live/a2.ts", b"x", public=True)
    stream = rig.stream(A)
    for n in range(3):
        rig.play(stream, f"client_id=c{n}")
    assert rig.origin.asked == [A, "http://a.example/live/a2.ts"][: 1 + ahead]
    assert rig.get(uris(rig.play(stream).body)[1]).body == b"x"
    assert rig.origin.count("http://a.example/live/a2.ts") == 1


def test_range_of_a_file_is_prefetched(make_rig) -> None:
    rig = make_rig(hls_prefetch=True)
    rig.origin.put(A, media("#EXT-X-BYTERANGE:10@5\nall.ts"))
    rig.origin.put("http://a.example/live/all.ts", bytes(range(100)))
    stream = rig.stream(A)
    (uri,) = uris(rig.play(stream).body)
    assert rig.get(uri, headers={"Range": "bytes=5-14"}).body == bytes(range(5, 15))
    assert rig.origin.count("http://a.example/live/all.ts") == 1


def test_client_name_is_escaped_and_computed_if_absent(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, media("s1.ts"))
    stream = rig.stream(A)
    (uri,) = uris(rig.play(stream, "client_id=a%26b%20%22").body)
    assert uri.endswith("&client_id=a%26b%20%22")
    one = rig.play(stream, "username=joe")
    two = rig.play(stream, "username=joe")
    assert one.headers["X-Client-ID"] == two.headers["X-Client-ID"]
    assert re.fullmatch("client_[0-9a-f]{16}", one.headers["X-Client-ID"])
    assert len(stream.clients()) == 2
    # The name stands in every line of the playlist.
    answer = rig.play(stream, "client_id=" + "x" * 257)
    assert re.fullmatch("client_[0-9a-f]{16}", answer.headers["X-Client-ID"])


MASTER = """#EXTM3U
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="de",LANGUAGE="de",URI="{0}de.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=800000,AUDIO="a"
{0}low
#EXT-X-STREAM-INF:BANDWIDTH=5000000,AUDIO="a"
{0}high
"""


def test_variants_belong_to_their_stream(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, MASTER.format(""), final_url="http://cdn.example/z/index.m3u8")
    rig.origin.put("http://cdn.example/z/low", media("l1.ts"))
    rig.origin.put("http://cdn.example/z/de.m3u8", media("d1.aac"))
    stream = rig.stream(A, headers=(("X-Key", "1"),))
    answer = rig.play(stream)
    low, _high = uris(answer.body)
    assert re.fullmatch(PATH.format(stream.id, "playlist.m3u8") + f"&parent={stream.id}", low)
    sound = re.search(r'URI="([^"]*)"', answer.body.decode())[1]
    assert "/playlist.m3u8?url=" in sound
    variant = rig.get(low)
    assert variant.status == 200
    assert variant.headers["X-Stream-ID"] == stream.id
    assert rig.get(sound).status == 200
    assert len(rig.registry.streams()) == 1
    assert [client.client_id for client in stream.clients()] == ["me"]
    assert {wanted.source.headers for wanted in rig.origin.requests} == {(("X-Key", "1"),)}
    assert {wanted.source.url for wanted in rig.origin.requests} == {A}


def test_public_host_must_not_lead_to_private_addresses(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, MASTER.format("http://10.0.0.1/"), public=True)
    rig.origin.put("http://10.0.0.1/low", media("s.ts"), public=True)
    stream = rig.stream(A)
    low, _ = uris(rig.play(stream).body)
    (segment,) = uris(rig.get(low).body)
    rig.get(segment)
    assert [wanted.led_by_public for wanted in rig.origin.requests] == [False, True, True]


# refusals


def test_invalid_requests_are_refused(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, media("s1.ts"))
    rig.origin.put(B, media("s1.ts"))
    stream, other = rig.stream(A), rig.stream(B)
    (uri,) = uris(rig.play(stream).body)
    token = re.search(r"url=([^&]*)", uri)[1]
    base = f"/hls/{stream.id}"
    altered = token[:-3] + ("A" if token[-3] != "A" else "B") + token[-2:]
    assert rig.get(f"{base}/segment.ts?url={altered}&client_id=me").status == 403
    assert rig.get(f"{base}/segment.ts?url=http://c.example/s.ts&client_id=me").status == 403
    assert rig.get(f"{base}/segment.ts?url=file:///etc/passwd&client_id=me").status == 403
    assert rig.get(f"/hls/{other.id}/segment.ts?url={token}&client_id=me").status == 403
    assert rig.get(f"{base}/playlist.m3u8?url={token}").status == 403
    assert rig.get(f"{base}/playlist.m3u8?url=http://c.example/x.m3u8").status == 403
    assert rig.get(f"/hls/{'0' * 32}/playlist.m3u8").status == 404
    assert rig.get(f"/hls/{'0' * 32}/segment.ts?url={token}&client_id=me").status == 404
    assert rig.get(f"{base}/playlist.m3u8", method="POST").status == 405
    assert rig.origin.asked == [A]
    # The URL of a source stands for the stream itself.
    assert rig.get(f"{base}/playlist.m3u8?url={A}").status == 200


def test_segment_request_needs_client_id_and_url(make_rig) -> None:
    rig = make_rig()
    stream = rig.stream(A)
    answer = rig.get(f"/hls/{stream.id}/segment.ts?url=x")
    assert answer.status == 422
    assert answer.json["detail"] == [
        {"type": "missing", "loc": ["query", "client_id"], "msg": "Field required", "input": None}
    ]
    assert len(rig.get(f"/hls/{stream.id}/segment.ts").json["detail"]) == 2


def test_segment_statuses_are_passed_on(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, media("s1.ts", "s2.ts"))
    rig.origin.put("http://a.example/live/s2.ts", bytes(range(200)), headers={"Content-Type": "video/x"})
    stream = rig.stream(A)
    gone, there = uris(rig.play(stream).body)
    assert rig.get(gone).status == 404
    assert rig.get(gone).json["detail"] == "The provider answers 404."
    part = rig.get(there, headers={"Range": "bytes=10-19"})
    assert (part.status, part.body) == (206, bytes(range(10, 20)))
    assert part.headers["Content-Range"] == "bytes 10-19/200"
    assert part.headers["Content-Type"] == "video/x"
    head = rig.get(there, method="HEAD")
    assert (head.status, head.body) == (200, b"")


def test_head_and_options_requests(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, media("s1.ts"))
    stream = rig.stream(A)
    path = f"/hls/{stream.id}/playlist.m3u8"
    whole, head = rig.get(path), rig.get(path, method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Length"] == whole.headers["Content-Length"]
    assert rig.get(path, method="OPTIONS").headers["Allow"] == "GET, HEAD, OPTIONS"
    asks = {"Origin": "http://x.example", "Access-Control-Request-Method": "GET"}
    assert rig.get(path, method="OPTIONS", headers=asks).headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize(
    ("page", "status"),
    [
        ({"body": "<html>"}, 502),
        ({"body": b"G" * 2000}, 502),
        ({"status": 404}, 502),
        ({"status": 509}, 503),
        ({"error": SourceError(Reason.CONNECT_TIMEOUT)}, 504),
    ],
    ids=["html", "video", "404", "busy", "timeout"],
)
def test_source_without_playlist(make_rig, page, status) -> None:
    rig = make_rig()
    rig.origin.put(A, **page)
    stream = rig.stream(A)
    wire = rig.open(f"/hls/{stream.id}/playlist.m3u8")
    rig.wait(11)
    answer = wire.answer()
    assert answer.status == status
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert ("Retry-After" in answer.headers) == (status == 503)


def test_player_that_disconnects_while_it_waits(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, silent=True)
    stream = rig.stream(A)
    wire = rig.open(f"/hls/{stream.id}/playlist.m3u8")
    assert rig.origin.cancelled == []
    wire.lose()
    assert rig.origin.cancelled == [A]
    rig.wait(1)
    assert wire.take() == b""


def test_signed_url_is_needed_once(make_rig) -> None:
    rig = make_rig(player_url_lifetime=60)
    rig.origin.put(A, media("s1.ts"))
    rig.origin.put("http://a.example/live/s1.ts", b"x")
    stream = rig.stream(A)
    path = f"/hls/{stream.id}/playlist.m3u8"
    assert rig.get(path).status == 403
    (uri,) = uris(rig.get(rig.tickets.sign(path) + "&client_id=me").body)
    assert rig.get(uri).status == 200
    assert rig.get(uri.replace("client_id=me", "client_id=other")).status == 403
    assert rig.get(uri.replace(stream.id, "0" * 32)).status == 403


def test_expired_signed_url_does_not_end_playback(make_rig) -> None:
    rig = make_rig(player_url_lifetime=60)
    stream = rig.stream(A)
    path = rig.tickets.sign(f"/hls/{stream.id}/playlist.m3u8") + "&client_id=me"
    for n in range(20):
        rig.origin.put(A, media("a.ts", "b.ts", first=n))
        assert rig.get(path).status == 200
        rig.wait(6)
    # An expired one is refused for another player, another stream, another address, and if altered.
    assert rig.get(path.replace("client_id=me", "client_id=you")).status == 403
    assert rig.get(path, peer=IPv4Address("TCP", "192.0.2.11", 1)).status == 403
    assert rig.get(path.replace("signature=", "signature=0")).status == 403
    assert rig.get(path.replace("expires=", "expires=9")).status == 403
    assert rig.get(f"/hls/{stream.id}/playlist.m3u8?client_id=me").status == 403
    assert rig.get(path).status == 200
    # It is also refused for a player whose client has been removed.
    rig.wait(20)
    assert rig.get(path).status == 403
    assert len(stream.clients()) == 0


# players


def test_silent_client_is_removed_after_three_target_durations(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, media("s1.ts", target=10))
    stream = rig.stream(A)
    rig.play(stream)
    rig.wait(29)
    assert len(stream.clients()) == 1
    rig.wait(3)
    assert stream.clients() == []


def test_client_waiting_for_a_playlist_is_counted(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, silent=True)
    stream = rig.stream(A)
    wire = rig.open(f"/hls/{stream.id}/playlist.m3u8")
    rig.wait(30)
    assert len(stream.clients()) == 1
    wire.lose()
    rig.wait(16)
    assert stream.clients() == []


def test_requesting_client_stays(make_rig) -> None:
    rig = make_rig()
    stream = rig.stream(A)
    for n in range(20):
        rig.origin.put(A, media("a.ts", "b.ts", first=n))
        rig.play(stream)
        rig.wait(6)
    assert len(stream.clients()) == 1


def test_viewer_limit_applies_to_hls(make_rig) -> None:
    rig = make_rig(max_viewers_per_stream=1)
    rig.origin.put(A, media("s1.ts"))
    stream = rig.stream(A)
    assert rig.play(stream, "client_id=one").status == 200
    assert rig.play(stream, "client_id=two").status == 503
    assert rig.play(stream, "client_id=one").status == 200
    assert stream.abort_client("two") == 0
    assert stream.abort_client("one") == 1
    assert rig.play(stream, "client_id=two").status == 200


# sources


def test_failed_playlist_causes_failover(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, media("a1.ts", "a2.ts", "a3.ts", first=70))
    rig.origin.put(B, media("b1.ts", "b2.ts", "b3.ts", "b4.ts", first=5))
    stream = rig.stream(A, B)
    assert b"MEDIA-SEQUENCE:70\n" in rig.play(stream).body
    rig.origin.put(A, status=404)
    rig.wait(6)
    text = rig.play(stream).body
    assert b"#EXT-X-MEDIA-SEQUENCE:73\n" in text
    assert b"#EXT-X-DISCONTINUITY\n" in text
    assert len(uris(text)) == 3
    assert (stream.source_index, stream.current_url, stream.history.failover_attempts, stream.history.error_count) == (
        1,
        B,
        1,
        1,
    )
    assert stream.history.last_failover is not None
    rig.origin.put("http://b.example/x/b4.ts", b"!")
    assert rig.get(uris(text)[-1]).body == b"!"
    (decision,) = stream.history.entries()
    assert decision["cause"] == "bad status: HTTP 404"
    assert decision["bridged_ms"] is not None


def test_one_failure_seen_by_fifty_players_is_one_failover(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, silent=True)
    rig.origin.put(B, media("b1.ts"))
    stream = rig.stream(A, B)
    wires = [rig.open(f"/hls/{stream.id}/playlist.m3u8?client_id=c{n}") for n in range(50)]
    (waiting,) = rig.origin.waiting
    waiting.errback(SourceError(Reason.FIRST_BYTE_TIMEOUT))
    rig.wait(1)
    assert {wire.answer().status for wire in wires} == {200}
    assert (stream.source_index, stream.history.failover_attempts, stream.history.error_count) == (1, 1, 1)
    assert rig.origin.count(B) == 1


def test_late_playlist_is_dropped(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, silent=True)
    rig.origin.put(B, media("b1.ts", first=9))
    stream = rig.stream(A, B)
    wire = rig.open(f"/hls/{stream.id}/playlist.m3u8")
    stream.fail_over()
    (waiting,) = rig.origin.waiting
    waiting.callback(rig.origin.answer(Page(media("a1.ts", first=70).encode()), rig.origin.requests[0]))
    rig.wait(1)
    assert b"#EXT-X-MEDIA-SEQUENCE:9\n" in wire.answer().body
    assert rig.play(stream).body.count(b"#EXT-X-DISCONTINUITY") == 0


def test_stale_playlist_counts_as_stall(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, media("a1.ts", "a2.ts"))
    rig.origin.put(B, media("b1.ts", "b2.ts"))
    stream = rig.stream(A, B)
    for _ in range(6):
        assert rig.play(stream).status == 200
        assert stream.source_index == 0
        rig.wait(3)
    rig.wait(1)
    text = rig.play(stream).body
    assert stream.source_index == 1
    assert b"#EXT-X-MEDIA-SEQUENCE:2\n" in text
    assert stream.history.entries()[0]["cause"] == "stalled: no new segment for 19 s"


def test_stale_playlist_of_the_only_source_is_passed_on(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, media("a1.ts"))
    stream = rig.stream(A)
    for _ in range(20):
        assert rig.play(stream).status == 200
        rig.wait(3)
    assert stream.history.error_count == 0


def test_short_failure_of_the_only_source_is_hidden(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, media("a1.ts"))
    stream = rig.stream(A)
    before = rig.play(stream).body
    rig.origin.put(A, status=500)
    for _ in range(3):
        rig.wait(4)
        wire = rig.open(f"/hls/{stream.id}/playlist.m3u8?client_id=me")
        rig.wait(6)
        assert wire.answer().body == before
    for _ in range(2):
        wire = rig.open(f"/hls/{stream.id}/playlist.m3u8?client_id=me")
        rig.wait(10)
    assert wire.answer().status == 502


def test_player_with_an_earlier_playlist_does_not_wait_long(make_rig) -> None:
    rig = make_rig(stream_retry_delay=4.0)
    rig.origin.put(A, media("a1.ts"))
    stream = rig.stream(A)
    before = rig.play(stream).body
    rig.origin.put(A, status=500)
    rig.wait(4)
    wire = rig.open(f"/hls/{stream.id}/playlist.m3u8?client_id=me")
    rig.wait(6)
    assert wire.answer().body == before


def test_consecutive_failed_segments_cause_failover(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, media("a1.ts", "a2.ts", "a3.ts"))
    rig.origin.put(B, media("b1.ts"))
    rig.origin.put("http://a.example/live/a2.ts", b"x")
    stream = rig.stream(A, B)
    one, two, three = uris(rig.play(stream).body)
    for uri in (one, one, two, three):
        rig.get(uri)
    assert stream.source_index == 0
    rig.wait(2)
    assert rig.get(one).status == 404
    assert stream.source_index == 1
    rig.get(three)
    assert stream.source_index == 1
    rig.wait(4)
    assert b"#EXT-X-DISCONTINUITY\n" in rig.play(stream).body
    assert stream.history.failover_attempts == 1


@pytest.mark.parametrize(
    ("first", "other"),
    [
        ('#EXT-X-KEY:METHOD=AES-128,URI="key.bin"\n', "http://a.example/live/key.bin"),
        ('#EXT-X-MAP:URI="init.mp4"\n', "http://a.example/live/init.mp4"),
        ("#EXTINF:6.0,\n../sound/a0.aac\n", "http://a.example/sound/a0.aac"),
    ],
)
def test_success_of_another_group_does_not_clear_failed_segments(make_rig, first, other) -> None:
    """Players fetch keys, maps and other renditions between failing segments."""
    rig = make_rig()
    rig.origin.put(A, media("a1.ts", "a2.ts").replace("#EXTINF", f"{first}#EXTINF", 1))
    rig.origin.put(B, media("b1.ts"))
    rig.origin.put(other, b"x" * 16)
    stream = rig.stream(A, B)
    text = rig.play(stream).body
    helps = next(uri for uri in re.findall(r"/m3u-proxy/[^\"\s]+", text.decode()) if rig.get(uri).status == 200)
    for uri in uris(text)[-2:]:
        assert stream.source_index == 0
        assert rig.get(uri).status == 404
        rig.wait(6)
        assert rig.get(helps).status == 200
    assert stream.source_index == 1


def test_ranges_of_one_file_count_as_different_segments(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, media("a.ts", "a.ts"))
    rig.origin.put(B, media("b1.ts"))
    stream = rig.stream(A, B)
    one, _ = uris(rig.play(stream).body)
    assert rig.get(one).status == 404
    for place, moved in (("0-187", 0), ("0-", 0), ("188-375", 1)):
        assert rig.get(one, headers={"Range": f"bytes={place}"}).status == 404
        assert stream.source_index == moved
        rig.wait(2)


def test_truncated_segments_cause_failover_like_missing_ones(make_rig) -> None:
    rig = make_rig(live_chunk_timeout_seconds=3.0)
    rig.origin.put(A, media("a1.ts", "a2.ts", "a3.ts", "a4.ts"))
    rig.origin.put(B, media("b1.ts"))
    for n in (1, 3, 4):
        rig.origin.put(f"http://a.example/live/a{n}.ts", b"G" * 500, endless=True)
    rig.origin.put("http://a.example/live/a2.ts", b"G" * 188)
    stream = rig.stream(A, B)
    names = uris(rig.play(stream).body)

    def stalls(name: str) -> None:
        wire = rig.open(name)
        rig.wait(3.5)
        assert b"G" * 500 in wire.take()
        assert wire.aborted

    stalls(names[0])
    # A segment that its player has cancelled is no failure.
    for name in names[2:]:
        rig.open(name).lose()
    assert rig.get(names[1]).status == 200
    stalls(names[2])
    assert stream.source_index == 0
    stalls(names[3])
    assert stream.source_index == 1
    assert "segments: " in stream.history.entries()[-1]["cause"]


def test_variant_is_served_from_its_counterpart(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, MASTER.format("a/"))
    rig.origin.put(B, MASTER.format("b/"))
    for host, name in (("a.example/live/a", "a"), ("b.example/x/b", "b")):
        rig.origin.put(f"http://{host}/low", media(f"{name}-low.ts", first=10))
        rig.origin.put(f"http://{host}/high", media(f"{name}-high.ts", first=20))
        rig.origin.put(f"http://{host}/de.m3u8", media(f"{name}-de.aac", first=30))
    stream = rig.stream(A, B)
    answer = rig.play(stream)
    low, high = uris(answer.body)
    sound = re.search(r'URI="([^"]*)"', answer.body.decode())[1]
    for uri in (low, sound):
        assert rig.get(uri).status == 200
    rig.origin.put("http://a.example/live/a/low", status=403)
    rig.wait(6)
    assert b"#EXT-X-MEDIA-SEQUENCE:11\n" in rig.get(low).body
    assert b"#EXT-X-MEDIA-SEQUENCE:31\n" in rig.get(sound).body
    # The first request for this playlist: it shares the discontinuity numbers.
    text = rig.get(high).body
    assert b"#EXT-X-MEDIA-SEQUENCE:20\n" in text
    assert b"#EXT-X-DISCONTINUITY-SEQUENCE:1\n" in text
    assert rig.origin.asked.count("http://b.example/x/b/low") == 1
    assert stream.history.failover_attempts == 1


def test_multivariant_playlist_stays_multivariant(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, MASTER.format(""))
    rig.origin.put("http://a.example/live/low", media("a1.ts"))
    rig.origin.put("http://a.example/live/de.m3u8", media("a1.aac"))
    rig.origin.put(B, media("b1.ts", first=40))
    stream = rig.stream(A, B)
    answer = rig.play(stream)
    low, _ = uris(answer.body)
    sound = re.search(r'URI="([^"]*)"', answer.body.decode())[1]
    rig.get(low)
    stream.fail_over()
    rig.wait(6)
    assert b"#EXT-X-MEDIA-SEQUENCE:1\n" in rig.get(low).body
    assert rig.get(sound).status == 404
    assert stream.source_index == 1
    answer = rig.play(stream, "client_id=new")
    assert b"#EXT-X-STREAM-INF:" in answer.body
    (only,) = uris(answer.body)
    assert b"#EXTINF" in rig.get(only).body


def test_media_playlist_stays_a_media_playlist(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, media("a1.ts", first=8))
    rig.origin.put(B, MASTER.format(""))
    rig.origin.put("http://b.example/x/high", media("b1.ts", first=40))
    stream = rig.stream(A, B)
    rig.play(stream)
    stream.fail_over()
    rig.wait(6)
    text = rig.play(stream).body
    assert b"#EXT-X-MEDIA-SEQUENCE:9\n" in text
    assert len(uris(text)) == 1


def test_manual_failover(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, media("a1.ts", first=3))
    rig.origin.put(B, media("b1.ts"))
    stream = rig.stream(A, B)
    rig.play(stream)
    stream.fail_over()
    assert (stream.source_index, stream.current_url, stream.history.failover_attempts) == (1, B, 1)
    rig.wait(6)
    rig.play(stream)
    stream.fail_over()
    assert (stream.source_index, stream.history.failover_attempts) == (0, 2)
    entries = stream.history.entries()
    assert [(entry["from_index"], entry["to_index"]) for entry in entries] == [(0, 1), (1, 0)]
    rig.wait(6)
    # The segments served from A are not served again.
    assert b"#EXT-X-MEDIA-SEQUENCE:4\n" in rig.play(stream).body
    rig.origin.put(A, media("a1.ts", "a2.ts", first=3))
    rig.wait(6)
    assert b"#EXT-X-MEDIA-SEQUENCE:5\n" in rig.play(stream).body


def test_manual_failover_without_clients(make_rig) -> None:
    rig = make_rig()
    stream = rig.stream(A, B)
    stream.fail_over()
    (entry,) = stream.history.entries()
    assert (entry["from_index"], entry["to_index"], entry["measured"]) == (0, 1, {})


def test_manual_failover_moves_the_transport_stream_too(make_rig) -> None:
    rig = make_rig()
    stream = rig.stream(A, B)
    stream.fail_over()
    joined = stream.open_ts_stream()
    assert (joined.source_index, stream.history.failover_attempts) == (1, 1)
    stream.fail_over()
    assert (joined.source_index, stream.history.failover_attempts) == (0, 2)
    assert len(stream.history.entries()) == 2


def test_sticky_session_keeps_the_redirected_url(make_rig) -> None:
    rig = make_rig()
    there = "http://edge.example/p/index.m3u8"
    rig.origin.put(A, media("a1.ts"), final_url=there)
    rig.origin.put(there, media("a1.ts"))
    stream = rig.stream(A, use_sticky_session=True)
    rig.play(stream)
    rig.wait(6)
    rig.play(stream)
    assert rig.origin.asked == [A, there]
    assert stream.current_url == there
    rig.origin.put(there, status=410)
    rig.wait(6)
    assert rig.play(stream).status == 200
    assert rig.origin.asked == [A, there, there, A]
    assert stream.history.error_count == 0


def number_of(answer) -> int:
    return int(re.search(rb"#EXT-X-MEDIA-SEQUENCE:(\d+)", answer.body)[1])


def test_numbers_continue_after_the_last_client(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, media("a1.ts", first=3))
    rig.origin.put(B, media("b1.ts", first=9))
    stream = rig.stream(A, B)
    rig.play(stream)
    stream.fail_over()
    rig.wait(6)
    assert b"#EXT-X-MEDIA-SEQUENCE:4\n" in rig.play(stream).body
    rig.wait(20)
    assert stream.clients() == []
    assert number_of(rig.play(stream)) == 4
    rig.origin.put(B, media("b2.ts", first=10))
    rig.wait(6)
    assert number_of(rig.play(stream)) == 5


@pytest.mark.parametrize("sleep", [6, 30, 4000])
@pytest.mark.parametrize("kind", ["other source", "same source", "restarted", "empty", "variant"])
def test_player_that_slept_sees_no_number_decrease(make_rig, sleep: int, kind: str) -> None:
    """A phone may sleep for hours. The stream may move to a backup before, meanwhile or afterwards."""
    rig = make_rig(stream_timeout=10_000)
    lists = {A: 1000, B: 5}

    def grow(seconds: int) -> None:
        rig.wait(seconds)
        for url, first in lists.items():
            name = url[7]
            names = [f"{name}{n}.ts" for n in range(first, first + 4)]
            rig.origin.put(url, media(*names, first=first))
            lists[url] = first + seconds // 6

    grow(0)
    if kind == "variant":
        rig.origin.put(MASTER_A, "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n" + A)
        rig.origin.put(MASTER_B, "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n" + B)
    stream = rig.stream(*((MASTER_A, MASTER_B) if kind == "variant" else (A, B)))
    path = f"/hls/{stream.id}/playlist.m3u8?client_id=me"
    path = uris(rig.get(path).body)[0] if kind == "variant" else path
    seen = [number_of(rig.get(path))]
    if kind == "other source":
        stream.fail_over()
        grow(6)
        seen.append(number_of(rig.get(path)))
    grow(sleep)
    if kind == "restarted":
        lists[A] = lists[B] = 0
        grow(0)
    elif kind == "empty":
        rig.origin.put(A, media(first=0))
        seen.append(number_of(rig.get(path)))
        grow(0)
    elif kind == "variant":
        rig.origin.put(A, status=404)
        lists.pop(A)
        rig.origin.put(MASTER_A, status=404)
    for _ in range(3):
        grow(6)
        answer = rig.get(path)
        assert answer.status == 200
        assert len(uris(answer.body)) >= 3
        seen.append(number_of(answer))
    assert seen == sorted(seen)
    assert seen[-1] > seen[0]


def test_repeated_registration_updates_the_stream(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, media("a1.ts"))
    rig.origin.put(B, media("b1.ts", first=9))
    stream = rig.stream(A, metadata={"id": "1"})
    rig.play(stream)
    assert rig.stream(A, B, metadata={"id": "2"}) is stream
    assert stream.spec.metadata == {"id": "1"}
    assert stream.spec.failover_urls == (B,)
    rig.origin.put(A, status=404)
    rig.wait(6)
    assert b"#EXT-X-MEDIA-SEQUENCE:1\n" in rig.play(stream).body
    rig.stream(A, metadata={"id": "2"})
    assert stream.current_url == A


def test_low_latency(make_rig) -> None:
    rig = make_rig()
    more = (
        "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=3\n#EXT-X-PART-INF:PART-TARGET=1\n"
        '#EXT-X-PART:DURATION=1,URI="p.ts"'
    )
    rig.origin.put(A, media("a1.ts", first=3, more=more))
    stream = rig.stream(A)
    rig.play(stream)
    rig.origin.put(f"{A}?_HLS_msn=4&_HLS_part=1", media("a1.ts", "a2.ts", first=3, more=more))
    answer = rig.play(stream, "client_id=me&_HLS_msn=4&_HLS_part=1&_HLS_skip=YES")
    assert len(uris(answer.body)) == 2
    assert rig.origin.asked == [A, f"{A}?_HLS_msn=4&_HLS_part=1"]
    assert b'URI="/m3u-proxy/hls/' in answer.body


@pytest.mark.parametrize("how", ["delete", "disconnect", "leave"])
def test_removed_client_has_its_segment_aborted(make_rig, how) -> None:
    rig = make_rig(live_chunk_timeout_seconds=1000.0)
    rig.origin.put(A, media("a1.ts"))
    rig.origin.put("http://a.example/live/a1.ts", b"G" * 5000, endless=True)
    stream = rig.stream(A)
    (uri,) = uris(rig.play(stream).body)
    wire = rig.open(uri)
    rig.wait(60)
    # The player requests nothing, but is counted.
    assert len(stream.clients()) == 1
    assert wire.take().count(b"GGGG") == 1250
    if how == "delete":
        rig.registry.delete(stream.id)
    elif how == "disconnect":
        assert stream.abort_client("me") == 1
    else:
        wire.lose()
        rig.wait(15)
        assert len(stream.clients()) == 1
        rig.wait(5)
    assert wire.aborted is (how != "leave")
    assert stream.clients() == []
    if how != "leave":
        wire.lose()
    assert stream.clients() == []
    rig.wait(1)


@pytest.mark.parametrize("answer", [SourceError(Reason.RESET), None])
def test_player_waiting_for_a_deleted_stream_gets_an_error(make_rig, answer) -> None:
    rig = make_rig()
    rig.origin.put(A, silent=True)
    stream = rig.stream(A, B)
    wire = rig.open(f"/hls/{stream.id}/playlist.m3u8")
    rig.registry.delete(stream.id)
    (waiting,) = rig.origin.waiting
    if answer is None:
        waiting.callback(rig.origin.answer(Page(media("a1.ts").encode()), rig.origin.requests[0]))
    else:
        waiting.errback(answer)
    rig.wait(1)
    assert wire.answer().status == 404
    assert rig.origin.asked == [A]
    assert stream.history.error_count == 0


def test_deleted_stream_removes_its_clients(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, media("a1.ts"))
    stream = rig.stream(A)
    (uri,) = uris(rig.play(stream).body)
    assert rig.registry.delete(stream.id)
    assert stream.clients() == []
    assert rig.get(uri).status == 404


@pytest.mark.parametrize("when", ["between two requests", "while one is under way"])
def test_source_in_use_changes_its_position_in_the_list(make_rig, when) -> None:
    other = "http://c.example/z.m3u8"
    rig = make_rig()
    rig.origin.put(A, status=404)
    rig.origin.put(B, media("b1.ts"))
    stream = rig.stream(A, other, B)
    assert rig.play(stream).status == 200
    assert stream.source_index == 2
    rig.wait(6)
    if when == "while one is under way":
        rig.origin.put(B, silent=True)
        wire = rig.open(f"/hls/{stream.id}/playlist.m3u8?client_id=me")
        rig.stream(A, B)
        (waiting,) = rig.origin.waiting
        rig.origin.put(B, media("b1.ts", "b2.ts"))
        waiting.callback(rig.origin.answer(rig.origin.pages[B], rig.origin.requests[-1]))
        answer = wire.answer()
    else:
        rig.origin.put(B, media("b1.ts", "b2.ts"))
        rig.stream(A, B)
        answer = rig.play(stream)
    assert answer.status == 200
    assert len(uris(answer.body)) == 2
    assert (stream.source_index, stream.history.failover_attempts) == (1, 2)
    rig.wait(6)
    rig.origin.put(B, status=404)
    rig.origin.put(A, media("a1.ts"))
    assert rig.play(stream).status == 200
    assert stream.source_index == 0


def test_excessive_playlist_is_a_source_failure(make_rig, monkeypatch) -> None:
    monkeypatch.setattr("m3uproxy.core.hls.uri_rewriter.MAX_REWRITTEN", 1000)
    rig = make_rig()
    rig.origin.put(A, media(*(f"a{n}.ts" for n in range(20))))
    rig.origin.put(B, media("b1.ts"))
    stream = rig.stream(A, B)
    assert len(uris(rig.play(stream).body)) == 1
    assert stream.source_index == 1


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("text/html", "video/mp2t"),
        ("image/svg+xml", "video/mp2t"),
        ("video/x;, text/html", "video/mp2t"),
        ("", "video/mp2t"),
        ("video/MP2T; charset=x", "video/MP2T; charset=x"),
        ("application/octet-stream", "application/octet-stream"),
    ],
)
def test_segment_is_not_sent_as_a_web_page(make_rig, said, told) -> None:
    rig = make_rig()
    rig.origin.put(A, media("a.ts"))
    rig.origin.put(A.replace("index.m3u8", "a.ts"), b"\0<script>1</script>", headers={"Content-Type": said})
    (url,) = uris(rig.play(rig.stream(A)).body)
    assert rig.get(url).headers["Content-Type"] == told


@pytest.mark.parametrize(("name", "kept"), [("%F0%9F%98%80" * 21, True), ("%F0%9F%98%80" * 22, False)])
def test_client_name_length_counts_percent_encoded(make_rig, name: str, kept: bool) -> None:
    rig = make_rig()
    rig.origin.put(A, media("a.ts"))
    stream = rig.stream(A)
    assert (name.encode() in rig.play(stream, f"client_id={name}").body) == kept
