"""The opening of a source: the packets held back until its plan was found, and the clocks chosen from them.

These packets may be megabytes. They are processed in parts, and a call leaves the rest to the next one. The offsets of
the clocks depend on all of these packets, so no packet is sent before all are filtered.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from ..mpegts.packets import PACKET_SIZE
from ..mpegts.pes import PesIndex, clock_packets, count_starts
from ..mpegts.timestamps import WRAP, ahead, read_pcr
from .packet_rewriter import PacketRewriter
from .plan import SplicePlan
from .splice_in import SpliceIn

#: Bytes of a part.
PART_BYTES = 700 * PACKET_SIZE
#: Bytes of the largest first picture that is never divided.
_MAX_PICTURE_BYTES = 22_000 * PACKET_SIZE


class PacketQueue:
    """Packets that were taken and wait, in order.

    :param data: the first packets; the queue changes them.
    :param whole: offsets of the first and last byte of packets that stay together, behind the last one.
    """

    def __init__(self, data: bytearray | None = None, whole: tuple[int, int] = (0, 0)) -> None:
        self._data = bytearray() if data is None else data
        self._whole = whole

    def __len__(self) -> int:
        return len(self._data)

    def append(self, packets: bytes) -> None:
        """Append packets."""
        self._data += packets

    def take(self, limit: int) -> bytes:
        """Remove and return the next part, at most ``limit`` bytes of it."""
        size = self._part_size()
        begin, end = self._whole
        size = min(size, limit, len(self._data))
        part = bytes(self._data[:size])
        del self._data[:size]
        self._whole = begin - size, end - size
        return part

    def _part_size(self) -> int:
        begin, end = self._whole
        if 0 < begin < PART_BYTES:
            return begin
        if begin <= 0 < end:
            return max(min(end, _MAX_PICTURE_BYTES), 1)
        return PART_BYTES


class ClockMargin:
    """The least distance from the clock to the DTS of a unit, in the source's own time.

    :ivar first: first value of the clock; None without one.
    """

    def __init__(self, clock: int, pids: Iterable[int]) -> None:
        self._clock, self._pids = clock, tuple(pids)
        self._value: int | None = None
        self._least: int | None = None
        self.first: int | None = None

    @property
    def least(self) -> int:
        """The least distance; 0 if unknown."""
        return self._least or 0

    def add(self, packets: bytes) -> None:
        """Take the next packets."""
        pes = PesIndex(packets)
        units = [(at, pid, number) for pid in self._pids for number, at in enumerate(pes.starts.get(pid, ()))]
        clocks = clock_packets(packets, self._clock, 0, len(packets))
        if clocks and self.first is None:
            self.first = read_pcr(packets, clocks[0])
        passed = 0
        for at, pid, number in sorted(units):
            while passed < len(clocks) and clocks[passed] <= at:
                self._value = read_pcr(packets, clocks[passed])
                passed += 1
            header = pes.header(pid, number) if self._value is not None else None
            if self._value is not None and header is not None and header.dts is not None:
                margin = ahead(header.dts, self._value)
                self._least = margin if self._least is None else min(margin, self._least)
        if passed < len(clocks):
            self._value = read_pcr(packets, clocks[-1])


@attrs.define
class Opening:
    """A source whose packets are filtered until its clocks can be chosen.

    :ivar plan: the plan of the splice.
    :ivar since: arrival of the first packets of the source, monotonic seconds.
    :ivar last_clock: last value of the clock that was sent.
    :ivar left: bytes to be filtered.
    """

    plan: SplicePlan
    since: float
    last_clock: int | None
    left: int
    margin: ClockMargin
    splice_in: SpliceIn

    @property
    def dropped(self) -> int:
        """The number of bytes that the filter dropped."""
        return self.splice_in.dropped

    def set_clocks(self, rewriter: PacketRewriter) -> None:
        """Choose offsets with which the clock neither steps back nor passes the timestamps that depend on it."""
        offset = self.plan.offset
        rewriter.set_offsets(offset, self.last_clock)
        if self.margin.first is None:
            return
        clock_offset = rewriter.decide_clock(self.margin.first)
        margin = self.margin.least
        late = ahead(clock_offset, offset) - margin
        if margin > 0 and late >= 0:
            rewriter.offset = (offset + late + 1) % WRAP


def part_cost(packets: bytes, is_starting: bool) -> int:
    """Return the cost of holding, filtering and rewriting packets.

    :param is_starting: True if a track has not started yet, so that packets are inspected one by one.
    """
    count = len(packets) // PACKET_SIZE
    return 30 + count // 4 + count_starts(packets) * (16 if is_starting else 8) + (2 * count if is_starting else 0)
