"""Pieces of memory on their way to one player, at the player's pace."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from zope.interface import implementer


@implementer(IPushProducer)
class MemoryProducer:
    """Hands on piece after piece. Who takes nothing for too long is given up: what it holds is memory.

    :ivar ended: fires once with whether all was handed on, and never fails.
    :ivar gone: whether the player is.
    """

    _pieces: Iterator[bytes]

    def __init__(
        self, clock: IReactorTime, pieces: Iterable[bytes], stall: float, write: Callable[[bytes], None]
    ) -> None:
        """
        Prepare; :meth:`start` begins.

        :param stall: seconds for which it may be paused.
        :param write: takes a piece; it may pause, resume or stop this.
        """
        self._clock = clock
        self._pieces = (piece for piece in pieces if piece)
        self._next = next(self._pieces, None)
        self._stall = stall
        self._write = write
        self._paused = self._writing = self.gone = False
        self._watch: IDelayedCall | None = None
        self.ended: Deferred[bool] = Deferred()

    def start(self) -> None:
        """Begin."""
        self._go_on()

    def pauseProducing(self) -> None:
        """The player takes no more for now."""
        self._paused = True
        if self._watch is None and not self.ended.called:
            self._watch = self._clock.callLater(self._stall, self._give_up)

    def resumeProducing(self) -> None:
        """It takes more."""
        self._paused = False
        self._stop_watch()
        self._go_on()

    def stopProducing(self) -> None:
        """It is gone. Harmless twice."""
        self.gone = True
        self._end(False)

    def _go_on(self) -> None:
        if self._writing:
            return
        self._writing = True
        while self._next is not None and not self._paused:
            piece, self._next = self._next, next(self._pieces, None)
            self._write(piece)
        self._writing = False
        if self._next is None:
            self._end(True)

    def _give_up(self) -> None:
        self._watch = None
        self._end(False)

    def _end(self, complete: bool) -> None:
        self._pieces, self._next = iter(()), None
        self._stop_watch()
        if not self.ended.called:
            self.ended.callback(complete)

    def _stop_watch(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()
