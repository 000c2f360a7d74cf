"""What several people wait for and read: who they are, and when the last of them has gone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed

from ..errors import SourceError


class SharedDownload(ABC):
    """Something that opens, grows and is over at some time.

    Who waits for it or has been given it *holds* it.

    :ivar opened_at: seconds of the clock; None until it is open.
    :ivar over: whether it will grow no more.
    :ivar error: why it failed; None while it is on its way, and if it is complete.
    """

    def __init__(self) -> None:
        self.opened_at: float | None = None
        self.over = False
        self.error: SourceError | None = None
        self._waiting: list[Deferred[Any]] = []
        self._readers: list[Callable[[], None]] = []
        self._holds = 0

    @abstractmethod
    def _settle(self) -> None:
        """Somebody has gone, perhaps the last."""

    @property
    def is_open(self) -> bool:
        """Whether readers may begin."""
        return self.opened_at is not None

    def wait(self) -> Deferred[Any]:
        """
        Wait until it is open. Who is given it holds it, and must :meth:`release` it.

        :return: a Deferred that may be cancelled.
        """
        if self.error is not None:
            return fail(self.error)
        if self.is_open:
            self.hold()
            return succeed(self)
        waiting: Deferred[Any] = Deferred(self._not_waiting)
        self._waiting.append(waiting)
        return waiting

    def hold(self) -> None:
        """One more who may still read."""
        self._holds += 1

    def release(self) -> None:
        """One less."""
        self._holds -= 1
        self._settle()

    def complete(self) -> Deferred[Any]:
        """
        Wait until it is complete, for one who holds it; a failure takes the hold away.

        :return: a Deferred that may be cancelled.
        """
        if self.over and self.error is None:
            return succeed(self)

        def grown() -> None:
            if self.over and grown in self._readers:
                self.leave(grown)
                if self.error is None:
                    waiting.callback(self)
                else:
                    self.release()
                    waiting.errback(self.error)

        def cancelled(_: Deferred[Any]) -> None:
            self.leave(grown)
            self.release()

        waiting: Deferred[Any] = Deferred(cancelled)
        self.follow(grown)
        grown()
        return waiting

    @property
    def is_held(self) -> bool:
        """Whether anybody waits for it or may still read."""
        return bool(self._holds or self._waiting)

    def follow(self, grown: Callable[[], None]) -> None:
        """Have ``grown`` called whenever there is more, and when it is over."""
        self._readers.append(grown)

    def leave(self, grown: Callable[[], None]) -> None:
        """No more of that."""
        if grown in self._readers:
            self._readers.remove(grown)

    def _answer_waiting(self) -> None:
        while self._waiting:
            waiting = self._waiting.pop(0)
            if self.error is None:
                self.hold()
                waiting.callback(self)
            else:
                waiting.errback(self.error)

    def _tell_readers(self) -> None:
        for grown in list(self._readers):
            grown()

    def _not_waiting(self, waiting: Deferred[Any]) -> None:
        if waiting in self._waiting:
            self._waiting.remove(waiting)
        self._settle()
