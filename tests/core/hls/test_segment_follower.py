"""Which variant, which segment, which key make one transport stream of an HLS source."""

from __future__ import annotations

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


def master(*lines: str):
    return parse("\n".join(["#EXTM3U", *lines]).encode())


LOW = ('#EXT-X-STREAM-INF:BANDWIDTH=100,AUDIO="a"', "low.m3u8")
HIGH = ('#EXT-X-STREAM-INF:BANDWIDTH=900,AUDIO="b"', "high.m3u8")
APART = '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="{}",NAME="x",URI="sound.m3u8"'
WITHIN = '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="{}",NAME="y"'


@pytest.mark.parametrize(
    ("lines", "most", "chosen"),
    [
        ([*LOW, *HIGH], 0, "high"),
        ([*HIGH, *LOW], 0, "high"),
        ([*LOW, *HIGH], 900, "high"),
        ([*LOW, *HIGH], 899, "low"),
        ([*LOW, *HIGH], 5, "low"),
        ([APART.format("b"), *LOW, *HIGH], 0, "low"),
        ([APART.format("b"), WITHIN.format("b"), *LOW, *HIGH], 0, "high"),
    ],
)
def test_the_best_variant_that_has_its_sound(lines, most, chosen) -> None:
    assert best_variant(master(*lines), URL, most).url == f"http://a.example/x/{chosen}.m3u8"


def test_sound_of_its_own_is_not_joined() -> None:
    with pytest.raises(SourceError, match="playlists of their own") as caught:
        best_variant(master(APART.format("a"), APART.format("b"), *LOW, *HIGH), URL)
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
def test_what_is_not_joined(playlist, reason) -> None:
    with pytest.raises(SourceError) as caught:
        check_joinable(playlist)
    assert caught.value.reason is reason


def test_keys() -> None:
    plain = media("s.ts")
    assert segment_key(plain, plain.segments[0]) is None
    counted = media("s.ts", first=258, head='#EXT-X-KEY:METHOD=AES-128,URI="k"')
    assert segment_key(counted, counted.segments[0]).iv == bytes(14) + b"\1\2"
    stated = media("s.ts", head='#EXT-X-KEY:METHOD=AES-128,URI="k",IV=0x0a')
    key = segment_key(stated, stated.segments[0])
    assert (key.uri, key.iv) == ("k", bytes(15) + b"\n")


def follow(follower, playlist) -> list[tuple[int, bool]]:
    taken = []
    while (segment := follower.next_segment(playlist)) is not None:
        taken.append((segment.sequence, follower.continues(segment)))
        follower.advance(segment)
        follower.segment_started(segment)
    return taken


def test_it_begins_with_the_third_from_the_end_and_goes_on() -> None:
    follower = SegmentFollower()
    assert follow(follower, numbered(10, 6)) == [(13, True), (14, True), (15, True)]
    assert follow(follower, numbered(11, 6)) == [(16, True)]
    assert follow(follower, numbered(9, 6)) == []  # a server that is behind
    assert follow(follower, numbered(12, 6)) == [(17, True)]


def test_what_falls_out_of_the_window_is_a_seam() -> None:
    follower = SegmentFollower()
    follow(follower, numbered(10, 3))
    assert follow(follower, numbered(20, 2)) == [(20, False), (21, True)]


def test_a_packager_that_counts_anew_is_a_seam() -> None:
    follower = SegmentFollower()
    follow(follower, numbered(1000, 6))
    assert follow(follower, numbered(0, 4)) == [(1, False), (2, True), (3, True)]


def test_a_discontinuity_a_gap_and_a_torn_segment_are_seams() -> None:
    follower = SegmentFollower()
    playlist = media("a.ts", "#EXT-X-DISCONTINUITY", "b.ts", "#EXT-X-GAP", "c.ts", "d.ts", "e.ts")
    follower._next = 0
    assert follow(follower, playlist) == [(0, True), (1, False), (3, False), (4, True)]
    follower.segment_interrupted()
    assert follow(follower, numbered(3, 3)) == [(5, False)]


def test_what_is_ahead() -> None:
    follower = SegmentFollower()
    playlist = numbered(0, 5)
    assert follower.next_segment(playlist).sequence == 2
    assert [segment.sequence for segment in follower.segments_after_next(playlist)] == [3, 4]


def test_short_segments_begin_earlier() -> None:
    """Three seconds of them, and two that are kept back."""

    def first(count: int, seconds: float) -> int:
        lines = [line for n in range(count) for line in (f"#EXTINF:{seconds},", f"s{n}.ts")]
        return (
            SegmentFollower()
            .next_segment(parse("\n".join(["#EXTM3U", "#EXT-X-TARGETDURATION:9", *lines]).encode()))
            .sequence
        )

    assert [first(9, seconds) for seconds in (6, 3, 2.9, 1.5, 1, 0)] == [6, 6, 5, 5, 4, 0]
    assert [first(count, 1) for count in (1, 2, 3, 4, 5, 6)] == [0, 0, 0, 0, 0, 1]
