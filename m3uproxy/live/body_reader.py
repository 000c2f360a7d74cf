"""Reads one body on the shared tick and judges its first bytes."""

from __future__ import annotations

from typing import Protocol

from zope.interface import implementer

from ..core.http.body_sniffing import SNIFF_BYTES, body_error
from ..errors import Reason, SourceError
from ..interfaces import IDiscontinuityConsumer, IResponseBody, IStreamSink
from .read_scheduler import LITTLE, MUCH, STEPS, ReadScheduler


class BodyReaderOwner(Protocol):
    """Who wants to know how a body fares."""

    def source_started(self) -> None:
        """The first packet of the body has been recognised."""

    def data_received(self) -> None:
        """Packets came; called often, so it should do next to nothing."""

    def discontinuity(self) -> None:
        """The first packet behind a seam within the body has been recognised."""

    def source_ended(self, error: SourceError) -> None:
        """The body is over, or is no video. Nothing follows."""


@implementer(IDiscontinuityConsumer)
class BodyReader:
    """From an open body to the sink, in pieces as large as one reactor turn brings.

    Keeps its owner informed until ``close()``.
    """

    def __init__(self, body: IResponseBody, sink: IStreamSink, tick: ReadScheduler, owner: BodyReaderOwner) -> None:
        self._body = body
        self._sink = sink
        self._tick = tick
        self._owner = owner
        self._pieces: list[bytes] = []
        self._head = b""
        self._proven = False
        self._over = False
        self._reading = False
        self._opening = True
        self._ran = True
        self._changed = False
        self._interval = 0
        self._streak = 0
        self._flushed = 0
        self._packets = 0
        self.received = 0

    def start(self) -> None:
        """Take the body, as it comes at first."""
        self._sink.source_changed()
        if self._over:
            return
        self._tick.take(self, STEPS)
        self._body.deliver(self)

    def move(self, sink: IStreamSink) -> None:
        """From now on what comes goes there."""
        self._sink = sink
        self._packets = 0

    def close(self) -> None:
        """Stop reading, for good; closing the body itself is the owner's."""
        self._over = True
        self._pieces.clear()
        self._tick.forget(self)

    def body_received(self, data: bytes) -> None:
        """Keep the piece until the turn, or our own read, is over."""
        if self._over:
            return
        self._pieces.append(data)
        self.received += len(data)
        if not self._reading:
            self._tick.has_read(self)

    def discontinuity(self) -> None:
        """Hand on what is left, then begin anew, as with another body."""
        if self._over:
            return
        self._pass_on()
        if not self._over:
            self._sink.source_changed()
            self._packets = 0
            self._changed = self._proven

    def body_ended(self, error: SourceError) -> None:
        """Hand on what is left, then tell how the body ended."""
        if self._over:
            return
        self._pass_on()
        if not self._over:
            self.close()
            self._owner.source_ended(error)

    def turn_ended(self) -> None:
        """The reactor reads for us, until a turn brings little, or at the beginning until a viewer has a block."""
        size = self._pass_on()
        self._ran = True
        if self._over or self._interval:
            return
        if self._opening and self._sink.waiting and size:
            return
        if self._opening or size < LITTLE:
            interval = self._pause()
            if interval:
                self._tick.take(self, interval)

    def _pause(self) -> int:
        """From now on the tick says when to read; first after the interval returned, in steps.

        Often, if it was fast until now. Not in the beginning: the viewer has its first block and perhaps zaps on,
        and a burst is soon read more often.
        """
        self._flush()
        if self._over:
            return 0
        self._interval, self._streak = STEPS if self._opening else 1, 0
        self._opening = False
        self._body.pause()
        return self._interval

    def read(self, step: int) -> int:
        """Read what has gathered, and choose the next interval by how much that was."""
        if not self._interval:
            return self._look_after_run()
        due = step - self._flushed >= STEPS or self._sink.waiting or not self._proven
        size = self._read_now(due)
        if due and not self._over:
            self._flushed = step
            self._flush()
        if self._over:
            return 0
        self._adapt(size)
        if self._interval:
            return self._interval
        self._ran = True
        self._body.resume()
        return STEPS

    def _look_after_run(self) -> int:
        """While the reactor reads: send what waits, and take over when nothing has come for an interval."""
        if self._ran:
            self._ran = False
            self._flush()
            return 0 if self._over else STEPS
        return self._pause()

    def _adapt(self, size: int) -> None:
        """Halve the interval after a read of half the room or more, double it after one of less than a quarter.

        Below the shortest there is reading without rest. That is not for a burst at the start, which would keep the
        whole process busy for a viewer that zaps on: it takes as many large reads as make up the longest interval.
        """
        much = max(MUCH, self._body.receive_window() // 2) if size >= LITTLE else MUCH
        if size < much:
            self._streak = 0
            if size < much // 2:
                self._interval = min(STEPS, self._interval * 2)
            return
        self._streak += 1
        if self._interval > 1:
            self._interval //= 2
        elif self._streak >= STEPS:
            self._interval = 0

    def read_failed(self) -> None:
        """We failed, not the source; but this body cannot go on."""
        self.close()
        self._owner.source_ended(SourceError(Reason.INTERNAL, "reading failed"))

    def _read_now(self, hand_on: bool) -> int:
        """Read once; bytes that the socket had."""
        self._reading = True
        try:
            size = self._body.read(hand_on)
        finally:
            self._reading = False
        self._pass_on()
        return size

    def _flush(self) -> int:
        """Have all sent that waits. Only packets are a sign of life: a source may go on with something else."""
        packets = self._sink.flush()
        if packets > self._packets and not self._over:
            self._packets = packets
            if self._changed:
                self._changed = False
                self._owner.discontinuity()
            self._owner.data_received()
        return packets

    def _pass_on(self) -> int:
        pieces, self._pieces = self._pieces, []
        if not pieces:
            return 0
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._sink.bytes_received(data)
        if not self._proven and not self._over:
            self._judge(data)
        return len(data)

    def _judge(self, data: bytes) -> None:
        """Video, not video, or not to be told yet."""
        if self._flush() and not self._over:
            self._proven = True
            self._owner.source_started()
            return
        self._head = (self._head + data)[:SNIFF_BYTES]
        error = body_error(self._head, self.received, self._body.content_type)
        if error is not None:
            self.close()
            self._owner.source_ended(error)
