"""What a live stream and an HLS stream have in common: a course from source to source, counted and noted."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from datetime import datetime

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from ..core.failover.resolver import ResolverAnswer
from ..core.failover.timeline import SourceLabel
from ..core.http.redact import redact
from ..errors import SourceError
from ..log import make_logger
from .base import Stream
from .failover_driver import FailoverDriver
from .spec import StreamSpec
from .stream_resolver import StreamResolver

log = make_logger()


class FailoverStream(Stream):
    """A stream that is on one of its sources at a time; an :class:`m3uproxy.streams.interfaces.Observer`."""

    def __init__(
        self,
        clock: IReactorTime,
        wall: Callable[[], datetime],
        stream_id: str,
        spec: StreamSpec,
        open_advice: Callable[[FailoverStream], StreamResolver],
    ) -> None:
        """Make a stream that nobody watches yet; its course is opened after that."""
        super().__init__(clock, wall, stream_id, spec)
        self.resolver = open_advice(self)

    @property
    @abstractmethod
    def session(self) -> FailoverDriver:
        """Which source it is on."""

    @property
    def source_index(self) -> int:
        """0 for the primary; where a resolver named the source, how many were before it."""
        return self.session.index

    @property
    def current_url(self) -> str:
        """The URL in use, or the one that will be asked next."""
        return self.session.request().url

    def sources(self) -> list[dict[str, object]]:
        """How each source has behaved, in order."""
        return self.session.sources.report(self._clock.seconds())

    def fail_over(self, index: int | None = None) -> Deferred[bool]:
        """Move to a source, or one on: to what the resolver names, or to the next of the list.

        :return: fires when that is done, with whether there was another source.
        """
        return self.resolver.fail_over(index)

    @property
    def may_fail_over(self) -> bool:
        """Whether there may be another source to move to."""
        return self.resolver.available or super().may_fail_over

    def url(self, index: int) -> str:
        """Of a source, which may have been taken from the list in the meantime."""
        return self.session.request(index).url if index < len(self.spec.sources) else self.spec.url

    def label(self, index: int) -> SourceLabel:
        """The same, for people."""
        return SourceLabel(self.session.sources.source_list.position(index), self.url(index))

    # the course's observer

    def source_moved(self, index: int) -> None:
        """It went to another source."""
        self.failover_attempts += 1
        self.last_failover = self._wall()
        log.info("stream {stream} moves to {url}", stream=self.id, url=redact(self.url(index)))

    def source_failed(
        self, error: SourceError, left: int, chosen: int | None, ran: float, referral: ResolverAnswer | None
    ) -> None:
        """A source failed, and another, or the same again, was chosen or none is left."""
        self.error_count += 1
        target = self.label(chosen) if chosen is not None else None
        cause = str(error) if referral is None else f"{error}; {referral}"
        self.decisions.decided(self.label(left), target, cause, {"ran_s": ran})

    def source_left(self, left: int, chosen: int, ran: float, error: SourceError | None) -> None:
        """A source that delivered was left for a better one."""
        if error is not None:
            self.source_failed(error, left, chosen, ran, None)
        else:
            why = "a better source is well again"
            self.decisions.decided(self.label(left), self.label(chosen), why, {"ran_s": ran})

    def source_doubted(self, error: SourceError, index: int, ran: float) -> None:
        """Something is wrong with what a source brings, and there is no other to go to."""
        self.error_count += 1
        self.decisions.noted(self.label(index), f"{error}; it stays, there is no other source to go to", {"ran_s": ran})
