"""The segments of one HLS source, one behind the other, as the body of a live transport stream.

To a session it is a source like any other: it is dialled, read, watched and left. What differs is where its bytes come
from, which is where players of the playlist get theirs: each segment is fetched once for all.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable
from typing import Any, NoReturn, TypeVar

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from zope.interface import implementer

from ...core.hls.media_segments import MediaSegment
from ...core.hls.playlist_continuity import STALL_TARGET_DURATIONS
from ...core.hls.segment_follower import BURST_SECONDS, RESERVE_SEGMENTS, SegmentFollower, check_joinable
from ...core.http.redact import redact
from ...errors import Reason, SourceError
from ...interfaces import IBodyConsumer, IDiscontinuityConsumer, IResponseBody
from ...log import make_logger
from ...upstream.twisted_errors import source_error
from ..served_playlist import ParsedPlaylist
from .joined_source import JoinedSource
from .segment_pacer import SegmentPacer

log = make_logger()
T = TypeVar("T")

#: Bytes that may wait for the consumer.
BUFFER_BYTES = 1 << 20
#: Segments that may fail one after another until the source counts as failed.
MAX_FAILED_SEGMENTS = 2
#: How much faster than it plays a segment is handed on when we are too far behind.
CATCH_UP_SPEED = 1.25
#: Segments by which we may be behind, in target durations.
_MAX_LAG = 2.5
#: Seconds by which a segment may be late and is still handed on as if it had come in time: what asking takes, or else
#: players would lose that much with each segment.
LATENESS_TOLERANCE = 1.0
#: Seconds between two looks at a playlist, at least and at most.
_MIN_RELOAD_INTERVAL, _MAX_RELOAD_INTERVAL = 0.25, 6.0
#: Seconds that a playlist is waited for while there is a segment to take.
RELOAD_TIMEOUT = 1.0


def raise_playlist_timeout(result: object, timeout: float) -> NoReturn:
    """What becomes of waiting for a playlist, when its time is over."""
    raise SourceError(Reason.FIRST_BYTE_TIMEOUT, f"no playlist after {timeout:.1f} s")


@implementer(IResponseBody)
class JoinedBody:
    """A live source whose media playlist has come."""

    status = 200
    content_type = "video/mp2t"
    length: int | None = None
    encoded = False

    def __init__(self, clock: Any, source: JoinedSource, playlist: ParsedPlaylist) -> None:
        """
        Wait for a consumer.

        :param playlist: of the source, checked to be joinable.
        """
        self.final_url = playlist.url
        self._clock = clock
        self._source = source
        self._playlist = playlist
        self._follower = SegmentFollower()
        self._consumer: IBodyConsumer | None = None
        self._buffer: list[bytes] = []
        self._buffered = 0
        self._paused = self._closed = False
        self._waiting: Deferred[Any] | None = None
        self._failures = 0
        self._seconds_delivered = 0.0
        self._next_start = math.inf
        self._bytes_per_second = 0.0
        self._last_growth = (-1, clock.seconds())

    # IOpenBody

    def header(self, name: str) -> str:
        """There are none of all segments together."""
        return ""

    def deliver(self, consumer: IBodyConsumer) -> None:
        """Begin with the first segment."""
        self._consumer = consumer
        delivery = Deferred.fromCoroutine(self._deliver_segments())
        delivery.addErrback(self._delivery_ended)
        delivery.addErrback(lambda failure: log.failure("ending a body failed", failure=failure))

    def pause(self) -> None:
        """Hand on no more, but by :meth:`read`."""
        self._paused = True

    def resume(self) -> None:
        """Hand on what comes when it comes."""
        self._paused = False
        self._flush()

    def read(self, hand_on: bool) -> int:
        """Hand on what came since."""
        return self._flush()

    def room(self) -> int:
        """What is kept for a consumer that does not read."""
        return BUFFER_BYTES

    def close(self) -> Deferred[None]:
        """Fetch no more; what is under way for others goes on."""
        if not self._closed:
            self._closed = True
            self._buffer.clear()
            if self._waiting is not None:
                self._waiting.cancel()
        return succeed(None)

    # from segment to segment

    async def _deliver_segments(self) -> None:
        while not self._closed:
            await self._reload_playlist()
            segment = self._follower.next_segment(self._playlist.playlist)
            if segment is not None:
                await self._deliver_or_skip(segment)
            elif self._playlist.playlist.ended:
                raise SourceError(Reason.ENDED, "the playlist has ended")
            else:
                self._check_stall()
                half = self._playlist.playlist.target_duration / 2
                interval = min(_MAX_RELOAD_INTERVAL, max(_MIN_RELOAD_INTERVAL, half))
                await self._wait(deferLater(self._clock, interval, lambda: None))
        raise SourceError(Reason.ENDED, "closed by us")

    async def _reload_playlist(self) -> None:
        """The playlist as it is now. One that does not come is missed when there is nothing left to take."""
        current = self._playlist.playlist
        renewal = Deferred.fromCoroutine(self._source.media_playlist(current.target_duration / 2))
        if self._follower.next_segment(current) is not None:
            renewal.addTimeout(RELOAD_TIMEOUT, self._clock, onTimeoutCancel=raise_playlist_timeout)
        try:
            playlist = await self._wait(renewal)
        except SourceError:
            if self._closed or self._follower.next_segment(current) is None:
                raise
            return
        if playlist is not self._playlist and not playlist.playlist.ended:
            check_joinable(playlist.playlist)
        self._playlist = playlist
        end = playlist.playlist.sequence + len(playlist.playlist.segments)
        if end != self._last_growth[0]:
            self._last_growth = (end, self._clock.seconds())

    def _check_stall(self) -> None:
        """
        See whether the playlist still grows.

        :raises SourceError: if it does not.
        """
        playlist = self._playlist.playlist
        silence = self._clock.seconds() - self._last_growth[1]
        if silence > STALL_TARGET_DURATIONS * playlist.target_duration:
            raise SourceError(Reason.STALLED, f"no new segment for {silence:.0f} s")

    async def _deliver_or_skip(self, segment: MediaSegment) -> None:
        """One segment. One that cannot be had is an accident; the next one as well is the source's fault."""
        seconds = self._pacing_seconds(segment)
        self._follower.advance(segment)
        try:
            await self._deliver_segment(segment, seconds)
        except SourceError as error:
            self._failures += 1
            if self._closed or self._failures >= MAX_FAILED_SEGMENTS:
                raise
            log.warn("a segment of {url} is left out: {error}", url=redact(self._source.request.url), error=error)
        else:
            self._failures = 0

    def _pacing_seconds(self, segment: MediaSegment) -> float:
        """As long as it plays, or less if we are far behind; the first go at once, if enough is kept back."""
        upcoming = self._follower.segments_after_next(self._playlist.playlist)
        reserve = RESERVE_SEGMENTS if self._seconds_delivered else 1
        if len(upcoming) >= reserve and self._seconds_delivered < BURST_SECONDS:
            return 0.0
        lags = sum(map(self._duration, upcoming)) > _MAX_LAG * self._playlist.playlist.target_duration
        return self._duration(segment) / CATCH_UP_SPEED if lags else self._duration(segment)

    def _duration(self, segment: MediaSegment) -> float:
        """Seconds."""
        return segment.duration or self._playlist.playlist.target_duration

    async def _deliver_segment(self, segment: MediaSegment, seconds: float) -> None:
        resource, decryptor = await self._wait(self._source.open_segment(self._playlist, segment))
        if not self._follower.continues(segment):
            self._signal_discontinuity()
        self._follower.segment_started(segment)
        self._seconds_delivered += self._duration(segment)
        now = self._clock.seconds()
        start = min(now, max(self._next_start, now - LATENESS_TOLERANCE))
        self._next_start = start + seconds
        expected_bytes = round(self._bytes_per_second * self._duration(segment))
        pacer = SegmentPacer(self._clock, start, seconds, expected_bytes, self._has_room, self._write)
        try:
            await self._wait(pacer.start(resource, decryptor))
        except SourceError:
            self._follower.segment_interrupted()
            raise
        self._bytes_per_second = pacer.bytes_written / self._duration(segment)

    async def _wait(self, awaitable: Deferred[T] | Awaitable[T]) -> T:
        """Wait for one thing, which :meth:`close` ends."""
        waiting = awaitable if isinstance(awaitable, Deferred) else Deferred.fromCoroutine(awaitable)  # type: ignore[arg-type]
        self._waiting = waiting
        if self._closed:
            waiting.cancel()
        try:
            return await waiting
        except CancelledError:
            raise SourceError(Reason.ENDED, "closed by us") from None
        finally:
            self._waiting = None

    # to the consumer

    def _has_room(self) -> bool:
        return self._buffered < BUFFER_BYTES

    def _write(self, data: bytes) -> None:
        if self._closed:
            return
        self._buffer.append(data)
        self._buffered += len(data)
        if not self._paused:
            self._flush()

    def _flush(self) -> int:
        """An exception of the consumer's ends the body."""
        if not self._buffer or self._consumer is None or self._closed:
            return 0
        data, self._buffer, self._buffered = b"".join(self._buffer), [], 0
        try:
            self._consumer.body_received(data)
        except Exception:
            log.failure("taking a body failed")
            self.close()
        return len(data)

    def _signal_discontinuity(self) -> None:
        """What follows does not continue what was handed on."""
        self._flush()
        if IDiscontinuityConsumer.providedBy(self._consumer) and not self._closed:
            self._consumer.body_changed()

    def _delivery_ended(self, failure: Failure) -> None:
        error = source_error(failure, log, "joining segments failed")
        self._flush()
        self._closed = True
        assert self._consumer is not None
        self._consumer.body_ended(error)
