"""State machine of failover: when to dial, when to back off, when to stop. Pure; the clock is a parameter.

:mod:`m3uproxy.core.failover.sources` chooses the source. The session carries out the effects: it closes the present
connection, dials or waits (:mod:`m3uproxy.live.session`, :mod:`m3uproxy.hls.session`, :mod:`m3uproxy.vod.session`).

An *outage* begins when the stream is started or its source fails. It ends when a source has delivered for
:data:`SETTLED_AFTER` seconds. Within an outage the sources are tried in laps:

- A source that ran well and then closed is redialled at once: some providers close every ten seconds.
- If the cause lies in this proxy (short memory), the same source is dialled again after a short wait.
- A source that delivers nothing, stops at once or stalls is followed by the next one without delay.
- When all sources have been tried, the lap is over. The machine backs off, then begins the next lap.
- A programme that has ended ends the players cleanly. It is neither a failure nor a stop. A short one, which may be a
  clip in place of a channel, is a failure while another source is left.
- Time is limited. Until a player has received a byte, the number of laps is limited as well. Each outage has its own
  limits.

A player waits for ``START_TIMEOUT``, and all of it is used: as long as another source is left to try, a dial gets its
share of the time; the last one gets all that is left. It is *patient*: a source that is slow is awaited.

If the application has a *resolver*, the resolver is asked before each change of source. The source that it names is
dialled next. If it names none, there is none better now: the outage goes on with the source in use and those of the
list, and the resolver is asked again in the next lap. If it does not answer, the outage continues without a resolver.

Events (rows), states (columns) and the step that follows (``_TABLE``)::

                  IDLE        DIALLING      STREAMING     BACKING_OFF   ASKING_RESOLVER
    start         next        -             -             -             -
    started       -           -> STREAMING  -             -             -
    failed        -           ask or next   ask or next   -             -
    over          -           finish        finish        -             -
    backoff_over  -           -             -             dial          -
    named         -           -             -             -             next
    none          -           -             -             -             next
    unanswered    -           -             -             -             next
    stop          -           -> IDLE       -> IDLE       -> IDLE       -> IDLE
    switched      -           dial          dial          dial          dial
    left_for      -           -             dial          -             -

*next* means: dial, back off before that, or give up. *finish* ends the players cleanly, and so does *give up* after the
failure of a short programme. *named*, *none* and *unanswered* are answers of the resolver
(:meth:`FailoverMachine.resolver_answered`).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

import attrs

from ...errors import Reason, SourceError, StoredError
from ..http.source_request import DialTimeouts
from .budget import FailoverRules
from .causes import FailureCause, cause_of
from .resolver import TIMEOUT, ResolverAnswer
from .sources import Sources


@attrs.frozen
class Dial:
    """
    Effect: close the present connection and dial a source.

    :ivar index: index of the source.
    :ivar connect: seconds until TCP is connected, name look-up included.
    :ivar first_byte: seconds from then until the response head, TLS handshake included, and from there to the first
        packet.
    :ivar total: seconds for everything up to the first media, redirects included.
    :ivar patient: whether nothing else is left to try, so that the source is awaited.
    """

    index: int
    connect: float
    first_byte: float
    total: float
    patient: bool = False

    @property
    def timeouts(self) -> DialTimeouts:
        """The timeouts of the dial."""
        return DialTimeouts(self.connect, self.first_byte, self.total, self.patient)


@attrs.frozen
class Backoff:
    """Effect: close the present connection and wait for ``seconds``."""

    seconds: float


@attrs.frozen
class AskResolver:
    """Effect: close the present connection and ask the resolver, with a timeout of ``seconds``."""

    seconds: float


@attrs.frozen
class GiveUp:
    """Effect: close the present connection and end the stream's players with ``error``."""

    error: SourceError


@attrs.frozen
class Finish:
    """
    Effect: close the present connection and end the stream's players cleanly, because the programme has ended.

    :ivar error: the end of the source, for the timeline and for players that wait for the first byte.
    """

    error: SourceError


@attrs.frozen
class Idle:
    """Effect: close the present connection."""


Effect = Dial | Backoff | AskResolver | GiveUp | Finish | Idle | None


#: Seconds of delivery after which a source has run well and the outage is over.
SETTLED_AFTER = 1.0
#: The longest total timeout of one dial, in seconds, unless ``start`` is longer; the only bound where the outage has
#: none.
_MAX_DIAL_TIME = 20.0
#: Seconds in which hardly any source answers. After a failure before the first byte, no dial is given less, because its
#: timeout would replace the error of that failure.
_MIN_DIAL_TIME = 0.2
#: A dial that fails within this time, in seconds, was answered: the source needs no share of the time in later laps.
_PROMPT = 1.0


class FailoverState(Enum):
    """The state of a session."""

    IDLE = "idle"
    DIALLING = "dialling"
    STREAMING = "streaming"
    BACKING_OFF = "backing off"
    ASKING_RESOLVER = "asking resolver"


@attrs.frozen
class FailoverPolicy:
    """
    The limits of an outage. Times are in seconds.

    The fields that are not listed are those of :class:`.budget.FailoverRules`.

    :ivar start: limit of an outage in which no player has received a byte; an HTTP error can still be sent.
    :ivar total: limit of an outage during playback; 0 for no limit.
    :ivar connect: timeout of a connection.
    :ivar first_byte: timeout of the response head, and of the first media after it, while another source is left.
    :ivar quick: total timeout of a dial during playback, in the first lap, while another source is left.
    :ivar unlimited_laps: whether only ``total`` ends an outage during playback, and not the number of laps.
    """

    laps: int = 3
    backoff: float = 1.0
    start: float = 20.0
    total: float = 30.0
    connect: float = 4.0
    first_byte: float = 6.0
    quick: float = 3.0
    backoff_growth: float = 1.0
    max_changes: int = 0
    stall_cool_down: float = 10.0
    failback: float = 0.0
    unlimited_laps: bool = True

    @property
    def rules(self) -> FailoverRules:
        """The rules for choosing a source."""
        return FailoverRules(
            laps=self.laps,
            backoff=self.backoff,
            backoff_growth=self.backoff_growth,
            max_changes=self.max_changes,
            stall_cool_down=self.stall_cool_down,
            failback=self.failback,
        )


@attrs.define(slots=False)
class FailoverMachine:
    """
    The failover state of one stream. Each event returns the effect that the session carries out.

    Parameters named ``now`` are monotonic seconds.

    :ivar has_resolver: returns whether the application has a resolver to ask.
    :ivar error: the last failure of the present outage.
    :ivar sent: whether a source has streamed since the start, so that players have received bytes.
    :ivar failures: failures in the present outage.
    """

    policy: FailoverPolicy
    sources: Sources
    has_resolver: Callable[[], bool] = lambda: False
    state: FailoverState = FailoverState.IDLE
    error = StoredError()
    sent: bool = False
    failures: int = 0
    _resolver_failed: bool = False
    _short_programme: bool = False
    _declined_in_lap: int | None = None
    _outage_began: float = 0.0
    _dialled_at: float = 0.0
    _streaming_since: float = 0.0

    @property
    def index(self) -> int:
        """The index of the source in use, or of the next one."""
        return self.sources.current

    @property
    def has_other_source(self) -> bool:
        """True if the list has another source than the one in use."""
        return any(index != self.index for index in self.sources.source_list.order())

    def begins_outage(self, ran: float) -> bool:
        """
        Return whether a failure now is the first one of an outage.

        :param ran: seconds for which the source had delivered.
        """
        return ran >= SETTLED_AFTER or not self.failures

    def start(self, now: float) -> Effect:
        """Start the stream: the first player has asked for it."""
        return self._on("start", now)

    def started(self, now: float) -> Effect:
        """Take note that the dialled source delivered its first picture or sound."""
        return self._on("started", now)

    def failed(self, now: float, error: SourceError, ran: float = 0.0, cause: FailureCause | None = None) -> Effect:
        """
        Take note that the source dialled or streaming has failed.

        :param ran: seconds for which the source had delivered.
        :param cause: the kind of failure; by default derived from ``error``.
        """
        self.error = error
        if self.state is FailoverState.STREAMING and ran >= SETTLED_AFTER:
            self.sources.settled(self.index, now - ran)
            self._begin_outage(now)
        self.failures += 1
        cause = cause or cause_of(error)
        if cause is FailureCause.NO_SLOT and self.state is FailoverState.STREAMING:
            cause = FailureCause.OURS  # the stream holds its slot; its own requests were too many
        if self.state is FailoverState.DIALLING and now - self._dialled_at < _PROMPT:
            self.sources.budget.prompt.add(self.index)
        if self.state in (FailoverState.DIALLING, FailoverState.STREAMING):
            self.sources.failed(self.index, cause, now, error.retry_after)
        return self._on("failed", now)

    def programme_ended(self, now: float, error: SourceError, ran: float, short: bool) -> Effect:
        """
        Take note that the source dialled or streaming was a programme, which has ended.

        :param ran: seconds for which the source had delivered.
        :param short: whether it may be a clip in place of a channel. Then another source, if one is left, is tried.
        """
        if short and (self.has_resolver() or self.sources.has_other(now)):
            self._short_programme = True
            return self.failed(now, error, ran, FailureCause.PROGRAMME)
        self.error = error
        return self._on("over", now)

    def preferred(self, now: float) -> int | None:
        """Return the index of the better source to move back to; None if there is none yet."""
        self._settle(now)
        return self.sources.preferred(now) if self.state is FailoverState.STREAMING else None

    def backoff_over(self, now: float) -> Effect:
        """Continue after the backoff between two laps."""
        return self._on("backoff_over", now)

    def resolver_answered(self, now: float, answer: ResolverAnswer) -> Effect:
        """Take the answer of the resolver, or its failure. An answer that is not awaited has no effect."""
        if self.state is not FailoverState.ASKING_RESOLVER:
            return None
        if answer.problem is not None:
            self._resolver_failed = True
            return self._on("unanswered", now)
        if answer.url is None:
            return self._on("none", now)
        self.sources.name_next(answer.url)
        return self._on("named", now)

    def stop(self, now: float) -> Effect:
        """Stop the stream: the last player has left."""
        return self._on("stop", now)

    def switched(self, now: float, index: int) -> Effect:
        """Switch to the source that an operator or the application chose; while idle, the next start begins there."""
        self._settle(now)
        self.sources.chosen(index, now)
        return self._on("switched", now)

    def left_for(self, now: float, index: int, error: SourceError | None = None) -> Effect:
        """
        Leave the streaming source for a better one.

        :param error: the fault of the source that is left; None if it has none.
        """
        if self.state is not FailoverState.STREAMING:
            return None
        self._settle(now)
        if error is not None:
            self.error = error
            self.sources.failed(self.index, cause_of(error), now)
        self.sources.left_for(index, now)
        return self._on("left_for", now)

    def took_over(self, now: float, index: int, error: SourceError | None = None, chosen: bool = False) -> None:
        """
        Take note that a standby connection has replaced the streaming one.

        :param error: the fault of the source that was left, or the way it ended in the meantime.
        :param chosen: whether an operator or the application chose the new source.
        """
        self._settle(now)
        if error is not None:
            self.error = error
            self.sources.failed(self.index, cause_of(error), now)
        if chosen:
            self.sources.chosen(index, now)
        self.sources.took_over(index, now)
        self.state, self._streaming_since = FailoverState.STREAMING, now

    def _on(self, event: str, now: float) -> Effect:
        step = _TABLE.get((self.state, event))
        return step(self, now) if step else None

    def _settle(self, now: float) -> None:
        if self.state is FailoverState.STREAMING and now - self._streaming_since >= SETTLED_AFTER:
            self.sources.settled(self.index, self._streaming_since)

    def _begin_outage(self, now: float) -> None:
        self._outage_began, self.failures = now, 0
        self._resolver_failed, self._declined_in_lap = False, None

    def _start(self, now: float) -> Effect:
        self._begin_outage(now)
        self.sources.begin_outage(now)
        self.error, self.sent, self._short_programme = None, False, False
        return self._next(now)

    def _ask(self, now: float) -> Effect:
        """Ask the resolver, within half of the time left: the source that it names must still be dialled."""
        left = self._deadline() - now
        if not self._may_ask_resolver or self.sources.redials or left <= 0:
            return self._next(now)
        self.state = FailoverState.ASKING_RESOLVER
        return AskResolver(min(TIMEOUT, left / 2))

    @property
    def _may_ask_resolver(self) -> bool:
        budget = self.sources.budget
        may_answer = not self._resolver_failed and self._declined_in_lap != budget.lap
        return self.has_resolver() and may_answer and budget.may_change

    def _decline(self, now: float) -> Effect:
        """Go on with the own sources: the resolver knows none better now. It is asked again in the next lap."""
        self._declined_in_lap = self.sources.budget.lap
        self.sources.keep_current()
        return self._next(now)

    def _next(self, now: float) -> Effect:
        """Dial the next source, back off before that, or give up."""
        self.sources.budget.free_laps = self._deadline() < float("inf")
        self.sources.budget.unlimited_laps = self.policy.unlimited_laps and self.sent and self.policy.total > 0
        choice = self.sources.next(now, self._deadline())
        if self._short_programme and (choice is None or choice.delay):
            return self._finish(now)
        if choice is None or now + choice.delay >= self._deadline() or (choice.delay and self._is_final):
            return self._give_up(now)
        if choice.delay:
            self.state = FailoverState.BACKING_OFF
            return Backoff(choice.delay)
        return self._dial(now)

    @property
    def _is_final(self) -> bool:
        """True before the first byte if another lap cannot help: no free slot, or the source is a file."""
        error = None if self.sent else self.error
        return error is not None and error.reason in (Reason.NO_SLOT, Reason.OTHER_KIND)

    def _dial(self, now: float) -> Effect:
        """Dial the current source, within its share of the time left."""
        left = self._deadline() - now
        if left <= (_MIN_DIAL_TIME if self.error is not None and not self.sent else 0.0):
            return self._give_up(now)
        self.state, self._dialled_at = FailoverState.DIALLING, now
        policy, longest = self.policy, max(_MAX_DIAL_TIME, self.policy.start)
        may_be_named = self._may_ask_resolver and self._declined_in_lap is None
        others = self.sources.others_left(self._deadline()) + may_be_named
        if not others:
            total = min(left, longest)
            return Dial(self.index, min(policy.connect, total), total, total, patient=True)
        share = min(left / (others + 1), longest)
        if self.sent and self.sources.first_lap:
            share = min(share, policy.quick)
        return Dial(self.index, min(policy.connect, share), min(policy.first_byte, share), share)

    def _deadline(self) -> float:
        policy = self.policy
        if not self.sent:
            return self._outage_began + (min(policy.start, policy.total) if policy.total else policy.start)
        return self._outage_began + policy.total if policy.total else float("inf")

    def _stream(self, now: float) -> Effect:
        self.state = FailoverState.STREAMING
        self.sent, self._short_programme = True, False
        self._streaming_since = now
        return None

    def _finish(self, now: float) -> Effect:
        self._settle(now)
        self.sources.left(now)
        self.state = FailoverState.IDLE
        return Finish(self.error or SourceError(Reason.PROGRAMME_ENDED))

    def _give_up(self, now: float) -> Effect:
        if self._short_programme:
            return self._finish(now)
        self.state = FailoverState.IDLE
        held_back = self.sources.held_back(now)
        if self.error is None and held_back:
            detail = f"the provider must not be asked for {held_back:.0f} s"
            return GiveUp(SourceError(Reason.BUSY, detail, retry_after=held_back))
        return GiveUp(
            self.error or SourceError(Reason.FIRST_BYTE_TIMEOUT, "no source answered in time (START_TIMEOUT)")
        )

    def _stop(self, now: float) -> Effect:
        self._settle(now)
        self.sources.left(now)
        self.state = FailoverState.IDLE
        return Idle()

    def _switch(self, now: float) -> Effect:
        self._begin_outage(now)
        return self._next(now)


_TABLE: dict[tuple[FailoverState, str], Callable[[FailoverMachine, float], Effect]] = {
    (FailoverState.IDLE, "start"): FailoverMachine._start,
    (FailoverState.DIALLING, "started"): FailoverMachine._stream,
    (FailoverState.DIALLING, "failed"): FailoverMachine._ask,
    (FailoverState.STREAMING, "failed"): FailoverMachine._ask,
    (FailoverState.DIALLING, "over"): FailoverMachine._finish,
    (FailoverState.STREAMING, "over"): FailoverMachine._finish,
    (FailoverState.BACKING_OFF, "backoff_over"): FailoverMachine._dial,
    (FailoverState.ASKING_RESOLVER, "named"): FailoverMachine._next,
    (FailoverState.ASKING_RESOLVER, "none"): FailoverMachine._decline,
    (FailoverState.ASKING_RESOLVER, "unanswered"): FailoverMachine._next,
    (FailoverState.DIALLING, "stop"): FailoverMachine._stop,
    (FailoverState.STREAMING, "stop"): FailoverMachine._stop,
    (FailoverState.BACKING_OFF, "stop"): FailoverMachine._stop,
    (FailoverState.ASKING_RESOLVER, "stop"): FailoverMachine._stop,
    (FailoverState.DIALLING, "switched"): FailoverMachine._switch,
    (FailoverState.STREAMING, "switched"): FailoverMachine._switch,
    (FailoverState.BACKING_OFF, "switched"): FailoverMachine._switch,
    (FailoverState.ASKING_RESOLVER, "switched"): FailoverMachine._switch,
    (FailoverState.STREAMING, "left_for"): FailoverMachine._switch,
}
