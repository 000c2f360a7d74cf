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
from ...core.hls.playlist_continuity import STALE
from ...core.hls.segment_follower import BURST, KEPT, SegmentFollower, check_joinable
from ...core.http.redact import redact
from ...errors import Reason, SourceError
from ...interfaces import IBodyConsumer, IDiscontinuityConsumer, IResponseBody
from ...log import make_logger
from ..served_playlist import ParsedPlaylist
from .joined_source import JoinedSource
from .segment_pacer import SegmentPacer

log = make_logger()
T = TypeVar("T")

#: Bytes that may wait for the consumer.
ROOM = 1 << 20
#: Segments that may fail one after another until the source counts as failed.
BAD_SEGMENTS = 2
#: How much faster than it plays a segment is handed on when we are too far behind.
HASTE = 1.25
#: Segments by which we may be behind, in target durations.
_BEHIND = 2.5
#: Seconds by which a segment may be late and is still handed on as if it had come in time: what asking takes, or else
#: players would lose that much with each segment.
LATE = 1.0
#: Seconds between two looks at a playlist, at least and at most.
_SOONEST, _LATEST = 0.25, 6.0
#: Seconds that a playlist is waited for while there is a segment to take.
PROMPT = 1.0


def too_late(result: object, timeout: float) -> NoReturn:
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
        self._kept: list[bytes] = []
        self._size = 0
        self._paused = self._closed = False
        self._awaited: Deferred[Any] | None = None
        self._bad = 0
        self._played = 0.0
        self._due = math.inf
        self._rate = 0.0
        self._newest = (-1, clock.seconds())

    # IOpenBody

    def header(self, name: str) -> str:
        """There are none of all segments together."""
        return ""

    def deliver(self, consumer: IBodyConsumer) -> None:
        """Begin with the first segment."""
        self._consumer = consumer
        working = Deferred.fromCoroutine(self._work())
        working.addErrback(self._over)
        working.addErrback(lambda failure: log.failure("ending a body failed", failure=failure))

    def pause(self) -> None:
        """Hand on no more, but by :meth:`read`."""
        self._paused = True

    def resume(self) -> None:
        """Hand on what comes when it comes."""
        self._paused = False
        self._hand_on()

    def read(self, hand_on: bool) -> int:
        """Hand on what came since."""
        return self._hand_on()

    def room(self) -> int:
        """What is kept for a consumer that does not read."""
        return ROOM

    def close(self) -> Deferred[None]:
        """Fetch no more; what is under way for others goes on."""
        if not self._closed:
            self._closed = True
            self._kept.clear()
            if self._awaited is not None:
                self._awaited.cancel()
        return succeed(None)

    # from segment to segment

    async def _work(self) -> None:
        while not self._closed:
            await self._renew()
            segment = self._follower.next(self._playlist.playlist)
            if segment is not None:
                await self._take(segment)
            elif self._playlist.playlist.ended:
                raise SourceError(Reason.ENDED, "the playlist has ended")
            else:
                self._check_fresh()
                half = self._playlist.playlist.target_duration / 2
                await self._wait(deferLater(self._clock, min(_LATEST, max(_SOONEST, half)), lambda: None))
        raise SourceError(Reason.ENDED, "closed by us")

    async def _renew(self) -> None:
        """The playlist as it is now. One that does not come is missed when there is nothing left to take."""
        known = self._playlist.playlist
        renewal = Deferred.fromCoroutine(self._source.media(known.target_duration / 2))
        if self._follower.next(known) is not None:
            renewal.addTimeout(PROMPT, self._clock, onTimeoutCancel=too_late)
        try:
            playlist = await self._wait(renewal)
        except SourceError:
            if self._closed or self._follower.next(known) is None:
                raise
            return
        if playlist is not self._playlist and not playlist.playlist.ended:
            check_joinable(playlist.playlist)
        self._playlist = playlist
        newest = playlist.playlist.sequence + len(playlist.playlist.segments)
        if newest != self._newest[0]:
            self._newest = (newest, self._clock.seconds())

    def _check_fresh(self) -> None:
        """
        See whether the playlist still grows.

        :raises SourceError: if it does not.
        """
        playlist = self._playlist.playlist
        silent = self._clock.seconds() - self._newest[1]
        if silent > STALE * playlist.target_duration:
            raise SourceError(Reason.STALLED, f"no new segment for {silent:.0f} s")

    async def _take(self, segment: MediaSegment) -> None:
        """One segment. One that cannot be had is an accident; the next one as well is the source's fault."""
        hurry = self._seconds_for(segment)
        self._follower.tried(segment)
        try:
            await self._pour(segment, hurry)
        except SourceError as error:
            self._bad += 1
            if self._closed or self._bad >= BAD_SEGMENTS:
                raise
            log.warn("a segment of {url} is left out: {error}", url=redact(self._source.request.url), error=error)
        else:
            self._bad = 0

    def _seconds_for(self, segment: MediaSegment) -> float:
        """As long as it plays, or less if we are far behind; the first go at once, if enough is kept back."""
        behind = self._follower.behind(self._playlist.playlist)
        if len(behind) >= (KEPT if self._played else 1) and self._played < BURST:
            return 0.0
        far = sum(map(self._lasts, behind)) > _BEHIND * self._playlist.playlist.target_duration
        return self._lasts(segment) / HASTE if far else self._lasts(segment)

    def _lasts(self, segment: MediaSegment) -> float:
        """Seconds."""
        return segment.duration or self._playlist.playlist.target_duration

    async def _pour(self, segment: MediaSegment, seconds: float) -> None:
        resource, decryption = await self._wait(self._source.segment(self._playlist, segment))
        if not self._follower.continues(segment):
            self._change()
        self._follower.took(segment)
        self._played += self._lasts(segment)
        now = self._clock.seconds()
        began = min(now, max(self._due, now - LATE))
        self._due = began + seconds
        pour = SegmentPacer(
            self._clock, began, seconds, round(self._rate * self._lasts(segment)), self._has_room, self._put
        )
        try:
            await self._wait(pour.start(resource, decryption))
        except SourceError:
            self._follower.tore()
            raise
        self._rate = pour.given / self._lasts(segment)

    async def _wait(self, what: Deferred[T] | Awaitable[T]) -> T:
        """Wait for one thing, which :meth:`close` ends."""
        waiting = what if isinstance(what, Deferred) else Deferred.fromCoroutine(what)  # type: ignore[arg-type]
        self._awaited = waiting
        if self._closed:
            waiting.cancel()
        try:
            return await waiting
        except CancelledError:
            raise SourceError(Reason.ENDED, "closed by us") from None
        finally:
            self._awaited = None

    # to the consumer

    def _has_room(self) -> bool:
        return self._size < ROOM

    def _put(self, data: bytes) -> None:
        if self._closed:
            return
        self._kept.append(data)
        self._size += len(data)
        if not self._paused:
            self._hand_on()

    def _hand_on(self) -> int:
        """An exception of the consumer's ends the body."""
        if not self._kept or self._consumer is None or self._closed:
            return 0
        data, self._kept, self._size = b"".join(self._kept), [], 0
        try:
            self._consumer.body_received(data)
        except Exception:
            log.failure("taking a body failed")
            self.close()
        return len(data)

    def _change(self) -> None:
        """What follows does not continue what was handed on."""
        self._hand_on()
        if IDiscontinuityConsumer.providedBy(self._consumer) and not self._closed:
            self._consumer.body_changed()

    def _over(self, failure: Failure) -> None:
        error = failure.value
        if not isinstance(error, SourceError):
            log.failure("joining segments failed", failure=failure)
            error = SourceError(Reason.INTERNAL, type(error).__name__)
        self._hand_on()
        self._closed = True
        assert self._consumer is not None
        self._consumer.body_ended(error)
