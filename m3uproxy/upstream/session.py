"""Keeps one body flowing: carries out what :mod:`m3uproxy.core.failover` decides, as Deferred chains.

At any moment a session has at most one of: a dial under way, a body, a rest. An effect of the table first drops
what there is (``_drop``), and a dial begins only when the socket of the body before it is gone, or has not gone for
:data:`GOODBYE` seconds: a provider that allows one connection must not see two of ours.
"""

from __future__ import annotations

from collections.abc import Callable
from random import random
from urllib.parse import urlsplit

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from ..core.effects import Ask, Dial, Effect, GiveUp, Idle, Rest
from ..core.failover import Failover, Policy, State
from ..core.kind import has_extension
from ..core.redact import redact
from ..core.resolver import Referral
from ..core.sources import Sources
from ..core.viewer import Viewer
from ..errors import Reason, SourceError
from ..interfaces import IDialler, IOpenBody, IStreamSink
from ..log import make_logger
from .advisor import Advisor
from .body import BodyReader
from .dial import DialLimits, SourceRequest
from .in_turn import InTurn
from .observer import Observer
from .scout import look_at
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
        self._dialler = dialler
        self._tick = tick
        self._sink = sink
        self._requests = requests
        self._failover = Failover(policy, Sources([request.url for request in requests], policy.rules, random))
        self._rules = rules
        self._observer = observer
        self._admission = admission
        self._advisor = advisor
        self._failover.has_resolver = self._advisor.available
        self._failure = (SourceError(Reason.INTERNAL), 0, 0.0)
        self._index = 0
        self._dialling: Deferred[None] | None = None
        self._body: IOpenBody | None = None
        self._reader: BodyReader | None = None
        self.watch: Watch | None = None
        self._gone: Deferred[None] = succeed(None)
        self._timer: IDelayedCall | None = None
        self._effects = InTurn("changing sources", self._carry_out_now)

    @property
    def index(self) -> int:
        """The source in use, or to be used next, as people count."""
        return self._failover.sources.position

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
        """Move to another source, at once if one is in use."""
        self._carry_out(self._failover.switched(self._clock.seconds(), index))
        self._tell_index()

    def replace_sources(self, requests: tuple[SourceRequest, ...]) -> None:
        """Take other sources. What is flowing goes on; if its place is gone, the next dial is the primary's."""
        self._requests = requests
        self._failover.has_resolver = self._advisor.available
        stays = self._failover.sources.replace([request.url for request in requests])
        if not stays and self._failover.state in (State.DIALLING, State.RESTING):
            self.switch(0)
        else:
            self._index = self._failover.index

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
            self._tell_index()
            self._dial(effect)
        elif isinstance(effect, Rest):
            self._timer = self._clock.callLater(effect.seconds, self._rested)
        elif isinstance(effect, Ask):
            self._advisor.ask(self._failure[0], effect.seconds)
        elif isinstance(effect, GiveUp):
            log.warn("giving up on {url}: {error}", url=self._label(), error=effect.error)
            self._sink.gave_up(effect.error)
        else:
            assert isinstance(effect, Idle)

    def _tell_index(self) -> None:
        if self._failover.index != self._index:
            self._index = self._failover.index
            self._observer.source_moved(self._index)

    def _drop(self) -> None:
        """End whatever is under way."""
        self._cancel_timer()
        self._advisor.dismiss()
        watch, self.watch = self.watch, None
        if watch is not None:
            watch.close()
        dialling, self._dialling = self._dialling, None
        if dialling is not None:
            dialling.cancel()
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()
        body, self._body = self._body, None
        if body is not None:
            self._gone = body.close()

    def _cancel_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _rested(self) -> None:
        self._timer = None
        self._carry_out(self._failover.rested(self._clock.seconds()))

    def _failed(self, error: SourceError) -> None:
        log.warn("source {index} {url} failed: {error}", index=self._index, url=self._label(), error=error)
        ran = self._ran()
        effect = self._failover.failed(self._clock.seconds(), error, ran)
        self._failure = error, self._index, ran
        if not isinstance(effect, Ask):
            self._tell_failure(effect)
        self._carry_out(effect)

    def _ran(self) -> float:
        return self.watch.ran if self.watch is not None and self._failover.state is State.FLOWING else 0.0

    def _tell_failure(self, effect: Effect, referral: Referral | None = None) -> None:
        error, left, ran = self._failure
        chosen = None if isinstance(effect, GiveUp) else self._failover.index
        self._observer.source_failed(error, left, chosen, ran, referral)

    def _label(self) -> str:
        return redact(self.request(self._index).url)

    # a resolver

    @property
    def asking(self) -> bool:
        """Whether nothing happens until there is an answer, or the advisor says that there is none."""
        return self._failover.state is State.ASKING

    def referred(self, referral: Referral) -> None:
        """What came of asking. To be called only while it is waited for."""
        effect = self._failover.referred(self._clock.seconds(), referral)
        self._tell_failure(effect, referral)
        self._carry_out(effect)

    def request(self, index: int | None = None) -> SourceRequest:
        """How a source is asked for the stream: that in use or next, if no other."""
        index = self._failover.index if index is None else index
        return self._requests[index] if index >= 0 else self._advisor.request(self._failover.sources.guest(index))

    # dialling

    def _dial(self, step: Dial) -> None:
        dialling = Deferred.fromCoroutine(self._open(step))
        dialling.addErrback(self._dial_failed)
        if not dialling.called:
            self._dialling = dialling

    async def _open(self, step: Dial) -> None:
        request = self.request(step.index)
        slot = await self._admission.admit(request.account)
        began = self._clock.seconds()
        if not self._gone.called:
            await self._when_gone().addTimeout(GOODBYE, self._clock, onTimeoutCancel=lambda *_: None)
        limits = DialLimits(step.connect, step.first_byte, step.total)
        body = await self._dialler.dial(request, limits, slot)
        self._dialling = None
        left = max(0.0, step.total - (self._clock.seconds() - began))
        self._take(body, min(step.first_byte, left))

    def _when_gone(self) -> Deferred[None]:
        """Fires when the socket of the last body is gone; cancelling it cancels nobody else's wait."""
        waiting: Deferred[None] = Deferred()

        def tell(result: None) -> None:
            if not waiting.called:
                waiting.callback(None)

        self._gone.addCallback(tell)
        return waiting

    def _dial_failed(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, CancelledError):
            return
        self._dialling = None
        if not isinstance(error, SourceError):
            log.failure("dialling {url} failed unexpectedly", failure=failure, url=self._label())
            error = SourceError(Reason.INTERNAL, type(error).__name__)
        self._failed(error)

    # a body

    def _take(self, body: IOpenBody, patience: float) -> None:
        log.info("source {index} {url} opened", index=self._index, url=self._label())
        self._body = body
        # A film, not to be played over and over. Where the URL says live the length is one of the provider's lies.
        if body.length is not None and not has_extension(self.request(self._index).url):
            self._failed(SourceError(Reason.NOT_LIVE, f"{body.length} bytes"))
            return
        self._reader = BodyReader(body, self._sink, self._tick, self)
        self._timer = self._clock.callLater(patience, self._unproven)
        self._reader.start()

    def _unproven(self) -> None:
        """The head came, but no packet."""
        self._timer = None
        received = self._reader.received if self._reader is not None else 0
        detail = f"no packet in {received} bytes" if received else "the head came, but no body"
        self._failed(SourceError(Reason.FIRST_BYTE_TIMEOUT, detail))

    def flowing(self) -> None:
        """The source delivers."""
        self._cancel_timer()
        self._admission.viewer = None
        self._carry_out(self._failover.flowed(self._clock.seconds()))
        self.watch = Watch(self._clock, self._sink, self._failover, self._rules(), self)

    def heard(self) -> None:
        """Packets came."""
        if self.watch is not None and self._reader is not None:
            self.watch.heard(self._reader.received)

    def ended(self, error: SourceError) -> None:
        """The body is over, or given up: for a live stream that is always a failure."""
        self._failed(error)

    def leave_for(self, index: int, error: SourceError | None) -> None:
        """Move from the source that flows to a better one: close it, then dial the other.

        :param error: what is wrong with what it brings; None if it is only not the best.
        """
        left, ran = self._index, self._ran()
        why = error or "a better source is well again"
        log.warn("source {index} {url} is left: {why}", index=left, url=self._label(), why=why)
        effect = self._failover.left_for(self._clock.seconds(), index, error)
        self._observer.source_left(left, self._failover.index, ran, error)
        self._carry_out(effect)

    def doubted(self, error: SourceError) -> None:
        """Something is wrong with what the source brings: it stays, unless the resolver or the list has another."""
        if self._failover.has_resolver:
            self._advisor.doubt(error)
        else:
            self.keep(error)

    def keep(self, error: SourceError) -> None:
        """There is nowhere to go from a source with which something is wrong."""
        self._observer.source_doubted(error, self._index, self._ran())

    def look_at(self, index: int) -> Deferred[None] | None:
        """Look whether another source would deliver, if that may be."""
        request, policy = self.request(index), self._failover.policy
        if not self._may_open_beside(request):
            return None
        limits = DialLimits(policy.connect, policy.first_byte, policy.connect + policy.first_byte)
        return look_at(self._clock, self._dialler, request, limits, self._admission.second(request.account))

    def _may_open_beside(self, request: SourceRequest) -> bool:
        """Whether there is room for a second connection. Where nobody counts them, only if it goes to another host."""
        if request.account is not None:
            return self._admission.has_room(request.account)
        return urlsplit(request.url).hostname != urlsplit(self.request(self._index).url).hostname
