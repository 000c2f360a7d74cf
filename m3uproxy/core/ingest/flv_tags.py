"""The reader of FLV over HTTP: finds tags in a body that is cut at any byte, and classifies them.

Adobe Flash Video File Format Specification 10.1, annex E: a header of nine bytes, then tags, each followed by its own
length. Some providers send HEVC and other codecs as "codec 12"; Enhanced RTMP (version 1) names codecs by four letters.
"""

from __future__ import annotations

import re
from enum import Enum

import attrs

from .media_progress import MediaCount, TrackClock

AUDIO, VIDEO, SCRIPT = 8, 9, 18
#: Largest tag in bytes. A longer one is not a tag.
MAX_TAG_BYTES = 4 << 20

#: Bytes of a tag's own header, and of the length behind it.
_TAG_HEADER, _TAG_LENGTH = 11, 4
_FILE_HEADER = 9
#: Type, length, time, and the stream id, which is 0.
_TAG = re.compile(rb"[\x08\x09\x12][\x00-\xff]{7}\x00\x00\x00")
#: Video codecs whose tags have a packet type behind the codec: H.264, and HEVC and AV1 as some providers number them.
_TYPED_VIDEO = (7, 12, 13)
_AAC, _AUDIO_FOURCC = 10, 9
#: Bytes before the picture in a tag of a typed codec: codec, packet type, composition time.
_TYPED_PREFIX = 5
#: Bytes of a tag's headers before a picture, at most.
_MAX_PREFIX = 23


class FlvTagUse(Enum):
    """The purpose of a tag."""

    METADATA = "metadata"
    CONFIGURATION = "decoder configuration"
    KEY = "key picture"
    MEDIA = "picture or sound"
    END = "end of sequence"


@attrs.frozen
class FlvTag:
    """A tag with the length behind it.

    :ivar kind: :data:`AUDIO`, :data:`VIDEO` or :data:`SCRIPT`.
    :ivar codec: number or four letters of the codec; None for a tag of neither audio nor video.
    """

    kind: int
    use: FlvTagUse
    codec: int | bytes | None
    data: bytes

    @property
    def time(self) -> int:
        """The time in milliseconds (32 bits)."""
        return self.data[7] << 24 | int.from_bytes(self.data[4:7], "big")

    @property
    def is_media(self) -> bool:
        """True for a picture or sound; False for configuration, metadata, and tags without content."""
        size = len(self.data) - _TAG_HEADER - _TAG_LENGTH
        if self.kind == SCRIPT or self.use not in (FlvTagUse.KEY, FlvTagUse.MEDIA):
            return False
        return size > (_TYPED_PREFIX if self.kind == VIDEO and self.codec in _TYPED_VIDEO else 1)

    @property
    def delay(self) -> int:
        """The composition time in milliseconds: from decoding (the tag's time) to presentation."""
        if self.kind != VIDEO or len(self.data) < _MAX_PREFIX:
            return 0
        if self.codec in _TYPED_VIDEO:
            return int.from_bytes(self.data[13:16], "big", signed=True)
        if isinstance(self.codec, bytes) and self.data[_TAG_HEADER] & 15 == 1:
            return int.from_bytes(self.data[16:19], "big", signed=True)
        return 0

    def with_time(self, time: int) -> bytes:
        """Return the bytes of the same tag with another time."""
        low = (time & 0xFFFFFF).to_bytes(3, "big")
        return b"".join((self.data[:4], low, bytes([time >> 24 & 0xFF]), self.data[8:]))

    def has_same_content(self, other: FlvTag | None) -> bool:
        """Return True if the other tag differs at most in its time."""
        return other is not None and self.data[8:] == other.data[8:] and self.kind == other.kind


def read_tag(data: bytes) -> FlvTag:
    """Classify a whole tag."""
    kind, body = data[0], data[_TAG_HEADER : _TAG_HEADER + 16]
    if kind == SCRIPT:
        return FlvTag(kind, FlvTagUse.METADATA if b"onMetaData" in body else FlvTagUse.MEDIA, None, data)
    if len(body) - _TAG_LENGTH < 2:
        return FlvTag(kind, FlvTagUse.MEDIA, None, data)
    codec, packet_type = _audio_codec(body) if kind == AUDIO else _video_codec(body)
    if packet_type == 0:
        use = FlvTagUse.CONFIGURATION
    elif packet_type == 2:
        use = FlvTagUse.END
    else:
        use = FlvTagUse.KEY if kind == VIDEO and body[0] >> 4 & 7 == 1 else FlvTagUse.MEDIA
    return FlvTag(kind, use, codec, data)


def _audio_codec(body: bytes) -> tuple[int | bytes, int]:
    """Return codec and packet type: 0 is configuration, 2 the end of the sequence."""
    codec = body[0] >> 4
    if codec == _AUDIO_FOURCC:
        return body[1:5], body[0] & 15
    return codec, 0 if codec == _AAC and body[1] == 0 else 1


def _video_codec(body: bytes) -> tuple[int | bytes, int]:
    if body[0] & 0x80:
        return body[1:5], body[0] & 15
    codec = body[0] & 15
    return codec, body[1] if codec in _TYPED_VIDEO else 1


class FlvReader:
    """A reader of the tags of one body. Bytes between tags are skipped.

    :ivar count: tags found so far.
    :ivar media: bytes and seconds of pictures and sound so far.
    :ivar flags: flags of the file header: 4 for audio, 1 for video. Many files have wrong flags.
    """

    __slots__ = ("_clock", "_pending", "count", "flags", "media")

    def __init__(self) -> None:
        self._pending = b""
        self._clock = TrackClock(1000, 1 << 32)
        self.count = 0
        self.media = MediaCount()
        self.flags: int | None = None

    def feed(self, data: bytes, now: float = 0.0) -> list[FlvTag]:
        """
        Take more of the body. Return the tags that are now whole.

        :param now: monotonic seconds.
        """
        data = self._pending + data
        offset = 0
        if self.flags is None:
            if len(data) < _FILE_HEADER:
                self._pending = data
                return []
            self.flags, offset = data[4], _FILE_HEADER
        tags: list[FlvTag] = []
        while True:
            found = _TAG.search(data, offset)
            offset = max(offset, len(data) - _TAG_HEADER + 1) if found is None else found.start()
            end = None if found is None else self._tag_end(data, offset)
            if end is None:
                break
            if end:
                tags.append(read_tag(data[offset:end]))
            offset = end or offset + 1
        self._pending = data[offset:]
        self.count += len(tags)
        self._count_media(tags, now)
        return tags

    def _count_media(self, tags: list[FlvTag], now: float) -> None:
        media = self.media
        for tag in tags:
            if tag.is_media:
                media.size += len(tag.data)
                self._clock.add(tag.kind, tag.time, media.size, now)
        media.seconds = self._clock.seconds

    def _tag_end(self, data: bytes, offset: int) -> int | None:
        """Return the offset behind the tag at ``offset``; 0 if there is no tag, None if its end has not arrived."""
        size = _TAG_HEADER + int.from_bytes(data[offset + 1 : offset + 4], "big")
        if size > MAX_TAG_BYTES:
            return 0
        end = offset + size + _TAG_LENGTH
        if end > len(data):
            return None
        return end if int.from_bytes(data[end - _TAG_LENGTH : end], "big") == size else 0
