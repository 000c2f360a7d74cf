"""Schedule of the faults of a body: at a time, or at a byte."""

from __future__ import annotations

import attrs

from m3uproxy.provider.faults import Faults, When

#: Faults with a moment. Faults of the same moment happen in this order.
SCHEDULED_FAULTS = (
    "garbage",
    "cut",
    "bad_chunk",
    "no_video",
    "no_media",
    "frozen",
    "scrambled",
    "damaged",
    "thin",
    "stall",
    "close",
    "reset",
)


@attrs.frozen
class ScheduledFault:
    """A fault that happens once, at a time or at a byte.

    :ivar name: name of the fault.
    :ivar seconds: its time on the clock of the station, or None.
    :ivar octets: number of body bytes before it, or None.
    """

    name: str
    seconds: float | None = None
    octets: int | None = None


@attrs.define
class FaultSchedule:
    """Faults that are still to happen in a body."""

    _pending: list[ScheduledFault] = attrs.Factory(list)

    def replace(self, faults: Faults, now: float, sent: int) -> None:
        """Replace the schedule by that of these faults.

        :param now: seconds on the clock of the station; times count from here.
        :param sent: body bytes sent so far; bytes count from here.
        """
        self._pending = []
        for name in SCHEDULED_FAULTS:
            moment: When | None = getattr(faults, name)
            if moment is not None and moment.octets is not None:
                self._pending.append(ScheduledFault(name, octets=sent + moment.octets))
            elif moment is not None and moment.seconds is not None:
                self.add_at(name, now + moment.seconds)
        if faults.close_every:
            self.add_at("close", now - now % faults.close_every + faults.close_every)

    def add_at(self, name: str, seconds: float) -> None:
        """Add a fault at a time."""
        self.add(ScheduledFault(name, seconds=seconds))

    def add(self, fault: ScheduledFault) -> None:
        """Add a fault."""
        self._pending.append(fault)

    def take_by_time(self, now: float) -> ScheduledFault | None:
        """Remove and return the next fault that is due at this time, or None."""
        for fault in self._pending:
            if fault.seconds is not None and fault.seconds <= now:
                self._pending.remove(fault)
                return fault
        return None

    def take_by_octets(self, last: int) -> ScheduledFault | None:
        """Remove and return the first fault at or before byte ``last``, or None."""
        reached = [fault for fault in self._pending if fault.octets is not None and fault.octets <= last]
        if not reached:
            return None
        fault = min(reached, key=lambda each: each.octets or 0)
        self._pending.remove(fault)
        return fault
