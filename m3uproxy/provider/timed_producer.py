"""A push producer driven by a timer: the base of :class:`Playout` and :class:`Transfer`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from zope.interface import implementer

#: Seconds between two ticks.
TICK = 0.02


class Transport(Protocol):
    """Methods of a transport that the provider uses."""

    def write(self, data: bytes) -> None:
        """Send bytes."""

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """See ``IConsumer``."""

    def unregisterProducer(self) -> None:
        """See ``IConsumer``."""

    def loseConnection(self) -> None:
        """Close after all bytes are sent."""

    def abortConnection(self) -> None:
        """Reset the connection."""


@implementer(IPushProducer)
class TimedProducer:
    """A producer that is active from ``_begin()`` until ``stop()``, with at most one delayed call."""

    def __init__(self, clock: IReactorTime, transport: Transport) -> None:
        self._clock = clock
        self._transport = transport
        self._active = self._paused = False
        self._delayed_call: IDelayedCall | None = None

    def _begin(self) -> None:
        self._active = True
        self._transport.registerProducer(self, True)

    def _call_later(self, seconds: float, step: Callable[[], None]) -> None:
        """Replace the delayed call."""
        self._cancel_call()
        self._delayed_call = self._clock.callLater(seconds, step)

    def _cancel_call(self) -> None:
        later, self._delayed_call = self._delayed_call, None
        if later is not None and later.active():
            later.cancel()

    def abort(self) -> None:
        """Reset the connection."""
        self.stop()
        self._transport.abortConnection()

    def stop(self) -> None:
        """Stop sending."""
        self._cancel_call()
        if self._active:
            self._active = False
            self._transport.unregisterProducer()

    def pauseProducing(self) -> None:
        """Send nothing until ``resumeProducing``."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Resume sending."""
        self._paused = False

    def stopProducing(self) -> None:
        """Stop, because the connection is closed."""
        self.stop()
