"""Does one thing after the other: what one causes at once must not pile up on the stack."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from ..log import make_logger

log = make_logger()

T = TypeVar("T")


class SerialQueue(Generic[T]):
    """Calls a function with each thing that is put in, never while an earlier call is still running."""

    def __init__(self, what: str, do: Callable[[T], None]) -> None:
        """
        Do nothing yet.

        :param what: is done, for the log.
        :param do: if it raises, that is logged and what is left is dropped.
        """
        self._what = what
        self._do = do
        self._left: deque[T] = deque()
        self._doing = False

    def put(self, thing: T) -> None:
        """Do it now, or when what is under way is done."""
        self._left.append(thing)
        if self._doing:
            return
        self._doing = True
        try:
            while self._left:
                self._do(self._left.popleft())
        except Exception:
            log.failure("{what} failed", what=self._what)
            self._left.clear()
        finally:
            self._doing = False
