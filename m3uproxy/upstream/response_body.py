"""The body of a response: delivered to one consumer, with one cause of its end.

Twisted swallows exceptions in ``dataReceived``. For a body without a stated length it reports a reset, a clean close,
an undecodable body and a close by this program alike (``PotentialDataLoss``). Here each has an error of its own.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.iweb import UNKNOWN_LENGTH
from zope.interface import implementer

from ..core.http.redact import redact
from ..errors import Reason, SourceError
from ..interfaces import IBodyConsumer, IResponseBody
from ..log import make_logger
from .connection import ProviderConnection
from .content_decoding import ContentDecoder, icy_title_filter
from .twisted_errors import body_end_error

log = make_logger()


@implementer(IResponseBody)
class ResponseBody(Protocol):
    """A response whose body waits, its transport paused, until it is delivered to a consumer."""

    joined = False
    expected_pause = 0.0

    def __init__(
        self,
        response: Any,
        connection: ProviderConnection,
        final_url: str,
        coding: str = "",
        public: bool = False,
    ) -> None:
        self.final_url = final_url
        self.public = public
        self.status: int = response.code
        self._headers = response.headers
        media_type = response.headers.getRawHeaders(b"Content-Type", [b""])[0]
        self.content_type = media_type.decode("latin-1").partition(";")[0].strip().lower()
        self.length: int | None = None if coding or response.length is UNKNOWN_LENGTH else int(response.length)
        self.encoded = bool(coding)
        self._decoder = ContentDecoder(coding) if coding else None
        self._title_filter = icy_title_filter(response.headers.getRawHeaders(b"icy-metaint", []))
        self._response = response
        self._connection = connection
        self._consumer: IBodyConsumer | None = None
        self._paused = False
        self._start = b""
        self._is_over = False
        self._error: SourceError | None = None

    def header(self, name: str) -> str:
        """See :meth:`m3uproxy.interfaces.IResponseBody.header`."""
        value: bytes = self._headers.getRawHeaders(name.encode("ascii"), [b""])[0]
        return value.decode("latin-1").strip()

    def deliver(self, consumer: IBodyConsumer) -> None:
        """See :meth:`m3uproxy.interfaces.IResponseBody.deliver`."""
        self._consumer = consumer
        response, self._response = self._response, None
        if response is None:
            self._deliver_again(consumer)
            return
        response.deliverBody(self)
        if self._paused:  # by the consumer, within deliverBody, which resumes at its end
            self._connection.pause()

    def withdraw(self, start: bytes) -> None:
        """See :meth:`m3uproxy.interfaces.IResponseBody.withdraw`."""
        self.pause()
        self._consumer, self._start = None, start

    def _deliver_again(self, consumer: IBodyConsumer) -> None:
        """Deliver the body that was withdrawn, from its start. It may have ended meanwhile."""
        start, self._start = self._start, b""
        self._paused = False
        try:
            if start:
                consumer.body_received(start)
        except Exception as error:
            log.failure("a consumer failed on data from {url}", url=redact(self.final_url))
            self._fail(SourceError(Reason.INTERNAL, type(error).__name__))
        if self._is_over:
            self._tell_end(consumer)
        elif not self._paused and self._error is None:
            self.resume()

    def pause(self) -> None:
        """See :meth:`m3uproxy.interfaces.IResponseBody.pause`."""
        self._paused = True
        if self._consumer is not None:
            self._connection.pause()

    def resume(self) -> None:
        """Read again, if the body was delivered."""
        self._paused = False
        if self._consumer is not None:
            self._connection.resume()

    def read(self, deliver: bool) -> int:
        """Read once, now, if the body was delivered."""
        return self._connection.read(deliver) if self._consumer is not None else 0

    def receive_window(self) -> int:
        """See :meth:`m3uproxy.interfaces.IResponseBody.receive_window`."""
        return self._connection.receive_window()

    def close(self) -> Deferred[None]:
        """Close the connection. From now on nothing is delivered."""
        if self._error is None:
            self._error = SourceError(Reason.ENDED, "closed by the proxy")
        return self._connection.close()

    def dataReceived(self, data: bytes) -> None:
        """Decode and deliver data. An exception, which Twisted would swallow, ends the body."""
        if self._error is not None:
            return
        try:
            if self._decoder is not None:
                data = self._decoder.decode(data, self._connection.reads)
            if self._title_filter is not None:
                data = self._title_filter.remove_titles(data)
            if not data:
                return
            if self._consumer is None:  # withdrawn
                self._start += data
            else:
                self._consumer.body_received(data)
        except SourceError as error:
            self._fail(error)
        except Exception as error:
            log.failure("a consumer failed on data from {url}", url=redact(self.final_url))
            self._fail(SourceError(Reason.INTERNAL, type(error).__name__))

    def _fail(self, error: SourceError) -> None:
        self._error = error
        self._connection.abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell the consumer that the body has ended. Twisted closes the socket, which is not used again."""
        if self._error is None:
            self._error = body_end_error(reason.value, self._connection)
        self._is_over = True
        if self._consumer is not None:
            self._tell_end(self._consumer)

    def _tell_end(self, consumer: IBodyConsumer) -> None:
        assert self._error is not None
        try:
            consumer.body_ended(self._error)
        except Exception:
            log.failure("a consumer failed at the end of {url}", url=redact(self.final_url))
