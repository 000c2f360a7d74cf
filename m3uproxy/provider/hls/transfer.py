"""Sending of a body with an end to a client.

The body is sent in slices, as fast as the client reads. Faults slow it down or end it: ``trickle``, and ``stall``,
``close`` and ``reset`` of :mod:`m3uproxy.provider.schedule`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from m3uproxy.provider.clip import PACKET
from m3uproxy.provider.faults import Faults, make_faults
from m3uproxy.provider.framing import make_framing
from m3uproxy.provider.schedule import FaultSchedule, ScheduledFault
from m3uproxy.provider.station import Station, Tally
from m3uproxy.provider.timed_producer import TICK, TimedProducer, Transport

#: Bytes per write.
SLICE = 65_536


class Transfer(TimedProducer):
    """Sender of a body.

    :param body: bytes before the framing, already compressed.
    :param done: called after the last byte, when the connection can carry another answer.
    """

    def __init__(
        self,
        station: Station,
        transport: Transport,
        faults: Faults,
        tallies: list[Tally],
        body: bytes,
        done: Callable[[], None],
    ) -> None:
        super().__init__(station.clock, transport)
        self._station = station
        self._faults = faults
        self._tallies = tallies
        self._body = body
        self._done = done
        self._framing = make_framing(attrs.evolve(faults, gzip=False))
        self._schedule = FaultSchedule()
        self._sent = 0
        self._stalled = False
        self._next_packet = 0.0

    def start(self) -> None:
        """Start after the head."""
        self._schedule.replace(self._faults, self._station.uptime(), 0)
        self._begin()
        self._tick()

    def adjust(self, given: dict[str, Any]) -> None:
        """Replace the faults. Pending and current faults end."""
        self._faults, self._stalled = make_faults(given), False
        self._schedule.replace(self._faults, self._station.uptime(), self._sent)

    def resumeProducing(self) -> None:
        """Resume sending."""
        super().resumeProducing()
        if self._active:
            self._call_later(0, self._tick)

    def _tick(self) -> None:
        """Apply the faults that are due, send a slice, and schedule the next tick."""
        self._delayed_call = None
        now = self._station.uptime()
        while self._active and (fault := self._schedule.take_by_time(now)):
            self._apply(fault)
        if self._active and not (self._paused or self._stalled):
            self._send(self._size(now))
        if self._active:
            idle = self._paused or self._stalled or self._faults.trickle is not None
            self._call_later(TICK if idle else 0, self._tick)

    def _size(self, now: float) -> int:
        if self._faults.trickle is None:
            return SLICE
        if now < self._next_packet:
            return 0
        self._next_packet = now + self._faults.trickle
        return PACKET

    def _send(self, size: int) -> None:
        """Send up to the next fault. A fault at the end of the body comes before the end."""
        fault = self._schedule.take_by_octets(min(self._sent + size, len(self._body)))
        if fault is not None:
            size = max(0, (fault.octets or 0) - self._sent)
        data = self._body[self._sent : self._sent + size]
        if data:
            self._sent += len(data)
            for tally in self._tallies:
                tally.octets += len(data)
            self._transport.write(self._framing.encode(data))
        if fault is not None:
            self._apply(fault)
        elif self._sent == len(self._body):
            self._finish()

    def _finish(self) -> None:
        if self._active:
            end = self._framing.end()
            if end:
                self._transport.write(end)
            self.stop()
            self._done()

    def _apply(self, fault: ScheduledFault) -> None:
        if fault.name == "stall":
            self._stalled = True
            if self._faults.stall_for is not None:
                self._schedule.add_at("resume", self._station.uptime() + self._faults.stall_for)
        elif fault.name == "resume":
            self._stalled = False
        elif fault.name == "close":
            self.stop()
            self._transport.loseConnection()
        elif fault.name == "reset":
            # Reset at the next tick: the transport must send its buffer first.
            self._stalled = True
            self._schedule.add_at("abort", self._station.uptime() + TICK / 2)
        elif fault.name == "abort":
            self.abort()
