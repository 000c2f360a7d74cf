"""The protocol of a stream parser, its output (chunks), and the buffer that all parsers share.

A parser takes the bytes of one body after another and returns chunks: packets, tags or frames of audio that leave
together. The number of writes is the cost of a relay, so chunks are few and large.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import Enum
from typing import Protocol

import attrs

from ..mpegts.access_index import AccessPoint
from ..splice.splicer import SpliceReport
from .media_progress import MediaProgress

#: Buffered bytes that make a chunk. A chunk may be larger by the reads of one interval.
CHUNK_BYTES = 65_536


class Format(Enum):
    """The format of a body, detected from its bytes. The values are the Content-Type for players."""

    TS = "video/mp2t"
    ADTS = "audio/aac"
    MPEG_AUDIO = "audio/mpeg"
    FLV = "video/x-flv"


@attrs.define
class Chunk:
    """Whole packets that leave together.

    :ivar data: the bytes.
    :ivar psi: packets of the PAT and PMT in force at the first byte; empty while unknown. For FLV, the tags that
        configure the decoders.
    :ivar access: True if the first packet is a random access point.
    """

    data: bytes
    psi: bytes = b""
    access: bool = False


def split_at_access_points(packets: bytes, points: Sequence[AccessPoint], psi: bytes) -> list[Chunk]:
    """Split whole packets before each random access point, so that a player that joins starts with a whole chunk.

    :param points: random access points in ``packets``, in order.
    :param psi: packets of the PAT and PMT in force at the first byte of ``packets``.
    """
    if not points:
        return [Chunk(packets, psi)] if packets else []
    chunks = [Chunk(packets[: points[0].offset], psi)] if points[0].offset else []
    ends = [point.offset for point in points[1:]] + [len(packets)]
    for point, end in zip(points, ends, strict=True):
        chunks.append(Chunk(packets[point.offset : end], point.psi, True))
    return chunks


class StreamParser(Protocol):
    """A parser for the bodies of one format. All times are monotonic seconds."""

    @property
    def media(self) -> MediaProgress:
        """The media of the current body so far, also those that were not returned."""

    @property
    def preamble(self) -> bytes:
        """The bytes that each player gets once, before its first block."""

    def feed(self, data: bytes, now: float) -> list[Chunk]:
        """Take bytes of the body. Return chunks if enough bytes are buffered."""

    def flush(self, now: float) -> list[Chunk]:
        """Return chunks of all whole units in the buffer."""

    def finish(self, now: float) -> list[Chunk]:
        """Return chunks of all that is held back: no bytes follow, of this body or another."""

    def next_source(self, now: float) -> list[Chunk]:
        """Start the next body, or the first one. Drop a torn unit of the last body and return its whole units."""

    def take_reports(self) -> list[SpliceReport]:
        """Return the splices since the last call, oldest first."""


class BufferedParser(ABC):
    """A base class that buffers the bytes of a body until they are large enough for a chunk."""

    def __init__(self) -> None:
        self._reports: list[SpliceReport] = []
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes, now: float) -> list[Chunk]:
        """Take bytes of the body. Return chunks if at least :data:`CHUNK_BYTES` are buffered.

        :param now: monotonic seconds.
        """
        self._pieces.append(data)
        self._size += len(data)
        return self.flush(now) if self._size >= CHUNK_BYTES else []

    @abstractmethod
    def flush(self, now: float) -> list[Chunk]:
        """Return chunks of all whole units in the buffer."""

    def finish(self, now: float) -> list[Chunk]:
        """Return chunks of all whole units: no bytes follow."""
        return self.flush(now)

    def take_reports(self) -> list[SpliceReport]:
        """Return the splices since the last call, oldest first."""
        reports, self._reports = self._reports, []
        return reports

    def _take_pieces(self) -> list[bytes]:
        """Return the buffered bytes and empty the buffer."""
        pieces, self._pieces, self._size = self._pieces, [], 0
        return pieces
