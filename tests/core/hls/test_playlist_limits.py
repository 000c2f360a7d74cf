"""Hostile playlists: accepted ones are parsed, rewritten and shown quickly, all others are refused."""

from __future__ import annotations

import time
from itertools import count

import pytest

from m3uproxy.core.hls.media_segments import MAX_KEYS
from m3uproxy.core.hls.playlist import can_block_reload, parse
from m3uproxy.core.hls.playlist_continuity import DiscontinuityNumbers, PlaylistContinuity
from m3uproxy.core.hls.playlist_limits import (
    MAX_ATTRIBUTES,
    MAX_BYTES,
    MAX_LINE_CHARACTERS,
    MAX_VARIABLES,
    WEIGHED_TAGS,
)
from m3uproxy.core.hls.playlist_lines import NotAPlaylist
from m3uproxy.core.hls.renditions import definitions, renditions
from m3uproxy.core.hls.uri_rewriter import _URI_ATTRIBUTES, ResourceKind, ResourceRole, encode_playlist, rewrite
from m3uproxy.core.hls.url_tokens import TokenTarget, UrlTokens

URL = "http://tv.example/live/joe/s3cret/index.m3u8?" + "a=b&" * 50
HEAD = "#EXTM3U\n#EXT-X-TARGETDURATION:6\n"
#: Ten times the time on an idle machine. Quadratic behaviour takes a hundred times as much.
LIMIT_SECONDS = 1.0


def processing_seconds(body: bytes, after_change: bool = False) -> float:
    """
    Return the processor seconds of all steps that a provider's playlist goes through.

    :param after_change: show a playlist of another source first.
    """
    tokens, numbers = UrlTokens(b"k" * 32), count()

    def rewrite_uri(kind: ResourceKind, url: str, role: ResourceRole = ResourceRole.MAIN) -> str:
        return f"/hls/{'0' * 32}/segment.ts?url={tokens.make('0' * 32, TokenTarget(url, kind=kind))}&client_id=\0"

    continuity = PlaylistContinuity(DiscontinuityNumbers())
    if after_change:
        first = parse(b"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:7\n#EXTINF:6,\na.ts\n")
        continuity.update(first, rewrite(first, URL, rewrite_uri), URL, "first", 0, 0.0)
    began = time.process_time()
    playlist = parse(body)
    renditions(playlist, URL)
    definitions(playlist, URL)
    pieces = rewrite(playlist, URL, rewrite_uri)
    if not playlist.multivariant:
        pieces = continuity.update(playlist, pieces, URL, "second", next(numbers), 1.0) or pieces
    can_block_reload(playlist)
    encode_playlist(playlist.bom, pieces)
    return time.process_time() - began


UNITS = {
    "segments": "#EXTINF:6.000,\nseg-{n}.ts?sig=0123456789abcdef%2B\n",
    "dated segments": "#EXT-X-PROGRAM-DATE-TIME:2026-11-22T18:00:00.000Z\n#EXTINF:6.000,\nseg-{n}.ts\n",
    "byte ranges": "#EXTINF:6.000,\n#EXT-X-BYTERANGE:1000\nseg.ts\n",
    "a key for each": '#EXTINF:6.000,\n#EXT-X-KEY:METHOD=AES-128,URI="k{n}"\nseg-{n}.ts\n',
    "keys": '#EXT-X-KEY:METHOD=AES-128,URI="k{n}"\n',
    "formats of keys": '#EXT-X-KEY:METHOD=AES-128,KEYFORMAT="{n}",URI="k"\na\n',
    "lines": "\n",
    "returns": "\r",
    "comments": "# {n}\n",
    "unknown tags": "#EXT-X-VENDOR:A=1,B=2\n",
    "URIs": "{n}\n",
    "long URIs": "{n}/" + "a" * 15_000 + "\n",
    "long folders": "a/" * 5000 + "../" * 4000 + "{n}\n",
    "parts": '#EXT-X-PART:DURATION=0.3,URI="p{n}.mp4"\n',
    "reports": '#EXT-X-RENDITION-REPORT:URI="p{n}.m3u8",LAST-MSN=1\n',
    "controls": "#EXT-X-SERVER-CONTROL:A=1,CAN-BLOCK-RELOAD=YES\n",
    "discontinuities": "#EXT-X-DISCONTINUITY\n#EXTINF:1,\na\n",
    "dates": '#EXT-X-DATERANGE:ID="{n}",' + "X-A=1," * 200 + "\n",
    "URIs in one line": "#EXT-X-KEY:METHOD=AES-128,{n}" + "URI=a," * 240 + "\n",
    "attributes": "#EXT-X-KEY:METHOD=NONE,{n}" + "A=," * 240 + "\n",
    "quoted attributes": "#EXT-X-KEY:METHOD=NONE,{n}" + 'A="",' * 240 + "\n",
    "quotes that never end": '#EXT-X-DATERANGE:ID="{n}' + '",A="' * 240 + "\n",
    "commas": "#EXT-X-DATERANGE:{n}" + " ," * 30_000 + "\n",
    "names": "#EXT-X-DATERANGE:{n}" + "a" * 60_000 + "\n",
    "blanks": "#EXT-X-DATERANGE:a" + " " * 60_000 + "{n}\n",
    "variables": '#EXT-X-DEFINE:NAME="{n}",VALUE="x"\n',
    "parameters": '#EXT-X-DEFINE:QUERYPARAM="{n}"\n',
    "variants": '#EXT-X-STREAM-INF:BANDWIDTH={n},CODECS="a,b",RESOLUTION=1x1\nv{n}.m3u8\n',
    "renditions": '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="{n}",LANGUAGE="x",URI="a{n}.m3u8"\n',
}


def playlist_of(unit: str, number: int) -> bytes:
    return (HEAD + "".join(unit.replace("{n}", str(n)) for n in range(number))).encode()


def is_accepted(body: bytes) -> bool:
    try:
        parse(body)
    except NotAPlaylist:
        return False
    return True


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", UNITS)
def test_largest_accepted_playlist_is_processed_in_time(name: str) -> None:
    """Find the largest accepted number of units by bisection."""
    most, refused = 1, MAX_BYTES // max(1, len(UNITS[name]) - 3) + 2
    assert not is_accepted(playlist_of(UNITS[name], refused))
    while refused - most > most // 10 + 1:
        middle = (most + refused) // 2
        if is_accepted(playlist_of(UNITS[name], middle)):
            most = middle
        else:
            refused = middle
    assert processing_seconds(playlist_of(UNITS[name], most)) < LIMIT_SECONDS
    assert processing_seconds(playlist_of(UNITS[name], most), after_change=True) < LIMIT_SECONDS


def test_real_playlists_are_accepted() -> None:
    assert is_accepted(playlist_of(UNITS["segments"], 5_000))
    assert is_accepted(playlist_of(UNITS["dated segments"], 4_500))
    assert is_accepted(playlist_of(UNITS["a key for each"], 2_500))
    assert is_accepted(playlist_of(UNITS["variants"], 500))


@pytest.mark.parametrize(
    ("body", "text_of_error"),
    [
        (
            playlist_of(UNITS["URIs"], 20_000),
            "an oversized playlist (20002 lines, 20000 URIs)",
        ),
        (
            HEAD.encode() + b"#" + b"x" * MAX_LINE_CHARACTERS,
            f"a playlist with a line of more than {MAX_LINE_CHARACTERS} characters",
        ),
        (
            HEAD.encode() + b"#EXT-X-KEY:" + b"A=1," * (MAX_ATTRIBUTES + 1),
            f"a playlist with a line of more than {MAX_ATTRIBUTES} attributes",
        ),
        (
            playlist_of(UNITS["variables"], MAX_VARIABLES + 1),
            f"a playlist of more than {MAX_VARIABLES} variables",
        ),
        (
            playlist_of(UNITS["formats of keys"], MAX_KEYS + 1),
            f"a playlist with keys in more than {MAX_KEYS} formats",
        ),
        (b"#EXTM3U\n" + b"#" * MAX_BYTES, f"a playlist of more than {MAX_BYTES} bytes"),
    ],
    ids=range(6),
)
def test_error_names_the_limit(body: bytes, text_of_error: str) -> None:
    with pytest.raises(NotAPlaylist) as caught:
        parse(body)
    assert str(caught.value) == text_of_error


def test_long_variables_in_many_uris_are_refused_in_time() -> None:
    text = HEAD + f'#EXT-X-DEFINE:NAME="a",VALUE="{"x" * 2000}"\n' + "{$a}{$a}{$a}\n" * 4000
    began = time.process_time()
    with pytest.raises(NotAPlaylist, match="after rewriting"):
        processing_seconds(text.encode())
    assert time.process_time() - began < LIMIT_SECONDS


def test_long_keys_for_thousands_of_segments_are_processed_in_time() -> None:
    """After a change of source, keys are repeated for each segment with its sequence number as IV."""
    keys = f'#EXT-X-KEY:METHOD=AES-128,KEYFORMAT="x",URI="k"{",A=" * 240}\n'
    keys += f'#EXT-X-KEY:METHOD=AES-128,URI="k"{",A=" * 240}\n'
    text = HEAD + keys + "#EXTINF:6,\na.ts\n" * 2000 + "#EXT-X-ENDLIST\n"
    assert processing_seconds(text.encode(), after_change=True) < LIMIT_SECONDS


def test_key_repeated_to_megabytes_is_refused() -> None:
    key = f'#EXT-X-KEY:METHOD=AES-128,URI="k",X="{"x" * 60_000}"\n'
    text = HEAD + key + "#EXTINF:6,\na.ts\n" * 3000 + "#EXT-X-ENDLIST\n"
    assert processing_seconds(text.encode()) < LIMIT_SECONDS
    with pytest.raises(NotAPlaylist, match="after rewriting"):
        processing_seconds(text.encode(), after_change=True)


def test_all_rewritten_attributes_are_weighed() -> None:
    assert _URI_ATTRIBUTES.keys() <= WEIGHED_TAGS


def test_ended_playlist_may_be_four_times_as_large() -> None:
    """An ended playlist is fetched once. The example has six hours of 2-second segments."""
    segments = "#EXTINF:2,\na.ts\n" * 10_800
    with pytest.raises(NotAPlaylist):
        parse((HEAD + segments).encode())
    assert len(list(parse((HEAD + segments + "#EXT-X-ENDLIST\n").encode()).lines)) == 21_603
