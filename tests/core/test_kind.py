"""What URLs say about streams."""

from __future__ import annotations

import pytest

from m3uproxy.core.kind import Kind, content_type, kind_of


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("http://p/live/u/p/1.ts", Kind.LIVE),
        ("http://p/live/u/p/1", Kind.LIVE),
        ("http://p/live/u/p/1.TS?x=.m3u8", Kind.LIVE),
        ("http://p/a.m3u8", Kind.HLS),
        ("http://p/a.M3U8?token=1", Kind.HLS),
        ("http://p/film.mp4", Kind.VOD),
        ("http://p/film.MKV?x", Kind.VOD),
        ("http://p/movie/u/p/7", Kind.VOD),
        ("http://p/series/u/p/7.ts", Kind.VOD),
        ("http://p/timeshift/u/p/60/7.ts", Kind.VOD),
        ("http://p", Kind.LIVE),
    ],
)
def test_kind(url: str, kind: Kind) -> None:
    assert kind_of(url) is kind


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://p/1.ts", "video/mp2t"),
        ("http://p/1.TS?x=1.mp4", "video/mp2t"),
        ("http://p/live/u/p/1", "video/mp2t"),
        ("http://p/stream/1?profile=pass", "video/mp2t"),
        ("http://p/1", "application/octet-stream"),
        ("http://p/1.mkv", "video/x-matroska"),
        ("http://p/1.m3u8", "application/vnd.apple.mpegurl"),
    ],
)
def test_content_type(url: str, name: str) -> None:
    assert content_type(url) == name
