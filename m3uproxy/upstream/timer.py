"""One call at a time that is due later."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Timer:
    """Whoever sets it has to cancel it in the end."""

    def __init__(self, clock: IReactorTime) -> None:
        """It is not set."""
        self._clock = clock
        self._call: IDelayedCall | None = None

    def set(self, seconds: float, then: Callable[[], None]) -> None:
        """Call that, and not what it was set to before."""
        self.cancel()
        self._call = self._clock.callLater(seconds, self._ring, then)

    def cancel(self) -> None:
        """Call nothing. Harmless when it is not set."""
        call, self._call = self._call, None
        if call is not None and call.active():
            call.cancel()

    def _ring(self, then: Callable[[], None]) -> None:
        self._call = None
        then()
