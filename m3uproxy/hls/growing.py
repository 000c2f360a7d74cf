"""A body that is read from while it is still arriving."""

from __future__ import annotations

from bisect import bisect_right

#: Bytes from which on a block is left as it is; smaller ones are joined, so that readers write large pieces.
BLOCK = 65_536


class GrowingBuffer:
    """Blocks in a row. Readers have positions of their own, counted in bytes from the beginning.

    :ivar size: bytes so far.
    """

    def __init__(self) -> None:
        self.size = 0
        self._blocks: list[bytes] = []
        self._starts: list[int] = []
        self._firm = 0
        self._loose = 0

    def append(self, data: bytes) -> None:
        """Some more of it, never nothing."""
        self._starts.append(self.size)
        self._blocks.append(data)
        self.size += len(data)
        self._loose += len(data)
        if self._loose >= BLOCK:
            self.settle()
            self._firm, self._loose = len(self._blocks), 0

    def settle(self) -> None:
        """Join the small pieces that came last into one, for readers that are about to take them."""
        if len(self._blocks) > self._firm + 1:
            self._blocks[self._firm :] = [b"".join(self._blocks[self._firm :])]
            del self._starts[self._firm + 1 :]

    def piece(self, position: int, stop: int) -> bytes:
        """Some bytes from ``position`` on, up to ``stop``: the rest of a block, which readers share."""
        index = bisect_right(self._starts, position) - 1
        start = self._starts[index]
        return self._blocks[index][position - start : stop - start]

    def whole(self, start: int, stop: int) -> bytes:
        """All bytes from ``start`` to ``stop``, in one piece."""
        pieces = []
        while start < stop:
            pieces.append(self.piece(start, stop))
            start += len(pieces[-1])
        return b"".join(pieces)
