"""Who keeps count of what happens to a stream's sources.

Whom a session asks where to go next.
"""

from __future__ import annotations

from typing import Protocol

from ..core.failover.resolver import ResolverAnswer
from ..core.http.source_request import SourceRequest
from ..errors import SourceError


class FailoverObserver(Protocol):
    """Who keeps count of what happens to a stream. Indices are for :meth:`.session.Session.request`."""

    def source_moved(self, index: int) -> None:
        """Another source than the last is dialled."""

    def source_failed(
        self, error: SourceError, left: int, chosen: int | None, ran: float, referral: ResolverAnswer | None
    ) -> None:
        """A source failed. Told as soon as it is known what follows.

        :param left: its index.
        :param chosen: the index of the source that is next, at once or after a rest; None if none is left.
        :param ran: seconds that it had delivered.
        :param referral: what the resolver said to that, if it was asked.
        """

    def source_left(self, left: int, chosen: int, ran: float, error: SourceError | None) -> None:
        """A source that delivered was left for a better one; ``error`` is what was wrong with what it brought."""

    def source_doubted(self, error: SourceError, index: int, ran: float) -> None:
        """Something is wrong with what a source brings. It stays, for there is no other to go to."""


class ResolverPort(Protocol):
    """Asks the stream's resolver; what came of it is told to :meth:`.session.Session.referred`."""

    @property
    def available(self) -> bool:
        """Whether there is a resolver."""

    def ask(self, error: SourceError, seconds: float) -> None:
        """A source failed with ``error``: ask, and tell within ``seconds``, also if nothing was learnt."""

    def doubt(self, error: SourceError) -> None:
        """Something is wrong with the source that flows: ask, and have the session leave it or keep it."""

    def dismiss(self) -> None:
        """The session no longer wants to know. Harmless when it did not ask."""

    def request(self, url: str) -> SourceRequest:
        """How a URL that the resolver named is asked for the stream."""
