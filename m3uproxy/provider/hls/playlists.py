"""Text of playlists.

A live window ends with the last segment that is complete by the provider's clock. The window therefore moves without a
timer, and all requests at a time get the same text.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from urllib.parse import quote

import attrs

from m3uproxy.provider.hls.options import FIRST, HlsPath, Options
from m3uproxy.provider.hls.segmenter import PARTS, ClipSegmenter

#: PROGRAM-DATE-TIME at the start of the broadcast.
EPOCH = datetime(2026, 1, 1, tzinfo=timezone.utc)
_MEDIA = "#EXT-X-MEDIA"
_VENDOR_LINES = {
    "vlcopt": ("#EXTVLCOPT:http-user-agent=Panel/1.0", "#KODIPROP:inputstream=inputstream.adaptive"),
    "comments": ("# a comment, and an empty line", "", '#EXT-X-PANEL-OWN:a=1,b="two, three"'),
}


def token(channel: str, rendition: str, name: str) -> str:
    """Return the signature of a resource as a query pair. It always has ``%2B``, ``%2F`` and ``%3D``."""
    digest = hashlib.sha256(f"{channel}/{rendition}/{name}".encode()).digest()
    return "token=" + quote(base64.b64encode(digest).decode("ascii") + "+/==", safe="")


@attrs.frozen
class PlaylistContext:
    """Values that determine a playlist.

    :ivar query: query of every URI with its question mark, or empty.
    :ivar here: scheme and authority of the request.
    :ivar other: scheme and authority of the other host name.
    :ivar now: end of the live window, seconds of the provider's clock.
    """

    path: HlsPath
    options: Options
    query: str
    here: str
    other: str
    now: float

    def uri(self, name: str, rendition: str | None = None) -> str:
        """Return the URI of a resource.

        :param rendition: its folder, for the multivariant playlist; default: that of this playlist.
        """
        folder = rendition or self.path.rendition
        query = self.query
        if self.options.sign and not name.endswith(".m3u8"):
            query += ("&" if query else "?") + token(self.path.channel, folder, name)
        path = f"/hls/{quote(self.path.channel)}/{folder}/{name}{query}"
        if self.options.uris == "relative":
            return f"{rendition}/{name}{query}" if rendition else f"{name}{query}"
        return {"path": "", "absolute": self.here, "other": self.other}[self.options.uris] + path

    @property
    def edge(self) -> int:
        """Number of the incomplete segment at the live edge."""
        return int(self.now // self.options.target)

    def window(self) -> range:
        """Return the segments of the playlist, counted from the start of the broadcast."""
        if self.options.vod:
            return range(self.options.vod)
        return range(self.edge - max(1, self.options.window), self.edge)

    def exists(self, number: int) -> bool:
        """Return whether a segment is available: all of a VOD, or the live window and two windows before it."""
        if self.options.vod:
            return 0 <= number < self.options.vod
        return self.edge - 3 * max(1, self.options.window) <= number < self.edge


def render(lines: list[str], options: Options) -> bytes:
    """Return the text of a playlist with the selected oddities."""
    for name, extra in _VENDOR_LINES.items():
        if name in options.style:
            lines = [lines[0], *extra, *lines[1:]]
    if "headless" in options.style:
        lines = lines[1:]
    end = "\r\n" if "crlf" in options.style else "\n"
    text = end.join(lines) + end
    return (("\ufeff" if "bom" in options.style else "") + text).encode("utf-8")


def multivariant_playlist(context: PlaylistContext) -> list[str]:
    """Return the lines of the multivariant playlist (RFC 8216 section 4.3.4)."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:6", "#EXT-X-INDEPENDENT-SEGMENTS"]
    groups = ""
    if context.options.renditions:
        audio, subs = context.uri("index.m3u8", "audio"), context.uri("index.m3u8", "subs")
        lines += [
            f'{_MEDIA}:TYPE=AUDIO,GROUP-ID="aud",NAME="English",LANGUAGE="en",DEFAULT=YES,AUTOSELECT=YES,URI="{audio}"',
            f'{_MEDIA}:TYPE=AUDIO,GROUP-ID="aud",NAME="Deutsch",LANGUAGE="de",AUTOSELECT=YES,URI="{audio}"',
            f'{_MEDIA}:TYPE=SUBTITLES,GROUP-ID="sub",NAME="English",LANGUAGE="en",AUTOSELECT=YES,URI="{subs}"',
        ]
        groups = ',AUDIO="aud",SUBTITLES="sub"'
    for name, bandwidth, size in (("high", 600_000, "640x360"), ("low", 500_000, "640x360")):
        lines += [
            f'#EXT-X-STREAM-INF:BANDWIDTH={bandwidth},RESOLUTION={size},CODECS="avc1.64001e,mp4a.40.2"{groups}',
            context.uri("index.m3u8", name),
        ]
    return lines


def media_playlist(context: PlaylistContext, segmenter: ClipSegmenter, size_of: Callable[[int], int]) -> list[str]:
    """Return the lines of a media playlist (RFC 8216 section 4.3.3).

    :param size_of: returns the bytes of a segment, for byte ranges.
    """
    options, window = context.options, context.window()
    lines = ["#EXTM3U", f"#EXT-X-VERSION:{9 if options.parts else 7 if options.fmp4 else 4}"]
    lines += [f"#EXT-X-TARGETDURATION:{options.target}", f"#EXT-X-MEDIA-SEQUENCE:{window.start + FIRST}"]
    if options.vod:
        lines += ["#EXT-X-PLAYLIST-TYPE:VOD"]
    if options.parts:
        lines += _server_control(options)
    if options.fmp4:
        lines += [f'#EXT-X-MAP:URI="{context.uri("init.mp4")}"']
    for number in window:
        lines += _segment(context, number, number == window.start, size_of)
    if options.parts:
        lines += _low_latency(context)
    return [*lines, "#EXT-X-ENDLIST"] if options.vod else lines


def _segment(context: PlaylistContext, number: int, is_first: bool, size_of: Callable[[int], int]) -> list[str]:
    options = context.options
    lines = []
    if options.keys and context.path.rendition != "subs" and (is_first or (number + FIRST) % options.keys == 0):
        key = context.uri(f"key{(number + FIRST) // options.keys}.bin")
        lines += [f'#EXT-X-KEY:METHOD=AES-128,URI="{key}"']
    moment = EPOCH + timedelta(seconds=number * options.target)
    lines += [f"#EXT-X-PROGRAM-DATE-TIME:{moment.isoformat(timespec='milliseconds').replace('+00:00', 'Z')}"]
    if options.parts and number >= context.edge - 2:
        lines += [_part(context, number, part) for part in range(PARTS)]
    lines += [f"#EXTINF:{options.target:.3f},"]
    if options.ranges and context.path.rendition != "subs":
        file = (number + FIRST) // options.ranges
        first = file * options.ranges - FIRST
        offset = sum(size_of(each) for each in range(first, number))
        return [*lines, f"#EXT-X-BYTERANGE:{size_of(number)}@{offset}", context.uri(f"file{file}.ts")]
    extension = "vtt" if context.path.rendition == "subs" else options.extension
    return [*lines, context.uri(f"seg{number + FIRST}.{extension}")]


def _server_control(options: Options) -> list[str]:
    length = options.target / PARTS
    return [
        f"#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK={3 * length:.3f}",
        f"#EXT-X-PART-INF:PART-TARGET={length:.3f}",
    ]


def _part(context: PlaylistContext, number: int, part: int) -> str:
    uri, length = context.uri(f"part{number + FIRST}.{part}.ts"), context.options.target / PARTS
    return f'#EXT-X-PART:DURATION={length:.3f},URI="{uri}"' + (",INDEPENDENT=YES" if part == 0 else "")


def _low_latency(context: PlaylistContext) -> list[str]:
    """Return the parts of the incomplete segment, the preload hint and the rendition reports."""
    done = int((context.now - context.edge * context.options.target) / context.options.target * PARTS)
    lines = [_part(context, context.edge, part) for part in range(done)]
    lines += [f'#EXT-X-PRELOAD-HINT:TYPE=PART,URI="{context.uri(f"part{context.edge + FIRST}.{done}.ts")}"']
    for name in ("high", "low"):
        if name != context.path.rendition:
            report = f"../{name}/index.m3u8{context.query}"
            if context.options.uris != "relative":
                report = context.uri("index.m3u8", name)
            last = f"LAST-MSN={context.edge + FIRST - (not done)},LAST-PART={(done or PARTS) - 1}"
            lines += [f'#EXT-X-RENDITION-REPORT:URI="{report}",{last}']
    return lines
