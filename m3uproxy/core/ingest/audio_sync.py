"""Frames of audio that no container holds, found in a body that begins, and is cut, anywhere.

The sync of ADTS (ISO/IEC 13818-7, 6.2) and of MPEG audio (ISO/IEC 11172-3, 2.4.2.3) is common within frames too, so
it is believed when two frames in a row are as long as they say: three headers of one kind, each where the one before
it puts it. From then on a frame is let go when the header behind it is seen. If that is not there, bytes are missing,
the frame is torn and dropped, and the search begins anew behind its first byte.

Nothing depends on how the body is cut: while a question is open, the bytes wait (for three of the longest frames at
most, 24 kB).
"""

from __future__ import annotations

import re
from typing import Literal

import attrs

from ..mpegts.audio_frames import frame_size

#: Bytes of a header that are looked at.
_HEADER_BYTES = 7
_SYNC = re.compile(rb"\xff[\xe0-\xff]")
#: Frames that must follow each other before the first one is believed.
_CHAINED_HEADERS = 2


@attrs.frozen
class FrameKind:
    """What all frames of a stream have in common.

    :ivar layer: 0 for ADTS; of MPEG audio 1, 2 or 3.
    :ivar fixed_bits: the bits that do not change.
    """

    layer: int
    fixed_bits: bytes


def _read_header(data: bytes, offset: int) -> tuple[int, FrameKind] | None:
    """Length of the frame whose header stands there, and its kind; None if it is none."""
    coded = data[offset + 1] >> 1 & 3
    size = frame_size(data, offset, "MPEG audio" if coded else "AAC")
    if size is None:
        return None
    if coded:
        return size, FrameKind(4 - coded, bytes([data[offset + 1] & 0xFE, data[offset + 2] & 0x0C]))
    return size, FrameKind(0, data[offset + 1 : offset + 3] + bytes([data[offset + 3] & 0xC0]))


class AudioSync:
    """Finds the frames of one body.

    :ivar count: frames let go so far.
    :ivar kind: of those found last; None until there are any.
    """

    __slots__ = ("_locked", "_pending", "count", "kind")

    def __init__(self) -> None:
        self._pending = b""
        self._locked = False
        self.count = 0
        self.kind: FrameKind | None = None

    def feed(self, data: bytes) -> bytes:
        """Take more of the body; the whole frames that may go."""
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
        return b"".join(frames)

    def flush(self) -> bytes:
        """The body is over: its last frame, if that is whole. Nothing is expected behind it."""
        rest, self._pending = self._pending, b""
        header = _read_header(rest, 0) if self._locked and len(rest) >= _HEADER_BYTES else None
        self._locked = False
        if header is None or len(rest) < header[0]:
            return b""
        self.count += 1
        return rest[: header[0]]

    def _find_first(self, data: bytes, offset: int) -> tuple[int, bool]:
        """Look for a frame from ``at`` on; what lies before the offset returned is done with. Whether it is one.

        Bytes that look like a long frame are open for long. They do not keep from looking on: behind a real one
        nothing is certain sooner.
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
        """The kind of frames that begin there; False if none do, None while that is open."""
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
        """Go from frame to frame; the offset of the first that may not go, and whether it may later: it is not torn."""
        while offset + _HEADER_BYTES <= len(data):
            header = _read_header(data, offset)
            assert header is not None, "looked at before"
            next_offset = offset + header[0]
            if next_offset + _HEADER_BYTES > len(data):
                return offset, True
            next_header = _read_header(data, next_offset)
            if next_header is None or next_header[1] != self.kind:
                return offset, False
            offset = next_offset
            self.count += 1
        return offset, True
