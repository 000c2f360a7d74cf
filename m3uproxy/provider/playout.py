"""One body of the broadcast, on its way to one viewer.

A tick each 20 ms sends what has become due. What is due waits in the timeline, not here: a viewer who does not read
pauses us, and one who falls too far behind is dropped. A body that is not paced (``rate=0``) sends whenever its
transport takes more; it runs ahead of the clock.

Faults of a body are turns: at a time or at a byte they change how it goes on. A turn gets what remains of the piece
at hand and returns what of it is still to be sent.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partialmethod
from typing import Any

import attrs

from m3uproxy.provider.ailments import Ailment, ailments, suffer
from m3uproxy.provider.clip import PACKET
from m3uproxy.provider.faults import Faults, make_faults
from m3uproxy.provider.framing import BAD_CHUNK, make_framing
from m3uproxy.provider.radio import Broadcast
from m3uproxy.provider.station import Channel, Station, Tally
from m3uproxy.provider.timed_producer import TICK, TimedProducer, Wire
from m3uproxy.provider.turns import Turn, Turns
from m3uproxy.provider.variants import changes_for, live_edge

#: The most that one tick sends, bytes: of a backlog, and when there is no pace.
BACKLOG_SLICE = 1000 * PACKET
UNPACED_SLICE = 350 * PACKET
_NO_SYNC = bytes(value for value in range(256) if value != 0x47)


class Playout(TimedProducer):
    """Sends the broadcast to one viewer until a fault, the viewer or the station ends it.

    :param wire: the connection, which this object closes; when it is lost otherwise, the owner calls :meth:`stop`.
    :param channel: what is watched; it has counted this viewer already.
    :param tallies: are told every body byte that is sent.
    :param broadcast: what is sent; the station's timeline, unless it is no transport stream.
    """

    def __init__(
        self,
        station: Station,
        wire: Wire,
        faults: Faults,
        channel: Channel,
        tallies: list[Tally],
        broadcast: Broadcast | None = None,
    ) -> None:
        super().__init__(station.clock, wire)
        self._station = station
        self._channel = channel
        self._faults = faults
        self._tallies = tallies
        self._framing = make_framing(faults)
        self._rate = faults.rate
        self._turns = Turns()
        self._start = station.uptime()
        self._broadcast = broadcast or station.timeline
        # What is no transport stream has a past of its own, and is sent as it is.
        self._replays = self._broadcast is station.timeline
        self._edge = live_edge(station, channel, faults) if self._replays else self._start
        self._place = self._broadcast.due_at(self._edge - (faults.replay or faults.burst))
        self._changes = changes_for(station, channel, faults, self._edge) if self._replays else []
        self._backlog = b""
        self._sent = self._skip = 0
        self._stalled = False
        self._garbage: random.Random | None = None
        self._ailing: list[Ailment] = []
        self._next_drop = self._start

    def start(self) -> None:
        """Begin; the head has been written."""
        self._begin()
        self._turns.replace(self._faults, self._station.uptime(), self._sent)
        self._emit(self._broadcast.prologue())
        self._tick()

    def adjust(self, given: dict[str, Any]) -> None:
        """Let other faults begin now; those that were still to come, or lasted, end. Pace and framing stay."""
        self._faults = make_faults(given)
        self._stalled, self._garbage, self._skip = False, None, 0
        self._ailing = []
        self._next_drop = self._station.uptime()
        self._turns.replace(self._faults, self._station.uptime(), self._sent)

    def resumeProducing(self) -> None:
        """Send again, first what was missed: what was due waited in the timeline."""
        super().resumeProducing()
        if self._rate == 0 and self._live:
            self._after(0, self._tick)

    def _tick(self) -> None:
        self._later = None
        now = self._station.uptime()
        while self._live and (turn := self._turns.take_by_time(now)):
            self._make_in_time(turn)
        if not self._live:
            return
        if self._paused and self._lag() > self._station.max_lag:
            self.drop()
            return
        if not (self._paused or self._stalled):
            self._send(self._goal(now))
        if self._live:
            at_once = self._rate == 0 and not (self._paused or self._stalled) and self._faults.trickle is None
            self._after(0 if at_once else TICK, self._tick)

    def _due(self, now: float) -> int:
        return self._broadcast.due_at(self._edge + (now - self._start) * self._rate)

    def _lag(self) -> int:
        waits = self._rate == 0 or self._stalled or self._faults.trickle is not None
        return 0 if waits else self._due(self._station.uptime()) - self._place

    def _goal(self, now: float) -> int:
        """The place up to which this tick sends."""
        if self._faults.trickle is not None:
            if now < self._next_drop:
                return self._place
            self._next_drop = now + self._faults.trickle
            return self._place + PACKET
        if self._rate == 0:
            return self._place + UNPACED_SLICE
        return min(self._due(now), self._place + BACKLOG_SLICE)

    def _send(self, goal: int) -> None:
        data, self._backlog = self._backlog + self._take(goal), b""
        while data and self._live:
            turn = self._turns.take_by_octets(self._sent + len(data) - 1)
            before = len(data) if turn is None or turn.octets is None else max(0, turn.octets - self._sent)
            self._emit(data[:before])
            data = data[before:]
            # As it was made anew it has about as many bytes.
            if self._replays:
                self._channel.reached = max(self._channel.reached, self._place - len(data))
            if turn is not None:
                data = self._make(turn, data)

    def _take(self, goal: int) -> bytes:
        """The broadcast from where we are up to a place, as this viewer gets it."""
        data = self._broadcast.span(self._place, goal)
        place, self._place = self._place, max(self._place, goal)
        if self._ailing:
            data = suffer(data, place, self._ailing)
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
        self._wire.write(self._framing.encode(data))

    # The turns: from now on ...

    def _make_in_time(self, turn: Turn) -> None:
        """Make a turn whose time has come; if the body is to end torn, at a byte that is still to come."""
        if self._faults.torn and turn.name in ("close", "reset") and not (self._stalled or self._paused):
            self._turns.put(attrs.evolve(turn, seconds=None, octets=self._sent + self._faults.torn))
        else:
            self._make(turn, b"")

    def _make(self, turn: Turn, rest: bytes) -> bytes:
        method: Callable[[bytes], bytes] = getattr(self, f"_turn_{turn.name}")
        return method(rest)

    def _fall_ill(self, name: str, rest: bytes) -> bytes:
        """What was on its way is well; what follows it is not."""
        self._ailing.append(ailments(self._station.timeline.clip)[name])
        return rest

    _turn_no_video = partialmethod(_fall_ill, "no_video")
    _turn_frozen = partialmethod(_fall_ill, "frozen")
    _turn_scrambled = partialmethod(_fall_ill, "scrambled")
    _turn_damaged = partialmethod(_fall_ill, "damaged")
    _turn_thin = partialmethod(_fall_ill, "thin")

    def _turn_garbage(self, rest: bytes) -> bytes:
        self._garbage = random.Random(self._place)
        return rest

    def _turn_cut(self, rest: bytes) -> bytes:
        self._skip = self._faults.cut_size
        return rest

    def _turn_bad_chunk(self, rest: bytes) -> bytes:
        self._wire.write(BAD_CHUNK)
        return rest

    def _turn_stall(self, rest: bytes) -> bytes:
        self._stalled = True
        self._backlog = rest
        if self._faults.stall_for is not None:
            self._turns.add("go_on", self._station.uptime() + self._faults.stall_for)
        return b""

    def _turn_go_on(self, rest: bytes) -> bytes:
        self._stalled = False
        return rest

    def _turn_close(self, rest: bytes) -> bytes:
        self._wire.write(self._framing.end())
        self.stop()
        self._wire.loseConnection()
        return b""

    def _turn_reset(self, rest: bytes) -> bytes:
        """Reset with the next tick: what was sent before must have left the transport."""
        self._stalled = True
        self._turns.add("drop", self._station.uptime() + TICK / 2)
        return b""

    def _turn_drop(self, rest: bytes) -> bytes:
        self.drop()
        return b""
