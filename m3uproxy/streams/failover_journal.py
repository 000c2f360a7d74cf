"""Tells what becomes of a stream's sources: an observer, who counts, and people, who read the log."""

from __future__ import annotations

from collections.abc import Callable

from ..core.failover.machine import Effect, FailoverMachine, GiveUp
from ..core.failover.resolver import ResolverAnswer
from ..core.http.redact import redact
from ..core.http.source_request import SourceRequest
from ..errors import Reason, SourceError
from ..log import make_logger
from .interfaces import FailoverObserver

log = make_logger()


class FailoverJournal:
    """
    Of one session.

    :ivar error: the last failure.
    """

    def __init__(
        self, observer: FailoverObserver, failover: FailoverMachine, request: Callable[[], SourceRequest]
    ) -> None:
        """
        Nothing has happened.

        :param request: the source in use or next.
        """
        self._observer = observer
        self._failover = failover
        self._request = request
        self._aim = 0
        self._left = 0
        self._ran = 0.0
        self.error = SourceError(Reason.INTERNAL)

    def aims_at(self, index: int) -> None:
        """The source in use or next, or one that somebody chose and that is opened beside it."""
        if index != self._aim:
            self._aim = index
            self._observer.source_moved(index)

    def renumbered(self, index: int) -> None:
        """The source in use has another index, but is the same, or is none of those that there are now."""
        self._aim = index

    def failed(self, error: SourceError, ran: float) -> None:
        """The source in use failed, having delivered for ``ran`` seconds. What follows is told later."""
        self.error, self._left, self._ran = error, self._failover.index, ran
        log.warn("source {index} {url} failed: {error}", index=self._left, url=self._label(), error=error)

    def follows(self, effect: Effect, referral: ResolverAnswer | None = None) -> None:
        """What the table says to the last failure, and what the resolver said, if it was asked."""
        self.next_is(None if isinstance(effect, GiveUp) else self._failover.index, referral)

    def next_is(self, chosen: int | None, referral: ResolverAnswer | None = None) -> None:
        """What follows from the last failure; see :meth:`.observer.FailoverObserver.source_failed`."""
        self._observer.source_failed(self.error, self._left, chosen, self._ran, referral)

    def to_leave(self, error: SourceError | None) -> None:
        """The source that flows is to be left for a better one."""
        why = error or "a better source is well again"
        log.warn("source {index} {url} is to be left: {why}", index=self._failover.index, url=self._label(), why=why)

    def left(self, left: int, chosen: int, ran: float, error: SourceError | None) -> None:
        """It was left; see :meth:`.observer.FailoverObserver.source_left`."""
        self._observer.source_left(left, chosen, ran, error)

    def doubted(self, error: SourceError, ran: float) -> None:
        """It stays, although something is wrong; see :meth:`.observer.FailoverObserver.source_doubted`."""
        self._observer.source_doubted(error, self._failover.index, ran)

    def lost(self, index: int, error: SourceError) -> None:
        """What was opened beside the source in use failed."""
        log.warn("source {index} was opened beside another and failed: {error}", index=index, error=error)

    def gave_up(self, error: SourceError) -> None:
        """There is no source left."""
        log.warn("giving up on {url}: {error}", url=self._label(), error=error)

    def _label(self) -> str:
        return redact(self._request().url)
