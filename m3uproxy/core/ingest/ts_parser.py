"""From the bytes of one source after another to the blocks of one transport stream.

Bytes wait as they came until they are worth a block; only then are they joined, aligned, spliced and indexed, in one
go. That is less work than a little for each read, and each block is one allocation among few: joining pieces that had
been cut from reads left the heap half as large again as what was in it.
"""

from __future__ import annotations

from collections.abc import Callable

from ..mpegts.access_index import AccessIndex
from ..mpegts.align import Aligner
from ..mpegts.packets import PACKET_SIZE
from ..mpegts.psi import ProgramMap
from ..splice.plan import SpliceKind
from ..splice.splicer import Splicer, SpliceReport
from .parser import BufferedParser, Chunk, split_at_access_points

PacketObserver = Callable[[float, bytes, ProgramMap | None], object]

#: Joins after which the tables and access points known so far say nothing about what comes.
_ANEW = (SpliceKind.PLAIN, SpliceKind.CODEC_CHANGE)


class TsParser(BufferedParser):
    """Takes whatever bodies bring and gives blocks of whole packets: a :class:`m3uproxy.core.ingest.parser.Part`.

    :ivar packets: whole packets recognised in the present body.
    :ivar look: is shown the packets of the present body as they came, before anything is changed, some at a time: when,
        the packets, and the body's own PMT in force (None while it is not known). It must not call back.
    """

    preamble = b""

    def __init__(self, tail: Callable[[], bytes] = bytes, carry_on: bool = False) -> None:
        """
        Begin without a source.

        :param tail: gives the last seconds of what was sent.
        :param carry_on: whether a source of other codecs is announced to the players, or passes as it is.
        """
        super().__init__()
        self._splicer = Splicer(tail, self._joined, carry_on=carry_on)
        self._index = AccessIndex()
        self._begin()

    def _begin(self) -> None:
        self._aligner = Aligner()
        self.packets = 0
        self.look: PacketObserver | None = None

    def flush(self, now: float) -> list[Chunk]:
        """Make blocks of all that is waiting, but for a last unit that is not whole yet."""
        if not self._size:
            return []
        pieces = self._gathered()
        packets = self._aligner.feed(*pieces)
        del pieces
        self.packets += len(packets) // PACKET_SIZE
        cuts = self._cut(self._splicer.push(packets, now))
        if self.look is not None:
            self.look(now, packets, self._program())
        return cuts

    def next_source(self, now: float) -> list[Chunk]:
        """Another body begins: drop what is torn of the last one.

        :return: what was still waiting; it ends at a whole unit.
        """
        cuts = self.flush(now) + self._cut(self._splicer.next_source(now))
        self._begin()
        return cuts

    def _program(self) -> ProgramMap | None:
        """The present body's own; what is sent has the same, unless it is changed to what the players know."""
        return None if self._splicer.joining else self._splicer.program or self._index.program_map

    def _cut(self, packets: bytes) -> list[Chunk]:
        if not packets:
            return []
        psi = self._index.psi
        return split_at_access_points(packets, self._index.scan(packets), psi)

    def _joined(self, report: SpliceReport) -> None:
        self._reports.append(report)
        if report.joined in _ANEW:
            self._index.reset()
