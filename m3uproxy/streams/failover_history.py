"""The history of one stream's sources: counters, timeline and log lines.

The path of an event is :class:`.failover_driver.FailoverDriver`, which knows the sources by index, then
:class:`FailoverHistory`, which is given labels, then :class:`m3uproxy.core.failover.timeline.Timeline`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from twisted.internet.interfaces import IReactorTime

from ..core.failover.causes import is_own_fault
from ..core.failover.resolver import ResolverAnswer
from ..core.failover.timeline import Decision, Outcome, SourceLabel, Timeline, Value
from ..core.http.redact import redact
from ..core.splice.plan import SpliceKind
from ..core.splice.splicer import SpliceReport
from ..errors import SourceError
from ..log import make_logger

log = make_logger()

_FAILBACK = "a better source is well again"


class FailoverHistory:
    """
    The record of the failovers of one stream.

    A decision is recorded when it is taken. Its outcome is added when the next source delivers.

    :ivar failover_attempts: changes of source.
    :ivar last_failover: time of the last change; None before the first one.
    :ivar error_count: failures and faults of sources.
    """

    def __init__(self, stream_id: str, clock: IReactorTime, wall: Callable[[], datetime]) -> None:
        """
        Make an empty history.

        :param wall: returns the time of day (aware), for people; ``clock`` measures intervals.
        """
        self._stream_id = stream_id
        self._clock = clock
        self._wall = wall
        self._timeline = Timeline()
        self._pending: Decision | None = None
        self._pending_since = 0.0
        self.reset_counters()

    def reset_counters(self) -> None:
        """Set the counters to zero. The timeline stays."""
        self.failover_attempts = self.error_count = 0
        self.last_failover: datetime | None = None

    def entries(self) -> list[dict[str, object]]:
        """Return the last decisions for JSON, oldest first."""
        return self._timeline.entries()

    # events of the sources

    def source_moved(self, source: SourceLabel) -> None:
        """Count a change of source: ``source`` is dialled, or was chosen."""
        self.failover_attempts += 1
        self.last_failover = self._wall()
        log.info("stream {stream}: switching to {url}", stream=self._stream_id, url=redact(source.url))

    def source_failed(self, source: SourceLabel, error: SourceError, first: bool = True) -> None:
        """
        Log a failure. :meth:`source_replaced` follows when the next source is known.

        :param first: whether it is the first failure of an outage, which is a warning. The others are information.
        """
        tell = self._warn if first else self._inform
        tell("source {source} failed: {cause}", source, error)

    def source_silent(self, source: SourceLabel, error: SourceError) -> None:
        """Log that a source is silent, and is awaited, because there is no other one."""
        self._inform("source {source} is awaited: {cause}", source, error)

    def source_replaced(
        self,
        source: SourceLabel,
        target: SourceLabel | None,
        error: SourceError,
        ran: float,
        answer: ResolverAnswer | None = None,
    ) -> None:
        """
        Count a failure, unless it is the fault of this proxy, and record the source that is next.

        :param target: the next source, at once or after a backoff; None if the stream gives up.
        :param ran: seconds for which the failed source had delivered.
        :param answer: the answer of the resolver, if it was asked.
        """
        self.error_count += not is_own_fault(error)
        self._decided(source, target, str(error) if answer is None else f"{error}; {answer}", {"ran_s": ran})

    def source_leaving(self, source: SourceLabel, error: SourceError | None) -> None:
        """Log that a delivering source is about to be left. :meth:`source_left` follows."""
        self._warn("source {source} is to be left: {cause}", source, error or _FAILBACK)

    def source_left(self, source: SourceLabel, target: SourceLabel, error: SourceError | None, ran: float) -> None:
        """
        Record that a delivering source was left for a better one.

        :param error: the fault of the source that was left; None if it had none.
        """
        if error is not None:
            self.source_replaced(source, target, error, ran)
        else:
            self._decided(source, target, _FAILBACK, {"ran_s": ran})

    def fault_ignored(self, source: SourceLabel, error: SourceError, ran: float) -> None:
        """Count and record a fault of a source that stays in use, because there is no other one."""
        self.error_count += 1
        self._record_and_log(source, source, f"{error}; it stays, there is no other source to go to", {"ran_s": ran})

    def source_chosen(self, source: SourceLabel, target: SourceLabel, cause: str, active: bool) -> None:
        """
        Record that the API chose a source.

        :param active: whether the stream has players. If it has none, there is no outcome to wait for.
        """
        if active:
            self._decided(source, target, cause, {})
        else:
            self._pending = None
            self._record_and_log(source, target, cause, {})

    def kind_found(self, source: SourceLabel, error: SourceError) -> None:
        """Record that a source sends another kind of stream than its URL told. That is no failure."""
        self._record_and_log(source, source, str(error), {})

    def standby_failed(self, source: SourceLabel, error: SourceError) -> None:
        """Log the failure of a standby connection. The source in use is not affected, so this is no warning."""
        self._inform("standby source {source} failed: {cause}", source, error)

    def gave_up(self, source: SourceLabel, error: SourceError) -> None:
        """Log that no source is left. The failure that began the outage was the warning."""
        self._inform("giving up on {source}: {cause}", source, error)

    def programme_ended(self, source: SourceLabel) -> None:
        """Record that the players are ended cleanly, because the programme has ended."""
        self._pending = None
        self._record_and_log(source, None, "the programme has ended", {})

    # outcome of the last decision

    def source_joined(self, report: SpliceReport) -> None:
        """Complete the pending decision: the new source was spliced to the old one."""
        lost_ms = 0.0 if report.kind is SpliceKind.OVERLAP else None
        self._complete(lost_ms, f"; it {report.kind.value}")

    def source_answered(self) -> None:
        """Complete the pending decision: the new source answers. The media lost in between are unknown."""
        self._complete(None, "")

    # inside

    def _decided(
        self, source: SourceLabel, target: SourceLabel | None, cause: str, measured: Mapping[str, Value]
    ) -> None:
        """Record a decision. With a target it is logged when it is complete, without one now."""
        if target is None:
            self._pending = None
            self._record_and_log(source, None, cause, measured)
        else:
            self._pending = self._timeline.record(self._wall(), source, target, cause, measured)
            self._pending_since = self._clock.seconds()

    def _complete(self, lost_ms: float | None, suffix: str) -> None:
        decision, self._pending = self._pending, None
        if decision is None:
            return
        bridged_ms = round((self._clock.seconds() - self._pending_since) * 1000, 1)
        outcome = Outcome(lost_ms=lost_ms, bridged_ms=bridged_ms)
        self._log(self._timeline.record_outcome(decision.number, outcome) or decision, suffix)

    def _record_and_log(
        self, source: SourceLabel, target: SourceLabel | None, cause: str, measured: Mapping[str, Value]
    ) -> None:
        self._log(self._timeline.record(self._wall(), source, target, cause, measured))

    def _log(self, decision: Decision, suffix: str = "") -> None:
        log.info("stream {stream}: {line}{suffix}", stream=self._stream_id, line=decision.as_log_line(), suffix=suffix)

    def _warn(self, text: str, source: SourceLabel, cause: SourceError | str) -> None:
        log.warn("stream {stream}: " + text, stream=self._stream_id, source=_shown(source), cause=cause)

    def _inform(self, text: str, source: SourceLabel, cause: SourceError | str) -> None:
        log.info("stream {stream}: " + text, stream=self._stream_id, source=_shown(source), cause=cause)


def _shown(source: SourceLabel) -> str:
    return f"{source.index} {redact(source.url)}"
