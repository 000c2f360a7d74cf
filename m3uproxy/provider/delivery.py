"""Putting an answer onto the wire: after a delay, in one piece or byte by byte, wholly or not."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from m3uproxy.provider.answers import Answer
from m3uproxy.provider.faults import Faults
from m3uproxy.provider.timed_producer import Wire


class Delivery:
    """Sends one head, and the body if that is short.

    :param begin_stream: called after the head when the body is the stream.
    :param done: called when a short answer is sent.
    """

    def __init__(
        self,
        clock: IReactorTime,
        wire: Wire,
        answer: Answer,
        faults: Faults,
        begin_stream: Callable[[], None],
        done: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._wire = wire
        self._answer = answer
        self._faults = faults
        self._begin_stream = begin_stream
        self._done = done
        self._later: IDelayedCall | None = None

    def start(self) -> None:
        """Begin."""
        if self._faults.hang != "head":
            self._after(self._faults.delay, self._send_head)

    def stop(self) -> None:
        """Send no more."""
        if self._later is not None and self._later.active():
            self._later.cancel()
        self._later = None

    def _after(self, seconds: float, step: Callable[[], None]) -> None:
        if seconds:
            self._later = self._clock.callLater(seconds, step)
        else:
            step()

    def _send_head(self) -> None:
        if self._faults.slow_head is None:
            self._wire.write(self._answer.head)
            self._after(self._answer.gap, self._send_body)
        else:
            self._send_slowly(0)

    def _send_slowly(self, sent: int) -> None:
        if sent == len(self._answer.head):
            self._send_body()
            return
        self._wire.write(self._answer.head[sent : sent + 1])
        self._later = self._clock.callLater(self._faults.slow_head or 0, self._send_slowly, sent + 1)

    def _send_body(self) -> None:
        self._later = None
        if self._faults.hang == "body":
            return
        if self._answer.streams:
            self._begin_stream()
            return
        if self._answer.body:
            self._wire.write(self._answer.body)
        self._done()
