"""Putting a file onto the wire: as fast as it is taken, or slower, and not always to its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IPullProducer, IReactorTime
from zope.interface import implementer

from m3uproxy.provider.files import File, FileAnswer
from m3uproxy.provider.station import Tally

#: Bytes written at a time.
PIECE = 131_072
#: Seconds between two pieces of a body that has a rate.
BEAT = 0.02


@implementer(IPullProducer)
class Sending:
    """The body of one response; a producer that writes when the transport has nothing left to send.

    :param wire: the transport.
    :param done: called when all has been written, and nothing went wrong.
    """

    def __init__(
        self,
        clock: IReactorTime,
        wire: Any,
        file: File,
        part: FileAnswer,
        tallies: list[Tally],
        done: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._wire = wire
        self._file = file
        self._next, self._stop = part.first, part.stop
        self._tallies = tallies
        self._done = done
        self._sent = 0
        self._later: IDelayedCall | None = None

    def start(self) -> None:
        """Begin."""
        if self._file.faults.rate is not None:
            self._beat()
        else:
            self._wire.registerProducer(self, False)

    def stop(self) -> None:
        """Send no more."""
        if self._later is not None and self._later.active():
            self._later.cancel()
        self._later = None
        self._next = self._stop
        self._done = _nothing

    def resumeProducing(self) -> None:
        """The transport has nothing left to send."""
        if not self._send(PIECE):
            self._wire.unregisterProducer()
            self._end()

    def stopProducing(self) -> None:
        """The client is gone."""
        self.stop()

    def _beat(self) -> None:
        self._later = None
        if self._send(max(1, int((self._file.faults.rate or 0) * BEAT))):
            self._later = self._clock.callLater(BEAT, self._beat)
        else:
            self._end()

    def _send(self, most: int) -> bool:
        """Write some; False if that was all there is to be."""
        turn = self._turn()
        size = min(most, self._stop - self._next, turn - self._sent if turn is not None else most)
        if size <= 0:
            return False
        data = self._file.read(self._next, self._next + size)
        self._next += size
        self._sent += size
        for tally in self._tallies:
            tally.octets += size
        self._wire.write(b"%x\r\n%b\r\n" % (size, data) if self._file.faults.chunked else data)
        return True

    def _turn(self) -> int | None:
        """After how many bytes something happens."""
        faults = self._file.faults
        return min((each for each in (faults.stall, faults.close, faults.reset) if each is not None), default=None)

    def _end(self) -> None:
        faults, turn = self._file.faults, self._turn()
        if turn is None or self._sent < turn or self._next >= self._stop:
            if self._file.faults.chunked:
                self._wire.write(b"0\r\n\r\n")
            self._done()
        elif turn == faults.reset:
            self._wire.abortConnection()
        elif turn == faults.close:
            self._wire.loseConnection()


def _nothing() -> None:
    """Nobody waits any more."""
