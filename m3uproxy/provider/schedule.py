"""When a body's faults happen: at a time, or at a byte."""

from __future__ import annotations

import attrs

from m3uproxy.provider.faults import Faults, When

#: Faults with a moment, in the order in which those of the same moment happen.
SCHEDULED_FAULTS = (
    "garbage",
    "cut",
    "bad_chunk",
    "no_video",
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
    """One thing that happens once.

    :ivar name: what.
    :ivar seconds: when, by the station's clock; or
    :ivar octets: before which byte of the body.
    """

    name: str
    seconds: float | None = None
    octets: int | None = None


@attrs.define
class FaultSchedule:
    """What is still to happen in one body."""

    _pending: list[ScheduledFault] = attrs.Factory(list)

    def replace(self, faults: Faults, now: float, sent: int) -> None:
        """Expect the turns of these faults and no others.

        :param now: seconds of the station's clock, from which times count.
        :param sent: body bytes so far, from which bytes count.
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
        """Expect one more, at a time."""
        self.add(ScheduledFault(name, seconds=seconds))

    def add(self, fault: ScheduledFault) -> None:
        """Expect this one too."""
        self._pending.append(fault)

    def take_by_time(self, now: float) -> ScheduledFault | None:
        """The next fault whose time has come."""
        for fault in self._pending:
            if fault.seconds is not None and fault.seconds <= now:
                self._pending.remove(fault)
                return fault
        return None

    def take_by_octets(self, last: int) -> ScheduledFault | None:
        """The first fault that stands at or before byte ``last``."""
        ahead = [fault for fault in self._pending if fault.octets is not None and fault.octets <= last]
        if not ahead:
            return None
        fault = min(ahead, key=lambda each: each.octets or 0)
        self._pending.remove(fault)
        return fault
