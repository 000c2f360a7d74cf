"""Whom a session asks where to go next."""

from __future__ import annotations

from typing import Protocol

from ..errors import SourceError
from ..upstream.dialler import SourceRequest


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
