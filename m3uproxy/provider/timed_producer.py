"""A push producer that looks at the clock instead of being asked: what is common to a broadcast and to a body."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from zope.interface import implementer

#: Seconds between two looks at the clock.
TICK = 0.02


class Transport(Protocol):
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

    def __init__(self, clock: IReactorTime, transport: Transport) -> None:
        self._clock = clock
        self._transport = transport
        self._active = self._paused = False
        self._delayed_call: IDelayedCall | None = None

    def _begin(self) -> None:
        self._active = True
        self._transport.registerProducer(self, True)

    def _call_later(self, seconds: float, step: Callable[[], None]) -> None:
        """Take the next step then, and no other."""
        self._cancel_call()
        self._delayed_call = self._clock.callLater(seconds, step)

    def _cancel_call(self) -> None:
        later, self._delayed_call = self._delayed_call, None
        if later is not None and later.active():
            later.cancel()

    def abort(self) -> None:
        """Reset the connection now."""
        self.stop()
        self._transport.abortConnection()

    def stop(self) -> None:
        """Send no more."""
        self._cancel_call()
        if self._active:
            self._active = False
            self._transport.unregisterProducer()

    def pauseProducing(self) -> None:
        """Send nothing until ``resumeProducing``."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Send on."""
        self._paused = False

    def stopProducing(self) -> None:
        """The connection is gone."""
        self.stop()
