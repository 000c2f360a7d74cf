"""One response of a provider, and all who want it.

It is begun by the first who asks, and told to all who ask while it is under way (single flight). It is *open* when its
head and so much of its body are there that it can be told from a web page; only then anybody is answered, so that
until then a failure is a status. From then on it grows, and readers subscribe, each at its own pace: the provider is
never paused for a reader. It is *over* when the body is complete, or has failed.

Who waits or reads holds it. When nobody does any more and much is still missing, the provider's connection is closed.

What several people wait for and read: who they are, and when the last of them has gone.

A body that is read from while it is still arriving.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from ..core.http.byte_ranges import ContentRange, parse_content_range
from ..errors import Reason, SourceError
from ..interfaces import IBodyConsumer, IResponseBody
from ..log import make_logger
from ..timers import SilenceTimer
from ..upstream.twisted_errors import source_error
from .http_client import ProviderResponse

#: Bytes from which on a block is left as it is; smaller ones are joined, so that readers write large pieces.
BLOCK_BYTES = 65_536


class GrowingBuffer:
    """Blocks in a row. Readers have positions of their own, counted in bytes from the beginning.

    :ivar size: bytes so far.
    """

    def __init__(self) -> None:
        self.size = 0
        self._blocks: list[bytes] = []
        self._starts: list[int] = []
        self._settled_blocks = 0
        self._loose_bytes = 0

    def append(self, data: bytes) -> None:
        """Some more of it, never nothing."""
        self._starts.append(self.size)
        self._blocks.append(data)
        self.size += len(data)
        self._loose_bytes += len(data)
        if self._loose_bytes >= BLOCK_BYTES:
            self.join_small_blocks()
            self._settled_blocks, self._loose_bytes = len(self._blocks), 0

    def join_small_blocks(self) -> None:
        """Join the small pieces that came last into one, for readers that are about to take them."""
        if len(self._blocks) > self._settled_blocks + 1:
            self._blocks[self._settled_blocks :] = [b"".join(self._blocks[self._settled_blocks :])]
            del self._starts[self._settled_blocks + 1 :]

    def piece(self, position: int, stop: int) -> bytes:
        """Some bytes from ``position`` on, up to ``stop``: the rest of a block, which readers share."""
        index = bisect_right(self._starts, position) - 1
        start = self._starts[index]
        return self._blocks[index][position - start : stop - start]

    def read(self, start: int, stop: int) -> bytes:
        """All bytes from ``start`` to ``stop``, in one piece."""
        pieces = []
        while start < stop:
            pieces.append(self.piece(start, stop))
            start += len(pieces[-1])
        return b"".join(pieces)


class SharedDownload(ABC):
    """Something that opens, grows and is over at some time.

    Who waits for it or has been given it *holds* it.

    :ivar opened_at: seconds of the clock; None until it is open.
    :ivar over: whether it will grow no more.
    :ivar error: why it failed; None while it is on its way, and if it is complete.
    """

    def __init__(self) -> None:
        self.opened_at: float | None = None
        self.over = False
        self.error: SourceError | None = None
        self._waiting: list[Deferred[Any]] = []
        self._subscribers: list[Callable[[], None]] = []
        self._holds = 0

    @abstractmethod
    def _close_if_unused(self) -> None:
        """Somebody has gone, perhaps the last."""

    @property
    def is_open(self) -> bool:
        """Whether readers may begin."""
        return self.opened_at is not None

    def wait_open(self) -> Deferred[Any]:
        """
        Wait until it is open. Who is given it holds it, and must :meth:`release` it.

        :return: a Deferred that may be cancelled.
        """
        if self.error is not None:
            return fail(self.error)
        if self.is_open:
            self.hold()
            return succeed(self)
        waiting: Deferred[Any] = Deferred(self._wait_cancelled)
        self._waiting.append(waiting)
        return waiting

    def hold(self) -> None:
        """One more who may still read."""
        self._holds += 1

    def release(self) -> None:
        """One less."""
        self._holds -= 1
        self._close_if_unused()

    def wait_complete(self) -> Deferred[Any]:
        """
        Wait until it is complete, for one who holds it; a failure takes the hold away.

        :return: a Deferred that may be cancelled.
        """
        if self.over and self.error is None:
            return succeed(self)

        def notify() -> None:
            if self.over and notify in self._subscribers:
                self.unsubscribe(notify)
                if self.error is None:
                    waiting.callback(self)
                else:
                    self.release()
                    waiting.errback(self.error)

        def cancelled(_: Deferred[Any]) -> None:
            self.unsubscribe(notify)
            self.release()

        waiting: Deferred[Any] = Deferred(cancelled)
        self.subscribe(notify)
        notify()
        return waiting

    @property
    def is_held(self) -> bool:
        """Whether anybody waits for it or may still read."""
        return bool(self._holds or self._waiting)

    def subscribe(self, notify: Callable[[], None]) -> None:
        """Have ``notify`` called whenever there is more, and when it is over."""
        self._subscribers.append(notify)

    def unsubscribe(self, notify: Callable[[], None]) -> None:
        """No more of that."""
        if notify in self._subscribers:
            self._subscribers.remove(notify)

    def _fire_waiting(self) -> None:
        while self._waiting:
            waiting = self._waiting.pop(0)
            if self.error is None:
                self.hold()
                waiting.callback(self)
            else:
                waiting.errback(self.error)

    def _notify_subscribers(self) -> None:
        for notify in list(self._subscribers):
            notify()

    def _wait_cancelled(self, waiting: Deferred[Any]) -> None:
        if waiting in self._waiting:
            self._waiting.remove(waiting)
        self._close_if_unused()


log = make_logger()

#: Bytes that tell a web page from what a playlist names. A key has 16.
SNIFF_BYTES = 16
#: Seconds for which pieces gather before readers are told.
NOTIFY_INTERVAL = 0.04
#: Bytes: what is missing of a body that nobody wants any more, up to which it is read to its end all the same. The
#: connection can then be used again, and the next player finds the segment.
FINISH_BYTES = 262_144
_HTML_STARTS = (b"<!doctype html", b"<html")


class MemoryBudget(Protocol):
    """Where memory comes from."""

    def reserve(self, size: int) -> bool:
        """Some bytes more; False if there are none left."""

    def release(self, size: int) -> None:
        """They are free again."""


class AbortableReader(Protocol):
    """One who reads."""

    began_at: float
    paused_at: float | None

    def abort(self, error: SourceError) -> None:
        """Have it read no more."""


@implementer(IBodyConsumer)
class Download(SharedDownload):
    """One response on its way.

    :ivar readers: who reads it.
    :ivar range: what it is of the whole, None if it is the whole, or an error.
    :ivar length: bytes that it will have, None if that is not known.
    """

    def __init__(
        self,
        clock: IReactorTime,
        budget: MemoryBudget,
        silence_timeout: float,
        max_bytes: int,
        ended: Callable[[Download], None],
    ) -> None:
        """
        Begin without an response.

        :param silence_timeout: seconds without a byte after which the provider counts as stalled.
        :param max_bytes: bytes that the body may have.
        :param ended: called once, when it is over, or given up because nobody wants it.
        """
        super().__init__()
        self.clock = clock
        self.response: ProviderResponse | None = None
        self.range: ContentRange | None = None
        self.length: int | None = None
        self.buffer = GrowingBuffer()
        self.readers: set[AbortableReader] = set()
        self._budget = budget
        self._silence_timeout = silence_timeout
        self._max_bytes = max_bytes
        self._ended = ended
        self._request: Deferred[ProviderResponse] | None = None
        self._response_body: IResponseBody | None = None
        self._is_cached = True
        self._received_at = 0.0
        self._silence_timer = SilenceTimer(clock, self._silence_remaining, self._stalled, late=math.inf)
        self._notify_timer: IDelayedCall | None = None
        self._notified_size = 0

    def start(self, request: Deferred[ProviderResponse], byte_range: bool) -> None:
        """
        Wait for the response.

        :param byte_range: whether a range was asked for.
        """
        self._request = request
        request.addCallback(self._response_received, byte_range).addErrback(self._request_failed)

    @property
    def status(self) -> int:
        """The provider's; 206 only for a range."""
        assert self.response is not None
        return 200 if self.response.status == 206 and self.range is None else self.response.status

    @property
    def headers(self) -> Mapping[str, str]:
        """The provider's, those that matter."""
        assert self.response is not None
        return self.response.headers

    def removed_from_cache(self) -> None:
        """No newcomer will find it."""
        self._is_cached = False
        self._close_if_unused()

    def close(self) -> None:
        """The proxy stops."""
        self._fail(SourceError(Reason.STOPPING))

    def abort_slow_readers(self, paused_since: float, began_before: float) -> bool:
        """
        Have nobody read it any more, if all who do take their time.

        :param paused_since: seconds of the clock; who takes nothing since takes its time,
        :param began_before: and so does who has been reading since.
        :return: whether nobody holds it.
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
            reader.abort(SourceError(Reason.FULL, "memory is short, and this player takes its time"))
        return not self.is_held

    # the response

    def _response_received(self, response: ProviderResponse, byte_range: bool) -> None:
        self._request = None
        self._response_body = response.body
        self.response = response
        if response.body is None:
            self.length = 0
            self._finish(None)
            return
        self.length = response.body.length
        error = self._check_response(response, byte_range)
        if error is not None:
            self._fail(error)
            return
        self._received_at = self.clock.seconds()
        self._silence_timer.start(self._silence_timeout)
        response.body.deliver(self)

    def _check_response(self, response: ProviderResponse, byte_range: bool) -> SourceError | None:
        """Why the response is none to what was asked; that it is a range is noted."""
        if self.length is not None and self.length > self._max_bytes:
            return SourceError(Reason.TOO_LARGE, f"{self.length} bytes, and {self._max_bytes} are allowed")
        if response.status != 206:
            return None
        content_range = parse_content_range(response.headers.get("Content-Range"))
        if content_range is None or (self.length is not None and len(content_range.span) != self.length):
            return SourceError(Reason.BAD_HEAD, "a part of something, and not clear which")
        if byte_range or not content_range.is_whole:
            self.range, self.length = content_range, len(content_range.span)
        if not byte_range and self.range is not None:
            return SourceError(Reason.BAD_HEAD, "a part where the whole was asked for")
        return None

    def _request_failed(self, failure: Failure) -> None:
        self._request = None
        if self.over:  # we cancelled it
            return
        self._fail(source_error(failure, log, "request failed unexpectedly"))

    # the body

    def body_received(self, data: bytes) -> None:
        """Keep it, and tell the readers, at once or together with what comes next."""
        if self.over:
            return
        self._received_at = self.clock.seconds()
        if self.buffer.size + len(data) > (self._max_bytes if self.length is None else self.length):
            self._fail(SourceError(Reason.TOO_LARGE, f"more than {self.buffer.size} bytes"))
            return
        if not self._budget.reserve(len(data)):
            self._fail(SourceError(Reason.FULL, "the segments of all streams take all that is allowed"))
            return
        self.buffer.append(data)
        if self.buffer.size == self.length:
            return  # the end is told next, and then the connection can be used again
        if not self.is_open:
            if self.buffer.size >= SNIFF_BYTES:
                self._open()
        elif self.buffer.size - self._notified_size >= BLOCK_BYTES:
            self._notify_readers()
        elif self._notify_timer is None:
            self._notify_timer = self.clock.callLater(NOTIFY_INTERVAL, self._notify_readers)

    def body_ended(self, error: SourceError) -> None:
        """Complete, or not."""
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
        """Let all begin who wait, unless it is a web page."""
        error = self._check_not_html()
        if error is not None:
            self._fail(error)
            return
        self.opened_at, self._notified_size = self.clock.seconds(), self.buffer.size
        self._fire_waiting()

    def _check_not_html(self) -> SourceError | None:
        beginning = self.buffer.read(0, self.buffer.size).lstrip(b"\xef\xbb\xbf \t\r\n")[:SNIFF_BYTES].lower()
        return SourceError(Reason.NOT_VIDEO, "the provider sent HTML") if beginning.startswith(_HTML_STARTS) else None

    def _notify_readers(self) -> None:
        if self._notify_timer is not None and self._notify_timer.active():
            self._notify_timer.cancel()
        self._notify_timer = None
        self._notified_size = self.buffer.size
        self.buffer.join_small_blocks()
        self._notify_subscribers()

    # the end

    def _fail(self, error: SourceError) -> None:
        """End it ourselves."""
        if self.over:
            return
        body, self._response_body = self._response_body, None
        request, self._request = self._request, None
        self._finish(error)
        if request is not None:
            request.cancel()
        if body is not None:
            body.close().addErrback(lambda failure: log.failure("closing failed", failure=failure))

    def _finish(self, error: SourceError | None) -> None:
        """It is over. Who is told and asks again at once must not find it, if it has failed."""
        if self.over:
            return
        if error is None and not self.is_open:
            error = self._check_not_html()
        self.over, self.error = True, error
        if error is None:
            self.length = self.buffer.size
            self.opened_at = self.clock.seconds() if self.opened_at is None else self.opened_at
        self._silence_timer.cancel()
        self._ended(self)
        self._fire_waiting()
        self._notify_readers()
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        """When nobody wants it: give up what is under way, give back the memory of what is not kept."""
        if self.is_held:
            return
        if not self.over and not self._is_nearly_complete():
            self._fail(SourceError(Reason.ENDED, "nobody wants it any more"))
        if self.over and not self._is_cached and self.buffer.size:
            self._budget.release(self.buffer.size)
            self.buffer = GrowingBuffer()

    def _is_nearly_complete(self) -> bool:
        return self.is_open and self.length is not None and self.length - self.buffer.size <= FINISH_BYTES
