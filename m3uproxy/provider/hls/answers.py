"""Answers to requests for HLS."""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Callable
from urllib.parse import urlsplit

import attrs
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from m3uproxy.provider.answers import SERVER, Answer, AnswerContext, fault_answer, page
from m3uproxy.provider.faults import Faults
from m3uproxy.provider.heads import render_head
from m3uproxy.provider.hls import mp4
from m3uproxy.provider.hls.options import FIRST, HlsPath, Options, carried_query, read_options
from m3uproxy.provider.hls.playlists import PlaylistContext, media_playlist, multivariant_playlist, render, token
from m3uproxy.provider.hls.segmenter import PARTS, ClipSegmenter, segmenter_for
from m3uproxy.provider.redirects import other_authority
from m3uproxy.provider.requests import Request
from m3uproxy.provider.station import Station

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_TYPES = {
    "master": "application/vnd.apple.mpegurl",
    "playlist": "application/vnd.apple.mpegurl",
    "key": "application/octet-stream",
}
_SUFFIXES = {"ts": "video/mp2t", "m4s": "video/iso.segment", "mp4": "video/mp4", "vtt": "text/vtt"}
#: Longest time that a request is held, in target durations.
_MAX_HOLD = 3


@attrs.frozen
class HlsAnswer:
    """A head and its body, or a short answer.

    :ivar body: None: the answer is short and complete.
    :ivar hold: seconds to wait before the answer, until the resource exists.
    """

    answer: Answer
    body: bytes | None = None
    hold: float = 0.0


def hls_answer(station: Station, request: Request, path: HlsPath, faults: Faults) -> HlsAnswer:
    """Return the answer to a request.

    :raises BadFault: an option has an invalid value.
    """
    instead = fault_answer(AnswerContext(station, request, path, faults))
    if instead is not None:
        return HlsAnswer(instead)
    options = read_options(request.query)
    if options.sign and path.kind not in ("master", "playlist") and not _is_signed(request, path):
        return HlsAnswer(page(403))
    now, ready = _clock(station, path, faults), _ready_at(request, path, options)
    if ready - now > _MAX_HOLD * options.target:
        return HlsAnswer(page(404))
    context = _playlist_context(station, request, path, options, max(now, ready))
    body = _BODIES[path.kind](segmenter_for(station.timeline, options.target), context)
    if body is None:
        return HlsAnswer(page(404))
    return _with_body(request, path, faults, body, max(0.0, ready - now))


def _clock(station: Station, path: HlsPath, faults: Faults) -> float:
    """Return the provider's time in seconds. For playlists of a stale channel it stands still."""
    now, channel = station.uptime(), station.channel(path.channel)
    if not faults.stale or path.kind != "playlist":
        return now
    if channel.stale_since is None:
        channel.stale_since = now
    return channel.stale_since


def _playlist_context(
    station: Station, request: Request, path: HlsPath, options: Options, now: float
) -> PlaylistContext:
    authority = request.header("Host") or "127.0.0.1"
    other = other_authority(authority, station.other_host)
    return PlaylistContext(path, options, carried_query(request), f"http://{authority}", f"http://{other}", now)


def _is_signed(request: Request, path: HlsPath) -> bool:
    """Return whether the request has the signature exactly as given."""
    pairs = urlsplit(request.target).query.split("&")
    return token(path.channel, path.rendition, path.name) in pairs


def _ready_at(request: Request, path: HlsPath, options: Options) -> float:
    """Return the time at which the part, or the playlist that has it (``_HLS_msn``, ``_HLS_part``), exists."""
    if not options.parts:
        return 0.0
    if path.kind == "part":
        return (path.number - FIRST + (path.part + 1) / PARTS) * options.target
    query = dict(request.query)
    if path.kind != "playlist" or not query.get("_HLS_msn", "").isdecimal():
        return 0.0
    part = query.get("_HLS_part", "")
    last = (int(part) + 1) / PARTS if part.isdecimal() else 1.0
    return (int(query["_HLS_msn"]) - FIRST + last) * options.target


def _with_body(request: Request, path: HlsPath, faults: Faults, body: bytes, hold: float) -> HlsAnswer:
    """Return the head for a body or for the requested range of it."""
    total, status, headers = len(body), 200, [SERVER, ("Content-Type", _content_type(path, faults))]
    span = _span(request, total)
    if span == (0, 0):
        nothing = [SERVER, ("Content-Range", f"bytes */{total}"), ("Content-Length", "0")]
        return HlsAnswer(Answer(render_head(416, nothing)))
    if span is not None:
        status, body = 206, body[span[0] : span[1]]
        headers.append(("Content-Range", f"bytes {span[0]}-{span[1] - 1}/{total}"))
    if faults.gzip:
        body = gzip.compress(body, 1, mtime=0)
        headers.append(("Content-Encoding", "gzip"))
    if faults.framing in ("chunked", "chunked_cut"):
        headers.append(("Transfer-Encoding", "chunked"))
    elif faults.framing == "close":
        headers.append(("Content-Length", str(len(body) if faults.length is None else faults.length)))
    closes = faults.framing in ("none", "chunked_cut") or faults.length is not None
    if closes:
        headers.append(("Connection", "close"))
    head = render_head(status, headers, faults.head)
    return HlsAnswer(Answer(head, streams=True, closes=closes), body, hold)


def _content_type(path: HlsPath, faults: Faults) -> str:
    if faults.ctype is not None:
        return faults.ctype
    return _TYPES.get(path.kind) or _SUFFIXES[path.name.rpartition(".")[2]]


def _span(request: Request, total: int) -> tuple[int, int] | None:
    """Return start and stop of a single range, (0, 0) for an unsatisfiable range, None without a range."""
    match = _RANGE.fullmatch(request.header("Range") or "")
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        return (max(0, total - int(last)), total) if int(last) and total else (0, 0)
    start, stop = int(first), min(total, int(last) + 1) if last else total
    return (start, stop) if start < stop else (0, 0)


# Bodies


def _master(segmenter: ClipSegmenter, context: PlaylistContext) -> bytes:
    return render(multivariant_playlist(context), context.options)


def _playlist(segmenter: ClipSegmenter, context: PlaylistContext) -> bytes:
    return render(
        media_playlist(context, segmenter, lambda number: len(_content(segmenter, context, number))), context.options
    )


def _segment(segmenter: ClipSegmenter, context: PlaylistContext) -> bytes | None:
    number = context.path.number - FIRST
    return _content(segmenter, context, number) if context.exists(number) else None


def _part(segmenter: ClipSegmenter, context: PlaylistContext) -> bytes | None:
    number = context.path.number - FIRST
    known = number == context.edge or context.exists(number) or context.edge - 1 == number
    return segmenter.part(number, context.path.part) if known and context.path.part < PARTS else None


def _file(segmenter: ClipSegmenter, context: PlaylistContext) -> bytes | None:
    """Return several segments in one file. The last file of the window has its complete segments only."""
    if not context.options.ranges:
        return None
    first = context.path.number * context.options.ranges - FIRST
    numbers = range(first, first + context.options.ranges)
    if not any(map(context.exists, numbers)):
        return None
    last = context.options.vod if context.options.vod else context.edge
    return b"".join(_content(segmenter, context, number) for number in numbers if number < last)


def _key(segmenter: ClipSegmenter, context: PlaylistContext) -> bytes:
    return key_of(context.path.channel, context.path.number)


def key_of(channel: str, number: int) -> bytes:
    """Return the key of this number of a channel."""
    return hashlib.sha256(f"{channel} {number}".encode()).digest()[:16]


def _content(segmenter: ClipSegmenter, context: PlaylistContext, number: int) -> bytes:
    """Return a segment of the requested rendition, encrypted if ``keys`` is set."""
    rendition, options = context.path.rendition, context.options
    if rendition == "subs":
        return _subtitles(segmenter, number)
    tracks = "audio" if rendition == "audio" else "video" if options.renditions else "both"
    data = mp4.fragment(segmenter, number) if options.fmp4 else segmenter.segment(number, tracks)
    if not options.keys:
        return data
    sequence = number + FIRST
    return encrypted(data, key_of(context.path.channel, sequence // options.keys), sequence)


def encrypted(data: bytes, key: bytes, sequence: int) -> bytes:
    """Encrypt with AES-128 in CBC mode, PKCS 7 padding and the media sequence number as IV (RFC 8216 section 5.2)."""
    padding = 16 - len(data) % 16
    encryptor = Cipher(algorithms.AES(key), modes.CBC(sequence.to_bytes(16, "big"))).encryptor()
    return encryptor.update(data + bytes((padding,)) * padding) + encryptor.finalize()


def _subtitles(segmenter: ClipSegmenter, number: int) -> bytes:
    """Return a cue for each second, on the clock of the video (RFC 8216 section 3.5)."""
    lines = ["WEBVTT", f"X-TIMESTAMP-MAP=MPEGTS:{segmenter.stamp(number)},LOCAL:00:00:00.000", ""]
    for second in range(segmenter.target):
        lines += [
            f"00:00:{second:02d}.000 --> 00:00:{second:02d}.900",
            f"second {number * segmenter.target + second}",
            "",
        ]
    return "\n".join(lines).encode("utf-8")


def _init(segmenter: ClipSegmenter, context: PlaylistContext) -> bytes:
    return mp4.init_section(segmenter)


_BODIES: dict[str, Callable[[ClipSegmenter, PlaylistContext], bytes | None]] = {
    "master": _master,
    "playlist": _playlist,
    "segment": _segment,
    "part": _part,
    "file": _file,
    "key": _key,
    "init": _init,
}
