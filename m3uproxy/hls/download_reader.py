"""The reader of a download, which sends it to one player at the player's pace."""

from __future__ import annotations

import math
from collections.abc import Callable

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from ..errors import Reason, SourceError
from ..log import make_logger
from ..timers import SilenceTimer
from .download import Download

log = make_logger()


@implementer(IPushProducer)
class DownloadReader:
    """
    A producer of the bytes from ``start`` to ``stop`` of a download, as they arrive.

    If the player keeps it paused for too long, it ends, because it holds the memory of the download.

    :ivar began_at: time of its creation (seconds of the clock).
    :ivar paused_at: time since which it has been paused, None if it is not.
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
        Prepare; :meth:`start` begins. The caller must hold the download until ``ended`` is called.

        :param start: the first byte, counted from 0.
        :param stop: the byte after the last one, None for the whole rest.
        :param max_pause: seconds for which the player may keep the reader paused.
        :param write: takes bytes; never called with none. It may pause, resume or stop the reader from within. If it
            raises an exception, the reader ends with ``INTERNAL``.
        :param ended: called once, with None if all was written, with ``UNUSED`` after :meth:`stopProducing`.
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
        """Write the bytes that have arrived, and follow the download."""
        self._pause_timer.start(self._max_pause)
        self._download.readers.add(self)
        self._download.subscribe(self._write_available)
        self._write_available()

    def pauseProducing(self) -> None:
        """Stop writing until the reader is resumed."""
        if self.paused_at is None:
            self.paused_at = self._download.clock.seconds()

    def resumeProducing(self) -> None:
        """Write the bytes that have arrived, and go on."""
        self.paused_at = None
        self._write_available()

    def stopProducing(self) -> None:
        """End the reader, because the player has disconnected. Safe to call twice."""
        self._end(SourceError(Reason.UNUSED, "the player has disconnected"))

    def abort(self, error: SourceError) -> None:
        """End the reader with an error."""
        self._end(error)

    def _write_available(self) -> None:
        """Write until the reader is paused, stopped or has caught up. ``write`` may do any of these from within."""
        if self._writing or self._over:
            return
        self._writing = True
        try:
            while self.paused_at is None and not self._over and self.position < self._available:
                self._write_piece()
            if self.paused_at is None:
                self._end_if_complete()
        except Exception as error:
            log.failure("sending a download failed, its reader is ended")
            self._end(SourceError(Reason.INTERNAL, type(error).__name__))
        finally:
            self._writing = False

    @property
    def _available(self) -> int:
        """The byte after the last one that has arrived and is wanted."""
        size = self._download.buffer.size
        return size if self._stop is None else min(self._stop, size)

    def _write_piece(self) -> None:
        piece = self._download.buffer.piece(self.position, self._available)
        self.position += len(piece)
        self._write(piece)

    def _end_if_complete(self) -> None:
        """End if all was written, or if the download is over."""
        download = self._download
        if self.position == self._stop:
            self._end(None)
        elif download.over:
            short = self._stop is not None and download.error is None
            self._end(SourceError(Reason.TRUNCATED, "the body is shorter than announced") if short else download.error)

    def _pause_remaining(self) -> float:
        """Return the seconds that the player may stay paused."""
        paused = 0.0 if self.paused_at is None else self._download.clock.seconds() - self.paused_at
        return self._max_pause - paused

    def _stalled(self) -> None:
        self._end(
            SourceError(Reason.STALLED, f"the player took nothing for {self._max_pause:g} s (VIEWER_STALL_TIMEOUT)")
        )

    def _end(self, error: SourceError | None) -> None:
        if self._over:
            return
        self._over = True
        self._download.readers.discard(self)
        self._download.unsubscribe(self._write_available)
        self._pause_timer.cancel()
        self._ended(error)
