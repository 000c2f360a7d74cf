"""Sending of an answer: after a delay, in one piece or byte by byte, completely or not."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from m3uproxy.provider.answers import Answer
from m3uproxy.provider.faults import Faults
from m3uproxy.provider.timed_producer import Transport


class Delivery:
    """Sender of a head and, if the answer is short, of its body.

    :param begin_stream: called after the head if the body is the stream.
    :param done: called after a short answer has been sent.
    """

    def __init__(
        self,
        clock: IReactorTime,
        transport: Transport,
        answer: Answer,
        faults: Faults,
        begin_stream: Callable[[], None],
        done: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._transport = transport
        self._answer = answer
        self._faults = faults
        self._begin_stream = begin_stream
        self._done = done
        self._delayed_call: IDelayedCall | None = None

    def start(self) -> None:
        """Start after the delay. With ``hang=head`` send nothing."""
        if self._faults.hang != "head":
            self._run_after(self._faults.delay, self._send_head)

    def stop(self) -> None:
        """Send no more."""
        if self._delayed_call is not None and self._delayed_call.active():
            self._delayed_call.cancel()
        self._delayed_call = None

    def _run_after(self, seconds: float, step: Callable[[], None]) -> None:
        if seconds:
            self._delayed_call = self._clock.callLater(seconds, step)
        else:
            step()

    def _send_head(self) -> None:
        if self._faults.slow_head is None:
            self._transport.write(self._answer.head)
            self._run_after(self._answer.gap, self._send_body)
        else:
            self._send_slowly(0)

    def _send_slowly(self, sent: int) -> None:
        if sent == len(self._answer.head):
            self._send_body()
            return
        self._transport.write(self._answer.head[sent : sent + 1])
        self._delayed_call = self._clock.callLater(self._faults.slow_head or 0, self._send_slowly, sent + 1)

    def _send_body(self) -> None:
        self._delayed_call = None
        if self._faults.hang == "body":
            return
        if self._answer.streams:
            self._begin_stream()
            return
        if self._answer.body:
            self._transport.write(self._answer.body)
        self._done()
