"""One who reads a download, at a pace of its own."""

from __future__ import annotations

import math
from collections.abc import Callable

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from ..errors import Reason, SourceError
from ..timers import SilenceTimer
from .download import Download

#: What becomes of who is gone, which is nobody's failure.
READER_GONE = SourceError(Reason.ENDED, "the reader is gone")


@implementer(IPushProducer)
class DownloadReader:
    """Hands on the bytes from ``start`` to ``stop``, as they come and as they are taken.

    Who pauses it for too long is given up: what it holds is memory.
    """

    def __init__(
        self,
        download: Download,
        start: int,
        stop: int | None,
        max_pause: float,
        write: Callable[[bytes], None],
        ended: Callable[[SourceError | None], None],
    ) -> None:
        """
        Prepare; :meth:`start` begins. The download must be held until ``ended`` is called.

        :param stop: None for all there will be.
        :param max_pause: seconds for which it may be paused.
        :param write: takes some bytes, never none.
        :param ended: called once, with None when all was written, with :data:`READER_GONE` after :meth:`stopProducing`.
        """
        self.position = start
        self._download = download
        self._stop = stop
        self._max_pause = max_pause
        self._write = write
        self._ended = ended
        self.began_at = download.clock.seconds()
        self.paused_at: float | None = None
        self._writing = False
        self._over = False
        self._pause_timer = SilenceTimer(download.clock, self._pause_remaining, self._stalled, late=math.inf)

    def start(self) -> None:
        """Begin."""
        self._pause_timer.start(self._max_pause)
        self._download.readers.add(self)
        self._download.subscribe(self._write_available)
        self._write_available()

    def pauseProducing(self) -> None:
        """Hand on no more."""
        if self.paused_at is None:
            self.paused_at = self._download.clock.seconds()

    def resumeProducing(self) -> None:
        """Hand on what there is."""
        self.paused_at = None
        self._write_available()

    def stopProducing(self) -> None:
        """Whoever reads is gone. Safe to call twice."""
        self._end(READER_GONE)

    def abort(self, error: SourceError) -> None:
        """Read no more, and tell why."""
        self._end(error)

    def _write_available(self) -> None:
        """``write`` may pause or stop us, and resume us, while we are in it."""
        if self._writing or self._over:
            return
        self._writing = True
        try:
            while self.paused_at is None and not self._over and self._write_piece():
                pass
        finally:
            self._writing = False

    def _write_piece(self) -> bool:
        """Write one piece, or see that there is none."""
        download = self._download
        stop = download.buffer.size if self._stop is None else min(self._stop, download.buffer.size)
        if self.position < stop:
            piece = download.buffer.piece(self.position, stop)
            self.position += len(piece)
            self._write(piece)
            return True
        if self.position == self._stop:
            self._end(None)
        elif download.over:
            short = self._stop is not None and download.error is None
            self._end(SourceError(Reason.TRUNCATED, "the body is shorter than it was") if short else download.error)
        return False

    def _pause_remaining(self) -> float:
        """Return the seconds that the player may stay paused."""
        paused = 0.0 if self.paused_at is None else self._download.clock.seconds() - self.paused_at
        return self._max_pause - paused

    def _stalled(self) -> None:
        self._end(SourceError(Reason.STALLED, f"took nothing for {self._max_pause:g} s"))

    def _end(self, error: SourceError | None) -> None:
        if self._over:
            return
        self._over = True
        self._download.readers.discard(self)
        self._download.unsubscribe(self._write_available)
        self._pause_timer.cancel()
        self._ended(error)
