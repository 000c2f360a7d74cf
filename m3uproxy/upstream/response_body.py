"""The body of a response that has been opened: flows to one consumer, and ends for one reason.

Twisted swallows an exception of ours in ``dataReceived`` and calls a reset, a clean close, a body that it cannot
decode and our own stop by one name (``PotentialDataLoss``, where no length was stated). Here they are told apart.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.iweb import UNKNOWN_LENGTH
from zope.interface import implementer

from ..errors import Reason, SourceError
from ..interfaces import IBodyConsumer, IResponseBody
from ..log import make_logger
from .connection import ProviderConnection
from .content_decoding import BoundedGunzip, icy_title_filter
from .twisted_errors import body_end_error

log = make_logger()


@implementer(IResponseBody)
class ResponseBody(Protocol):
    """A response whose body waits, its transport paused, and then flows to one consumer."""

    def __init__(self, response: Any, connection: ProviderConnection, final_url: str, gzipped: bool = False) -> None:
        self.final_url = final_url
        self.status: int = response.code
        self._headers = response.headers
        media_type = response.headers.getRawHeaders(b"Content-Type", [b""])[0]
        self.content_type = media_type.decode("latin-1").partition(";")[0].strip().lower()
        self.length: int | None = None if gzipped or response.length is UNKNOWN_LENGTH else int(response.length)
        self.encoded = gzipped
        self._inflate = BoundedGunzip() if gzipped else None
        self._titles = icy_title_filter(response.headers.getRawHeaders(b"icy-metaint", []))
        self._response = response
        self._connection = connection
        self._consumer: IBodyConsumer | None = None
        self._paused = False
        self._error: SourceError | None = None

    def header(self, name: str) -> str:
        """See :meth:`m3uproxy.interfaces.IResponseBody.header`."""
        value: bytes = self._headers.getRawHeaders(name.encode("ascii"), [b""])[0]
        return value.decode("latin-1").strip()

    def deliver(self, consumer: IBodyConsumer) -> None:
        """See :meth:`m3uproxy.interfaces.IResponseBody.deliver`."""
        self._consumer = consumer
        response, self._response = self._response, None
        response.deliverBody(self)
        if self._paused:  # in the meantime, by the consumer; Twisted resumes last
            self._connection.pause()

    def pause(self) -> None:
        """Stop reading."""
        self._paused = True
        if self._consumer is not None:
            self._connection.pause()

    def resume(self) -> None:
        """Read on; not before anybody takes the body."""
        self._paused = False
        if self._consumer is not None:
            self._connection.resume()

    def read(self, deliver: bool) -> int:
        """Read once, now; not before anybody takes the body."""
        return self._connection.read(deliver) if self._consumer is not None else 0

    def receive_window(self) -> int:
        """See :meth:`m3uproxy.interfaces.IResponseBody.receive_window`."""
        return self._connection.receive_window()

    def close(self) -> Deferred[None]:
        """Drop the connection; nothing is handed on from this call on."""
        if self._error is None:
            self._error = SourceError(Reason.ENDED, "closed by us")
        return self._connection.close()

    def dataReceived(self, data: bytes) -> None:
        """Hand on; an exception of the consumer's, which Twisted would swallow, ends the body."""
        if self._error is not None or self._consumer is None:
            return
        try:
            if self._inflate is not None:
                data = self._inflate.decode(data, self._connection.reads)
            if self._titles is not None:
                data = self._titles.without(data)
            if data:
                self._consumer.body_received(data)
        except SourceError as error:
            self._fail(error)
        except Exception as error:
            log.failure("taking a body failed")
            self._fail(SourceError(Reason.INTERNAL, type(error).__name__))

    def _fail(self, error: SourceError) -> None:
        self._error = error
        self._connection.abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The end of the response; Twisted closes the socket, which is not to be used again."""
        if self._error is None:
            self._error = body_end_error(reason.value, self._connection)
        assert self._consumer is not None
        try:
            self._consumer.body_ended(self._error)
        except Exception:
            log.failure("ending a body failed")
