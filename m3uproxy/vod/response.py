"""One response to a player of a file: a part of it, from the cached ends and over the player's line.

The head is held back until the first bytes are there; until then a failure is a status, afterwards an abort. What the
socket does not take at once waits here, and nothing more is asked for until it has gone: so a player that pauses
pauses its provider. That may last as long as the operator allows (``VOD_PAUSE_LIMIT``).
"""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from zope.interface import implementer

from ..core.http.byte_ranges import WHOLE, ByteRange, Span, Unsatisfiable, resolve
from ..core.http.representation import PROOF_SIZE, Representation
from ..downstream.socket_writer import SocketWriter
from ..errors import Reason, SourceError
from ..log import make_logger
from .interfaces import KnownFile

log = make_logger()


class VodResponseWriter(Protocol):
    """What a transfer needs of the web side."""

    outlet: SocketWriter
    #: The player's connection, which may bring more requests.
    link: Any

    def begin(self, transfer: VodResponse) -> None:
        """Register ``transfer`` as the producer."""

    def head(self, edition: Representation, span: Span | None) -> None:
        """Write the head of a part, or of the whole. The body follows through the outlet."""

    def refuse(self, error: SourceError) -> None:
        """Answer with the status that the error amounts to."""

    def out_of_range(self, length: int | None) -> None:
        """Answer 416, with the file's length if it is known."""

    def finish(self) -> None:
        """The body is complete. The connection goes on if that was agreed."""

    def abort(self) -> None:
        """Drop the connection: the body is not complete."""


class ResponseOwner(Protocol):
    """The client that a response belongs to."""

    @property
    def known(self) -> KnownFile | None:
        """The file, if a source has confirmed it recently."""

    @property
    def last_error(self) -> SourceError | None:
        """The failure of the source that failed last."""

    def cached(self, edition: Representation, offset: int) -> memoryview | None:
        """Return cached bytes of the file from an offset on, or None."""

    def serve(self, response: VodResponse) -> None:
        """Give the client's session to a response that can accept bytes."""

    def response_ended(self, response: VodResponse, complete: bool) -> None:
        """Release the client's session.

        :param complete: the whole range was sent, so that the player may ask for the next one.
        """


@implementer(IPushProducer)
class VodResponse:
    """See the module's text. Asks its viewer for the line."""

    def __init__(
        self,
        clock: IReactorTime,
        answer: VodResponseWriter,
        viewer: ResponseOwner,
        ranges: tuple[ByteRange, ...],
        if_range: str | None,
    ) -> None:
        """
        Prepare a response.

        :param ranges: asked for by the player; none for the whole.
        :param if_range: the player's condition for that.
        """
        self._clock = clock
        self._answer = answer
        self._outlet = answer.outlet
        self._ranges = ranges
        self._if_range = if_range
        self._span: Span | None = None
        self._stop: int | None = None
        self._rest: memoryview | bytes = b""
        self._blocked = self._over = self._running = False
        self._patience: IDelayedCall | None = None
        self._taken = 0
        self.viewer = viewer
        self.link = answer.link
        self.blocked_since: float | None = None
        self.position: int | None = None
        self.proof = b""
        self.edition: Representation | None = None
        self.url = ""
        self.begun = False

    @property
    def wanted(self) -> ByteRange:
        """What to ask a provider for while the file is not known: also what follows the part, for who reads on."""
        if len(self._ranges) != 1:
            return WHOLE
        first = self._ranges[0].first
        return self._ranges[0] if first is None else ByteRange(first)

    @property
    def wants(self) -> bool:
        """Whether it takes bytes now."""
        return not (self._over or self._blocked or self._complete)

    @property
    def bytes_sent(self) -> int:
        """Bytes of media that the kernel (or TLS) has taken."""
        return self._taken

    @property
    def _complete(self) -> bool:
        return self._stop is not None and self.position == self._stop

    def start(self, patience: float) -> None:
        """
        Begin to answer.

        :param patience: seconds after which the player is refused when nothing could be sent.
        """
        self._patience = self._clock.callLater(patience, self._out_of_patience)
        self._answer.begin(self)
        known = self.viewer.known
        if known is not None:
            self.found(known.edition, known.url)
        self._go_on()

    # for the line

    def found(self, edition: Representation, url: str) -> None:
        """See :meth:`.roles.Asker.found`."""
        self.edition, self.url = edition, url
        ranges = self._ranges if edition.accepts_ranges and edition.range_applies(self._if_range) else ()
        self._span, self._stop = None, edition.length
        if edition.length is not None:
            try:
                self._span = resolve(ranges, edition.length)
            except Unsatisfiable:
                self._leave()
                self._answer.out_of_range(edition.length)
                return
        if self._span is not None:
            self._stop = self._span.stop
        self.position = self._span.first if self._span is not None else 0

    def take(self, data: memoryview) -> int:
        """See :meth:`.roles.Reader.take`."""
        assert self.position is not None
        if self._stop is not None:
            data = data[: self._stop - self.position]
        self.position += len(data)
        self.proof = bytes(data[-PROOF_SIZE:]) if len(data) >= PROOF_SIZE else (self.proof + bytes(data))[-PROOF_SIZE:]
        if self.begun:
            self._send(data)
        else:
            self._begin(data)
        self._finish_if_complete()
        return len(data)

    def try_otherwise(self, error: SourceError) -> bool:
        """There is one way only."""
        return False

    def complete(self) -> None:
        """See :meth:`.roles.Asker.complete`."""
        self._stop = self.position
        self._finish_if_complete()

    def failed(self, error: SourceError) -> None:
        """See :meth:`.roles.Asker.failed`."""
        self.end(error)

    # from outside

    def end(self, error: SourceError) -> None:
        """Refuse the player, or disconnect it if it had something."""
        if self._over:
            return
        self._leave()
        if self.begun:
            log.info("player of a file disconnected by us: {why}", why=str(error))
            self._answer.abort()
        elif error.status == 416:
            self._answer.out_of_range(error.length)
        else:
            self._answer.refuse(error)

    # IPushProducer

    def pauseProducing(self) -> None:
        """The transport has enough."""
        self._outlet.paused()
        self._block()

    def resumeProducing(self) -> None:
        """The transport, or the socket, takes more."""
        self._outlet.resumed()
        self._blocked = False
        self.blocked_since = None
        self._go_on()

    def stopProducing(self) -> None:
        """The player is gone."""
        self._leave()

    # inside

    def _out_of_patience(self) -> None:
        self._patience = None
        self.end(self.viewer.last_error or SourceError(Reason.FIRST_BYTE_TIMEOUT, "nothing to send in time"))

    def _begin(self, data: memoryview) -> None:
        assert self.edition is not None
        self.begun = True
        self._cancel_patience()
        self._answer.head(self.edition, self._span)
        self._taken += len(data)
        if self._outlet.start(bytes(data)):
            self._block()

    def _send(self, data: memoryview | bytes) -> None:
        """Send as much as the socket takes; the rest waits."""
        sent = 0
        try:
            while sent < len(data) and not self._blocked:
                taken = self._outlet.send(data[sent:])
                sent += taken
                if sent < len(data):
                    break
        except BlockingIOError:
            pass
        except OSError as error:
            log.info("player of a file is gone: {error}", error=str(error))
            self._leave()
            self._answer.abort()
            return
        self._taken += sent
        self._rest = data[sent:]
        if len(self._rest):
            self._block()
            self._outlet.wait()

    def _block(self) -> None:
        self._blocked = True
        if self.blocked_since is None:
            self.blocked_since = self._clock.seconds()

    def _go_on(self) -> None:
        """Send what is at hand, then ask for more. Not from within itself: a transport may call at any time."""
        if self._running:
            return
        self._running = True
        try:
            if len(self._rest) and not self._over:
                self._send(self._rest)
            self._send_cached()
            self._finish_if_complete()
        finally:
            self._running = False
        if self.wants:
            self.viewer.serve(self)

    def _send_cached(self) -> None:
        while self.wants and self.position is not None and self.edition is not None:
            data = self.viewer.cached(self.edition, self.position)
            if data is None:
                return
            self.take(data)

    def _finish_if_complete(self) -> None:
        if self._complete and not self._over and not self._blocked and not len(self._rest):
            self._leave(complete=True)
            self._answer.finish()

    def _cancel_patience(self) -> None:
        if self._patience is not None and self._patience.active():
            self._patience.cancel()
        self._patience = None

    def _leave(self, complete: bool = False) -> None:
        if self._over:
            return
        self._over = True
        self._rest = b""
        self._cancel_patience()
        self.viewer.response_ended(self, complete)
