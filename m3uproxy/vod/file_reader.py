"""Reading an open body of a file at the pace of one player.

**Pausing.** The body is paused unless the consumer can accept bytes and none are pending. Only while bytes are awaited
does the reactor watch the socket, and only then does the silence timer run: a player may pause for hours. If the
consumer can accept more, the reader reads the socket at once, up to :data:`TURN_BYTES` in one reactor turn.

**Gathering.** A provider on the internet sends 1.4 kB every millisecond. One reactor turn for each of these pieces
would be the largest cost of all. So after a small read the body is paused for a moment, while the kernel queues more.
A paused socket has a small window, so that a fixed pause would throttle a fast provider. The pause is halved after a
large read. When it falls below :data:`MIN_GATHER`, the body is read without pauses for :data:`UNPAUSED_TIME`.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from ..core.body_kind import KindMismatch, body_kind, is_decided, kind_mismatch, stream_kind_of, told_type
from ..core.http.body_sniffing import SNIFF_BYTES, body_error
from ..core.http.representation import Representation
from ..core.stream_kind import StreamKind
from ..errors import Reason, SourceError
from ..interfaces import IBodyConsumer, IResponseBody
from ..timers import SilenceTimer
from ..upstream.body_start import facts_of
from .interfaces import ByteConsumer
from .range_request import OpenedRange

#: Bytes delivered in one reactor turn.
TURN_BYTES = 1_048_576
#: Seconds for which small pieces gather in the kernel: maximum and minimum.
MAX_GATHER = 0.02
MIN_GATHER = 0.002
#: Seconds without gathering, once the pause has fallen below the minimum.
UNPAUSED_TIME = 1.0
#: Bytes that count as a large read after a pause: half of the smallest receive window.
LARGE_READ = 32_768
#: Bytes at the beginning of a body that are read without gathering, so that playback starts at once.
UNPAUSED_BYTES = 262_144
#: Bytes. A gap up to this size is read and discarded; a larger one needs a new connection.
MAX_SKIP = 1_048_576


class FileReaderOwner(Protocol):
    """The session that has opened the body."""

    def bytes_read(self, reader: FileReader, offset: int, data: memoryview) -> None:
        """Note bytes of the right file, before they are delivered to the consumer."""

    @property
    def may_change_kind(self) -> bool:
        """True if the stream may become one of another kind, because no player has got bytes."""

    def media_known(self, media_type: str) -> None:
        """Note the media type of the file, by its first bytes."""

    def kind_found(self, reader: FileReader, error: KindMismatch, body: IResponseBody) -> None:
        """Drop the reader: its body, withdrawn, belongs to a stream of another kind."""

    def read_failed(self, reader: FileReader, error: SourceError) -> None:
        """Close the reader: the body has ended or is unusable. Called once."""


@implementer(IBodyConsumer)
class FileReader:
    """Reader of one body. See the module's text."""

    def __init__(
        self,
        clock: IReactorTime,
        opened: OpenedRange,
        representation: Representation | None,
        silence: float,
        owner: FileReaderOwner,
        first_silence: float = 0.0,
        url: str = "",
    ) -> None:
        """
        Initialise a reader that has not started.

        :param url: URL of the source.
        :param representation: the file that the body is a part of.
        :param silence: seconds without a byte, while bytes are awaited, after which the body counts as stalled.
        :param first_silence: the same before the first byte, if it is longer.
        """
        self._clock = clock
        self._body = opened.body
        self._url = url
        self._owner = owner
        self._silence_limit, self._first_limit = silence, max(silence, first_silence)
        self._consumer: ByteConsumer | None = None
        self._pending: deque[memoryview] = deque()
        self._end_error: SourceError | None = None
        self._sniffed = opened.first > 0
        self._closed = self._running = self._reading = self._resumed = False
        self._waiting_since: float | None = None
        self._interval = MAX_GATHER
        self._gathered = False
        self._unpaused_until = 0.0
        self._silence = SilenceTimer(clock, self._silence_remaining, self._stalled)
        self._next: IDelayedCall | None = None
        self.representation = representation
        self.stop = opened.stop
        self.position = opened.first
        self.bytes_used = 0
        self._started_at = self._last_byte_at = 0.0

    @property
    def _limit(self) -> float:
        """Seconds without a byte after which the body counts as stalled."""
        return self._silence_limit if self.bytes_used else self._first_limit

    @property
    def ran(self) -> float:
        """Seconds from the start to the last byte."""
        return self._last_byte_at - self._started_at

    def start(self, consumer: ByteConsumer) -> None:
        """Start reading for a consumer."""
        self._consumer = consumer
        self._started_at = self._last_byte_at = self._clock.seconds()
        self._body.deliver(self)
        self._resumed = True
        self.read_on()

    def matches(self, consumer: ByteConsumer, representation: Representation | None) -> bool:
        """Return whether this body continues at the consumer's position, or at most :data:`MAX_SKIP` before it."""
        place, known = consumer.position, representation
        if self._closed or self._end_error is not None or place is None or known is None:
            return False
        if known != self.representation:
            return False
        return self.position <= place <= self.position + MAX_SKIP and (self.stop is None or place < self.stop)

    def serve(self, consumer: ByteConsumer | None) -> None:
        """Deliver to another consumer from now on. If it is None, pause the body and keep it open."""
        self._consumer = consumer
        self.read_on()

    def close(self) -> Deferred[None]:
        """Close the connection.

        :return: a Deferred that fires when the socket has closed.
        """
        self._stop()
        return self._body.close()

    def _stop(self) -> None:
        """Stop reading, for good."""
        self._closed = True
        self._consumer = None
        self._pending.clear()
        self._silence.cancel()
        if self._next is not None and self._next.active():
            self._next.cancel()
        self._next = None

    def read_on(self) -> None:
        """Deliver pending bytes while the consumer accepts them, then arrange for the next read."""
        if self._running or self._closed:
            return
        self._running = True
        try:
            delivered = self._run_turn()
        finally:
            self._running = False
        self._turn_ended(delivered)

    # IBodyConsumer

    def body_received(self, data: bytes) -> None:
        """Queue the data until the consumer accepts it: a paused body may still deliver one read."""
        self._last_byte_at = self._clock.seconds()
        if not self._closed:
            self._pending.append(memoryview(data))
            if not self._reading:
                self.read_on()

    def body_ended(self, error: SourceError) -> None:
        """Note the end. Pending bytes are still delivered."""
        self._end_error = error
        if not self._reading:
            self.read_on()

    # inside

    def _turn_ended(self, delivered: int) -> None:
        """Pause the body, wait for more, or report its end."""
        if self._closed:
            return
        if self._end_error is not None and not self._pending and (self._can_deliver() or self._consumer is None):
            self._fail(self._end_error)
        elif not self._can_deliver():
            self._stop_waiting()
        else:
            self._wait(delivered)

    def _can_deliver(self) -> bool:
        return not self._closed and self._consumer is not None and self._consumer.can_accept

    def _run_turn(self) -> int:
        """Read and deliver up to one turn's bytes; return the number of bytes delivered."""
        delivered = 0
        while delivered < TURN_BYTES and self._can_deliver() and self._has_next():
            delivered += self._deliver()
        return delivered

    def _has_next(self) -> bool:
        """Return whether there are bytes to deliver, after a read if none are pending."""
        if self._pending and not self._is_undecided():
            return True
        return self._read() and not self._is_undecided()

    def _is_undecided(self) -> bool:
        """Return whether to await more bytes: a body may begin with a few, which do not tell its kind."""
        if self._sniffed or self._end_error is not None or not self._owner.may_change_kind:
            return False
        return not is_decided(self._url, b"".join(self._pending), self._body.length is not None)

    def _read(self) -> bool:
        """Read the socket's queue without waiting for the reactor; return whether there are bytes."""
        if self._end_error is not None:
            return False
        self._reading = True
        try:
            self._body.read(True)
        finally:
            self._reading = False
        return bool(self._pending)

    def _deliver(self) -> int:
        """Deliver one piece, or discard it as far as it precedes the position; return the bytes used."""
        consumer, data = self._consumer, self._next_piece()
        assert consumer is not None
        assert consumer.position is not None
        if not self._sniffed and not self._sniff(data):
            return 0
        before = data[: max(0, consumer.position - self.position)]
        if len(before):
            self._skip(consumer, before)
            used = len(before)
        else:
            self._owner.bytes_read(self, self.position, data)
            used = consumer.accept(data)
        if not self.bytes_used:
            self._silence.cancel()  # The limit is another one from now on.
        self.position += used
        self.bytes_used += used
        if used < len(data) and not self._closed:
            self._pending.appendleft(data[used:])
        return used

    def _next_piece(self) -> memoryview:
        """Remove and return the next piece. The first one is all that has come, because it tells the kind."""
        if self._sniffed or len(self._pending) == 1:
            return self._pending.popleft()
        data = memoryview(b"".join(self._pending))
        self._pending.clear()
        return data

    def _sniff(self, data: memoryview) -> bool:
        """Return whether the first bytes may be a file: providers may send a page, a playlist, or a live stream."""
        self._sniffed = True
        facts = facts_of(self._body, self._url, bytes(data[:SNIFF_BYTES]))
        kind = body_kind(facts)
        if kind is not None and stream_kind_of(kind) is not StreamKind.VOD and self._owner.may_change_kind:
            self._withdraw(data, kind_mismatch(facts, kind))
            return False
        error = body_error(facts.head, 0, "")
        if error is not None:
            self._fail(error)
            return False
        media_type = told_type(facts)
        if media_type is not None:
            self._owner.media_known(media_type)
        return True

    def _withdraw(self, data: memoryview, error: KindMismatch) -> None:
        """Give up the body, as it was before its first byte."""
        start = b"".join([data, *self._pending])
        self._stop()
        self._body.withdraw(start)
        self._owner.kind_found(self, error, self._body)

    def _skip(self, consumer: ByteConsumer, data: memoryview) -> None:
        """Compare repeated bytes with those that the consumer accepted last. If they differ, fail."""
        assert consumer.position is not None
        begin = consumer.position - len(consumer.last_bytes)
        earlier = max(0, begin - self.position)
        repeated = data[earlier:]
        place = self.position + earlier - begin
        if repeated != consumer.last_bytes[place : place + len(repeated)]:
            self._fail(SourceError(Reason.OTHER_FILE, "bytes differ from those already sent"))

    def _fail(self, error: SourceError) -> None:
        self._pending.clear()
        self._owner.read_failed(self, error)

    def _stop_waiting(self) -> None:
        """Pause: the consumer accepts nothing."""
        self._waiting_since = None
        self._pause()

    def _pause(self) -> None:
        if self._resumed:
            self._resumed = False
            self._body.pause()

    def _should_gather(self, delivered: int) -> bool:
        """Return whether to pause while more gathers, and adapt the pause to the bytes that the last one brought."""
        now = self._clock.seconds()
        gathered, self._gathered = self._gathered, False
        if not delivered or self.bytes_used <= UNPAUSED_BYTES or now < self._unpaused_until:
            return False
        if gathered and delivered >= LARGE_READ:
            self._interval /= 2
            if self._interval < MIN_GATHER:
                self._interval, self._unpaused_until = MAX_GATHER, now + UNPAUSED_TIME
                return False
        elif gathered and delivered < LARGE_READ // 4:
            self._interval = min(MAX_GATHER, self._interval * 2)
        return gathered or delivered < LARGE_READ

    def _wait(self, delivered: int) -> None:
        """Wait for more bytes: in the next turn, after a pause, or as the reactor reads them."""
        if delivered >= TURN_BYTES:
            self._read_later(0)
        elif self._should_gather(delivered):
            self._pause()
            self._gathered = True
            self._read_later(self._interval)
        elif not self._resumed:
            self._resumed = True
            self._body.resume()
        if self._waiting_since is None:
            self._waiting_since = self._clock.seconds()
        self._silence.start(self._limit)

    def _read_later(self, seconds: float) -> None:
        if self._next is None:
            self._next = self._clock.callLater(seconds, self._read_now)

    def _read_now(self) -> None:
        self._next = None
        self.read_on()

    def _silent_for(self, since: float) -> float:
        """Return the seconds without a byte."""
        return self._clock.seconds() - max(self._last_byte_at, since)

    def _silence_remaining(self) -> float | None:
        """Return the seconds until the body counts as stalled; None if no bytes are awaited."""
        return None if self._waiting_since is None else self._limit - self._silent_for(self._waiting_since)

    def _stalled(self) -> None:
        assert self._waiting_since is not None
        self._fail(SourceError(Reason.STALLED, f"no byte for {self._silent_for(self._waiting_since):.1f} s"))
