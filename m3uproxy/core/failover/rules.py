"""The limits under which sources are tried; see :mod:`.sources` and :mod:`.outage`."""

from __future__ import annotations

import attrs

from .causes import TREATMENTS, CausePolicy, FailureCause


@attrs.frozen
class FailoverRules:
    """
    Limits; times are seconds.

    :ivar laps: passes over the sources within one outage (``STREAM_RETRY_ATTEMPTS``).
    :ivar rest: between the first two laps (``STREAM_RETRY_DELAY``).
    :ivar growth: factor from rest to rest: 1, or 1.5 with ``STREAM_RETRY_EXPONENTIAL_BACKOFF``.
    :ivar busy_rest: the least rest after a lap in which a provider had no free connection.
    :ivar jitter: part by which rests and cool-downs are drawn longer or shorter.
    :ivar moves: changes to another source within one outage (``MAX_FAILOVER_ATTEMPTS``); 0 for no limit.
    :ivar stall_cool_down: the first quarantine of a source that stalled (for strict streams
        ``STRICT_LIVE_TS_CIRCUIT_BREAKER_COOLDOWN``).
    :ivar failback: how long the source in use must have run, and a better one not have failed, before the stream
        moves back to the better one; 0 for never.
    """

    laps: int = 3
    rest: float = 1.0
    growth: float = 1.0
    busy_rest: float = 3.0
    jitter: float = 0.2
    moves: int = 0
    stall_cool_down: float = 10.0
    failback: float = 0.0

    def treatment(self, cause: FailureCause) -> CausePolicy:
        """What follows from a cause."""
        treatment = TREATMENTS[cause]
        if cause is FailureCause.STALLED:
            first = self.stall_cool_down
            return attrs.evolve(treatment, cool_down=first, longest=max(first, treatment.longest))
        return treatment
