"""The kind of a stream (live, HLS or VOD) and its Content-Type, as far as the URL tells before the first dial.

The URL is a guess: the first answer of a source decides (:mod:`m3uproxy.core.http.body_kind`).
"""

from __future__ import annotations

from enum import Enum

from .http.uri_reference import split_reference
from .ingest.parser import Format


class StreamKind(Enum):
    """The three paths through the proxy. The values are the ``stream_type`` of listings."""

    HLS = "HLS"
    VOD = "VOD"
    LIVE = "Live Continuous"


_FILE_EXTENSIONS = (".mp4", ".mkv", ".webm", ".avi")
_FILE_FOLDERS = ("/timeshift/", "/movie/", "/series/")
#: Parts of a path, in lower case, by which catch-up and media servers name programmes.
_FILE_HINTS = ("timeshift", "/dvr/", "/videos/")
_CONTENT_TYPES = {
    ".ts": "video/mp2t",
    ".mp4": "video/mp4",
    ".mkv": "video/x-matroska",
    ".webm": "video/webm",
    ".avi": "video/x-msvideo",
    ".m3u8": "application/vnd.apple.mpegurl",
    ".aac": Format.ADTS.value,
    ".mp3": Format.MPEG_AUDIO.value,
    ".flv": Format.FLV.value,
}


def _path(url: str) -> str:
    """Return the path of a URL, behind which headers may stand (:mod:`m3uproxy.core.http.source_headers`)."""
    return split_reference(url)[2].partition("|")[0].strip().lower()


def kind_of(url: str) -> StreamKind:
    """Return the kind of a stream as listings show it before the first answer, from the URL."""
    path = _path(url)
    if path.endswith(".m3u8"):
        return StreamKind.HLS
    if path.endswith(_FILE_EXTENSIONS) or any(folder in url for folder in _FILE_FOLDERS):
        return StreamKind.VOD
    return StreamKind.LIVE


def has_file_hint(url: str) -> bool:
    """
    Return True if a URL has a sign of a programme or a file.

    Such signs are ``timeshift`` in the path, the folders ``/dvr/`` and ``/Videos/``, and ``static=true`` in the query.
    """
    parts = split_reference(url)
    path, query = parts[2].lower(), parts[3].lower()
    return any(hint in path for hint in _FILE_HINTS) or "static=true" in query.lstrip("?").split("&")


def likely_kind(url: str) -> StreamKind:
    """Return the kind that the first answer probably has: by the extension, and by known forms of programmes."""
    kind = kind_of(url)
    return StreamKind.VOD if kind is StreamKind.LIVE and has_file_hint(url) else kind


def content_type(url: str, sent: Format | None = None) -> str:
    """Return the Content-Type for players: that of the content if it is known, else by the URL.

    :param sent: format of the bytes, if known.
    """
    return _content_type_by_url(url) if sent is None else sent.value


def _content_type_by_url(url: str) -> str:
    path = _path(url)
    for extension, media_type in _CONTENT_TYPES.items():
        if path.endswith(extension):
            return media_type
    live = url.endswith("?profile=pass") or "/live/" in url
    return "video/mp2t" if live else "application/octet-stream"
