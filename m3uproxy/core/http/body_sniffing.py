"""Body sniffing: is a body a stream, a file or a page?

Providers answer 200 with a login page, a JSON error or a playlist. The ``Content-Type`` alone proves nothing, because
providers send wrong ones.
"""

from __future__ import annotations

import re

from ...errors import Reason, SourceError

#: Bytes without a transport stream packet, FLV tag or audio frame after which a body is no stream.
MAX_UNRECOGNISED_BYTES = 65_536
#: Bytes of the beginning that are examined.
SNIFF_BYTES = 512

#: Signatures of text formats. They are long enough that the middle of a stream hardly ever matches.
_TEXT_SIGNATURES = (
    (re.compile(rb"<(?:[A-Za-z!?]|$)"), "HTML or XML"),
    (re.compile(rb"#EXTM3U|\[playlist\]|https?://", re.IGNORECASE), "a playlist"),
    (re.compile(rb'\{\s*(?:["}]|$)|\[\s*(?:["\]{\d]|$)'), "JSON"),
)
#: Beginnings of the ``Content-Type`` of pages.
PAGE_TYPES = ("text/", "application/json", "application/xml", "application/xhtml+xml")
_CONTAINERS = (
    (b"\x00\x00\x01\xba", "video/mpeg"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "video/x-ms-asf"),
    (b"fLaC", "audio/flac"),
)
#: Type of a transport stream of 192-byte packets. A live one is cut to packets of 188 bytes.
M2TS_TYPE = "video/vnd.dlna.mpeg-tts"
#: First sync byte and size of the packets of a transport stream: plain, and with a time stamp (M2TS).
_GRIDS = ((0, 188, "video/mp2t"), (4, 192, M2TS_TYPE))
_QUICKTIME_BOXES = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip"})
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1f]")


def body_error(head: bytes, received: int, content_type: str) -> SourceError | None:
    """
    Return the error if a body without a recognised format is no stream; None while that is open.

    :param head: the first bytes of the body, up to :data:`SNIFF_BYTES`.
    :param received: bytes received so far.
    :param content_type: the provider's ``Content-Type``; it counts only if the body looks like text.
    """
    name = text_format(head)
    if name is not None:
        return SourceError(Reason.NOT_VIDEO, f"the provider sent {name}")
    if (
        content_type.startswith("text/")
        and head
        and b"\0" not in head
        and received >= min(SNIFF_BYTES, MAX_UNRECOGNISED_BYTES)
    ):
        return SourceError(Reason.NOT_VIDEO, f"the provider sent {content_type}")
    if received >= MAX_UNRECOGNISED_BYTES:
        return SourceError(
            Reason.NOT_TRANSPORT_STREAM, f"no TS packet, FLV tag or audio frame in the first {received} bytes"
        )
    return None


def text_format(head: bytes) -> str | None:
    """Return the format of a text by its first bytes: HTML or XML, a playlist, JSON; None for any other body."""
    if _BINARY.search(head):
        return None
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    return next((name for signature, name in _TEXT_SIGNATURES if signature.match(text)), None)


def container_type(head: bytes) -> str | None:
    """
    Return the media type of a file by its first bytes; None if it is unknown.

    Sources: ISO/IEC 14496-12 clause 4.3 (type of the first box; QuickTime files may begin with others), RFC 8794
    section 11.2 (EBML, followed by the document type), RIFF, ISO/IEC 13818-1 clauses 2.4.3.2 (a sync byte every 188
    bytes) and 2.5.3.4 (pack header of a program stream), ASF header object, FLAC stream marker.

    :param head: the first bytes; 400 are enough.
    """
    if head[4:8] == b"ftyp":
        return "video/quicktime" if head[8:12] == b"qt  " else "video/mp4"
    if head[4:8] in _QUICKTIME_BOXES and head[:2] == b"\0\0":
        return "video/quicktime"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "video/webm" if b"webm" in head[:64] else "video/x-matroska"
    if head[:4] == b"RIFF":
        return {b"AVI ": "video/x-msvideo", b"WAVE": "audio/wav"}.get(head[8:12])
    found = next((media_type for magic, media_type in _CONTAINERS if head.startswith(magic)), None)
    for start, size, name in _GRIDS:
        if found is None and head[start : start + 2 * size + 1 : size] == b"GGG":
            found = name
    return found


def is_image(head: bytes) -> bool:
    """Return whether a body is a picture: JPEG, PNG, GIF."""
    return head.startswith((b"\xff\xd8\xff", b"\x89PNG", b"GIF8"))
