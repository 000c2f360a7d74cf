"""Is this a stream at all? Providers answer 200 with a login page, a JSON error or a playlist, and lie about types."""

from __future__ import annotations

import re

from ...errors import Reason, SourceError

#: Bytes without one transport stream packet, FLV tag or frame of audio after which a body is given up.
MAX_UNRECOGNISED_BYTES = 65_536
#: Bytes of the beginning that are enough to judge by.
SNIFF_BYTES = 512

#: A stream may begin in the middle of anything, with these bytes too; but hardly with so many of them.
_SIGNS = (
    (re.compile(rb"<(?:[A-Za-z!?]|$)"), "HTML or XML"),
    (re.compile(rb"#EXTM3U|\[playlist\]|https?://", re.IGNORECASE), "a playlist"),
    (re.compile(rb'\{\s*(?:["}]|$)|\[\s*(?:["\]{\d]|$)'), "JSON"),
)
_PAGES = ("text/", "application/json", "application/xml", "application/xhtml+xml")
_NO_TEXT = re.compile(rb"[\x00-\x08\x0e-\x1f]")


def body_error(head: bytes, received: int, content_type: str) -> SourceError | None:
    """Why a body in which nothing has been recognised so far is no stream, or None while that is open.

    :param head: the first bytes of the body, up to :data:`SNIFF_BYTES`.
    :param received: bytes received so far.
    :param content_type: as the provider claims; believed only together with a body that looks like text.
    """
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if not _NO_TEXT.search(head):
        for sign, name in _SIGNS:
            if sign.match(text):
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
            Reason.NOT_TRANSPORT_STREAM, f"no packet, no FLV tag, no frame of audio in the first {received} bytes"
        )
    return None


def container_type(head: bytes) -> str | None:
    """The media type of a film by its first bytes, 400 are enough; None if it is none that is known.

    ISO/IEC 14496-12 clause 4.3 (the type of the first box), RFC 8794 section 11.2 (EBML, the type of document close
    behind), RIFF, ISO/IEC 13818-1 clause 2.4.3.2 (a sync byte every 188).
    """
    if head[4:8] == b"ftyp":
        return "video/mp4"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "video/webm" if b"webm" in head[:64] else "video/x-matroska"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "video/x-msvideo"
    return "video/mp2t" if len(head) > 376 and head[:377:188] == b"GGG" else None


def finite_body_error(length: int, content_type: str) -> SourceError:
    """Why a body that says how long it is, where nothing else says that it is live, is no stream.

    A page (no connection is free, an account has run out) may give way to video soon; a file will not.

    :param content_type: as the provider claims.
    """
    if content_type.startswith(_PAGES):
        return SourceError(Reason.NOT_VIDEO, f"the provider sent {content_type}, {length} bytes")
    return SourceError(Reason.NOT_LIVE, f"{length} bytes")
