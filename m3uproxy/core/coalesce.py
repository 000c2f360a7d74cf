"""Gathers packets into blocks: the number of writes is the cost of a relay, so few and large ones.

A block closes when :data:`BLOCK_LIMIT` bytes are waiting, when the caller flushes (on the shared tick), and in
front of every random access point, so that a joining player always starts at the first byte of a block.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from .mpegts.index import AccessPoint

#: Bytes that close a block. A block may exceed it by what one read brought.
BLOCK_LIMIT = 65_536


@attrs.frozen
class Cut:
    """Whole packets that leave together.

    ``psi`` holds the PAT and PMT packets in force at the first byte (empty while unknown); ``access`` says that
    the first packet is a random access point.
    """

    data: bytes
    psi: bytes = b""
    access: bool = False


class Coalescer:
    """Collects packets and cuts them into blocks."""

    def __init__(self, limit: int = BLOCK_LIMIT) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self._size = 0
        self._psi = b""
        self._access = False

    def add(self, packets: bytes, points: Iterable[AccessPoint], psi: bytes) -> list[Cut]:
        """Take whole packets; return the blocks that this closes.

        :param points: the random access points among ``packets``, in order.
        :param psi: PAT and PMT in force at the first byte of ``packets``.
        """
        cuts: list[Cut] = []
        start = 0
        for point in points:
            self._append(packets[start : point.offset], psi)
            cuts += self.flush()
            start, psi = point.offset, point.psi
            self._psi, self._access = psi, True
        self._append(packets[start:] if start else packets, psi)
        if self._size >= self._limit:
            cuts += self.flush()
        return cuts

    def flush(self) -> list[Cut]:
        """Close the block in hand, if there is anything in it."""
        if not self._size:
            return []
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        cut = Cut(data, self._psi, self._access)
        self._pieces, self._size, self._access = [], 0, False
        return [cut]

    def _append(self, packets: bytes, psi: bytes) -> None:
        if not packets:
            return
        if not self._size and not self._access:
            self._psi = psi
        self._pieces.append(packets)
        self._size += len(packets)
