"""The start of a body: enough bytes to tell its kind, read before the body is delivered to its consumer."""

from __future__ import annotations

import attrs
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime

from ..core.body_kind import BodyFacts, is_decided
from ..core.http.byte_ranges import parse_content_range
from ..errors import Reason, SourceError
from ..interfaces import IResponseBody
from .body_collector import BodyCollector


@attrs.frozen
class ReadStart:
    """
    The first bytes of a body.

    :ivar error: the end of the body, if it has ended; None if it goes on.
    """

    data: bytes = attrs.field(repr=False)
    error: SourceError | None = None

    @property
    def is_empty(self) -> bool:
        """True if the body has ended without a byte."""
        return not self.data


class _StartCollector(BodyCollector):
    """The consumer of a body until its kind is decided."""

    def __init__(self, url: str, has_length: bool) -> None:
        super().__init__()
        self.data = b""
        self._url = url
        self._has_length = has_length

    def timed_out(self, result: object, seconds: float) -> None:
        """Go on with the bytes that have come.

        :raises SourceError: if none have come.
        """
        if not self.data:
            raise SourceError(Reason.FIRST_BYTE_TIMEOUT, "the head came, but no body")

    def _collect(self, data: bytes) -> bool:
        self.data += data
        return is_decided(self._url, self.data, self._has_length)


async def read_start(body: IResponseBody, url: str, clock: IReactorTime, seconds: float) -> ReadStart:
    """
    Read the start of a body, then withdraw the body, so that it can be delivered from its first byte.

    Cancelling closes the connection.

    :param seconds: time for the first bytes.
    :raises SourceError: if no byte comes in time. The body is closed then.
    """
    collector = _StartCollector(url, body.length is not None)
    body.deliver(collector)
    error: SourceError | None = None
    try:
        await collector.done.addTimeout(seconds, clock, onTimeoutCancel=collector.timed_out)
    except CancelledError:
        body.close()
        raise
    except SourceError as end:
        if end.reason is Reason.FIRST_BYTE_TIMEOUT:
            await body.close()
            raise
        error = end
    body.withdraw(collector.data)
    return ReadStart(collector.data, error)


def facts_of(body: IResponseBody, url: str, start: bytes) -> BodyFacts:
    """
    Return the facts about a body that decide its kind.

    :param url: URL of the source, before redirects.
    :param start: the first bytes.
    """
    length = body.length
    if body.status == 206:
        part = parse_content_range(body.header("Content-Range"))
        length = length if part is None else part.length
    accepts_ranges = body.header("Accept-Ranges").lower() == "bytes"
    return BodyFacts(url, body.status, length, accepts_ranges, body.content_type, start)
