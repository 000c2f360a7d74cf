"""Alignment: the bytes of a body in, whole transport stream packets out.

**The grid.** A packet starts with 0x47, but that byte is also common inside packets. A packet boundary is recognised by
the grid: sync bytes 188 bytes apart (ISO/IEC 13818-1, 2.4.3.2 and annex G.1). Each point of the grid must also look
like a header: no transport error, and not the reserved value of ``adaptation_field_control``.

**Acquiring the grid** takes three headers in a row. At the very start of a body two are enough, because a provider is
expected to begin with a whole packet. A trickle of single packets is then held back by one packet once, and never
again. HTML and random data pass neither test: at a given byte of random data, two headers have a probability of 1 in
466,000, three of 1 in 300 million.

**While locked**, one comparison of a stride over the chunk verifies all sync bytes. A complete packet at the end of a
chunk is returned at once, before the sync byte behind it has arrived.

**Losing the grid.** Bytes are missing somewhere before the first grid point without a sync byte. Mostly they are
missing from the packet before that point. One time in 256 a payload byte happens to stand in for a sync byte, and the
packet before that one is torn. The next grid decides: the packet in which it begins is the torn one. While the next
grid is not in sight, both packets count as torn. A good packet lost beside a torn one costs nothing more than the torn
one did; a torn packet that passes as whole makes decoders fail. A hole of a multiple of 188 bytes cannot be detected
here, because the grid stays the same.

**Larger packets.** Some sources send packets of 192 bytes (M2TS: a time code of 4 bytes in front) or of 204 bytes
(16 bytes of Reed-Solomon code behind). Their sync bytes are so far apart. The 188 bytes from each sync byte on are a
packet, and the others are left out. These grids are searched only where no grid of 188 bytes was found. The last
packet waits for its last byte or for the next time code.
"""

from __future__ import annotations

import re

from .packets import PACKET_SIZE, SYNC

_HEADER = rb"G[\x00-\x7f][\x00-\xff][\x10-\x3f\x50-\x7f\x90-\xbf\xd0-\xff]"


def _headers(count: int, size: int) -> re.Pattern[bytes]:
    """Return a pattern for headers of consecutive packets of a size."""
    return re.compile((rb"[\x00-\xff]{%d}" % (size - 4)).join([_HEADER] * count))


_TWO_HEADERS = _headers(2, PACKET_SIZE)
#: By the distance of sync bytes, the usual one first.
_THREE_HEADERS = {size: _headers(3, size) for size in (PACKET_SIZE, 192, 204)}

#: Bytes from the first header to the end of the third.
_THREE_HEADERS_SIZE = 2 * PACKET_SIZE + 4
#: Bytes that may be held back while acquiring.
_MAX_PENDING = 2 * max(_THREE_HEADERS) + 3


class Aligner:
    """An aligner that turns chunks of a body, cut anywhere, into runs of whole packets.

    :ivar locked: True if the last bytes fitted the grid.
    :ivar skipped: bytes dropped so far, over all bodies, without those around each larger packet.
    :ivar resyncs: losses of the grid so far, over all bodies.
    """

    __slots__ = ("_at_start", "_is_plain", "_pending", "_size", "locked", "resyncs", "skipped")

    def __init__(self) -> None:
        self.skipped = 0
        self.resyncs = 0
        self._pending = b""
        self.reset()

    @property
    def pending(self) -> int:
        """The number of bytes held back, at most 411."""
        return len(self._pending)

    def reset(self) -> None:
        """Start a new body. Drop the bytes held back from the last one."""
        self.skipped += len(self._pending)
        self._pending = b""
        self._at_start = True
        self._size = PACKET_SIZE
        self.locked = self._is_plain = False

    def feed(self, *pieces: bytes) -> bytes:
        """Take the next bytes of the body, in one piece or several.

        :return: the packets that are now complete, in order, without a gap where none was found; ``b""`` if there are
            none. The length is a multiple of 188, and every packet has its sync byte.
        """
        if self._is_plain:
            whole = self._join_whole(pieces)
            if whole is not None:
                return whole
        return self._realign(b"".join((self._pending, *pieces)))

    def _join_whole(self, pieces: tuple[bytes, ...]) -> bytes | None:
        """Return the pieces as whole packets, copied once, and keep the rest; None if the grid does not continue."""
        rest = (len(self._pending) + sum(map(len, pieces))) % PACKET_SIZE
        last = pieces[-1]
        end = len(last) - rest
        if end < 0:
            return None
        if rest or self._pending or len(pieces) > 1:
            data = b"".join((self._pending, *pieces[:-1], memoryview(last)[:end]))
        else:
            data = last
        sync_bytes = data[::PACKET_SIZE]
        if sync_bytes != SYNC * len(sync_bytes) or (rest and last[end : end + 1] != SYNC):
            return None
        self._pending = last[end:]
        return data

    def _split(self, data: bytes) -> bytes:
        """Return the whole packets, and keep the rest."""
        rest = len(data) % self._size
        if not rest:
            self._pending = b""
            return self._cut(data)
        self._pending = data[-rest:]
        return self._cut(data[:-rest])

    def _cut(self, data: bytes) -> bytes:
        """Return packets of any size as packets of 188 bytes."""
        if self._size == PACKET_SIZE:
            return data
        return b"".join([data[at : at + PACKET_SIZE] for at in range(0, len(data), self._size)])

    def _realign(self, data: bytes) -> bytes:
        aligned: list[bytes] = []
        at = 0
        while True:
            if not self.locked:
                at = self._acquire(data, at)
            if not self.locked:
                break
            sync_bytes = data[at :: self._size]
            good = len(sync_bytes) - len(sync_bytes.lstrip(SYNC))
            if good == len(sync_bytes):
                aligned.append(self._split(data[at:]))
                break
            at = self._lose(data, at, good, aligned)
        return b"".join(aligned)

    def _acquire(self, data: bytes, at: int) -> int:
        """Search for the grid from ``at`` on. Return the offset to continue at; bytes before it are consumed."""
        for size, pattern in _THREE_HEADERS.items():
            found = pattern.search(data, at)
            if found is None and size == PACKET_SIZE and self._at_start and len(data) < _THREE_HEADERS_SIZE:
                found = _TWO_HEADERS.match(data)
            if found is not None:
                self.skipped += found.start() - at
                self._lock(size)
                return found.start()
        keep = max(at, len(data) - _MAX_PENDING)
        self.skipped += keep - at
        self._pending = data[keep:]
        return keep

    def _lock(self, size: int) -> None:
        self._size = size
        self.locked = True
        self._is_plain = size == PACKET_SIZE
        self._at_start = False

    def _lose(self, data: bytes, at: int, good: int, aligned: list[bytes]) -> int:
        """Append the certainly whole packets of a grid that ends after ``good`` sync bytes to ``aligned``.

        :return: offset from which to search for the next grid.
        """
        self.resyncs += 1
        self.locked = self._is_plain = False
        whole_packets = max(good - 2, 0)
        begin = at + whole_packets * self._size + 1
        found = _THREE_HEADERS[self._size].search(data, begin)
        if found is not None:
            begin = found.start()
            whole_packets = max(min((begin - at) // self._size, good - 1), 0)
        end = at + whole_packets * self._size
        aligned.append(self._cut(data[at:end]))
        self.skipped += begin - end
        return begin
