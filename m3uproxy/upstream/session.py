"""Keeps one body flowing: carries out what :mod:`m3uproxy.core.failover` decides.

At any moment a session has at most one of: a feed (:mod:`.feed`), or a wait for leave to open one
(:mod:`.sole_feed`); a rest; a question to the resolver. An effect of the table first drops what there is (``_drop``).
Only where there is room for two a source that flows may have another beside it (:mod:`.beside`), which takes over
without a gap.
"""

from __future__ import annotations

from collections.abc import Callable
from random import random

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from ..core.cause import cause_of
from ..core.effects import Ask, Dial, Effect, GiveUp, Idle, Rest
from ..core.failover import Failover, Policy, State
from ..core.resolver import Referral
from ..core.sources import Sources
from ..core.viewer import Viewer
from ..errors import SourceError
from ..interfaces import IDialler, IStreamSink
from .advisor import Advisor
from .alarm import Alarm
from .beside import Beside
from .candidate import Candidate
from .chronicle import Chronicle
from .dial import DialLimits, SourceRequest
from .feed import Feed
from .in_turn import InTurn
from .observer import Observer
from .slots import Admission
from .sole_feed import SoleFeed
from .tick import Tick
from .watch import Watch, WatchRules


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
        advisor: Advisor,
        random: Callable[[], float] = random,
    ) -> None:
        """
        Make an idle session.

        :param requests: one for each source, in order; 0 is the primary.
        :param rules: what is watched of a body; asked for each.
        :param observer: told of failures and moves.
        :param admission: asked before each dial.
        :param advisor: asked where to go, as long as it is available.
        :ivar watch: watches the body that flows; None if none does.
        """
        self._clock = clock
        self._sink = sink
        self._requests = requests
        self._failover = Failover(policy, Sources([request.url for request in requests], policy.rules, random))
        self._rules = rules
        self._chronicle = Chronicle(observer, self._failover, self.request)
        self._admission = admission
        self._advisor = advisor
        self._failover.has_resolver = advisor.available
        self._sole = SoleFeed(clock, admission, lambda slot: Feed(clock, dialler, tick, sink, self, slot), self)
        self._beside = Beside(clock, dialler, tick, admission, policy, self)
        self.watch: Watch | None = None
        self._rest = Alarm(clock)
        self._effects = InTurn("changing sources", self._carry_out_now)

    @property
    def index(self) -> int:
        """The source in use, or to be used next, as people count."""
        return self._failover.sources.lineup.position(self._aim)

    @property
    def one_on(self) -> int | None:
        """The source behind that in the list; see :meth:`m3uproxy.core.lineup.Lineup.one_on`."""
        return self._failover.sources.lineup.one_on(self._aim)

    @property
    def moving(self) -> bool:
        """Whether another source is on its way in beside the one that flows."""
        return self._beside.candidate is not None

    @property
    def _aim(self) -> int:
        chosen = self._beside.chosen
        return self._failover.index if chosen is None else chosen

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
        return self._sole.when_gone()

    def switch(self, index: int) -> None:
        """Move to another source, beside the one that flows if there is room for both, else at once."""
        index = index % len(self._requests) if index >= 0 else index
        if self._beside.chosen is not None and index == self._failover.index:
            self._beside.close()
        elif not self._open_beside(index, chosen=True):
            self._carry_out(self._failover.switched(self._clock.seconds(), index))
        self._chronicle.aims_at(self._aim)

    def replace_sources(self, requests: tuple[SourceRequest, ...]) -> None:
        """Take other sources. What is flowing goes on; if its place is gone, the next dial is the primary's."""
        self._beside.sources_change(self._requests, requests)
        self._requests = requests
        self._failover.has_resolver = self._advisor.available
        stays = self._failover.sources.replace([request.url for request in requests])
        if not stays and self._failover.state in (State.DIALLING, State.RESTING):
            self.switch(0)
        else:
            self._chronicle.renumbered(self._aim)

    # what the table decided

    def _carry_out(self, effect: Effect) -> None:
        """Carry out one effect after the other: what one causes at once must not pile up on the stack."""
        if effect is not None:
            self._effects.put(effect)

    def _carry_out_now(self, effect: Effect) -> None:
        self._drop()
        if not isinstance(effect, Dial):
            self._admission.leave()
        if isinstance(effect, Dial):
            self._chronicle.aims_at(self._aim)
            self._sole.open(self.request(effect.index), DialLimits(effect.connect, effect.first_byte, effect.total))
        elif isinstance(effect, Rest):
            self._rest.set(effect.seconds, lambda: self._carry_out(self._failover.rested(self._clock.seconds())))
        elif isinstance(effect, Ask):
            self._advisor.ask(self._chronicle.error, effect.seconds)
        elif isinstance(effect, GiveUp):
            self._chronicle.gave_up(effect.error)
            self._sink.gave_up(effect.error)
        else:
            assert isinstance(effect, Idle)

    def _drop(self) -> None:
        """End whatever is under way."""
        self._rest.cancel()
        self._advisor.dismiss()
        watch, self.watch = self.watch, None
        if watch is not None:
            watch.close()
        self._beside.close()
        self._sole.drop()

    def _ran(self) -> float:
        return self.watch.ran if self.watch is not None and self._failover.state is State.FLOWING else 0.0

    # a resolver

    @property
    def asking(self) -> bool:
        """Whether nothing happens until there is an answer, or the advisor says that there is none."""
        return self._failover.state is State.ASKING

    def referred(self, referral: Referral) -> None:
        """What came of asking. To be called only while it is waited for."""
        effect = self._failover.referred(self._clock.seconds(), referral)
        self._chronicle.follows(effect, referral)
        self._carry_out(effect)

    def request(self, index: int | None = None) -> SourceRequest:
        """How a source is asked for the stream: that in use or next, if no other."""
        index = self._failover.index if index is None else index
        return self._requests[index] if index >= 0 else self._advisor.request(self._failover.sources.guest(index))

    # the feed's owner

    def flowing(self) -> None:
        """The source delivers."""
        self._admission.viewer = None
        self._carry_out(self._failover.flowed(self._clock.seconds()))
        self.watch = Watch(self._clock, self._sink, self._failover, self._rules(), self)

    def heard(self) -> None:
        """Packets came."""
        if self.watch is not None:
            self.watch.heard(self._sole.received)

    def changed(self) -> None:
        """A seam within the body."""
        if self.watch is not None:
            self.watch.changed()

    def ended(self, error: SourceError) -> None:
        """The source is over, or given up: for a live stream that is always a failure."""
        ran = self._ran()
        self._chronicle.failed(error, ran)
        candidate = self._beside.candidate
        if candidate is not None and candidate.proven:
            self._chronicle.next_is(candidate.index)
            self._replace_by(candidate, error)
            return
        if self._beside.chosen is not None:
            self._failover.left_for(self._clock.seconds(), self._beside.chosen, error)
            effect = self._failover.switched(self._clock.seconds(), self._beside.chosen)
        else:
            effect = self._failover.failed(self._clock.seconds(), error, ran)
        if not isinstance(effect, Ask):
            self._chronicle.follows(effect)
        self._carry_out(effect)

    # the watch's owner

    def leave_for(self, index: int, error: SourceError | None) -> None:
        """Move from the source that flows to a better one, beside it or after it.

        :param error: what is wrong with what it brings; None if it is only not the best.
        """
        if self.moving:
            return
        self._chronicle.to_leave(error)
        if self._open_beside(index, error):
            return
        left, ran = self._failover.index, self._ran()
        effect = self._failover.left_for(self._clock.seconds(), index, error)
        self._chronicle.left(left, self._failover.index, ran, error)
        self._carry_out(effect)

    def doubted(self, error: SourceError) -> None:
        """Something is wrong with what the source brings: it stays, unless the resolver or the list has another."""
        if self._failover.has_resolver:
            self._advisor.doubt(error)
        else:
            self.keep(error)

    def keep(self, error: SourceError) -> None:
        """There is nowhere to go from a source with which something is wrong."""
        self._chronicle.doubted(error, self._ran())

    def look_at(self, index: int) -> Deferred[None] | None:
        """Look whether another source would deliver, if that may be."""
        return self._beside.look_at(self.request(index), self.request())

    # the candidate's owner

    def _open_beside(self, index: int, why: SourceError | None = None, chosen: bool = False) -> bool:
        if self._failover.state is not State.FLOWING or index == self._failover.index:
            return False
        return self._beside.open(index, self.request(index), self.request(), why, chosen)

    def took(self, candidate: Candidate) -> None:
        """It replaces what flows."""
        if not candidate.chosen:
            self._chronicle.left(self._failover.index, candidate.index, self._ran(), candidate.why)
        self._replace_by(candidate, candidate.why)

    def lost(self, candidate: Candidate, error: SourceError) -> None:
        """What flows goes on, unless somebody wants it replaced at any price."""
        self._chronicle.lost(candidate.index, error)
        self._beside.close()
        if candidate.chosen:
            self._carry_out(self._failover.switched(self._clock.seconds(), candidate.index))
        else:
            self._failover.sources.probed(candidate.index, cause_of(error), self._clock.seconds())

    def _replace_by(self, candidate: Candidate, error: SourceError | None) -> None:
        feed, slot, kept = candidate.release()
        self._drop()
        self._sole.replace_by(feed, slot)
        self._failover.took_over(self._clock.seconds(), candidate.index, error, candidate.chosen)
        self._chronicle.aims_at(self._aim)
        feed.move(self._sink, self)
        self._sink.source_changed()
        if self._sole.has(feed):
            self.watch = Watch(self._clock, self._sink, self._failover, self._rules(), self)
            self._sink.bytes_received(kept)
