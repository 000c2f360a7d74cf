"""An attempt to have a provider answer, within bounded time, that leaves nothing behind.

One attempt is one coroutine, and one timer for the step it is at (connecting, waiting for the head) beside the one
over everything. A timer that fires notes *why* and cancels whatever the coroutine waits for; what that then fails with
no longer matters. The socket of an attempt that failed is gone before its Deferred fires: a provider that allows one
connection never sees two.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from ..errors import Reason, SourceError
from ..log import make_logger
from .connection import ProviderConnection
from .twisted_errors import explain, timed_out

log = make_logger()

#: Seconds for an aborted socket to go, of which it needs a reactor turn.
_GONE_WITHIN = 1.0

T = TypeVar("T")


class TimedRequest(ABC, Generic[T]):
    """One attempt; subclasses say what to do."""

    def __init__(self, reactor: Any, total: float) -> None:
        """
        Prepare an attempt.

        :param total: seconds for all of it.
        """
        self._reactor = reactor
        self._total = total
        self._connection: ProviderConnection | None = None
        self._step: IDelayedCall | None = None
        self._deadline: IDelayedCall | None = None
        self._why: SourceError | None = None
        self._running: Deferred[T] | None = None
        self._result: Deferred[T] = Deferred(self._cancelled)

    @abstractmethod
    async def _work(self) -> T:
        """Ask. The connection in use is always ``_connection``; whatever is raised, it is closed."""

    def start(self) -> Deferred[T]:
        """
        Begin.

        :return: a Deferred that fails with a :class:`m3uproxy.errors.SourceError`, and if cancelled at once.
        """
        self._deadline = self._reactor.callLater(self._total, self._timed_out, self._total, " in all")
        running = self._running = Deferred.fromCoroutine(self._run())
        running.addBoth(self._finished)
        running.addErrback(lambda failure: log.failure("dialling went wrong", failure=failure))
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
        self._give_up(SourceError(Reason.INTERNAL, "cancelled"))

    def _give_up(self, why: SourceError) -> None:
        """Cancel whatever is under way; the coroutine cleans up."""
        if self._why is None:
            self._why = why
        if self._running is not None:
            self._running.cancel()

    async def _run(self) -> T:
        try:
            return await self._work()
        except Exception as error:
            self._why = self._why or explain(error, self._connection)
            await self._clean_up()
            raise self._why from None
        finally:
            self._rest(None)
            if self._deadline is not None and self._deadline.active():
                self._deadline.cancel()

    async def _clean_up(self) -> None:
        """Close the connection and wait until it is gone, or for as long as a working system may take at most."""
        if self._connection is None:
            return
        self._rest(_GONE_WITHIN)
        try:
            await self._connection.close()
        except CancelledError:
            pass

    def _rest(self, seconds: float | None) -> None:
        """Time the next step, or none."""
        step, self._step = self._step, None
        if step is not None and step.active():
            step.cancel()
        if seconds is not None:
            self._step = self._reactor.callLater(seconds, self._timed_out, seconds)

    def _timed_out(self, seconds: float, how: str = "") -> None:
        self._give_up(timed_out(self._connection, f"{seconds:g} s{how}"))
