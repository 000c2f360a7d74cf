"""One segment, handed on at the pace at which it plays.

A provider sends a segment in one go. Handed on so, a player that joins just before the next one would have to live
on what it was given at first for the length of a segment.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ...errors import Reason, SourceError
from ..download_reader import GONE
from ..fetched_resource import FetchedResource
from .aes128 import Aes128Decryptor

#: Seconds between two looks at whether there may be more.
STEP = 0.1


class SegmentPacer:
    """Hands on one segment."""

    def __init__(
        self,
        clock: IReactorTime,
        began: float,
        seconds: float,
        usual: int,
        room: Callable[[], bool],
        write: Callable[[bytes], None],
    ) -> None:
        """
        Prepare.

        :param began: when the first of it is due, seconds of the clock.
        :param seconds: for all of it; 0 for as fast as it comes.
        :param usual: bytes that it has if its length is not told; 0 if nobody knows: then it goes as it comes.
        :param room: whether more may be written.
        :param write: takes some bytes, never none.
        :ivar given: bytes that were written.
        """
        self.given = 0
        self._clock = clock
        self._seconds = seconds
        self._length = usual
        self._room = room
        self._put = write
        self._waiting = bytearray()
        self._complete = False
        self._began = began
        self._timer: IDelayedCall | None = None
        self._done: Deferred[None] = Deferred(self._cancelled)

    def start(self, resource: FetchedResource, decryption: Aes128Decryptor | None) -> Deferred[None]:
        """
        Begin.

        :return: a Deferred that fires when all was written and the time is over, and fails with
            :class:`m3uproxy.errors.SourceError`; it may be cancelled.
        """
        self._length = resource.length or self._length
        self._decryption = decryption
        self._reader = resource.deliver(self._take, self._ended)
        self._timer = self._clock.callLater(STEP, self._look)
        self._reader.start()
        return self._done

    def _played(self) -> float:
        """The part of the time that is over; 1 for all of it."""
        return min(1.0, (self._clock.seconds() - self._began) / self._seconds) if self._seconds else 1.0

    def _due(self) -> int:
        """Bytes that may be written now."""
        played = self._played()
        if not self._room():
            return 0
        if played >= 1 or not self._length:
            return len(self._waiting)
        length = self.given + len(self._waiting) if self._complete else self._length
        return max(0, int(length * played) - self.given)

    def _flow(self) -> None:
        size = min(self._due(), len(self._waiting))
        if size:
            data = bytes(self._waiting[:size])
            del self._waiting[:size]
            self.given += size
            self._put(data)

    def _look(self) -> None:
        self._timer = self._clock.callLater(STEP, self._look)
        self._flow()
        if self._waiting:
            return
        if self._complete:
            self._end_in_time()
        elif self._room():
            self._reader.resumeProducing()

    def _take(self, data: bytes) -> None:
        self._waiting += data if self._decryption is None else self._decryption.update(data)
        self._flow()
        if self._waiting or not self._room():
            self._reader.pauseProducing()

    def _ended(self, error: SourceError | None) -> None:
        try:
            self._waiting += self._decryption.finish() if error is None and self._decryption is not None else b""
        except SourceError as torn:
            error = torn
        self._flow()
        self._complete = True
        if error is not None:
            self._end(error)
        else:
            self._end_in_time()

    def _end_in_time(self) -> None:
        """The next one begins when this one was played, however fast it came."""
        if not self.given and not self._waiting:
            self._end(SourceError(Reason.TRUNCATED, "a segment of no bytes"))
        elif not self._waiting and self._played() >= 1:
            self._end(None)

    def _cancelled(self, _: Deferred[None]) -> None:
        if self._complete:
            self._end(GONE)
        else:
            self._reader.stopProducing()

    def _end(self, error: SourceError | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if error is None:
            self._done.callback(None)
        elif not self._done.called:
            self._done.errback(error)
