"""Takes bodies of any format that can be shared: finds out what each is, and leaves the work to the part for that.

A body of another format than what was sent cannot be joined to it. It begins a stream of its own, for which players
must begin anew.

What a body is, by its first bytes. What the provider calls it is not asked: that is wrong too often.

An FLV file says so in its first bytes. Packets have a grid, frames of audio have a chain; both may begin anywhere.
Packets carry frames of audio, which small ones follow each other within one packet, so the grid is asked first: frames
count only when so much has come that packets would have been recognised.
"""

from __future__ import annotations

from collections.abc import Callable

from ..mpegts.align import Aligner
from ..mpegts.packets import PACKET_SIZE
from ..splice.plan import SpliceKind
from ..splice.splicer import SpliceReport
from .audio_parser import AudioParser
from .audio_sync import AudioSync
from .flv_parser import FlvParser
from .parser import CHUNK_BYTES, Chunk, Format, StreamParser
from .ts_parser import PacketObserver, TsParser

FLV_SIGN = b"FLV\x01"
#: Bytes in which a grid shows, wherever the first packet begins.
_NO_PACKET = 4 * PACKET_SIZE


class FormatDetector:
    """Looks at the beginning of one body."""

    def __init__(self) -> None:
        self._aligner = Aligner()
        self._frames = AudioSync()
        self._start = b""
        self._size = 0

    def feed(self, data: bytes) -> Format | None:
        """Take the next bytes; None while it is not to be told."""
        self._start = (self._start + data)[: len(FLV_SIGN)]
        self._size += len(data)
        if self._start == FLV_SIGN:
            return Format.FLV
        self._aligner.feed(data)
        if self._aligner.locked:
            return Format.TS
        self._frames.feed(data)
        if self._frames.kind is None or self._size < _NO_PACKET:
            return None
        return Format.MPEG_AUDIO if self._frames.kind.layer else Format.ADTS


#: Bytes of a body that are kept while it is not recognised; who reads it has given up long before.
_MOST_UNKNOWN = 2 * CHUNK_BYTES


class DetectingParser:
    """Takes whatever bodies bring and gives blocks of whole units.

    :ivar format: of what was sent last; None if nothing was.
    """

    def __init__(self, tail: Callable[[], bytes] = bytes, carry_on: bool = False) -> None:
        """
        Begin without a source.

        :param tail: gives the last seconds of what was sent.
        :param carry_on: whether a transport stream of other codecs is announced to the players, or passes as it is.
        """
        self._tail = tail
        self._carry_on = carry_on
        self.format: Format | None = None
        self._last: StreamParser | None = None
        self._reports: list[SpliceReport] = []
        self._begin()

    def _begin(self) -> None:
        self._part: StreamParser | None = None
        self._recogniser = FormatDetector()
        self._unknown = b""
        self._waiting = b""

    @property
    def packets(self) -> int:
        """Whole units recognised in the present body."""
        return 0 if self._part is None else self._part.packets

    @property
    def preamble(self) -> bytes:
        """What every player is sent first, once."""
        return b"" if self._last is None else self._last.preamble

    def feed(self, data: bytes, now: float) -> list[Chunk]:
        """Take bytes of the body; blocks if enough is waiting.

        :param now: monotonic seconds.
        """
        if self._part is not None:
            return self._part.feed(data, now)
        self._waiting += data
        return self.flush(now) if len(self._waiting) >= CHUNK_BYTES else []

    def flush(self, now: float) -> list[Chunk]:
        """Make blocks of all whole units that are waiting."""
        if self._part is not None:
            return self._part.flush(now)
        if not self._waiting:
            return []
        data, self._waiting = self._waiting, b""
        found = self._recogniser.feed(data)
        data = self._unknown + data
        if found is None:
            self._unknown = data[-_MOST_UNKNOWN:]
            return []
        self._part, self._unknown = self._part_for(found, now), b""
        return self._part.feed(data, now) + self._part.flush(now)

    def watch(self, look: PacketObserver | None) -> None:
        """Show the packets of the present body to ``look`` (:attr:`m3uproxy.core.ingest.ts_parser.TsParser.look`), if
        there are."""
        if isinstance(self._part, TsParser):
            self._part.look = look

    def next_source(self, now: float) -> list[Chunk]:
        """Another body begins: drop what is torn of the last one, return what is whole and was still waiting."""
        cuts = [] if self._part is None else self._part.next_source(now)
        self._begin()
        return cuts

    def reports(self) -> list[SpliceReport]:
        """How bodies were joined to what was sent, since the last call."""
        reports, self._reports = self._reports, []
        return reports if self._last is None else reports + self._last.reports()

    def _part_for(self, found: Format, now: float) -> StreamParser:
        """The part that made what was sent, if it can go on; else a new one."""
        if self._last is not None and found is self.format:
            return self._last
        part = self._make(found)
        if self.format is None:
            part.next_source(now)
        else:
            self._reports.append(
                SpliceReport(SpliceKind.FORMAT_CHANGE, 0.0, changed=(f"{found.value} for {self.format.value}",))
            )
        self.format, self._last = found, part
        return part

    def _make(self, found: Format) -> StreamParser:
        if found is Format.TS:
            return TsParser(self._tail, self._carry_on)
        return FlvParser() if found is Format.FLV else AudioParser(self._tail)
