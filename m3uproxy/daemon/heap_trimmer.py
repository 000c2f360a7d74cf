"""Returns unused memory to the system when no player is left.

glibc keeps freed blocks of a ring in its heap, because small objects in use lie between them: of 340 MB under load,
320 MB stay when 15 MB are in use. ``malloc_trim`` returns their pages. That takes 0.3 ms for each MB, and blocks other
large allocations meanwhile. So it runs in a thread, and only while there is no player. ctypes releases the
interpreter lock.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from twisted.internet.threads import deferToThreadPool

from ..log import make_logger

log = make_logger()

#: Least seconds between two trims.
INTERVAL = 15.0
#: Seconds after the last player has left in which memory is freed: by then, caches are empty and streams removed.
SETTLING_TIME = 90.0


def malloc_trim() -> Callable[[], object] | None:
    """Return the function of glibc that returns unused memory; None with another C library."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
    return lambda: trim(0)


class HeapTrimmer:
    """Trims the heap after the last player has left, then some more times while caches become empty."""

    def __init__(self, reactor: Any, trim: Callable[[], object] | None = None) -> None:
        """
        Initialise a trimmer, which waits for the first player.

        :param trim: returns unused memory to the system; by default that of glibc.
        """
        self._reactor = reactor
        self._trim = trim or malloc_trim()
        self._deadline = self._next = float("-inf")
        self._is_trimming = False

    def players_counted(self, count: int) -> None:
        """Trim the heap if it is time to. Called once a second with the number of players."""
        now = self._reactor.seconds()
        if count:
            self._deadline = now + SETTLING_TIME
        elif self._next <= now <= self._deadline and self._trim is not None and not self._is_trimming:
            self._next = now + INTERVAL
            self._is_trimming = True
            trimmed = deferToThreadPool(self._reactor, self._reactor.getThreadPool(), self._trim)
            trimmed.addErrback(lambda failure: log.failure("returning unused memory failed", failure=failure))
            trimmed.addBoth(self._trimmed)

    def _trimmed(self, _: object) -> None:
        self._is_trimming = False
