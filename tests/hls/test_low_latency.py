"""Players that wait for what is still to come (RFC 8216bis section 6.2.5), and what the provider is asked."""

from __future__ import annotations

from hls_rig import HlsRig, Page, media, uris

A, B = "http://a.example/live/index.m3u8", "http://b.example/live.m3u8?t=%2B"
CONTROL = "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=3\n#EXT-X-PART-INF:PART-TARGET=1"
MORE = f"""{CONTROL}
#EXT-X-PART:DURATION=1,URI="p.0.mp4?s=%2B"
#EXT-X-PRELOAD-HINT:TYPE=PART,URI="p.1.mp4"
#EXT-X-RENDITION-REPORT:URI="../low/index.m3u8",LAST-MSN=3,LAST-PART=0"""


def waits(rig: HlsRig, stream, sequence: int, part: int, name: str = "me"):
    return rig.open(f"/hls/{stream.id}/playlist.m3u8?client_id={name}&_HLS_msn={sequence}&_HLS_part={part}")


def comes(rig: HlsRig, query: str, text: str) -> None:
    """What the provider held comes."""
    place = [url for url in rig.origin.asked if rig.origin.pages[url].silent].index(f"{A}?{query}")
    wanted = [one for one in rig.origin.wanted if rig.origin.pages[one.url].silent][place]
    rig.origin.waiting[place].callback(rig.origin.answer(Page(text.encode()), wanted))


def test_every_uri_is_ours(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, media("a1.ts", first=3, more=MORE))
    body = rig.play(rig.stream(A)).body.decode()
    for name in ("a1.ts", "p.0", "p.1", "low", "example"):
        assert name not in body
    assert body.count("/m3u-proxy/hls/") == 4
    assert body.count("segment.mp4?") == 2
    assert body.count("playlist.m3u8?url=") == 1
    assert "LAST-MSN=3,LAST-PART=0" in body


def test_who_waits_for_the_same_shares_a_request_and_nobody_else_does(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, media("a1.ts", first=3, more=MORE))
    stream = rig.stream(A)
    rig.play(stream)
    for part in (1, 2):
        rig.origin.put(f"{A}?_HLS_msn=4&_HLS_part={part}", silent=True)
    first, same, later = (waits(rig, stream, 4, part, f"c{part}") for part in (1, 1, 2))
    assert rig.origin.asked == [A, f"{A}?_HLS_msn=4&_HLS_part=1", f"{A}?_HLS_msn=4&_HLS_part=2"]
    # Who does not wait is not held, and gets what is there.
    assert len(uris(rig.play(stream, "client_id=you").body)) == 1
    more = MORE.replace("p.1.mp4", "p.2.mp4").replace(
        "#EXT-X-PRELOAD", '#EXT-X-PART:DURATION=1,URI="p.1.mp4"\n#EXT-X-PRELOAD'
    )
    comes(rig, "_HLS_msn=4&_HLS_part=1", media("a1.ts", first=3, more=more))
    assert [wire.answer().body.count(b"#EXT-X-PART:") for wire in (first, same)] == [2, 2]
    assert later.take() == b""
    comes(rig, "_HLS_msn=4&_HLS_part=2", media("a1.ts", "a2.ts", first=3, more=MORE))
    assert len(uris(later.answer().body)) == 2
    # The newest answer is what everybody gets, also of a copy that is older.
    assert len(uris(rig.play(stream, "client_id=you").body)) == 2


def test_one_who_waits_and_leaves_disturbs_nobody(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, media("a1.ts", first=3, more=MORE))
    stream = rig.stream(A)
    rig.play(stream)
    rig.origin.put(f"{A}?_HLS_msn=4&_HLS_part=1", silent=True)
    stays, leaves = waits(rig, stream, 4, 1), waits(rig, stream, 4, 1, "you")
    leaves.lose()
    assert rig.origin.cancelled == []
    stays.lose()
    assert rig.origin.cancelled == [f"{A}?_HLS_msn=4&_HLS_part=1"]


def test_behind_a_change_of_source_the_number_is_the_new_sources(make_rig) -> None:
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


def test_a_source_that_cannot_wait_is_not_asked_to(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, media("a1.ts", first=3))
    stream = rig.stream(A)
    rig.play(stream)
    rig.wait(6)
    assert rig.play(stream, "client_id=me&_HLS_msn=4").status == 200
    assert rig.origin.asked == [A, A]
