"""What a stream decided about its sources, with what each change of source cost its viewers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

import attrs
from twisted.internet.interfaces import IReactorTime

from ..core.failover.timeline import Decision, Outcome, SourceLabel, Timeline, Value
from ..core.splice.plan import SpliceKind
from ..core.splice.splicer import SpliceReport
from ..log import make_logger

log = make_logger()


@attrs.define
class DecisionLog:
    """Notes decisions when they are taken, and completes each when the source chosen is on the wire."""

    stream_id: str
    _clock: IReactorTime
    _wall: Callable[[], datetime]
    _timeline: Timeline = attrs.field(factory=Timeline)
    _last: Decision | None = None
    _since: float = 0.0

    def decided(
        self, source: SourceLabel, target: SourceLabel | None, cause: str, measured: Mapping[str, Value]
    ) -> None:
        """A source is left.

        :param target: what follows, maybe after a rest; None for none.
        """
        self._last = self._timeline.record(self._wall(), source, target, cause, measured)
        self._since = self._clock.seconds()
        if target is None:
            self._tell(self._last)
            self._last = None

    def chosen(self, source: SourceLabel, target: SourceLabel, cause: str, in_use: bool) -> None:
        """Somebody chose a source.

        :param in_use: whether one is; else nothing is bridged, and the next player begins with the one chosen.
        """
        if in_use:
            self.decided(source, target, cause, {})
        else:
            self._last = None
            self._tell(self._timeline.record(self._wall(), source, target, cause))

    def noted(self, source: SourceLabel, cause: str, measured: Mapping[str, Value]) -> None:
        """Something is wrong with a source, and it stays, for there is no other."""
        self._tell(self._timeline.record(self._wall(), source, source, cause, measured))

    def joined(self, report: SpliceReport) -> None:
        """The source that was chosen goes on from what was sent."""
        if self._last is None:
            return
        outcome = Outcome(
            lost_ms=0.0 if report.kind is SpliceKind.OVERLAP else None,
            bridged_ms=round((self._clock.seconds() - self._since) * 1000, 1),
        )
        whole = self._timeline.record_outcome(self._last.number, outcome) or self._last
        self._last = None
        self._tell(whole, f"; it {report.kind.value}")

    def resumed(self) -> None:
        """The source that was chosen answers; what was lost in between is not known."""
        if self._last is not None:
            outcome = Outcome(bridged_ms=round((self._clock.seconds() - self._since) * 1000, 1))
            whole = self._timeline.record_outcome(self._last.number, outcome) or self._last
            self._last = None
            self._tell(whole)

    def entries(self) -> list[dict[str, object]]:
        """The last ones, oldest first, for JSON."""
        return self._timeline.entries()

    def _tell(self, decision: Decision, more: str = "") -> None:
        log.info("stream {stream}: {line}{more}", stream=self.stream_id, line=decision.as_log_line(), more=more)
