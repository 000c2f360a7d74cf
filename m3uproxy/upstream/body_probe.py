"""A short look at a source that is not in use: would it deliver?

A body that says how long it is, under a URL that does not say what it is: a page, a film, or neither.

A film is told by its first bytes, and by its length: what a panel shows in place of a channel that it cannot deliver is
a file too, but a short one, and the channel will be back.
"""

from __future__ import annotations

from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from ..core.http.body_sniffing import SNIFF_BYTES, body_error, container_type, finite_body_error
from ..core.http.source_request import DialTimeouts, SourceRequest
from ..core.ingest.detect import FormatDetector
from ..core.stream_kind import has_extension
from ..errors import Reason, SourceError
from ..interfaces import IBodyConsumer, IDialler, IResponseBody
from .slots import Slot

T = TypeVar("T")


def probe_source(
    clock: IReactorTime, dialler: IDialler, request: SourceRequest, limits: DialTimeouts, slot: Slot | None = None
) -> Deferred[None]:
    """
    Dial a source, wait for its first packet, hang up.

    :param limits: as for a dial; the first packet has as long again as the response head.
    :param slot: what the connection counts for; done with at the end.
    :return: a Deferred that fires with None if a packet came and fails with :class:`m3uproxy.errors.SourceError` if
        none did; cancelling it closes the connection.
    """
    looking = Deferred.fromCoroutine(_look_at(clock, dialler, request, limits, slot))
    return looking.addBoth(release_slot, slot)


def release_slot(result: T, slot: Slot | None) -> T:
    """Give a slot back, whatever came of it."""
    if slot is not None:
        slot.done()
    return result


async def _look_at(
    clock: IReactorTime, dialler: IDialler, request: SourceRequest, limits: DialTimeouts, slot: Slot | None
) -> None:
    body = await dialler.dial(request, limits, slot)
    try:
        if body.length is not None and not has_extension(request.url):
            raise finite_body_error(body.length, body.content_type)
        packet = _FirstPacket(body.content_type)
        body.deliver(packet)
        await packet.seen.addTimeout(limits.first_byte, clock, onTimeoutCancel=packet.too_late)
    finally:
        body.close()


@implementer(IBodyConsumer)
class _FirstPacket:
    """Waits until a body is a stream by its bytes; ``seen`` tells."""

    def __init__(self, content_type: str) -> None:
        self._content_type = content_type
        self._recogniser = FormatDetector()
        self._head = b""
        self._received = 0
        self.seen: Deferred[None] = Deferred()

    def too_late(self, result: object, timeout: float) -> None:
        """Time is up."""
        raise SourceError(Reason.FIRST_BYTE_TIMEOUT, f"no packet in {self._received} bytes after {timeout:g} s")

    def body_received(self, data: bytes) -> None:
        """A packet, no video, or not to be told yet."""
        if self.seen.called:
            return
        self._received += len(data)
        self._head = (self._head + data)[:SNIFF_BYTES]
        if self._recogniser.feed(data) is not None:
            self.seen.callback(None)
            return
        error = body_error(self._head, self._received, self._content_type)
        if error is not None:
            self.seen.errback(error)

    def body_ended(self, error: SourceError) -> None:
        """Nothing follows."""
        if not self.seen.called:
            self.seen.errback(error)


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
    error = finite_body_error(length, body.content_type)
    if error.reason is not Reason.NOT_LIVE or length < SHORTEST_FILM:
        return error
    beginning = _Beginning()
    body.deliver(beginning)
    try:
        await beginning.enough.addTimeout(seconds, clock, onTimeoutCancel=lambda *_: None)
    finally:
        body.close()
    media_type = container_type(beginning.head)
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
