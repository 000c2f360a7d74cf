"""The ring of one stream: the last few seconds as immutable blocks that all readers share.

Blocks are numbered from 0 for as long as the stream runs. The position of a reader is a block number. Two limits bound
the ring: seconds of media at the measured bitrate, and bytes. The limit in seconds always keeps the newest complete
group of pictures, because a player needs one to join at. The limit in bytes has no such exception.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Protocol

import attrs

from .ingest.parser import Chunk

#: A number of bytes that is never reached.
NO_LIMIT = 1 << 62
#: Seconds of arrival that make one sample.
_SAMPLE_SECONDS = 1.0
#: Weight of a new sample.
_SAMPLE_WEIGHT = 0.2


class Bitrate:
    """A moving average over about five seconds, in bytes per second.

    A pause longer than one second counts as one second. An outage of the provider must not lower the bitrate of the
    media, or the ring would drop blocks that it should keep.
    """

    def __init__(self) -> None:
        self.value = 0.0
        self.known = False
        self._last: float | None = None
        self._bytes = 0
        self._elapsed = 0.0

    def add(self, size: int, now: float) -> None:
        """Count ``size`` bytes that arrived at ``now`` (monotonic seconds)."""
        if self._last is not None:
            self._elapsed += min(now - self._last, _SAMPLE_SECONDS)
            self._bytes += size
        self._last = now
        if self._elapsed >= _SAMPLE_SECONDS:
            self._sample(self._bytes / self._elapsed)

    def _sample(self, rate: float) -> None:
        self.value = self.value + _SAMPLE_WEIGHT * (rate - self.value) if self.known else rate
        self.known = True
        self._bytes, self._elapsed = 0, 0.0


@attrs.define(eq=False)
class Block:
    """Whole packets (or frames, or tags) at one position of the stream.

    :ivar data: the bytes.
    :ivar psi: packets of the PAT and PMT in force at the first byte; empty while unknown.
    :ivar access: True if the first packet is a random access point.
    :ivar time: arrival, monotonic seconds.
    :ivar position: bytes of the stream before this block.
    """

    data: bytes
    psi: bytes
    access: bool
    time: float
    position: int


class Ring:
    """A window on a stream, written at the live edge and read at any block.

    :ivar first: number of the oldest block in the ring.
    :ivar size: bytes in the ring.
    :ivar position: bytes of the stream so far.
    :ivar held: number of the oldest block that a reader still needs, whatever the limits; None for none. The caller
        bounds the bytes behind it.
    """

    def __init__(self, seconds: float, max_bytes: int) -> None:
        """Make an empty ring.

        :param seconds: media to keep, in seconds at the measured bitrate.
        :param max_bytes: hard limit in bytes.
        """
        self._seconds = seconds
        self._max_bytes = max_bytes
        self._share = NO_LIMIT
        self._blocks: deque[Block] = deque()
        self._access_points: deque[int] = deque()
        self._bitrate = Bitrate()
        self.held: int | None = None
        self.first = 0
        self.size = 0
        self.position = 0

    @property
    def next(self) -> int:
        """The number of the next block to be appended: the live edge."""
        return self.first + len(self._blocks)

    @property
    def start(self) -> int:
        """The position of the oldest block: bytes of the stream before it."""
        return self.position - self.size

    @property
    def capacity(self) -> int:
        """The most bytes that the ring may hold."""
        return min(self._max_bytes, self._share)

    @property
    def bitrate(self) -> float:
        """Bytes per second over the last seconds; 0 while unknown."""
        return self._bitrate.value

    @property
    def access_points(self) -> int:
        """The number of blocks that begin with a random access point."""
        return len(self._access_points)

    @property
    def min_size(self) -> int:
        """Bytes from the start of the newest complete group of pictures to the live edge."""
        if not self._access_points:
            return 0
        group_start = self._access_points[-2] if len(self._access_points) > 1 else self._access_points[-1]
        return self.position - self[group_start].position

    def __getitem__(self, number: int) -> Block:
        """Return the block of this number, which must still be in the ring."""
        return self._blocks[number - self.first]

    def append(self, chunk: Chunk, now: float) -> Block:
        """Add a block at the live edge and drop the oldest blocks above the limits."""
        block = self._add(chunk, now)
        self._bitrate.add(len(chunk.data), now)
        if self._bitrate.known:
            limit = int(self._bitrate.value * self._seconds)
            if limit > self._share:
                limit = self._share
            if self.size > limit:
                self.shrink(limit)
        return block

    def append_filler(self, data: bytes, now: float) -> Block:
        """Add padding packets at the live edge. Padding must not count in the bitrate, which sizes the ring."""
        return self._add(Chunk(data), now)

    def silence(self, now: float) -> float:
        """Return the seconds since the last block; 0 if the ring is empty."""
        return now - self._blocks[-1].time if self._blocks else 0.0

    def tail(self, limit: int) -> bytes:
        """Return the newest whole blocks, at most ``limit`` bytes together."""
        first = len(self._blocks)
        for block in reversed(self._blocks):
            limit -= len(block.data)
            if limit < 0:
                break
            first -= 1
        return b"".join(block.data for block in islice(self._blocks, first, None))

    def shrink(self, limit: int) -> None:
        """Drop the oldest blocks down to ``limit`` bytes, but keep one group of pictures."""
        self._drop_to(max(limit, self.min_size))

    def set_share(self, share: int) -> None:
        """Shrink to a number of bytes, and stay at or below it from now on, but keep one group of pictures."""
        self._share = share
        if self.size > share:
            self.shrink(share)

    def clear(self) -> None:
        """Drop all blocks. Block numbers and positions continue."""
        self.held = None
        self._drop_to(0, keep=0)
        self._bitrate = Bitrate()

    def join_point(self, now: float, back: float, wait: float, size: int = 0) -> int | None:
        """Return the number of the block at which a player that joins now starts; None if the player must wait.

        The result is the newest random access point that is at least ``back`` seconds old and ``size`` bytes behind the
        live edge, else the oldest one. If the stream has shown no random access point for ``wait`` seconds, a player
        may start at any block.
        """
        if self._access_points:
            return self._latest_before(now - back, self.position - size)
        if self._blocks and now - self._blocks[0].time >= wait:
            return self._any_before(now - back)
        return None

    def _add(self, chunk: Chunk, now: float) -> Block:
        block = Block(chunk.data, chunk.psi, chunk.access, now, self.position)
        if chunk.access:
            self._access_points.append(self.next)
        self._blocks.append(block)
        self.size += len(chunk.data)
        self.position += len(chunk.data)
        if self.size > self._max_bytes:
            self._drop_to(self._max_bytes)
        return block

    def _latest_before(self, moment: float, position: int) -> int:
        for number in reversed(self._access_points):
            block = self[number]
            if block.time <= moment and block.position <= position:
                return number
        return self._access_points[0]

    def _any_before(self, moment: float) -> int:
        """Choose a block of a stream without random access points: from a PAT on, if there is one."""
        best = None
        for offset, block in enumerate(self._blocks):
            if block.psi and (best is None or block.time <= moment):
                best = self.first + offset
        return self.first if best is None else best

    def _drop_to(self, limit: int, keep: int = 1) -> None:
        blocks = self._blocks
        while self.size > limit and len(blocks) > keep and self.first != self.held:
            self.size -= len(blocks.popleft().data)
            self.first += 1
        while self._access_points and self._access_points[0] < self.first:
            self._access_points.popleft()


class MemoryHolder(Protocol):
    """A part of the proxy that holds media."""

    @property
    def size(self) -> int:
        """Bytes that it holds."""

    def set_share(self, share: int) -> None:
        """Hold no more than a number of bytes from now on, but the minimum that playing needs."""


def share_memory(holders: Sequence[MemoryHolder], limit: int) -> None:
    """Let the holders have ``limit`` bytes together. Each gets the same share, of which small holders use a part.

    If there are bytes to spare, they are divided. Each holder keeps its minimum, so the sum may exceed the limit.
    """
    sizes = sorted(holder.size for holder in holders)
    remaining, share = limit, 0
    for position, size in enumerate(sizes):
        share = max(0, remaining // (len(sizes) - position))
        remaining -= min(size, share)
    if remaining > 0:
        share = sizes[-1] + remaining // len(sizes) if sizes else 0
    for holder in holders:
        holder.set_share(share)
