"""What a URL says about the kind of stream behind it (before anybody has asked the provider)."""

from __future__ import annotations

from enum import Enum
from urllib.parse import urlsplit

from .ingest.parser import Format


class StreamKind(Enum):
    """The three paths through the proxy; the values are what listings show as ``stream_type``."""

    HLS = "HLS"
    VOD = "VOD"
    LIVE = "Live Continuous"


_FILE_EXTENSIONS = (".mp4", ".mkv", ".webm", ".avi")
_FILE_FOLDERS = ("/timeshift/", "/movie/", "/series/")
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
#: Both files and live streams are called so.
_AMBIGUOUS_EXTENSIONS = (".aac", ".mp3", ".flv")
_OTHER_FORMATS = tuple(_CONTENT_TYPES[extension] for extension in _AMBIGUOUS_EXTENSIONS)


def _path(url: str) -> str:
    return urlsplit(url).path.lower()


def kind_of(url: str) -> StreamKind:
    """How the stream is to be served. An extension-less URL is a live one."""
    path = _path(url)
    if path.endswith(".m3u8"):
        return StreamKind.HLS
    if path.endswith(_FILE_EXTENSIONS) or any(folder in url for folder in _FILE_FOLDERS):
        return StreamKind.VOD
    return StreamKind.LIVE


def has_extension(url: str) -> bool:
    """A URL without one, or one of radio, is taken for live only until its body turns out to have an end."""
    content_type_name = _path(url).rpartition("/")[2]
    return "." in content_type_name and not content_type_name.endswith(_AMBIGUOUS_EXTENSIONS)


def content_type(url: str, sent: Format | None = None) -> str:
    """The Content-Type told to players: by the path's extension, else by what is known of live URLs.

    :param sent: what the bytes are, if that is known; unless that is a transport stream it counts for more. If it is
        one, the URL may call it what it likes, but not radio or FLV.
    """
    by_url = _content_type_by_url(url)
    if sent is None or (sent is Format.TS and by_url not in _OTHER_FORMATS):
        return by_url
    return sent.value


def _content_type_by_url(url: str) -> str:
    path = _path(url)
    for extension, content_type_name in _CONTENT_TYPES.items():
        if path.endswith(extension):
            return content_type_name
    live = url.endswith("?profile=pass") or "/live/" in url
    return "video/mp2t" if live else "application/octet-stream"
