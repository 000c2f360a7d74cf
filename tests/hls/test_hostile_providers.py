"""Hostile providers: excessive playlists."""

from __future__ import annotations

import pytest
from hls_rig import media, uris

A, B = "http://a.example/live/index.m3u8", "http://b.example/index.m3u8"


@pytest.mark.parametrize("target", [10**6, 10**18])
def test_excessive_target_duration_is_bounded(make_rig, target) -> None:
    """Silent clients are still removed, and changes are still fetched."""
    rig = make_rig()
    rig.origin.put(A, media("a.ts", more="#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES", target=target))
    stream = rig.stream(A)
    rig.play(stream)
    rig.origin.put(A, media("b.ts", first=1, target=target))
    for _ in range(40):
        rig.wait(2)
        rig.play(stream)
    assert rig.origin.count(A) > 1
    rig.wait(400)
    assert stream.clients() == []


def test_excessive_playlist_causes_failover_or_an_error(make_rig) -> None:
    rig = make_rig()
    rig.origin.put(A, media(*(f"{n}.ts" for n in range(20_000))))
    rig.origin.put(B, media("b.ts"))
    stream = rig.stream(A, B)
    assert len(uris(rig.play(stream).body)) == 1
    assert stream.source_index == 1
    assert "oversized playlist" in stream.history.entries()[0]["cause"]
    rig.origin.pages["http://c.example/x.m3u8"] = rig.origin.pages[A]
    alone = rig.stream("http://c.example/x.m3u8")
    answer = rig.play(alone)
    assert answer.status == 502
    assert "oversized playlist (40004 lines, 20000 segments)" in answer.detail
    # Another try would be refused, too.
    assert rig.origin.count("http://c.example/x.m3u8") == 1
