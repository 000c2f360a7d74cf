"""Once in a while: is there a better source than the one in use, and would the next backup deliver?"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from ..core.failover.causes import cause_of
from ..core.failover.machine import FailoverMachine
from ..errors import SourceError
from ..log import make_logger

log = make_logger()


class FailbackOwner(Protocol):
    """Who moves, and who knows how one looks."""

    def switch_to(self, index: int, error: SourceError | None) -> None:
        """Another source is better. ``error`` is what is wrong with this one; None if nothing is."""

    def probe(self, index: int) -> Deferred[None] | None:
        """Look whether a source that is not in use would deliver; None if that may not be."""


class FailbackReview:
    """Of the sources of one stream, while one of them delivers."""

    def __init__(self, clock: IReactorTime, failover: FailoverMachine, owner: FailbackOwner) -> None:
        """Nothing is looked at."""
        self._clock = clock
        self._failover = failover
        self._owner = owner
        self._looking: Deferred[None] | None = None

    def hold(self, probe: bool) -> None:
        """
        Have the stream moved to a better source that is well again, or else look at the next backup.

        :param probe: whether that may be. Found out in good time, it is not tried in an outage.
        """
        better = self._failover.preferred(self._clock.seconds())
        if better is not None:
            self._owner.switch_to(better, None)
        elif probe and self._looking is None:
            self._probe()

    def close(self) -> None:
        """Look no more. Safe to call twice."""
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()

    def _probe(self) -> None:
        index = self._failover.sources.probe_target(self._clock.seconds())
        if index is None:
            return
        looking = self._owner.probe(index)
        if looking is not None:
            self._looking = looking
            key = self._failover.sources.source_list.key(index)
            looking.addCallbacks(self._looks_well, self._looks_bad, callbackArgs=(key,), errbackArgs=(key,))
            looking.addErrback(lambda failure: log.failure("looking at a backup failed", failure=failure))

    def _looks_well(self, result: None, key: Hashable) -> None:
        if self._looking is not None:
            self._looking = None
            self._looked(key, None)

    def _looks_bad(self, failure: Failure, key: Hashable) -> None:
        looked, self._looking = self._looking is not None, None
        failure.trap(SourceError, CancelledError)
        error = failure.value
        if isinstance(error, SourceError) and looked:
            self._looked(key, error)

    def _looked(self, key: Hashable, error: SourceError | None) -> None:
        """The list may be another one by now than when the backup was asked."""
        index = self._failover.sources.source_list.index_of(key)
        if index is None:
            return
        if error is not None:
            log.info("backup {index} would not deliver: {error}", index=index, error=error)
        self._failover.sources.probed(index, cause_of(error) if error else None, self._clock.seconds())
