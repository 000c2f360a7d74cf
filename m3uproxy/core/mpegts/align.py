"""From the bytes of a body to whole transport stream packets.

**What is known.** A packet starts with 0x47, but that byte is also common inside packets. What tells a
packet boundary is the grid: sync bytes 188 apart (ISO/IEC 13818-1, 2.4.3.2 and annex G.1). Here a point of
the grid must also look like a header: no transport error, and not the reserved value of
``adaptation_field_control``.

**Acquiring.** Three headers in a row. At the very start of a body, where a provider is expected to begin
with a packet, two are enough, so that a trickle of single packets is held back by one packet once and never
again. A page of HTML or random data passes neither test: at a given byte of random data two headers are a
matter of 1 in 466,000, three of 1 in 300 million.

**Locked.** One comparison of a stride over the chunk. A complete packet at the end of a chunk goes out at
once, although nobody has yet seen the sync byte that must follow it.

**Losing.** Bytes are missing somewhere before the first point of the grid without a sync byte. Mostly they
are missing from the packet before it; but one time in 256 a payload byte happens to stand in for a sync
byte, and it was the packet before that. The next grid settles it: the packet in which it begins is the torn
one. While it is not in sight, both packets are held to be torn. A good packet lost beside a torn one costs
nothing that the torn one did not; a torn packet passed off as whole makes decoders fail. What cannot be
noticed here is a hole of a multiple of 188 bytes, which leaves the grid as it was.
"""

from __future__ import annotations

import re

from m3uproxy.core.mpegts.packets import PACKET_SIZE, SYNC

_HEADER = rb"G[\x00-\x7f][\x00-\xff][\x10-\x3f\x50-\x7f\x90-\xbf\xd0-\xff]"
_GAP = rb"[\x00-\xff]{%d}" % (PACKET_SIZE - 4)
_TWO_HEADERS = re.compile(_HEADER + _GAP + _HEADER)
_THREE_HEADERS = re.compile(_HEADER + _GAP + _HEADER + _GAP + _HEADER)

#: Bytes from the first to the end of the third header: the most that acquiring ever keeps is one byte less.
_THREE_HEADERS_SIZE = 2 * PACKET_SIZE + 4


class Aligner:
    """Turns chunks of a body, cut anywhere, into runs of whole packets.

    :ivar locked: whether the last bytes fitted the grid.
    :ivar skipped: bytes dropped so far, over all bodies.
    :ivar resyncs: how often the grid was lost so far, over all bodies.
    """

    __slots__ = ("_at_start", "_pending", "locked", "resyncs", "skipped")

    def __init__(self) -> None:
        self.skipped = 0
        self.resyncs = 0
        self._pending = b""
        self.reset()

    @property
    def pending(self) -> int:
        """Bytes held back, 379 at most."""
        return len(self._pending)

    def reset(self) -> None:
        """A new body begins; what is left of the one before is dropped."""
        self.skipped += len(self._pending)
        self._pending = b""
        self._at_start = True
        self.locked = False

    def feed(self, *pieces: bytes) -> bytes:
        """Take the next bytes of the body, in one piece or several.

        :return: the packets now complete, in order, without a gap where none was found; ``b""`` if there are
            none. Its length is a multiple of 188 and every packet in it has its sync byte.
        """
        if self.locked:
            whole = self._join_whole(pieces)
            if whole is not None:
                return whole
        return self._realign(b"".join((self._pending, *pieces)))

    def _join_whole(self, pieces: tuple[bytes, ...]) -> bytes | None:
        """The pieces as whole packets, copied once, and the rest put aside; None if the grid does not go on."""
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
        rest = len(data) % PACKET_SIZE
        if not rest:
            self._pending = b""
            return data
        self._pending = data[-rest:]
        return data[:-rest]

    def _realign(self, data: bytes) -> bytes:
        aligned: list[bytes] = []
        at = 0
        while True:
            if not self.locked:
                at = self._acquire(data, at)
            if not self.locked:
                break
            sync_bytes = data[at::PACKET_SIZE]
            good = len(sync_bytes) - len(sync_bytes.lstrip(SYNC))
            if good == len(sync_bytes):
                aligned.append(self._split(data[at:]))
                break
            at = self._lose(data, at, good, aligned)
        return b"".join(aligned)

    def _acquire(self, data: bytes, at: int) -> int:
        """Look for the grid from ``at`` on; what lies before the offset returned is done with."""
        found = _THREE_HEADERS.search(data, at)
        if found is None and self._at_start and len(data) < _THREE_HEADERS_SIZE:
            found = _TWO_HEADERS.match(data)
        if found is not None:
            self.skipped += found.start() - at
            self.locked = True
            self._at_start = False
            return found.start()
        keep = max(at, len(data) - _THREE_HEADERS_SIZE + 1)
        self.skipped += keep - at
        self._pending = data[keep:]
        return keep

    def _lose(self, data: bytes, at: int, good: int, aligned: list[bytes]) -> int:
        """Keep what is surely whole of a grid that ends after ``good`` sync bytes.

        :return: the offset to look for the next grid from.
        """
        self.resyncs += 1
        self.locked = False
        whole_packets = max(good - 2, 0)
        begin = at + whole_packets * PACKET_SIZE + 1
        found = _THREE_HEADERS.search(data, begin)
        if found is not None:
            begin = found.start()
            whole_packets = max(min((begin - at) // PACKET_SIZE, good - 1), 0)
        end = at + whole_packets * PACKET_SIZE
        aligned.append(data[at:end])
        self.skipped += begin - end
        return begin
