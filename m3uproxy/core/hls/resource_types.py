"""Names and media types of the resources that a playlist names.

Players derive the format of a segment from the end of its path or from its ``Content-Type``, and ffmpeg refuses one
whose path does not fit what is in it (libavformat 61.9.100 and later). Providers call segments ``.jpg`` or nothing at
all, and send the default type of their storage. So the content decides, then the playlist, then the provider's type,
then the ending of the provider's path.
"""

from __future__ import annotations

import re

from ..http.body_sniffing import container_type
from .resource_check import SUBTITLES, decode_text
from .uri_rewriter import ResourceKind

UNKNOWN = "application/octet-stream"
_TS, _MP4, _AAC, _MPEG_AUDIO = "video/mp2t", "video/mp4", "audio/aac", "audio/mpeg"
#: The ending of the provider's path, and the one that players get. ffmpeg allows each of them for its format, and
#: ``ts`` for a transport stream, MP4 and AAC.
_RENAMED = {
    **dict.fromkeys("ts m4s mp4 m4a cmfv cmfa aac ac3 ec3 eac3 mp3 mp2 vtt key json".split()),
    **dict.fromkeys("m2t m2ts mts mpg mpeg mpegts".split(), "ts"),
    **dict.fromkeys("m4f m4i mp4a mp4v cmft dash".split(), "m4s"),
    **dict.fromkeys("m4v fmp4 mov ism ismv isma".split(), "mp4"),
    **dict.fromkeys("mp1 mpa m2a".split(), "mp3"),
    "adts": "aac",
    "webvtt": "vtt",
}
_ENDINGS = {ending: renamed or ending for ending, renamed in _RENAMED.items()}
#: Endings of MP4 segments. ``ts`` is allowed for them, too.
_MP4_ENDINGS = frozenset("m4s mp4 m4a cmfv cmfa".split())
_TYPES = {
    "ts": _TS,
    **dict.fromkeys(_MP4_ENDINGS, _MP4),
    **dict.fromkeys(("m4a", "cmfa"), "audio/mp4"),
    "aac": _AAC,
    "ac3": "audio/ac3",
    **dict.fromkeys(("ec3", "eac3"), "audio/eac3"),
    **dict.fromkeys(("mp3", "mp2"), _MPEG_AUDIO),
    "vtt": "text/vtt",
    "json": "application/json",
}
#: Types that mean the same as one of ours. The provider's is kept then.
_SAME = {
    _MP4: re.compile(r"(?:video|audio|application)/(?:mp4|iso\.segment|x-m4[av])|video/quicktime", re.IGNORECASE),
    _AAC: re.compile(r"audio/(?:x-)?aacp?|audio/x-hx-aac-adts", re.IGNORECASE),
    _TS: re.compile(r"video/(?:mp2t|mpeg-?ts|vnd\.dlna\.mpeg-tts)", re.IGNORECASE),
    _MPEG_AUDIO: re.compile(r"audio/(?:x-)?(?:mpeg|mp[123])", re.IGNORECASE),
}
#: Types of media that a provider is believed if the content is encrypted or unknown.
_BELIEVED = re.compile(r"(?:audio|video)/.+|application/(?:mp4|octet-stream)", re.IGNORECASE)
_BOXES = frozenset(b"ftyp styp moof moov sidx emsg prft mdat free skip uuid wide".split())
_IMAGES = ((b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG\r\n", "image/png"), (b"GIF8", "image/gif"))


def path_ending(url: str) -> str | None:
    """Return the ending that players get for a URL; None if the URL's own one says nothing."""
    return _ENDINGS.get(url.partition("?")[0].rpartition(".")[2].partition(";")[0].lower())


def segment_ending(url: str, default: str, has_map: bool) -> str:
    """
    Return the ending of a segment's path.

    :param default: the ending if the URL's own one says nothing.
    :param has_map: True if an initialization section applies, so that the segment is MP4 (or a transport stream).
    """
    ending = path_ending(url)
    if has_map and ending not in _MP4_ENDINGS and ending != "ts":
        return "m4s"
    return ending or default


def media_type(kind: ResourceKind, url: str, ending: str, head: bytes, said: str) -> str:
    """
    Return the ``Content-Type`` for a resource.

    :param url: its URL.
    :param ending: the ending that players got for it, which the playlist has decided.
    :param head: its first bytes.
    :param said: the ``Content-Type`` of the provider; empty if there is none that may be passed on.
    """
    if kind is ResourceKind.KEY:
        return UNKNOWN
    found = _type_of(head, _TYPES.get(ending, ""))
    if found is not None:
        return _as_said(found, said)
    if kind is ResourceKind.DATA:
        return said or UNKNOWN
    named = None if ending == "ts" and path_ending(url) != "ts" else _TYPES.get(ending)
    if kind is ResourceKind.MAP or ending in _MP4_ENDINGS:
        return _as_said(named if named in (_MP4, "audio/mp4") else _MP4, said)
    is_ts_by_default = _SAME[_TS].match(said) and named not in (_TS, None)
    if _BELIEVED.match(said) and not is_ts_by_default:
        return said
    return named or UNKNOWN


def _as_said(found: str, said: str) -> str:
    """Return the provider's type if it means the same."""
    same = _SAME.get(_MP4 if found == "audio/mp4" else found)
    return said if same is not None and same.match(said) else found


def _type_of(head: bytes, named: str) -> str | None:
    """Return the type by the first bytes; None if they are encrypted or unknown."""
    if _is_transport_stream(head):
        return _TS
    if head[4:8] in _BOXES:
        is_picture = head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis")
        return "image/avif" if is_picture else named if named == "audio/mp4" else _MP4
    if head[:3] == b"ID3":
        return _packed_audio(head, named)
    text = decode_text(head) if head else None
    if text is not None:
        return _text_type(text)
    return _audio_type(head) or _image_type(head) or container_type(head)


def _is_transport_stream(head: bytes) -> bool:
    if len(head) >= 188:
        return all(byte == 0x47 for byte in head[::188])
    return len(head) >= 4 and head[0] == 0x47 and bool(head[3] & 0x30) and not head[1] & 0x80


def _packed_audio(head: bytes, named: str) -> str:
    """Return the type of audio behind an ID3 tag (RFC 8216 section 3.4)."""
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return _audio_type(head[10 + size :]) or (named if named.startswith("audio/") else _AAC)


def _audio_type(head: bytes) -> str | None:
    """Return the type of an elementary stream of audio by its first frame header."""
    if head[:1] == b"\xff" and len(head) > 1 and head[1] & 0xE0 == 0xE0:
        return _AAC if head[1] & 0xF6 == 0xF0 else _MPEG_AUDIO if head[1] & 0x06 else None
    if head[:2] == b"\x0b\x77" and len(head) > 5:
        return "audio/eac3" if head[5] >> 3 > 10 else "audio/ac3"
    return None


def _image_type(head: bytes) -> str | None:
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return next((name for magic, name in _IMAGES if head.startswith(magic)), None)


def _text_type(text: str) -> str | None:
    """Return the type of subtitles or JSON. Other text may be data."""
    subtitles = SUBTITLES.match(text)
    if subtitles is not None:
        return "text/vtt" if subtitles[0].lstrip().startswith("WEBVTT") else "text/plain"
    return "application/json" if text.lstrip()[:1] in ("{", "[") else None
