"""Monitoring of the body of a live source.

- **Silence or a trickle** (:mod:`m3uproxy.core.health.silence`, :mod:`m3uproxy.core.health.trickle`): the source is
  stalled, and its body is closed even if there is no other source. Then a silent body is closed after twice the time
  only, because the tuner or transcoder behind it would start anew.
- **A fault of the content, or signs of one to come** (:mod:`m3uproxy.core.health.content`,
  :mod:`m3uproxy.core.health.trend`): the source still delivers, so it is left only for another source. If there is
  none, the fault is recorded.
- **Reviews** (:mod:`m3uproxy.streams.failback`): at intervals, the stream moves back to a better source, or a backup is
  probed.

Packets are observed before they are sent, and the owner may close the body. So a fault is acted on after the packets
were sent.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IReactorTime

from ..core.failover.machine import FailoverMachine
from ..core.health.content import ContentFault, ContentHealth, HealthSnapshot
from ..core.health.silence import SilenceTracker, SourceRhythm
from ..core.health.trend import TrendDetector
from ..core.health.trickle import TrickleDetector
from ..core.mpegts.psi import ProgramMap
from ..errors import Reason, SourceError
from ..interfaces import IStreamSink
from ..log import make_logger
from ..streams.failback import FailbackOwner, FailbackReview
from ..streams.monitor_rules import MonitorRules
from ..timers import SilenceTimer, Timer

log = make_logger()

#: Seconds after which a fault that could not be acted on is recorded again.
RECORD_AGAIN = 600.0


class MonitorOwner(FailbackOwner, Protocol):
    """The session of the body. ``source_ended`` and ``switch_to`` close the body."""

    def source_ended(self, error: SourceError) -> None:
        """Close the body, because the source is stalled."""

    def fault_found(self, error: SourceError) -> None:
        """Decide about a fault for which the monitor knows no other source."""

    def source_silent(self, error: SourceError) -> None:
        """Prepare for the end of a silent body, for which the monitor knows no other source. It may deliver again."""


class SourceMonitor:
    """
    The monitor of one body, until ``close()``.

    :ivar signs: signs of a failure to come, for people.
    """

    def __init__(
        self,
        clock: IReactorTime,
        sink: IStreamSink,
        failover: FailoverMachine,
        rules: MonitorRules,
        owner: MonitorOwner,
        rhythm: SourceRhythm | None = None,
    ) -> None:
        """
        Start to monitor a body that has delivered its first media.

        :param rhythm: the pauses of the source so far.
        """
        now = clock.seconds()
        self._clock = clock
        self._sink = sink
        self._failover = failover
        self._rules = rules
        self._owner = owner
        self._began = self._last_packets = now
        self._silence = SilenceTracker(rules.silence, now, self._media_seconds, rhythm, rules.exact)
        self._trickle = TrickleDetector(now)
        self._health = ContentHealth(rules.limits, now) if rules.limits is not None else None
        self._fault: ContentFault | None = None
        self._recorded: dict[Reason | ContentFault, float] = {}
        self._trend = TrendDetector()
        self._silence_timer = SilenceTimer(clock, self._silence_remaining, self._stalled)
        self._review_timer = Timer(clock)
        self._failback = FailbackReview(clock, failover, owner)
        self._closed = self._silence_extended = False
        self.signs: tuple[str, ...] = ()
        if self._health is not None:
            sink.observe(self._packets_received)
        if rules.silence:
            self._silence_timer.start(rules.silence)
        if rules.interval:
            self._review_timer.set(rules.interval, self._review)

    @property
    def ran(self) -> float:
        """Seconds from the first media to the last."""
        return self._last_packets - self._began

    @property
    def ahead(self) -> float | None:
        """Seconds of media by which the body is ahead of real time; None if it delivers evenly."""
        now = self._clock.seconds()
        return self._silence.ahead(now) if self._silence.is_in_burst(now) else None

    @property
    def awaits_media(self) -> bool:
        """True while the body is silent and stays open, because there is no other source."""
        return self._silence_extended

    @property
    def snapshot(self) -> HealthSnapshot | None:
        """The content health of the body; None if content is not checked."""
        return None if self._health is None else self._health.snapshot()

    def close(self) -> None:
        """Stop to monitor. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self._sink.observe(None)
        self._silence_timer.cancel()
        self._review_timer.cancel()
        self._failback.close()

    def data_received(self) -> None:
        """Note that media came, and act on a fault that was found in them. Called often."""
        now = self._last_packets = self._clock.seconds()
        self._silence.packets_received(now)
        if self._silence_extended:
            self._silence_extended = False
            self._silence_timer.start(self._rules.silence)
        media = self._sink.progress
        if now >= self._trickle.due and self._trickle.update(now, media.size, media.seconds):
            detail = f"a trickle of {self._trickle.rate:.0f} bytes per second"
            self._owner.source_ended(SourceError(Reason.STALLED, detail))
        elif self._fault is not None:
            fault, self._fault = self._fault, None
            self._act_on(fault, self._error_of(fault))

    def reading_held(self) -> None:
        """Note that the body is not read now, because players have enough to send: its silence means nothing."""
        now = self._clock.seconds()
        self._silence.packets_received(now)
        media = self._sink.progress
        self._trickle.restart(now, media.size, media.seconds)

    def discontinuity(self) -> None:
        """Start the checks again: after a discontinuity, timestamps may be others, so old samples say nothing."""
        now = self._clock.seconds()
        self._trickle, self._trend = TrickleDetector(now), TrendDetector()
        self._silence.discontinuity()
        if self._health is not None and self._rules.limits is not None:
            self._health = ContentHealth(self._rules.limits, now)
            self._sink.observe(self._packets_received)

    # silence

    def _media_seconds(self) -> float:
        return self._sink.progress.seconds

    def _silence_remaining(self) -> float:
        """Return the seconds until the next check; 0 if the body is stalled."""
        now = self._clock.seconds()
        if not self._silence.is_stalled(now):
            return self._silence.check_after(now)
        return max(0.0, self._longest_silence() - self._silence.silence(now))

    @property
    def _may_extend_silence(self) -> bool:
        return self._rules.lone_silence is not None and not self._failover.has_other_source

    def _longest_silence(self) -> float:
        """Return the seconds of silence after which to act: sooner if there is another source to go to."""
        timeout = self._silence.timeout()
        if not self._may_extend_silence:
            return timeout
        lone = self._rules.lone_silence or 0.0
        return max(timeout, lone) + (max(lone, self._rules.silence) if self._silence_extended else 0.0)

    def _stalled(self) -> None:
        now = self._clock.seconds()
        silence = self._silence.silence(now)
        error = SourceError(Reason.STALLED, f"no picture or sound for {silence:.1f} s")
        if self._silence_extended or not self._may_extend_silence:
            self._silence.stalled(now)
            self._owner.source_ended(error)
            return
        self._silence_extended = True
        self._silence_timer.start(self._rules.silence)
        self._owner.source_silent(error)

    # content

    def _packets_received(self, now: float, packets: bytes, program: ProgramMap | None) -> None:
        """Check packets (:attr:`m3uproxy.core.ingest.ts_parser.TsParser.observer`). An error ends only the checks."""
        assert self._health is not None, "else there is no observer"
        try:
            self._fault = self._health.packets_received(now, packets, program) or self._fault
        except Exception:
            log.failure(
                "stream {stream}: content checks failed and are off for this connection", stream=self._owner.stream_id
            )
            self._sink.observe(None)

    def _error_of(self, fault: ContentFault) -> SourceError:
        assert self._health is not None, "it found the fault"
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

    def _act_on(self, kind: Reason | ContentFault, error: SourceError) -> None:
        """Switch to the best backup. If there is none, or a resolver takes precedence, tell the owner."""
        now = self._clock.seconds()
        backup = None if self._failover.has_resolver() else self._failover.sources.best_backup(now)
        if backup is not None:
            self._owner.switch_to(backup, error)
        elif now - self._recorded.get(kind, float("-inf")) >= RECORD_AGAIN:
            self._recorded[kind] = now
            self._owner.fault_found(error)

    # reviews

    def _review(self) -> None:
        self._review_timer.set(self._rules.interval, self._review)
        self._judge_trend()
        if self._closed:
            return
        self._failback.run(self._rules.probe)

    def _judge_trend(self) -> None:
        if self._health is None:
            return
        verdict = self._trend.judge(self._health.trend_reading(self._clock.seconds()))
        self.signs = verdict.signs
        if verdict.suspect and self._rules.leave_suspect:
            self._act_on(Reason.SUSPECT, SourceError(Reason.SUSPECT, "; ".join(verdict.signs)))
