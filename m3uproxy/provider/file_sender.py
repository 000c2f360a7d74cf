"""Sending of a file: as fast as the client reads, or with a rate, and possibly not to its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IPullProducer, IReactorTime
from zope.interface import implementer

from m3uproxy.provider.files import File, FileAnswer
from m3uproxy.provider.station import Tally

#: Bytes per write.
PIECE = 131_072
#: Seconds between two writes of a body with a rate.
INTERVAL = 0.02


@implementer(IPullProducer)
class FileSender:
    """Sender of the body of a response; a pull producer.

    :param done: called after the last byte, if no fault ended the body.
    """

    def __init__(
        self,
        clock: IReactorTime,
        transport: Any,
        file: File,
        part: FileAnswer,
        tallies: list[Tally],
        done: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._transport = transport
        self._file = file
        self._next, self._stop = part.first, part.stop
        self._tallies = tallies
        self._done = done
        self._sent = 0
        self._delayed_call: IDelayedCall | None = None

    def start(self) -> None:
        """Start sending: with a timer if the file has a rate, else as a producer."""
        if self._file.faults.rate is not None:
            self._tick()
        else:
            self._transport.registerProducer(self, False)

    def stop(self) -> None:
        """Stop sending."""
        if self._delayed_call is not None and self._delayed_call.active():
            self._delayed_call.cancel()
        self._delayed_call = None
        self._next = self._stop
        self._done = _ignore

    def resumeProducing(self) -> None:
        """Send the next piece."""
        if not self._send(PIECE):
            self._transport.unregisterProducer()
            self._body_ended()

    def stopProducing(self) -> None:
        """Stop sending, because the client has disconnected."""
        self.stop()

    def _tick(self) -> None:
        self._delayed_call = None
        if self._send(max(1, int((self._file.faults.rate or 0) * INTERVAL))):
            self._delayed_call = self._clock.callLater(INTERVAL, self._tick)
        else:
            self._body_ended()

    def _send(self, most: int) -> bool:
        """Send up to ``most`` bytes. Return False if a fault or the end of the range is reached."""
        fault_offset = self._fault_offset()
        size = min(most, self._stop - self._next, fault_offset - self._sent if fault_offset is not None else most)
        if size <= 0:
            return False
        data = self._file.read(self._next, self._next + size)
        self._next += size
        self._sent += size
        for tally in self._tallies:
            tally.octets += size
        self._transport.write(b"%x\r\n%b\r\n" % (size, data) if self._file.faults.chunked else data)
        return True

    def _fault_offset(self) -> int | None:
        """Return the number of body bytes before the next fault, or None."""
        faults = self._file.faults
        return min((each for each in (faults.stall, faults.close, faults.reset) if each is not None), default=None)

    def _body_ended(self) -> None:
        faults, fault_offset = self._file.faults, self._fault_offset()
        if fault_offset is None or self._sent < fault_offset or self._next >= self._stop:
            if self._file.faults.chunked:
                self._transport.write(b"0\r\n\r\n")
            self._done()
        elif fault_offset == faults.reset:
            self._transport.abortConnection()
        elif fault_offset == faults.close:
            self._transport.loseConnection()


def _ignore() -> None:
    """Do nothing: the callback of a stopped sender."""
