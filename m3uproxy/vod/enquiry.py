"""What a provider says of a file, for a player that asks with HEAD before it plays.

Providers that answer no HEAD are asked for the first byte. All who ask meanwhile share the answer.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from ..core.edition import Edition
from ..core.ranges import ByteRange
from ..errors import SourceError

#: Answers to HEAD that say nothing of what GET would be answered.
_NO_HEAD = frozenset({400, 403, 404, 405, 500, 501})


class Enquiry:
    """One question; an :class:`.roles.Asker` that takes no bytes."""

    position: int | None = None
    proof = b""
    wants = False
    begun = False
    url = ""

    def __init__(self, learn: Callable[[Edition, str], None], over: Callable[[], None]) -> None:
        """
        Prepare to ask.

        :param learn: told of what was found.
        :param over: called at the end.
        """
        self._learn = learn
        self._over = over
        self._waiting: list[Deferred[Edition]] = []
        self.edition: Edition | None = None
        self.wanted: ByteRange | None = None

    def answer(self) -> Deferred[Edition]:
        """
        What is found.

        :return: a Deferred that fails with :class:`m3uproxy.errors.SourceError`; cancelling it cancels nobody else's.
        """
        waiting: Deferred[Edition] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        return waiting

    def try_otherwise(self, error: SourceError) -> bool:
        """Whether it is worth asking with GET."""
        if self.wanted is not None or error.status not in _NO_HEAD:
            return False
        self.wanted = ByteRange(0, 0)
        return True

    def take(self, data: memoryview) -> int:
        """Nothing is asked for."""
        return 0

    def found(self, edition: Edition, url: str) -> None:
        """It is known."""
        self._learn(edition, url)
        self._over()
        for waiting in self._end():
            waiting.callback(edition)

    def complete(self) -> None:
        """Nothing was asked for."""

    def failed(self, error: SourceError) -> None:
        """Nobody knows."""
        self._over()
        for waiting in self._end():
            waiting.errback(error)

    def _end(self) -> list[Deferred[Edition]]:
        waiting, self._waiting = self._waiting, []
        return waiting
