"""How one source of a stream has behaved, and whether it stands in quarantine for that."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import attrs

from .causes import CausePolicy, FailureCause

#: Seconds of delivery after which a source's earlier failures are forgotten.
CALM = 60.0


@attrs.define
class SourceState:
    """How one source has behaved. ``since`` is when it began to deliver, if it is in use and has settled."""

    key: Hashable
    account: Hashable | None
    until: float = float("-inf")
    strikes: int = 0
    failures: int = 0
    failed_at: float = float("-inf")
    cause: FailureCause | None = None
    since: float | None = None

    def punish(self, treatment: CausePolicy, now: float, factor: float) -> None:
        """Into quarantine; a longer one that is running stays."""
        self.strikes += 1
        seconds = min(treatment.longest, treatment.cool_down * 2.0 ** min(self.strikes - 1, 30))
        self.until = max(self.until, now + seconds * factor)

    def note(self, cause: FailureCause, now: float) -> None:
        """Remember a failure, for statistics and failback."""
        self.failures += 1
        self.failed_at = now
        self.cause = cause

    def left(self, now: float) -> None:
        """It is no longer in use."""
        since, self.since = self.since, None
        if since is not None and now - since >= CALM:
            self.strikes = 0

    def forgive(self) -> None:
        """Out of quarantine; what went before no longer counts."""
        self.until = self.failed_at = float("-inf")
        self.strikes = 0

    def is_free(self, at: float) -> bool:
        """Whether it is out of quarantine at that time."""
        return self.until <= at

    def quarantine(self, now: float) -> float:
        """Seconds for which it stays behind others; 0 if it does not."""
        return max(0.0, self.until - now)

    def report(self, now: float) -> dict[str, object]:
        """For statistics."""
        return {
            "failures": self.failures,
            "last_cause": self.cause.value if self.cause else None,
            "quarantine_seconds": round(self.quarantine(now), 1),
        }


def source_states(keys: Sequence[Hashable], accounts: Sequence[Hashable | None]) -> list[SourceState]:
    """
    One for each source, of which nothing is known.

    :param accounts: may be shorter than ``keys``.
    :raises ValueError: if there is no source.
    """
    if not keys:
        raise ValueError("a stream has at least one source")
    known = list(accounts) + [None] * (len(keys) - len(accounts))
    return [SourceState(key, account) for key, account in zip(keys, known, strict=False)]
