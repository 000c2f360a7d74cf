"""What one stream has to do with its failover resolver: one question at a time, whoever wants to know.

Two may want to: the session, which waits for the answer with nothing to play or doubts what is played, and the API. If
one asks while the other's question is under way, the answer is for both, and makes for one move.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.python.failure import Failure

from ..core.failover.resolver import ResolverAnswer, ResolverQuestion
from ..core.http.source_request import SourceRequest
from ..errors import SourceError
from ..log import make_logger
from ..timers import Timer
from .context import StreamContext
from .failover_driver import FailoverDriver
from .failover_history import FailoverHistory
from .spec import StreamSpec

log = make_logger()


class ResolvedStream(Protocol):
    """The stream that a resolver is asked for."""

    id: str
    spec: StreamSpec
    history: FailoverHistory

    @property
    def session(self) -> FailoverDriver:
        """The driver that carries out the answer."""


class StreamResolver:
    """Asks for one stream, and tells its session; see :class:`m3uproxy.streams.interfaces.Advisor`."""

    def __init__(self, context: StreamContext, stream: ResolvedStream) -> None:
        self._context = context
        self._clock = context.clock
        self._stream = stream
        self._asking: Deferred[None] | None = None
        self._alarm = Timer(context.clock)
        self._doubt: SourceError | None = None
        self._waiting: list[Deferred[bool]] = []

    @property
    def available(self) -> bool:
        """Whether the stream has a resolver."""
        return self._context.resolver is not None and self._stream.spec.failover_resolver_url is not None

    # for the session

    def ask(self, error: SourceError, seconds: float) -> None:
        """Ask, and tell the session within that time."""
        self._alarm.set(seconds, lambda: self._too_late(seconds))
        self._ask_unless_asked(error.status, str(error))

    def report_fault(self, error: SourceError) -> None:
        """Ask while the source flows that ``error`` is wrong with."""
        self._doubt = error
        self._ask_unless_asked(error.status, str(error))

    def cancel(self) -> None:
        """The session has gone on. A question that nobody else waits for is cancelled."""
        self._alarm.cancel()
        if not self._waiting:
            self._cancel()

    def request(self, url: str) -> SourceRequest:
        """How the stream asks for a URL that is in no list of its own: like for its others."""
        return self._context.request(self._stream.spec, url)

    # for the API

    def fail_over(self, index: int | None) -> Deferred[bool]:
        """See :meth:`.sourced.FailoverStream.fail_over`. Cancelling it stops nothing."""
        if index is not None:
            return succeed(self._choose(index))
        if not self.available:
            return succeed(self._one_on())
        waiting: Deferred[bool] = Deferred()
        self._waiting.append(waiting)
        self._ask_unless_asked(None, "manual")
        return waiting

    def close(self) -> None:
        """The stream is over."""
        self._alarm.cancel()
        self._cancel()
        self._tell_waiting(False)

    # inside

    def _follow(self, referral: ResolverAnswer) -> bool:
        """Somebody asked for another source, and this is what the resolver says to it; whether there is one."""
        if referral.problem is not None:
            return self._one_on(f"; {referral}")
        if referral.url is None:
            return False
        index = self._stream.session.sources.add_named(referral.url)
        return self._choose(index, f"; {referral}")

    def _leave(self, referral: ResolverAnswer) -> bool:
        """The source that flows is not what it should be, and this is what the resolver says to it."""
        error, self._doubt = self._doubt, None
        session = self._stream.session
        assert error is not None, "somebody wanted to know"
        if session.has_standby:
            return True  # who is taken in now might be given the index of the guest that is on its way
        if referral.url is not None:
            session.switch_to(session.sources.add_named(referral.url), error)
            return True
        spare = session.sources.best_backup(self._clock.seconds()) if referral.problem is not None else None
        if spare is None:
            session.stay(error)
            return False
        session.switch_to(spare, error)
        return True

    def _one_on(self, why: str = "") -> bool:
        index = self._stream.session.next_index
        return index is not None and self._choose(index, why)

    def _choose(self, index: int, why: str = "") -> bool:
        stream, session = self._stream, self._stream.session
        source, target = session.label(session.sources.current), session.label(index)
        stream.history.source_chosen(source, target, f"asked for by the API{why}", session.active)
        session.choose(index)
        return True

    def _ask_unless_asked(self, status: int | None, reason: str) -> None:
        url = self._stream.spec.failover_resolver_url
        if self._asking is not None:
            return
        resolver = self._context.resolver
        assert resolver is not None
        assert url is not None
        session = self._stream.session
        question = ResolverQuestion(session.request().url, self._stream.spec.metadata, session.index, status, reason)
        log.info("stream {stream} asks its resolver, {reason}", stream=self._stream.id, reason=reason)
        asking = resolver.ask(url, question).addCallbacks(self._answered, _cancelled)
        asking.addErrback(lambda failure: log.failure("a resolver's answer was not taken", failure=failure))
        if not asking.called:
            self._asking = asking

    def _answered(self, referral: ResolverAnswer) -> None:
        self._asking = None
        self._alarm.cancel()
        log.info("stream {stream}: {referral}", stream=self._stream.id, referral=referral)
        session = self._stream.session
        if session.asking_resolver:
            session.resolver_answered(referral)
            moved = session.active
        elif self._waiting:
            moved = self._follow(referral)
        else:
            moved = self._leave(referral)
        self._tell_waiting(moved)

    def _too_late(self, seconds: float) -> None:
        self._stream.session.resolver_answered(ResolverAnswer(problem=f"no answer within {seconds:.1f} s"))

    def _tell_waiting(self, moved: bool) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(moved)

    def _cancel(self) -> None:
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.cancel()


def _cancelled(failure: Failure) -> None:
    failure.trap(CancelledError)
