"""A producer of bytes that are in memory, written at the pace of one player."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer, IReactorTime
from zope.interface import implementer

from ..log import make_logger
from ..timers import SilenceTimer

log = make_logger()


@implementer(IPushProducer)
class MemoryProducer:
    """
    A producer that writes one piece after another.

    If the player keeps it paused for too long, it ends: the pieces hold memory.

    :ivar ended: fires once with True if all pieces were written, else with False. It never fails.
    :ivar gone: True if the player has disconnected.
    """

    _pieces: Iterator[bytes]

    def __init__(
        self, clock: IReactorTime, pieces: Iterable[bytes], stall: float, write: Callable[[bytes], None]
    ) -> None:
        """
        Prepare; :meth:`start` begins.

        :param stall: seconds for which the player may keep the producer paused.
        :param write: takes a piece. It may pause, resume or stop the producer from within.
        """
        self._clock = clock
        self._pieces = (piece for piece in pieces if piece)
        self._next = next(self._pieces, None)
        self._stall = stall
        self._write = write
        self._writing = self.gone = False
        self._paused_at: float | None = None
        self._stall_timer = SilenceTimer(clock, self._stall_remaining, lambda: self._end(False), late=math.inf)
        self.ended: Deferred[bool] = Deferred()

    def start(self) -> None:
        """Write until the player pauses the producer."""
        self._go_on()

    def pauseProducing(self) -> None:
        """Write no more for now. The time until the player counts as stalled begins."""
        if self._paused_at is None and not self.ended.called:
            self._paused_at = self._clock.seconds()
            self._stall_timer.start(self._stall)

    def resumeProducing(self) -> None:
        """Write again."""
        self._paused_at = None
        self._go_on()

    def stopProducing(self) -> None:
        """Note that the player has disconnected. Safe to call twice."""
        self.gone = True
        self._end(False)

    def _go_on(self) -> None:
        if self._writing:
            return
        self._writing = True
        try:
            while self._next is not None and self._paused_at is None:
                piece, self._next = self._next, next(self._pieces, None)
                self._write(piece)
        except Exception:
            log.failure("a player's connection failed")
            self._end(False)
        self._writing = False
        if self._next is None:
            self._end(True)

    def _stall_remaining(self) -> float | None:
        """Return the seconds that the player may stay paused; None if it is not paused."""
        return None if self._paused_at is None else self._paused_at + self._stall - self._clock.seconds()

    def _end(self, complete: bool) -> None:
        self._pieces, self._next = iter(()), None
        self._stall_timer.cancel()
        if not self.ended.called:
            self.ended.callback(complete)
