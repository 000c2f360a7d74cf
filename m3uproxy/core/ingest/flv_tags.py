"""FLV as it comes over HTTP: its tags, found in a body that is cut anywhere, and what each of them is for.

Adobe Flash Video File Format Specification 10.1, annex E: a header of nine bytes, then tags, each followed by its own
length. HEVC and other codecs come as "codec 12" of some providers, or by four letters (Enhanced RTMP, version 1).
"""

from __future__ import annotations

import re
from enum import Enum

import attrs

AUDIO, VIDEO, SCRIPT = 8, 9, 18
#: No tag is longer, bytes; what says so is none.
LARGEST = 4 << 20

#: Bytes of a tag's own header, and of the length behind it.
_HEADER, _LENGTH = 11, 4
_FILE_HEADER = 9
#: Type, length, time, and the stream's number, which is 0.
_TAG = re.compile(rb"[\x08\x09\x12][\x00-\xff]{7}\x00\x00\x00")
#: Video codecs whose tags have a packet type behind the codec: H.264, and HEVC and AV1 as some providers number them.
_TYPED_VIDEO = (7, 12, 13)
_AAC, _AUDIO_BY_LETTERS = 10, 9
#: A tag with all that may stand before a picture.
_LONGEST_START = 23


class FlvTagUse(Enum):
    """What a tag is for."""

    METADATA = "metadata"
    CONFIGURATION = "what a decoder must know first"
    KEY = "key picture"
    MEDIA = "picture or sound"
    END = "end of sequence"


@attrs.frozen
class FlvTag:
    """One tag with the length behind it.

    :ivar kind: :data:`AUDIO`, :data:`VIDEO` or :data:`SCRIPT`.
    :ivar codec: its number, or its four letters; None for what is neither picture nor sound.
    """

    kind: int
    use: FlvTagUse
    codec: int | bytes | None
    data: bytes

    @property
    def time(self) -> int:
        """Milliseconds, of 32 bits."""
        return self.data[7] << 24 | int.from_bytes(self.data[4:7], "big")

    @property
    def delay(self) -> int:
        """Milliseconds from its time, at which a picture is decoded, until it is shown."""
        if self.kind != VIDEO or len(self.data) < _LONGEST_START:
            return 0
        if self.codec in _TYPED_VIDEO:
            return int.from_bytes(self.data[13:16], "big", signed=True)
        if isinstance(self.codec, bytes) and self.data[_HEADER] & 15 == 1:
            return int.from_bytes(self.data[16:19], "big", signed=True)
        return 0

    def at(self, time: int) -> bytes:
        """The bytes of the same tag at another time."""
        low = (time & 0xFFFFFF).to_bytes(3, "big")
        return b"".join((self.data[:4], low, bytes([time >> 24 & 0xFF]), self.data[8:]))

    def says_the_same(self, other: FlvTag | None) -> bool:
        """Whether the other one differs in its time at most."""
        return other is not None and self.data[8:] == other.data[8:] and self.kind == other.kind


def read_tag(data: bytes) -> FlvTag:
    """Look into a whole tag."""
    kind, body = data[0], data[_HEADER : _HEADER + 16]
    if kind == SCRIPT:
        return FlvTag(kind, FlvTagUse.METADATA if b"onMetaData" in body else FlvTagUse.MEDIA, None, data)
    if len(body) - _LENGTH < 2:
        return FlvTag(kind, FlvTagUse.MEDIA, None, data)
    codec, packet_type = _audio(body) if kind == AUDIO else _video(body)
    if packet_type == 0:
        use = FlvTagUse.CONFIGURATION
    elif packet_type == 2:
        use = FlvTagUse.END
    else:
        use = FlvTagUse.KEY if kind == VIDEO and body[0] >> 4 & 7 == 1 else FlvTagUse.MEDIA
    return FlvTag(kind, use, codec, data)


def _audio(body: bytes) -> tuple[int | bytes, int]:
    """Codec, and packet type: 0 is configuration, 2 the end."""
    codec = body[0] >> 4
    if codec == _AUDIO_BY_LETTERS:
        return body[1:5], body[0] & 15
    return codec, 0 if codec == _AAC and body[1] == 0 else 1


def _video(body: bytes) -> tuple[int | bytes, int]:
    if body[0] & 0x80:
        return body[1:5], body[0] & 15
    codec = body[0] & 15
    return codec, body[1] if codec in _TYPED_VIDEO else 1


class FlvReader:
    """Finds the tags of one body; what is none is left out.

    :ivar count: tags found so far.
    :ivar flags: of the file's header: 4 for sound, 1 for pictures. Many are wrong.
    """

    __slots__ = ("_rest", "count", "flags")

    def __init__(self) -> None:
        self._rest = b""
        self.count = 0
        self.flags: int | None = None

    def feed(self, data: bytes) -> list[FlvTag]:
        """Take more of the body; the tags that are whole."""
        data = self._rest + data
        at = 0
        if self.flags is None:
            if len(data) < _FILE_HEADER:
                self._rest = data
                return []
            self.flags, at = data[4], _FILE_HEADER
        tags: list[FlvTag] = []
        while True:
            found = _TAG.search(data, at)
            at = max(at, len(data) - _HEADER + 1) if found is None else found.start()
            end = None if found is None else self._end(data, at)
            if end is None:
                break
            if end:
                tags.append(read_tag(data[at:end]))
            at = end or at + 1
        self._rest = data[at:]
        self.count += len(tags)
        return tags

    def _end(self, data: bytes, at: int) -> int | None:
        """Where the tag ends; 0 if it is none, None if that has not come yet."""
        size = _HEADER + int.from_bytes(data[at + 1 : at + 4], "big")
        if size > LARGEST:
            return 0
        end = at + size + _LENGTH
        if end > len(data):
            return None
        return end if int.from_bytes(data[end - _LENGTH : end], "big") == size else 0
