"""Radio: a body of audio frames and nothing else, as Icecast and its kind send it. Every frame is a place to begin at.

There is no time in it and no table, so sources are joined by leaving out what is torn, and the player decodes on. A
server that sends its last seconds again to whoever connects is continued behind the last frame that was sent
(:mod:`~m3uproxy.core.ingest.audio_parser`).

Whether a new source of radio brings again what was sent: frames have no time, so their bytes are compared.

Servers send a few seconds at once to whoever connects, so that playing begins at once. After a reconnect they would be
heard twice.
"""

from __future__ import annotations

from collections.abc import Callable

from ..splice.plan import SpliceKind
from ..splice.splicer import SpliceReport
from .audio_sync import AudioSync
from .parser import BufferedParser, Chunk

#: Bytes of the end of what was sent that must come again.
_MARK = 1024
#: Seconds and bytes for which a new source is kept back: what a server has gathered comes at once.
LONGEST = 0.5
LARGEST = 1 << 20


class AudioReplayFilter:
    """Frames of a new source, kept until it is known where they go on from what was sent.

    :ivar since: when the first came, monotonic seconds.
    :ivar dropped: bytes that had been sent before; None if the end of what was sent did not come again.
    """

    def __init__(self, sent: bytes, since: float) -> None:
        """
        Compare with what was sent.

        :param sent: its last seconds, whole frames.
        """
        self.since = since
        self.dropped: int | None = None
        self._mark = sent[-_MARK:]
        self._kept = bytearray()
        self._searched = 0

    def push(self, frames: bytes, now: float) -> bytes | None:
        """Take whole frames; those to be sent from now on, or None while that is not known."""
        self._kept += frames
        found = self._kept.find(self._mark, self._searched) if len(self._mark) == _MARK else -1
        if found >= 0:
            self.dropped = found + _MARK
            return bytes(self._kept[self.dropped :])
        self._searched = max(0, len(self._kept) - _MARK + 1)
        if len(self._mark) < _MARK or now - self.since >= LONGEST or len(self._kept) >= LARGEST:
            return self.give_up()
        return None

    def give_up(self) -> bytes:
        """It does not come again: all that is kept."""
        return bytes(self._kept)


class AudioParser(BufferedParser):
    """See :class:`m3uproxy.core.ingest.parser.Part`."""

    preamble = b""

    def __init__(self, tail: Callable[[], bytes]) -> None:
        """
        Begin without a source.

        :param tail: gives the last seconds of what was sent.
        """
        super().__init__()
        self._tail = tail
        self._layer: int | None = None
        self._begin()

    def _begin(self) -> None:
        self._frames = AudioSync()
        self._replay: AudioReplayFilter | None = None
        self._new = True

    @property
    def packets(self) -> int:
        """Frames recognised in the present body."""
        return self._frames.count

    def flush(self, now: float) -> list[Chunk]:
        """All whole frames but the last, which is let go when the next one is seen."""
        pieces = self._gathered()
        return self._join(self._frames.feed(b"".join(pieces)), now) if pieces or self._replay else []

    def next_source(self, now: float) -> list[Chunk]:
        """The last frame needs no next one."""
        cuts = self.flush(now) + self._join(self._frames.finish(), now)
        if self._replay is not None:
            cuts += self._released(self._replay.give_up(), now)
        self._begin()
        return cuts

    def _join(self, frames: bytes, now: float) -> list[Chunk]:
        if self._new and frames:
            self._new = False
            self._open(now)
        if self._replay is None:
            return [Chunk(frames, access=True)] if frames else []
        new = self._replay.push(frames, now)
        return [] if new is None else self._released(new, now)

    def _open(self, now: float) -> None:
        """The first frames of a body are there."""
        assert self._frames.kind is not None, "there are frames"
        layer, self._layer = self._layer, self._frames.kind.layer
        if layer is None:
            self._reports.append(SpliceReport(SpliceKind.PLAIN, 0.0))
        elif layer != self._layer:
            self._reports.append(
                SpliceReport(SpliceKind.CODEC_CHANGE, 0.0, changed=(f"layer {self._layer} for {layer}",))
            )
        else:
            self._replay = AudioReplayFilter(self._tail(), now)

    def _released(self, new: bytes, now: float) -> list[Chunk]:
        replay, self._replay = self._replay, None
        assert replay is not None
        joined = SpliceKind.FRAME if replay.dropped is None else SpliceKind.OVERLAP
        self._reports.append(SpliceReport(joined, now - replay.since, dropped=replay.dropped or 0))
        return [Chunk(new, access=True)] if new else []
