"""One answer of a provider, and all who want it.

It is begun by the first who asks, and told to all who ask while it is under way (single flight). It is *open* when its
head and so much of its body are there that it can be told from a web page; only then anybody is answered, so that
until then a failure is a status. From then on it grows, and readers follow, each at its own pace: the provider is
never paused for a reader. It is *over* when the body is complete, or has failed.

Who waits or reads holds it. When nobody does any more and much is still missing, the provider's connection is closed.

What several people wait for and read: who they are, and when the last of them has gone.

A body that is read from while it is still arriving.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from ..core.http.byte_ranges import SingleContentRange, read_content_range
from ..errors import Reason, SourceError
from ..interfaces import IBodyConsumer, IResponseBody
from ..log import make_logger
from .http_client import ProviderResponse

#: Bytes from which on a block is left as it is; smaller ones are joined, so that readers write large pieces.
BLOCK = 65_536


class GrowingBuffer:
    """Blocks in a row. Readers have positions of their own, counted in bytes from the beginning.

    :ivar size: bytes so far.
    """

    def __init__(self) -> None:
        self.size = 0
        self._blocks: list[bytes] = []
        self._starts: list[int] = []
        self._firm = 0
        self._loose = 0

    def append(self, data: bytes) -> None:
        """Some more of it, never nothing."""
        self._starts.append(self.size)
        self._blocks.append(data)
        self.size += len(data)
        self._loose += len(data)
        if self._loose >= BLOCK:
            self.settle()
            self._firm, self._loose = len(self._blocks), 0

    def settle(self) -> None:
        """Join the small pieces that came last into one, for readers that are about to take them."""
        if len(self._blocks) > self._firm + 1:
            self._blocks[self._firm :] = [b"".join(self._blocks[self._firm :])]
            del self._starts[self._firm + 1 :]

    def piece(self, position: int, stop: int) -> bytes:
        """Some bytes from ``position`` on, up to ``stop``: the rest of a block, which readers share."""
        index = bisect_right(self._starts, position) - 1
        start = self._starts[index]
        return self._blocks[index][position - start : stop - start]

    def whole(self, start: int, stop: int) -> bytes:
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
        self._readers: list[Callable[[], None]] = []
        self._holds = 0

    @abstractmethod
    def _settle(self) -> None:
        """Somebody has gone, perhaps the last."""

    @property
    def is_open(self) -> bool:
        """Whether readers may begin."""
        return self.opened_at is not None

    def wait(self) -> Deferred[Any]:
        """
        Wait until it is open. Who is given it holds it, and must :meth:`release` it.

        :return: a Deferred that may be cancelled.
        """
        if self.error is not None:
            return fail(self.error)
        if self.is_open:
            self.hold()
            return succeed(self)
        waiting: Deferred[Any] = Deferred(self._not_waiting)
        self._waiting.append(waiting)
        return waiting

    def hold(self) -> None:
        """One more who may still read."""
        self._holds += 1

    def release(self) -> None:
        """One less."""
        self._holds -= 1
        self._settle()

    def complete(self) -> Deferred[Any]:
        """
        Wait until it is complete, for one who holds it; a failure takes the hold away.

        :return: a Deferred that may be cancelled.
        """
        if self.over and self.error is None:
            return succeed(self)

        def grown() -> None:
            if self.over and grown in self._readers:
                self.leave(grown)
                if self.error is None:
                    waiting.callback(self)
                else:
                    self.release()
                    waiting.errback(self.error)

        def cancelled(_: Deferred[Any]) -> None:
            self.leave(grown)
            self.release()

        waiting: Deferred[Any] = Deferred(cancelled)
        self.follow(grown)
        grown()
        return waiting

    @property
    def is_held(self) -> bool:
        """Whether anybody waits for it or may still read."""
        return bool(self._holds or self._waiting)

    def follow(self, grown: Callable[[], None]) -> None:
        """Have ``grown`` called whenever there is more, and when it is over."""
        self._readers.append(grown)

    def leave(self, grown: Callable[[], None]) -> None:
        """No more of that."""
        if grown in self._readers:
            self._readers.remove(grown)

    def _answer_waiting(self) -> None:
        while self._waiting:
            waiting = self._waiting.pop(0)
            if self.error is None:
                self.hold()
                waiting.callback(self)
            else:
                waiting.errback(self.error)

    def _tell_readers(self) -> None:
        for grown in list(self._readers):
            grown()

    def _not_waiting(self, waiting: Deferred[Any]) -> None:
        if waiting in self._waiting:
            self._waiting.remove(waiting)
        self._settle()


log = make_logger()

#: Bytes that tell a web page from what a playlist names. A key has 16.
ENOUGH = 16
#: Seconds for which pieces gather before readers are told.
TICK = 0.04
#: Bytes: what is missing of a body that nobody wants any more, up to which it is read to its end all the same. The
#: connection can then be used again, and the next player finds the segment.
LITTLE = 262_144
_PAGES = (b"<!doctype html", b"<html")


class MemoryBudget(Protocol):
    """Where memory comes from."""

    def take(self, size: int) -> bool:
        """Some bytes more; False if there are none left."""

    def give_back(self, size: int) -> None:
        """They are free again."""


class DownloadTaker(Protocol):
    """One who reads."""

    began_at: float
    paused_at: float | None

    def give_up(self, error: SourceError) -> None:
        """Have it read no more."""


@implementer(IBodyConsumer)
class Download(SharedDownload):
    """One answer on its way.

    :ivar takers: who reads it.
    :ivar range: what it is of the whole, None if it is the whole, or an error.
    :ivar length: bytes that it will have, None if that is not known.
    """

    def __init__(
        self, clock: IReactorTime, purse: MemoryBudget, silence: float, most: int, ended: Callable[[Download], None]
    ) -> None:
        """
        Begin without an answer.

        :param silence: seconds without a byte after which the provider counts as stalled.
        :param most: bytes that the body may have.
        :param ended: called once, when it is over, or given up because nobody wants it.
        """
        super().__init__()
        self.clock = clock
        self.answer: ProviderResponse | None = None
        self.range: SingleContentRange | None = None
        self.length: int | None = None
        self.body = GrowingBuffer()
        self.takers: set[DownloadTaker] = set()
        self._purse = purse
        self._silence = silence
        self._most = most
        self._ended = ended
        self._asking: Deferred[ProviderResponse] | None = None
        self._open_body: IResponseBody | None = None
        self._kept = True
        self._heard = 0.0
        self._listening: IDelayedCall | None = None
        self._telling: IDelayedCall | None = None
        self._told = 0

    def begin(self, asking: Deferred[ProviderResponse], byte_range: bool) -> None:
        """
        Wait for the answer.

        :param byte_range: whether a range was asked for.
        """
        self._asking = asking
        asking.addCallback(self._answered, byte_range).addErrback(self._not_answered)

    @property
    def status(self) -> int:
        """The provider's; 206 only for a range."""
        assert self.answer is not None
        return 200 if self.answer.status == 206 and self.range is None else self.answer.status

    @property
    def headers(self) -> Mapping[str, str]:
        """The provider's, those that matter."""
        assert self.answer is not None
        return self.answer.headers

    def forget(self) -> None:
        """No newcomer will find it."""
        self._kept = False
        self._settle()

    def stop(self) -> None:
        """The proxy stops."""
        self._fail(SourceError(Reason.STOPPING))

    def give_up_slow(self, paused_since: float, began_before: float) -> bool:
        """
        Have nobody read it any more, if all who do take their time.

        :param paused_since: seconds of the clock; who takes nothing since takes its time,
        :param began_before: and so does who has been reading since.
        :return: whether nobody holds it.
        """
        if self._waiting or len(self.takers) != self._holds:
            return False
        slow = [
            taker
            for taker in self.takers
            if taker.began_at <= began_before or (taker.paused_at is not None and taker.paused_at <= paused_since)
        ]
        if len(slow) < len(self.takers):
            return False
        for taker in slow:
            taker.give_up(SourceError(Reason.FULL, "memory is short, and this player takes its time"))
        return not self.is_held

    # the answer

    def _answered(self, answer: ProviderResponse, byte_range: bool) -> None:
        self._asking = None
        self._open_body = answer.body
        self.answer = answer
        if answer.body is None:
            self.length = 0
            self._finish(None)
            return
        self.length = answer.body.length
        error = self._misfit(answer, byte_range)
        if error is not None:
            self._fail(error)
            return
        self._heard = self.clock.seconds()
        self._listening = self.clock.callLater(self._silence, self._listen)
        answer.body.deliver(self)

    def _misfit(self, answer: ProviderResponse, byte_range: bool) -> SourceError | None:
        """Why the answer is none to what was asked; that it is a range is noted."""
        if self.length is not None and self.length > self._most:
            return SourceError(Reason.TOO_LARGE, f"{self.length} bytes, and {self._most} are allowed")
        if answer.status != 206:
            return None
        said = read_content_range(answer.headers.get("Content-Range"))
        if said is None or (self.length is not None and said.stop - said.start != self.length):
            return SourceError(Reason.BAD_HEAD, "a part of something, and not clear which")
        if byte_range or (said.start, said.stop) != (0, said.total):
            self.range, self.length = said, said.stop - said.start
        if not byte_range and self.range is not None:
            return SourceError(Reason.BAD_HEAD, "a part where the whole was asked for")
        return None

    def _not_answered(self, failure: Failure) -> None:
        self._asking = None
        if self.over:  # we cancelled it
            return
        error = failure.value
        if not isinstance(error, SourceError):
            log.failure("asking failed unexpectedly", failure=failure)
            error = SourceError(Reason.INTERNAL, type(error).__name__)
        self._fail(error)

    # the body

    def body_received(self, data: bytes) -> None:
        """Keep it, and tell the readers, at once or together with what comes next."""
        if self.over:
            return
        self._heard = self.clock.seconds()
        if self.body.size + len(data) > (self._most if self.length is None else self.length):
            self._fail(SourceError(Reason.TOO_LARGE, f"more than {self.body.size} bytes"))
            return
        if not self._purse.take(len(data)):
            self._fail(SourceError(Reason.FULL, "the segments of all streams take all that is allowed"))
            return
        self.body.append(data)
        if self.body.size == self.length:
            return  # the end is told next, and then the connection can be used again
        if not self.is_open:
            if self.body.size >= ENOUGH:
                self._begin_reading()
        elif self.body.size - self._told >= BLOCK:
            self._tell()
        elif self._telling is None:
            self._telling = self.clock.callLater(TICK, self._tell)

    def body_ended(self, error: SourceError) -> None:
        """Complete, or not."""
        self._open_body = None
        complete = error.reason is Reason.ENDED and self.length in {None, self.body.size}
        if error.reason is Reason.ENDED and not complete:
            error = SourceError(Reason.TRUNCATED, f"{self.body.size} bytes of {self.length}")
        self._finish(None if complete else error)

    def _listen(self) -> None:
        """Has the provider sent anything since?"""
        self._listening = None
        left = self._heard + self._silence - self.clock.seconds()
        if left > 0:
            self._listening = self.clock.callLater(left, self._listen)
        else:
            self._fail(SourceError(Reason.STALLED, f"no byte for {self._silence:g} s"))

    def _begin_reading(self) -> None:
        """Let all begin who wait, unless it is a web page."""
        error = self._page()
        if error is not None:
            self._fail(error)
            return
        self.opened_at, self._told = self.clock.seconds(), self.body.size
        self._answer_waiting()

    def _page(self) -> SourceError | None:
        beginning = self.body.whole(0, self.body.size).lstrip(b"\xef\xbb\xbf \t\r\n")[:ENOUGH].lower()
        return SourceError(Reason.NOT_VIDEO, "the provider sent HTML") if beginning.startswith(_PAGES) else None

    def _tell(self) -> None:
        if self._telling is not None and self._telling.active():
            self._telling.cancel()
        self._telling = None
        self._told = self.body.size
        self.body.settle()
        self._tell_readers()

    # the end

    def _fail(self, error: SourceError) -> None:
        """End it ourselves."""
        if self.over:
            return
        body, self._open_body = self._open_body, None
        asking, self._asking = self._asking, None
        self._finish(error)
        if asking is not None:
            asking.cancel()
        if body is not None:
            body.close().addErrback(lambda failure: log.failure("closing failed", failure=failure))

    def _finish(self, error: SourceError | None) -> None:
        """It is over. Who is told and asks again at once must not find it, if it has failed."""
        if self.over:
            return
        if error is None and not self.is_open:
            error = self._page()
        self.over, self.error = True, error
        if error is None:
            self.length = self.body.size
            self.opened_at = self.clock.seconds() if self.opened_at is None else self.opened_at
        if self._listening is not None:
            self._listening.cancel()
            self._listening = None
        self._ended(self)
        self._answer_waiting()
        self._tell()
        self._settle()

    def _settle(self) -> None:
        """When nobody wants it: give up what is under way, give back the memory of what is not kept."""
        if self.is_held:
            return
        if not self.over and not self._is_nearly_there():
            self._fail(SourceError(Reason.ENDED, "nobody wants it any more"))
        if self.over and not self._kept and self.body.size:
            self._purse.give_back(self.body.size)
            self.body = GrowingBuffer()

    def _is_nearly_there(self) -> bool:
        return self.is_open and self.length is not None and self.length - self.body.size <= LITTLE
