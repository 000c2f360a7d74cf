"""Requests that wait for one result, each with a Deferred of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred

from .errors import SourceError

T = TypeVar("T")


class WaitingRequests(Generic[T]):
    """
    The requests that wait for the same result.

    The callbacks of one request may cancel another one, wait again, or fire the requests again. So the list is taken
    before the first request is fired, and each request is looked at once more before it is fired.
    """

    def __init__(self) -> None:
        self._requests: dict[Deferred[T], None] = {}

    def __len__(self) -> int:
        return len(self._requests)

    def wait(self) -> Deferred[T]:
        """Return a Deferred for one more request. Cancelling it affects no other request."""
        request: Deferred[T] = Deferred(lambda cancelled: self._requests.pop(cancelled, None))
        self._requests[request] = None
        return request

    def succeed(self, result: T) -> None:
        """Give the result to all requests that wait now."""
        for request in self._take():
            request.callback(result)

    def fail(self, error: SourceError) -> None:
        """Fail all requests that wait now, each with an error of its own, which may be raised."""
        for request in self._take():
            request.errback(error.detached())

    def _take(self) -> Iterator[Deferred[T]]:
        """Yield the requests. A request that was cancelled since the first one was fired is left out."""
        taken, self._requests = self._requests, {}
        return (request for request in taken if not request.called)
