"""A body that says how long it is, under a URL that does not say what it is: a page, a film, or neither.

A film is told by its first bytes, and by its length: what a panel shows in place of a channel that it cannot deliver is
a file too, but a short one, and the channel will be back.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from ..core.http.body_sniffing import container, finite
from ..errors import Reason, SourceError
from ..interfaces import IBodyConsumer, IResponseBody

#: Bytes that a film has at least: half a minute of it.
SHORTEST_FILM = 32 << 20
#: Bytes that are enough to recognise one.
_ENOUGH = 400


async def classify_finite_body(body: IResponseBody, length: int, clock: IReactorTime, seconds: float) -> SourceError:
    """
    Why it is not to be played as a live stream; the body is read from and closed.

    :param seconds: that the first bytes may take.
    :return: with a ``media_type`` if it can be played as a film.
    """
    error = finite(length, body.content_type)
    if error.reason is not Reason.NOT_LIVE or length < SHORTEST_FILM:
        return error
    beginning = _Beginning()
    body.deliver(beginning)
    try:
        await beginning.enough.addTimeout(seconds, clock, onTimeoutCancel=lambda *_: None)
    finally:
        body.close()
    media_type = container(beginning.head)
    if media_type != "video/mp2t" or body.header("Accept-Ranges").lower() == "bytes":
        error.media_type = media_type
    return error


@implementer(IBodyConsumer)
class _Beginning:
    """Of a body; ``enough`` fires when there is enough of it, or no more."""

    def __init__(self) -> None:
        self.head = b""
        self.enough: Deferred[None] = Deferred()

    def body_received(self, data: bytes) -> None:
        """Keep it."""
        self.head += data
        if len(self.head) >= _ENOUGH:
            self._tell()

    def body_ended(self, error: SourceError) -> None:
        """Nothing follows."""
        self._tell()

    def _tell(self) -> None:
        if not self.enough.called:
            self.enough.callback(None)
