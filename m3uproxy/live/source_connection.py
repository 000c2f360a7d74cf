"""One connection to a source, from the dial to its end: dialled, proven by its first packet, read into a sink."""

from __future__ import annotations

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from ..core.http.redact import redact
from ..core.http.source_request import DialTimeouts, SourceRequest
from ..core.stream_kind import has_extension
from ..errors import Reason, SourceError
from ..interfaces import IDialler, IResponseBody, IStreamSink
from ..log import make_logger
from ..timers import Timer
from ..upstream.body_probe import classify_finite_body
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
    What one dial leads to. Its owner is told when it flows, is heard, and ends; never once it is closed.

    :ivar proven: whether it has brought a packet.
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
        self._alarm = Timer(self._clock)
        self._closed = False
        self.proven = False

    @property
    def received(self) -> int:
        """Bytes of the body so far."""
        return self._reader.received if self._reader is not None else 0

    def open(self, request: SourceRequest, limits: DialTimeouts) -> None:
        """Dial. What comes of it is told, perhaps at once.

        :param limits: the first packet may take as long as the head, and within ``total``.
        """
        dialling = Deferred.fromCoroutine(self._open(request, limits))
        url = redact(request.url)
        on_failure(dialling, self._dial_failed, log, "opening {url} failed unexpectedly", url=url)
        if not dialling.called:
            self._dialling = dialling

    def move(self, sink: IStreamSink, owner: BodyReaderOwner) -> None:
        """From now on what comes goes there."""
        self._sink, self._owner = sink, owner
        if self._reader is not None:
            self._reader.move(sink)

    def close(self) -> Deferred[None]:
        """Drop it, at whatever stage. Safe to call twice.

        :return: fires when the socket of an open body is gone.
        """
        self._closed = True
        self._alarm.cancel()
        dialling, self._dialling = self._dialling, None
        if dialling is not None:
            dialling.cancel()
        if self._reader is not None:
            self._reader.close()
        return self._body.close() if self._body is not None else succeed(None)

    # the reader's owner

    def source_started(self) -> None:
        """The first packet came."""
        self._alarm.cancel()
        self.proven = True
        self._owner.source_started()

    def data_received(self) -> None:
        """Packets came."""
        self._owner.data_received()

    def discontinuity(self) -> None:
        """Packets came from behind a seam."""
        self._owner.discontinuity()

    def source_ended(self, error: SourceError) -> None:
        """The body is over, or is no video, or never came."""
        if not self._closed:
            self._alarm.cancel()
            self._owner.source_ended(error)

    # inside

    async def _open(self, request: SourceRequest, limits: DialTimeouts) -> None:
        began = self._clock.seconds()
        body = await self._upstream.dialler.dial(request, limits, self._slot)
        self._body = body
        log.info("source {url} opened", url=redact(request.url))
        # A page, or a film, not to be played over and over. Where the URL says live the length is one of the
        # provider's lies.
        if body.length is not None and not has_extension(request.url):
            raise await classify_finite_body(body, body.length, self._clock, limits.first_byte)
        self._dialling = None
        left = max(0.0, limits.total - (self._clock.seconds() - began))
        self._reader = BodyReader(body, self._sink, self._upstream.scheduler, self)
        self._alarm.set(min(limits.first_byte, left), self._unproven)
        self._reader.start()

    def _dial_failed(self, error: SourceError) -> None:
        self._dialling = None
        self.source_ended(error)

    def _unproven(self) -> None:
        """The head came, but no packet."""
        detail = f"no packet in {self.received} bytes" if self.received else "the head came, but no body"
        self.source_ended(SourceError(Reason.FIRST_BYTE_TIMEOUT, detail))
