"""What a live stream and an HLS stream have in common: a course from source to source, counted and noted."""

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
    """A stream that is on one of its sources at a time."""

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
