"""The small role that one kind of stream plays: bytes of one body after another in, blocks of whole units out."""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from ..splice.splicer import SpliceReport
from .coalesce import Chunk


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

    def reports(self) -> list[SpliceReport]:
        """How bodies were joined to what was sent, since the last call."""
