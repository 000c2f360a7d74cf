"""The failover resolver of one stream, with one question at a time.

The session asks if it has no source, or if the source has a fault. The API asks for a failover. If both ask at the same
time, one question serves both, and the answer causes one move.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.python.failure import Failure

from ..core.failover.resolver import API_TIMEOUT, ResolverAnswer, ResolverQuestion
from ..core.http.source_request import SourceRequest
from ..errors import SourceError, StoredError
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
    """The resolver of one stream, as :class:`.failover_driver.ResolverPort` of its session and for the API."""

    _fault = StoredError()

    def __init__(self, context: StreamContext, stream: ResolvedStream) -> None:
        self._context = context
        self._clock = context.clock
        self._stream = stream
        self._question: Deferred[None] | None = None
        self._timeout = Timer(context.clock)
        self._api_timeout = Timer(context.clock)
        self._waiting: list[Deferred[bool]] = []

    @property
    def available(self) -> bool:
        """True if the registration names a resolver and resolvers are used."""
        return self._context.resolver is not None and self._stream.spec.failover_resolver_url is not None

    # ResolverPort

    def ask(self, error: SourceError, seconds: float) -> None:
        """Ask after a failure. The session gets the answer, or after ``seconds`` an answer that names the timeout."""
        self._timeout.set(seconds, lambda: self._timed_out(seconds))
        self._ask(error.status, str(error))

    def report_fault(self, error: SourceError) -> None:
        """Ask while the source with this fault streams."""
        self._fault = error
        self._ask(error.status, str(error))

    def cancel(self) -> None:
        """Cancel the question, unless the API waits for the answer."""
        self._timeout.cancel()
        if not self._waiting:
            self._cancel_question()

    def request(self, url: str) -> SourceRequest:
        """Return the request for a URL that the resolver named. It has the headers of the other sources."""
        return self._context.request(self._stream.spec, url)

    # API

    def fail_over(self, index: int | None) -> Deferred[bool]:
        """Move to a source; see :meth:`.failover_stream.FailoverStream.fail_over`. It cannot be cancelled."""
        if index is not None:
            return succeed(self._choose(index))
        if not self.available:
            return succeed(self._choose_next())
        waiting: Deferred[bool] = Deferred()
        if not self._waiting:
            self._api_timeout.set(API_TIMEOUT, self._api_timed_out)
        self._waiting.append(waiting)
        self._ask(None, "manual")
        return waiting

    def close(self) -> None:
        """Cancel the question and answer the waiting API requests with False."""
        self._timeout.cancel()
        self._cancel_question()
        self._answer_waiting(False)

    # moves

    def _move_for_api(self, answer: ResolverAnswer) -> bool:
        """Move as the API asked, and return False if there is no other source."""
        if answer.problem is not None:
            return self._choose_next(f"; {answer}")
        if answer.url is None:
            return False
        index = self._stream.session.sources.add_named(answer.url)
        return self._choose(index, f"; {answer}")

    def _move_for_fault(self, answer: ResolverAnswer) -> bool:
        """Leave the source with the fault, and return False if there is no other source."""
        error, self._fault = self._fault, None
        session = self._stream.session
        assert error is not None, "the session reported it"
        if session.has_standby:
            return True  # another named source could be given the index of the standby source
        if answer.url is not None:
            session.switch_to(session.sources.add_named(answer.url), error)
            return True
        backup = session.sources.best_backup(self._clock.seconds()) if answer.problem is not None else None
        if backup is None:
            session.stay(error)
            return False
        session.switch_to(backup, error)
        return True

    def _choose_next(self, reason: str = "") -> bool:
        index = self._stream.session.next_index
        return index is not None and self._choose(index, reason)

    def _choose(self, index: int, reason: str = "") -> bool:
        stream, session = self._stream, self._stream.session
        source, target = session.label(session.sources.current), session.label(index)
        stream.history.source_chosen(source, target, f"asked for by the API{reason}", session.active)
        session.choose(index)
        return True

    # question and answer

    def _ask(self, status: int | None, reason: str) -> None:
        """Ask, unless a question is under way already."""
        url = self._stream.spec.failover_resolver_url
        if self._question is not None:
            return
        resolver = self._context.resolver
        assert resolver is not None
        assert url is not None
        session = self._stream.session
        question = ResolverQuestion(session.request().url, self._stream.spec.metadata, session.index, status, reason)
        log.info("stream {stream}: asking the resolver, {reason}", stream=self._stream.id, reason=reason)
        asked = resolver.ask(url, question).addCallbacks(self._answered, _ignore_cancellation)
        asked.addErrback(self._answer_failed)
        if not asked.called:
            self._question = asked

    def _answered(self, answer: ResolverAnswer) -> None:
        self._question = None
        self._timeout.cancel()
        log.info("stream {stream}: {answer}", stream=self._stream.id, answer=answer)
        session = self._stream.session
        if session.asking_resolver:
            session.resolver_answered(answer)
            moved = session.active and (answer.url is not None or answer.problem is not None)
        elif self._waiting:
            moved = self._move_for_api(answer)
        else:
            moved = self._move_for_fault(answer)
        self._answer_waiting(moved)

    def _answer_failed(self, failure: Failure) -> None:
        log.failure("stream {stream}: carrying out an answer failed", failure=failure, stream=self._stream.id)
        self._answer_waiting(False)

    def _timed_out(self, seconds: float) -> None:
        self._stream.session.resolver_answered(ResolverAnswer(problem=f"no answer within {seconds:.1f} s"))

    def _api_timed_out(self) -> None:
        """Drop the question and go on as if the resolver had failed: the API must get its answer in time."""
        self._cancel_question()
        self._answered(ResolverAnswer(problem=f"no answer within {API_TIMEOUT:g} s"))

    def _answer_waiting(self, moved: bool) -> None:
        self._api_timeout.cancel()
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(moved)

    def _cancel_question(self) -> None:
        question, self._question = self._question, None
        if question is not None:
            question.cancel()


def _ignore_cancellation(failure: Failure) -> None:
    failure.trap(CancelledError)
