"""Keeps one body flowing: carries out what :mod:`m3uproxy.core.failover` decides, as Deferred chains.

At any moment a session has at most one of: a wait for leave to dial, a feed (:mod:`.feed`), a rest. An effect of the
table first drops what there is (``_drop``), and a dial begins only when the socket of the feed before it is gone, or
has not gone for :data:`GOODBYE` seconds: a provider that allows one connection must not see two of ours. Only where
there is room for two a source that flows may have another beside it (:mod:`.beside`), which takes over without a gap.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import random

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from ..core.cause import cause_of
from ..core.failover import Dial, Effect, Failover, GiveUp, Idle, Policy, Rest, State
from ..core.redact import redact
from ..core.sources import Sources
from ..core.viewer import Viewer
from ..errors import Reason, SourceError
from ..interfaces import IDialler, IStreamSink
from ..log import make_logger
from .beside import Beside
from .candidate import Candidate
from .dial import DialLimits, SourceRequest
from .feed import Feed
from .observer import Observer
from .slots import Admission
from .tick import Tick
from .watch import Watch, WatchRules

log = make_logger()

#: Seconds for which a dial waits for the socket of the body before it.
GOODBYE = 1.0


class Session:
    """The source side of one stream."""

    def __init__(
        self,
        clock: IReactorTime,
        dialler: IDialler,
        tick: Tick,
        sink: IStreamSink,
        requests: tuple[SourceRequest, ...],
        policy: Policy,
        rules: Callable[[], WatchRules],
        observer: Observer,
        admission: Admission,
        random: Callable[[], float] = random,
    ) -> None:
        """
        Make an idle session.

        :param requests: one for each source, in order; 0 is the primary.
        :param rules: what is watched of a body; asked for each.
        :param observer: told of failures and moves.
        :param admission: asked before each dial.
        :ivar watch: watches the body that flows; None if none does.
        """
        self._clock = clock
        self._dialler = dialler
        self._tick = tick
        self._sink = sink
        self._requests = requests
        self._failover = Failover(policy, Sources([request.url for request in requests], policy.rules, random))
        self._rules = rules
        self._observer = observer
        self._admission = admission
        self._index = 0
        self._asking: Deferred[None] | None = None
        self._feed: Feed | None = None
        self._beside = Beside(clock, dialler, tick, admission, policy, self)
        self.watch: Watch | None = None
        self._gone: Deferred[None] = succeed(None)
        self._timer: IDelayedCall | None = None
        self._effects: deque[Effect] = deque()
        self._carrying = False

    @property
    def index(self) -> int:
        """The source in use, or to be used next."""
        candidate = self._beside.candidate
        return candidate.index if candidate is not None and candidate.chosen else self._failover.index

    @property
    def error(self) -> SourceError | None:
        """The last failure of the present run, if any."""
        return self._failover.error

    @property
    def sources(self) -> Sources:
        """How each source has behaved."""
        return self._failover.sources

    @property
    def active(self) -> bool:
        """True while a source is open, dialled or waited for."""
        return self._failover.state is not State.IDLE

    def start(self, viewer: Viewer | None = None) -> None:
        """Somebody wants the stream; ``viewer``, if it is one. Harmless when it runs."""
        if not self.active:
            self._admission.viewer = viewer
        self._carry_out(self._failover.wanted(self._clock.seconds()))

    def stop(self) -> Deferred[None]:
        """Nobody wants it: close the provider's connection now.

        :return: a Deferred that fires when its socket is gone.
        """
        self._carry_out(self._failover.unwanted(self._clock.seconds()))
        return self._when_gone()

    def switch(self, index: int) -> None:
        """Move to another source, beside the one that flows if there is room for both, else at once."""
        index %= len(self._requests)
        candidate = self._beside.candidate
        if candidate is not None and candidate.chosen and index == self._failover.index:
            self._beside.close()
        elif not self._open_beside(index, chosen=True):
            self._carry_out(self._failover.switched(self._clock.seconds(), index))
        self._tell_index()

    def replace_sources(self, requests: tuple[SourceRequest, ...]) -> None:
        """Take other sources. What is flowing goes on; if its place is gone, the next dial is the primary's."""
        self._requests = requests
        stays = self._failover.sources.replace([request.url for request in requests])
        if not stays and self._failover.state in (State.DIALLING, State.RESTING):
            self.switch(0)
        else:
            self._index = self._failover.index

    # what the table decided

    def _carry_out(self, effect: Effect) -> None:
        """Carry out one effect after the other: what one causes at once must not pile up on the stack."""
        if effect is None:
            return
        self._effects.append(effect)
        if self._carrying:
            return
        self._carrying = True
        try:
            while self._effects:
                self._carry_out_now(self._effects.popleft())
        except Exception:
            log.failure("changing sources failed")
            self._effects.clear()
        finally:
            self._carrying = False

    def _carry_out_now(self, effect: Effect) -> None:
        self._drop()
        if not isinstance(effect, Dial):
            self._admission.leave()
        if isinstance(effect, Dial):
            self._tell_index()
            self._dial(effect)
        elif isinstance(effect, Rest):
            self._timer = self._clock.callLater(effect.seconds, self._rested)
        elif isinstance(effect, GiveUp):
            log.warn("giving up on {url}: {error}", url=self._label(), error=effect.error)
            self._sink.gave_up(effect.error)
        else:
            assert isinstance(effect, Idle)

    def _tell_index(self) -> None:
        if self.index != self._index:
            self._index = self.index
            self._observer.source_moved(self._index)

    def _drop(self) -> None:
        """End whatever is under way."""
        self._cancel_timer()
        watch, self.watch = self.watch, None
        if watch is not None:
            watch.close()
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.cancel()
        self._beside.close()
        feed, self._feed = self._feed, None
        if feed is not None:
            self._gone = feed.close()

    def _cancel_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _rested(self) -> None:
        self._timer = None
        self._carry_out(self._failover.rested(self._clock.seconds()))

    def _ran(self) -> float:
        return self.watch.ran if self.watch is not None and self._failover.state is State.FLOWING else 0.0

    def _label(self) -> str:
        return redact(self._requests[self._failover.index].url)

    # dialling

    def _dial(self, step: Dial) -> None:
        asking = Deferred.fromCoroutine(self._open(step))
        asking.addErrback(self._refused)
        if not asking.called:
            self._asking = asking

    async def _open(self, step: Dial) -> None:
        """Wait for leave to dial, and until a source that was closed is gone."""
        request = self._requests[step.index]
        slot = await self._admission.admit(request.account)
        if not self._gone.called:
            await self._when_gone().addTimeout(GOODBYE, self._clock, onTimeoutCancel=lambda *_: None)
        self._asking = None
        self._feed = Feed(self._clock, self._dialler, self._tick, self._sink, self, slot)
        self._feed.open(request, DialLimits(step.connect, step.first_byte, step.total))

    def _refused(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, CancelledError):
            return
        self._asking = None
        if not isinstance(error, SourceError):
            log.failure("dialling {url} failed unexpectedly", failure=failure, url=self._label())
            error = SourceError(Reason.INTERNAL, type(error).__name__)
        self.ended(error)

    def _when_gone(self) -> Deferred[None]:
        """Fires when the socket of the last feed is gone; cancelling it cancels nobody else's wait."""
        waiting: Deferred[None] = Deferred()

        def tell(result: None) -> None:
            if not waiting.called:
                waiting.callback(None)

        self._gone.addCallback(tell)
        return waiting

    # the feed's owner

    def flowing(self) -> None:
        """The source delivers."""
        self._admission.viewer = None
        self._carry_out(self._failover.flowed(self._clock.seconds()))
        self._start_watch()

    def heard(self) -> None:
        """Packets came."""
        if self.watch is not None and self._feed is not None:
            self.watch.heard(self._feed.received)

    def ended(self, error: SourceError) -> None:
        """The source is over, or given up: for a live stream that is always a failure."""
        left, ran = self._failover.index, self._ran()
        log.warn("source {index} {url} failed: {error}", index=left, url=self._label(), error=error)
        candidate = self._beside.candidate
        if candidate is not None and candidate.proven:
            self._observer.source_failed(error, left, candidate.index, ran)
            self._replace_by(candidate, error)
            return
        effect = self._failover.failed(self._clock.seconds(), error, ran)
        if candidate is not None and candidate.chosen:
            effect = self._failover.switched(self._clock.seconds(), candidate.index)
        chosen = None if isinstance(effect, GiveUp) else self._failover.index
        self._observer.source_failed(error, left, chosen, ran)
        self._carry_out(effect)

    def _start_watch(self) -> None:
        self.watch = Watch(self._clock, self._sink, self._failover, self._rules(), self)

    # the watch's owner

    def leave_for(self, index: int, error: SourceError | None) -> None:
        """Move from the source that flows to a better one, beside it or after it.

        :param error: what is wrong with what it brings; None if it is only not the best.
        """
        if self._beside.candidate is not None:
            return
        why = error or "a better source is well again"
        log.warn("source {index} {url} is to be left: {why}", index=self._failover.index, url=self._label(), why=why)
        if self._open_beside(index, error):
            return
        left, ran = self._failover.index, self._ran()
        effect = self._failover.left_for(self._clock.seconds(), index, error)
        self._observer.source_left(left, self._failover.index, ran, error)
        self._carry_out(effect)

    def doubted(self, error: SourceError) -> None:
        """Something is wrong with what the source brings, and there is nowhere to go: it stays."""
        self._observer.source_doubted(error, self._failover.index, self._ran())

    def look_at(self, index: int) -> Deferred[None] | None:
        """Look whether another source would deliver, if that may be."""
        return self._beside.look_at(self._requests[index], self._requests[self._failover.index])

    # the candidate's owner

    def _open_beside(self, index: int, why: SourceError | None = None, chosen: bool = False) -> bool:
        if self._failover.state is not State.FLOWING or index == self._failover.index:
            return False
        return self._beside.open(index, self._requests[index], self._requests[self._failover.index], why, chosen)

    def took(self, candidate: Candidate) -> None:
        """It replaces what flows."""
        if not candidate.chosen:
            self._observer.source_left(self._failover.index, candidate.index, self._ran(), candidate.why)
        self._replace_by(candidate, candidate.why)

    def lost(self, candidate: Candidate, error: SourceError) -> None:
        """What flows goes on, unless somebody wants it replaced at any price."""
        log.warn("source {index} was opened beside another and failed: {error}", index=candidate.index, error=error)
        self._beside.close()
        now = self._clock.seconds()
        if candidate.chosen:
            self._carry_out(self._failover.switched(now, candidate.index))
        else:
            self._failover.sources.probed(candidate.index, cause_of(error), now)

    def _replace_by(self, candidate: Candidate, error: SourceError | None) -> None:
        feed, slot, kept = candidate.release()
        self._drop()
        self._admission.replace(slot)
        self._feed = feed
        self._failover.took_over(self._clock.seconds(), candidate.index, error, candidate.chosen)
        self._tell_index()
        feed.move(self._sink, self)
        self._sink.source_changed()
        if self._feed is feed:
            self._start_watch()
            self._sink.bytes_received(kept)
