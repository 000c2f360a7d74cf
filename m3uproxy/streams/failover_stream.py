"""The base class of streams with one source in use at a time: live streams and HLS streams."""

from __future__ import annotations

from abc import abstractmethod

from twisted.internet.defer import Deferred

from .base import Stream
from .context import StreamContext
from .failover_driver import FailoverDriver
from .failover_history import FailoverHistory
from .spec import StreamSpec
from .stream_resolver import StreamResolver


class FailoverStream(Stream):
    """A stream with a session, which is on one source at a time, and a resolver."""

    def __init__(
        self,
        context: StreamContext,
        stream_id: str,
        spec: StreamSpec,
        history: FailoverHistory | None = None,
    ) -> None:
        """Make a stream without clients. The subclass then makes its session."""
        super().__init__(context, stream_id, spec, history)
        self.resolver = StreamResolver(context, self)

    @property
    @abstractmethod
    def session(self) -> FailoverDriver:
        """The driver of the sources."""

    @property
    def source_index(self) -> int:
        """Position of the source in use or next; 0 for the primary.

        A source that a resolver named has the number of sources before it.
        """
        return self.session.index

    @property
    def current_url(self) -> str:
        """URL of the source in use or next."""
        return self.session.request().url

    def sources(self) -> list[dict[str, object]]:
        """Return the state of each source, in order."""
        return self.session.sources.report(self._clock.seconds())

    def fail_over(self, index: int | None = None) -> Deferred[bool]:
        """
        Move to a source.

        :param index: position of the source; None for the one that the resolver names, or the next one in the list.
        :return: a Deferred that fires after the move, with False if there is no other source.
        """
        return self.resolver.fail_over(index)

    def begin_at(self, index: int) -> None:
        """Begin with a source that has answered already. Counters stay. Called before the first client."""
        history = self.history
        counters = history.failover_attempts, history.last_failover
        self.session.choose(index)
        history.failover_attempts, history.last_failover = counters

    @property
    def may_fail_over(self) -> bool:
        """True if the stream has a resolver or more than one source."""
        return self.resolver.available or super().may_fail_over
