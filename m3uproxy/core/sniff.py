"""Is this video at all? Providers answer 200 with a login page, a JSON error or a playlist, and lie about types."""

from __future__ import annotations

from ..errors import Reason, SourceError

#: Bytes without one transport stream packet after which a body is given up.
PATIENCE = 65_536
#: Bytes of the beginning that are enough to judge by.
HEAD = 512

_SIGNS = (
    (b"<", "HTML or XML"),
    (b"{", "JSON"),
    (b"[", "JSON"),
    (b"#EXTM3U", "a playlist"),
)


def complaint(head: bytes, received: int, content_type: str) -> SourceError | None:
    """Why a body in which no packet has been recognised so far is no video, or None while that is open.

    :param head: the first bytes of the body, up to :data:`HEAD`.
    :param received: bytes received so far.
    :param content_type: as the provider claims; believed only together with a body that looks like text.
    """
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    for sign, name in _SIGNS:
        if text.startswith(sign):
            return SourceError(Reason.NOT_VIDEO, f"the provider sent {name}")
    if content_type.startswith("text/") and head and b"\0" not in head and received >= min(HEAD, PATIENCE):
        return SourceError(Reason.NOT_VIDEO, f"the provider sent {content_type}")
    if received >= PATIENCE:
        return SourceError(Reason.NOT_TRANSPORT_STREAM, f"no packet in the first {received} bytes")
    return None
