"""The common schedule on which live sources are read, in large pieces.

A WAN delivers 1.4 kB every 1.5 ms. A reactor turn for each piece would be the greatest cost of the proxy. So the
reactor does not read a live source; the scheduler reads it when enough data are in the kernel.

The interval depends on the speed of the source. The receive window of a paused socket is small (under 64 KiB with
Linux's defaults), so a fixed interval of 40 ms would limit a fast provider to 22 Mbit/s, and to 9 Mbit/s under TLS.
Each reader has its own interval. It is halved after a read of :data:`MUCH` bytes and doubled after a read of fewer than
:data:`LITTLE`. If even the shortest interval brings much, the reactor reads the source without a pause, until a turn
brings little. This gives 50 reads a second at 8 Mbit/s, and 200 at 50 Mbit/s.

Intervals are multiples of one grid, so that all sources are read in the same few reactor turns.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ..log import make_logger

log = make_logger()

#: Bytes in one read after which a source is read more often: half of the smallest receive window.
MUCH = 32_768
#: Bytes in one read below which a source is read less often: twice as many are less than :data:`MUCH`.
LITTLE = 16_384
#: Steps of the grid in the longest interval; the shortest interval is one step.
STEPS = 8


class ScheduledReader(Protocol):
    """A reader on the schedule."""

    @property
    def stream_id(self) -> str:
        """Id of the stream, for the log."""

    def turn_ended(self) -> None:
        """Pass on the data of the reactor turn in which ``has_read`` was called."""

    def read(self, step: int) -> int:
        """
        Read the body.

        :param step: number of the point of the grid.
        :return: the next interval in steps; 0 to leave the schedule.
        """

    def read_failed(self) -> None:
        """End the body: ``turn_ended`` or ``read`` raised an error, which is logged. Neither is called again."""


class ReadScheduler:
    """Reads paused sources on a common grid, and tells the others the end of each reactor turn."""

    def __init__(self, clock: IReactorTime, interval: float) -> None:
        """
        Make an empty schedule. It has no timer while there is nothing to read.

        :param interval: the longest interval between two reads of a source, in seconds.
        """
        self._clock = clock
        self._grid = interval / STEPS
        self._due: dict[ScheduledReader, int] = {}
        self._read: dict[ScheduledReader, None] = {}
        self._turn_end: IDelayedCall | None = None
        self._timer: IDelayedCall | None = None

    def has_read(self, reader: ScheduledReader) -> None:
        """Note that the reactor has read for ``reader``, and call its ``turn_ended`` at the end of this turn."""
        self._read[reader] = None
        if self._turn_end is None:
            self._turn_end = self._clock.callLater(0, self._end_turn)

    def schedule(self, reader: ScheduledReader, steps: int = 1) -> None:
        """Read ``reader`` from now on, for the first time at the next multiple of ``steps``."""
        self._due[reader] = (self.step // steps + 1) * steps
        self._set_timer()

    def remove(self, reader: ScheduledReader) -> None:
        """Remove a reader. Safe to call if it is not on the schedule."""
        self._read.pop(reader, None)
        self._due.pop(reader, None)
        if not self._read and self._turn_end is not None:
            self._turn_end.cancel()
            self._turn_end = None
        if not self._due and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def step(self) -> int:
        """Number of the last point of the grid. A timer that fires a little early still counts as on time."""
        return int(self._clock.seconds() / self._grid + 0.01)

    def _end_turn(self) -> None:
        self._turn_end = None
        readers, self._read = self._read, {}
        for reader in readers:
            try:
                reader.turn_ended()
            except Exception:
                self._end_broken(reader)

    def _set_timer(self) -> None:
        """Set the timer for the first reader that is due."""
        if not self._due:
            return
        due = min(self._due.values()) * self._grid
        if self._timer is not None:
            if self._timer.getTime() <= due:
                return
            self._timer.cancel()
        self._timer = self._clock.callLater(max(0.0, due - self._clock.seconds()), self._wake)

    def _wake(self) -> None:
        """Read all readers that are due, late ones too: the reactor may have been busy."""
        self._timer = None
        step = self.step
        for reader in [reader for reader, due in self._due.items() if due <= step]:
            if reader not in self._due:
                continue
            try:
                interval = reader.read(step)
            except Exception:
                self._end_broken(reader)
                continue
            if not interval:
                self._due.pop(reader, None)
            elif reader in self._due:
                self._due[reader] = (step // interval + 1) * interval
        self._set_timer()

    def _end_broken(self, reader: ScheduledReader) -> None:
        """End one body after an error of ours, so that the others are still read."""
        log.failure("stream {stream}: reading the source failed", stream=reader.stream_id)
        self.remove(reader)
        try:
            reader.read_failed()
        except Exception:
            log.failure("stream {stream}: ending the source failed", stream=reader.stream_id)
