"""From the bytes of one source to blocks.

Bytes wait as they came until they are worth a block; only then are they joined, aligned and indexed, in one go. That
is less work than a little for each read, and each block is one allocation among few: joining pieces that had been
cut from reads left the heap half as large again as what was in it.
"""

from __future__ import annotations

from .coalesce import BLOCK_LIMIT, Cut, cut
from .mpegts.align import Aligner
from .mpegts.index import Index
from .mpegts.packets import PACKET_SIZE


class Intake:
    """Takes whatever a body brings and gives blocks of whole packets."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._aligner = Aligner()
        self._index = Index()
        self._pieces: list[bytes] = []
        self._size = 0
        self.packets = 0

    def feed(self, data: bytes) -> list[Cut]:
        """Take bytes of the body; return blocks if enough is waiting."""
        self._pieces.append(data)
        self._size += len(data)
        return self.flush() if self._size >= BLOCK_LIMIT else []

    def flush(self) -> list[Cut]:
        """Make blocks of all that is waiting, but for a last packet that is not whole yet."""
        if not self._size:
            return []
        pieces, self._pieces, self._size = self._pieces, [], 0
        packets = self._aligner.feed(*pieces)
        del pieces
        self.packets += len(packets) // PACKET_SIZE
        psi = self._index.psi
        return cut(packets, self._index.scan(packets), psi)

    def next_source(self) -> list[Cut]:
        """Another body begins: drop the torn packet of the last one, start afresh with the tables.

        :return: what was still waiting; it ends at a whole packet.
        """
        cuts = self.flush()
        self._begin()
        return cuts
