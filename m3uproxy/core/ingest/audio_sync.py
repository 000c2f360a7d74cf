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
_HEADER = 7
_SYNC = re.compile(rb"\xff[\xe0-\xff]")
#: Frames that must follow each other before the first one is believed.
_VERIFIED = 2


@attrs.frozen
class FrameKind:
    """What all frames of a stream have in common.

    :ivar layer: 0 for ADTS; of MPEG audio 1, 2 or 3.
    :ivar fixed: the bits that do not change.
    """

    layer: int
    fixed: bytes


def _header(data: bytes, at: int) -> tuple[int, FrameKind] | None:
    """Length of the frame whose header stands there, and its kind; None if it is none."""
    coded = data[at + 1] >> 1 & 3
    size = frame_size(data, at, "MPEG audio" if coded else "AAC")
    if size is None:
        return None
    if coded:
        return size, FrameKind(4 - coded, bytes([data[at + 1] & 0xFE, data[at + 2] & 0x0C]))
    return size, FrameKind(0, data[at + 1 : at + 3] + bytes([data[at + 3] & 0xC0]))


class AudioSync:
    """Finds the frames of one body.

    :ivar count: frames let go so far.
    :ivar kind: of those found last; None until there are any.
    """

    __slots__ = ("_locked", "_rest", "count", "kind")

    def __init__(self) -> None:
        self._rest = b""
        self._locked = False
        self.count = 0
        self.kind: FrameKind | None = None

    def feed(self, data: bytes) -> bytes:
        """Take more of the body; the whole frames that may go."""
        data = self._rest + data
        runs: list[bytes] = []
        at, locked = 0, self._locked
        while True:
            if not locked:
                at, locked = self._find(data, at)
            if not locked:
                break
            end, locked = self._walk(data, at)
            runs.append(data[at:end])
            at = end
            if locked:
                break
            at += 1
        self._rest, self._locked = data[at:], locked
        return b"".join(runs)

    def finish(self) -> bytes:
        """The body is over: its last frame, if that is whole. Nothing is expected behind it."""
        rest, self._rest = self._rest, b""
        header = _header(rest, 0) if self._locked and len(rest) >= _HEADER else None
        self._locked = False
        if header is None or len(rest) < header[0]:
            return b""
        self.count += 1
        return rest[: header[0]]

    def _find(self, data: bytes, at: int) -> tuple[int, bool]:
        """Look for a frame from ``at`` on; what lies before the offset returned is done with. Whether it is one.

        Bytes that look like a long frame are open for long. They do not keep from looking on: behind a real one
        nothing is certain sooner.
        """
        unsure: int | None = None
        for sync in _SYNC.finditer(data, at):
            begin = sync.start()
            kind = self._verify(data, begin)
            if kind is None and unsure is None:
                unsure = begin
            if isinstance(kind, FrameKind):
                self.kind = kind
                return begin, True
        return max(at, len(data) - data.endswith(b"\xff")) if unsure is None else unsure, False

    def _verify(self, data: bytes, at: int) -> FrameKind | Literal[False] | None:
        """The kind of frames that begin there; False if none do, None while that is open."""
        kind: FrameKind | None = None
        for _ in range(_VERIFIED + 1):
            if at + _HEADER > len(data):
                return None
            header = _header(data, at)
            if header is None or kind not in (None, header[1]):
                return False
            at, kind = at + header[0], header[1]
        assert kind is not None
        return kind

    def _walk(self, data: bytes, at: int) -> tuple[int, bool]:
        """Go from frame to frame; the offset of the first that may not go, and whether it may later: it is not torn."""
        while at + _HEADER <= len(data):
            header = _header(data, at)
            assert header is not None, "looked at before"
            after = at + header[0]
            if after + _HEADER > len(data):
                return at, True
            follows = _header(data, after)
            if follows is None or follows[1] != self.kind:
                return at, False
            at = after
            self.count += 1
        return at, True
