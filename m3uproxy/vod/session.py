"""The provider side of one player: its one connection, the source, the offset, and the response that is served.

A session has at most one of: a dial under way, a body, a backoff between dials. It serves at most one *consumer*, a
response to the player; another consumer replaces it. If the open body stands at the new consumer's position, or a
little before it, the body is used further. Otherwise it is closed, and the right range is dialled once the socket has
closed. In whatever order a player sends its requests, the provider sees one connection.

If a body breaks or stalls, the next one must be the same file. The request begins a little before the position and has
``If-Range``. The length must not contradict the file; under the same URL neither must ETag and date. The bytes before
the position must repeat the bytes that the player got last.
:mod:`m3uproxy.core.failover.machine` decides the source of each dial, and when to give up.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from ..core.body_kind import PLAYLIST_TYPES, BodyKind, KindMismatch
from ..core.failover.machine import SETTLED_AFTER, Backoff, Dial, Effect, FailoverMachine, FailoverState, GiveUp
from ..core.http.byte_ranges import WHOLE, ByteRange
from ..core.http.redact import redact
from ..core.http.representation import Representation
from ..core.http.source_request import SourceRequest
from ..core.stream_kind import StreamKind
from ..errors import Reason, SourceError
from ..interfaces import IResponseBody
from ..log import make_logger
from ..timers import Timer
from ..upstream.slots import PreviousSocket, StreamSlot
from ..upstream.twisted_errors import on_failure
from .file_reader import FileReader
from .interfaces import RangeConsumer, VodFile, VodUpstream
from .range_request import check_continuation, opened_range, representation_from_head, request_for

log = make_logger()

#: Seconds for which a paused body is kept after a complete response: the player may request the range that follows.
LINGER = 5.0
#: Bytes after which a source that breaks counts as one that has worked: files are sent faster than they are played.
WORKING_BYTES = 262_144


class VodSession:
    """The provider side of one player. See the module's text."""

    def __init__(
        self,
        clock: IReactorTime,
        upstream: VodUpstream,
        file: VodFile,
        failover: FailoverMachine,
        slot: StreamSlot,
        silence: float,
        linger_over: Callable[[], None],
    ) -> None:
        """
        Initialise a session without a connection.

        :param failover: knows the sources and the last failure.
        :param slot: acquired before each dial; its ``viewer`` is the viewer of this session.
        :param silence: seconds; see :class:`.file_reader.FileReader`.
        :param linger_over: called when a connection that no response used has closed.
        """
        self._clock = clock
        self._dialler = upstream.dialler
        self._opened_bodies = upstream.opened
        self._file = file
        self.failover = failover
        self._slot = slot
        self._viewer = slot.viewer
        self._silence = silence
        self._linger_over = linger_over
        self._consumer: RangeConsumer | None = None
        self._dialling: Deferred[None] | None = None
        self._reader: FileReader | None = None
        self._previous_socket = PreviousSocket(clock)
        self._timer = Timer(clock)

    @property
    def is_open(self) -> bool:
        """True with a connection, during a dial, and during a backoff before a dial."""
        return self.failover.state is not FailoverState.IDLE

    @property
    def representation(self) -> Representation | None:
        """The file that is being read; None without a body, or before its first bytes."""
        streaming = self.failover.state is FailoverState.STREAMING
        return self._reader.representation if self._reader is not None and streaming else None

    def serve(self, consumer: RangeConsumer) -> None:
        """Serve a consumer instead of the one served before."""
        is_other = consumer is not self._consumer
        self._consumer = consumer
        if self._reader is not None and (not is_other or self._reader.matches(consumer, consumer.representation)):
            self._timer.cancel()
            self._reader.serve(consumer)
        elif is_other or not self.is_open:
            self._restart()

    def release(self, consumer: RangeConsumer, linger: bool) -> None:
        """Stop serving a consumer. If it is not the one that is served, do nothing.

        :param linger: keep the body for :data:`LINGER` seconds, for the player's next request.
        """
        if consumer is not self._consumer:
            return
        if linger and self._reader is not None:
            self._consumer = None
            self._timer.set(LINGER, self._close_unused)
            self._reader.serve(None)
        else:
            self.close()

    def close(self) -> Deferred[None]:
        """Close the connection, or cancel the dial or backoff.

        :return: a Deferred that fires when the socket has closed.
        """
        self._consumer = None
        self.failover.stop(self._clock.seconds())
        self._close_connection()
        self._slot.release()
        return self._previous_socket.closed()

    def switch_to(self, index: int) -> None:
        """Switch to another source: at once if a source is in use, otherwise with the next dial."""
        if self.is_open and self._consumer is None:
            self._close_unused()
        self._carry_out(self.failover.switched(self._clock.seconds(), index))

    def replace_sources(self, requests: tuple[SourceRequest, ...]) -> None:
        """Replace the sources. An open body is used further; a dial of a removed source is restarted."""
        stays = self.failover.sources.replace([request.url for request in requests])
        if not stays and self.failover.state in (FailoverState.DIALLING, FailoverState.BACKING_OFF):
            self.switch_to(0)

    # FileReaderOwner

    def bytes_read(self, reader: FileReader, offset: int, data: memoryview) -> None:
        """Note that the source delivers the right file."""
        if reader is self._reader and self.failover.state is FailoverState.DIALLING:
            self._source_started()
        self._file.bytes_read(reader.representation, offset, data)

    @property
    def may_change_kind(self) -> bool:
        """True if the stream may become one of another kind, because no player has got bytes."""
        return not self._file.has_served

    def media_known(self, media_type: str) -> None:
        """Note the media type of the file, by its first bytes."""
        self._file.media_known(media_type)

    def kind_found(self, reader: FileReader, error: KindMismatch, body: IResponseBody) -> None:
        """End the session, because the source sends another kind of stream. Keep its body for the other stream."""
        source, consumer = self._file.requests[self.failover.index], self._consumer
        self._reader = None
        self._opened_bodies.keep(source, body)
        self.close()
        if consumer is not None:
            consumer.sources_failed(error)

    def read_failed(self, reader: FileReader, error: SourceError) -> None:
        """End the file, fail over, or close a body that no response uses."""
        if reader is not self._reader:
            return
        if self._consumer is None:
            self._close_unused()
        elif error.reason is Reason.ENDED and reader.stop is None and reader.bytes_used:
            self._file_ended()
        else:
            self._source_failed(error, reader.ran, reader.bytes_used)

    # inside

    def _source_started(self) -> None:
        self._slot.viewer = None
        self.failover.started(self._clock.seconds())
        consumer = self._consumer
        if consumer is not None and consumer.representation is not None:
            self._file.source_confirmed(consumer.representation, consumer.url, self.failover.index)

    def _file_ended(self) -> None:
        consumer = self._consumer
        self.close()
        if consumer is not None:
            consumer.file_ended()

    def _close_unused(self) -> None:
        """Close a connection that no response uses."""
        self.close()
        self._linger_over()

    def _restart(self) -> None:
        """Dial for the consumer. The slot is kept, so that no other stream gets it between two ranges of a file."""
        self.failover.stop(self._clock.seconds())
        self._close_connection()
        self._slot.viewer = self._viewer
        self._carry_out(self.failover.start(self._clock.seconds()))

    def _carry_out(self, effect: Effect) -> None:
        if effect is None:
            return
        self._close_connection()
        if not isinstance(effect, Dial):
            self._slot.release()
        if isinstance(effect, Dial):
            self._dial(effect)
        elif isinstance(effect, Backoff):
            self._timer.set(effect.seconds, self._backoff_over)
        elif isinstance(effect, GiveUp):
            self._give_up(effect.error)

    def _give_up(self, error: SourceError) -> None:
        consumer, self._consumer = self._consumer, None
        log.info("stream {stream}: giving up after {url}: {error}", **self._place, error=error)
        if consumer is not None:
            consumer.sources_failed(error)

    def _close_connection(self) -> None:
        self._timer.cancel()
        dialling, self._dialling = self._dialling, None
        if dialling is not None:
            dialling.cancel()
        reader, self._reader = self._reader, None
        if reader is not None:
            self._previous_socket.closing(reader.close())

    def _backoff_over(self) -> None:
        self._carry_out(self.failover.backoff_over(self._clock.seconds()))

    @property
    def _place(self) -> dict[str, str]:
        """Stream id and source URL, for log lines."""
        return {"stream": self._file.id, "url": redact(self._file.requests[self.failover.index].url)}

    def _source_failed(self, error: SourceError, ran: float = 0.0, bytes_used: int = 0) -> None:
        tell = log.warn if self.failover.begins_outage(self._seconds_of_work(ran, bytes_used)) else log.info
        tell("stream {stream}: {url} failed: {error}", **self._place, error=error)
        left, now = self.failover.index, self._clock.seconds()
        consumer = self._consumer
        if consumer is not None and consumer.retry_differently(error):
            self._restart()
            return
        effect: Effect
        if error.status == 416:  # No source has the range.
            self.failover.stop(now)
            self._close_connection()
            effect = GiveUp(error)
        else:
            effect = self.failover.failed(now, error, self._seconds_of_work(ran, bytes_used))
        chosen = None if isinstance(effect, GiveUp) else self.failover.index
        self._file.source_failed(error, left, chosen, ran)
        self._carry_out(effect)

    @staticmethod
    def _seconds_of_work(ran: float, bytes_used: int) -> float:
        """Return the seconds for which a source has worked: files are sent faster than they are played."""
        return max(SETTLED_AFTER, ran) if bytes_used >= WORKING_BYTES else 0.0

    # dialling

    def _dial(self, step: Dial) -> None:
        dialling = Deferred.fromCoroutine(self._open(step))
        unexpected = "stream {stream}: dialling {url} failed unexpectedly"
        on_failure(dialling, self._dial_failed, log, unexpected, **self._place)
        if not dialling.called:
            self._dialling = dialling

    async def _open(self, step: Dial) -> None:
        source = self._file.requests[step.index]
        slot = await self._slot.acquire(source.account)
        await self._previous_socket.wait()
        opened = await self._take_opened(source)
        consumer = self._consumer
        if consumer is None:
            return
        request, wanted = request_for(consumer, source)
        body = opened
        if body is None:
            body = await self._dialler.dial(request, step.timeouts, slot)
        self._dialling = None
        try:
            self._opened(body, wanted, consumer, request.url, opened is not None, step)
        except Exception:
            self._previous_socket.closing(body.close())
            raise

    async def _take_opened(self, source: SourceRequest) -> IResponseBody | None:
        """Return the body of the whole file that another stream has opened. If another part is wanted, close it."""
        body, consumer = self._opened_bodies.take(source), self._consumer
        if body is None or (consumer is not None and request_for(consumer, source)[1] == WHOLE):
            return body  # in the same turn, so that cancelling the dial cannot lose the body
        await body.close()
        return None

    def _dial_failed(self, error: SourceError) -> None:
        self._dialling = None
        self._source_failed(error)

    def _opened(
        self,
        body: IResponseBody,
        wanted: ByteRange | None,
        consumer: RangeConsumer,
        url: str,
        is_plain: bool,
        step: Dial,
    ) -> None:
        log.info("stream {stream}: {url} opened", **self._place)
        if wanted is None:
            self._head_answered(body, consumer, url)
            return
        opened = opened_range(body, wanted, is_plain)
        if not consumer.started:
            consumer.file_known(opened.representation, url)
        else:
            check_continuation(opened, consumer, url)
        if consumer is not self._consumer:
            self._previous_socket.closing(body.close())
            return
        first_byte = step.first_byte if step.patient else 0.0
        reader = FileReader(self._clock, opened, consumer.representation, self._silence, self, first_byte, url)
        has_ranges = opened.representation.accepts_ranges
        if consumer.started or not has_ranges or reader.matches(consumer, consumer.representation):
            self._reader = reader
            reader.start(consumer)
        else:  # Now that the file is known, another range is needed than was requested.
            self._previous_socket.closing(body.close())
            self._restart()

    def _head_answered(self, body: IResponseBody, consumer: RangeConsumer, url: str) -> None:
        if body.content_type in PLAYLIST_TYPES and self.may_change_kind:
            self._previous_socket.closing(body.close())
            self.close()
            detail = f"the source is {BodyKind.PLAYLIST.value}"
            consumer.sources_failed(KindMismatch(Reason.OTHER_KIND, detail, kind=StreamKind.HLS, url=url))
            return
        representation = representation_from_head(body)
        self._previous_socket.closing(body.close())
        self.failover.stop(self._clock.seconds())
        consumer.file_known(representation, url)
