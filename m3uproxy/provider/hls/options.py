"""What kind of HLS a URL asks for, and which resource of it.

All of it is in the path and the query of the URL that is asked first; the query is carried_query in every URI of the
playlists, so that nothing has to be remembered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, cast

import attrs
from attrs import field

from m3uproxy.provider.faults import BadFault, Parse, count, flag, one_of, some_of
from m3uproxy.provider.requests import Request

#: Ways to write a URI, and oddities of a playlist's text.
URIS = ("relative", "path", "absolute", "other")
STYLES = ("crlf", "bom", "vlcopt", "headless", "comments")
RENDITIONS = ("high", "low", "audio", "subs")
#: Added to the number of a segment, so that the window of a provider that has just started has none below 0.
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
    """One field for each key; ``text`` of its metadata says what it does."""

    vod: int = field(default=0, metadata=_row(count, "so many segments and an end, instead of a live window"))
    window: int = field(default=5, metadata=_row(count, "segments in the live window"))
    target: int = field(
        default=2, converter=int, metadata=_row(one_of("1", "2", "4", "8"), "seconds of a segment: 1, 2, 4 or 8")
    )
    renditions: bool = field(default=False, metadata=_row(flag, "1: video alone, audio in two renditions, subtitles"))
    keys: int = field(default=0, metadata=_row(count, "AES-128, with another key after so many segments"))
    ranges: int = field(default=0, metadata=_row(count, "byte ranges: so many segments in one file"))
    fmp4: bool = field(default=False, metadata=_row(flag, "1: fragmented MP4 with EXT-X-MAP"))
    sign: bool = field(default=False, metadata=_row(flag, "1: signed URIs; one that is changed is answered 403"))
    parts: bool = field(default=False, metadata=_row(flag, "1: low latency: parts, preload hints, blocking reload"))
    uris: str = field(default="relative", metadata=_row(one_of(*URIS), "how URIs are written"))
    style: tuple[str, ...] = field(default=(), metadata=_row(some_of(STYLES), "oddities of the playlist's text"))

    @property
    def extension(self) -> str:
        """Of a segment."""
        return "m4s" if self.fmp4 else "ts"


OPTIONS: dict[str, attrs.Attribute[Any]] = {row.name: row for row in attrs.fields(Options)}


@attrs.frozen
class HlsPath:
    """
    One resource.

    :ivar kind: master, playlist, segment, part, file, key or init.
    :ivar number: of the segment, the file or the key, as in the URI; 0 for what has none.
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
        """What ``only`` may call it."""
        return frozenset({self.kind, self.name, f"{self.rendition}/{self.name}"})


def hls_path(path: str) -> HlsPath | None:
    """Tell a path: ``/hls/NAME/master.m3u8`` and what its playlists name; None for another."""
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
    """
    The options among query pairs; the last of several counts.

    :raises BadFault: for a value that makes no sense.
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
    """The query that every URI of an answer gets, unchanged, with a question mark; without what is for one only."""
    query = request.target.partition("?")[2]
    kept = [pair for pair in query.split("&") if pair and not pair.startswith(("_HLS_", "token=", "hop="))]
    return "?" + "&".join(kept) if kept else ""
