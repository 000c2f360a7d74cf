"""A response of a provider, shared by all readers that want it.

The first request starts a download; later requests for the same resource join it (single flight). A download is *open*
when the head has come, and enough of the body to tell it from a web page. Requests are answered only then, so that an
earlier failure becomes an HTTP status. An open download grows, and each reader reads at its own pace: the provider is
never paused for a reader. A download is *over* when the body is complete or has failed.

Requests that wait and readers *hold* the download. If none is left and much of the body is missing, the connection to
the provider is closed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Protocol

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from ..core.body_kind import BodyFacts
from ..core.failover.causes import status_error
from ..core.hls.resource_check import GZIP, ResourceCheck
from ..core.http.body_sniffing import SNIFF_BYTES
from ..core.http.byte_ranges import ContentRange, Span, parse_content_range
from ..core.http.redact import redact
from ..errors import Reason, SourceError, StoredError
from ..interfaces import IBodyConsumer, IResponseBody
from ..log import make_logger
from ..timers import SilenceTimer
from ..upstream.body_start import facts_of
from ..upstream.content_decoding import gunzip_beginning
from ..upstream.twisted_errors import source_error
from .growing_buffer import BLOCK_BYTES, GrowingBuffer
from .http_client import ProviderResponse

log = make_logger()

#: Seconds for which received data is gathered before readers are notified.
NOTIFY_INTERVAL = 0.04
#: If a body without readers lacks no more bytes than this, it is read to its end. The connection can then be used
#: again, and the next player finds the segment in the cache.
FINISH_BYTES = 262_144
#: Error statuses that players can be sent, registered or not. Without a body, all others are failures: a 204 or 304 is
#: no resource, and a status of four digits no status.
ERROR_STATUSES = range(400, 1000)


class MemoryBudget(Protocol):
    """The memory that all downloads share."""

    def reserve(self, size: int) -> bool:
        """Reserve some bytes. Return False if the budget is exhausted."""

    def release(self, size: int) -> None:
        """Return bytes to the budget."""


class AbortableReader(Protocol):
    """
    A reader, as the download sees it.

    :ivar began_at: time of its first read (seconds of the clock).
    :ivar paused_at: time since which it has been paused, None if it is not.
    """

    began_at: float
    paused_at: float | None

    def abort(self, error: SourceError) -> None:
        """Stop reading and tell the player."""


@implementer(IBodyConsumer)
class Download:
    """
    A response on its way from the provider.

    :ivar opened_at: time at which it was opened (seconds of the clock), None before.
    :ivar over: True if the body is complete or has failed.
    :ivar error: the failure, None if there is none so far.
    :ivar response: the provider's response without its body, None before.
    :ivar stated: the facts that the head states about the body; None before, and for an error status.
    :ivar range: the part of the resource that the body is. None for the whole resource, or for an error status.
    :ivar length: bytes of the complete body, None if unknown.
    :ivar buffer: the body so far.
    :ivar readers: the readers of the body.
    """

    error = StoredError()

    def __init__(
        self,
        clock: IReactorTime,
        budget: MemoryBudget,
        silence_timeout: float,
        max_bytes: int,
        ended: Callable[[Download], None],
        check: ResourceCheck,
    ) -> None:
        """
        Initialise a download; :meth:`start` gives it its request.

        :param silence_timeout: seconds without data after which the provider counts as stalled.
        :param max_bytes: limit of the body's size.
        :param ended: called once, when the download is over.
        :param check: tells the resource from a page by the first bytes.
        """
        self.clock = clock
        self.opened_at: float | None = None
        self.over = False
        self.response: ProviderResponse | None = None
        self.range: ContentRange | None = None
        self.length: int | None = None
        self.buffer = GrowingBuffer()
        self.readers: set[AbortableReader] = set()
        self._budget = budget
        self._silence_timeout = silence_timeout
        self._max_bytes = max_bytes
        self._ended = ended
        self._check = check
        self._waiting: list[Deferred[Download]] = []
        self._subscribers: list[Callable[[], None]] = []
        self._holds = 0
        self._is_cached = True
        self._request: Deferred[ProviderResponse] | None = None
        self._response_body: IResponseBody | None = None
        self._has_body = False
        self.stated: BodyFacts | None = None
        self._received_at = 0.0
        self._silence_timer: SilenceTimer | None = None
        self._notify_timer: IDelayedCall | None = None
        self._notified_size = 0

    def start(self, request: Deferred[ProviderResponse], byte_range: bool) -> None:
        """
        Wait for the response.

        :param byte_range: True if a range was requested.
        """
        self._request = request
        request.addCallback(self._response_received, byte_range).addErrback(self._request_failed)

    @property
    def is_open(self) -> bool:
        """True if readers may begin."""
        return self.opened_at is not None

    @property
    def is_held(self) -> bool:
        """True if a request waits for the download, or may still read it."""
        return bool(self._holds or self._waiting)

    @property
    def status(self) -> int:
        """The provider's HTTP status; 200 for any success with the whole resource."""
        assert self.response is not None
        return 200 if self._has_body and self.range is None else self.response.status

    @property
    def status_error(self) -> SourceError:
        """The meaning of the provider's error status."""
        assert self.response is not None
        return self.response.error or status_error(self.response.status)

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the provider's response that players need."""
        assert self.response is not None
        return self.response.headers

    # requests and readers

    def wait_open(self) -> Deferred[Download]:
        """
        Wait until the download is open. The caller then holds it and must :meth:`release` it.

        :return: a Deferred that may be cancelled. It fails with :class:`m3uproxy.errors.SourceError`.
        """
        if self.error is not None:
            return fail(self.error)
        if self.is_open:
            self.hold()
            return succeed(self)
        waiting: Deferred[Download] = Deferred(self._wait_cancelled)
        self._waiting.append(waiting)
        return waiting

    def hold(self) -> None:
        """Count one more holder."""
        self._holds += 1

    def release(self) -> None:
        """Count one holder less. After the last one the download may be closed, and its memory released."""
        self._holds -= 1
        self._close_if_unused()

    def wait_complete(self) -> Deferred[Download]:
        """
        Wait until the body is complete. The caller holds the download; if the body fails, the hold is released.

        :return: a Deferred that may be cancelled, which also releases the hold. It fails with
            :class:`m3uproxy.errors.SourceError`.
        """
        if self.over and self.error is None:
            return succeed(self)

        def notified() -> None:
            if self.over and notified in self._subscribers:
                self.unsubscribe(notified)
                if self.error is None:
                    waiting.callback(self)
                else:
                    self.release()
                    waiting.errback(self.error)

        def cancelled(_: Deferred[Download]) -> None:
            self.unsubscribe(notified)
            self.release()

        waiting: Deferred[Download] = Deferred(cancelled)
        self.subscribe(notified)
        notified()
        return waiting

    def subscribe(self, notify: Callable[[], None]) -> None:
        """Call ``notify`` whenever data has come, and when the download is over."""
        self._subscribers.append(notify)

    def unsubscribe(self, notify: Callable[[], None]) -> None:
        """Stop calling ``notify``. Safe to call twice."""
        if notify in self._subscribers:
            self._subscribers.remove(notify)

    def removed_from_cache(self) -> None:
        """Release the memory as soon as no request holds the download."""
        self._is_cached = False
        self._close_if_unused()

    def close(self) -> None:
        """Fail the download, because the proxy is stopping."""
        self._fail(SourceError(Reason.STOPPING))

    def detach(self, error: SourceError) -> IResponseBody | None:
        """
        End the download, and take the body out, as it was before its first byte.

        :param error: the error for other requests that wait.
        :return: the body, withdrawn; None if it has ended.
        """
        body, self._response_body = self._response_body, None
        if body is None or self.over:
            return None
        body.withdraw(self.buffer.read(0, self.buffer.size))
        self._fail(error)
        return body

    def abort_slow_readers(self, paused_since: float, began_before: float) -> bool:
        """
        Abort all readers if all are slow and no other request holds the download.

        :param paused_since: a reader that has been paused since this time is slow (seconds of the clock).
        :param began_before: a reader that began before this time is slow (seconds of the clock).
        :return: True if no request holds the download any more.
        """
        if self._waiting or len(self.readers) != self._holds:
            return False
        slow = [
            reader
            for reader in self.readers
            if reader.began_at <= began_before or (reader.paused_at is not None and reader.paused_at <= paused_since)
        ]
        if len(slow) < len(self.readers):
            return False
        for reader in slow:
            reader.abort(SourceError(Reason.FULL, "the HLS cache is full and this player is slow (HLS_CACHE_BYTES)"))
        return not self.is_held

    def _wait_cancelled(self, waiting: Deferred[Download]) -> None:
        if waiting in self._waiting:
            self._waiting.remove(waiting)
        self._close_if_unused()

    def _fire_waiting(self) -> None:
        while self._waiting:
            waiting = self._waiting.pop(0)
            if self.error is None:
                self.hold()
                waiting.callback(self)
            else:
                waiting.errback(self.error)

    # response

    def _response_received(self, response: ProviderResponse, byte_range: bool) -> None:
        self._request = None
        self._response_body = response.body
        self._has_body = response.body is not None
        self.stated = None if response.body is None else facts_of(response.body, response.final_url, b"")
        self.response = attrs.evolve(response, body=None)
        if response.body is None:
            self.length = 0
            if response.status in ERROR_STATUSES:
                self._finish(None)
            else:
                self._fail(self.status_error)
            return
        self.length = response.body.length
        error = self._check_response(response, byte_range)
        if error is not None:
            self._fail(error)
            return
        self._received_at = self.clock.seconds()
        self._silence_timer = SilenceTimer(self.clock, self._silence_remaining, self._stalled, late=math.inf)
        self._silence_timer.start(self._silence_timeout)
        response.body.deliver(self)

    def _check_response(self, response: ProviderResponse, byte_range: bool) -> SourceError | None:
        """Return an error if the response does not match the request. Note the range if it is a part."""
        # A playlist has a limit of its own, and a file in place of a playlist is played as a file.
        if self.length is not None and self.length > self._max_bytes and self._check.kind is not None:
            return SourceError(Reason.TOO_LARGE, f"{self.length} bytes, limit {self._max_bytes} (HLS_RESOURCE_BYTES)")
        if response.status != 206:
            return None
        stated = response.headers.get("Content-Range")
        part = parse_content_range(stated)
        if stated is None and not byte_range:
            return None  # the whole, under a wrong status
        if part is None or not self._fits(part):
            return SourceError(Reason.BAD_HEAD, "206 without usable Content-Range")
        if byte_range:
            self.range = part
            self._note_length(part)
        elif part.span.first or (part.span.stop != part.length and not self._has_open_end(part)):
            return SourceError(Reason.BAD_HEAD, "unexpected 206: no range was requested")
        return None

    def _fits(self, part: ContentRange) -> bool:
        """Return whether the length of the body is the one of the stated part. If that grows, it may be shorter."""
        if self.length is None:
            return True
        return self.length <= len(part.span) if self._has_open_end(part) else self.length == len(part.span)

    def _has_open_end(self, part: ContentRange) -> bool:
        """Return whether the end of a part is no promise: the resource grows (RFC 8673)."""
        return part.length is None or len(part.span) > self._max_bytes

    def _note_length(self, part: ContentRange) -> None:
        """Note the length of the requested range, and the range of a body whose length is known."""
        if not self._has_open_end(part):
            self.length = len(part.span)
        elif self.length:
            self._end_range_after(self.length)
        else:
            self._max_bytes = min(self._max_bytes, len(part.span))

    def _end_range_after(self, length: int) -> None:
        """Note the end of a range whose end was open."""
        if self.range is not None and length:
            first = self.range.span.first
            self.range = ContentRange(Span(first, first + length), self.range.length)

    def _request_failed(self, failure: Failure) -> None:
        self._request = None
        if not self.over:  # else this download has cancelled the request
            self._fail(source_error(failure, log, "HLS request failed unexpectedly"))

    # body

    def body_received(self, data: bytes) -> None:
        """Store data. Notify the readers now or, if there is little, together with the next data."""
        if self.over:
            return
        self._received_at = self.clock.seconds()
        if self.buffer.size + len(data) > (self._max_bytes if self.length is None else self.length):
            limit = (
                f"{self._max_bytes} bytes (HLS_RESOURCE_BYTES)" if self.length is None else f"its {self.length} bytes"
            )
            self._fail(SourceError(Reason.TOO_LARGE, f"more than {limit}"))
            return
        if not self._budget.reserve(len(data)):
            self._fail(SourceError(Reason.FULL, "the HLS cache is full (HLS_CACHE_BYTES)"))
            return
        self.buffer.append(data)
        if self.buffer.size == self.length:
            return  # body_ended comes next; after it the connection can be used again
        if not self.is_open:
            if self._check.is_decided(self._head()):
                self._open()
        elif self.buffer.size - self._notified_size >= BLOCK_BYTES:
            self._notify_readers()
        elif self._notify_timer is None:
            self._notify_timer = self.clock.callLater(NOTIFY_INTERVAL, self._notify_readers)

    def body_ended(self, error: SourceError) -> None:
        """End the download: with success if the provider closed the body and all announced bytes have come."""
        self._response_body = None
        complete = error.reason is Reason.ENDED and self.length in {None, self.buffer.size}
        if error.reason is Reason.ENDED and not complete:
            error = SourceError(Reason.TRUNCATED, f"{self.buffer.size} bytes of {self.length}")
        self._finish(None if complete else error)

    def _silence_remaining(self) -> float:
        """Return the seconds until the provider counts as stalled."""
        return self._received_at + self._silence_timeout - self.clock.seconds()

    def _stalled(self) -> None:
        self._fail(SourceError(Reason.STALLED, f"no byte for {self._silence_timeout:g} s"))

    def _open(self) -> None:
        """Open the download, unless the body is a page."""
        error = self._check_body()
        if error is not None:
            self._fail(error)
            return
        self.opened_at, self._notified_size = self.clock.seconds(), self.buffer.size
        self._fire_waiting()

    def _head(self) -> bytes:
        return self.buffer.read(0, min(self.buffer.size, SNIFF_BYTES))

    def _check_body(self) -> SourceError | None:
        head = self._head()
        if head.startswith(GZIP):
            head = gunzip_beginning(head, SNIFF_BYTES) or head
        return self._check.error(head, 0 if self.range is None else self.range.span.first)

    def _notify_readers(self) -> None:
        if self._notify_timer is not None and self._notify_timer.active():
            self._notify_timer.cancel()
        self._notify_timer = None
        self._notified_size = self.buffer.size
        self.buffer.join_small_blocks()
        for notify in list(self._subscribers):
            try:
                notify()
            except Exception:
                log.failure("a reader of {url} failed", url=self._url)

    # end

    def _fail(self, error: SourceError) -> None:
        """Fail the download, and close the connection."""
        if self.over:
            return
        body, self._response_body = self._response_body, None
        request, self._request = self._request, None
        self._finish(error)
        if request is not None:
            request.cancel()
        if body is not None:
            body.close().addErrback(self._closing_failed)

    def _closing_failed(self, failure: Failure) -> None:
        log.failure("closing the response body of {url} failed", failure=failure, url=self._url)

    @property
    def _url(self) -> str:
        """The redacted URL of the response, for log lines."""
        return "" if self.response is None else redact(self.response.final_url)

    def _finish(self, error: SourceError | None) -> None:
        """
        End the download.

        The cache is notified before the requests: if a player repeats a failed request at once, it must not find this
        download.
        """
        if self.over:
            return
        if error is None and not self.is_open and self._has_body:
            error = self._check_body()
        self.over, self.error = True, error
        if error is None:
            self.length = self.buffer.size
            self._end_range_after(self.length)
            self.opened_at = self.clock.seconds() if self.opened_at is None else self.opened_at
        if self._silence_timer is not None:
            self._silence_timer.cancel()
            self._silence_timer = None  # it refers to this download, which only the collector would free
        self._ended(self)
        self._fire_waiting()
        self._notify_readers()
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        """If no request holds the download, close it, and release its memory if the cache has removed it."""
        if self.is_held:
            return
        if not self.over and not self._is_nearly_complete():
            self._fail(SourceError(Reason.UNUSED))
        if self.over and not self._is_cached and self.buffer.size:
            self._budget.release(self.buffer.size)
            self.buffer = GrowingBuffer()

    def _is_nearly_complete(self) -> bool:
        return self.is_open and self.length is not None and self.length - self.buffer.size <= FINISH_BYTES
