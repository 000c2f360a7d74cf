"""Keeps one body flowing: the course of a live stream.

At any moment a session has at most one of: a feed (:mod:`.feed`), or a wait for leave to open one
(:mod:`.sole_feed`); a rest; a question to the resolver. Only where there is room for two a source that flows may have
another beside it (:mod:`.beside`), which takes over without a gap.
"""

from __future__ import annotations

from collections.abc import Callable
from random import random

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from ..core.failover.causes import cause_of
from ..core.failover.machine import AskResolver, Backoff, Dial, FailoverPolicy, FailoverState, GiveUp, Idle
from ..core.http.source_request import DialTimeouts, SourceRequest
from ..errors import SourceError
from ..interfaces import IDialler, IStreamSink
from ..streams.failover_driver import FailoverDriver
from ..streams.interfaces import FailoverObserver, ResolverPort
from ..streams.monitor_rules import MonitorRules
from ..upstream.slots import StreamSlot
from .current_connection import CurrentConnection
from .monitor import SourceMonitor
from .read_scheduler import ReadScheduler
from .source_connection import SourceConnection
from .standby_connection import Standby, StandbyConnection


class LiveSession(FailoverDriver):
    """The source side of one stream."""

    def __init__(
        self,
        clock: IReactorTime,
        dialler: IDialler,
        tick: ReadScheduler,
        sink: IStreamSink,
        requests: tuple[SourceRequest, ...],
        policy: FailoverPolicy,
        rules: Callable[[], MonitorRules],
        observer: FailoverObserver,
        admission: StreamSlot,
        advisor: ResolverPort,
        random: Callable[[], float] = random,
    ) -> None:
        """
        Make an idle session. For what is not stated see :class:`.course.FailoverDriver`.

        :param rules: what is watched of a body; asked for each.
        :ivar watch: watches the body that flows; None if none does.
        """
        super().__init__(clock, requests, policy, observer, admission, advisor, random)
        self._sink = sink
        self._rules = rules
        self._sole = CurrentConnection(
            clock, admission, lambda slot: SourceConnection(clock, dialler, tick, sink, self, slot), self
        )
        self._beside = Standby(clock, dialler, tick, admission, policy, self)
        self.watch: SourceMonitor | None = None

    def stop(self) -> Deferred[None]:
        """Nobody wants it: close the provider's connection now.

        :return: a Deferred that fires when its socket is gone.
        """
        self._carry_out(self._failover.stop(self._clock.seconds()))
        return self._sole.when_gone()

    def replace_sources(self, requests: tuple[SourceRequest, ...]) -> None:
        """Take other sources; see :meth:`.course.FailoverDriver.replace_sources`."""
        self._beside.sources_change(self._requests, requests)
        super().replace_sources(requests)

    # the course

    @property
    def moving(self) -> bool:
        """Whether another source is on its way in beside the one that flows."""
        return self._beside.candidate is not None

    @property
    def _aim(self) -> int:
        chosen = self._beside.chosen
        return self._failover.index if chosen is None else chosen

    def _choose(self, index: int) -> None:
        """Beside the source that flows if there is room for both, else at once."""
        if self._beside.chosen is not None and index == self._failover.index:
            self._beside.close()
        elif not self._open_beside(index, chosen=True):
            super()._choose(index)

    def _open(self, request: SourceRequest, step: Dial) -> None:
        self._sole.open(request, DialTimeouts(step.connect, step.first_byte, step.total))

    def _drop(self) -> None:
        super()._drop()
        watch, self.watch = self.watch, None
        if watch is not None:
            watch.close()
        self._beside.close()
        self._sole.drop()

    def _leave(self, effect: Backoff | AskResolver | GiveUp | Idle) -> None:
        self._admission.release()

    def _gave_up(self, error: SourceError) -> None:
        self._sink.gave_up(error)

    def _ran(self) -> float:
        return self.watch.ran if self.watch is not None and self._failover.state is FailoverState.STREAMING else 0.0

    # the feed's owner

    def flowing(self) -> None:
        """The source delivers."""
        self._admission.viewer = None
        self._carry_out(self._failover.started(self._clock.seconds()))
        self._start_watch()

    def heard(self) -> None:
        """Packets came."""
        if self.watch is not None:
            self.watch.heard(self._sole.received)

    def changed(self) -> None:
        """A seam within the body."""
        if self.watch is not None:
            self.watch.changed()

    def ended(self, error: SourceError) -> None:
        """The source is over, or given up: what was opened beside it takes its place, if it can."""
        candidate = self._beside.candidate
        if candidate is None or not (candidate.proven or candidate.chosen):
            super().ended(error)
            return
        self._chronicle.failed(error, self._ran())
        if candidate.proven:
            self._chronicle.next_is(candidate.index)
            self._replace_by(candidate, error)
        else:
            self._failover.left_for(self._clock.seconds(), candidate.index, error)
            self._follow(self._failover.switched(self._clock.seconds(), candidate.index))

    def _start_watch(self) -> None:
        self.watch = SourceMonitor(self._clock, self._sink, self._failover, self._rules(), self)

    # the watch's owner

    def leave_for(self, index: int, error: SourceError | None) -> None:
        """Move from the source that flows to a better one, beside it or after it.

        :param error: what is wrong with what it brings; None if it is only not the best.
        """
        if self.moving:
            return
        if self._open_beside(index, error):
            self._chronicle.to_leave(error)
        else:
            super().leave_for(index, error)

    def doubted(self, error: SourceError) -> None:
        """Something is wrong with what the source brings: it stays, unless the resolver or the list has another."""
        if self._failover.has_resolver:
            self._advisor.doubt(error)
        else:
            self.keep(error)

    def look_at(self, index: int) -> Deferred[None] | None:
        """Look whether another source would deliver, if that may be."""
        return self._beside.probe_source(self.request(index), self.request())

    # the candidate's owner

    def _open_beside(self, index: int, why: SourceError | None = None, chosen: bool = False) -> bool:
        if self._failover.state is not FailoverState.STREAMING or index == self._failover.index:
            return False
        return self._beside.open(index, self.request(index), self.request(), why, chosen)

    def took(self, candidate: StandbyConnection) -> None:
        """It replaces what flows."""
        if not candidate.chosen:
            self._chronicle.left(self._failover.index, candidate.index, self._ran(), candidate.why)
        self._replace_by(candidate, candidate.why)

    def lost(self, candidate: StandbyConnection, error: SourceError) -> None:
        """What flows goes on, unless somebody wants it replaced at any price."""
        self._chronicle.lost(candidate.index, error)
        self._beside.close()
        if candidate.chosen:
            self._carry_out(self._failover.switched(self._clock.seconds(), candidate.index))
        else:
            self._failover.sources.probed(candidate.index, cause_of(error), self._clock.seconds())

    def _replace_by(self, candidate: StandbyConnection, error: SourceError | None) -> None:
        feed, slot, kept = candidate.release()
        self._drop()
        self._sole.replace_by(feed, slot)
        self._failover.took_over(self._clock.seconds(), candidate.index, error, candidate.chosen)
        self._chronicle.aims_at(self._aim)
        feed.move(self._sink, self)
        self._sink.source_changed()
        if self._sole.has(feed):
            self._start_watch()
            self._sink.bytes_received(kept)
