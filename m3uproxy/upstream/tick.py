"""One 40 ms tick for the whole process: sources are read in large pieces, not as the packets come.

A WAN delivers 1.4 kB every 1.5 ms; a reactor turn for each is the greatest cost a relay has. So a source that has
been read pauses itself, and the tick resumes it when the kernel has gathered more.

The obvious rule (pause after every read) throttles a fast provider to the kernel's buffer per tick: 9 to 22 of
50 Mbit/s, worst under TLS and chunked transfer coding, where data keeps coming in small pieces within one turn,
also while paused. Hence: **decide once per reactor turn**. What a source brought in that turn is summed up when
the turn is over; under :data:`ENOUGH` bytes it pauses until the next tick, else it goes on.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: Bytes in one reactor turn from which on a source reads on without waiting for the tick. More throttles a plain
#: TCP provider at 50 Mbit/s, because its window is under 64 KiB.
ENOUGH = 32_768


class Reader(Protocol):
    """What the tick drives."""

    def settle(self) -> bool:
        """The turn is over: hand on what came. True if the reader has paused and waits for the tick."""

    def tick(self) -> None:
        """Read on."""


class Tick:
    """Settles readers at the end of the turn in which they read, and wakes them on a common grid."""

    def __init__(self, clock: IReactorTime, interval: float) -> None:
        """
        Make a tick that is silent until somebody reads.

        :param interval: seconds between two wake-ups.
        """
        self._clock = clock
        self._interval = interval
        self._read: dict[Reader, None] = {}
        self._paused: dict[Reader, None] = {}
        self._settling: IDelayedCall | None = None
        self._waking: IDelayedCall | None = None

    def has_read(self, reader: Reader) -> None:
        """``reader`` received something in this turn: settle it when the turn is over."""
        self._read[reader] = None
        if self._settling is None:
            self._settling = self._clock.callLater(0, self._settle)

    def forget(self, reader: Reader) -> None:
        """``reader`` is over; it is neither settled nor woken any more."""
        self._read.pop(reader, None)
        self._paused.pop(reader, None)
        if not self._read and self._settling is not None:
            self._settling.cancel()
            self._settling = None
        if not self._paused and self._waking is not None:
            self._waking.cancel()
            self._waking = None

    def _settle(self) -> None:
        self._settling = None
        readers, self._read = self._read, {}
        for reader in readers:
            if reader.settle():
                self._paused[reader] = None
        if self._paused and self._waking is None:
            self._waking = self._clock.callLater(self._until_next(), self._wake)

    def _until_next(self) -> float:
        """Seconds to the next point of the grid, so that all sources are read in the same turn."""
        return self._interval - self._clock.seconds() % self._interval

    def _wake(self) -> None:
        self._waking = None
        readers, self._paused = self._paused, {}
        for reader in readers:
            reader.tick()
