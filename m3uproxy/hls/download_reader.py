"""One who reads a download, at a pace of its own."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IPushProducer
from zope.interface import implementer

from ..errors import Reason, SourceError
from .download import Download

#: What becomes of who is gone, which is nobody's failure.
GONE = SourceError(Reason.ENDED, "the reader is gone")


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
        stall: float,
        write: Callable[[bytes], None],
        ended: Callable[[SourceError | None], None],
    ) -> None:
        """
        Prepare; :meth:`start` begins. The download must be held until ``ended`` is called.

        :param stop: None for all there will be.
        :param stall: seconds for which it may be paused.
        :param write: takes some bytes, never none.
        :param ended: called once, with None when all was written, with :data:`GONE` after :meth:`stopProducing`.
        """
        self.position = start
        self._download = download
        self._stop = stop
        self._stall = stall
        self._write = write
        self._ended = ended
        self.began_at = download.clock.seconds()
        self.paused_at: float | None = None
        self._writing = False
        self._over = False
        self._watch: IDelayedCall | None = None

    def start(self) -> None:
        """Begin."""
        self._watch = self._download.clock.callLater(self._stall, self._look)
        self._download.takers.add(self)
        self._download.follow(self._go_on)
        self._go_on()

    def pauseProducing(self) -> None:
        """Hand on no more."""
        if self.paused_at is None:
            self.paused_at = self._download.clock.seconds()

    def resumeProducing(self) -> None:
        """Hand on what there is."""
        self.paused_at = None
        self._go_on()

    def stopProducing(self) -> None:
        """Whoever reads is gone. Safe to call twice."""
        self._end(GONE)

    def give_up(self, error: SourceError) -> None:
        """Read no more, and tell why."""
        self._end(error)

    def _go_on(self) -> None:
        """``write`` may pause or stop us, and resume us, while we are in it."""
        if self._writing or self._over:
            return
        self._writing = True
        try:
            while self.paused_at is None and not self._over and self._step():
                pass
        finally:
            self._writing = False

    def _step(self) -> bool:
        """Write one piece, or see that there is none."""
        download = self._download
        stop = download.body.size if self._stop is None else min(self._stop, download.body.size)
        if self.position < stop:
            piece = download.body.piece(self.position, stop)
            self.position += len(piece)
            self._write(piece)
            return True
        if self.position == self._stop:
            self._end(None)
        elif download.over:
            short = self._stop is not None and download.error is None
            self._end(SourceError(Reason.TRUNCATED, "the body is shorter than it was") if short else download.error)
        return False

    def _look(self) -> None:
        """Has it been paused for too long?"""
        clock = self._download.clock
        paused = 0.0 if self.paused_at is None else clock.seconds() - self.paused_at
        self._watch = None
        if paused >= self._stall:
            self._end(SourceError(Reason.STALLED, f"took nothing for {self._stall:g} s"))
        else:
            self._watch = clock.callLater(self._stall - paused, self._look)

    def _end(self, error: SourceError | None) -> None:
        if self._over:
            return
        self._over = True
        self._download.takers.discard(self)
        self._download.leave(self._go_on)
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        self._ended(error)
