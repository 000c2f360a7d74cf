"""The work on large playlists, in steps between which the reactor does other work.

A short playlist is parsed and rewritten at once. A large one takes a step in each reactor turn
(:mod:`m3uproxy.core.hls.steps`). Only one large playlist is processed at a time, so that a turn is no longer than one
step. Requests for the same work share it. Large playlists are kept parsed for all streams, up to
:data:`MAX_KEPT_BYTES`.

A thread would not be better. It needs the same processor time, and each call of the reactor that releases the
interpreter lock, such as a ``send``, would wait five milliseconds to get it back.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from ..core.hls.playlist import Playlist, parse_steps
from ..core.hls.playlist_lines import NotAPlaylist, OversizedPlaylist
from ..core.hls.steps import Steps
from ..errors import Reason, SourceError
from ..log import make_logger

log = make_logger()

T = TypeVar("T")

#: Bytes up to which a playlist is parsed at once.
DIRECT_BYTES = 65_536
#: Steps that work on a short playlist may have; a short one may become large by its variables.
DIRECT_STEPS = 8
#: Bytes of the large playlists that are kept parsed. They take about fifteen times as much memory.
MAX_KEPT_BYTES = 8_388_608
#: Large playlists that may wait for their turn.
MAX_WAITING = 32


def playlist_error(why: NotAPlaylist) -> SourceError:
    """Return the error of a source whose playlist cannot be used."""
    reason = Reason.TOO_LARGE if isinstance(why, OversizedPlaylist) else Reason.NOT_VIDEO
    return SourceError(reason, f"the provider sent {why} where a playlist was expected")


class PlaylistWorker:
    """The worker of all streams."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._lock = DeferredLock()
        self._requests: dict[Hashable, list[Deferred[Any]]] = {}
        self._parsed: OrderedDict[bytes, Playlist] = OrderedDict()
        self._kept_bytes = 0
        self._pause: Deferred[None] | None = None
        self._stopped = False

    @property
    def is_busy(self) -> bool:
        """True while work waits for the next reactor turn."""
        return self._pause is not None

    async def parse(self, body: bytes) -> Playlist:
        """
        Parse a playlist. A large one that is known is not parsed again.

        :raises SourceError: ``NOT_VIDEO`` if the body is no playlist, ``TOO_LARGE`` if it exceeds a limit, ``FULL`` if
            too many large playlists wait.
        """
        playlist = self._parsed.get(body) if len(body) > DIRECT_BYTES else None
        if playlist is None:
            playlist = await self.run(parse_steps(body), len(body), body)
            if len(body) > DIRECT_BYTES:
                self._keep(body, playlist)
        else:
            self._parsed.move_to_end(body)
        return playlist

    async def run(self, steps: Steps[T], size: int, key: Hashable) -> T:
        """
        Carry out work on a playlist: at once if it is little, else in steps.

        :param size: bytes of the playlist.
        :param key: identifies the work. While a large playlist is processed, the same work is not begun again.
        :raises SourceError: see :meth:`parse`.
        """
        if size > DIRECT_BYTES:
            shared: T = await self._share(steps, key)
            return shared
        try:
            for _ in range(DIRECT_STEPS):
                next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        except NotAPlaylist as why:
            raise playlist_error(why) from None
        return await self._run_in_turns(steps)

    def stop(self) -> None:
        """Fail all work, for good."""
        self._stopped = True
        self._parsed.clear()
        if self._pause is not None:
            self._pause.cancel()

    def _share(self, steps: Steps[T], key: Hashable) -> Deferred[T]:
        """Return a Deferred for the result. It may be cancelled; the work goes on for the other requests."""
        request: Deferred[T] = Deferred(lambda request: self._requests[key].remove(request))
        if key in self._requests:
            self._requests[key].append(request)
            return request
        self._requests[key] = [request]
        work = Deferred.fromCoroutine(self._run_in_turns(steps))
        work.addBoth(self._finished, key)
        work.addErrback(lambda failure: log.failure("telling the result of a playlist failed", failure=failure))
        return request

    def _finished(self, result: object, key: Hashable) -> None:
        if isinstance(result, Failure) and not result.check(SourceError):
            log.failure("processing a playlist failed", failure=result)
        for request in self._requests.pop(key):
            request.callback(Failure(result.value) if isinstance(result, Failure) else result)

    async def _run_in_turns(self, steps: Steps[T]) -> T:
        """Carry out one step in each reactor turn, when all earlier work is done."""
        if len(self._lock.waiting) >= MAX_WAITING:
            raise SourceError(Reason.FULL, f"limit reached: {MAX_WAITING} large playlists wait")
        await self._lock.acquire()
        try:
            while True:
                await self._next_turn()
                next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        except NotAPlaylist as why:
            raise playlist_error(why) from None
        finally:
            steps.close()
            self._lock.release()

    async def _next_turn(self) -> None:
        if self._stopped:
            raise SourceError(Reason.STOPPING)
        self._pause = Deferred()
        timer = self._clock.callLater(0, self._pause.callback, None)
        try:
            await self._pause
        except CancelledError:
            timer.cancel()
            if self._stopped:
                raise SourceError(Reason.STOPPING) from None
            raise
        finally:
            self._pause = None

    def _keep(self, body: bytes, playlist: Playlist) -> None:
        """Keep a playlist, and drop those that were used longest ago."""
        if body not in self._parsed:
            self._parsed[body] = playlist
            self._kept_bytes += len(body)
        while self._kept_bytes > MAX_KEPT_BYTES and len(self._parsed) > 1:
            oldest, _ = self._parsed.popitem(last=False)
            self._kept_bytes -= len(oldest)
