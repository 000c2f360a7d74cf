"""What a provider says of a file, for a player that asks with HEAD before it plays.

A line to the provider that somebody plays over tells as well what the file is: while there is one, or while one is
being opened, none is opened to ask. Providers that answer no HEAD are asked for the first byte. All who ask meanwhile
share the answer.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed

from ..core.http.byte_ranges import ByteRange
from ..core.http.representation import Representation
from ..errors import Reason, SourceError
from .session import VodSession

#: Answers to HEAD that say nothing of what GET would be answered, and no answers.
_NO_HEAD = frozenset({400, 403, 404, 405, 500, 501})
_NO_ANSWER = frozenset({Reason.BAD_HEAD, Reason.RESET, Reason.FIRST_BYTE_TIMEOUT})


class HeadRequest:
    """One question; an :class:`.roles.Asker` that takes no bytes."""

    position: int | None = None
    proof = b""
    wants = False
    begun = False
    url = ""

    def __init__(
        self, open_line: Callable[[Callable[[], None]], VodSession], learn: Callable[[Representation, str], None]
    ) -> None:
        """
        Prepare to ask.

        :param open_line: makes a line that is closed; given what to call when it is of no use any more.
        :param learn: told of what was found.
        """
        self._open_line = open_line
        self._learn = learn
        self._line: VodSession | None = None
        self._waiting: list[Deferred[Representation]] = []
        self.edition: Representation | None = None
        self.wanted: ByteRange | None = None

    def answer(self) -> Deferred[Representation]:
        """
        What is found.

        :return: a Deferred that fails with :class:`m3uproxy.errors.SourceError`; cancelling it cancels nobody else's.
        """
        waiting: Deferred[Representation] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        return waiting

    def ask(self) -> None:
        """Ask the provider, if somebody wants to know and that is not under way."""
        if self._waiting and self._line is None:
            self.wanted = None
            self._line = self._open_line(self._drop)
            self._line.serve(self)

    def give_way(self) -> Deferred[None]:
        """
        Somebody plays, and so will know: who waits waits for that.

        :return: a Deferred that fires when our socket is gone.
        """
        line, self._line = self._line, None
        return line.close() if line is not None else succeed(None)

    def told(self, edition: Representation) -> None:
        """It is known."""
        self._drop()
        for waiting in self._end():
            waiting.callback(edition)

    # for the line

    def try_otherwise(self, error: SourceError) -> bool:
        """Whether it is worth asking with GET."""
        if self.wanted is not None or not (error.status in _NO_HEAD or error.reason in _NO_ANSWER):
            return False
        self.wanted = ByteRange(0, 0)
        return True

    def take(self, data: memoryview) -> int:
        """Nothing is asked for."""
        return 0

    def found(self, edition: Representation, url: str) -> None:
        """Known for longer only if there are parts: HEAD may say nothing of them, and there are."""
        if edition.accepts_ranges:
            self._learn(edition, url)
        self.told(edition)

    def complete(self) -> None:
        """Nothing was asked for."""

    def failed(self, error: SourceError) -> None:
        """Nobody knows."""
        self._drop()
        for waiting in self._end():
            waiting.errback(error)

    # inside

    def _drop(self) -> None:
        self.give_way()

    def _end(self) -> list[Deferred[Representation]]:
        waiting, self._waiting = self._waiting, []
        return waiting
