"""One tick for the whole process: sources are read in large pieces, not as the packets come.

A WAN delivers 1.4 kB every 1.5 ms; a reactor turn for each is the greatest cost a relay has. So a live source is
paused, and read by us when enough has gathered in the kernel.

How long that may take is a question of the source's speed. A paused receiver's window is small (under 64 KiB with
Linux's defaults), so reading every 40 ms, whatever comes, throttles a fast provider to 22 Mbit/s, and to 9 under
TLS. Each reader therefore has an interval of its own, which halves when a read brings :data:`MUCH` and doubles when
it brings :data:`LITTLE`. A source that brings much even at the shortest interval is left to the reactor, which reads
without rest, until a turn brings little. At 8 Mbit/s that gives 50 reads a second, at 50 Mbit/s 200.

Intervals are multiples of one grid, so that all sources are read in the same few turns.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ..log import make_logger

log = make_logger()

#: Bytes in one read from which on a source is read more often: half of the least that a paused receiver takes in.
MUCH = 32_768
#: Bytes under which it is read less often: twice as many would still not be much.
LITTLE = 16_384
#: Shortest interval, as a part of the longest.
STEPS = 8


class ScheduledReader(Protocol):
    """What the tick drives."""

    def turn_ended(self) -> None:
        """The reactor turn in which ``has_read`` was called is over."""

    def read(self, step: int) -> int:
        """Read; ``step`` numbers the points of the grid. The next interval in steps, or 0 to leave the tick."""

    def read_failed(self) -> None:
        """``turn_ended`` or ``read`` raised, which has been logged; neither is called again."""


class ReadScheduler:
    """Reads paused sources on a common grid, and settles the others at the end of each turn."""

    def __init__(self, clock: IReactorTime, interval: float) -> None:
        """
        Make a tick that is silent while there is nothing to read.

        :param interval: the longest between two reads of a source, in seconds.
        """
        self._clock = clock
        self._grid = interval / STEPS
        self._due: dict[ScheduledReader, int] = {}
        self._read: dict[ScheduledReader, None] = {}
        self._settling: IDelayedCall | None = None
        self._waking: IDelayedCall | None = None

    def has_read(self, reader: ScheduledReader) -> None:
        """``reader`` was given something by the reactor: settle it when this turn is over."""
        self._read[reader] = None
        if self._settling is None:
            self._settling = self._clock.callLater(0, self._settle)

    def take(self, reader: ScheduledReader, steps: int = 1) -> None:
        """Have ``reader`` read from now on, for the first time in so many steps."""
        self._due[reader] = (self.step // steps + 1) * steps
        self._schedule()

    def forget(self, reader: ScheduledReader) -> None:
        """``reader`` is over."""
        self._read.pop(reader, None)
        self._due.pop(reader, None)
        if not self._read and self._settling is not None:
            self._settling.cancel()
            self._settling = None
        if not self._due and self._waking is not None:
            self._waking.cancel()
            self._waking = None

    @property
    def step(self) -> int:
        """The point of the grid that is now or was last; timers fire on points, so a hair early is on time."""
        return int(self._clock.seconds() / self._grid + 0.01)

    def _settle(self) -> None:
        self._settling = None
        readers, self._read = self._read, {}
        for reader in readers:
            try:
                reader.turn_ended()
            except Exception:
                self._broken(reader)

    def _schedule(self) -> None:
        """Wake when the first reader is due."""
        if not self._due:
            return
        due = min(self._due.values()) * self._grid
        if self._waking is not None:
            if self._waking.getTime() <= due:
                return
            self._waking.cancel()
        self._waking = self._clock.callLater(max(0.0, due - self._clock.seconds()), self._wake)

    def _wake(self) -> None:
        """Read all that are due, late ones too: the reactor may have been busy."""
        self._waking = None
        step = self.step
        for reader in [reader for reader, due in self._due.items() if due <= step]:
            if reader not in self._due:
                continue
            try:
                interval = reader.read(step)
            except Exception:
                self._broken(reader)
                continue
            if not interval:
                self._due.pop(reader, None)
            elif reader in self._due:
                self._due[reader] = (step // interval + 1) * interval
        self._schedule()

    def _broken(self, reader: ScheduledReader) -> None:
        """A defect of ours in the path of one stream must not stop the reading of the others."""
        log.failure("reading a source failed")
        self.forget(reader)
        try:
            reader.read_failed()
        except Exception:
            log.failure("ending a source failed")
