"""A push producer that looks at the clock instead of being asked: what is common to a broadcast and to a body."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from zope.interface import implementer

#: Seconds between two looks at the clock.
TICK = 0.02


class Wire(Protocol):
    """What is asked of a transport."""

    def write(self, data: bytes) -> None:
        """Send."""

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """As in ``IConsumer``."""

    def unregisterProducer(self) -> None:
        """As in ``IConsumer``."""

    def loseConnection(self) -> None:
        """Close when all is sent."""

    def abortConnection(self) -> None:
        """Reset."""


@implementer(IPushProducer)
class TimedProducer:
    """Is live from ``_begin()`` until ``stop()``, and has one call to come at most."""

    def __init__(self, clock: IReactorTime, wire: Wire) -> None:
        self._clock = clock
        self._wire = wire
        self._live = self._paused = False
        self._later: IDelayedCall | None = None

    def _begin(self) -> None:
        self._live = True
        self._wire.registerProducer(self, True)

    def _after(self, seconds: float, step: Callable[[], None]) -> None:
        """Take the next step then, and no other."""
        self._cancel()
        self._later = self._clock.callLater(seconds, step)

    def _cancel(self) -> None:
        later, self._later = self._later, None
        if later is not None and later.active():
            later.cancel()

    def drop(self) -> None:
        """Reset the connection now."""
        self.stop()
        self._wire.abortConnection()

    def stop(self) -> None:
        """Send no more."""
        self._cancel()
        if self._live:
            self._live = False
            self._wire.unregisterProducer()

    def pauseProducing(self) -> None:
        """Send nothing until ``resumeProducing``."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Send on."""
        self._paused = False

    def stopProducing(self) -> None:
        """The connection is gone."""
        self.stop()
