"""The clip played for ever: one endless sequence of packets that everybody who tunes in sees the same part of.

Its bytes are counted without end: with clips of ``size`` bytes, byte ``n`` is byte ``n % size`` of loop
``n // size``. In each loop PCR, PTS and DTS are a period later than in the one before (33 bits, so they wrap after
26.5 hours) and the continuity counter of each PID goes on from where it stood. Loops before 0 exist too: a viewer
may ask for a burst of what was on before the provider started.

A replay of what was on is a span that begins earlier; one that is restamped or multiplexed anew goes through
:mod:`~m3uproxy.provider.remux` after it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict

from m3uproxy.provider.clip import PACKET, TICKS, Clip, read_pcr, read_stamp, write_pcr, write_stamp

#: Loops kept after use. Viewers are at the live edge or a burst behind it.
KEPT_LOOPS = 4


class Timeline:
    """The broadcast, before and behind every moment.

    :param clip: what is played.
    :param origin: added to every clock value, in ticks of 90 kHz; a test of the wrap starts near ``2**33``.
    """

    def __init__(self, clip: Clip, origin: int = 0) -> None:
        self.clip = clip
        self.origin = origin
        self._loops: OrderedDict[int, bytes] = OrderedDict()

    def due_at(self, seconds: float) -> int:
        """Bytes due by this moment: the place of the first packet that is not due yet."""
        loop, rest = divmod(seconds, self.clip.seconds)
        return (int(loop) * self.clip.packets + bisect_right(self.clip.due, rest)) * PACKET

    def prologue(self) -> bytes:
        """Nothing: tables come by themselves."""
        return b""

    def seconds_at(self, place: int) -> float:
        """When the packet at a place is due; :meth:`due_at` the other way round."""
        loop, rest = divmod(place // PACKET, self.clip.packets)
        return loop * self.clip.seconds + self.clip.due[rest]

    def clock_at(self, seconds: float) -> int:
        """What a PCR says at this moment, ticks of 90 kHz, not wrapped."""
        return self.origin + read_pcr(self.clip.data, self.clip.pcrs[0]) + round(seconds * TICKS)

    def span(self, first: int, last: int) -> bytes:
        """The bytes from place ``first`` up to ``last``; a place is a number of bytes and may be negative."""
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
