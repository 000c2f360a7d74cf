"""Options of HLS in a URL, and the resource that it names.

Path and query of the first URL hold all options. Every URI of the playlists repeats the query, so the provider stores
no state.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, cast

import attrs
from attrs import field

from m3uproxy.provider.faults import BadFault, Parse, count, flag, one_of, some_of
from m3uproxy.provider.requests import Request

#: Forms of a URI, and oddities of a playlist's text.
URIS = ("relative", "path", "absolute", "other")
STYLES = ("crlf", "bom", "vlcopt", "headless", "comments")
RENDITIONS = ("high", "low", "audio", "subs")
#: Added to each segment number. Without it, the first windows after a start would have negative numbers.
FIRST = 1000

_PATH = re.compile(r"/hls/([^/]+)/(?:(master)\.m3u8|([a-z]+)/([^/]+))")
_FILES = (
    ("playlist", re.compile(r"index\.m3u8")),
    ("segment", re.compile(r"seg(\d+)\.(?:ts|m4s|vtt)")),
    ("part", re.compile(r"part(\d+)\.(\d+)\.ts")),
    ("file", re.compile(r"file(\d+)\.ts")),
    ("key", re.compile(r"key(\d+)\.bin")),
    ("init", re.compile(r"init\.mp4")),
)


def _row(parse: Parse, text: str) -> dict[str, Any]:
    return {"parse": parse, "text": text}


@attrs.frozen
class Options:
    """Options by query key; the ``text`` of the metadata describes each."""

    vod: int = field(default=0, metadata=_row(count, "this many segments and an end, not a live window"))
    window: int = field(default=5, metadata=_row(count, "segments in the live window"))
    target: int = field(
        default=2, converter=int, metadata=_row(one_of("1", "2", "4", "8"), "seconds of a segment: 1, 2, 4 or 8")
    )
    renditions: bool = field(default=False, metadata=_row(flag, "1: video alone, audio in two renditions, subtitles"))
    keys: int = field(default=0, metadata=_row(count, "AES-128, with a new key after this many segments"))
    ranges: int = field(default=0, metadata=_row(count, "byte ranges: this many segments in a file"))
    fmp4: bool = field(default=False, metadata=_row(flag, "1: fragmented MP4 with EXT-X-MAP"))
    sign: bool = field(default=False, metadata=_row(flag, "1: signed URIs; a changed URI gets 403"))
    parts: bool = field(default=False, metadata=_row(flag, "1: low latency: parts, preload hints, blocking reload"))
    uris: str = field(default="relative", metadata=_row(one_of(*URIS), "how URIs are written"))
    style: tuple[str, ...] = field(default=(), metadata=_row(some_of(STYLES), "oddities of the playlist's text"))

    @property
    def extension(self) -> str:
        """File extension of a segment."""
        return "m4s" if self.fmp4 else "ts"


OPTIONS: dict[str, attrs.Attribute[Any]] = {row.name: row for row in attrs.fields(Options)}


@attrs.frozen
class HlsPath:
    """A resource.

    :ivar kind: master, playlist, segment, part, file, key or init.
    :ivar number: number of the segment, file or key in the URI; 0 for other kinds.
    """

    channel: str
    kind: str
    rendition: str = "high"
    name: str = "master.m3u8"
    number: int = 0
    part: int = 0
    account: str | None = None

    @property
    def words(self) -> frozenset[str]:
        """Words by which ``only`` can select the resource."""
        return frozenset({self.kind, self.name, f"{self.rendition}/{self.name}"})


def hls_path(path: str) -> HlsPath | None:
    """Parse a path: ``/hls/NAME/master.m3u8`` or a resource in its playlists. Return None for other paths."""
    match = _PATH.fullmatch(path)
    if match is None:
        return None
    channel, master, rendition, name = match.groups()
    if master:
        return HlsPath(channel, "master")
    if rendition not in RENDITIONS:
        return None
    for kind, pattern in _FILES:
        found = pattern.fullmatch(name)
        if found is not None:
            numbers = [*map(int, found.groups()), 0, 0]
            return HlsPath(channel, kind, rendition, name, numbers[0], numbers[1])
    return None


def read_options(pairs: Iterable[tuple[str, str]]) -> Options:
    """Parse the options among query pairs. The last of several equal keys wins.

    :raises BadFault: an invalid value.
    """
    found: dict[str, Any] = {}
    for name, text in pairs:
        if name in OPTIONS:
            try:
                found[name] = cast(Parse, OPTIONS[name].metadata["parse"])(text)
            except (ValueError, KeyError) as error:
                raise BadFault(f"{name}={text}: {error}") from error
    return Options(**found)


def carried_query(request: Request) -> str:
    """Return the query for every URI of an answer, unchanged, with its question mark.

    Parameters of a single request (``_HLS_…``, ``token``, ``hop``) are left out.
    """
    query = request.target.partition("?")[2]
    kept = [pair for pair in query.split("&") if pair and not pair.startswith(("_HLS_", "token=", "hop="))]
    return "?" + "&".join(kept) if kept else ""
