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
_MARKER_BYTES = 1024
#: Seconds and bytes for which a new source is kept back: what a server has gathered comes at once.
MAX_WAIT_SECONDS = 0.5
MAX_HELD_BYTES = 1 << 20


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
        self._marker = sent[-_MARKER_BYTES:]
        self._held = bytearray()
        self._searched = 0

    def push(self, frames: bytes, now: float) -> bytes | None:
        """Take whole frames; those to be sent from now on, or None while that is not known."""
        self._held += frames
        position = self._held.find(self._marker, self._searched) if len(self._marker) == _MARKER_BYTES else -1
        if position >= 0:
            self.dropped = position + _MARKER_BYTES
            return bytes(self._held[self.dropped :])
        self._searched = max(0, len(self._held) - _MARKER_BYTES + 1)
        if (
            len(self._marker) < _MARKER_BYTES
            or now - self.since >= MAX_WAIT_SECONDS
            or len(self._held) >= MAX_HELD_BYTES
        ):
            return self.flush()
        return None

    def flush(self) -> bytes:
        """It does not come again: all that is kept."""
        return bytes(self._held)


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
        self._reset_source()

    def _reset_source(self) -> None:
        self._sync = AudioSync()
        self._replay_filter: AudioReplayFilter | None = None
        self._awaiting_first_frame = True

    @property
    def packets(self) -> int:
        """Frames recognised in the present body."""
        return self._sync.count

    def flush(self, now: float) -> list[Chunk]:
        """All whole frames but the last, which is let go when the next one is seen."""
        pieces = self._take_pieces()
        return self._filter_replay(self._sync.feed(b"".join(pieces)), now) if pieces or self._replay_filter else []

    def next_source(self, now: float) -> list[Chunk]:
        """The last frame needs no next one."""
        chunks = self.flush(now) + self._filter_replay(self._sync.flush(), now)
        if self._replay_filter is not None:
            chunks += self._end_replay_filter(self._replay_filter.flush(), now)
        self._reset_source()
        return chunks

    def _filter_replay(self, frames: bytes, now: float) -> list[Chunk]:
        if self._awaiting_first_frame and frames:
            self._awaiting_first_frame = False
            self._start_body(now)
        if self._replay_filter is None:
            return [Chunk(frames, access=True)] if frames else []
        new_frames = self._replay_filter.push(frames, now)
        return [] if new_frames is None else self._end_replay_filter(new_frames, now)

    def _start_body(self, now: float) -> None:
        """The first frames of a body are there."""
        assert self._sync.kind is not None, "there are frames"
        layer, self._layer = self._layer, self._sync.kind.layer
        if layer is None:
            self._reports.append(SpliceReport(SpliceKind.PLAIN, 0.0))
        elif layer != self._layer:
            self._reports.append(
                SpliceReport(SpliceKind.CODEC_CHANGE, 0.0, changed=(f"layer {self._layer} for {layer}",))
            )
        else:
            self._replay_filter = AudioReplayFilter(self._tail(), now)

    def _end_replay_filter(self, frames: bytes, now: float) -> list[Chunk]:
        replay_filter, self._replay_filter = self._replay_filter, None
        assert replay_filter is not None
        kind = SpliceKind.FRAME if replay_filter.dropped is None else SpliceKind.OVERLAP
        self._reports.append(SpliceReport(kind, now - replay_filter.since, dropped=replay_filter.dropped or 0))
        return [Chunk(frames, access=True)] if frames else []
