"""The one connection of a stream: leave to open it is waited for, and the end of the one before.

A dial begins when there is a slot for it, and when the socket of the feed before it is gone (:mod:`.goodbye`).
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from ..core.http.source_request import DialTimeouts, SourceRequest
from ..errors import SourceError
from ..log import make_logger
from ..upstream.slots import PreviousSocket, Slot, StreamSlot
from ..upstream.twisted_errors import on_failure
from .body_reader import BodyReaderOwner
from .source_connection import SourceConnection

log = make_logger()


class CurrentConnection:
    """
    At most one feed at a time.

    :ivar admission: asked before each dial.
    """

    def __init__(
        self,
        clock: IReactorTime,
        admission: StreamSlot,
        make: Callable[[Slot | None], SourceConnection],
        owner: BodyReaderOwner,
    ) -> None:
        """
        Nothing is open.

        :param make: makes a feed that is not open, for ``owner``, on a slot.
        :param owner: is told as well if there is no leave to open one.
        """
        self._make = make
        self._owner = owner
        self._asking: Deferred[None] | None = None
        self._feed: SourceConnection | None = None
        self._goodbye = PreviousSocket(clock)
        self.admission = admission

    @property
    def received(self) -> int:
        """Bytes that the present one has brought."""
        return self._feed.received if self._feed is not None else 0

    def has(self, feed: SourceConnection) -> bool:
        """Whether that is the present one."""
        return self._feed is feed

    def open(self, request: SourceRequest, limits: DialTimeouts) -> None:
        """Dial as soon as that may be. There must be none."""
        asking = Deferred.fromCoroutine(self._open(request, limits))
        on_failure(asking, self._refused, log, "asking for leave to dial failed")
        if not asking.called:
            self._asking = asking

    def drop(self) -> None:
        """Close what there is. The slot is kept: perhaps the next dial needs it."""
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.cancel()
        feed, self._feed = self._feed, None
        if feed is not None:
            self._goodbye.closing(feed.close())

    def replace_by(self, feed: SourceConnection, slot: Slot | None) -> None:
        """Close what there is: another, which is open already, takes its place."""
        self.drop()
        self.admission.replace(slot)
        self._feed = feed

    def when_gone(self) -> Deferred[None]:
        """Fires when the socket of the last feed is gone; cancelling it cancels nobody else's wait."""
        return self._goodbye.closed()

    async def _open(self, request: SourceRequest, limits: DialTimeouts) -> None:
        slot = await self.admission.acquire(request.account)
        await self._goodbye.wait()
        self._asking = None
        self._feed = self._make(slot)
        self._feed.open(request, limits)

    def _refused(self, error: SourceError) -> None:
        self._asking = None
        self._owner.source_ended(error)
