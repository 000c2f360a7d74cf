"""Timers: one delayed call that can be replaced, and a timeout for silence."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: A timer that fires later than this (seconds) shows that this process did not run. The other side may have sent
#: something in the meantime.
LATE = 0.5


class Timer:
    """A delayed call that can be replaced. The owner must cancel the timer in the end."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._call: IDelayedCall | None = None

    @property
    def active(self) -> bool:
        """True while a call is due."""
        return self._call is not None and self._call.active()

    def set(self, seconds: float, fired: Callable[[], None]) -> None:
        """Call ``fired`` after some seconds. A call that was set before is cancelled."""
        self.cancel()
        self._call = self._clock.callLater(seconds, self._fire, fired)

    def cancel(self) -> None:
        """Cancel the call. Safe to call if the timer is not set."""
        call, self._call = self._call, None
        if call is not None and call.active():
            call.cancel()

    def _fire(self, fired: Callable[[], None]) -> None:
        self._call = None
        fired()


class SilenceTimer:
    """
    A timeout for silence, or for a stall, that costs nothing per chunk.

    The owner notes the time of the last activity in an attribute of its own and leaves the delayed call alone. When
    the call fires, the owner computes the seconds that are left, and the call is set again for these.
    """

    def __init__(
        self,
        clock: IReactorTime,
        remaining: Callable[[], float | None],
        expired: Callable[[], None],
        late: float = LATE,
    ) -> None:
        """
        Prepare a timer; :meth:`start` sets it.

        :param remaining: returns the seconds that are left before the timeout. With 0 or less, the timeout is over.
            With None, nothing is awaited, and the timer stops until it is started again.
        :param expired: called when the timeout is over. The timer is not set then.
        :param late: if the call fires this many seconds late, this process did not run, and the timeout is extended
            by as many seconds. ``math.inf`` for no extension.
        """
        self._clock = clock
        self._timer = Timer(clock)
        self._remaining = remaining
        self._expired = expired
        self._late = late

    def start(self, seconds: float) -> None:
        """Ask ``remaining`` after some seconds. If the timer is set already, it stays as it is."""
        if not self._timer.active:
            self._set(seconds)

    def cancel(self) -> None:
        """Stop the timer. Safe to call if it is not set."""
        self._timer.cancel()

    def _set(self, seconds: float) -> None:
        due = self._clock.seconds() + seconds
        self._timer.set(seconds, lambda: self._fire(due))

    def _fire(self, due: float) -> None:
        if self._clock.seconds() - due > self._late:
            self._set(self._late)
            return
        seconds = self._remaining()
        if seconds is None:
            return
        if seconds > 0:
            self._set(seconds)
        else:
            self._expired()
