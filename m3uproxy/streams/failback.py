"""The periodic review of sources: move back to a better one, and probe the next backup."""

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
    """
    The driver under review.

    :ivar stream_id: id of the stream, for the log.
    """

    stream_id: str

    def switch_to(self, index: int, error: SourceError | None) -> None:
        """Leave the source in use for a better one. ``error`` is its fault; None if it has none."""

    def probe(self, index: int) -> Deferred[None] | None:
        """
        Probe a source that is not in use.

        :return: a Deferred that fails with :class:`SourceError` if the source does not deliver; None if no connection
            may be opened for it.
        """


class FailbackReview:
    """The review of one stream while its source streams."""

    def __init__(self, clock: IReactorTime, failover: FailoverMachine, owner: FailbackOwner) -> None:
        self._clock = clock
        self._failover = failover
        self._owner = owner
        self._probing: Deferred[None] | None = None

    def run(self, probe: bool) -> None:
        """
        Move back to a better source that has recovered. If there is none, probe the next backup.

        :param probe: False to probe nothing. A backup that fails a probe is quarantined before an outage needs it.
        """
        better = self._failover.preferred(self._clock.seconds())
        if better is not None:
            self._owner.switch_to(better, None)
        elif probe and self._probing is None:
            self._probe()

    def close(self) -> None:
        """Cancel the probe. Safe to call twice."""
        probing, self._probing = self._probing, None
        if probing is not None:
            probing.cancel()

    def _probe(self) -> None:
        index = self._failover.sources.probe_target(self._clock.seconds())
        if index is None:
            return
        probing = self._owner.probe(index)
        if probing is not None:
            self._probing = probing
            key = self._failover.sources.source_list.key(index)
            probing.addCallbacks(self._probe_succeeded, self._probe_failed, callbackArgs=(key,), errbackArgs=(key,))
            probing.addErrback(self._review_failed)

    def _probe_succeeded(self, result: None, key: Hashable) -> None:
        if self._probing is not None:
            self._probing = None
            self._probed(key, None)

    def _probe_failed(self, failure: Failure, key: Hashable) -> None:
        is_current, self._probing = self._probing is not None, None
        failure.trap(SourceError, CancelledError)
        error = failure.value
        if isinstance(error, SourceError) and is_current:
            self._probed(key, error)

    def _probed(self, key: Hashable, error: SourceError | None) -> None:
        """Record the result, if the source is still in the list, which may have been replaced in the meantime."""
        index = self._failover.sources.source_list.index_of(key)
        if index is None:
            return
        if error is not None:
            text = "stream {stream}: probe of backup {index} failed: {error}"
            log.info(text, stream=self._owner.stream_id, index=index, error=error)
        self._failover.sources.probed(index, cause_of(error) if error else None, self._clock.seconds())

    def _review_failed(self, failure: Failure) -> None:
        log.failure("stream {stream}: the review of a backup failed", failure=failure, stream=self._owner.stream_id)
