"""From the bytes of one source to blocks: alignment, index, coalescing, in this order."""

from __future__ import annotations

from .coalesce import Coalescer, Cut
from .mpegts.align import Aligner
from .mpegts.index import Index
from .mpegts.packets import PACKET_SIZE


class Intake:
    """Takes whatever a body brings and gives blocks of whole packets."""

    def __init__(self) -> None:
        self._aligner = Aligner()
        self._index = Index()
        self._coalescer = Coalescer()
        self.packets = 0

    def feed(self, data: bytes) -> list[Cut]:
        """Take bytes of the body; return the blocks that they complete."""
        packets = self._aligner.feed(data)
        if not packets:
            return []
        self.packets += len(packets) // PACKET_SIZE
        psi = self._index.psi
        return self._coalescer.add(packets, self._index.scan(packets), psi)

    def flush(self) -> list[Cut]:
        """Close the block in hand."""
        return self._coalescer.flush()

    def next_source(self) -> list[Cut]:
        """Another body begins: drop the torn packet of the last one, start afresh with the tables.

        :return: what was still waiting; it ends at a whole packet.
        """
        cuts = self.flush()
        self._aligner = Aligner()
        self._index = Index()
        self.packets = 0
        return cuts
