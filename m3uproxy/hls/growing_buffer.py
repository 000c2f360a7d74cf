"""The bytes of a body that is still arriving: written once by a download, read by many readers."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

#: Bytes from which a block is kept as received. Smaller blocks are joined, so that readers write large pieces.
BLOCK_BYTES = 65_536


class GrowingBuffer:
    """
    The bytes of a body that is still arriving, as a list of blocks. Each reader keeps a byte position of its own.

    :ivar size: bytes received so far.
    """

    def __init__(self) -> None:
        self.size = 0
        self._blocks: list[bytes] = []
        self._starts: list[int] = []
        self._settled_blocks = 0
        self._loose_bytes = 0

    def append(self, data: bytes) -> None:
        """Add bytes to the end; ``data`` must not be empty."""
        self._starts.append(self.size)
        self._blocks.append(data)
        self.size += len(data)
        self._loose_bytes += len(data)
        if self._loose_bytes >= BLOCK_BYTES:
            self.join_small_blocks()
            self._settled_blocks, self._loose_bytes = len(self._blocks), 0

    def join_small_blocks(self) -> None:
        """Join the small blocks at the end into one. Called before readers are notified."""
        if len(self._blocks) > self._settled_blocks + 1:
            self._blocks[self._settled_blocks :] = [b"".join(self._blocks[self._settled_blocks :])]
            del self._starts[self._settled_blocks + 1 :]

    def join_all(self, pieces: Sequence[bytes]) -> bytes:
        """Join the pieces of a reader. If they are the whole body, keep it as one block, which all readers share."""
        if sum(map(len, pieces)) != self.size or not self._blocks:
            return b"".join(pieces)
        if len(self._blocks) > 1:
            self._blocks, self._starts, self._settled_blocks = [b"".join(self._blocks)], [0], 1
        return self._blocks[0]

    def piece(self, position: int, stop: int) -> bytes:
        """Return bytes from ``position``, at most to ``stop``, of one block. A whole block is not copied."""
        index = bisect_right(self._starts, position) - 1
        start = self._starts[index]
        return self._blocks[index][position - start : stop - start]

    def read(self, start: int, stop: int) -> bytes:
        """Return all bytes from ``start`` to ``stop``."""
        pieces = []
        while start < stop:
            pieces.append(self.piece(start, stop))
            start += len(pieces[-1])
        return b"".join(pieces)
