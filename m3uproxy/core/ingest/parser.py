"""The small role that one kind of stream plays: bytes of one body after another in, blocks of whole units out.

Blocks: the packets (or tags, or frames of sound) that leave together.

The number of writes is the cost of a relay, so they are few and large.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import Enum
from typing import Protocol

import attrs

from ..mpegts.access_index import AccessPoint
from ..splice.splicer import SpliceReport

#: Bytes waiting that make a block. It may exceed that by what the reads of one interval brought.
CHUNK_BYTES = 65_536


@attrs.define
class Chunk:
    """Whole packets that leave together.

    ``psi`` holds the PAT and PMT packets in force at the first byte (empty while unknown; of FLV, what configures the
    decoders); ``access`` says that the first packet is a random access point.
    """

    data: bytes
    psi: bytes = b""
    access: bool = False


def split_at_access_points(packets: bytes, points: Sequence[AccessPoint], psi: bytes) -> list[Chunk]:
    """Cut whole packets in front of each random access point, so that a joining player starts with a block.

    :param points: the random access points among ``packets``, in order.
    :param psi: PAT and PMT in force at the first byte of ``packets``.
    """
    if not points:
        return [Chunk(packets, psi)] if packets else []
    chunks = [Chunk(packets[: points[0].offset], psi)] if points[0].offset else []
    ends = [point.offset for point in points[1:]] + [len(packets)]
    for point, end in zip(points, ends, strict=True):
        chunks.append(Chunk(packets[point.offset : end], point.psi, True))
    return chunks


class BufferedParser(ABC):
    """Lets the bytes of a body wait until they are worth a block; what it makes of them is for who derives from it."""

    def __init__(self) -> None:
        self._reports: list[SpliceReport] = []
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes, now: float) -> list[Chunk]:
        """Take bytes of the body; blocks if enough is waiting.

        :param now: monotonic seconds.
        """
        self._pieces.append(data)
        self._size += len(data)
        return self.flush(now) if self._size >= CHUNK_BYTES else []

    @abstractmethod
    def flush(self, now: float) -> list[Chunk]:
        """Make blocks of all whole units that are waiting."""

    def take_reports(self) -> list[SpliceReport]:
        """How bodies were joined to what was sent, since the last call."""
        reports, self._reports = self._reports, []
        return reports

    def _take_pieces(self) -> list[bytes]:
        """What was waiting."""
        pieces, self._pieces, self._size = self._pieces, [], 0
        return pieces


class Format(Enum):
    """What a body is by its bytes; the values are the Content-Type that players are told."""

    TS = "video/mp2t"
    ADTS = "audio/aac"
    MPEG_AUDIO = "audio/mpeg"
    FLV = "video/x-flv"


class StreamParser(Protocol):
    """Makes blocks of the bodies of one format. The times given are monotonic seconds."""

    @property
    def packets(self) -> int:
        """Whole units (packets, frames, tags) recognised in the present body."""

    @property
    def preamble(self) -> bytes:
        """What every player is sent first, once, whatever block it begins with."""

    def feed(self, data: bytes, now: float) -> list[Chunk]:
        """Take bytes of the body; blocks if enough is waiting."""

    def flush(self, now: float) -> list[Chunk]:
        """Make blocks of all whole units that are waiting."""

    def next_source(self, now: float) -> list[Chunk]:
        """Another body begins, also the first: drop what is torn of the last one, return what is whole."""

    def take_reports(self) -> list[SpliceReport]:
        """How bodies were joined to what was sent, since the last call."""
