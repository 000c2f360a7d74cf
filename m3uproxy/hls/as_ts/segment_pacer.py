"""Segment pacer: delivers a segment at the pace of playback.

A provider sends a segment at full speed. Without pacing, a player that joins just before the next segment would have to
play from its initial data for the duration of a segment.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ...errors import Reason, SourceError
from ..fetched_resource import FetchedResource
from .aes128 import Aes128Decryptor

#: Seconds between two checks for due bytes.
INTERVAL = 0.1


class SegmentPacer:
    """
    The paced delivery of one segment.

    ``write`` may cancel the Deferred of :meth:`start` from within. Then nothing more is written.
    """

    def __init__(
        self,
        clock: IReactorTime,
        start: float,
        seconds: float,
        expected_bytes: int,
        has_room: Callable[[], bool],
        write: Callable[[bytes], None],
    ) -> None:
        """
        Prepare the delivery.

        :param start: time at which the first byte is due, seconds of the clock.
        :param seconds: time for the complete segment; 0 for full speed.
        :param expected_bytes: size of the segment if the provider does not state a length; 0 if unknown, then the data
            is not paced.
        :param has_room: returns whether more data may be written.
        :param write: receives data, at least one byte.
        :ivar bytes_written: number of bytes written.
        """
        self.bytes_written = 0
        self._clock = clock
        self._seconds = seconds
        self._length = expected_bytes
        self._has_room = has_room
        self._write = write
        self._pending = bytearray()
        self._complete = self._ended = False
        self._start = start
        self._timer: IDelayedCall | None = None
        self._done: Deferred[None] = Deferred(self._cancel)

    def start(self, resource: FetchedResource, decryptor: Aes128Decryptor | None) -> Deferred[None]:
        """
        Start the delivery.

        :return: a Deferred that fires when all data is written and the time is over. It fails with
            :class:`m3uproxy.errors.SourceError`, and may be cancelled.
        """
        self._length = resource.length or self._length
        self._decryptor = decryptor
        self._reader = resource.deliver(self._data_received, self._segment_ended)
        self._timer = self._clock.callLater(INTERVAL, self._tick)
        self._reader.start()
        return self._done

    def _elapsed_share(self) -> float:
        """Return the elapsed share of the delivery time, 0 to 1."""
        return min(1.0, (self._clock.seconds() - self._start) / self._seconds) if self._seconds else 1.0

    def _bytes_due(self) -> int:
        """Return the number of bytes that may be written now."""
        elapsed_share = self._elapsed_share()
        if not self._has_room():
            return 0
        if elapsed_share >= 1 or not self._length:
            return len(self._pending)
        length = self.bytes_written + len(self._pending) if self._complete else self._length
        return max(0, int(length * elapsed_share) - self.bytes_written)

    def _write_due(self) -> None:
        if self._ended:
            return
        size = min(self._bytes_due(), len(self._pending))
        if size:
            data = bytes(self._pending[:size])
            del self._pending[:size]
            self.bytes_written += size
            self._write(data)

    def _tick(self) -> None:
        self._timer = self._clock.callLater(INTERVAL, self._tick)
        self._write_due()
        if self._pending or self._ended:
            return
        if self._complete:
            self._end_if_played()
        elif self._has_room():
            self._reader.resumeProducing()

    def _data_received(self, data: bytes) -> None:
        if self._ended:
            return
        self._pending += data if self._decryptor is None else self._decryptor.update(data)
        self._write_due()
        if self._pending or not self._has_room():
            self._reader.pauseProducing()

    def _segment_ended(self, error: SourceError | None) -> None:
        try:
            self._pending += self._decryptor.finalize() if error is None and self._decryptor is not None else b""
        except SourceError as truncated:
            error = truncated
        self._complete = True
        self._write_due()
        if error is not None:
            self._end(error)
        else:
            self._end_if_played()

    def _end_if_played(self) -> None:
        """End at the end of the delivery time, even if all data arrived earlier: the next segment starts then."""
        if not self.bytes_written and not self._pending:
            self._end(SourceError(Reason.TRUNCATED, "an empty segment"))
        elif not self._pending and self._elapsed_share() >= 1:
            self._end(None)

    def _cancel(self, _: Deferred[None]) -> None:
        self._end(SourceError(Reason.UNUSED, "the delivery was cancelled"))

    def _end(self, error: SourceError | None) -> None:
        """Fire the Deferred, which no other method does. Further calls do nothing."""
        if self._ended:
            return
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._pending.clear()
        self._reader.stopProducing()
        if error is None:
            self._done.callback(None)
        else:
            self._done.errback(error)
