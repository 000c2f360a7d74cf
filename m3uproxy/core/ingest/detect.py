"""Detection of the format of a body, and the parser that hands each body to the parser of its format.

**Detection** uses the first bytes of the body. The provider's Content-Type is ignored, because it is wrong too often.
An FLV file has a signature. Transport stream packets have a grid, audio frames form a chain, and both may begin
anywhere. Small audio frames can follow each other within one packet of a transport stream, so the grid is tested first:
frames count only after so many bytes that a grid would have been found.

**A body of another format** cannot be spliced to the last one. It begins a new stream, and players must start again.
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
from .media_progress import MediaCount, MediaProgress
from .parser import CHUNK_BYTES, Chunk, Format, StreamParser
from .ts_parser import PacketObserver, TsParser

FLV_SIGNATURE = b"FLV\x01"
#: Bytes after which a packet grid would have been found, at any offset of the first packet.
_DETECTION_BYTES = 4 * PACKET_SIZE
#: Bytes of an undetected body that are kept. The reader of the body gives up long before.
_MAX_UNDETECTED_BYTES = 2 * CHUNK_BYTES


class FormatDetector:
    """A detector for the beginning of one body."""

    def __init__(self) -> None:
        self._aligner = Aligner()
        self._frames = AudioSync()
        self._start = b""
        self._size = 0

    def feed(self, data: bytes) -> Format | None:
        """Take the next bytes. Return the format, or None while it is undecided."""
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


class DetectingParser:
    """A parser for bodies of any format.

    :ivar format: format of the last bytes sent; None before the first.
    """

    def __init__(self, tail: Callable[[], bytes] = bytes, announce_codecs: bool = False) -> None:
        """Start without a source.

        :param tail: returns the last seconds that were sent, as whole units.
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
    def media(self) -> MediaProgress:
        """The media of the current body so far."""
        return MediaCount(False) if self._parser is None else self._parser.media

    @property
    def preamble(self) -> bytes:
        """The bytes that each player gets once, before its first block."""
        return b"" if self._last_parser is None else self._last_parser.preamble

    def feed(self, data: bytes, now: float) -> list[Chunk]:
        """Take bytes of the body. Return chunks if enough bytes are buffered.

        :param now: monotonic seconds.
        """
        if self._parser is not None:
            return self._parser.feed(data, now)
        self._pending += data
        return self.flush(now) if len(self._pending) >= CHUNK_BYTES else []

    def flush(self, now: float) -> list[Chunk]:
        """Return chunks of all whole units in the buffer."""
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
        """Show the packets of the current body to ``observer``, if it is a transport stream.

        See :attr:`m3uproxy.core.ingest.ts_parser.TsParser.observer`. None ends the observation.
        """
        if isinstance(self._parser, TsParser):
            self._parser.observer = observer

    def finish(self, now: float) -> list[Chunk]:
        """Return chunks of all that is held back: no bytes follow, of this body or another."""
        chunks = self.flush(now)
        return chunks if self._parser is None else chunks + self._parser.finish(now)

    def next_source(self, now: float) -> list[Chunk]:
        """Start the next body. Drop a torn unit of the last body and return its whole units."""
        chunks = [] if self._parser is None else self._parser.next_source(now)
        self._reset_source()
        return chunks

    def take_reports(self) -> list[SpliceReport]:
        """Return the splices since the last call, oldest first."""
        reports, self._reports = self._reports, []
        return reports if self._last_parser is None else reports + self._last_parser.take_reports()

    def _parser_for(self, detected: Format, now: float) -> StreamParser:
        """Return the last parser if it can continue with this format, else a new parser."""
        if self._last_parser is not None and detected is self.format:
            return self._last_parser
        parser = self._new_parser(detected)
        if self.format is None:
            parser.next_source(now)
        else:
            self._reports.append(
                SpliceReport(SpliceKind.FORMAT_CHANGE, 0.0, changed=(f"{self.format.value} to {detected.value}",))
            )
        self.format, self._last_parser = detected, parser
        return parser

    def _new_parser(self, detected: Format) -> StreamParser:
        if detected is Format.TS:
            return TsParser(self._tail, self._announce_codecs)
        return FlvParser() if detected is Format.FLV else AudioParser(self._tail)
