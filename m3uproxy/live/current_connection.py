"""The connection of a session to its source in use.

A dial waits for the slot of the stream and for the end of the previous socket, because providers count connections.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from ..core.http.source_request import DialTimeouts, SourceRequest
from ..core.programme import BodyNature
from ..errors import SourceError
from ..log import make_logger
from ..upstream.slots import PreviousSocket, Slot, StreamSlot
from ..upstream.twisted_errors import on_failure
from .body_reader import BodyReaderOwner
from .source_connection import SourceConnection

log = make_logger()


class CurrentConnection:
    """At most one source connection, and the wait before its dial."""

    def __init__(
        self,
        clock: IReactorTime,
        slot: StreamSlot,
        make: Callable[[Slot | None], SourceConnection],
        owner: BodyReaderOwner,
    ) -> None:
        """
        Initialise without a connection.

        :param slot: the slot of the stream, acquired before each dial.
        :param make: returns a connection, not dialled, that counts for a slot.
        :param owner: its ``source_ended`` is called if there is no slot.
        """
        self._slot = slot
        self._make = make
        self._owner = owner
        self._waiting: Deferred[None] | None = None
        self._connection: SourceConnection | None = None
        self._previous_socket = PreviousSocket(clock)

    @property
    def is_programme(self) -> bool:
        """True if the body has an end, as far as its head and its URL tell."""
        return self._connection is not None and self._connection.nature is BodyNature.PROGRAMME

    @property
    def expected_pause(self) -> float:
        """Seconds for which the body may bring nothing although its source works."""
        return self._connection.expected_pause if self._connection is not None else 0.0

    @property
    def has_length(self) -> bool:
        """True if the length of the body was stated."""
        return self._connection is not None and self._connection.has_length

    def is_current(self, connection: SourceConnection) -> bool:
        """Return whether a connection is the one in use."""
        return self._connection is connection

    def open(self, request: SourceRequest, timeouts: DialTimeouts) -> None:
        """Dial when there is a slot and the previous socket has closed. There must be no connection."""
        waiting = Deferred.fromCoroutine(self._open(request, timeouts))
        event = "stream {stream}: waiting for a slot failed"
        on_failure(waiting, self._refused, log, event, stream=self._owner.stream_id)
        if not waiting.called:
            self._waiting = waiting

    def close(self) -> None:
        """Close the connection, or cancel the wait. The slot is kept, because the next dial may need it."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.cancel()
        connection, self._connection = self._connection, None
        if connection is not None:
            self._previous_socket.closing(connection.close())

    def replace_by(self, connection: SourceConnection, slot: Slot | None) -> None:
        """Close the connection, and use one that is open already, with its slot."""
        self.close()
        self._slot.replace(slot)
        self._connection = connection

    def closed(self) -> Deferred[None]:
        """Return a Deferred that fires when the last socket has closed. Cancelling it affects no other wait."""
        return self._previous_socket.closed()

    async def _open(self, request: SourceRequest, timeouts: DialTimeouts) -> None:
        slot = await self._slot.acquire(request.account)
        await self._previous_socket.wait()
        self._waiting = None
        self._connection = self._make(slot)
        self._connection.open(request, timeouts)

    def _refused(self, error: SourceError) -> None:
        self._waiting = None
        self._owner.source_ended(error)
