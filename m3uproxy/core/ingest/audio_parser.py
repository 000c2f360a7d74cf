"""Radio: a body of audio frames and nothing else, as Icecast and its kind send it. Every frame is a place to begin at.

There is no time in it and no table, so sources are joined by leaving out what is torn, and the player decodes on. A
server that sends its last seconds again to whoever connects is continued behind the last frame that was sent
(:mod:`~m3uproxy.core.ingest.replay`).
"""

from __future__ import annotations

from collections.abc import Callable

from ..splice.plan import SpliceKind
from ..splice.splicer import SpliceReport
from .audio_sync import AudioSync
from .coalesce import BufferedParser, Chunk
from .replay import AudioReplayFilter


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
