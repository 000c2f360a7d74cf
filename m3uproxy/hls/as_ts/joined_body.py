"""Joined body: the segments of one HLS source, joined into the body of a live transport stream.

A session handles the body like that of any other source: it is dialled, read, monitored and closed. The data comes from
the same cache as for players of the playlist, so each segment is fetched once for all.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable
from typing import Any, NoReturn, TypeVar

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from zope.interface import implementer

from ...core.failover.causes import is_own_fault
from ...core.hls.media_segments import MediaSegment
from ...core.hls.playlist import Playlist
from ...core.hls.playlist_continuity import STALL_TARGET_DURATIONS
from ...core.hls.playlist_progress import PlaylistProgress, newest
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

#: Size of the buffer for the consumer in bytes.
BUFFER_BYTES = 1 << 20
#: Consecutive failed segments after which the source fails.
MAX_FAILED_SEGMENTS = 2
#: Delivery speed relative to real time when the position lags too far behind the end of the playlist.
CATCH_UP_SPEED = 1.25
#: Largest lag behind the end of the playlist, in target durations.
_MAX_LAG = 2.5
#: Seconds of lateness that pacing makes up for. A request takes some time; without the tolerance players would lose
#: this time with each segment.
LATENESS_TOLERANCE = 1.0
#: Minimum and maximum of the reload interval in seconds.
_MIN_RELOAD_INTERVAL, _MAX_RELOAD_INTERVAL = 0.25, 6.0
#: Timeout of a reload in seconds while a listed segment remains.
RELOAD_TIMEOUT = 1.0


def raise_playlist_timeout(result: object, timeout: float) -> NoReturn:
    """
    Raise the error of a playlist timeout; a callback for :meth:`Deferred.addTimeout`.

    :param timeout: seconds.
    """
    raise SourceError(Reason.FIRST_BYTE_TIMEOUT, f"no playlist after {timeout:.1f} s")


@implementer(IResponseBody)
class JoinedBody:
    """The body of a live HLS source whose media playlist was fetched."""

    status = 200
    content_type = "video/mp2t"
    joined = True
    public = False
    length: int | None = None
    encoded = False

    def __init__(self, clock: Any, source: JoinedSource, playlist: ParsedPlaylist) -> None:
        """
        Prepare to deliver.

        :param playlist: media playlist of the source, already checked by
            :func:`m3uproxy.core.hls.segment_follower.check_joinable`.
        """
        self.final_url = playlist.url
        self._clock = clock
        self._source = source
        self._playlist = playlist
        self._follower = SegmentFollower()
        self._consumer: IBodyConsumer | None = None
        self._buffer: list[bytes] = []
        self._buffered = 0
        self._paused = self._closed = self._delivered = False
        self._waiting: Deferred[Any] | None = None
        self._failures = 0
        self._seconds_delivered = 0.0
        self._next_start = math.inf
        self._bytes_per_second = 0.0
        self._end: int | None = None
        self._growth = PlaylistProgress(clock.seconds())
        self._loaded_at: float = clock.seconds()
        self._note_growth(playlist.playlist)

    # IResponseBody

    @property
    def expected_pause(self) -> float:
        """The target duration if the playlist is too short for a reserve: the next segment may come late. Else 0."""
        playlist = self._playlist.playlist
        return playlist.target_duration if len(playlist.segments) <= RESERVE_SEGMENTS else 0.0

    def header(self, name: str) -> str:
        """Return an empty string: segments have no common response headers."""
        return ""

    def deliver(self, consumer: IBodyConsumer) -> None:
        """Start with the first segment."""
        was_delivered, self._consumer = self._delivered, consumer
        if was_delivered:
            self.resume()
            return
        self._delivered = True
        delivery = Deferred.fromCoroutine(self._deliver_segments())
        delivery.addErrback(self._delivery_ended)
        url = redact(self._source.request.url)
        delivery.addErrback(lambda failure: log.failure("ending the body of {url} failed", failure=failure, url=url))

    def withdraw(self, start: bytes) -> None:
        """See :meth:`m3uproxy.interfaces.IResponseBody.withdraw`."""
        self._consumer, self._paused = None, True
        self._buffer.insert(0, start)
        self._buffered += len(start)

    def pause(self) -> None:
        """Buffer data until :meth:`resume` or :meth:`read`."""
        self._paused = True

    def resume(self) -> None:
        """Deliver buffered data, and new data as it arrives."""
        self._paused = False
        self._flush()

    def read(self, deliver: bool) -> int:
        """Deliver buffered data. Return the number of bytes."""
        return self._flush()

    def receive_window(self) -> int:
        """Return the size in bytes of the buffer for a paused consumer."""
        return BUFFER_BYTES

    def close(self) -> Deferred[None]:
        """Stop fetching. Downloads that other readers share continue."""
        if not self._closed:
            self._closed = True
            self._buffer.clear()
            if self._waiting is not None:
                self._waiting.cancel()
        return succeed(None)

    # playlist and segments

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
        raise SourceError(Reason.UNUSED, "closed by us")

    async def _reload_playlist(self) -> None:
        """
        Fetch the playlist again, unless it is young.

        While a listed segment remains, the reload has a short timeout and may fail.
        """
        current = self._playlist.playlist
        age = self._clock.seconds() - self._loaded_at
        if age < current.target_duration / 2 and self._follower.next_segment(current) is not None:
            return
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
        self._playlist, self._loaded_at = playlist, self._clock.seconds()
        self._note_growth(playlist.playlist)

    def _note_growth(self, playlist: Playlist) -> None:
        end = playlist.sequence + len(playlist.segments)
        before, self._end = self._end, end
        now = self._clock.seconds()
        if before is None or end < before:
            self._growth.restart(now)
        elif end > before:
            self._growth.added(newest(playlist.segments, end - before), playlist.target_duration, now)

    def _check_stall(self) -> None:
        """
        Check the time since the playlist grew, less what it listed ahead of real time.

        :raises SourceError: ``STALLED`` after :data:`STALL_TARGET_DURATIONS` target durations.
        """
        playlist = self._playlist.playlist
        silence = self._growth.silence(self._clock.seconds())
        if silence > STALL_TARGET_DURATIONS * playlist.target_duration:
            raise SourceError(Reason.STALLED, f"no new segment for {silence:.0f} s")

    async def _deliver_or_skip(self, segment: MediaSegment) -> None:
        """
        Deliver a segment, or skip it if it fails.

        If :data:`MAX_FAILED_SEGMENTS` segments fail in a row, the source fails. A failure that is no fault of the
        source ends the body at once. When it is opened again, it repeats the last segments, and nothing is lost.
        """
        seconds = self._pacing_seconds(segment)
        self._follower.advance(segment)
        try:
            await self._deliver_segment(segment, seconds)
        except SourceError as error:
            self._failures += 1
            if self._closed or is_own_fault(error) or self._failures >= MAX_FAILED_SEGMENTS:
                raise
            log.warn("segment of {url} skipped: {error}", url=redact(self._source.request.url), error=error)
        else:
            self._failures = 0

    def _pacing_seconds(self, segment: MediaSegment) -> float:
        """
        Return the seconds over which to deliver a segment.

        Normally this is the segment's duration. At the start, segments are delivered at once if the reserve is listed.
        If the position lags too far behind the end of the playlist, delivery is faster.
        """
        upcoming = self._follower.segments_after_next(self._playlist.playlist)
        reserve = RESERVE_SEGMENTS if self._seconds_delivered else 1
        if len(upcoming) >= reserve and self._seconds_delivered < BURST_SECONDS:
            return 0.0
        lags = sum(map(self._duration, upcoming)) > _MAX_LAG * self._playlist.playlist.target_duration
        return self._duration(segment) / CATCH_UP_SPEED if lags else self._duration(segment)

    def _duration(self, segment: MediaSegment) -> float:
        """Return the segment's duration in seconds; without EXTINF the target duration."""
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
        """Wait for a result. :meth:`close` cancels the wait."""
        waiting = awaitable if isinstance(awaitable, Deferred) else Deferred.fromCoroutine(awaitable)  # type: ignore[arg-type]
        self._waiting = waiting
        if self._closed:
            waiting.cancel()
        try:
            return await waiting
        except CancelledError:
            raise SourceError(Reason.UNUSED, "closed by us") from None
        finally:
            self._waiting = None

    # buffer and consumer

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
        """Deliver the buffer to the consumer. If the consumer raises an exception, close the body."""
        if not self._buffer or self._consumer is None or self._closed:
            return 0
        data, self._buffer, self._buffered = b"".join(self._buffer), [], 0
        try:
            self._consumer.body_received(data)
        except Exception:
            log.failure("consumer of {url} failed, body closed", url=redact(self._source.request.url))
            self.close()
        return len(data)

    def _signal_discontinuity(self) -> None:
        """Tell the consumer that the next data does not continue the previous data."""
        self._flush()
        if IDiscontinuityConsumer.providedBy(self._consumer) and not self._closed:
            self._consumer.discontinuity()

    def _delivery_ended(self, failure: Failure) -> None:
        url = redact(self._source.request.url)
        error = source_error(failure, log, "joining the segments of {url} failed", url=url)
        self._flush()
        self._closed = True
        assert self._consumer is not None
        self._consumer.body_ended(error)
