"""Which source a stream is on: carries out what :mod:`m3uproxy.core.failover.machine` decides, whatever a source is.

What is done to open and to close one is up to subclasses: live streams (:mod:`.session`) have a connection, HLS
(:mod:`m3uproxy.hls.session`) asks now and then.

Does one thing after the other: what one causes at once must not pile up on the stack.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from random import random
from typing import Generic, TypeVar

from twisted.internet.interfaces import IReactorTime

from ..core.failover.machine import (
    AskResolver,
    Backoff,
    Dial,
    Effect,
    FailoverMachine,
    FailoverPolicy,
    FailoverState,
    GiveUp,
    Idle,
)
from ..core.failover.resolver import ResolverAnswer
from ..core.failover.sources import Sources
from ..core.http.source_request import SourceRequest
from ..core.slots.viewer_identity import ViewerIdentity
from ..errors import SourceError
from ..log import make_logger
from ..timers import Timer
from ..upstream.slots import StreamSlot
from .failover_journal import FailoverJournal
from .interfaces import FailoverObserver, ResolverPort

log = make_logger()

T = TypeVar("T")


class SerialQueue(Generic[T]):
    """Calls a function with each thing that is put in, never while an earlier call is still running."""

    def __init__(self, what: str, do: Callable[[T], None]) -> None:
        """
        Do nothing yet.

        :param what: is done, for the log.
        :param do: if it raises, that is logged and what is left is dropped.
        """
        self._what = what
        self._do = do
        self._left: deque[T] = deque()
        self._doing = False

    def put(self, thing: T) -> None:
        """Do it now, or when what is under way is done."""
        self._left.append(thing)
        if self._doing:
            return
        self._doing = True
        try:
            while self._left:
                self._do(self._left.popleft())
        except Exception:
            log.failure("{what} failed", what=self._what)
            self._left.clear()
        finally:
            self._doing = False


class FailoverDriver(ABC):
    """From source to source. An effect of the table first drops what there is (``_drop``)."""

    def __init__(
        self,
        clock: IReactorTime,
        requests: tuple[SourceRequest, ...],
        policy: FailoverPolicy,
        observer: FailoverObserver,
        admission: StreamSlot,
        advisor: ResolverPort,
        random: Callable[[], float] = random,
    ) -> None:
        """
        Nobody wants the stream yet.

        :param requests: one for each source, in order; 0 is the primary.
        :param observer: told of failures and moves.
        :param admission: asked before each dial.
        :param advisor: asked where to go, as long as it is available.
        """
        self._clock = clock
        self._requests = requests
        self._failover = FailoverMachine(policy, Sources([request.url for request in requests], policy.rules, random))
        self._chronicle = FailoverJournal(observer, self._failover, self.request)
        self._admission = admission
        self._advisor = advisor
        self._failover.has_resolver = advisor.available
        self._rest = Timer(clock)
        self._effects = SerialQueue("changing sources", self._carry_out_now)

    # what there is to know

    @property
    def index(self) -> int:
        """The source in use, or to be used next, as people count."""
        return self._failover.sources.source_list.position(self._aim)

    @property
    def one_on(self) -> int | None:
        """The source behind that in the list; see :meth:`m3uproxy.core.failover.source_list.Lineup.one_on`."""
        return self._failover.sources.source_list.next_after(self._aim)

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
        """True while a source is in use, dialled or waited for."""
        return self._failover.state is not FailoverState.IDLE

    @property
    def asking(self) -> bool:
        """Whether nothing happens until there is an answer, or the advisor says that there is none."""
        return self._failover.state is FailoverState.ASKING_RESOLVER

    @property
    def moving(self) -> bool:
        """Whether another source is on its way in beside the one that flows."""
        return False

    def request(self, index: int | None = None) -> SourceRequest:
        """How a source is asked for the stream: that in use or next, if no other."""
        index = self._failover.index if index is None else index
        return self._requests[index] if index >= 0 else self._advisor.request(self._failover.sources.named_url(index))

    # what is done with it

    def start(self, viewer: ViewerIdentity | None = None) -> None:
        """Somebody wants the stream; ``viewer``, if it is one. Harmless when it runs."""
        if not self.active:
            self._admission.viewer = viewer
        self._carry_out(self._failover.start(self._clock.seconds()))

    def switch(self, index: int) -> None:
        """Move to another source."""
        self._choose(index % len(self._requests) if index >= 0 else index)
        self._chronicle.aims_at(self._aim)

    def replace_sources(self, requests: tuple[SourceRequest, ...]) -> None:
        """Take other sources. What is flowing goes on; if its place is gone, the next dial is the primary's."""
        self._requests = requests
        self._failover.has_resolver = self._advisor.available
        stays = self._failover.sources.replace([request.url for request in requests])
        if not stays and self._failover.state in (FailoverState.DIALLING, FailoverState.BACKING_OFF):
            self.switch(0)
        else:
            self._chronicle.renumbered(self._aim)

    def leave_for(self, index: int, error: SourceError | None) -> None:
        """Move from the source that flows to a better one.

        :param error: what is wrong with what it brings; None if it is only not the best.
        """
        self._chronicle.to_leave(error)
        left, ran = self._failover.index, self._ran()
        effect = self._failover.left_for(self._clock.seconds(), index, error)
        self._chronicle.left(left, self._failover.index, ran, error)
        self._carry_out(effect)

    def keep(self, error: SourceError) -> None:
        """There is nowhere to go from a source with which something is wrong."""
        self._chronicle.doubted(error, self._ran())

    def referred(self, referral: ResolverAnswer) -> None:
        """What came of asking. To be called only while it is waited for."""
        effect = self._failover.resolver_answered(self._clock.seconds(), referral)
        self._chronicle.follows(effect, referral)
        self._carry_out(effect)

    def ended(self, error: SourceError) -> None:
        """The source is over, or given up: for a live stream that is always a failure."""
        ran = self._ran()
        self._chronicle.failed(error, ran)
        self._follow(self._failover.failed(self._clock.seconds(), error, ran))

    # for subclasses

    @property
    def _aim(self) -> int:
        return self._failover.index

    @abstractmethod
    def _open(self, request: SourceRequest, step: Dial) -> None:
        """Ask for leave to open a source, and open it."""

    @abstractmethod
    def _drop(self) -> None:
        """End whatever is under way."""
        self._rest.cancel()
        self._advisor.dismiss()

    @abstractmethod
    def _leave(self, effect: Backoff | AskResolver | GiveUp | Idle) -> None:
        """No source is opened for now: give the slot back, if nobody is to keep it."""

    @abstractmethod
    def _gave_up(self, error: SourceError) -> None:
        """No source delivers."""

    @abstractmethod
    def _ran(self) -> float:
        """Seconds for which the source that flows has delivered; 0 if none does."""

    def _choose(self, index: int) -> None:
        self._carry_out(self._failover.switched(self._clock.seconds(), index))

    def _follow(self, effect: Effect) -> None:
        """What follows from a failure."""
        if not isinstance(effect, AskResolver):
            self._chronicle.follows(effect)
        self._carry_out(effect)

    # what the table decided

    def _carry_out(self, effect: Effect) -> None:
        """Carry out one effect after the other: what one causes at once must not pile up on the stack."""
        if effect is not None:
            self._effects.put(effect)

    def _carry_out_now(self, effect: Effect) -> None:
        self._drop()
        if isinstance(effect, Dial):
            self._chronicle.aims_at(self._aim)
            self._open(self.request(effect.index), effect)
            return
        assert effect is not None
        self._leave(effect)
        if isinstance(effect, Backoff):
            self._rest.set(effect.seconds, self._rested)
        elif isinstance(effect, AskResolver):
            self._advisor.ask(self._chronicle.error, effect.seconds)
        elif isinstance(effect, GiveUp):
            self._chronicle.gave_up(effect.error)
            self._gave_up(effect.error)
        else:
            assert isinstance(effect, Idle)

    def _rested(self) -> None:
        self._carry_out(self._failover.backoff_over(self._clock.seconds()))
