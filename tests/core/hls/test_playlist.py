import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.core.hls.media_segments import SegmentByteRange
from m3uproxy.core.hls.playlist import Playlist, can_block_reload, parse
from m3uproxy.core.hls.playlist_limits import MAX_BYTES, MAX_LINES
from m3uproxy.core.hls.playlist_lines import NotAPlaylist

MEDIA = """#EXTM3U
#EXT-X-VERSION:6
# a comment of the packager
#EXT-X-TARGETDURATION:6
#EXT-X-MEDIA-SEQUENCE:1207
#EXT-X-DISCONTINUITY-SEQUENCE:3
#EXT-X-KEY:METHOD=AES-128,URI="k1",IV=0x01
#EXT-X-MAP:URI="init.mp4",BYTERANGE="100@0"
#EXT-X-PROGRAM-DATE-TIME:2026-11-21T18:00:00.000Z
#EXTVLCOPT:http-user-agent=x
#EXTINF:5.96,
#EXT-X-BYTERANGE:1000@100
a.mp4
#EXTINF:6 tvg-id="x",Title
#EXT-X-BYTERANGE:500
a.mp4
#EXT-X-DISCONTINUITY
#EXT-X-KEY:METHOD=AES-128,URI="k2"
#EXT-X-KEY:METHOD=AES-128,URI="skd://k2",KEYFORMAT="com.apple"
#EXTINF:4.5
#EXT-X-BYTERANGE:7
b.mp4
#EXT-X-DATERANGE:ID="ad",START-DATE="2026-11-21T18:00:12Z"
#EXT-X-KEY:METHOD=NONE
#EXT-X-GAP
#EXTINF:6,
c.mp4
#EXT-X-PART:DURATION=1,URI="d.1.mp4"
#EXT-X-PRELOAD-HINT:TYPE=PART,URI="d.2.mp4"
"""


def media(text: str = MEDIA) -> Playlist:
    playlist = parse(text.encode())
    assert not playlist.multivariant
    return playlist


def texts(playlist: Playlist, indexes: tuple[int, ...]) -> list[str]:
    return [playlist.lines[index].text for index in indexes]


def test_sequence_numbers_and_durations() -> None:
    playlist = media()
    assert playlist.target_duration == 6
    assert (playlist.sequence, playlist.discontinuity_sequence, playlist.ended) == (1207, 3, False)
    assert [segment.sequence for segment in playlist.segments] == [1207, 1208, 1209, 1210]
    assert [segment.discontinuity_sequence for segment in playlist.segments] == [3, 3, 4, 4]
    assert [segment.duration for segment in playlist.segments] == [5.96, 6, 4.5, 6]
    assert playlist.duration == pytest.approx(22.46)
    assert [segment.gap for segment in playlist.segments] == [False, False, False, True]
    assert [segment.date for segment in playlist.segments] == ["2026-11-21T18:00:00.000Z", None, None, None]


def test_keys_maps_and_byte_ranges_of_segments() -> None:
    playlist = media()
    one, two, three, four = playlist.segments
    assert texts(playlist, two.keys) == ['#EXT-X-KEY:METHOD=AES-128,URI="k1",IV=0x01']
    assert one.keys == two.keys
    assert texts(playlist, three.keys) == [
        '#EXT-X-KEY:METHOD=AES-128,URI="k2"',
        '#EXT-X-KEY:METHOD=AES-128,URI="skd://k2",KEYFORMAT="com.apple"',
    ]
    assert four.keys == ()
    assert {segment.map for segment in playlist.segments} == {one.map}
    assert [segment.byte_range for segment in playlist.segments] == [
        SegmentByteRange(1000, 100),
        SegmentByteRange(500, 1100),
        SegmentByteRange(7, 0),
        None,
    ]


def test_each_line_belongs_to_a_segment_or_to_the_playlist() -> None:
    playlist = media()
    owned = [texts(playlist, segment.lines) for segment in playlist.segments]
    assert owned[0][0].startswith("#EXT-X-KEY")
    assert owned[0][-1] == "a.mp4"
    assert owned[1] == ['#EXTINF:6 tvg-id="x",Title', "#EXT-X-BYTERANGE:500", "a.mp4"]
    assert owned[3] == ["#EXT-X-KEY:METHOD=NONE", "#EXT-X-GAP", "#EXTINF:6,", "c.mp4"]
    assert [text.partition(":")[0] for text in texts(playlist, playlist.trailing)] == [
        "#EXT-X-PART",
        "#EXT-X-PRELOAD-HINT",
    ]
    every = [index for segment in playlist.segments for index in segment.lines] + list(playlist.trailing)
    assert len(set(every)) == len(every)
    kept = [line.name for index, line in enumerate(playlist.lines) if index not in every]
    assert kept == [
        "EXTM3U",
        "EXT-X-VERSION",
        "",
        "EXT-X-TARGETDURATION",
        "EXT-X-MEDIA-SEQUENCE",
        "EXT-X-DISCONTINUITY-SEQUENCE",
        "EXT-X-DATERANGE",
    ]


def test_multivariant_playlist() -> None:
    playlist = parse(b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nlow\n")
    assert playlist.multivariant
    assert playlist.segments == ()


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff#EXTM3U\r\n#EXTINF:6,\r\na.ts\r\n",
        "\n \n#EXTM3U\n#EXTINF:6,\na.ts",
        "#EXTINF:6,\na.ts\n",
        "#EXT-X-VERSION:3\n#EXTINF:6,\na.ts\n",
        "#EXTM3U\na.ts\n",
        "#EXTM3U x-tvg-url=''\n#EXTINF:6 tvg-id='',Name\na.ts\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:-1,\na.ts\n",
    ],
)
def test_tolerated_syntax(text: str) -> None:
    assert [segment.uri for segment in media(text).segments] == ["a.ts"]


def test_live_playlist_may_have_no_segments() -> None:
    assert media("#EXTM3U\n#EXT-X-TARGETDURATION:4\n").segments == ()


@pytest.mark.parametrize(
    ("body", "text_of_error"),
    [
        (b"", "an empty body"),
        (b"\xef\xbb\xbf\r\n ", "an empty body"),
        (b"<html>\n#EXTM3U\n#EXTINF:6,\na.ts", "HTML or XML"),
        (b'{"error": 1}', "JSON"),
        (b"G@\0\x10", "binary data"),
        (b"#EXTM3U\n#EXTINF:1,\n\0a.ts", "binary data"),
        (b"#EXTM3U\n", "an empty playlist"),
        (b"#EXTM3U\n#EXT-X-VERSION:3\n", "an empty playlist"),
        (b"http://tv.example/a.ts\n", "text that is not a playlist"),
        (b"#a comment\nand more\n", "text that is not a playlist"),
        (b"#EXTM3U\n" + b"\n" * MAX_LINES, f"a playlist of more than {MAX_LINES} lines"),
        (b"#EXTM3U\n" + b"#" * MAX_BYTES, f"a playlist of more than {MAX_BYTES} bytes"),
    ],
    ids=range(12),
)
def test_other_bodies_are_refused(body: bytes, text_of_error: str) -> None:
    with pytest.raises(NotAPlaylist) as caught:
        parse(body)
    assert str(caught.value) == text_of_error


@pytest.mark.parametrize("number", ["", "x", "-1", "1.5", "9" * 5000])
def test_invalid_number_counts_as_absent(number: str) -> None:
    text = f"#EXTM3U\n#EXT-X-TARGETDURATION:{number}\n#EXT-X-MEDIA-SEQUENCE:{number}\n#EXTINF:{number},\na.ts\n"
    assert media(text).sequence == 0


def test_default_target_duration() -> None:
    assert media("#EXTM3U\n#EXTINF:4.2,\na\n#EXTINF:7.5,\nb\n").target_duration == 7.5
    assert media("#EXTM3U\na\n").target_duration == 10


def test_can_block_reload() -> None:
    assert can_block_reload(media(MEDIA + "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=3\n"))
    assert not can_block_reload(media(MEDIA + "#EXT-X-SERVER-CONTROL:CAN-SKIP-UNTIL=36\n"))
    assert not can_block_reload(media())


@given(st.binary() | st.text(st.sampled_from("#EXTINFM3U-X:,\n\r 0123456789.@")).map(lambda text: text.encode()))
def test_any_bytes_are_parsed_or_refused(body: bytes) -> None:
    try:
        playlist = parse(body)
    except NotAPlaylist:
        return
    whole = playlist.bom + "".join(line.raw for line in playlist.lines)
    assert whole.encode("utf-8", "surrogateescape") == body
