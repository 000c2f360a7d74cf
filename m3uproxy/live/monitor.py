"""Watches one body while it flows: is it silent, is it worth watching, is there a better one?

Three questions, each with its own answer:

- **Silence, or a trickle** (:mod:`m3uproxy.core.health.silence`, :mod:`m3uproxy.core.health.trickle`): the body is
  over, whatever else there is.
- **A fault in what it brings, or signs that it is about to break** (:mod:`m3uproxy.core.health.content`,
  :mod:`m3uproxy.core.health.trend`): it still delivers, so it is left only if there is another source to go to; if not,
  that is noted, once.
- **A better source** that is well again (failback), or a backup that wants to be looked at: asked once in an interval.

What is found while packets are taken is acted on when they are on their way: who is called then may close the body.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IReactorTime

from ..core.failover.machine import FailoverMachine
from ..core.health.content import ContentFault, ContentHealth, HealthSnapshot
from ..core.health.silence import SHORTEST_PAUSE, SilenceTracker
from ..core.health.trend import TrendDetector
from ..core.health.trickle import TrickleDetector
from ..core.mpegts.psi import ProgramMap
from ..errors import Reason, SourceError
from ..interfaces import IStreamSink
from ..log import make_logger
from ..streams import failback as review
from ..streams.failback import FailbackReview
from ..streams.monitor_rules import MonitorRules
from ..timers import SilenceTimer, Timer

log = make_logger()

#: Seconds after which a fault that nothing can be done about is noted again.
NOTE_AGAIN = 600.0


class MonitorOwner(review.FailbackOwner, Protocol):
    """Who has the body. Each of these but ``look_at`` and ``doubted`` closes it."""

    def source_ended(self, error: SourceError) -> None:
        """The body must be given up."""

    def fault_found(self, error: SourceError) -> None:
        """Something is wrong with what the body brings, and it is not known here where to go."""


class SourceMonitor:
    """Watches from its making until ``close()``."""

    def __init__(
        self,
        clock: IReactorTime,
        sink: IStreamSink,
        failover: FailoverMachine,
        rules: MonitorRules,
        owner: MonitorOwner,
    ) -> None:
        """The body has brought its first packet."""
        now = clock.seconds()
        self._clock = clock
        self._sink = sink
        self._failover = failover
        self._rules = rules
        self._owner = owner
        self._began = self._heard = now
        self._rhythm = SilenceTracker(rules.silence, now)
        self._pulse = TrickleDetector(now)
        self._health = ContentHealth(rules.limits, now) if rules.limits is not None else None
        self._fault: ContentFault | None = None
        self._noted: dict[Reason | ContentFault, float] = {}
        self._suspicion = TrendDetector()
        self._silence_timer = SilenceTimer(clock, self._silence_remaining, self._stalled)
        self._review_timer = Timer(clock)
        self._reviewing = FailbackReview(clock, failover, owner)
        self._closed = False
        self.signs: tuple[str, ...] = ()
        if self._health is not None:
            sink.observe(self._took)
        if rules.silence:
            self._silence_timer.start(rules.silence)
        if rules.interval:
            self._review_timer.set(rules.interval, self._review)

    @property
    def ran(self) -> float:
        """Seconds from the first packets to the last."""
        return self._heard - self._began

    @property
    def condition(self) -> HealthSnapshot | None:
        """What is known of what the body brings; None if nothing is looked at."""
        return None if self._health is None else self._health.snapshot()

    def close(self) -> None:
        """Watch no more. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self._sink.observe(None)
        self._silence_timer.cancel()
        self._review_timer.cancel()
        self._reviewing.close()

    def data_received(self, received: int) -> None:
        """Packets came; called often.

        :param received: bytes of the body so far.
        """
        now = self._heard = self._clock.seconds()
        self._rhythm.packets_received(now)
        if now >= self._pulse.due and self._pulse.update(now, received, self._media()):
            self._owner.source_ended(
                SourceError(Reason.STALLED, f"a trickle of {self._pulse.rate:.0f} bytes per second")
            )
        elif self._fault is not None:
            fault, self._fault = self._fault, None
            self._doubt(fault, self._explain(fault))

    def discontinuity(self) -> None:
        """Behind a seam in the body its clocks are others: what was seen of it says nothing about what comes."""
        now = self._clock.seconds()
        self._pulse, self._suspicion = TrickleDetector(now), TrendDetector()
        if self._health is not None and self._rules.limits is not None:
            self._health = ContentHealth(self._rules.limits, now)
            self._sink.observe(self._took)

    # silence

    def _media(self) -> float:
        return 0.0 if self._health is None else self._health.media

    def _silence_remaining(self) -> float:
        """Return the seconds until the next check; 0 if the body is stalled."""
        now = self._clock.seconds()
        if self._health is not None and self._rhythm.silence(now) >= SHORTEST_PAUSE:
            self._rhythm.media_received(self._health.measure_media())
        return 0.0 if self._rhythm.is_stalled(now) else self._rhythm.check_after(now)

    def _stalled(self) -> None:
        silence = self._rhythm.silence(self._clock.seconds())
        self._owner.source_ended(SourceError(Reason.STALLED, f"no packet for {silence:.1f} s"))

    # what it brings

    def _took(self, now: float, packets: bytes, program: ProgramMap | None) -> None:
        """See :attr:`m3uproxy.core.ingest.ts_parser.TsParser.observer`. What watches must not harm what it watches."""
        assert self._health is not None, "only then packets are shown"
        try:
            self._fault = self._health.packets_received(now, packets, program) or self._fault
        except Exception:
            log.failure("looking at what a source brings failed; it is looked at no more")
            self._sink.observe(None)

    def _explain(self, fault: ContentFault) -> SourceError:
        assert self._health is not None, "where else would it come from"
        found = self._health.snapshot()
        if fault is ContentFault.LOW_BITRATE:
            rates = [rate for rate in (found.bitrate, found.media_bitrate) if rate is not None]
            return SourceError(Reason.LOW_BITRATE, f"{min(rates, default=0.0):.0f} bytes per second")
        seconds = {
            ContentFault.VIDEO_GONE: found.seconds_without_video,
            ContentFault.FROZEN: found.seconds_same_picture,
        }.get(fault)
        lasting = f" for {seconds:.1f} s" if seconds is not None else ""
        return SourceError(Reason.CONTENT, fault.value + lasting)

    def _doubt(self, kind: Reason | ContentFault, error: SourceError) -> None:
        """Leave for another source, or tell that none is known here: a resolver comes before the list."""
        now = self._clock.seconds()
        spare = None if self._failover.has_resolver() else self._failover.sources.best_backup(now)
        if spare is not None:
            self._owner.switch_to(spare, error)
        elif now - self._noted.get(kind, float("-inf")) >= NOTE_AGAIN:
            self._noted[kind] = now
            self._owner.fault_found(error)

    # reviews

    def _review(self) -> None:
        self._review_timer.set(self._rules.interval, self._review)
        self._judge()
        if self._closed:
            return
        self._reviewing.run(self._rules.probe)

    def _judge(self) -> None:
        if self._health is None:
            return
        verdict = self._suspicion.judge(self._health.trend_reading(self._clock.seconds()))
        self.signs = verdict.signs
        if verdict.suspect and self._rules.leave_suspect:
            self._doubt(Reason.SUSPECT, SourceError(Reason.SUSPECT, "; ".join(verdict.signs)))
