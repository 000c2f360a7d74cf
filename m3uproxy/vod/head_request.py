"""HEAD requests of players: a player may ask for length and type of a file before it plays.

The session of a playing client learns the same. While one is open, or being opened, no connection is opened for HEAD.
From providers that do not answer HEAD the first byte is requested. All players that ask meanwhile share the response.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed

from ..core.http.byte_ranges import ByteRange
from ..core.http.representation import Representation
from ..errors import Reason, SourceError
from ..waiting import WaitingRequests
from .session import VodSession

#: Statuses of HEAD that say nothing about GET.
_UNRELIABLE_STATUSES = frozenset({400, 403, 404, 405, 500, 501})
#: Failures of servers that do not answer HEAD at all.
_UNANSWERED = frozenset({Reason.BAD_HEAD, Reason.RESET, Reason.FIRST_BYTE_TIMEOUT})


class HeadRequest:
    """The pending HEAD request of a stream: a :class:`.interfaces.RangeConsumer` that accepts no bytes."""

    position: int | None = None
    last_bytes = b""
    can_accept = False
    started = False
    url = ""

    def __init__(
        self,
        open_session: Callable[[Callable[[], None]], VodSession],
        confirmed: Callable[[Representation, str], None],
    ) -> None:
        """
        Initialise without a connection.

        :param open_session: return a session that is not dialled; its parameter is called when the session is unused.
        :param confirmed: called with the file and the URL of its source.
        """
        self._open_session = open_session
        self._confirmed = confirmed
        self._session: VodSession | None = None
        self._waiting: WaitingRequests[Representation] = WaitingRequests()
        self.representation: Representation | None = None
        self.requested: ByteRange | None = None

    def wait(self) -> Deferred[Representation]:
        """
        Wait for the result of a request, sent already or later.

        :return: a Deferred that fails with :class:`m3uproxy.errors.SourceError`; cancelling it leaves others waiting.
        """
        return self._waiting.wait()

    def send(self) -> None:
        """Send a request to the provider, if a player waits and none is under way."""
        if self._waiting and self._session is None:
            self.requested = None
            self._session = self._open_session(self._close)
            self._session.serve(self)

    def close_session(self) -> Deferred[None]:
        """
        Close the connection, because a client's session will bring the same result. Players continue to wait.

        :return: a Deferred that fires when the socket has closed.
        """
        session, self._session = self._session, None
        return session.close() if session is not None else succeed(None)

    def succeed(self, representation: Representation) -> None:
        """Give the result to all players that wait."""
        self._close()
        self._waiting.succeed(representation)

    # RangeConsumer

    def retry_differently(self, error: SourceError) -> bool:
        """Return whether to try again with GET, for the first byte."""
        if self.requested is not None or not (error.status in _UNRELIABLE_STATUSES or error.reason in _UNANSWERED):
            return False
        self.requested = ByteRange(0, 0)
        return True

    def accept(self, data: memoryview) -> int:
        """Accept nothing: no body is requested."""
        return 0

    def file_known(self, representation: Representation, url: str) -> None:
        """Succeed. The file is remembered only if it has ranges, because responses to HEAD may omit Accept-Ranges."""
        if representation.accepts_ranges:
            self._confirmed(representation, url)
        self.succeed(representation)

    def file_ended(self) -> None:
        """Do nothing: no body is requested."""

    def sources_failed(self, error: SourceError) -> None:
        """Fail for all players that wait."""
        self._close()
        self._waiting.fail(error)

    # inside

    def _close(self) -> None:
        self.close_session()
