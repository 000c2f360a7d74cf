"""Keeps one body flowing: the course of a live stream.

At any moment a session has at most one of: a feed (:mod:`.feed`), or a wait for leave to open one
(:mod:`.sole_feed`); a rest; a question to the resolver. Only where there is room for two a source that flows may have
another beside it (:mod:`.beside`), which takes over without a gap.
"""

from __future__ import annotations

from collections.abc import Callable
from random import random

from twisted.internet.defer import Deferred

from ..core.failover.causes import cause_of
from ..core.failover.machine import AskResolver, Backoff, Dial, FailoverState, GiveUp, Idle
from ..core.http.source_request import DialTimeouts, SourceRequest
from ..errors import SourceError
from ..interfaces import IStreamSink
from ..streams.context import StreamContext
from ..streams.failover_driver import DrivenStream, FailoverDriver
from .current_connection import CurrentConnection
from .monitor import SourceMonitor
from .source_connection import LiveUpstream, SourceConnection
from .standby_connection import Standby, StandbyConnection


class LiveSession(FailoverDriver):
    """The source side of one stream."""

    def __init__(
        self,
        context: StreamContext,
        upstream: LiveUpstream,
        stream: DrivenStream,
        sink: IStreamSink,
        random: Callable[[], float] = random,
    ) -> None:
        """
        Make an idle session.

        :param sink: the consumer of the source's bytes.
        """
        policy = context.live_policy(stream.spec)
        super().__init__(context, stream, policy, random)
        self._sink = sink
        self._current = CurrentConnection(
            self._clock, self._slot, lambda slot: SourceConnection(upstream, sink, self, slot), self
        )
        self._standby = Standby(upstream, self._slot, policy, self)
        self.watch: SourceMonitor | None = None

    def stop(self) -> Deferred[None]:
        """Nobody wants it: close the provider's connection now.

        :return: a Deferred that fires when its socket is gone.
        """
        self._carry_out(self._failover.stop(self._clock.seconds()))
        return self._current.when_gone()

    def replace_sources(self, requests: tuple[SourceRequest, ...]) -> None:
        """Take other sources; see :meth:`.course.FailoverDriver.replace_sources`."""
        self._standby.sources_change(self._requests, requests)
        super().replace_sources(requests)

    # the course

    @property
    def has_standby(self) -> bool:
        """Whether another source is on its way in beside the one that flows."""
        return self._standby.candidate is not None

    @property
    def _target(self) -> int:
        chosen = self._standby.chosen
        return self._failover.index if chosen is None else chosen

    def _open_chosen(self, index: int) -> None:
        """Beside the source that flows if there is room for both, else at once."""
        if self._standby.chosen is not None and index == self._failover.index:
            self._standby.close()
        elif not self._open_standby(index, chosen=True):
            super()._open_chosen(index)

    def _open_source(self, request: SourceRequest, step: Dial) -> None:
        self._current.open(request, DialTimeouts(step.connect, step.first_byte, step.total))

    def _close_source(self) -> None:
        super()._close_source()
        watch, self.watch = self.watch, None
        if watch is not None:
            watch.close()
        self._standby.close()
        self._current.drop()

    def _source_closed(self, effect: Backoff | AskResolver | GiveUp | Idle) -> None:
        self._slot.release()

    def _sources_exhausted(self, error: SourceError) -> None:
        self._sink.sources_exhausted(error)

    def _seconds_delivered(self) -> float:
        return self.watch.ran if self.watch is not None and self._failover.state is FailoverState.STREAMING else 0.0

    # the feed's owner

    def source_started(self) -> None:
        """The source delivers."""
        self._slot.viewer = None
        self._carry_out(self._failover.started(self._clock.seconds()))
        self._start_watch()

    def data_received(self) -> None:
        """Packets came."""
        if self.watch is not None:
            self.watch.data_received(self._current.received)

    def discontinuity(self) -> None:
        """A seam within the body."""
        if self.watch is not None:
            self.watch.discontinuity()

    def source_ended(self, error: SourceError) -> None:
        """The source is over, or given up: what was opened beside it takes its place, if it can."""
        candidate = self._standby.candidate
        if candidate is None or not (candidate.proven or candidate.chosen):
            super().source_ended(error)
            return
        self._source_failed(error, self._seconds_delivered())
        if candidate.proven:
            self._source_replaced(candidate.index)
            self._replace_by(candidate, error)
        else:
            self._failover.left_for(self._clock.seconds(), candidate.index, error)
            self._carry_out_after_failure(self._failover.switched(self._clock.seconds(), candidate.index))

    def _start_watch(self) -> None:
        self.watch = SourceMonitor(self._clock, self._sink, self._failover, self._monitor_rules(), self)

    # the watch's owner

    def switch_to(self, index: int, error: SourceError | None) -> None:
        """Move from the source that flows to a better one, beside it or after it.

        :param error: what is wrong with what it brings; None if it is only not the best.
        """
        if self.has_standby:
            return
        if self._open_standby(index, error):
            self._history.source_leaving(self.label(self._failover.index), error)
        else:
            super().switch_to(index, error)

    def fault_found(self, error: SourceError) -> None:
        """Something is wrong with what the source brings: it stays, unless the resolver or the list has another."""
        if self._resolver.available:
            self._resolver.report_fault(error)
        else:
            self.stay(error)

    def probe(self, index: int) -> Deferred[None] | None:
        """Look whether another source would deliver, if that may be."""
        return self._standby.probe_source(self.request(index), self.request())

    # the candidate's owner

    def _open_standby(self, index: int, why: SourceError | None = None, chosen: bool = False) -> bool:
        if self._failover.state is not FailoverState.STREAMING or index == self._failover.index:
            return False
        return self._standby.open(index, self.request(index), self.request(), why, chosen)

    def standby_ready(self, candidate: StandbyConnection) -> None:
        """It replaces what flows."""
        if not candidate.chosen:
            left, target = self.label(self._failover.index), self.label(candidate.index)
            self._history.source_left(left, target, candidate.why, self._seconds_delivered())
        self._replace_by(candidate, candidate.why)

    def standby_failed(self, candidate: StandbyConnection, error: SourceError) -> None:
        """What flows goes on, unless somebody wants it replaced at any price."""
        self._history.standby_failed(self.label(candidate.index), error)
        self._standby.close()
        if candidate.chosen:
            self._carry_out(self._failover.switched(self._clock.seconds(), candidate.index))
        else:
            self._failover.sources.probed(candidate.index, cause_of(error), self._clock.seconds())

    def _replace_by(self, candidate: StandbyConnection, error: SourceError | None) -> None:
        feed, slot, kept = candidate.release()
        self._close_source()
        self._current.replace_by(feed, slot)
        self._failover.took_over(self._clock.seconds(), candidate.index, error, candidate.chosen)
        self._announce()
        feed.move(self._sink, self)
        self._sink.source_changed()
        if self._current.has(feed):
            self._start_watch()
            self._sink.bytes_received(kept)
