"""A connection to a source: dialled, started by its first media, read into a sink, closed."""

from __future__ import annotations

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from ..core.http.redact import redact
from ..core.http.source_request import DialTimeouts, SourceRequest
from ..core.programme import BodyNature
from ..core.stream_kind import has_file_hint
from ..errors import Reason, SourceError
from ..interfaces import IDialler, IResponseBody, IStreamSink
from ..log import make_logger
from ..timers import Timer
from ..upstream.slots import Slot
from ..upstream.twisted_errors import on_failure
from .body_reader import BodyReader, BodyReaderOwner
from .read_scheduler import ReadScheduler

log = make_logger()


@attrs.frozen
class LiveUpstream:
    """The shared objects that open and read the sources of live streams."""

    clock: IReactorTime
    dialler: IDialler
    scheduler: ReadScheduler


class SourceConnection:
    """
    A dial and its body. The owner gets the events of the body until it calls ``close()``.

    :ivar has_started: whether pictures or sound have come.
    :ivar nature: the nature of the body, once its head has come.
    :ivar has_length: whether its length was stated.
    """

    def __init__(self, upstream: LiveUpstream, sink: IStreamSink, owner: BodyReaderOwner, slot: Slot | None) -> None:
        """
        Make a connection that is not dialled.

        :param slot: the provider slot that the sockets count for; None if connections are not counted. The owner
            releases it.
        """
        self._upstream = upstream
        self._clock = upstream.clock
        self._sink = sink
        self._owner = owner
        self._slot = slot
        self._dialling: Deferred[None] | None = None
        self._body: IResponseBody | None = None
        self._reader: BodyReader | None = None
        self._first_media_timeout = Timer(self._clock)
        self._closed = False
        self.has_started = False
        self.nature = BodyNature.LIVE
        self.has_length = False

    @property
    def received(self) -> int:
        """Bytes of the body so far."""
        return self._reader.received if self._reader is not None else 0

    @property
    def expected_pause(self) -> float:
        """Seconds for which the body may bring nothing although its source works."""
        return self._body.expected_pause if self._body is not None else 0.0

    @property
    def stream_id(self) -> str:
        """Id of the stream, for the log."""
        return self._owner.stream_id

    def open(self, request: SourceRequest, timeouts: DialTimeouts) -> None:
        """
        Dial. The owner may get the result before this method returns.

        :param timeouts: the first media may take as long as the response head, and both no longer than ``total``.
        """
        dialling = Deferred.fromCoroutine(self._open(request, timeouts))
        event = "stream {stream}: opening {url} failed unexpectedly"
        on_failure(dialling, self._dial_failed, log, event, stream=self.stream_id, url=redact(request.url))
        if not dialling.called:
            self._dialling = dialling

    def move(self, sink: IStreamSink, owner: BodyReaderOwner) -> None:
        """Pass further data to another sink, and further events to another owner."""
        self._sink, self._owner = sink, owner
        if self._reader is not None:
            self._reader.move(sink)

    def close(self) -> Deferred[None]:
        """
        Cancel the dial or close the body. Safe to call twice.

        :return: a Deferred that fires when the socket of an open body has closed.
        """
        self._closed = True
        self._first_media_timeout.cancel()
        dialling, self._dialling = self._dialling, None
        if dialling is not None:
            dialling.cancel()
        if self._reader is not None:
            self._reader.close()
        return self._body.close() if self._body is not None else succeed(None)

    # BodyReaderOwner

    def source_started(self) -> None:
        """Cancel the timeout of the first media."""
        self._first_media_timeout.cancel()
        self.has_started = True
        self._owner.source_started()

    def data_received(self) -> None:
        """Tell the owner."""
        self._owner.data_received()

    def reading_held(self) -> None:
        """Tell the owner."""
        self._owner.reading_held()

    def discontinuity(self) -> None:
        """Tell the owner."""
        self._owner.discontinuity()

    def source_ended(self, error: SourceError) -> None:
        """Tell the owner, unless the connection is closed. The clean end of a programme has a reason of its own."""
        if self._closed:
            return
        self._first_media_timeout.cancel()
        if error.reason is Reason.ENDED and self.nature is not BodyNature.LIVE and self.has_started:
            error = SourceError(Reason.PROGRAMME_ENDED, error.detail)
        self._owner.source_ended(error)

    # inside

    async def _open(self, request: SourceRequest, timeouts: DialTimeouts) -> None:
        began = self._clock.seconds()
        body = await self._upstream.dialler.dial(request, timeouts, self._slot)
        self._body = body
        log.info("stream {stream}: source {url} opened", stream=self.stream_id, url=redact(request.url))
        self._dialling = None
        left = max(0.0, timeouts.total - (self._clock.seconds() - began))
        self.has_length, self.nature = body.length is not None, _nature(body, request.url)
        self._reader = BodyReader(body, self._sink, self._upstream.scheduler, self, self.nature)
        self._first_media_timeout.set(min(timeouts.first_byte, left), self._first_media_late)
        self._reader.start()

    def _dial_failed(self, error: SourceError) -> None:
        self._dialling = None
        self.source_ended(error)

    def _first_media_late(self) -> None:
        detail = f"no picture or sound in {self.received} bytes" if self.received else "the head came, but no body"
        self.source_ended(SourceError(Reason.FIRST_BYTE_TIMEOUT, detail))


def _nature(body: IResponseBody, url: str) -> BodyNature:
    """Return the nature of a body. A stated length, or a hint in the URL, makes it a programme."""
    if body.joined:
        return BodyNature.JOINED
    return BodyNature.PROGRAMME if body.length is not None or has_file_hint(url) else BodyNature.LIVE
