"""Failures that are no fault of the source: short memory, missing connections, bodies that no player reads."""

from __future__ import annotations

import pytest
from hls_rig import HlsRig, Page, media, uris

from m3uproxy.errors import Reason, SourceError

A, B = (f"http://{name}.example/live/index.m3u8" for name in "ab")
#: A transport stream packet of a PID without tables, within a unit.
PACKET = b"\x47\x01\x00\x10" + b"%d" + b"\xff" * 183
OWN = [Reason.FULL, Reason.NO_SLOT, Reason.STOPPING, Reason.UNUSED]


def put(rig: HlsRig, first: int = 1) -> None:
    for url, name in ((A, "a"), (B, "b")):
        rig.origin.put(url, media(f"{name}{first}.ts", f"{name}{first + 1}.ts", first=first))


def check_untouched(rig: HlsRig, stream) -> None:
    """Check that nothing counts against the first source, and that the backup was not requested."""
    assert stream.source_index == 0
    assert (stream.history.error_count, stream.history.failover_attempts) == (0, 0)
    for row in stream.sources():
        assert (row["failures"], row["last_cause"], row["quarantine_seconds"]) == (0, None, 0.0)
    assert rig.origin.count(B) == 0


@pytest.mark.parametrize("reason", OWN)
def test_playlist_that_fails_in_this_proxy_is_served_again_from_the_same_source(make_rig, reason) -> None:
    rig = make_rig()
    put(rig)
    stream = rig.stream(A, B)
    rig.play(stream)
    rig.origin.pages[A].error = SourceError(reason)
    for _ in range(4):
        rig.wait(4)
        assert rig.play(stream).status == 200
    rig.origin.pages[A].error = None
    put(rig, 2)
    rig.wait(4)
    assert b"#EXT-X-MEDIA-SEQUENCE:2" in rig.play(stream).body
    check_untouched(rig, stream)


@pytest.mark.parametrize("reason", OWN)
def test_first_playlist_that_fails_in_this_proxy_is_an_error_for_the_player_only(make_rig, reason) -> None:
    rig = make_rig()
    put(rig)
    rig.origin.pages[A].error = SourceError(reason)
    stream = rig.stream(A, B)
    assert rig.play(stream).status == SourceError(reason).player_status
    rig.origin.pages[A].error = None
    assert rig.play(stream).status == 200
    check_untouched(rig, stream)


def test_playlist_without_room_in_the_cache(make_rig) -> None:
    rig = make_rig(hls_cache_bytes=1000)
    put(rig)
    stream = rig.stream(A, B)
    rig.fetcher.reserve(950)
    assert rig.play(stream).status == 503
    rig.fetcher.release(950)
    assert rig.play(stream).status == 200
    check_untouched(rig, stream)


@pytest.mark.parametrize("reason", OWN)
@pytest.mark.parametrize("name", ["a1.ts", "a1.key"])
def test_segments_and_keys_that_fail_in_this_proxy(make_rig, reason, name) -> None:
    rig = make_rig()
    names = [name.replace("1", str(n)) for n in range(1, 5)]
    rig.origin.put(A, media(*names))
    for each in names:
        rig.origin.put(A.replace("index.m3u8", each), error=SourceError(reason))
    stream = rig.stream(A, B)
    statuses = [rig.get(uri).status for uri in uris(rig.play(stream).body)]
    assert statuses == [SourceError(reason).player_status] * 4
    assert stream.session.run is not None
    assert stream.history.entries() == []
    check_untouched(rig, stream)


@pytest.mark.parametrize("reason", OWN)
def test_variants_that_fail_in_this_proxy(make_rig, reason) -> None:
    rig = make_rig()
    rig.origin.put(A, "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nlow.m3u8\n")
    rig.origin.put(A.replace("index", "low"), media("a1.ts"))
    stream = rig.stream(A, B)
    variant = uris(rig.play(stream).body)[0]
    assert rig.get(variant).status == 200
    rig.origin.pages[A.replace("index", "low")].error = SourceError(reason)
    rig.wait(8)
    assert rig.get(variant).status == 200
    check_untouched(rig, stream)


@pytest.mark.parametrize("reason", OWN)
def test_preferred_host_is_kept_when_this_proxy_fails(make_rig, reason) -> None:
    rig = make_rig()
    clone = "http://clone.example/live/index.m3u8"
    rig.origin.put(A, media("a1.ts"), final_url=clone)
    rig.origin.pages[clone] = Page(error=SourceError(reason))
    stream = rig.stream(A, B, use_sticky_session=True)
    assert rig.play(stream).status == 200
    rig.wait(4)
    assert rig.play(stream).status == 200
    assert stream.current_url == clone
    check_untouched(rig, stream)


@pytest.mark.parametrize("reason", OWN)
def test_backup_whose_probe_fails_in_this_proxy_is_not_quarantined(make_rig, reason) -> None:
    rig = make_rig(probe_backups=True, health_interval=5.0)
    put(rig)
    rig.origin.pages[B].error = SourceError(reason)
    stream = rig.stream(A, B)
    for first in range(1, 8):
        put(rig, first)
        rig.origin.pages[B].error = SourceError(reason)
        rig.play(stream)
        rig.wait(4)
    assert rig.origin.count(B) > 0
    assert stream.sources()[1]["failures"] == 0
    assert stream.history.error_count == 0


def test_segment_that_players_leave_is_no_failure(make_rig) -> None:
    rig = make_rig()
    put(rig)
    for n in (1, 2):
        rig.origin.put(A.replace("index.m3u8", f"a{n}.ts"), b"x" * 1000, endless=True)
    stream = rig.stream(A, B)
    for uri in uris(rig.play(stream).body):
        player = rig.open(uri)
        player.lose()
    rig.wait(1)
    check_untouched(rig, stream)


@pytest.mark.parametrize("name", ["index.m3u8", "a4.ts"])
def test_joined_stream_stays_on_its_source(make_rig, name) -> None:
    rig = make_rig(join_wait=0.0)
    rig.origin.put(A, media(*[f"a{n}.ts" for n in range(1, 5)], target=4))
    for n in range(1, 5):
        rig.origin.put(A.replace("index.m3u8", f"a{n}.ts"), b"".join(PACKET % n for _ in range(500)))
    failing = rig.origin.pages[A.replace("index.m3u8", name)]
    stream = rig.stream(A, B)
    player = rig.open(f"/stream/{stream.id}")
    rig.wait(1)
    failing.error = SourceError(Reason.FULL)
    rig.wait(10)
    failing.error = None
    for first in range(2, 6):
        names = [f"a{n}.ts" for n in range(first, first + 4)]
        rig.origin.put(A, media(*names, first=first, target=4))
        rig.origin.put(A.replace("index.m3u8", names[-1]), b"".join(PACKET % first for _ in range(500)))
        rig.wait(2)
    assert not player.aborted
    causes = [entry["cause"] for entry in stream.history.entries()]
    assert causes
    assert all(cause.startswith("no memory left") for cause in causes)
    check_untouched(rig, stream.ts_stream)
    player.lose()
    rig.wait(1)
