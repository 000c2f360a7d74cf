"""Hostile playlists: accepted ones are parsed, rewritten and shown quickly, all others are refused."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

import attrs
import pytest
from reactor_hold import TRACED, is_traced

from m3uproxy.core.hls.media_segments import MAX_KEYS
from m3uproxy.core.hls.playlist import can_block_reload, parse, parse_steps
from m3uproxy.core.hls.playlist_continuity import DiscontinuityNumbers, PlaylistContinuity
from m3uproxy.core.hls.playlist_limits import (
    MAX_ATTRIBUTES,
    MAX_BYTES,
    MAX_LINE_CHARACTERS,
    MAX_VARIABLES,
    WEIGHED_TAGS,
)
from m3uproxy.core.hls.playlist_lines import NotAPlaylist, OversizedPlaylist
from m3uproxy.core.hls.playlist_window import apply_window_steps
from m3uproxy.core.hls.renditions import definitions, renditions
from m3uproxy.core.hls.steps import Steps
from m3uproxy.core.hls.uri_rewriter import _URI_ATTRIBUTES, encode_steps, rewrite_steps
from m3uproxy.core.hls.url_tokens import UrlTokens
from m3uproxy.hls.player_uris import PlayerUris

T = TypeVar("T")
URL = "http://tv.example/live/joe/s3cret/index.m3u8?" + "a=b&" * 50
HEAD = "#EXTM3U\n#EXT-X-TARGETDURATION:6\n"
#: Ten times the time on an idle machine. Quadratic behaviour takes a hundred times as much.
LIMIT_SECONDS = 1.0
#: The longest step. A few milliseconds on an idle machine; more under a tracer.
STEP_SECONDS = 0.05 * (TRACED if is_traced() else 1.0)


@pytest.fixture(autouse=True)
def _without_collections() -> Iterator[None]:
    """Leave the objects of all other tests out of the figures; the daemon excludes its own from collections, too."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@attrs.define
class Cost:
    """Processor seconds of the steps that a playlist goes through."""

    total: float = 0.0
    longest: float = 0.0

    def measure(self, work: Callable[[], T]) -> T:
        """Measure a step."""
        began = time.process_time()
        try:
            return work()
        finally:
            seconds = time.process_time() - began
            self.total, self.longest = self.total + seconds, max(self.longest, seconds)

    def finish(self, steps: Steps[T]) -> T:
        """Measure all steps."""
        while True:
            try:
                self.measure(partial(next, steps))
            except StopIteration as end:
                return end.value


def processing_cost(body: bytes, after_change: bool = False) -> Cost:
    """
    Return the cost of all steps that a provider's playlist goes through.

    :param after_change: show a playlist of another source first.
    """
    tokens, cost = UrlTokens(b"k" * 32), Cost()
    rewrite_uri = PlayerUris(tokens, "0" * 32).rewriter(b"source", False, None)
    continuity = PlaylistContinuity(DiscontinuityNumbers())
    if after_change:
        first = parse(b"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:7\n#EXTINF:6,\na.ts\n")
        continuity.update(first, URL, "first", 0, 0.0)
    playlist = cost.finish(parse_steps(body))
    if playlist.multivariant:
        cost.measure(lambda: (renditions(playlist, URL), definitions(playlist, URL)))
    lines = cost.finish(rewrite_steps(playlist, URL, rewrite_uri))
    if not playlist.multivariant:
        window = cost.measure(lambda: continuity.update(playlist, URL, "second", 1, 1.0))
        if window is not None:
            lines = cost.finish(apply_window_steps(playlist, lines, window))
    cost.measure(lambda: can_block_reload(playlist))
    cost.finish(encode_steps(playlist.bom, lines))
    return cost


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

#: Some of those that may be larger in a playlist that has ended.
LARGER_WHEN_ENDED = ("dated segments", "a key for each", "comments", "attributes")


def playlist_of(unit: str, number: int) -> bytes:
    return (HEAD + "".join(unit.replace("{n}", str(n)) for n in range(number))).encode()


def is_accepted(body: bytes) -> bool:
    try:
        parse(body)
    except NotAPlaylist:
        return False
    return True


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("name", "ended"), [*((name, False) for name in UNITS), *((name, True) for name in LARGER_WHEN_ENDED)]
)
def test_largest_accepted_playlist_is_processed_in_time(name: str, ended: bool) -> None:
    """Find the largest accepted number of units by bisection."""

    def body_of(number: int) -> bytes:
        return playlist_of(UNITS[name], number) + (b"#EXT-X-ENDLIST\n" if ended else b"")

    most, refused = 1, MAX_BYTES // max(1, len(UNITS[name]) - 3) + 2
    assert not is_accepted(body_of(refused))
    while refused - most > most // 10 + 1:
        middle = (most + refused) // 2
        if is_accepted(body_of(middle)):
            most = middle
        else:
            refused = middle
    for after_change in (False, True):
        cost = processing_cost(body_of(most), after_change)
        assert cost.total < (5 if ended else 1) * LIMIT_SECONDS
        assert cost.longest < STEP_SECONDS


def test_real_playlists_are_accepted() -> None:
    assert is_accepted(playlist_of(UNITS["segments"], 12_000))
    assert is_accepted(playlist_of(UNITS["dated segments"], 11_000))
    assert is_accepted(playlist_of(UNITS["a key for each"], 5_000))
    assert is_accepted(playlist_of(UNITS["variants"], 500))


@pytest.mark.parametrize(
    ("body", "text_of_error"),
    [
        (
            playlist_of(UNITS["URIs"], 20_000),
            "an oversized playlist (20002 lines, 20000 URIs)",
        ),
        (
            playlist_of(UNITS["segments"], 20_000),
            "an oversized playlist (40002 lines, 20000 segments)",
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
    ids=range(7),
)
def test_error_names_the_limit(body: bytes, text_of_error: str) -> None:
    with pytest.raises(OversizedPlaylist) as caught:
        parse(body)
    assert str(caught.value) == text_of_error


def test_long_variables_in_many_uris_are_refused_in_time() -> None:
    text = HEAD + f'#EXT-X-DEFINE:NAME="a",VALUE="{"x" * 2000}"\n' + "{$a}{$a}{$a}\n" * 4000
    began = time.process_time()
    with pytest.raises(NotAPlaylist, match="after rewriting"):
        processing_cost(text.encode())
    assert time.process_time() - began < LIMIT_SECONDS


def test_long_keys_for_thousands_of_segments_are_processed_in_time() -> None:
    """After a change of source, keys are repeated for each segment with its sequence number as IV."""
    keys = f'#EXT-X-KEY:METHOD=AES-128,KEYFORMAT="x",URI="k"{",A=" * 240}\n'
    keys += f'#EXT-X-KEY:METHOD=AES-128,URI="k"{",A=" * 240}\n'
    text = HEAD + keys + "#EXTINF:6,\na.ts\n" * 2000 + "#EXT-X-ENDLIST\n"
    assert processing_cost(text.encode(), after_change=True).longest < STEP_SECONDS


def test_key_repeated_to_megabytes_is_refused() -> None:
    key = f'#EXT-X-KEY:METHOD=AES-128,URI="k",X="{"x" * 60_000}"\n'
    text = HEAD + key + "#EXTINF:6,\na.ts\n" * 3000 + "#EXT-X-ENDLIST\n"
    assert processing_cost(text.encode()).longest < STEP_SECONDS
    with pytest.raises(NotAPlaylist, match="after rewriting"):
        processing_cost(text.encode(), after_change=True)


def test_all_rewritten_attributes_are_weighed() -> None:
    assert _URI_ATTRIBUTES.keys() <= WEIGHED_TAGS


@pytest.mark.parametrize(("seconds", "dates"), [(4, True), (2, True), (2, False)])
def test_day_of_catch_up_is_processed_in_short_steps(seconds: int, dates: bool) -> None:
    """A playlist that has ended is fetched once, so it may be large; a live one of this size is refused."""
    unit = f"#EXTINF:{seconds},\ns-{{n}}.ts?token=0123456789abcdef0123456789abcdef\n"
    unit = ("#EXT-X-PROGRAM-DATE-TIME:2026-11-22T18:00:00.000Z\n" if dates else "") + unit
    body = playlist_of(unit, 86_400 // seconds)
    cost = processing_cost(body + b"#EXT-X-ENDLIST\n")
    assert cost.longest < STEP_SECONDS
    assert cost.longest < cost.total / 10
    with pytest.raises(OversizedPlaylist):
        parse(body)


def test_refusal_by_number_of_segments_is_quick() -> None:
    body = playlist_of(UNITS["segments"], 40_000)
    began = time.process_time()
    with pytest.raises(OversizedPlaylist):
        next(parse_steps(body))
    assert time.process_time() - began < STEP_SECONDS
