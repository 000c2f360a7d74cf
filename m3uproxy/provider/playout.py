"""The broadcast on its way to a viewer.

Every 20 ms a tick sends the bytes that are due. Bytes that are not sent yet stay in the timeline: a viewer that does
not read pauses the playout, and a viewer too far behind is reset. An unpaced body (``rate=0``) sends whenever its
transport accepts data, ahead of the clock.

Scheduled faults change a body at a time or at a byte. The method of a fault takes the rest of the current piece and
returns the part that is still to be sent.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partialmethod
from typing import Any

import attrs

from m3uproxy.provider.clip import PACKET
from m3uproxy.provider.faults import Faults, make_faults
from m3uproxy.provider.framing import BAD_CHUNK, make_framing
from m3uproxy.provider.packet_faults import PacketFault, apply_packet_faults, packet_faults
from m3uproxy.provider.radio import Broadcast
from m3uproxy.provider.schedule import FaultSchedule, ScheduledFault
from m3uproxy.provider.station import Channel, Station, Tally
from m3uproxy.provider.timed_producer import TICK, TimedProducer, Transport
from m3uproxy.provider.variants import changes_for, live_edge

#: Most bytes that a tick sends: of a paced body with a backlog, and of an unpaced body.
BACKLOG_SLICE = 1000 * PACKET
UNPACED_SLICE = 350 * PACKET
_NO_SYNC = bytes(value for value in range(256) if value != 0x47)


class Playout(TimedProducer):
    """Sender of the broadcast to a viewer, until a fault, the viewer or the provider ends it.

    :param transport: the connection, which this object closes. If the connection is lost, the owner calls :meth:`stop`.
    :param channel: the channel; the viewer is already counted.
    :param tallies: count the body bytes.
    :param broadcast: the content; default: the station's timeline.
    """

    def __init__(
        self,
        station: Station,
        transport: Transport,
        faults: Faults,
        channel: Channel,
        tallies: list[Tally],
        broadcast: Broadcast | None = None,
    ) -> None:
        super().__init__(station.clock, transport)
        self._station = station
        self._channel = channel
        self._faults = faults
        self._tallies = tallies
        self._framing = make_framing(faults)
        self._rate = faults.rate
        self._schedule = FaultSchedule()
        self._start = station.uptime()
        self._broadcast = broadcast or station.timeline
        # Only the transport stream has replays and changes; radio and FLV are sent unchanged.
        self._replays = self._broadcast is station.timeline
        self._edge = live_edge(station, channel, faults) if self._replays else self._start
        self._place = self._broadcast.due_at(self._edge - (faults.replay or faults.burst))
        self._changes = changes_for(station, channel, faults, self._edge) if self._replays else []
        self._backlog = b""
        self._sent = self._skip = 0
        self._stalled = False
        self._garbage: random.Random | None = None
        self._packet_faults: list[PacketFault] = []
        self._next_packet = self._start

    def start(self) -> None:
        """Start after the head."""
        self._begin()
        self._schedule.replace(self._faults, self._station.uptime(), self._sent)
        self._emit(self._broadcast.prologue())
        self._tick()

    def adjust(self, given: dict[str, Any]) -> None:
        """Replace the faults. Pending and current faults end; rate and framing stay."""
        self._faults = make_faults(given)
        self._stalled, self._garbage, self._skip = False, None, 0
        self._packet_faults = []
        self._next_packet = self._station.uptime()
        self._schedule.replace(self._faults, self._station.uptime(), self._sent)

    def resumeProducing(self) -> None:
        """Resume. The bytes due during the pause are sent first."""
        super().resumeProducing()
        if self._rate == 0 and self._active:
            self._call_later(0, self._tick)

    def _tick(self) -> None:
        self._delayed_call = None
        now = self._station.uptime()
        while self._active and (fault := self._schedule.take_by_time(now)):
            self._apply_due(fault)
        if not self._active:
            return
        if self._paused and self._lag() > self._station.max_lag:
            self.abort()
            return
        if not (self._paused or self._stalled):
            self._send(self._target(now))
        if self._active:
            at_once = self._rate == 0 and not (self._paused or self._stalled) and self._faults.trickle is None
            self._call_later(0 if at_once else TICK, self._tick)

    def _due(self, now: float) -> int:
        return self._broadcast.due_at(self._edge + (now - self._start) * self._rate)

    def _lag(self) -> int:
        waits = self._rate == 0 or self._stalled or self._faults.trickle is not None
        return 0 if waits else self._due(self._station.uptime()) - self._place

    def _target(self, now: float) -> int:
        """Return the place up to which this tick sends."""
        if self._faults.trickle is not None:
            if now < self._next_packet:
                return self._place
            self._next_packet = now + self._faults.trickle
            return self._place + PACKET
        if self._rate == 0:
            return self._place + UNPACED_SLICE
        return min(self._due(now), self._place + BACKLOG_SLICE)

    def _send(self, target: int) -> None:
        data, self._backlog = self._backlog + self._take(target), b""
        while data and self._active:
            fault = self._schedule.take_by_octets(self._sent + len(data) - 1)
            before = len(data) if fault is None or fault.octets is None else max(0, fault.octets - self._sent)
            self._emit(data[:before])
            data = data[before:]
            # An approximation with remux: the new multiplex has about as many bytes.
            if self._replays:
                self._channel.reached = max(self._channel.reached, self._place - len(data))
            if fault is not None:
                data = self._apply(fault, data)

    def _take(self, target: int) -> bytes:
        """Return the broadcast from the current place to ``target``, with packet faults and changes."""
        data = self._broadcast.span(self._place, target)
        place, self._place = self._place, max(self._place, target)
        if self._packet_faults:
            data = apply_packet_faults(data, place, self._packet_faults)
        for change in self._changes:
            data = change.feed(data)
        return data

    def _emit(self, data: bytes) -> None:
        skipped = min(self._skip, len(data))
        self._skip -= skipped
        data = data[skipped:]
        if not data:
            return
        if self._garbage is not None:
            data = bytes(self._garbage.choices(_NO_SYNC, k=len(data)))
        self._sent += len(data)
        for tally in self._tallies:
            tally.octets += len(data)
        self._transport.write(self._framing.encode(data))

    # Scheduled faults

    def _apply_due(self, fault: ScheduledFault) -> None:
        """Apply a fault whose time has come. With ``torn``, schedule a close or reset at a later byte instead."""
        if self._faults.torn and fault.name in ("close", "reset") and not (self._stalled or self._paused):
            self._schedule.add(attrs.evolve(fault, seconds=None, octets=self._sent + self._faults.torn))
        else:
            self._apply(fault, b"")

    def _apply(self, fault: ScheduledFault, rest: bytes) -> bytes:
        method: Callable[[bytes], bytes] = getattr(self, f"_apply_{fault.name}")
        return method(rest)

    def _add_packet_fault(self, name: str, rest: bytes) -> bytes:
        """Apply a packet fault to all bytes after ``rest``."""
        self._packet_faults.append(packet_faults(self._station.timeline.clip)[name])
        return rest

    _apply_no_video = partialmethod(_add_packet_fault, "no_video")
    _apply_no_media = partialmethod(_add_packet_fault, "no_media")
    _apply_frozen = partialmethod(_add_packet_fault, "frozen")
    _apply_scrambled = partialmethod(_add_packet_fault, "scrambled")
    _apply_damaged = partialmethod(_add_packet_fault, "damaged")
    _apply_thin = partialmethod(_add_packet_fault, "thin")

    def _apply_garbage(self, rest: bytes) -> bytes:
        self._garbage = random.Random(self._place)
        return rest

    def _apply_cut(self, rest: bytes) -> bytes:
        self._skip = self._faults.cut_size
        return rest

    def _apply_bad_chunk(self, rest: bytes) -> bytes:
        self._transport.write(BAD_CHUNK)
        return rest

    def _apply_stall(self, rest: bytes) -> bytes:
        self._stalled = True
        self._backlog = rest
        if self._faults.stall_for is not None:
            self._schedule.add_at("resume", self._station.uptime() + self._faults.stall_for)
        return b""

    def _apply_resume(self, rest: bytes) -> bytes:
        self._stalled = False
        return rest

    def _apply_close(self, rest: bytes) -> bytes:
        self._transport.write(self._framing.end())
        self.stop()
        self._transport.loseConnection()
        return b""

    def _apply_reset(self, rest: bytes) -> bytes:
        """Schedule the reset for the next tick. The transport must send its buffer first."""
        self._stalled = True
        self._schedule.add_at("abort", self._station.uptime() + TICK / 2)
        return b""

    def _apply_abort(self, rest: bytes) -> bytes:
        self.abort()
        return b""
