"""A body that has an end, on its way to one client.

It is sent as fast as it is taken, in slices, unless a fault slows it down or ends it. The turns of
:mod:`m3uproxy.provider.turns` that make sense here: stall, close and reset.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from m3uproxy.provider.clip import PACKET
from m3uproxy.provider.faults import Faults, make_faults
from m3uproxy.provider.framing import make_framing
from m3uproxy.provider.station import Station, Tally
from m3uproxy.provider.timed_producer import TICK, TimedProducer, Wire
from m3uproxy.provider.turns import Turn, Turns

#: Bytes that are written at a time.
SLICE = 65_536


class Transfer(TimedProducer):
    """
    Sends one body.

    :param body: as it goes into the framing; compressed already if it is.
    :param done: called when all is sent, and the connection may carry another answer.
    """

    def __init__(
        self, station: Station, wire: Wire, faults: Faults, tallies: list[Tally], body: bytes, done: Callable[[], None]
    ) -> None:
        super().__init__(station.clock, wire)
        self._station = station
        self._faults = faults
        self._tallies = tallies
        self._body = body
        self._done = done
        self._framing = make_framing(attrs.evolve(faults, gzip=False))
        self._turns = Turns()
        self._sent = 0
        self._stalled = False
        self._next_drop = 0.0

    def start(self) -> None:
        """Begin; the head has been written."""
        self._turns.replace(self._faults, self._station.uptime(), 0)
        self._begin()
        self._go_on()

    def adjust(self, given: dict[str, Any]) -> None:
        """Let other faults begin now; those that were still to come, or lasted, end."""
        self._faults, self._stalled = make_faults(given), False
        self._turns.replace(self._faults, self._station.uptime(), self._sent)

    def resumeProducing(self) -> None:
        """Send on, at once."""
        super().resumeProducing()
        if self._live:
            self._after(0, self._go_on)

    def _go_on(self) -> None:
        """What has to happen by now, then what can be sent; look again while there is more of either."""
        self._later = None
        now = self._station.uptime()
        while self._live and (turn := self._turns.take_by_time(now)):
            self._make(turn)
        if self._live and not (self._paused or self._stalled):
            self._send(self._size(now))
        if self._live:
            idle = self._paused or self._stalled or self._faults.trickle is not None
            self._after(TICK if idle else 0, self._go_on)

    def _size(self, now: float) -> int:
        if self._faults.trickle is None:
            return SLICE
        if now < self._next_drop:
            return 0
        self._next_drop = now + self._faults.trickle
        return PACKET

    def _send(self, size: int) -> None:
        """Some of the body, up to the next turn; a turn at its very end comes before the end."""
        turn = self._turns.take_by_octets(min(self._sent + size, len(self._body)))
        if turn is not None:
            size = max(0, (turn.octets or 0) - self._sent)
        data = self._body[self._sent : self._sent + size]
        if data:
            self._sent += len(data)
            for tally in self._tallies:
                tally.octets += len(data)
            self._wire.write(self._framing.encode(data))
        if turn is not None:
            self._make(turn)
        elif self._sent == len(self._body):
            self._finish()

    def _finish(self) -> None:
        if self._live:
            end = self._framing.end()
            if end:
                self._wire.write(end)
            self.stop()
            self._done()

    def _make(self, turn: Turn) -> None:
        if turn.name == "stall":
            self._stalled = True
            if self._faults.stall_for is not None:
                self._turns.add("go_on", self._station.uptime() + self._faults.stall_for)
        elif turn.name == "go_on":
            self._stalled = False
        elif turn.name == "close":
            self.stop()
            self._wire.loseConnection()
        elif turn.name == "reset":
            # With the next tick: what was sent before must have left the transport.
            self._stalled = True
            self._turns.add("drop", self._station.uptime() + TICK / 2)
        elif turn.name == "drop":
            self.drop()
