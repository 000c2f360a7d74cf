"""The execution of failover decisions, for live and for HLS streams.

:mod:`m3uproxy.core.failover.machine` decides; a :class:`FailoverDriver` carries the decisions out. Subclasses open and
close a source: :mod:`m3uproxy.live.session` keeps a connection to it, :mod:`m3uproxy.hls.session` sends requests to it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from random import random
from typing import Generic, Protocol, TypeVar

import attrs

from ..core.failover.causes import FailureCause
from ..core.failover.machine import (
    AskResolver,
    Backoff,
    Dial,
    Effect,
    FailoverMachine,
    FailoverPolicy,
    FailoverState,
    Finish,
    GiveUp,
    Idle,
)
from ..core.failover.resolver import ResolverAnswer
from ..core.failover.sources import Sources
from ..core.failover.timeline import SourceLabel
from ..core.http.source_request import SourceRequest
from ..core.slots.viewer_identity import ViewerIdentity
from ..errors import SourceError
from ..log import make_logger
from ..timers import Timer
from ..upstream.slots import StreamSlot
from .context import StreamContext
from .failover_history import FailoverHistory
from .monitor_rules import MonitorRules
from .spec import StreamSpec

log = make_logger()

T = TypeVar("T")


class SerialQueue(Generic[T]):
    """A queue that passes items to a function, one after the other and never from within an earlier call."""

    def __init__(self, name: str, process: Callable[[T], None]) -> None:
        """
        Make an empty queue.

        :param name: the name of the work, for the log.
        :param process: called with each item. If it raises, the error is logged and the queued items are dropped.
        """
        self._name = name
        self._process = process
        self._items: deque[T] = deque()
        self._busy = False

    def put(self, item: T) -> None:
        """Process the item now, or after the item that is being processed."""
        self._items.append(item)
        if self._busy:
            return
        self._busy = True
        try:
            while self._items:
                self._process(self._items.popleft())
        except Exception:
            log.failure("{name} failed", name=self._name)
            self._items.clear()
        finally:
            self._busy = False


@attrs.frozen
class _Failure:
    """The failure of a source, until the next source is known."""

    index: int
    error: SourceError
    ran: float


class ResolverPort(Protocol):
    """
    The resolver of one stream, as its session knows it.

    The answer is given to :meth:`FailoverDriver.resolver_answered`, ``switch_to`` or ``stay``.
    """

    @property
    def available(self) -> bool:
        """True if the stream has a resolver."""

    def ask(self, error: SourceError, seconds: float) -> None:
        """
        Ask for the next source after a failure.

        :param seconds: timeout. When it is over, the session is given an answer that names a problem.
        """

    def report_fault(self, error: SourceError) -> None:
        """Ask while the source streams that has this fault. The answer makes the session switch or stay."""

    def cancel(self) -> None:
        """Cancel the session's question. Safe to call if it did not ask."""

    def request(self, url: str) -> SourceRequest:
        """Return the request for a URL that the resolver named."""


class DrivenStream(Protocol):
    """
    The stream of a driver.

    :ivar history: records failures and changes of source.
    """

    id: str
    spec: StreamSpec
    history: FailoverHistory

    @property
    def resolver(self) -> ResolverPort:
        """The resolver, asked for the next source while it is available."""


class FailoverDriver(ABC):
    """
    The provider side of one stream: opens one source after another, as the failover machine decides.

    Each effect of the machine first closes the source in use. Effects are carried out one after the other, because
    opening a source may fail at once and cause the next effect; recursion would grow the stack.

    :ivar stream_id: id of the stream, for the log.
    """

    def __init__(
        self,
        context: StreamContext,
        stream: DrivenStream,
        policy: FailoverPolicy,
        random: Callable[[], float] = random,
    ) -> None:
        """
        Make an idle driver.

        :param random: returns numbers from 0 up to 1, for jitter.
        """
        self._context = context
        self._stream = stream
        self.stream_id = stream.id
        self._clock = context.clock
        self._requests = context.requests(stream.spec)
        self._slot = StreamSlot(context.slots, stream.id)
        self._history = stream.history
        self._resolver: ResolverPort = stream.resolver
        sources = Sources([request.url for request in self._requests], policy.rules, random)
        self._failover = FailoverMachine(policy, sources, lambda: self._resolver.available)
        self._backoff = Timer(self._clock)
        self._effects = SerialQueue(f"stream {stream.id}: changing the source", self._carry_out_now)
        self._failure: _Failure | None = None
        self._announced = 0

    # state

    @property
    def index(self) -> int:
        """The position of the source in use, or of the next one: 0 for the primary."""
        return self._failover.sources.source_list.position(self._target)

    @property
    def next_index(self) -> int | None:
        """The index of the source after that one in the list; None if there is no other."""
        return self._failover.sources.source_list.next_after(self._target)

    @property
    def error(self) -> SourceError | None:
        """The last failure since the start; None if there was none."""
        return self._failover.error

    @property
    def sources(self) -> Sources:
        """The sources and their states."""
        return self._failover.sources

    @property
    def active(self) -> bool:
        """True from the start until the stream is stopped or gives up, backoffs included."""
        return self._failover.state is not FailoverState.IDLE

    @property
    def asking_resolver(self) -> bool:
        """True while the stream has no source and waits for the answer of the resolver."""
        return self._failover.state is FailoverState.ASKING_RESOLVER

    @property
    def has_standby(self) -> bool:
        """True while a standby connection is open."""
        return False

    def request(self, index: int | None = None) -> SourceRequest:
        """Return the request for a source; by default for the one in use or next."""
        index = self._failover.index if index is None else index
        return self._requests[index] if index >= 0 else self._resolver.request(self.sources.named_url(index))

    def label(self, index: int) -> SourceLabel:
        """Return position and URL of a source, for people. An index beyond a shortened list gives the primary's URL."""
        url = self.request(index if index < len(self._requests) else 0).url
        return SourceLabel(self.sources.source_list.position(index), url)

    # commands

    def start(self, viewer: ViewerIdentity | None = None) -> None:
        """
        Start the stream. Safe to call if it is started.

        :param viewer: the viewer that it is started for; its own slot on another stream may be taken over.
        """
        if not self.active:
            self._slot.viewer = viewer
        self._carry_out(self._failover.start(self._clock.seconds()))

    def choose(self, index: int) -> None:
        """Move to the source that the API chose. An idle stream starts there the next time."""
        self._open_chosen(index % len(self._requests) if index >= 0 else index)
        self._announce()

    def replace_sources(self, requests: tuple[SourceRequest, ...]) -> None:
        """
        Take over a new list of sources.

        A source that streams continues. If a source that is dialled or next is not in the new list, the primary is
        dialled.
        """
        self._requests = requests
        stays = self.sources.replace([request.url for request in requests])
        if not stays and self._failover.state in (FailoverState.DIALLING, FailoverState.BACKING_OFF):
            self.choose(0)
        else:
            self._announced = self._target

    def switch_to(self, index: int, error: SourceError | None) -> None:
        """
        Leave the streaming source for a better one.

        :param error: the fault of the streaming source; None if it has none.
        """
        left, ran = self._failover.index, self._seconds_delivered()
        self._history.source_leaving(self.label(left), error)
        effect = self._failover.left_for(self._clock.seconds(), index, error)
        self._history.source_left(self.label(left), self.label(self._failover.index), error, ran)
        self._carry_out(effect)

    def stay(self, error: SourceError) -> None:
        """Record a fault of the streaming source. It stays in use, because there is no other one."""
        self._history.fault_ignored(self.label(self._failover.index), error, self._seconds_delivered())

    def resolver_answered(self, answer: ResolverAnswer) -> None:
        """Continue with the answer of the resolver. Call only while :attr:`asking_resolver`."""
        effect = self._failover.resolver_answered(self._clock.seconds(), answer)
        self._failure_followed_by(effect, answer)
        self._carry_out(effect)

    def source_ended(self, error: SourceError, cause: FailureCause | None = None) -> None:
        """
        Continue after the failure of the source. For a live stream each end is a failure.

        :param cause: the kind of failure; by default derived from ``error``.
        """
        ran = self._seconds_delivered()
        self._source_failed(error, ran, self._failover.index)
        self._carry_out_after_failure(self._failover.failed(self._clock.seconds(), error, ran, cause))

    # for subclasses

    @property
    def _target(self) -> int:
        """The index of the source in use or next."""
        return self._failover.index

    @abstractmethod
    def _open_source(self, request: SourceRequest, step: Dial) -> None:
        """Acquire the slot and open a source."""

    @abstractmethod
    def _close_source(self) -> None:
        """Close the source in use, and cancel a dial, a backoff and a question to the resolver."""
        self._backoff.cancel()
        self._resolver.cancel()

    @abstractmethod
    def _source_closed(self, effect: Backoff | AskResolver | GiveUp | Finish | Idle) -> None:
        """Release the slot if the effect requires it. Called after a source was closed and no other is dialled."""

    @abstractmethod
    def _sources_exhausted(self, error: SourceError) -> None:
        """End the players: no source delivers and the budget is spent."""

    def _programme_over(self, error: SourceError) -> None:
        """End the players cleanly: the programme has ended."""
        self._sources_exhausted(error)

    @abstractmethod
    def _seconds_delivered(self) -> float:
        """Return the seconds for which the streaming source has delivered; 0 if none streams."""

    def _monitor_rules(self) -> MonitorRules:
        return self._context.monitor_rules(self._stream.spec)

    def _open_chosen(self, index: int) -> None:
        self._carry_out(self._failover.switched(self._clock.seconds(), index))

    # history

    def _announce(self) -> None:
        """Record a change of source, if the source dialled or chosen is another one than the last time."""
        if self._target != self._announced:
            self._announced = self._target
            self._history.source_moved(self.label(self._target))

    def _source_failed(self, error: SourceError, ran: float, index: int) -> None:
        self._failure = _Failure(index, error.detached(), ran)
        first = self._failover.begins_outage(ran)
        self._history.source_failed(self.label(index), error, first)

    def _failure_followed_by(self, effect: Effect, answer: ResolverAnswer | None = None) -> None:
        self._source_replaced(None if isinstance(effect, GiveUp | Finish) else self._failover.index, answer)

    def _source_replaced(self, index: int | None, answer: ResolverAnswer | None = None) -> None:
        """Record the last failure with the source that is next; None if the stream gives up."""
        failure = self._failure
        assert failure is not None
        target = None if index is None else self.label(index)
        self._history.source_replaced(self.label(failure.index), target, failure.error, failure.ran, answer)

    # effects

    def _carry_out_after_failure(self, effect: Effect) -> None:
        """Carry out the effect of a failure. If the resolver is asked, the next source is not known yet."""
        if not isinstance(effect, AskResolver):
            self._failure_followed_by(effect)
        self._carry_out(effect)

    def _carry_out(self, effect: Effect) -> None:
        if effect is not None:
            self._effects.put(effect)

    def _carry_out_now(self, effect: Effect) -> None:
        self._close_source()
        if isinstance(effect, Dial):
            self._announce()
            self._open_source(self.request(effect.index), effect)
            return
        assert effect is not None
        self._source_closed(effect)
        if isinstance(effect, Backoff):
            self._backoff.set(effect.seconds, self._backoff_over)
        elif isinstance(effect, AskResolver):
            assert self._failure is not None
            self._resolver.ask(self._failure.error, effect.seconds)
        elif isinstance(effect, GiveUp):
            self._history.gave_up(self.label(self._failover.index), effect.error)
            self._sources_exhausted(effect.error)
        elif isinstance(effect, Finish):
            self._history.programme_ended(self.label(self._failover.index))
            self._programme_over(effect.error)
        else:
            assert isinstance(effect, Idle)

    def _backoff_over(self) -> None:
        self._carry_out(self._failover.backoff_over(self._clock.seconds()))
