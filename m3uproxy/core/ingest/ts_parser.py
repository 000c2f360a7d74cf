"""The parser of transport streams: bytes of one source after another in, chunks of one transport stream out.

Bytes are buffered as read until they make a chunk. Only then are they joined, aligned, spliced and indexed, in one
pass. One pass over a chunk is less work than a little for each read. Each chunk is also one allocation: when pieces cut
from single reads were joined, the heap grew to one and a half times its contents.

No chunk is returned before the body has brought pictures or sound. What comes before, without padding, precedes them.
"""

from __future__ import annotations

from collections.abc import Callable

from ..mpegts.access_index import AccessIndex
from ..mpegts.align import Aligner
from ..mpegts.packets import PACKET_SIZE
from ..mpegts.psi import ProgramMap
from ..mpegts.psi_tables import PsiTables
from ..splice.plan import SpliceKind
from ..splice.splicer import Splicer, SpliceReport
from .parser import BufferedParser, Chunk, split_at_access_points
from .ts_media import TsMediaMeter, without_null_packets

#: Bytes before the first media that are kept, the latest ones: program tables come several times a second.
_MAX_LEAD_BYTES = 1024 * PACKET_SIZE

PacketObserver = Callable[[float, bytes, ProgramMap | None], object]

#: Splices after which the known tables and access points no longer apply.
_INDEX_RESET_KINDS = (SpliceKind.PLAIN, SpliceKind.CODEC_CHANGE)


class TsParser(BufferedParser):
    """A :class:`m3uproxy.core.ingest.parser.StreamParser` for MPEG-2 transport streams.

    :ivar media: the media of the current body, also while its splice is pending.
    :ivar observer: called with the unchanged packets of the current body, some at a time: arrival time, packets, and
        the body's own PMT in force (None while unknown). The observer must not call back.
    """

    preamble = b""

    def __init__(self, tail: Callable[[], bytes] = bytes, announce_codecs: bool = False) -> None:
        """Start without a source.

        :param tail: returns the last seconds that were sent, as whole packets.
        :param announce_codecs: announce changed codecs of a source to the players; else the source passes unchanged.
        """
        super().__init__()
        self._index = AccessIndex()
        self._splicer = Splicer(
            tail, self._source_spliced, announce_codecs=announce_codecs, program=lambda: self._program
        )
        self._reset_source()

    def _reset_source(self) -> None:
        self._aligner = Aligner()
        self.media = TsMediaMeter()
        self._lead = b""
        self.observer: PacketObserver | None = None

    def flush(self, now: float) -> list[Chunk]:
        """Return chunks of the buffered bytes, except for an incomplete last unit."""
        if not self._size:
            # A join may be unfinished although all packets are there.
            return self._split(self._splicer.push(b"", now)) if self._splicer.is_busy else []
        pieces = self._take_pieces()
        packets = self._aligner.feed(*pieces)
        del pieces
        had_media = self.media.size > 0
        self.media.add(packets, now)
        if not had_media:
            packets = self._after_lead(packets)
        chunks = self._split(self._splicer.push(packets, now))
        if self.observer is not None:
            self.observer(now, packets, self._source_program())
        return chunks

    def finish(self, now: float) -> list[Chunk]:
        """Return chunks of all whole packets, also of an incomplete last unit: no bytes follow."""
        return self.flush(now) + self._split(self._splicer.flush(now))

    def next_source(self, now: float) -> list[Chunk]:
        """Start the next body. Drop a torn unit of the last body.

        :return: the buffered rest of the last body; it ends with a whole unit.
        """
        chunks = self.flush(now) + self._split(self._splicer.next_source(now))
        self._reset_source()
        return chunks

    @property
    def _program(self) -> int | None:
        """The number of the program that players follow."""
        return None if self._index.program_map is None else self._index.program_map.program

    def _after_lead(self, packets: bytes) -> bytes:
        """Keep packets before the first media. With the first media, return both."""
        if not self.media.size:
            self._lead = (self._lead + without_null_packets(packets))[-_MAX_LEAD_BYTES:]
            return b""
        lead, self._lead = self._lead, b""
        return lead + packets

    def _source_program(self) -> ProgramMap | None:
        """Return the PMT of the current body; None while the splice is pending.

        The rewriter knows the source's own PMT. Without a rewriter the sent PMT is the same.
        """
        return None if self._splicer.splice_pending else self._splicer.program or self._index.program_map

    def _split(self, packets: bytes) -> list[Chunk]:
        if not packets:
            return []
        psi = self._index.psi
        points = self._index.scan(packets)
        if points and points[0].offset < 0:
            del points[0]  # a picture that an earlier chunk did not show is no place to start
        return split_at_access_points(packets, points, psi)

    def _source_spliced(self, report: SpliceReport) -> None:
        self._reports.append(report)
        if report.kind in _INDEX_RESET_KINDS:
            self._follow(self._splicer.tables)

    def _follow(self, tables: PsiTables | None) -> None:
        """Begin to index another source, whose tables may be known before they come."""
        self._index.reset(None if tables is None else tables.program.program, is_certain=True)
        if tables is not None:
            self._index.scan(tables.pat + tables.pmt)
