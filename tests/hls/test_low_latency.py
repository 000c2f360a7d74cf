"""Blocking playlist reload (RFC 8216bis section 6.2.5), between players and provider."""

from __future__ import annotations

from hls_rig import HlsRig, Page, media, uris

A, B = "http://a.example/live/index.m3u8", "http://b.example/live.m3u8?t=%2B"
CONTROL = "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=3\n#EXT-X-PART-INF:PART-TARGET=1"
MORE = f"""{CONTROL}
#EXT-X-PART:DURATION=1,URI="p.0.mp4?s=%2B"
#EXT-X-PRELOAD-HINT:TYPE=PART,URI="p.1.mp4"
#EXT-X-RENDITION-REPORT:URI="../low/index.m3u8",LAST-MSN=3,LAST-PART=0"""


def reload(rig: HlsRig, stream, sequence: int, part: int, name: str = "me"):
    return rig.open(f"/hls/{stream.id}/playlist.m3u8?client_id={name}&_HLS_msn={sequence}&_HLS_part={part}")


def unblock(rig: HlsRig, query: str, text: str) -> None:
    """Answer the request that the provider blocks."""
    place = [url for url in rig.origin.asked if rig.origin.pages[url].silent].index(f"{A}?{query}")
    wanted = [one for one in rig.origin.requests if rig.origin.pages[one.url].silent][place]
    rig.origin.waiting[place].callback(rig.origin.answer(Page(text.encode()), wanted))


def test_every_uri_leads_to_the_proxy(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, media("a1.ts", first=3, more=MORE))
    body = rig.play(rig.stream(A)).body.decode()
    for name in ("a1.ts", "p.0", "p.1", "low", "example"):
        assert name not in body
    assert body.count("/m3u-proxy/hls/") == 4
    assert body.count("segment.mp4?") == 2
    assert body.count("playlist.m3u8?url=") == 1
    assert "LAST-MSN=3,LAST-PART=0" in body


def test_equal_blocked_requests_share_one_request(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, media("a1.ts", first=3, more=MORE))
    stream = rig.stream(A)
    rig.play(stream)
    for part in (1, 2):
        rig.origin.put(f"{A}?_HLS_msn=4&_HLS_part={part}", silent=True)
    first, same, later = (reload(rig, stream, 4, part, f"c{part}") for part in (1, 1, 2))
    assert rig.origin.asked == [A, f"{A}?_HLS_msn=4&_HLS_part=1", f"{A}?_HLS_msn=4&_HLS_part=2"]
    # A request without directives is not blocked, and gets the present playlist.
    assert len(uris(rig.play(stream, "client_id=you").body)) == 1
    more = MORE.replace("p.1.mp4", "p.2.mp4").replace(
        "#EXT-X-PRELOAD", '#EXT-X-PART:DURATION=1,URI="p.1.mp4"\n#EXT-X-PRELOAD'
    )
    unblock(rig, "_HLS_msn=4&_HLS_part=1", media("a1.ts", first=3, more=more))
    assert [wire.answer().body.count(b"#EXT-X-PART:") for wire in (first, same)] == [2, 2]
    assert later.take() == b""
    unblock(rig, "_HLS_msn=4&_HLS_part=2", media("a1.ts", "a2.ts", first=3, more=MORE))
    assert len(uris(later.answer().body)) == 2
    # All players get the newest playlist, even if an older response comes later.
    assert len(uris(rig.play(stream, "client_id=you").body)) == 2


def test_cancelled_blocked_request_leaves_others(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, media("a1.ts", first=3, more=MORE))
    stream = rig.stream(A)
    rig.play(stream)
    rig.origin.put(f"{A}?_HLS_msn=4&_HLS_part=1", silent=True)
    stays, leaves = reload(rig, stream, 4, 1), reload(rig, stream, 4, 1, "you")
    leaves.lose()
    assert rig.origin.cancelled == []
    stays.lose()
    assert rig.origin.cancelled == [f"{A}?_HLS_msn=4&_HLS_part=1"]


def test_directives_follow_the_numbers_of_the_new_source(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, media("a1.ts", "a2.ts", first=3, more=MORE))
    stream = rig.stream(A, B)
    rig.play(stream)
    rig.origin.put(A, status=404)
    rig.origin.put(B, media("b1.ts", "b2.ts", first=900, more=MORE))
    rig.wait(6)
    body = rig.play(stream).body
    assert b"#EXT-X-MEDIA-SEQUENCE:5\n" in body
    rig.origin.put(f"{B}&_HLS_msn=902&_HLS_part=0", media("b1.ts", "b2.ts", "b3.ts", first=900, more=MORE))
    answer = rig.play(stream, "client_id=me&_HLS_msn=7&_HLS_part=0")
    assert rig.origin.asked[-1] == f"{B}&_HLS_msn=902&_HLS_part=0"
    assert len(uris(answer.body)) == 3


def test_directives_are_dropped_for_a_source_that_cannot_block(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, media("a1.ts", first=3))
    stream = rig.stream(A)
    rig.play(stream)
    rig.wait(6)
    assert rig.play(stream, "client_id=me&_HLS_msn=4").status == 200
    assert rig.origin.asked == [A, A]
