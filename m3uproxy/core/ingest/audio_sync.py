"""Synchronisation on bare audio frames (no container) in a body that begins, and is cut, at any byte.

The sync word of ADTS (ISO/IEC 13818-7, 6.2) and of MPEG audio (ISO/IEC 11172-3, 2.4.2.3) is common within frames. A
frame is therefore accepted only after three headers of one kind, each at the end of the frame before it. From then on a
frame is released when the header behind it is seen. If that header is missing, bytes were lost: the frame is torn and
dropped, and the search restarts behind its first byte.

The result does not depend on the cuts of the body. Undecided bytes are kept, at most three of the longest frames (24
kB).
"""

from __future__ import annotations

import re
from typing import Literal

import attrs

from ..mpegts.audio_frames import frame_header
from ..mpegts.timestamps import TICKS
from .media_progress import MediaCount

#: Bytes of a header that are read.
_HEADER_BYTES = 7
_SYNC = re.compile(rb"\xff[\xe0-\xff]")
#: Frames that must follow each other before the first one is accepted.
_CHAINED_HEADERS = 2


@attrs.frozen
class FrameKind:
    """The properties that all frames of a stream share.

    :ivar layer: 0 for ADTS; 1, 2 or 3 for MPEG audio.
    :ivar fixed_bits: header bits that stay the same from frame to frame.
    """

    layer: int
    fixed_bits: bytes


def _read_header(data: bytes, offset: int) -> tuple[int, FrameKind, float] | None:
    """Return length, kind and ticks of the frame whose header is at ``offset``; None if there is no header."""
    coded = data[offset + 1] >> 1 & 3
    header = frame_header(data, offset, "MPEG audio" if coded else "AAC")
    if header is None:
        return None
    size, ticks = header
    if coded:
        return size, FrameKind(4 - coded, bytes([data[offset + 1] & 0xFE, data[offset + 2] & 0x0C])), ticks
    return size, FrameKind(0, data[offset + 1 : offset + 3] + bytes([data[offset + 3] & 0xC0])), ticks


class AudioSync:
    """A reader of the frames of one body.

    :ivar count: frames released so far.
    :ivar media: bytes and seconds of these.
    :ivar kind: kind of the last frames found; None before the first.
    """

    __slots__ = ("_locked", "_pending", "_ticks", "count", "kind", "media")

    def __init__(self) -> None:
        self._pending = b""
        self._locked = False
        self._ticks = 0.0
        self.count = 0
        self.media = MediaCount()
        self.kind: FrameKind | None = None

    def feed(self, data: bytes) -> bytes:
        """Take more of the body. Return the whole frames that are verified."""
        data = self._pending + data
        frames: list[bytes] = []
        offset, locked = 0, self._locked
        while True:
            if not locked:
                offset, locked = self._find_first(data, offset)
            if not locked:
                break
            stop, locked = self._walk_frames(data, offset)
            frames.append(data[offset:stop])
            offset = stop
            if locked:
                break
            offset += 1
        self._pending, self._locked = data[offset:], locked
        return self._count_media(b"".join(frames))

    def flush(self) -> bytes:
        """End the body. Return its last frame if that is whole, without a header behind it."""
        rest, self._pending = self._pending, b""
        header = _read_header(rest, 0) if self._locked and len(rest) >= _HEADER_BYTES else None
        self._locked = False
        if header is None or len(rest) < header[0]:
            return b""
        self.count += 1
        self._ticks += header[2]
        return self._count_media(rest[: header[0]])

    def _count_media(self, frames: bytes) -> bytes:
        self.media.size += len(frames)
        self.media.seconds = self._ticks / TICKS
        return frames

    def _find_first(self, data: bytes, offset: int) -> tuple[int, bool]:
        """Search for a frame from ``offset`` on. Return the offset to continue at, and whether a frame begins there.

        Bytes before the returned offset are not needed any more. Bytes that look like a long frame stay undecided for
        long. The search continues behind them meanwhile, because a real frame there is verified no later.
        """
        first_undecided: int | None = None
        for sync in _SYNC.finditer(data, offset):
            start = sync.start()
            kind = self._verify(data, start)
            if kind is None and first_undecided is None:
                first_undecided = start
            if isinstance(kind, FrameKind):
                self.kind = kind
                return start, True
        return max(offset, len(data) - data.endswith(b"\xff")) if first_undecided is None else first_undecided, False

    def _verify(self, data: bytes, offset: int) -> FrameKind | Literal[False] | None:
        """Return the kind of the frames that begin at ``offset``; False if there are none, None while undecided."""
        kind: FrameKind | None = None
        for _ in range(_CHAINED_HEADERS + 1):
            if offset + _HEADER_BYTES > len(data):
                return None
            header = _read_header(data, offset)
            if header is None or kind not in (None, header[1]):
                return False
            offset, kind = offset + header[0], header[1]
        assert kind is not None
        return kind

    def _walk_frames(self, data: bytes, offset: int) -> tuple[int, bool]:
        """Go from frame to frame.

        Return the offset of the first frame that is not verified, and False if that frame is torn.
        """
        while offset + _HEADER_BYTES <= len(data):
            header = _read_header(data, offset)
            assert header is not None, "verified before"
            next_offset = offset + header[0]
            if next_offset + _HEADER_BYTES > len(data):
                return offset, True
            next_header = _read_header(data, next_offset)
            if next_header is None or next_header[1] != self.kind:
                return offset, False
            offset = next_offset
            self.count += 1
            self._ticks += header[2]
        return offset, True
