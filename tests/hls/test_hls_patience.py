"""HLS sources that are slow to answer, or whose provider has too many connections."""

from __future__ import annotations

from hls_rig import media

A, B = "http://a.example/live/index.m3u8", "http://b.example/live/index.m3u8"


def test_playlist_of_the_only_source_is_awaited(make_rig) -> None:
    rig = make_rig(start_timeout=20.0)
    rig.origin.put(A, media("1.ts", "2.ts"))
    stream = rig.stream(A)
    assert rig.play(stream).status == 200
    first = rig.origin.limits[0]
    assert (first.first_byte, first.patient) == (19, True)
    rig.wait(4)
    rig.play(stream)
    later = rig.origin.limits[-1]
    assert (len(rig.origin.limits), later.first_byte, later.patient) == (2, 6, None), "the source delivers"


def test_last_source_gets_the_time_that_is_left(make_rig) -> None:
    rig = make_rig(start_timeout=20.0)
    rig.origin.put(A, status=404)
    rig.origin.put(B, media("1.ts"))
    assert rig.play(rig.stream(A, B)).status == 200
    assert [(limits.first_byte, limits.patient) for limits in rig.origin.limits] == [(6, False), (19, True)]


def test_account_with_too_many_connections_is_asked_again(make_rig) -> None:
    rig = make_rig(start_timeout=20.0)
    rig.origin.put(A, status=458)
    stream = rig.stream(A)
    wire = rig.open(f"/hls/{stream.id}/playlist.m3u8?client_id=me")
    rig.wait(8)
    assert 4 <= rig.origin.count(A) <= 6
    assert wire.take() == b""
    rig.origin.put(A, media("1.ts", "2.ts"))
    rig.wait(4)
    assert wire.answer().status == 200


def test_refusal_ends_the_wait_at_the_start_limit(make_rig) -> None:
    rig = make_rig(start_timeout=10.0)
    rig.origin.put(A, status=429)
    wire = rig.open(f"/hls/{rig.stream(A).id}/playlist.m3u8?client_id=me")
    rig.wait(10)
    answer = wire.answer()
    assert answer.status == 503
    assert "Retry-After" in answer.headers or "retry-after" in answer.headers


def test_joined_source_is_awaited_too(make_rig) -> None:
    rig = make_rig(start_timeout=20.0)
    rig.origin.put(A, media("1.ts", "2.ts", "3.ts"))
    wire = rig.open(f"/stream/{rig.stream(A).id}")
    rig.wait(1)
    playlists = [limits for url, limits in zip(rig.origin.asked, rig.origin.limits, strict=True) if url == A]
    assert (playlists[0].first_byte, playlists[0].patient) == (19, True)
    rig.wait(5)
    wire.lose()
    assert {limits.patient for limits in rig.origin.limits[1:]} == {None}
