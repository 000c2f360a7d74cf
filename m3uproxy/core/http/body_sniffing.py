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
_PAGE_TYPES = ("text/", "application/json", "application/xml", "application/xhtml+xml")
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

    Sources: ISO/IEC 14496-12 clause 4.3 (type of the first box), RFC 8794 section 11.2 (EBML, followed by the document
    type), RIFF, ISO/IEC 13818-1 clause 2.4.3.2 (a sync byte every 188 bytes).

    :param head: the first bytes; 400 are enough.
    """
    if head[4:8] == b"ftyp":
        return "video/mp4"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "video/webm" if b"webm" in head[:64] else "video/x-matroska"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "video/x-msvideo"
    return "video/mp2t" if len(head) > 376 and head[:377:188] == b"GGG" else None


def finite_body_error(length: int, content_type: str) -> SourceError:
    """
    Return the error for a body of known length that has no sign of a live stream.

    A page (no free connection, an expired account) may be replaced by video soon, a file will not. So their reasons
    differ.

    :param length: bytes of the body.
    :param content_type: the provider's ``Content-Type``.
    """
    if content_type.startswith(_PAGE_TYPES):
        return SourceError(Reason.NOT_VIDEO, f"the provider sent {content_type}, {length} bytes")
    return SourceError(Reason.NOT_LIVE, f"{length} bytes")
