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
_INDEX_RESET_KINDS = (SpliceKind.PLAIN, SpliceKind.CODEC_CHANGE)


class TsParser(BufferedParser):
    """Takes whatever bodies bring and gives blocks of whole packets: a :class:`m3uproxy.core.ingest.parser.Part`.

    :ivar packets: whole packets recognised in the present body.
    :ivar observer: called with the unchanged packets of the current body, some at a time: arrival time, packets, and
        the body's own PMT in force (None while unknown). It must not call back.
    """

    preamble = b""

    def __init__(self, tail: Callable[[], bytes] = bytes, announce_codecs: bool = False) -> None:
        """
        Begin without a source.

        :param tail: gives the last seconds of what was sent.
        :param announce_codecs: whether a source of other codecs is announced to the players, or passes as it is.
        """
        super().__init__()
        self._splicer = Splicer(tail, self._source_spliced, announce_codecs=announce_codecs)
        self._index = AccessIndex()
        self._reset_source()

    def _reset_source(self) -> None:
        self._aligner = Aligner()
        self.packets = 0
        self.observer: PacketObserver | None = None

    def flush(self, now: float) -> list[Chunk]:
        """Make blocks of all that is waiting, but for a last unit that is not whole yet."""
        if not self._size:
            return []
        pieces = self._take_pieces()
        packets = self._aligner.feed(*pieces)
        del pieces
        self.packets += len(packets) // PACKET_SIZE
        chunks = self._split(self._splicer.push(packets, now))
        if self.observer is not None:
            self.observer(now, packets, self._source_program())
        return chunks

    def next_source(self, now: float) -> list[Chunk]:
        """Another body begins: drop what is torn of the last one.

        :return: what was still waiting; it ends at a whole unit.
        """
        chunks = self.flush(now) + self._split(self._splicer.next_source(now))
        self._reset_source()
        return chunks

    def _source_program(self) -> ProgramMap | None:
        """The present body's own; what is sent has the same, unless it is changed to what the players know."""
        return None if self._splicer.splice_pending else self._splicer.program or self._index.program_map

    def _split(self, packets: bytes) -> list[Chunk]:
        if not packets:
            return []
        psi = self._index.psi
        return split_at_access_points(packets, self._index.scan(packets), psi)

    def _source_spliced(self, report: SpliceReport) -> None:
        self._reports.append(report)
        if report.kind in _INDEX_RESET_KINDS:
            self._index.reset()
