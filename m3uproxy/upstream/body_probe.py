"""Probing a source: does it deliver pictures or sound?"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from ..core.http.body_sniffing import SNIFF_BYTES, body_error
from ..core.http.source_request import DialTimeouts, SourceRequest
from ..core.ingest.detect import DetectingParser
from ..errors import Reason, SourceError
from ..interfaces import IDialler
from .body_collector import BodyCollector
from .slots import Slot, release_slot


def probe_source(
    clock: IReactorTime, dialler: IDialler, request: SourceRequest, timeouts: DialTimeouts, slot: Slot | None = None
) -> Deferred[None]:
    """
    Dial a source that is not in use, wait for its first picture or sound, and close the connection.

    :param timeouts: as for a dial. The first media may take as long again as the response head.
    :param slot: the slot that the connection counts for; released at the end.
    :return: a Deferred that fires with None if media came. It fails with :class:`m3uproxy.errors.SourceError` if
        none came. Cancelling it closes the connection.
    """
    probing = Deferred.fromCoroutine(_probe(clock, dialler, request, timeouts, slot))
    return probing.addBoth(release_slot, slot)


async def _probe(
    clock: IReactorTime, dialler: IDialler, request: SourceRequest, timeouts: DialTimeouts, slot: Slot | None
) -> None:
    body = await dialler.dial(request, timeouts, slot)
    try:
        media = _FirstMedia(body.content_type)
        body.deliver(media)
        await media.done.addTimeout(timeouts.first_byte, clock, onTimeoutCancel=media.timed_out)
    finally:
        body.close()


class _FirstMedia(BodyCollector):
    """The consumer of a body until it brings media, or is recognised as something else than a stream."""

    def __init__(self, content_type: str) -> None:
        super().__init__()
        self._content_type = content_type
        self._parser = DetectingParser()
        self._head = b""

    def timed_out(self, result: object, timeout: float) -> None:
        """Fail: no media came in time."""
        detail = f"no picture or sound in {self.received} bytes after {timeout:g} s"
        raise SourceError(Reason.FIRST_BYTE_TIMEOUT, detail)

    def _collect(self, data: bytes) -> bool:
        self._head = (self._head + data)[:SNIFF_BYTES]
        self._parser.feed(data, 0.0)
        self._parser.flush(0.0)
        media = self._parser.media
        if media.recognised:
            return media.size > 0
        error = body_error(self._head, self.received, self._content_type)
        if error is not None:
            self.done.errback(error)
        return False
