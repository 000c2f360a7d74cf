"""The parser of radio: a body of bare audio frames, as Icecast and similar servers send it.

A player can start at any frame.

Audio frames have no timestamps and no tables. Sources are joined by dropping torn frames; the decoder of the player
continues.

Most servers send a few seconds at once to each new connection, so that playback starts without delay. After a reconnect
these seconds would be heard twice. Because frames have no time, their bytes are compared: if the new body contains the
end of the audio already sent, playback continues behind it.
"""

from __future__ import annotations

from collections.abc import Callable

from ..splice.plan import SpliceKind
from ..splice.splicer import SpliceReport
from .audio_sync import AudioSync
from .media_progress import MediaProgress
from .parser import BufferedParser, Chunk

#: Bytes of the end of the sent audio that are searched for.
_MARKER_BYTES = 1024
#: Seconds and bytes for which a new source is held. A server sends its buffered seconds at once.
MAX_WAIT_SECONDS = 0.5
MAX_HELD_BYTES = 1 << 20


class AudioReplayFilter:
    """Frames of a new source, held until the end of the audio already sent is found in them.

    :ivar since: arrival of the first frames, monotonic seconds.
    :ivar dropped: bytes that were sent before; None if the end of the sent audio was not found.
    """

    def __init__(self, sent: bytes, since: float) -> None:
        """Compare with the audio already sent.

        :param sent: last seconds that were sent, whole frames.
        """
        self.since = since
        self.dropped: int | None = None
        self._marker = sent[-_MARKER_BYTES:]
        self._held = bytearray()
        self._searched = 0

    def push(self, frames: bytes, now: float) -> bytes | None:
        """Take whole frames. Return the frames to send from now on, or None while undecided."""
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
        """Return all held frames: the sent audio was not found in them."""
        return bytes(self._held)


class AudioParser(BufferedParser):
    """A :class:`m3uproxy.core.ingest.parser.StreamParser` for ADTS and MPEG audio."""

    preamble = b""

    def __init__(self, tail: Callable[[], bytes]) -> None:
        """Start without a source.

        :param tail: returns the last seconds that were sent, as whole frames.
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
    def media(self) -> MediaProgress:
        """The frames of the current body, also those that are held or were sent before."""
        return self._sync.media

    def flush(self, now: float) -> list[Chunk]:
        """Return all whole frames but the last, which is released when the header behind it is seen."""
        pieces = self._take_pieces()
        return self._filter_replay(self._sync.feed(b"".join(pieces)), now) if pieces or self._replay_filter else []

    def finish(self, now: float) -> list[Chunk]:
        """Return all frames, with the last one: no bytes follow."""
        return self.next_source(now)

    def next_source(self, now: float) -> list[Chunk]:
        """Start the next body. The last frame of the old body is released without a header behind it."""
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
        """Compare the kind of the first frames with the last source, and start the replay filter if they are alike."""
        assert self._sync.kind is not None, "there are frames"
        layer, self._layer = self._layer, self._sync.kind.layer
        if layer is None:
            self._reports.append(SpliceReport(SpliceKind.PLAIN, 0.0))
        elif layer != self._layer:
            changed = f"MPEG audio layer {layer} to layer {self._layer}"
            self._reports.append(SpliceReport(SpliceKind.CODEC_CHANGE, 0.0, changed=(changed,)))
        else:
            self._replay_filter = AudioReplayFilter(self._tail(), now)

    def _end_replay_filter(self, frames: bytes, now: float) -> list[Chunk]:
        replay_filter, self._replay_filter = self._replay_filter, None
        assert replay_filter is not None
        kind = SpliceKind.FRAME if replay_filter.dropped is None else SpliceKind.OVERLAP
        self._reports.append(SpliceReport(kind, now - replay_filter.since, dropped=replay_filter.dropped or 0))
        return [Chunk(frames, access=True)] if frames else []
