"""Selection of variant, segments and keys that make an HLS source one transport stream."""

from __future__ import annotations

import time

import pytest

from m3uproxy.core.hls.playlist import parse
from m3uproxy.core.hls.segment_follower import SegmentFollower, best_variant, check_joinable, segment_key
from m3uproxy.errors import Reason, SourceError

URL = "http://a.example/x/index.m3u8"


def media(*names: str, first: int = 0, head: str = ""):
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:4", f"#EXT-X-MEDIA-SEQUENCE:{first}"]
    lines += [head] if head else []
    for name in names:
        lines += ["#EXTINF:4,", name] if not name.startswith("#") else [name]
    return parse("\n".join(lines).encode())


def numbered(first: int, count: int):
    return media(*[f"s{n}.ts" for n in range(first, first + count)], first=first)


def multivariant(*lines: str):
    return parse("\n".join(["#EXTM3U", *lines]).encode())


LOW = ('#EXT-X-STREAM-INF:BANDWIDTH=100,AUDIO="a"', "low.m3u8")
HIGH = ('#EXT-X-STREAM-INF:BANDWIDTH=900,AUDIO="b"', "high.m3u8")
SEPARATE = '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="{}",NAME="x",URI="sound.m3u8"'
INCLUDED = '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="{}",NAME="y"'


@pytest.mark.parametrize(
    ("lines", "max_bandwidth", "expected"),
    [
        ([*LOW, *HIGH], 0, "high"),
        ([*HIGH, *LOW], 0, "high"),
        ([*LOW, *HIGH], 900, "high"),
        ([*LOW, *HIGH], 899, "low"),
        ([*LOW, *HIGH], 5, "low"),
        ([SEPARATE.format("b"), *LOW, *HIGH], 0, "low"),
        ([SEPARATE.format("b"), INCLUDED.format("b"), *LOW, *HIGH], 0, "high"),
    ],
)
def test_best_variant_includes_its_audio(lines, max_bandwidth, expected) -> None:
    assert best_variant(multivariant(*lines), URL, max_bandwidth).url == f"http://a.example/x/{expected}.m3u8"


def test_separate_audio_is_not_joined() -> None:
    with pytest.raises(SourceError, match="separate playlists") as caught:
        best_variant(multivariant(SEPARATE.format("a"), SEPARATE.format("b"), *LOW, *HIGH), URL)
    assert caught.value.reason is Reason.NOT_TRANSPORT_STREAM


@pytest.mark.parametrize(
    ("playlist", "reason"),
    [
        (media("s.ts", "#EXT-X-ENDLIST"), Reason.NOT_LIVE),
        (media("s.m4s", head='#EXT-X-MAP:URI="i.mp4"'), Reason.NOT_TRANSPORT_STREAM),
        (media("s.ts", head='#EXT-X-KEY:METHOD=SAMPLE-AES,URI="k"'), Reason.NOT_TRANSPORT_STREAM),
        (media("s.ts", head='#EXT-X-KEY:METHOD=AES-128,URI="k",KEYFORMAT="skd"'), Reason.NOT_TRANSPORT_STREAM),
    ],
)
def test_ended_and_incompatible_playlists_are_refused(playlist, reason) -> None:
    with pytest.raises(SourceError) as caught:
        check_joinable(playlist)
    assert caught.value.reason is reason


def test_key_and_iv_of_a_segment() -> None:
    plain = media("s.ts")
    assert segment_key(plain, plain.segments[0]) is None
    counted = media("s.ts", first=258, head='#EXT-X-KEY:METHOD=AES-128,URI="k"')
    assert segment_key(counted, counted.segments[0]).iv == bytes(14) + b"\1\2"
    stated = media("s.ts", head='#EXT-X-KEY:METHOD=AES-128,URI="k",IV=0x0a')
    key = segment_key(stated, stated.segments[0])
    assert (key.uri, key.iv) == ("k", bytes(15) + b"\n")


def follow(follower, playlist) -> list[tuple[int, bool]]:
    delivered = []
    while (segment := follower.next_segment(playlist)) is not None:
        delivered.append((segment.sequence, follower.continues(segment)))
        follower.advance(segment)
        follower.segment_started(segment)
    return delivered


def test_first_segment_is_third_from_the_end() -> None:
    follower = SegmentFollower()
    assert follow(follower, numbered(10, 6)) == [(13, True), (14, True), (15, True)]
    assert follow(follower, numbered(11, 6)) == [(16, True)]
    assert follow(follower, numbered(9, 6)) == []  # an older copy from another server
    assert follow(follower, numbered(12, 6)) == [(17, True)]


def test_missed_segments_are_a_discontinuity() -> None:
    follower = SegmentFollower()
    follow(follower, numbered(10, 3))
    assert follow(follower, numbered(20, 2)) == [(20, False), (21, True)]


def test_packager_restart_is_a_discontinuity() -> None:
    follower = SegmentFollower()
    follow(follower, numbered(1000, 6))
    assert follow(follower, numbered(0, 4)) == [(1, False), (2, True), (3, True)]


def test_gap_and_interrupted_segment_are_discontinuities() -> None:
    follower = SegmentFollower()
    playlist = media("a.ts", "#EXT-X-DISCONTINUITY", "b.ts", "#EXT-X-GAP", "c.ts", "d.ts", "e.ts")
    follower._next = 0
    assert follow(follower, playlist) == [(0, True), (1, False), (3, False), (4, True)]
    follower.segment_interrupted()
    assert follow(follower, numbered(3, 3)) == [(5, False)]


def test_segments_after_the_next_one() -> None:
    follower = SegmentFollower()
    playlist = numbered(0, 5)
    assert follower.next_segment(playlist).sequence == 2
    assert [segment.sequence for segment in follower.segments_after_next(playlist)] == [3, 4]


def test_short_segments_start_earlier() -> None:
    """Three seconds of media precede the two segments in reserve."""

    def first(count: int, seconds: float) -> int:
        lines = [line for n in range(count) for line in (f"#EXTINF:{seconds},", f"s{n}.ts")]
        return (
            SegmentFollower()
            .next_segment(parse("\n".join(["#EXTM3U", "#EXT-X-TARGETDURATION:9", *lines]).encode()))
            .sequence
        )

    assert [first(9, seconds) for seconds in (6, 3, 2.9, 1.5, 1, 0)] == [6, 6, 5, 5, 4, 0]
    assert [first(count, 1) for count in (1, 2, 3, 4, 5, 6)] == [0, 0, 0, 0, 0, 1]


def test_start_among_many_segments_without_duration() -> None:
    """Each segment is looked at once, however many are needed for three seconds."""
    lines = [line for n in range(5000) for line in ("#EXTINF:0,", f"s{n}.ts")]
    playlist = parse("\n".join(["#EXTM3U", "#EXT-X-TARGETDURATION:9", *lines]).encode())

    def seconds() -> float:
        begin = time.thread_time()
        assert SegmentFollower().next_segment(playlist).sequence == 0
        return time.thread_time() - begin

    assert len(playlist.segments) == 5000
    assert min(seconds() for _ in range(3)) < 0.02
