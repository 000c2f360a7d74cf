"""Which source to try next, and when to stop trying: a table, without I/O.

An *outage* begins when somebody wants the stream and nothing flows, and ends when a source has delivered for
:data:`SETTLED` seconds. Within an outage the sources are tried in laps:

- a source that ran well and then failed is redialled at once (providers close at will, every ten seconds even);
- one that brings nothing, or stops at once, hands over to the next, without delay;
- when all have been tried, the lap is over: rest, then begin the next lap;
- laps and time are both limited. A fresh outage has fresh limits.

States and events (rows) and what follows (see ``_TABLE``)::

                IDLE        DIALLING           FLOWING              RESTING
    wanted      dial        -                  -                    -
    flowed      -           -> FLOWING         -                    -
    failed      -           next, rest or end  redial, or as left   -
    rested      -           -                  -                    dial
    unwanted    -           -> IDLE            -> IDLE              -> IDLE
    switched    -           dial               dial                 dial

What the session does about an effect (drop the connection that it has, dial, wait) is in
:mod:`m3uproxy.upstream.session`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

import attrs

from ..errors import Reason, SourceError

#: Seconds of delivery after which a source counts as having run well.
SETTLED = 1.0
#: The longest one source may take to answer when an outage has no limit in time.
_PATIENCE = 20.0


class State(Enum):
    """Where a session stands."""

    IDLE = "idle"
    DIALLING = "dialling"
    FLOWING = "flowing"
    RESTING = "resting"


@attrs.frozen
class Dial:
    """Drop what there is and dial the source of that index; seconds allowed for each step."""

    index: int
    connect: float
    first_byte: float
    total: float


@attrs.frozen
class Rest:
    """Drop what there is and wait that many seconds."""

    seconds: float


@attrs.frozen
class GiveUp:
    """Drop what there is and tell the viewers."""

    error: SourceError


@attrs.frozen
class Idle:
    """Drop what there is."""


Effect = Dial | Rest | GiveUp | Idle | None


@attrs.frozen
class Policy:
    """The limits, in seconds unless said otherwise.

    ``start`` bounds an outage in which no viewer has had a byte yet (a real status can still be sent);
    ``total`` one in the middle of playback, 0 for no bound. ``laps`` counts passes over all sources. ``quick`` is what
    a source may take until its first packet in the middle of playback, as long as there is another one to try.
    """

    laps: int = 3
    rest: float = 1.0
    start: float = 20.0
    total: float = 30.0
    connect: float = 4.0
    first_byte: float = 6.0
    quick: float = 3.0


@attrs.define
class Failover:
    """The state of one stream's sources."""

    policy: Policy
    sources: int
    index: int = 0
    state: State = State.IDLE
    error: SourceError | None = None
    sent: bool = False
    _tried: int = 0
    _laps: int = 0
    _outage: float = 0.0

    def wanted(self, now: float) -> Effect:
        """Somebody wants the stream."""
        return self._on("wanted", now)

    def flowed(self, now: float) -> Effect:
        """The source that was dialled has brought its first packet."""
        return self._on("flowed", now)

    def failed(self, now: float, error: SourceError, ran: float = 0.0) -> Effect:
        """The source dialled or flowing has failed, having delivered for ``ran`` seconds."""
        self.error = error
        if ran >= SETTLED and self.state is State.FLOWING:
            self._begin(now)
            return self._dial(now)
        return self._on("failed", now)

    def rested(self, now: float) -> Effect:
        """The rest between two laps is over."""
        return self._on("rested", now)

    def unwanted(self, now: float) -> Effect:
        """Nobody wants the stream any more."""
        return self._on("unwanted", now)

    def switched(self, now: float, index: int) -> Effect:
        """Somebody chose another source. It becomes the one to start with, also when nothing is playing."""
        self.index = index % self.sources
        return self._on("switched", now)

    def _on(self, event: str, now: float) -> Effect:
        step = _TABLE.get((self.state, event))
        return step(self, now) if step else None

    def _begin(self, now: float) -> None:
        """A fresh outage."""
        self._outage, self._tried, self._laps = now, 0, 0

    def _start(self, now: float) -> Effect:
        self._begin(now)
        self.error, self.sent = None, False
        return self._dial(now)

    def _dial(self, now: float) -> Effect:
        """Dial the source in turn, within its share of what is left."""
        left = self._deadline() - now
        if left <= 0:
            return self._give_up(now)
        share = left / max(1, self.sources - self._tried)
        if self.sent and self.sources > 1 and not self._laps:
            share = min(share, self.policy.quick)
        self.state = State.DIALLING
        policy = self.policy
        return Dial(self.index, min(policy.connect, share), min(policy.first_byte, share), min(share, _PATIENCE))

    def _deadline(self) -> float:
        policy = self.policy
        if not self.sent:
            return self._outage + (min(policy.start, policy.total) if policy.total else policy.start)
        return self._outage + policy.total if policy.total else float("inf")

    def _flow(self, now: float) -> Effect:
        self.state = State.FLOWING
        self.sent = True
        return None

    def _advance(self, now: float) -> Effect:
        """The source brought nothing (or next to nothing): the next one, or the end of the lap."""
        self._tried += 1
        if self._tried < self.sources:
            self.index = (self.index + 1) % self.sources
            return self._dial(now)
        self._laps += 1
        if self._laps >= self.policy.laps or now + self.policy.rest >= self._deadline():
            return self._give_up(now)
        self.state = State.RESTING
        return Rest(self.policy.rest)

    def _next_lap(self, now: float) -> Effect:
        self._tried = 0
        self.index = (self.index + 1) % self.sources
        return self._dial(now)

    def _give_up(self, now: float) -> Effect:
        self.state = State.IDLE
        return GiveUp(self.error or SourceError(Reason.FIRST_BYTE_TIMEOUT, "no source answered in time"))

    def _leave(self, now: float) -> Effect:
        self.state = State.IDLE
        return Idle()

    def _choose(self, now: float) -> Effect:
        self._begin(now)
        return self._dial(now)


_TABLE: dict[tuple[State, str], Callable[[Failover, float], Effect]] = {
    (State.IDLE, "wanted"): Failover._start,
    (State.DIALLING, "flowed"): Failover._flow,
    (State.DIALLING, "failed"): Failover._advance,
    (State.FLOWING, "failed"): Failover._advance,
    (State.RESTING, "rested"): Failover._next_lap,
    (State.DIALLING, "unwanted"): Failover._leave,
    (State.FLOWING, "unwanted"): Failover._leave,
    (State.RESTING, "unwanted"): Failover._leave,
    (State.DIALLING, "switched"): Failover._choose,
    (State.FLOWING, "switched"): Failover._choose,
    (State.RESTING, "switched"): Failover._choose,
}
