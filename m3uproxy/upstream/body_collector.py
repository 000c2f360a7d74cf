"""Consumers that keep a body, or its beginning, in memory."""

from __future__ import annotations

from abc import ABC, abstractmethod

from twisted.internet.defer import CancelledError, Deferred
from zope.interface import implementer

from ..errors import Reason, SourceError
from ..interfaces import IBodyConsumer, IResponseBody


@implementer(IBodyConsumer)
class BodyCollector(ABC):
    """
    A consumer that reads a body until it has enough. Subclasses decide how much is enough.

    :ivar received: bytes received so far.
    :ivar done: fires once, with None, when enough was received. If the body ends before, also cleanly, ``done`` fails
        with the :class:`SourceError` of the end. After that, data is ignored.
    """

    def __init__(self) -> None:
        self.received = 0
        self.done: Deferred[None] = Deferred()

    @abstractmethod
    def _collect(self, data: bytes) -> bool:
        """
        Keep the needed part of the data, and return True if it is enough.

        :raises SourceError: to end the body with that error.
        """

    def body_received(self, data: bytes) -> None:
        """See :meth:`m3uproxy.interfaces.IBodyConsumer.body_received`."""
        if self.done.called:
            return
        self.received += len(data)
        if self._collect(data):
            self.done.callback(None)

    def body_ended(self, error: SourceError) -> None:
        """See :meth:`m3uproxy.interfaces.IBodyConsumer.body_ended`."""
        if not self.done.called:
            self.done.errback(error)


class _WholeBody(BodyCollector):
    """A whole body of a bounded size."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.data = b""
        self._limit = limit

    def _collect(self, data: bytes) -> bool:
        self.data += data
        if len(self.data) > self._limit:
            raise SourceError(Reason.TRUNCATED, f"an answer over {self._limit} bytes")
        return False


async def read_whole(body: IResponseBody, limit: int) -> bytes:
    """
    Read a body to its end. Cancelling closes the connection.

    :param limit: bytes that the body may have.
    :raises SourceError: ``TRUNCATED`` if the body is longer, or the error that the body ended with.
    """
    collector = _WholeBody(limit)
    body.deliver(collector)
    try:
        await collector.done
    except SourceError as end:
        if end.reason is not Reason.ENDED:
            raise
    except CancelledError:
        body.close()
        raise
    return collector.data
