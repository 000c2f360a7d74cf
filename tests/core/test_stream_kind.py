"""The kind and Content-Type of a stream, from its URL."""

from __future__ import annotations

import pytest

from m3uproxy.core.ingest.parser import Format
from m3uproxy.core.stream_kind import StreamKind, content_type, has_file_hint, kind_of, likely_kind


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("http://p/live/u/p/1.ts", StreamKind.LIVE),
        ("http://p/live/u/p/1", StreamKind.LIVE),
        ("http://p/live/u/p/1.TS?x=.m3u8", StreamKind.LIVE),
        ("http://p/a.m3u8", StreamKind.HLS),
        ("http://p/a.M3U8?token=1", StreamKind.HLS),
        ("http://p/film.mp4", StreamKind.VOD),
        ("http://p/film.MKV?x", StreamKind.VOD),
        ("http://p/movie/u/p/7", StreamKind.VOD),
        ("http://p/series/u/p/7.ts", StreamKind.VOD),
        ("http://p/timeshift/u/p/60/7.ts", StreamKind.VOD),
        ("http://p", StreamKind.LIVE),
    ],
)
def test_kind_of_url(url: str, kind: StreamKind) -> None:
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
        ("http://p/1.aac", "audio/aac"),
        ("http://p/1.mp3?x=1.ts", "audio/mpeg"),
        ("http://p/live/1.flv", "video/x-flv"),
    ],
)
def test_content_type_by_url(url: str, name: str) -> None:
    assert content_type(url) == name


@pytest.mark.parametrize(
    ("url", "sent", "name"),
    [
        ("http://p/1.ts", Format.MPEG_AUDIO, "audio/mpeg"),
        ("http://p/1", Format.ADTS, "audio/aac"),
        ("http://p/1.mp3", Format.FLV, "video/x-flv"),
        ("http://p/1.mp3", Format.TS, "video/mp2t"),
        ("http://p/1.flv", Format.TS, "video/mp2t"),
        ("http://p/1", Format.TS, "video/mp2t"),
        ("http://p/1.ts", Format.TS, "video/mp2t"),
        ("http://p/1.mp3", None, "audio/mpeg"),
    ],
)
def test_content_type_by_format(url: str, sent: Format | None, name: str) -> None:
    assert content_type(url, sent) == name


@pytest.mark.parametrize(
    "url",
    [
        "http://p/streaming/timeshift.php?username=u&stream=7",
        "http://p/TimeShift/u/p/60/7.ts",
        "http://p/dvr/7",
        "http://p/Videos/9/stream.ts",
        "http://p/emby/videos/9/rec",
        "http://p/9/stream.ts?a=1&Static=true",
    ],
)
def test_hints_for_a_programme(url: str) -> None:
    assert has_file_hint(url)
    assert likely_kind(url) is StreamKind.VOD


@pytest.mark.parametrize(
    "url",
    [
        "http://p/live/u/p/1.ts",
        "http://timeshift/1.ts",
        "http://p/1.ts?name=timeshift",
        "http://p/dvr",
        "http://p/1?static=trueish",
    ],
)
def test_no_hint_for_a_programme(url: str) -> None:
    assert not has_file_hint(url)
    assert likely_kind(url) is kind_of(url)


def test_extension_of_a_playlist_outweighs_a_hint() -> None:
    assert likely_kind("http://p/dvr/timeshift/index.m3u8") is StreamKind.HLS
