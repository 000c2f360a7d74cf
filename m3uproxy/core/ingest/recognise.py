"""What a body is, by its first bytes. What the provider calls it is not asked: that is wrong too often.

An FLV file says so in its first bytes. Packets have a grid, frames of audio have a chain; both may begin anywhere.
Packets carry frames of audio, which small ones follow each other within one packet, so the grid is asked first: frames
count only when so much has come that packets would have been recognised.
"""

from __future__ import annotations

from ..mpegts.align import Aligner
from ..mpegts.packets import PACKET_SIZE
from .audio_sync import AudioSync
from .parser import Format

FLV_SIGN = b"FLV\x01"
#: Bytes in which a grid shows, wherever the first packet begins.
_NO_PACKET = 4 * PACKET_SIZE


class FormatDetector:
    """Looks at the beginning of one body."""

    def __init__(self) -> None:
        self._aligner = Aligner()
        self._frames = AudioSync()
        self._start = b""
        self._size = 0

    def feed(self, data: bytes) -> Format | None:
        """Take the next bytes; None while it is not to be told."""
        self._start = (self._start + data)[: len(FLV_SIGN)]
        self._size += len(data)
        if self._start == FLV_SIGN:
            return Format.FLV
        self._aligner.feed(data)
        if self._aligner.locked:
            return Format.TS
        self._frames.feed(data)
        if self._frames.kind is None or self._size < _NO_PACKET:
            return None
        return Format.MPEG_AUDIO if self._frames.kind.layer else Format.ADTS
