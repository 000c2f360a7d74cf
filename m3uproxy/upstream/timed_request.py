"""A request to a provider within bounded time, which leaves no socket behind.

A request is one coroutine with two timers: one for the current step (connect, or wait for the head) and one for the
whole request. A timer that fires notes the error and cancels the coroutine. The error that the coroutine then fails
with no longer matters. The Deferred of a failed request fires after its socket has closed, because a provider that
allows one connection must not see two.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from ..errors import Reason, SourceError, StoredError
from ..log import make_logger
from ..timers import Timer
from .connection import ProviderConnection
from .twisted_errors import connect_error, timeout_error

log = make_logger()

#: Seconds that an aborted socket may take to close. It needs one reactor turn.
_CLOSE_TIMEOUT = 1.0

T = TypeVar("T")


class TimedRequest(ABC, Generic[T]):
    """A request with timeouts. Subclasses send it and return the result."""

    _error = StoredError()

    def __init__(self, reactor: Any, total: float) -> None:
        """
        Prepare a request; :meth:`start` sends it.

        :param total: seconds for the whole request.
        """
        self._reactor = reactor
        self._total = total
        self._connection: ProviderConnection | None = None
        self._step_timer = Timer(reactor)
        self._deadline: IDelayedCall | None = None
        self._running: Deferred[T] | None = None
        self._result: Deferred[T] = Deferred(self._cancelled)

    @abstractmethod
    async def _exchange(self) -> T:
        """
        Send the request and return the result.

        The connection in use must always be ``_connection``. If an exception is raised, this connection is closed.
        """

    def start(self) -> Deferred[T]:
        """
        Send the request.

        :return: a Deferred that fails with a :class:`m3uproxy.errors.SourceError`. Cancelling fails it at once.
        """
        self._deadline = self._reactor.callLater(self._total, self._timed_out, self._total, " in all")
        running = self._running = Deferred.fromCoroutine(self._run())
        running.addBoth(self._finished)
        running.addErrback(lambda failure: log.failure("a request to a provider failed", failure=failure))
        return self._result

    def _finished(self, outcome: T | Failure) -> None:
        if self._result.called:  # cancelled
            return
        if isinstance(outcome, Failure):
            self._result.errback(outcome)
        else:
            self._result.callback(outcome)

    def _cancelled(self, result: Deferred[T]) -> None:
        result.errback(CancelledError())
        self._fail(SourceError(Reason.INTERNAL, "cancelled"))

    def _fail(self, error: SourceError) -> None:
        """Fail with an error, unless there was another one before. The coroutine closes the connection."""
        if self._error is None:
            self._error = error
        if self._running is not None:
            self._running.cancel()

    async def _run(self) -> T:
        try:
            return await self._exchange()
        except Exception as error:
            self._error = self._error or connect_error(error, self._connection)
            await self._close_connection()
            raise self._error from None
        finally:
            self._set_step_timeout(None)
            if self._deadline is not None and self._deadline.active():
                self._deadline.cancel()

    async def _close_connection(self) -> None:
        """Close the connection, and wait until its socket has closed, for :data:`_CLOSE_TIMEOUT` at most."""
        if self._connection is None:
            return
        self._set_step_timeout(_CLOSE_TIMEOUT)
        try:
            await self._connection.close()
        except CancelledError:
            pass

    def _set_step_timeout(self, seconds: float | None) -> None:
        """Begin a step with a timeout; None for no timeout."""
        if seconds is None:
            self._step_timer.cancel()
        else:
            self._step_timer.set(seconds, lambda: self._timed_out(seconds))

    def _timed_out(self, seconds: float, how: str = "") -> None:
        self._fail(timeout_error(self._connection, f"{seconds:g} s{how}"))
