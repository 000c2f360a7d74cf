"""Check of the resources that a playlist names: is the body what the playlist promises, or a page?

An expired session, a full account or a blocked country is often answered with status 200 and an empty body, a page, a
line of text or another playlist. Players would be sent that as video. The body decides, not its ``Content-Type``.
"""

from __future__ import annotations

import re

import attrs

from ...errors import Reason, SourceError
from ..http.body_sniffing import SNIFF_BYTES, text_format
from .uri_rewriter import ResourceKind

#: Bytes of a key (AES-128), the shortest resource. Binary data is told from text by as many.
KEY_BYTES = 16
#: Kinds whose body is media, which is never text except for subtitles.
_MEDIA = frozenset({ResourceKind.SEGMENT, ResourceKind.MAP, ResourceKind.ASSET})
_CHECKED = _MEDIA | {ResourceKind.KEY}
#: Endings of subtitles. Packagers write an empty one if nobody speaks.
TEXT_ENDINGS = ("vtt", "webvtt", "srt", "ttml", "dfxp", "xml")
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0e-\x1f\x7f]")
#: Byte order marks and encodings of texts.
_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
#: WebVTT, SubRip, TTML.
SUBTITLES = re.compile(
    r"\s*(?:WEBVTT|(?:\d+\s+)?\d{1,3}:\d\d[\d:.,]*\s+-->|(?:<\?xml.*?)?(?:<!--.*?-->\s*)*<(?:\w+:)?tt[\s>])", re.DOTALL
)
#: Messages: several words, one word of an error, or a value of JSON. Other words may be data.
_MESSAGE = re.compile(
    r"\S+\s+\S|[\"'-]|.{0,400}(?:error|denied|forbid|unauth|expired|invalid|block|ban|offline|limit|max|fail|found|busy"
    r"|unavailable|connection|account)|(?:ok|null|none|true|false|undefined|nan|\d{0,15})$",
    re.IGNORECASE | re.DOTALL,
)
_HTML = re.compile(rb"(?:\xef\xbb\xbf|\s)*<(?:!doctype )?html", re.IGNORECASE)
#: The beginning of a body that is compressed, perhaps without a ``Content-Encoding``.
GZIP = b"\x1f\x8b\x08"
#: Bytes of text without a blank that are data, not a message.
_WORD_BYTES = 64
_SYNC = 0x47
_PACKET = 188


@attrs.frozen
class ResourceCheck:
    """
    The check of one resource by its first bytes.

    :ivar kind: the kind of the resource; None for a playlist.
    :ivar url: its URL; the ending tells subtitles.
    """

    kind: ResourceKind | None = None
    url: str = attrs.field(default="", repr=False)

    def is_decided(self, head: bytes) -> bool:
        """Return whether the first bytes suffice for :meth:`error`. Text needs more of them than binary data."""
        if len(head) < KEY_BYTES:
            return False
        if self.kind not in _CHECKED or len(head) >= SNIFF_BYTES or _is_transport_stream(head):
            return True
        text = "" if head.startswith(GZIP) else decode_text(head)
        if text is None or SUBTITLES.match(text):
            return True
        return len(text) >= _WORD_BYTES and self._page(head, 0) is None

    def error(self, head: bytes, first: int = 0) -> SourceError | None:
        """
        Return the error if a body is not what the playlist named.

        :param head: the first bytes, up to :data:`~m3uproxy.core.http.body_sniffing.SNIFF_BYTES`, or the whole body;
            decompressed if they begin with :data:`GZIP`.
        :param first: offset of the first byte, of a range. The middle of a file may be text.
        """
        if not head and self.kind in _CHECKED:
            return None if self._is_text else SourceError(Reason.TRUNCATED, "the provider sent an empty body")
        name = self._page(head, first)
        return None if name is None else SourceError(Reason.NOT_VIDEO, f"the provider sent {name}")

    def _page(self, head: bytes, first: int) -> str | None:
        """Return what is there instead of the resource; None if nothing is wrong."""
        if self.kind not in _CHECKED:
            return "HTML" if _HTML.match(head) else None
        if self.kind is ResourceKind.KEY and len(head) == KEY_BYTES:
            return None
        text = None if _is_transport_stream(head) else decode_text(head)
        if text is None or SUBTITLES.match(text):
            return None
        name = text_format(text.encode())
        if name is None and first == 0 and self.kind in _MEDIA and not self._is_text and _MESSAGE.match(text.strip()):
            return "text"
        return None if name == "a playlist" and self.kind is ResourceKind.ASSET else name

    @property
    def _is_text(self) -> bool:
        """True if the resource is named like subtitles."""
        path = self.url.partition("?")[0].lower()
        return self.kind is ResourceKind.SEGMENT and path.rpartition(".")[2] in TEXT_ENDINGS


def _is_transport_stream(head: bytes) -> bool:
    return len(head) >= _PACKET and all(byte == _SYNC for byte in head[::_PACKET])


def decode_text(head: bytes) -> str | None:
    """Return the beginning of a text in UTF-8, UTF-16 with its mark, or a Western code page; None for binary data."""
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            head = head[len(mark) :].decode(encoding, "replace").encode()
            break
    if _CONTROL.search(head):
        return None
    try:
        return head.decode()
    except UnicodeDecodeError as error:
        if error.start > len(head) - 4:  # in the last character
            return head[: error.start].decode()
    accents = sum(byte > 0x7F for byte in head)
    return head.decode("latin-1") if 8 * accents <= len(head) else None
