"""Playlists that mean no good: what is accepted is read, rewritten and shown in no time, the rest is refused."""

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
from m3uproxy.core.hls.uri_rewriter import _URI_ATTRIBUTES, ResourceKind, encode_playlist, rewrite
from m3uproxy.core.hls.url_tokens import TokenTarget, UrlTokens

URL = "http://tv.example/live/joe/s3cret/index.m3u8?" + "a=b&" * 50
HEAD = "#EXTM3U\n#EXT-X-TARGETDURATION:6\n"
#: It takes a tenth of it on a machine that has nothing else to do. What is quadratic takes a hundred times as much.
SECONDS = 1.0


def work(body: bytes, anew: bool = False) -> float:
    """Seconds of the processor for all that is done with a playlist of a provider.

    :param anew: whether another source was shown before.
    """
    tokens, numbers = UrlTokens(b"k" * 32), count()

    def rewrite_uri(kind: ResourceKind, url: str) -> str:
        return f"/hls/{'0' * 32}/segment.ts?url={tokens.make('0' * 32, TokenTarget(url, kind=kind))}&client_id=\0"

    continuity = PlaylistContinuity(DiscontinuityNumbers())
    if anew:
        first = parse(b"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:7\n#EXTINF:6,\na.ts\n")
        continuity.update(first, rewrite(first, URL, rewrite_uri), "first", 0, 0.0)
    began = time.process_time()
    playlist = parse(body)
    renditions(playlist, URL)
    definitions(playlist, URL)
    pieces = rewrite(playlist, URL, rewrite_uri)
    if not playlist.multivariant:
        pieces = continuity.update(playlist, pieces, "second", next(numbers), 1.0)
    can_block_reload(playlist)
    encode_playlist(playlist.bom, pieces)
    return time.process_time() - began


MANY = {
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


def of(unit: str, number: int) -> bytes:
    return (HEAD + "".join(unit.replace("{n}", str(n)) for n in range(number))).encode()


def accepted(body: bytes) -> bool:
    try:
        parse(body)
    except NotAPlaylist:
        return False
    return True


@pytest.mark.parametrize("name", MANY)
def test_the_most_that_is_accepted(name: str) -> None:
    """A bisection finds how many there may be."""
    most, refused = 1, MAX_BYTES // max(1, len(MANY[name]) - 3) + 2
    assert not accepted(of(MANY[name], refused))
    while refused - most > most // 10 + 1:
        middle = (most + refused) // 2
        if accepted(of(MANY[name], middle)):
            most = middle
        else:
            refused = middle
    assert work(of(MANY[name], most)) < SECONDS
    assert work(of(MANY[name], most), anew=True) < SECONDS


def test_what_people_play_is_accepted() -> None:
    assert accepted(of(MANY["segments"], 5_000))
    assert accepted(of(MANY["dated segments"], 4_500))
    assert accepted(of(MANY["a key for each"], 2_500))
    assert accepted(of(MANY["variants"], 500))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (of(MANY["URIs"], 20_000), "a playlist out of all measure, of 20002 lines that name 20000 resources"),
        (
            HEAD.encode() + b"#" + b"x" * MAX_LINE_CHARACTERS,
            f"a playlist with a line of more than {MAX_LINE_CHARACTERS} characters",
        ),
        (
            HEAD.encode() + b"#EXT-X-KEY:" + b"A=1," * (MAX_ATTRIBUTES + 1),
            f"a playlist with a line of more than {MAX_ATTRIBUTES} attributes",
        ),
        (of(MANY["variables"], MAX_VARIABLES + 1), f"a playlist of more than {MAX_VARIABLES} variables"),
        (of(MANY["formats of keys"], MAX_KEYS + 1), f"a playlist with keys in more than {MAX_KEYS} formats"),
        (b"#EXTM3U\n" + b"#" * MAX_BYTES, f"a playlist of more than {MAX_BYTES} bytes"),
    ],
    ids=range(6),
)
def test_what_is_refused_is_told(body: bytes, said: str) -> None:
    with pytest.raises(NotAPlaylist) as caught:
        parse(body)
    assert str(caught.value) == said


def test_variables_that_are_long_in_each_uri() -> None:
    text = HEAD + f'#EXT-X-DEFINE:NAME="a",VALUE="{"x" * 2000}"\n' + "{$a}{$a}{$a}\n" * 4000
    began = time.process_time()
    with pytest.raises(NotAPlaylist, match="longer than"):
        work(text.encode())
    assert time.process_time() - began < SECONDS


def test_long_keys_in_force_for_thousands_of_segments() -> None:
    """They are told anew behind a change of source, each with the number of its segment."""
    keys = f'#EXT-X-KEY:METHOD=AES-128,KEYFORMAT="x",URI="k"{",A=" * 240}\n'
    keys += f'#EXT-X-KEY:METHOD=AES-128,URI="k"{",A=" * 240}\n'
    text = HEAD + keys + "#EXTINF:6,\na.ts\n" * 2000 + "#EXT-X-ENDLIST\n"
    assert work(text.encode(), anew=True) < SECONDS


def test_a_key_that_would_make_megabytes_of_a_playlist() -> None:
    key = f'#EXT-X-KEY:METHOD=AES-128,URI="k",X="{"x" * 60_000}"\n'
    text = HEAD + key + "#EXTINF:6,\na.ts\n" * 3000 + "#EXT-X-ENDLIST\n"
    assert work(text.encode()) < SECONDS
    with pytest.raises(NotAPlaylist, match="longer than"):
        work(text.encode(), anew=True)


def test_what_is_read_is_weighed() -> None:
    assert _URI_ATTRIBUTES.keys() <= WEIGHED_TAGS


def test_what_is_over_may_be_larger_for_it_is_not_read_again() -> None:
    """Six hours in pieces of two seconds."""
    segments = "#EXTINF:2,\na.ts\n" * 10_800
    with pytest.raises(NotAPlaylist):
        parse((HEAD + segments).encode())
    assert len(list(parse((HEAD + segments + "#EXT-X-ENDLIST\n").encode()).lines)) == 21_603
