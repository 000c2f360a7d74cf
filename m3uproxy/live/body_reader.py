"""The reader of one body: on the shared schedule, into the sink. It checks that the first bytes are a stream."""

from __future__ import annotations

from typing import Protocol

from zope.interface import implementer

from ..core.http.body_sniffing import SNIFF_BYTES, body_error
from ..core.programme import BodyNature
from ..errors import Reason, SourceError
from ..interfaces import IDiscontinuityConsumer, IResponseBody, IStreamSink
from .read_scheduler import LITTLE, MUCH, STEPS, ReadScheduler


class BodyReaderOwner(Protocol):
    """The owner of a reader."""

    @property
    def stream_id(self) -> str:
        """Id of the stream, for the log."""

    def source_started(self) -> None:
        """Note the first media of the body."""

    def data_received(self) -> None:
        """Note that media came. Called often, so it must cost little."""

    def reading_held(self) -> None:
        """Note that the body is not read now, because players have enough to send. Called often."""

    def discontinuity(self) -> None:
        """Note the first media after a discontinuity within the body."""

    def source_ended(self, error: SourceError) -> None:
        """Note the end of the body, or that it is not a stream. Nothing follows."""


@implementer(IDiscontinuityConsumer)
class BodyReader:
    """
    The way from an open body to the sink. The data of one reactor turn are passed on as one piece.

    The owner gets its events until ``close()``.

    :ivar received: bytes of the body so far.
    """

    def __init__(
        self,
        body: IResponseBody,
        sink: IStreamSink,
        scheduler: ReadScheduler,
        owner: BodyReaderOwner,
        nature: BodyNature = BodyNature.LIVE,
    ) -> None:
        self._body = body
        self._nature = nature
        self._paced = nature is BodyNature.PROGRAMME
        self._sink = sink
        self._scheduler = scheduler
        self._owner = owner
        self._pieces: list[bytes] = []
        self._head = b""
        self._started = False
        self._closed = False
        self._reading = False
        self._opening = True
        self._had_turn = True
        self._discontinuity = False
        self._interval = 0
        self._streak = 0
        self._flushed = 0
        self._media_size = 0
        self.received = 0

    def start(self) -> None:
        """Take over the body. At first the reactor reads it."""
        self._sink.source_changed(self._nature)
        if self._closed:
            return
        self._scheduler.schedule(self, STEPS)
        self._body.deliver(self)

    @property
    def stream_id(self) -> str:
        """Id of the stream, for the log."""
        return self._owner.stream_id

    def move(self, sink: IStreamSink) -> None:
        """Pass further data to another sink."""
        self._sink = sink
        self._media_size = 0

    def close(self) -> None:
        """Stop reading, for good. The owner closes the body."""
        self._closed = True
        self._pieces.clear()
        self._scheduler.remove(self)

    def body_received(self, data: bytes) -> None:
        """Keep the piece until the end of the reactor turn, or of our own read."""
        if self._closed:
            return
        self._pieces.append(data)
        self.received += len(data)
        if not self._reading:
            self._scheduler.has_read(self)

    def discontinuity(self) -> None:
        """Pass on the rest, then begin again, as with another body."""
        if self._closed:
            return
        self._pass_to_sink()
        if not self._closed:
            self._sink.source_changed(BodyNature.JOINED)
            self._media_size = 0
            self._discontinuity = self._started

    def body_ended(self, error: SourceError) -> None:
        """Pass on the rest, then tell the owner how the body ended."""
        if self._closed:
            return
        self._pass_to_sink()
        if not self._closed:
            self.close()
            self._owner.source_ended(error)

    def turn_ended(self) -> None:
        """
        Pass on the data of a turn. If it brought little, leave reading to the scheduler.

        At the beginning the reactor reads until a player has its first block.
        """
        size = self._pass_to_sink()
        self._had_turn = True
        if self._closed or self._interval:
            return
        if self._sink.is_full:
            self._leave_to_scheduler()
            return
        if self._opening and self._sink.waiting and size:
            return
        if self._opening or size < LITTLE:
            self._leave_to_scheduler()

    def _leave_to_scheduler(self) -> None:
        interval = self._pause()
        if interval:
            self._scheduler.schedule(self, interval)

    def _pause(self) -> int:
        """
        Pause the body: from now on the scheduler reads it.

        After fast data the first interval is the shortest one. At the beginning it is the longest one: the player has
        its first block and may zap on, and a burst soon shortens the interval.

        :return: the first interval, in steps; 0 if the body is over.
        """
        self._flush()
        if self._closed:
            return 0
        self._interval, self._streak = STEPS if self._opening else 1, 0
        self._opening = False
        self._body.pause()
        return self._interval

    def read(self, step: int) -> int:
        """Read the data in the socket, and choose the next interval by their size."""
        if not self._interval:
            return self._check_turns()
        due = self._paced or step - self._flushed >= STEPS or self._sink.waiting or not self._started
        if due and self._sink.is_full:
            self._paced = True
            self._owner.reading_held()
            return self._interval
        size = self._read_now(due)
        if due and not self._closed:
            self._flushed = step
            self._flush()
        if self._closed:
            return 0
        self._adapt(size)
        if self._interval:
            return self._interval
        self._had_turn = True
        self._body.resume()
        return STEPS

    def _check_turns(self) -> int:
        """Flush while the reactor reads. If nothing came for an interval, leave reading to the scheduler."""
        if self._had_turn:
            self._had_turn = False
            self._flush()
            return 0 if self._closed else STEPS
        return self._pause()

    def _adapt(self, size: int) -> None:
        """
        Halve the interval after a read of half the receive window or more; double it after less than a quarter.

        Below the shortest interval the reactor reads without a pause. A burst at the start must not lead there: it
        would keep the whole process busy for a player that may zap on. So :data:`STEPS` large reads in a row are
        required.
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
        """End the body after an error of ours."""
        self.close()
        self._owner.source_ended(SourceError(Reason.INTERNAL, "reading failed"))

    def _read_now(self, hand_on: bool) -> int:
        """Read once.

        :return: bytes that the socket had.
        """
        self._reading = True
        try:
            size = self._body.read(hand_on)
        finally:
            self._reading = False
        self._pass_to_sink()
        return size

    def _flush(self) -> None:
        """Flush the sink. Tell the owner only about media: a source may go on with padding, or with other data."""
        self._sink.flush()
        size = self._sink.progress.size
        if size > self._media_size and not self._closed:
            self._media_size = size
            if self._discontinuity:
                self._discontinuity = False
                self._owner.discontinuity()
            self._owner.data_received()

    def _pass_to_sink(self) -> int:
        pieces, self._pieces = self._pieces, []
        if not pieces:
            return 0
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._sink.bytes_received(data)
        if not self._started and not self._closed:
            self._check_first_bytes(data)
        return len(data)

    def _check_first_bytes(self, data: bytes) -> None:
        """Recognise a stream by its media, or anything else by its first bytes, which may need more data."""
        self._flush()
        media = self._sink.progress
        if self._closed:
            return
        if media.size:
            self._started = True
            self._owner.source_started()
        if media.recognised:
            return
        self._head = (self._head + data)[:SNIFF_BYTES]
        error = body_error(self._head, self.received, self._body.content_type)
        if error is not None:
            self.close()
            self._owner.source_ended(error)
