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

FLV_SIGNATURE = b"FLV\x01"
#: Bytes in which a grid shows, wherever the first packet begins.
_DETECTION_BYTES = 4 * PACKET_SIZE


class FormatDetector:
    """Looks at the beginning of one body."""

    def __init__(self) -> None:
        self._aligner = Aligner()
        self._frames = AudioSync()
        self._start = b""
        self._size = 0

    def feed(self, data: bytes) -> Format | None:
        """Take the next bytes; None while it is not to be told."""
        self._start = (self._start + data)[: len(FLV_SIGNATURE)]
        self._size += len(data)
        if self._start == FLV_SIGNATURE:
            return Format.FLV
        self._aligner.feed(data)
        if self._aligner.locked:
            return Format.TS
        self._frames.feed(data)
        if self._frames.kind is None or self._size < _DETECTION_BYTES:
            return None
        return Format.MPEG_AUDIO if self._frames.kind.layer else Format.ADTS


#: Bytes of a body that are kept while it is not recognised; who reads it has given up long before.
_MAX_UNDETECTED_BYTES = 2 * CHUNK_BYTES


class DetectingParser:
    """Takes whatever bodies bring and gives blocks of whole units.

    :ivar format: of what was sent last; None if nothing was.
    """

    def __init__(self, tail: Callable[[], bytes] = bytes, announce_codecs: bool = False) -> None:
        """
        Begin without a source.

        :param tail: gives the last seconds of what was sent.
        :param announce_codecs: announce changed codecs of a transport stream to the players; else it passes unchanged.
        """
        self._tail = tail
        self._announce_codecs = announce_codecs
        self.format: Format | None = None
        self._last_parser: StreamParser | None = None
        self._reports: list[SpliceReport] = []
        self._reset_source()

    def _reset_source(self) -> None:
        self._parser: StreamParser | None = None
        self._detector = FormatDetector()
        self._undetected = b""
        self._pending = b""

    @property
    def packets(self) -> int:
        """Whole units recognised in the present body."""
        return 0 if self._parser is None else self._parser.packets

    @property
    def preamble(self) -> bytes:
        """What every player is sent first, once."""
        return b"" if self._last_parser is None else self._last_parser.preamble

    def feed(self, data: bytes, now: float) -> list[Chunk]:
        """Take bytes of the body; blocks if enough is waiting.

        :param now: monotonic seconds.
        """
        if self._parser is not None:
            return self._parser.feed(data, now)
        self._pending += data
        return self.flush(now) if len(self._pending) >= CHUNK_BYTES else []

    def flush(self, now: float) -> list[Chunk]:
        """Make blocks of all whole units that are waiting."""
        if self._parser is not None:
            return self._parser.flush(now)
        if not self._pending:
            return []
        data, self._pending = self._pending, b""
        detected = self._detector.feed(data)
        data = self._undetected + data
        if detected is None:
            self._undetected = data[-_MAX_UNDETECTED_BYTES:]
            return []
        self._parser, self._undetected = self._parser_for(detected, now), b""
        return self._parser.feed(data, now) + self._parser.flush(now)

    def observe(self, observer: PacketObserver | None) -> None:
        """Show the packets of the present body to ``look`` (:attr:`m3uproxy.core.ingest.ts_parser.TsParser.look`), if
        there are."""
        if isinstance(self._parser, TsParser):
            self._parser.observer = observer

    def next_source(self, now: float) -> list[Chunk]:
        """Another body begins: drop what is torn of the last one, return what is whole and was still waiting."""
        chunks = [] if self._parser is None else self._parser.next_source(now)
        self._reset_source()
        return chunks

    def take_reports(self) -> list[SpliceReport]:
        """How bodies were joined to what was sent, since the last call."""
        reports, self._reports = self._reports, []
        return reports if self._last_parser is None else reports + self._last_parser.take_reports()

    def _parser_for(self, detected: Format, now: float) -> StreamParser:
        """The part that made what was sent, if it can go on; else a new one."""
        if self._last_parser is not None and detected is self.format:
            return self._last_parser
        parser = self._new_parser(detected)
        if self.format is None:
            parser.next_source(now)
        else:
            self._reports.append(
                SpliceReport(SpliceKind.FORMAT_CHANGE, 0.0, changed=(f"{detected.value} for {self.format.value}",))
            )
        self.format, self._last_parser = detected, parser
        return parser

    def _new_parser(self, detected: Format) -> StreamParser:
        if detected is Format.TS:
            return TsParser(self._tail, self._announce_codecs)
        return FlvParser() if detected is Format.FLV else AudioParser(self._tail)
