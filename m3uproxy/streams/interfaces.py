"""The port through which a session asks the failover resolver of its stream."""

from __future__ import annotations

from typing import Protocol

from ..core.http.source_request import SourceRequest
from ..errors import SourceError


class ResolverPort(Protocol):
    """
    The resolver of one stream, as its session knows it.

    The answer is given to :meth:`.failover_driver.FailoverDriver.resolver_answered`, ``switch_to`` or ``stay``.
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
