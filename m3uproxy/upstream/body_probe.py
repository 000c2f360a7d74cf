"""Reading the first bytes of a body: does a source deliver, and is a body of stated length a file?

A file is recognised by its first bytes and by its length. Provider panels also send a file in place of a channel that
they cannot deliver. Such a file is short, and the channel returns later, so a short file is a failure of the source.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from ..core.http.body_sniffing import SNIFF_BYTES, body_error, container_type, finite_body_error
from ..core.http.source_request import DialTimeouts, SourceRequest
from ..core.ingest.detect import DetectingParser
from ..core.stream_kind import has_extension
from ..errors import Reason, SourceError
from ..interfaces import IDialler, IResponseBody
from .body_collector import BodyCollector, BodyHead
from .slots import Slot, release_slot

#: Bytes that a file must have to be played as one: half a minute of video.
SHORTEST_FILM = 32 << 20
#: Bytes that are enough to recognise a container format.
_ENOUGH = 400


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
        if body.length is not None and not has_extension(request.url):
            raise finite_body_error(body.length, body.content_type)
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


async def classify_finite_body(body: IResponseBody, length: int, clock: IReactorTime, seconds: float) -> SourceError:
    """
    Return why a body of stated length is not played as a live stream, and close it.

    The URL does not tell the kind of the body. So it may be a web page, a file, or something else.

    :param length: bytes of the body.
    :param seconds: that the first bytes may take.
    :return: an error with a ``media_type`` if the body can be played as a file.
    """
    error = finite_body_error(length, body.content_type)
    if error.reason is not Reason.NOT_LIVE or length < SHORTEST_FILM:
        return error
    head = BodyHead(_ENOUGH)
    body.deliver(head)
    try:
        await head.done.addTimeout(seconds, clock, onTimeoutCancel=lambda *_: None)
    except SourceError:
        pass  # The bytes before the end are enough to judge by.
    finally:
        body.close()
    media_type = container_type(head.data)
    if media_type != "video/mp2t" or body.header("Accept-Ranges").lower() == "bytes":
        error.media_type = media_type
    return error
