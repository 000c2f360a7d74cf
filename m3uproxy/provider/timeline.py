"""The clip in an endless loop: one sequence of packets, the same for all viewers.

Bytes are counted without end: with clips of ``size`` bytes, byte ``n`` is byte ``n % size`` of loop ``n // size``. In
each loop PCR, PTS and DTS are a period later than in the loop before (33 bits, so they wrap after 26.5 hours). The
continuity counter of each PID continues. Loops before 0 exist too: a burst may start before the start of the provider.

A replay is a span that starts earlier. With ``restamp`` or ``remux``, :mod:`~m3uproxy.provider.remux` then changes the
span.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict

from m3uproxy.provider.clip import PACKET, TICKS, Clip, read_pcr, read_stamp, write_pcr, write_stamp

#: Loops in the cache. Viewers are at the live edge or a burst behind it.
KEPT_LOOPS = 4


class Timeline:
    """The broadcast at any time, past and future.

    :param clip: the content.
    :param origin: offset of all clock values in ticks of 90 kHz; near ``2**33`` it tests the wrap.
    """

    def __init__(self, clip: Clip, origin: int = 0) -> None:
        self.clip = clip
        self.origin = origin
        self._loops: OrderedDict[int, bytes] = OrderedDict()

    def due_at(self, seconds: float) -> int:
        """Return the bytes due by this time: the place of the first packet that is not due yet."""
        loop, rest = divmod(seconds, self.clip.seconds)
        return (int(loop) * self.clip.packets + bisect_right(self.clip.due, rest)) * PACKET

    def prologue(self) -> bytes:
        """Return no bytes: the tables are in the stream."""
        return b""

    def seconds_at(self, place: int) -> float:
        """Return the due time in seconds of the packet at a place: the inverse of :meth:`due_at`."""
        loop, rest = divmod(place // PACKET, self.clip.packets)
        return loop * self.clip.seconds + self.clip.due[rest]

    def clock_at(self, seconds: float) -> int:
        """Return the PCR at this time in ticks of 90 kHz, not wrapped."""
        return self.origin + read_pcr(self.clip.data, self.clip.pcrs[0]) + round(seconds * TICKS)

    def span(self, first: int, last: int) -> bytes:
        """Return the bytes from place ``first`` up to ``last``. A place is a number of bytes and may be negative."""
        pieces = []
        size = self.clip.packets * PACKET
        while first < last:
            loop, place = divmod(first, size)
            taken = min(last - first, size - place)
            pieces.append(self._loop(loop)[place : place + taken])
            first += taken
        return b"".join(pieces)

    def _loop(self, number: int) -> bytes:
        data = self._loops.get(number)
        if data is None:
            data = self._loops[number] = self._retimed(number)
            if len(self._loops) > KEPT_LOOPS:
                self._loops.popitem(last=False)
        return data

    def _retimed(self, number: int) -> bytes:
        clip = self.clip
        data = bytearray(clip.data)
        shift = self.origin + number * clip.period
        for at in clip.pcrs:
            write_pcr(data, at, read_pcr(data, at) + shift)
        for at in clip.stamps:
            write_stamp(data, at, read_stamp(data, at) + shift)
        for at, pid, ordinal in clip.counted:
            data[at + 3] = data[at + 3] & 0xF0 | (ordinal + number * clip.payloads[pid]) & 0x0F
        return bytes(data)
