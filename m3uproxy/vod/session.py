"""A player's one connection to its provider: from which source, from which byte on, and for which of its responses.

A line has at most one of: a dial under way, a body, a rest between dials. It serves at most one *asker*, a response
to the player; another takes its place by asking. If the body stands where the asker reads on, or a little before, it
is used further; otherwise it is closed, and a new one is dialled at the right place when its socket is gone. So
whatever a player asks for, in whatever order, the provider sees one connection.

When a body breaks or stalls, the next one must be the same file. It is asked for from a little before the place,
under ``If-Range``; it must not contradict the file in its length and, under the same URL, in ETag and date; and the
bytes before the place must repeat what the player was sent last. Which source is dialled, and when to stop,
:mod:`m3uproxy.core.failover.machine` decides. When all sources refuse with 4xx, none is asked twice.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from ..core.failover.machine import SETTLED_AFTER, Backoff, Dial, Effect, FailoverMachine, FailoverState, GiveUp
from ..core.http.byte_ranges import ByteRange
from ..core.http.redact import redact
from ..core.http.representation import Representation
from ..core.http.source_request import DialTimeouts, SourceRequest
from ..errors import Reason, SourceError
from ..interfaces import IDialler, IResponseBody
from ..log import make_logger
from ..timers import Timer
from ..upstream.previous_socket import PreviousSocket
from ..upstream.slots import StreamSlot
from ..upstream.twisted_errors import on_failure
from .file_reader import FileReader
from .interfaces import RangeConsumer, VodFile
from .range_request import check_same, described, opened, request_for

log = make_logger()

#: Seconds for which a body is kept, paused, when a response is complete and the player may ask for what follows.
LINGER = 5.0
#: Bytes after which a source that breaks is one that works: files are sent faster than they are played.
ENOUGH = 262_144


class VodSession:
    """See the module's text."""

    def __init__(
        self,
        clock: IReactorTime,
        dialler: IDialler,
        film: VodFile,
        failover: FailoverMachine,
        admission: StreamSlot,
        silence: float,
        idle: Callable[[], None],
    ) -> None:
        """
        Make a line that is closed.

        :param admission: asked before each dial; ``viewer`` is whose line it is.
        :param failover: knows the sources, and why the last one failed.
        :param silence: see :class:`.feed.FileReader`.
        :param idle: called when nothing is open any more, and nobody asked for that.
        """
        self._clock = clock
        self._dialler = dialler
        self._film = film
        self.failover = failover
        self._admission = admission
        self._viewer = admission.viewer
        self._limit = silence
        self._idle = idle
        self._asker: RangeConsumer | None = None
        self._dialling: Deferred[None] | None = None
        self._feed: FileReader | None = None
        self._goodbye = PreviousSocket(clock)
        self._alarm = Timer(clock)
        self._refused: set[int] = set()

    @property
    def open(self) -> bool:
        """Whether there is a connection, or will be."""
        return self.failover.state is not FailoverState.IDLE

    @property
    def edition(self) -> Representation | None:
        """The file that it is connected to; None if it is not, or that is not known yet."""
        return self._feed.edition if self._feed is not None and self.failover.state is FailoverState.STREAMING else None

    def serve(self, asker: RangeConsumer) -> None:
        """``asker`` wants bytes. Whoever was served before is not any more."""
        other = asker is not self._asker
        self._asker = asker
        if self._feed is not None and (not other or self._feed.suits(asker, asker.edition)):
            self._alarm.cancel()
            self._feed.serve(asker)
        elif other or not self.open:
            self._restart()

    def let_go(self, asker: RangeConsumer, linger: bool) -> None:
        """``asker`` needs nothing more.

        :param linger: keep the body for a while, for who asks next.
        """
        if asker is not self._asker:
            return
        if linger and self._feed is not None:
            self._asker = None
            self._alarm.set(LINGER, self._expire)
            self._feed.serve(None)
        else:
            self.close()

    def close(self) -> Deferred[None]:
        """End whatever is under way.

        :return: a Deferred that fires when the socket is gone.
        """
        self._asker = None
        self.failover.stop(self._clock.seconds())
        self._drop()
        self._admission.leave()
        return self._goodbye.said()

    def switch(self, index: int) -> None:
        """Move to another source, at once if one is in use."""
        if self.open and self._asker is None:
            self._expire()
        self._refused.clear()
        self._carry_out(self.failover.switched(self._clock.seconds(), index))

    def replace_sources(self, requests: tuple[SourceRequest, ...]) -> None:
        """The film has other sources. What is flowing goes on."""
        self._refused.clear()
        stays = self.failover.sources.replace([request.url for request in requests])
        if not stays and self.failover.state in (FailoverState.DIALLING, FailoverState.BACKING_OFF):
            self.switch(0)

    # the feed's owner

    def passing(self, feed: FileReader, offset: int, data: memoryview) -> None:
        """The source delivers what it should."""
        if feed is self._feed and self.failover.state is FailoverState.DIALLING:
            self._refused.clear()
            self._admission.viewer = None
            self.failover.started(self._clock.seconds())
            if self._asker is not None and self._asker.edition is not None:
                self._film.confirmed(self._asker.edition, self._asker.url, self.failover.index)
        self._film.passed(feed.edition, offset, data)

    def broke(self, feed: FileReader, error: SourceError) -> None:
        """No more comes from this body."""
        if feed is not self._feed:
            return
        if self._asker is None:
            self._expire()
        elif error.reason is Reason.ENDED and feed.stop is None and feed.passed:
            self._complete()
        else:
            self._failed(error, feed.ran, feed.passed)

    # inside

    def _complete(self) -> None:
        asker = self._asker
        self.close()
        if asker is not None:
            asker.complete()

    def _expire(self) -> None:
        """Nobody asked for what follows."""
        self.close()
        self._idle()

    def _restart(self) -> None:
        """Open a body for the asker. Its slot stays: nobody else is to have it between two parts of a film."""
        self._refused.clear()
        self.failover.stop(self._clock.seconds())
        self._drop()
        self._admission.viewer = self._viewer
        self._carry_out(self.failover.start(self._clock.seconds()))

    def _carry_out(self, effect: Effect) -> None:
        if effect is None:
            return
        self._drop()
        if not isinstance(effect, Dial):
            self._admission.leave()
        if isinstance(effect, Dial):
            self._dial(effect)
        elif isinstance(effect, Backoff):
            self._alarm.set(effect.seconds, self._rested)
        elif isinstance(effect, GiveUp):
            self._give_up(effect.error)

    def _give_up(self, error: SourceError) -> None:
        asker, self._asker = self._asker, None
        log.warn("giving up on {url}: {error}", url=self._label(), error=error)
        if asker is not None:
            asker.failed(error)

    def _drop(self) -> None:
        self._alarm.cancel()
        dialling, self._dialling = self._dialling, None
        if dialling is not None:
            dialling.cancel()
        feed, self._feed = self._feed, None
        if feed is not None:
            self._goodbye.to(feed.close())

    def _rested(self) -> None:
        self._carry_out(self.failover.backoff_over(self._clock.seconds()))

    def _label(self) -> str:
        return redact(self._film.requests[self.failover.index].url)

    def _failed(self, error: SourceError, ran: float = 0.0, passed: int = 0) -> None:
        log.warn("{url} failed: {error}", url=self._label(), error=error)
        left, now = self.failover.index, self._clock.seconds()
        asker = self._asker
        if asker is not None and asker.try_otherwise(error):
            self._restart()
            return
        effect: Effect
        if self._is_final(error, left):
            self.failover.stop(now)
            self._drop()
            effect = GiveUp(error)
        else:
            effect = self.failover.failed(now, error, max(SETTLED_AFTER, ran) if passed >= ENOUGH else 0.0)
        chosen = None if isinstance(effect, GiveUp) else self.failover.index
        self._film.source_failed(error, left, chosen, ran)
        self._carry_out(effect)

    def _is_final(self, error: SourceError, index: int) -> bool:
        """Whether no source will answer otherwise: a range that is none, or 4xx from each."""
        if error.reason is Reason.BAD_STATUS and error.status is not None and 400 <= error.status < 500:
            self._refused.add(index)
            return error.status == 416 or len(self._refused) >= len(self._film.requests)
        return False

    # dialling

    def _dial(self, step: Dial) -> None:
        dialling = Deferred.fromCoroutine(self._open(step))
        on_failure(dialling, self._dial_failed, log, "dialling {url} failed unexpectedly", url=self._label())
        if not dialling.called:
            self._dialling = dialling

    async def _open(self, step: Dial) -> None:
        source = self._film.requests[step.index]
        slot = await self._admission.admit(source.account)
        await self._goodbye.before_dialling()
        asker = self._asker
        if asker is None:
            return
        request, wanted = request_for(asker, source)
        body = await self._dialler.dial(request, DialTimeouts(step.connect, step.first_byte, step.total), slot)
        self._dialling = None
        try:
            self._take(body, wanted, asker, request.url)
        except Exception:
            self._goodbye.to(body.close())
            raise

    def _dial_failed(self, error: SourceError) -> None:
        self._dialling = None
        self._failed(error)

    def _take(self, body: IResponseBody, wanted: ByteRange | None, asker: RangeConsumer, url: str) -> None:
        log.info("{url} opened", url=self._label())
        if wanted is None:
            edition = described(body)
            self._goodbye.to(body.close())
            self.failover.stop(self._clock.seconds())
            asker.found(edition, url)
            return
        came = opened(body, wanted)
        if not asker.begun:
            asker.found(came.edition, url)
        else:
            check_same(came, asker, url)
        if asker is not self._asker:
            self._goodbye.to(body.close())
            return
        feed = FileReader(self._clock, came, asker.edition, self._limit, self)
        if asker.begun or not came.edition.accepts_ranges or feed.suits(asker, asker.edition):
            self._feed = feed
            feed.start(asker)
        else:  # what was asked for is not what is needed, now that the file is known
            self._goodbye.to(body.close())
            self._restart()
