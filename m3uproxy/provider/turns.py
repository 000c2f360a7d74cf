"""When a body's faults happen: at a time, or at a byte."""

from __future__ import annotations

import attrs

from m3uproxy.provider.faults import Faults, When

#: Faults with a moment, in the order in which those of the same moment happen.
TURNS = (
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
class Turn:
    """One thing that happens once.

    :ivar name: what.
    :ivar seconds: when, by the station's clock; or
    :ivar octets: before which byte of the body.
    """

    name: str
    seconds: float | None = None
    octets: int | None = None


@attrs.define
class Turns:
    """What is still to happen in one body."""

    _waiting: list[Turn] = attrs.Factory(list)

    def replace(self, faults: Faults, now: float, sent: int) -> None:
        """Expect the turns of these faults and no others.

        :param now: seconds of the station's clock, from which times count.
        :param sent: body bytes so far, from which bytes count.
        """
        self._waiting = []
        for name in TURNS:
            moment: When | None = getattr(faults, name)
            if moment is not None and moment.octets is not None:
                self._waiting.append(Turn(name, octets=sent + moment.octets))
            elif moment is not None and moment.seconds is not None:
                self.add(name, now + moment.seconds)
        if faults.close_every:
            self.add("close", now - now % faults.close_every + faults.close_every)

    def add(self, name: str, seconds: float) -> None:
        """Expect one more, at a time."""
        self.put(Turn(name, seconds=seconds))

    def put(self, turn: Turn) -> None:
        """Expect this one too."""
        self._waiting.append(turn)

    def take_by_time(self, now: float) -> Turn | None:
        """The next turn whose time has come."""
        for turn in self._waiting:
            if turn.seconds is not None and turn.seconds <= now:
                self._waiting.remove(turn)
                return turn
        return None

    def take_by_octets(self, last: int) -> Turn | None:
        """The first turn that stands at or before byte ``last``."""
        ahead = [turn for turn in self._waiting if turn.octets is not None and turn.octets <= last]
        if not ahead:
            return None
        turn = min(ahead, key=lambda each: each.octets or 0)
        self._waiting.remove(turn)
        return turn
