"""A stream, from players' requests to what the provider is asked."""

from __future__ import annotations

import re

import pytest
from origin import Page, Side, media, uris
from twisted.internet.address import IPv4Address

from m3uproxy.errors import Reason, SourceError

A, B = "http://a.example/live/index.m3u8", "http://b.example/x/y.m3u8?k=%2B"
PATH = r"/m3u-proxy/hls/{}/{}\?url=[A-Za-z0-9_-]+&client_id=me"


def test_a_playlist_and_its_segments(side) -> None:
    here = side()
    here.origin.put(A, media("s1.ts?sig=a%2Bb%3D", "/deep/s2.ts"))
    here.origin.put("http://a.example/live/s1.ts?sig=a%2Bb%3D", b"G" * 188)
    stream = here.stream(A)
    answer = here.play(stream)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/vnd.apple.mpegurl"
    assert answer.headers["Content-Length"] == str(len(answer.body))
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Access-Control-Expose-Headers"] == "*"
    assert (answer.headers["X-Client-ID"], answer.headers["X-Stream-ID"]) == ("me", stream.id)
    one, two = uris(answer.body)
    assert re.fullmatch(PATH.format(stream.id, "segment.ts"), one)
    assert one != two
    segment = here.get(one)
    assert (segment.status, segment.body) == (200, b"G" * 188)
    assert segment.headers["Access-Control-Allow-Origin"] == "*"
    assert here.get(one.replace("segment.ts", "segment")).body == b"G" * 188
    assert here.get(one.removeprefix("/m3u-proxy")).status == 200
    assert here.origin.count("http://a.example/live/s1.ts?sig=a%2Bb%3D") == 1
    assert (stream.bytes_served, stream.segments_served) == (3 * 188, 3)


def test_tokens_are_the_same_in_each_refresh(side) -> None:
    here = side()
    here.origin.put(A, media("s1.ts", "s2.ts"))
    stream = here.stream(A)
    before = uris(here.play(stream).body)
    here.origin.put(A, media("s2.ts", "s3.ts", first=1))
    here.wait(6)
    after = uris(here.play(stream).body)
    assert before[1] == after[0]
    other = Side()
    other.origin.put(A, media("s1.ts", "s2.ts"))
    assert uris(other.play(other.stream(A)).body) == before
    other.stop()


def test_fifty_players_are_one_request(side) -> None:
    here = side()
    here.origin.put(A, media("s1.ts"))
    here.origin.put("http://a.example/live/s1.ts", b"x" * 1000)
    stream = here.stream(A)
    for n in range(50):
        answer = here.play(stream, f"client_id=c{n}")
        (uri,) = uris(answer.body)
        assert uri.endswith(f"&client_id=c{n}")
        assert here.get(uri).body == b"x" * 1000
    assert here.origin.count(A) == 1
    assert here.origin.count("http://a.example/live/s1.ts") == 1
    assert len(stream.clients()) == 50


@pytest.mark.parametrize("ahead", [True, False])
def test_the_newest_segment_comes_ahead_if_so_set(side, ahead) -> None:
    here = side(hls_prefetch=ahead)
    here.origin.put(A, media("a1.ts", "a2.ts"))
    here.origin.put("http://a.example/live/a2.ts", b"x", public=True)
    stream = here.stream(A)
    for n in range(3):
        here.play(stream, f"client_id=c{n}")
    assert here.origin.asked == [A, "http://a.example/live/a2.ts"][: 1 + ahead]
    assert here.get(uris(here.play(stream).body)[1]).body == b"x"
    assert here.origin.count("http://a.example/live/a2.ts") == 1


def test_a_part_of_a_file_comes_ahead(side) -> None:
    here = side(hls_prefetch=True)
    here.origin.put(A, media("#EXT-X-BYTERANGE:10@5\nall.ts"))
    here.origin.put("http://a.example/live/all.ts", bytes(range(100)))
    stream = here.stream(A)
    (uri,) = uris(here.play(stream).body)
    assert here.get(uri, headers={"Range": "bytes=5-14"}).body == bytes(range(5, 15))
    assert here.origin.count("http://a.example/live/all.ts") == 1


def test_the_name_of_a_player_is_escaped_and_made_up_if_it_has_none(side) -> None:
    here = side()
    here.origin.put(A, media("s1.ts"))
    stream = here.stream(A)
    (uri,) = uris(here.play(stream, "client_id=a%26b%20%22").body)
    assert uri.endswith("&client_id=a%26b%20%22")
    one = here.play(stream, "username=joe")
    two = here.play(stream, "username=joe")
    assert one.headers["X-Client-ID"] == two.headers["X-Client-ID"]
    assert re.fullmatch("client_[0-9a-f]{16}", one.headers["X-Client-ID"])
    assert len(stream.clients()) == 2
    # It would stand in every line.
    answer = here.play(stream, "client_id=" + "x" * 257)
    assert re.fullmatch("client_[0-9a-f]{16}", answer.headers["X-Client-ID"])


MASTER = """#EXTM3U
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="de",LANGUAGE="de",URI="{0}de.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=800000,AUDIO="a"
{0}low
#EXT-X-STREAM-INF:BANDWIDTH=5000000,AUDIO="a"
{0}high
"""


def test_variants_belong_to_their_stream(side) -> None:
    here = side()
    here.origin.put(A, MASTER.format(""), final_url="http://cdn.example/z/index.m3u8")
    here.origin.put("http://cdn.example/z/low", media("l1.ts"))
    here.origin.put("http://cdn.example/z/de.m3u8", media("d1.aac"))
    stream = here.stream(A, headers=(("X-Key", "1"),))
    answer = here.play(stream)
    low, _high = uris(answer.body)
    assert re.fullmatch(PATH.format(stream.id, "playlist.m3u8") + f"&parent={stream.id}", low)
    sound = re.search(r'URI="([^"]*)"', answer.body.decode())[1]
    assert "/playlist.m3u8?url=" in sound
    variant = here.get(low)
    assert variant.status == 200
    assert variant.headers["X-Stream-ID"] == stream.id
    assert here.get(sound).status == 200
    assert len(here.registry.streams()) == 1
    assert [client.client_id for client in stream.clients()] == ["me"]
    assert {wanted.source.headers for wanted in here.origin.wanted} == {(("X-Key", "1"),)}
    assert {wanted.source.url for wanted in here.origin.wanted} == {A}


def test_what_a_public_host_names_must_not_lead_inside(side) -> None:
    here = side()
    here.origin.put(A, MASTER.format("http://10.0.0.1/"), public=True)
    here.origin.put("http://10.0.0.1/low", media("s.ts"), public=True)
    stream = here.stream(A)
    low, _ = uris(here.play(stream).body)
    (segment,) = uris(here.get(low).body)
    here.get(segment)
    assert [wanted.led_by_public for wanted in here.origin.wanted] == [False, True, True]


# refusals


def test_what_is_refused(side) -> None:
    here = side()
    here.origin.put(A, media("s1.ts"))
    here.origin.put(B, media("s1.ts"))
    stream, other = here.stream(A), here.stream(B)
    (uri,) = uris(here.play(stream).body)
    token = re.search(r"url=([^&]*)", uri)[1]
    base = f"/hls/{stream.id}"
    altered = token[:-3] + ("A" if token[-3] != "A" else "B") + token[-2:]
    assert here.get(f"{base}/segment.ts?url={altered}&client_id=me").status == 403
    assert here.get(f"{base}/segment.ts?url=http://c.example/s.ts&client_id=me").status == 403
    assert here.get(f"{base}/segment.ts?url=file:///etc/passwd&client_id=me").status == 403
    assert here.get(f"/hls/{other.id}/segment.ts?url={token}&client_id=me").status == 403
    assert here.get(f"{base}/playlist.m3u8?url={token}").status == 403
    assert here.get(f"{base}/playlist.m3u8?url=http://c.example/x.m3u8").status == 403
    assert here.get(f"/hls/{'0' * 32}/playlist.m3u8").status == 404
    assert here.get(f"/hls/{'0' * 32}/segment.ts?url={token}&client_id=me").status == 404
    assert here.get(f"{base}/playlist.m3u8", method="POST").status == 405
    assert here.origin.asked == [A]
    # A URL of the stream itself says nothing new.
    assert here.get(f"{base}/playlist.m3u8?url={A}").status == 200


def test_a_segment_needs_a_name_and_a_url(side) -> None:
    here = side()
    stream = here.stream(A)
    answer = here.get(f"/hls/{stream.id}/segment.ts?url=x")
    assert answer.status == 422
    assert answer.json["detail"] == [
        {"type": "missing", "loc": ["query", "client_id"], "msg": "Field required", "input": None}
    ]
    assert len(here.get(f"/hls/{stream.id}/segment.ts").json["detail"]) == 2


def test_statuses_of_segments_pass(side) -> None:
    here = side()
    here.origin.put(A, media("s1.ts", "s2.ts"))
    here.origin.put("http://a.example/live/s2.ts", bytes(range(200)), headers={"Content-Type": "video/x"})
    stream = here.stream(A)
    gone, there = uris(here.play(stream).body)
    assert here.get(gone).status == 404
    assert here.get(gone).json["detail"] == "The provider answers 404."
    part = here.get(there, headers={"Range": "bytes=10-19"})
    assert (part.status, part.body) == (206, bytes(range(10, 20)))
    assert part.headers["Content-Range"] == "bytes 10-19/200"
    assert part.headers["Content-Type"] == "video/x"
    head = here.get(there, method="HEAD")
    assert (head.status, head.body) == (200, b"")


def test_head_and_options(side) -> None:
    here = side()
    here.origin.put(A, media("s1.ts"))
    stream = here.stream(A)
    path = f"/hls/{stream.id}/playlist.m3u8"
    whole, head = here.get(path), here.get(path, method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Length"] == whole.headers["Content-Length"]
    assert here.get(path, method="OPTIONS").headers["Allow"] == "GET, HEAD, OPTIONS"
    asks = {"Origin": "http://x.example", "Access-Control-Request-Method": "GET"}
    assert here.get(path, method="OPTIONS", headers=asks).headers["Access-Control-Allow-Origin"] == "*"


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
def test_a_source_that_has_no_playlist(side, page, status) -> None:
    here = side()
    here.origin.put(A, **page)
    stream = here.stream(A)
    wire = here.open(f"/hls/{stream.id}/playlist.m3u8")
    here.wait(11)
    answer = wire.answer()
    assert answer.status == status
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert ("Retry-After" in answer.headers) == (status == 503)


def test_a_player_that_leaves_while_it_waits(side) -> None:
    here = side()
    here.origin.put(A, silent=True)
    stream = here.stream(A)
    wire = here.open(f"/hls/{stream.id}/playlist.m3u8")
    assert here.origin.cancelled == []
    wire.lose()
    assert here.origin.cancelled == [A]
    here.wait(1)
    assert wire.take() == b""


def test_a_ticket_is_shown_once(side) -> None:
    here = side(player_url_lifetime=60)
    here.origin.put(A, media("s1.ts"))
    here.origin.put("http://a.example/live/s1.ts", b"x")
    stream = here.stream(A)
    path = f"/hls/{stream.id}/playlist.m3u8"
    assert here.get(path).status == 403
    (uri,) = uris(here.get(here.tickets.sign(path) + "&client_id=me").body)
    assert here.get(uri).status == 200
    assert here.get(uri.replace("client_id=me", "client_id=other")).status == 403
    assert here.get(uri.replace(stream.id, "0" * 32)).status == 403


def test_a_ticket_that_expires_in_mid_play_throws_nobody_out(side) -> None:
    here = side(player_url_lifetime=60)
    stream = here.stream(A)
    path = here.tickets.sign(f"/hls/{stream.id}/playlist.m3u8") + "&client_id=me"
    for n in range(20):
        here.origin.put(A, media("a.ts", "b.ts", first=n))
        assert here.get(path).status == 200
        here.wait(6)
    # Expired it is good for nobody else: for no other player, no other stream, not from elsewhere, not altered.
    assert here.get(path.replace("client_id=me", "client_id=you")).status == 403
    assert here.get(path, peer=IPv4Address("TCP", "192.0.2.11", 1)).status == 403
    assert here.get(path.replace("signature=", "signature=0")).status == 403
    assert here.get(path.replace("expires=", "expires=9")).status == 403
    assert here.get(f"/hls/{stream.id}/playlist.m3u8?client_id=me").status == 403
    assert here.get(path).status == 200
    # Nor for a player that was away for so long that it counts no more.
    here.wait(20)
    assert here.get(path).status == 403
    assert len(stream.clients()) == 0


# players


def test_a_silent_player_is_forgotten_after_three_target_durations(side) -> None:
    here = side()
    here.origin.put(A, media("s1.ts", target=10))
    stream = here.stream(A)
    here.play(stream)
    here.wait(29)
    assert len(stream.clients()) == 1
    here.wait(3)
    assert stream.clients() == []


def test_a_player_that_waits_for_a_playlist_is_there(side) -> None:
    here = side()
    here.origin.put(A, silent=True)
    stream = here.stream(A)
    wire = here.open(f"/hls/{stream.id}/playlist.m3u8")
    here.wait(30)
    assert len(stream.clients()) == 1
    wire.lose()
    here.wait(16)
    assert stream.clients() == []


def test_a_player_that_asks_on_stays(side) -> None:
    here = side()
    stream = here.stream(A)
    for n in range(20):
        here.origin.put(A, media("a.ts", "b.ts", first=n))
        here.play(stream)
        here.wait(6)
    assert len(stream.clients()) == 1


def test_room(side) -> None:
    here = side(max_viewers_per_stream=1)
    here.origin.put(A, media("s1.ts"))
    stream = here.stream(A)
    assert here.play(stream, "client_id=one").status == 200
    assert here.play(stream, "client_id=two").status == 503
    assert here.play(stream, "client_id=one").status == 200
    assert stream.disconnect("two") == 0
    assert stream.disconnect("one") == 1
    assert here.play(stream, "client_id=two").status == 200


# sources


def test_a_playlist_that_fails_moves_the_stream(side) -> None:
    here = side()
    here.origin.put(A, media("a1.ts", "a2.ts", "a3.ts", first=70))
    here.origin.put(B, media("b1.ts", "b2.ts", "b3.ts", "b4.ts", first=5))
    stream = here.stream(A, B)
    assert b"MEDIA-SEQUENCE:70\n" in here.play(stream).body
    here.origin.put(A, status=404)
    here.wait(6)
    text = here.play(stream).body
    assert b"#EXT-X-MEDIA-SEQUENCE:73\n" in text
    assert b"#EXT-X-DISCONTINUITY\n" in text
    assert len(uris(text)) == 3
    assert (stream.source_index, stream.current_url, stream.failover_attempts, stream.error_count) == (1, B, 1, 1)
    assert stream.last_failover is not None
    here.origin.put("http://b.example/x/b4.ts", b"!")
    assert here.get(uris(text)[-1]).body == b"!"
    (decision,) = stream.decisions.entries()
    assert decision["cause"] == "bad status: HTTP 404"
    assert decision["bridged_ms"] is not None


def test_fifty_players_that_meet_one_failure_are_one_move(side) -> None:
    here = side()
    here.origin.put(A, silent=True)
    here.origin.put(B, media("b1.ts"))
    stream = here.stream(A, B)
    wires = [here.open(f"/hls/{stream.id}/playlist.m3u8?client_id=c{n}") for n in range(50)]
    (waiting,) = here.origin.waiting
    waiting.errback(SourceError(Reason.FIRST_BYTE_TIMEOUT))
    here.wait(1)
    assert {wire.answer().status for wire in wires} == {200}
    assert (stream.source_index, stream.failover_attempts, stream.error_count) == (1, 1, 1)
    assert here.origin.count(B) == 1


def test_what_comes_too_late_is_not_shown(side) -> None:
    here = side()
    here.origin.put(A, silent=True)
    here.origin.put(B, media("b1.ts", first=9))
    stream = here.stream(A, B)
    wire = here.open(f"/hls/{stream.id}/playlist.m3u8")
    stream.fail_over()
    (waiting,) = here.origin.waiting
    waiting.callback(here.origin.answer(Page(media("a1.ts", first=70).encode()), here.origin.wanted[0]))
    here.wait(1)
    assert b"#EXT-X-MEDIA-SEQUENCE:9\n" in wire.answer().body
    assert here.play(stream).body.count(b"#EXT-X-DISCONTINUITY") == 0


def test_a_stale_playlist_is_a_stall(side) -> None:
    here = side()
    here.origin.put(A, media("a1.ts", "a2.ts"))
    here.origin.put(B, media("b1.ts", "b2.ts"))
    stream = here.stream(A, B)
    for _ in range(6):
        assert here.play(stream).status == 200
        assert stream.source_index == 0
        here.wait(3)
    here.wait(1)
    text = here.play(stream).body
    assert stream.source_index == 1
    assert b"#EXT-X-MEDIA-SEQUENCE:2\n" in text
    assert stream.decisions.entries()[0]["cause"] == "stalled: no new segment for 19 s"


def test_a_stale_playlist_without_another_source_is_passed_on(side) -> None:
    here = side()
    here.origin.put(A, media("a1.ts"))
    stream = here.stream(A)
    for _ in range(20):
        assert here.play(stream).status == 200
        here.wait(3)
    assert stream.error_count == 0


def test_a_short_failure_of_the_only_source_is_not_seen(side) -> None:
    here = side()
    here.origin.put(A, media("a1.ts"))
    stream = here.stream(A)
    before = here.play(stream).body
    here.origin.put(A, status=500)
    for _ in range(3):
        here.wait(4)
        wire = here.open(f"/hls/{stream.id}/playlist.m3u8?client_id=me")
        here.wait(6)
        assert wire.answer().body == before
    for _ in range(2):
        wire = here.open(f"/hls/{stream.id}/playlist.m3u8?client_id=me")
        here.wait(10)
    assert wire.answer().status == 502


def test_a_player_that_has_something_to_play_does_not_wait_long(side) -> None:
    here = side(stream_retry_delay=4.0)
    here.origin.put(A, media("a1.ts"))
    stream = here.stream(A)
    before = here.play(stream).body
    here.origin.put(A, status=500)
    here.wait(4)
    wire = here.open(f"/hls/{stream.id}/playlist.m3u8?client_id=me")
    here.wait(6)
    assert wire.answer().body == before


def test_segments_that_fail_one_after_another_move_the_stream(side) -> None:
    here = side()
    here.origin.put(A, media("a1.ts", "a2.ts", "a3.ts"))
    here.origin.put(B, media("b1.ts"))
    here.origin.put("http://a.example/live/a2.ts", b"x")
    stream = here.stream(A, B)
    one, two, three = uris(here.play(stream).body)
    for uri in (one, one, two, three):
        here.get(uri)
    assert stream.source_index == 0
    here.wait(2)
    assert here.get(one).status == 404
    assert stream.source_index == 1
    here.get(three)
    assert stream.source_index == 1
    here.wait(4)
    assert b"#EXT-X-DISCONTINUITY\n" in here.play(stream).body
    assert stream.failover_attempts == 1


@pytest.mark.parametrize(
    ("first", "other"),
    [
        ('#EXT-X-KEY:METHOD=AES-128,URI="key.bin"\n', "http://a.example/live/key.bin"),
        ('#EXT-X-MAP:URI="init.mp4"\n', "http://a.example/live/init.mp4"),
        ("#EXTINF:6.0,\n../sound/a0.aac\n", "http://a.example/sound/a0.aac"),
    ],
)
def test_that_something_else_can_be_had_does_not_help(side, first, other) -> None:
    """Players fetch keys, maps and other renditions between the segments that fail."""
    here = side()
    here.origin.put(A, media("a1.ts", "a2.ts").replace("#EXTINF", f"{first}#EXTINF", 1))
    here.origin.put(B, media("b1.ts"))
    here.origin.put(other, b"x" * 16)
    stream = here.stream(A, B)
    text = here.play(stream).body
    helps = next(uri for uri in re.findall(r"/m3u-proxy/[^\"\s]+", text.decode()) if here.get(uri).status == 200)
    for uri in uris(text)[-2:]:
        assert stream.source_index == 0
        assert here.get(uri).status == 404
        here.wait(6)
        assert here.get(helps).status == 200
    assert stream.source_index == 1


def test_segments_in_one_file_are_several(side) -> None:
    here = side()
    here.origin.put(A, media("a.ts", "a.ts"))
    here.origin.put(B, media("b1.ts"))
    stream = here.stream(A, B)
    one, _ = uris(here.play(stream).body)
    assert here.get(one).status == 404
    for place, moved in (("0-187", 0), ("0-", 0), ("188-375", 1)):
        assert here.get(one, headers={"Range": f"bytes={place}"}).status == 404
        assert stream.source_index == moved
        here.wait(2)


def test_segments_that_break_off_move_the_stream_like_those_that_never_come(side) -> None:
    here = side(live_chunk_timeout_seconds=3.0)
    here.origin.put(A, media("a1.ts", "a2.ts", "a3.ts", "a4.ts"))
    here.origin.put(B, media("b1.ts"))
    for n in (1, 3, 4):
        here.origin.put(f"http://a.example/live/a{n}.ts", b"G" * 500, endless=True)
    here.origin.put("http://a.example/live/a2.ts", b"G" * 188)
    stream = here.stream(A, B)
    names = uris(here.play(stream).body)

    def stalls(name: str) -> None:
        wire = here.open(name)
        here.wait(3.5)
        assert b"G" * 500 in wire.take()
        assert wire.aborted

    stalls(names[0])
    # One that nobody wants any more was not let down by anybody.
    for name in names[2:]:
        here.open(name).lose()
    assert here.get(names[1]).status == 200
    stalls(names[2])
    assert stream.source_index == 0
    stalls(names[3])
    assert stream.source_index == 1
    assert "segments: " in stream.decisions.entries()[-1]["cause"]


def test_a_variant_is_answered_from_its_counterpart(side) -> None:
    here = side()
    here.origin.put(A, MASTER.format("a/"))
    here.origin.put(B, MASTER.format("b/"))
    for host, name in (("a.example/live/a", "a"), ("b.example/x/b", "b")):
        here.origin.put(f"http://{host}/low", media(f"{name}-low.ts", first=10))
        here.origin.put(f"http://{host}/high", media(f"{name}-high.ts", first=20))
        here.origin.put(f"http://{host}/de.m3u8", media(f"{name}-de.aac", first=30))
    stream = here.stream(A, B)
    answer = here.play(stream)
    low, high = uris(answer.body)
    sound = re.search(r'URI="([^"]*)"', answer.body.decode())[1]
    for uri in (low, sound):
        assert here.get(uri).status == 200
    here.origin.put("http://a.example/live/a/low", status=403)
    here.wait(6)
    assert b"#EXT-X-MEDIA-SEQUENCE:11\n" in here.get(low).body
    assert b"#EXT-X-MEDIA-SEQUENCE:31\n" in here.get(sound).body
    # Nobody had asked for it before; it counts discontinuities as the others do.
    text = here.get(high).body
    assert b"#EXT-X-MEDIA-SEQUENCE:20\n" in text
    assert b"#EXT-X-DISCONTINUITY-SEQUENCE:1\n" in text
    assert here.origin.asked.count("http://b.example/x/b/low") == 1
    assert stream.failover_attempts == 1


def test_a_list_of_variants_stays_one(side) -> None:
    here = side()
    here.origin.put(A, MASTER.format(""))
    here.origin.put("http://a.example/live/low", media("a1.ts"))
    here.origin.put("http://a.example/live/de.m3u8", media("a1.aac"))
    here.origin.put(B, media("b1.ts", first=40))
    stream = here.stream(A, B)
    answer = here.play(stream)
    low, _ = uris(answer.body)
    sound = re.search(r'URI="([^"]*)"', answer.body.decode())[1]
    here.get(low)
    stream.fail_over()
    here.wait(6)
    assert b"#EXT-X-MEDIA-SEQUENCE:1\n" in here.get(low).body
    assert here.get(sound).status == 404
    assert stream.source_index == 1
    answer = here.play(stream, "client_id=new")
    assert b"#EXT-X-STREAM-INF:" in answer.body
    (only,) = uris(answer.body)
    assert b"#EXTINF" in here.get(only).body


def test_a_media_playlist_stays_one(side) -> None:
    here = side()
    here.origin.put(A, media("a1.ts", first=8))
    here.origin.put(B, MASTER.format(""))
    here.origin.put("http://b.example/x/high", media("b1.ts", first=40))
    stream = here.stream(A, B)
    here.play(stream)
    stream.fail_over()
    here.wait(6)
    text = here.play(stream).body
    assert b"#EXT-X-MEDIA-SEQUENCE:9\n" in text
    assert len(uris(text)) == 1


def test_moving_by_hand(side) -> None:
    here = side()
    here.origin.put(A, media("a1.ts", first=3))
    here.origin.put(B, media("b1.ts"))
    stream = here.stream(A, B)
    here.play(stream)
    stream.fail_over()
    assert (stream.source_index, stream.current_url, stream.failover_attempts) == (1, B, 1)
    here.wait(6)
    here.play(stream)
    stream.fail_over()
    assert (stream.source_index, stream.failover_attempts) == (0, 2)
    entries = stream.decisions.entries()
    assert [(entry["from_index"], entry["to_index"]) for entry in entries] == [(0, 1), (1, 0)]
    here.wait(6)
    # What A showed before is not shown again.
    assert b"#EXT-X-MEDIA-SEQUENCE:4\n" in here.play(stream).body
    here.origin.put(A, media("a1.ts", "a2.ts", first=3))
    here.wait(6)
    assert b"#EXT-X-MEDIA-SEQUENCE:5\n" in here.play(stream).body


def test_moving_by_hand_while_nobody_watches(side) -> None:
    here = side()
    stream = here.stream(A, B)
    stream.fail_over()
    (entry,) = stream.decisions.entries()
    assert (entry["from_index"], entry["to_index"], entry["measured"]) == (0, 1, {})


def test_moving_by_hand_is_for_the_transport_stream_too(side) -> None:
    here = side()
    stream = here.stream(A, B)
    stream.fail_over()
    joined = stream.open_joined()
    assert (joined.source_index, stream.failover_attempts) == (1, 1)
    stream.fail_over()
    assert (joined.source_index, stream.failover_attempts) == (0, 2)
    assert len(stream.decisions.entries()) == 2


def test_sticky(side) -> None:
    here = side()
    there = "http://edge.example/p/index.m3u8"
    here.origin.put(A, media("a1.ts"), final_url=there)
    here.origin.put(there, media("a1.ts"))
    stream = here.stream(A, use_sticky_session=True)
    here.play(stream)
    here.wait(6)
    here.play(stream)
    assert here.origin.asked == [A, there]
    assert stream.current_url == there
    here.origin.put(there, status=410)
    here.wait(6)
    assert here.play(stream).status == 200
    assert here.origin.asked == [A, there, there, A]
    assert stream.error_count == 0


def test_when_nobody_watches_the_stream_begins_anew(side) -> None:
    here = side()
    here.origin.put(A, media("a1.ts", first=3))
    here.origin.put(B, media("b1.ts", first=9))
    stream = here.stream(A, B)
    here.play(stream)
    stream.fail_over()
    here.wait(6)
    assert b"#EXT-X-MEDIA-SEQUENCE:4\n" in here.play(stream).body
    here.wait(20)
    assert stream.clients() == []
    assert here.play(stream).body.count(b"#EXT-X-MEDIA-SEQUENCE:9\n") == 1


def test_a_renewed_registration(side) -> None:
    here = side()
    here.origin.put(A, media("a1.ts"))
    here.origin.put(B, media("b1.ts", first=9))
    stream = here.stream(A, metadata={"id": "1"})
    here.play(stream)
    assert here.stream(A, B, metadata={"id": "2"}) is stream
    assert stream.spec.metadata == {"id": "1"}
    assert stream.spec.failover_urls == (B,)
    here.origin.put(A, status=404)
    here.wait(6)
    assert b"#EXT-X-MEDIA-SEQUENCE:1\n" in here.play(stream).body
    here.stream(A, metadata={"id": "2"})
    assert stream.current_url == A


def test_low_latency(side) -> None:
    here = side()
    more = (
        "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=3\n#EXT-X-PART-INF:PART-TARGET=1\n"
        '#EXT-X-PART:DURATION=1,URI="p.ts"'
    )
    here.origin.put(A, media("a1.ts", first=3, more=more))
    stream = here.stream(A)
    here.play(stream)
    here.origin.put(f"{A}?_HLS_msn=4&_HLS_part=1", media("a1.ts", "a2.ts", first=3, more=more))
    answer = here.play(stream, "client_id=me&_HLS_msn=4&_HLS_part=1&_HLS_skip=YES")
    assert len(uris(answer.body)) == 2
    assert here.origin.asked == [A, f"{A}?_HLS_msn=4&_HLS_part=1"]
    assert b'URI="/m3u-proxy/hls/' in answer.body


@pytest.mark.parametrize("how", ["delete", "disconnect", "leave"])
def test_who_is_being_sent_a_segment(side, how) -> None:
    here = side(live_chunk_timeout_seconds=1000.0)
    here.origin.put(A, media("a1.ts"))
    here.origin.put("http://a.example/live/a1.ts", b"G" * 5000, endless=True)
    stream = here.stream(A)
    (uri,) = uris(here.play(stream).body)
    wire = here.open(uri)
    here.wait(60)
    # It asks for nothing, and watches.
    assert len(stream.clients()) == 1
    assert wire.take().count(b"GGGG") == 1250
    if how == "delete":
        here.registry.delete(stream.id)
    elif how == "disconnect":
        assert stream.disconnect("me") == 1
    else:
        wire.lose()
        here.wait(15)
        assert len(stream.clients()) == 1
        here.wait(5)
    assert wire.aborted is (how != "leave")
    assert stream.clients() == []
    if how != "leave":
        wire.lose()
    assert stream.clients() == []
    here.wait(1)


@pytest.mark.parametrize("answer", [SourceError(Reason.RESET), None])
def test_who_waits_for_a_stream_that_is_deleted(side, answer) -> None:
    here = side()
    here.origin.put(A, silent=True)
    stream = here.stream(A, B)
    wire = here.open(f"/hls/{stream.id}/playlist.m3u8")
    here.registry.delete(stream.id)
    (waiting,) = here.origin.waiting
    if answer is None:
        waiting.callback(here.origin.answer(Page(media("a1.ts").encode()), here.origin.wanted[0]))
    else:
        waiting.errback(answer)
    here.wait(1)
    assert wire.answer().status == 404
    assert here.origin.asked == [A]
    assert stream.error_count == 0


def test_a_deleted_stream_lets_go_of_its_players(side) -> None:
    here = side()
    here.origin.put(A, media("a1.ts"))
    stream = here.stream(A)
    (uri,) = uris(here.play(stream).body)
    assert here.registry.delete(stream.id)
    assert stream.clients() == []
    assert here.get(uri).status == 404


@pytest.mark.parametrize("when", ["between two requests", "while one is under way"])
def test_the_source_in_use_gets_another_place_in_the_list(side, when) -> None:
    other = "http://c.example/z.m3u8"
    here = side()
    here.origin.put(A, status=404)
    here.origin.put(B, media("b1.ts"))
    stream = here.stream(A, other, B)
    assert here.play(stream).status == 200
    assert stream.source_index == 2
    here.wait(6)
    if when == "while one is under way":
        here.origin.put(B, silent=True)
        wire = here.open(f"/hls/{stream.id}/playlist.m3u8?client_id=me")
        here.stream(A, B)
        (waiting,) = here.origin.waiting
        here.origin.put(B, media("b1.ts", "b2.ts"))
        waiting.callback(here.origin.answer(here.origin.pages[B], here.origin.wanted[-1]))
        answer = wire.answer()
    else:
        here.origin.put(B, media("b1.ts", "b2.ts"))
        here.stream(A, B)
        answer = here.play(stream)
    assert answer.status == 200
    assert len(uris(answer.body)) == 2
    assert (stream.source_index, stream.failover_attempts) == (1, 2)
    here.wait(6)
    here.origin.put(B, status=404)
    here.origin.put(A, media("a1.ts"))
    assert here.play(stream).status == 200
    assert stream.source_index == 0


def test_a_playlist_out_of_all_measure_is_its_sources_fault(side, monkeypatch) -> None:
    monkeypatch.setattr("m3uproxy.core.hls.uri_rewriter.MAX_REWRITTEN", 1000)
    here = side()
    here.origin.put(A, media(*(f"a{n}.ts" for n in range(20))))
    here.origin.put(B, media("b1.ts"))
    stream = here.stream(A, B)
    assert len(uris(here.play(stream).body)) == 1
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
def test_a_segment_is_no_page_of_ours(side, said, told) -> None:
    here = side()
    here.origin.put(A, media("a.ts"))
    here.origin.put(A.replace("index.m3u8", "a.ts"), b"<script>1</script>", headers={"Content-Type": said})
    (url,) = uris(here.play(here.stream(A)).body)
    assert here.get(url).headers["Content-Type"] == told


@pytest.mark.parametrize(("name", "kept"), [("%F0%9F%98%80" * 21, True), ("%F0%9F%98%80" * 22, False)])
def test_a_name_counts_as_long_as_it_gets_in_urls(side, name: str, kept: bool) -> None:
    here = side()
    here.origin.put(A, media("a.ts"))
    stream = here.stream(A)
    assert (name.encode() in here.play(stream, f"client_id={name}").body) == kept
