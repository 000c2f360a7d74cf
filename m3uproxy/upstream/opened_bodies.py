"""Bodies that a session has opened for the session of another kind.

If the first answer of a source shows that the stream is of another kind than its URL told, the stream is replaced. The
new stream dials the same source in the same reactor turn. It gets the body that is open already, so that the provider
is asked once.
"""

from __future__ import annotations

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from ..core.http.source_request import SourceRequest
from ..interfaces import IResponseBody
from ..log import make_logger

log = make_logger()

#: Seconds for which a body is kept. The player may have left, or its new request may be for another part.
KEPT_SECONDS = 1.0


class OpenedBodies:
    """Open bodies by their request, each for one taker."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._kept: dict[SourceRequest, tuple[IResponseBody, IDelayedCall]] = {}

    def keep(self, request: SourceRequest, body: IResponseBody) -> None:
        """
        Keep a body that was withdrawn from its consumer, for :data:`KEPT_SECONDS`.

        A body on the slot of an account is closed instead: the new session acquires a slot of its own, which is free
        when the socket has closed.
        """
        self._close(request)
        if request.slot is not None or request.account is not None:
            self._end(body)
            return
        timer = self._clock.callLater(KEPT_SECONDS, self._close, request)
        self._kept[_key(request)] = (body, timer)

    def take(self, request: SourceRequest) -> IResponseBody | None:
        """Return the body that was kept for a request, None if there is none. It belongs to the caller then."""
        if not self._kept:
            return None
        body, timer = self._kept.pop(_key(request), (None, None))
        if timer is not None:
            timer.cancel()
        return body

    def stop(self) -> None:
        """Close all bodies."""
        for request in list(self._kept):
            self._close(request)

    def _close(self, request: SourceRequest) -> None:
        body, timer = self._kept.pop(_key(request), (None, None))
        if timer is not None and timer.active():
            timer.cancel()
        if body is not None:
            self._end(body)

    def _end(self, body: IResponseBody) -> Deferred[None]:
        return body.close().addErrback(_close_failed)


def _key(request: SourceRequest) -> SourceRequest:
    """Return the request without the parts that differ between two sessions."""
    return attrs.evolve(request, account=None, slot=None, method="GET")


def _close_failed(failure: Failure) -> None:
    log.failure("closing a body that no session took failed", failure=failure)
