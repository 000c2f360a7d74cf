"""When to dial, to rest and to stop trying: a table, without I/O. Which source it is, :mod:`.sources` knows.

An *outage* begins when somebody wants the stream and nothing flows, and ends when a source has delivered for
:data:`SETTLED` seconds. Within an outage the sources are tried in laps:

- a source that ran well and then closed is redialled at once (providers close at will, every ten seconds even);
- one that brings nothing, or stops at once, or stalls, hands over to the next, without delay;
- when all have been tried, the lap is over: rest, then begin the next lap;
- time is limited, and before a viewer has had a byte laps are as well. A fresh outage has fresh limits.

A *resolver*, where there is one, is asked before each change of source, and what it names is next. If it names none,
that is the end; if it does not answer, the outage goes on without it, as if there were none.

States and events (rows) and what follows (see ``_TABLE``)::

                IDLE        DIALLING      FLOWING       RESTING     ASKING
    wanted      dial, rest  -             -             -           -
    flowed      -           -> FLOWING    -             -           -
    failed      -           ask or next   ask or next   -           -
    rested      -           -             -             dial        -
    named       -           -             -             -           next
    none        -           -             -             -           end
    unanswered  -           -             -             -           next
    unwanted    -           -> IDLE       -> IDLE       -> IDLE     -> IDLE
    switched    -           dial          dial          dial        dial
    left_for    -           -             dial          -           -

*next* is to dial, or to rest before that, or the end.

What the session does about an effect (drop the connection that it has, dial, wait) is in
:mod:`m3uproxy.live.session`.

What the table of failover tells a session to do; see :mod:`m3uproxy.core.failover.machine`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

import attrs

from ...errors import Reason, SourceError
from .causes import FailureCause, cause_of
from .resolver import TIMEOUT, ResolverAnswer
from .sources import FailoverRules, Sources


@attrs.frozen
class Dial:
    """Drop what there is and dial the source of that index; seconds allowed for each step."""

    index: int
    connect: float
    first_byte: float
    total: float


@attrs.frozen
class Backoff:
    """Drop what there is and wait that many seconds."""

    seconds: float


@attrs.frozen
class AskResolver:
    """Drop what there is and ask the resolver; its answer is of use for that many seconds."""

    seconds: float


@attrs.frozen
class GiveUp:
    """Drop what there is and tell the viewers."""

    error: SourceError


@attrs.frozen
class Idle:
    """Drop what there is."""


Effect = Dial | Backoff | AskResolver | GiveUp | Idle | None


#: Seconds of delivery after which a source counts as having run well.
SETTLED = 1.0
#: The longest one source may take to answer when an outage has no limit in time.
_PATIENCE = 20.0
#: Seconds in which hardly any source answers: a dial cut short would hide from the first viewer why the others failed.
_HOPELESS = 0.2


class FailoverState(Enum):
    """Where a session stands."""

    IDLE = "idle"
    DIALLING = "dialling"
    FLOWING = "flowing"
    RESTING = "resting"
    ASKING = "asking"


@attrs.frozen
class FailoverPolicy:
    """The limits, in seconds unless said otherwise.

    ``start`` bounds an outage in which no viewer has had a byte yet (a real status can still be sent);
    ``total`` one in the middle of playback, 0 for no bound. ``quick`` is what a source may take until its first packet
    in the middle of playback, as long as there is another one to try. ``patient`` has laps go on there until then. The
    others are those of :class:`.sources.FailoverRules`.
    """

    laps: int = 3
    rest: float = 1.0
    start: float = 20.0
    total: float = 30.0
    connect: float = 4.0
    first_byte: float = 6.0
    quick: float = 3.0
    growth: float = 1.0
    moves: int = 0
    stall_cool_down: float = 10.0
    failback: float = 0.0
    patient: bool = True

    @property
    def rules(self) -> FailoverRules:
        """How sources are chosen."""
        return FailoverRules(
            laps=self.laps,
            rest=self.rest,
            growth=self.growth,
            moves=self.moves,
            stall_cool_down=self.stall_cool_down,
            failback=self.failback,
        )


@attrs.define
class FailoverMachine:
    """
    The state of one stream's sources.

    :ivar has_resolver: whether there is somebody to ask.
    """

    policy: FailoverPolicy
    sources: Sources
    has_resolver: bool = False
    state: FailoverState = FailoverState.IDLE
    error: SourceError | None = None
    sent: bool = False
    _helpless: bool = False
    _outage: float = 0.0
    _flowing: float = 0.0

    @property
    def index(self) -> int:
        """The source in use, or to be used next."""
        return self.sources.current

    def wanted(self, now: float) -> Effect:
        """Somebody wants the stream."""
        return self._on("wanted", now)

    def flowed(self, now: float) -> Effect:
        """The source that was dialled has brought its first packet."""
        return self._on("flowed", now)

    def failed(self, now: float, error: SourceError, ran: float = 0.0, cause: FailureCause | None = None) -> Effect:
        """The source dialled or flowing has failed, having delivered for ``ran`` seconds."""
        self.error = error
        if self.state is FailoverState.FLOWING and ran >= SETTLED:
            self.sources.settled(self.index, now - ran)
            self._outage, self._helpless = now, False
        if self.state in (FailoverState.DIALLING, FailoverState.FLOWING):
            self.sources.failed(self.index, cause or cause_of(error), now)
        return self._on("failed", now)

    def preferred(self, now: float) -> int | None:
        """The source to move back to, if it is time for that."""
        self._settle(now)
        return self.sources.preferred(now) if self.state is FailoverState.FLOWING else None

    def rested(self, now: float) -> Effect:
        """The rest between two laps is over."""
        return self._on("rested", now)

    def referred(self, now: float, referral: ResolverAnswer) -> Effect:
        """The resolver has answered, or cannot."""
        if self.state is not FailoverState.ASKING:
            return None
        if referral.problem is not None:
            self._helpless = True
            return self._on("unanswered", now)
        if referral.url is None:
            return self._on("none", now)
        self.sources.invite(referral.url)
        return self._on("named", now)

    def unwanted(self, now: float) -> Effect:
        """Nobody wants the stream any more."""
        return self._on("unwanted", now)

    def switched(self, now: float, index: int) -> Effect:
        """Somebody chose another source. It becomes the one to start with, also when nothing is playing."""
        self._settle(now)
        self.sources.chose(index, now)
        return self._on("switched", now)

    def left_for(self, now: float, index: int, error: SourceError | None = None) -> Effect:
        """
        The source that flows is left for a better one.

        :param error: what is wrong with what it brings; None if it is only not the best.
        """
        if self.state is not FailoverState.FLOWING:
            return None
        self._settle(now)
        if error is not None:
            self.error = error
            self.sources.failed(self.index, cause_of(error), now)
        self.sources.leave_for(index, now)
        return self._on("left_for", now)

    def took_over(self, now: float, index: int, error: SourceError | None = None, chosen: bool = False) -> None:
        """
        A source that was opened beside the one that flowed flows in its place.

        :param error: what was wrong with that, or how it ended in the meantime.
        :param chosen: whether somebody chose the new one.
        """
        self._settle(now)
        if error is not None:
            self.error = error
            self.sources.failed(self.index, cause_of(error), now)
        if chosen:
            self.sources.chose(index, now)
        self.sources.took_over(index, now)
        self.state, self._flowing = FailoverState.FLOWING, now

    def _on(self, event: str, now: float) -> Effect:
        step = _TABLE.get((self.state, event))
        return step(self, now) if step else None

    def _settle(self, now: float) -> None:
        if self.state is FailoverState.FLOWING and now - self._flowing >= SETTLED:
            self.sources.settled(self.index, self._flowing)

    def _start(self, now: float) -> Effect:
        self._outage, self._helpless = now, False
        self.sources.begin(now)
        self.error, self.sent = None, False
        return self._next(now)

    def _ask(self, now: float) -> Effect:
        """Ask where to go, within half of what is left: what is named must still be dialled."""
        left = self._deadline() - now
        if not self._may_ask or self.sources.redials or left <= 0:
            return self._next(now)
        self.state = FailoverState.ASKING
        return AskResolver(min(TIMEOUT, left / 2))

    @property
    def _may_ask(self) -> bool:
        return self.has_resolver and not self._helpless and self.sources.outage.may_move

    def _next(self, now: float) -> Effect:
        """The source whose turn it is, now or after a rest; or the end."""
        self.sources.outage.patient = self.policy.patient and self.sent and self.policy.total > 0
        choice = self.sources.next(now)
        if choice is None or now + choice.delay >= self._deadline() or (choice.delay and self._is_settled):
            return self._give_up(now)
        if choice.delay:
            self.state = FailoverState.RESTING
            return Backoff(choice.delay)
        return self._dial(now)

    @property
    def _is_settled(self) -> bool:
        """Another lap would bring nothing else, and who waits can still be told: no connection is left, or a film."""
        error = None if self.sent else self.error
        return error is not None and (error.reason is Reason.NO_SLOT or error.media_type is not None)

    def _dial(self, now: float) -> Effect:
        """Dial the source in turn, within its share of what is left."""
        left = self._deadline() - now
        if left <= (_HOPELESS if self.error is not None and not self.sent else 0.0):
            return self._give_up(now)
        share = left / max(1, self.sources.untried + self._may_ask)
        if self.sent and (len(self.sources) > 1 or self._may_ask) and self.sources.first_lap:
            share = min(share, self.policy.quick)
        self.state = FailoverState.DIALLING
        policy = self.policy
        return Dial(self.index, min(policy.connect, share), min(policy.first_byte, share), min(share, _PATIENCE))

    def _deadline(self) -> float:
        policy = self.policy
        if not self.sent:
            return self._outage + (min(policy.start, policy.total) if policy.total else policy.start)
        return self._outage + policy.total if policy.total else float("inf")

    def _flow(self, now: float) -> Effect:
        self.state = FailoverState.FLOWING
        self.sent = True
        self._flowing = now
        return None

    def _give_up(self, now: float) -> Effect:
        self.state = FailoverState.IDLE
        return GiveUp(self.error or SourceError(Reason.FIRST_BYTE_TIMEOUT, "no source answered in time"))

    def _leave(self, now: float) -> Effect:
        self._settle(now)
        self.sources.left(now)
        self.state = FailoverState.IDLE
        return Idle()

    def _choose(self, now: float) -> Effect:
        self._outage, self._helpless = now, False
        return self._next(now)


_TABLE: dict[tuple[FailoverState, str], Callable[[FailoverMachine, float], Effect]] = {
    (FailoverState.IDLE, "wanted"): FailoverMachine._start,
    (FailoverState.DIALLING, "flowed"): FailoverMachine._flow,
    (FailoverState.DIALLING, "failed"): FailoverMachine._ask,
    (FailoverState.FLOWING, "failed"): FailoverMachine._ask,
    (FailoverState.RESTING, "rested"): FailoverMachine._dial,
    (FailoverState.ASKING, "named"): FailoverMachine._next,
    (FailoverState.ASKING, "none"): FailoverMachine._give_up,
    (FailoverState.ASKING, "unanswered"): FailoverMachine._next,
    (FailoverState.DIALLING, "unwanted"): FailoverMachine._leave,
    (FailoverState.FLOWING, "unwanted"): FailoverMachine._leave,
    (FailoverState.RESTING, "unwanted"): FailoverMachine._leave,
    (FailoverState.ASKING, "unwanted"): FailoverMachine._leave,
    (FailoverState.DIALLING, "switched"): FailoverMachine._choose,
    (FailoverState.FLOWING, "switched"): FailoverMachine._choose,
    (FailoverState.RESTING, "switched"): FailoverMachine._choose,
    (FailoverState.ASKING, "switched"): FailoverMachine._choose,
    (FailoverState.FLOWING, "left_for"): FailoverMachine._choose,
}
