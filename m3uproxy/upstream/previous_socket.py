"""The end of the socket before: a provider that allows one connection must not see two of ours.

So a dial waits until the socket that it replaces is gone, or has not gone for :data:`LONGEST` seconds.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

#: Seconds for which a dial waits.
LONGEST = 1.0


class PreviousSocket:
    """To one socket after the other."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._gone: Deferred[None] = succeed(None)

    def to(self, gone: Deferred[None]) -> None:
        """A socket is being closed; ``gone`` fires when it is. From now on it is the one that counts."""
        self._gone = gone

    def said(self) -> Deferred[None]:
        """Fires when the socket is gone; cancelling it cancels nobody else's wait."""
        waiting: Deferred[None] = Deferred()

        def tell(result: None) -> None:
            if not waiting.called:
                waiting.callback(None)

        self._gone.addCallback(tell)
        return waiting

    async def before_dialling(self) -> None:
        """Wait as long as is worth it."""
        if not self._gone.called:
            await self.said().addTimeout(LONGEST, self._clock, onTimeoutCancel=lambda *_: None)
