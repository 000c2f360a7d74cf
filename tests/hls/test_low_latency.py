"""Players that wait for what is still to come (RFC 8216bis section 6.2.5), and what the provider is asked."""

from __future__ import annotations

from origin import Page, Side, media, uris

A, B = "http://a.example/live/index.m3u8", "http://b.example/live.m3u8?t=%2B"
CONTROL = "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=3\n#EXT-X-PART-INF:PART-TARGET=1"
MORE = f"""{CONTROL}
#EXT-X-PART:DURATION=1,URI="p.0.mp4?s=%2B"
#EXT-X-PRELOAD-HINT:TYPE=PART,URI="p.1.mp4"
#EXT-X-RENDITION-REPORT:URI="../low/index.m3u8",LAST-MSN=3,LAST-PART=0"""


def waits(here: Side, stream, sequence: int, part: int, name: str = "me"):
    return here.open(f"/hls/{stream.id}/playlist.m3u8?client_id={name}&_HLS_msn={sequence}&_HLS_part={part}")


def comes(here: Side, query: str, text: str) -> None:
    """What the provider held comes."""
    place = [url for url in here.origin.asked if here.origin.pages[url].silent].index(f"{A}?{query}")
    wanted = [one for one in here.origin.wanted if here.origin.pages[one.url].silent][place]
    here.origin.waiting[place].callback(here.origin.answer(Page(text.encode()), wanted))


def test_every_uri_is_ours(side) -> None:
    here = side()
    here.origin.put(A, media("a1.ts", first=3, more=MORE))
    body = here.play(here.stream(A)).body.decode()
    for name in ("a1.ts", "p.0", "p.1", "low", "example"):
        assert name not in body
    assert body.count("/m3u-proxy/hls/") == 4
    assert body.count("segment.mp4?") == 2
    assert body.count("playlist.m3u8?url=") == 1
    assert "LAST-MSN=3,LAST-PART=0" in body


def test_who_waits_for_the_same_shares_a_request_and_nobody_else_does(side) -> None:
    here = side()
    here.origin.put(A, media("a1.ts", first=3, more=MORE))
    stream = here.stream(A)
    here.play(stream)
    for part in (1, 2):
        here.origin.put(f"{A}?_HLS_msn=4&_HLS_part={part}", silent=True)
    first, same, later = (waits(here, stream, 4, part, f"c{part}") for part in (1, 1, 2))
    assert here.origin.asked == [A, f"{A}?_HLS_msn=4&_HLS_part=1", f"{A}?_HLS_msn=4&_HLS_part=2"]
    # Who does not wait is not held, and gets what is there.
    assert len(uris(here.play(stream, "client_id=you").body)) == 1
    more = MORE.replace("p.1.mp4", "p.2.mp4").replace(
        "#EXT-X-PRELOAD", '#EXT-X-PART:DURATION=1,URI="p.1.mp4"\n#EXT-X-PRELOAD'
    )
    comes(here, "_HLS_msn=4&_HLS_part=1", media("a1.ts", first=3, more=more))
    assert [wire.answer().body.count(b"#EXT-X-PART:") for wire in (first, same)] == [2, 2]
    assert later.take() == b""
    comes(here, "_HLS_msn=4&_HLS_part=2", media("a1.ts", "a2.ts", first=3, more=MORE))
    assert len(uris(later.answer().body)) == 2
    # The newest answer is what everybody gets, also of a copy that is older.
    assert len(uris(here.play(stream, "client_id=you").body)) == 2


def test_one_who_waits_and_leaves_disturbs_nobody(side) -> None:
    here = side()
    here.origin.put(A, media("a1.ts", first=3, more=MORE))
    stream = here.stream(A)
    here.play(stream)
    here.origin.put(f"{A}?_HLS_msn=4&_HLS_part=1", silent=True)
    stays, leaves = waits(here, stream, 4, 1), waits(here, stream, 4, 1, "you")
    leaves.lose()
    assert here.origin.cancelled == []
    stays.lose()
    assert here.origin.cancelled == [f"{A}?_HLS_msn=4&_HLS_part=1"]


def test_behind_a_change_of_source_the_number_is_the_new_sources(side) -> None:
    here = side()
    here.origin.put(A, media("a1.ts", "a2.ts", first=3, more=MORE))
    stream = here.stream(A, B)
    here.play(stream)
    here.origin.put(A, status=404)
    here.origin.put(B, media("b1.ts", "b2.ts", first=900, more=MORE))
    here.wait(6)
    body = here.play(stream).body
    assert b"#EXT-X-MEDIA-SEQUENCE:5\n" in body
    here.origin.put(f"{B}&_HLS_msn=902&_HLS_part=0", media("b1.ts", "b2.ts", "b3.ts", first=900, more=MORE))
    answer = here.play(stream, "client_id=me&_HLS_msn=7&_HLS_part=0")
    assert here.origin.asked[-1] == f"{B}&_HLS_msn=902&_HLS_part=0"
    assert len(uris(answer.body)) == 3


def test_a_source_that_cannot_wait_is_not_asked_to(side) -> None:
    here = side()
    here.origin.put(A, media("a1.ts", first=3))
    stream = here.stream(A)
    here.play(stream)
    here.wait(6)
    assert here.play(stream, "client_id=me&_HLS_msn=4").status == 200
    assert here.origin.asked == [A, A]
