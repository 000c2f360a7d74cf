"""Which source an HLS stream is on, and since when: its course.

The rules are those of live streams. What differs is that nothing flows: a source is in use while its playlists come.
A :class:`SourceRun` is the time between two choices; whoever asks for something notes the run, so that of fifty
requests that fail together one counts, and none counts against a source that came later.

The stream has one slot of the account of its source, from its first playlist until nobody watches: a provider counts
who watches, not requests, and a rest or a question to the resolver is no reason to lose it to others.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred

from ..core.failover.machine import AskResolver, Backoff, Dial, FailoverPolicy, FailoverState, GiveUp, Idle
from ..core.hls.url_tokens import source_name
from ..core.http.source_request import SourceRequest
from ..core.slots.viewer_identity import ViewerIdentity
from ..errors import Reason, SourceError
from ..live.standby_connection import has_room
from ..log import make_logger
from ..streams.failback import FailbackReview
from ..streams.failover_driver import FailoverDriver
from ..streams.failover_history import FailoverHistory
from ..streams.interfaces import ResolverPort
from ..streams.monitor_rules import MonitorRules
from ..upstream.slots import StreamSlot, release_slot
from ..upstream.twisted_errors import on_failure

log = make_logger()

#: Sources whose segments players may still ask for when another is in use.
MAX_KNOWN_SOURCES = 20


def _as_intermittent(request: SourceRequest) -> SourceRequest:
    """Whatever its URL ends in: here it is HLS."""
    account = request.account
    return request if account is None else attrs.evolve(request, account=attrs.evolve(account, intermittent=True))


@attrs.frozen(eq=False)
class SourceRun:
    """
    A source in use.

    :ivar request: how it is asked, with the slot that is held for it.
    :ivar change: how many changes of source there were before.
    """

    request: SourceRequest
    change: int


class HlsSession(FailoverDriver):
    """
    The source in use, one after another.

    :ivar run: None while there is none to be asked: before the first, in a rest, while a slot or a resolver is waited
        for.
    """

    def __init__(
        self,
        clock: Any,
        requests: tuple[SourceRequest, ...],
        policy: FailoverPolicy,
        rules: Callable[[], MonitorRules],
        history: FailoverHistory,
        slot: StreamSlot,
        resolver: ResolverPort,
        check_source: Callable[[SourceRequest], Deferred[None]],
    ) -> None:
        """
        Nothing is in use. For what is not stated see :class:`m3uproxy.streams.failover_driver.FailoverDriver`.

        :param rules: how often sources are reviewed, and whether backups are looked at.
        :param check_source: asks a source for its playlist.
        """
        super().__init__(clock, requests, policy, history, slot, resolver)
        self._rules = rules
        self._check_source = check_source
        self._opening: Deferred[None] | None = None
        self._waiting: list[Deferred[None]] = []
        self._known_sources: OrderedDict[bytes, SourceRequest] = OrderedDict()
        self._last: str | None = None
        self._changes = 0
        self._streaming_since = self._reviewed_at = 0.0
        self._backoff_until: float | None = None
        self._stop_error: SourceError | None = None
        self._review: FailbackReview | None = None
        self.run: SourceRun | None = None

    @property
    def has_no_alternative(self) -> bool:
        """Whether there is nowhere to go from a source."""
        return len(self._requests) == 1 and not self._resolver.available

    def start(self, viewer: ViewerIdentity | None = None) -> None:
        """Somebody wants the stream. Harmless when it runs."""
        if not self.active:
            self._stop_error = None
        super().start(viewer)

    def resume(self) -> None:
        """
        A player asks on for what it was told before: begin anew, if there is room, and let nobody wait for that.

        Who has left for another stream may still ask for something, and must not be in the way of coming back.

        :raises SourceError: if there is no slot.
        """
        account = self.request().account
        if not self.active and account is not None and not self._slot.has_free_slot(account):
            raise SourceError(Reason.NO_SLOT, f"provider {account.name!r} has no connection for this stream now")
        self.start()

    def stop(self, error: SourceError) -> None:
        """Nobody wants the stream any more, or nobody is to have it. Who waits is told why."""
        self._stop_error = error
        self._carry_out(self._failover.stop(self._clock.seconds()))
        self._fire_waiting(error)

    async def current_run(self, deadline: float) -> SourceRun:
        """
        The source to ask, once it may be asked.

        :raises SourceError: if that will not be before the deadline, or not at all.
        """
        while self.run is None:
            if not self.active:
                raise self._wait_error()
            if self._backoff_until is not None and self._backoff_until >= deadline:
                raise self._wait_error()
            await self._wait_for_run(deadline)
        return self.run

    def succeeded(self, run: SourceRun) -> bool:
        """
        A source has answered as it should.

        :return: whether it is the first time in this run.
        """
        if run is not self.run:
            return False
        now = self._clock.seconds()
        if self._failover.state is FailoverState.DIALLING:
            self._slot.viewer = None
            self._streaming_since = self._reviewed_at = now
            self._review = FailbackReview(self._clock, self._failover, self)
            self._carry_out(self._failover.started(now))
            return True
        rules = self._rules()
        if self._review is not None and rules.interval and now - self._reviewed_at >= rules.interval:
            self._reviewed_at = now
            self._review.hold(rules.probe)
        return False

    def failed(self, run: SourceRun, error: SourceError) -> bool:
        """
        A source has not.

        :return: whether there is or will be one to ask: the next, or the one that was chosen since.
        """
        if run is self.run:
            self.run = None
            self.source_ended(error)
        return self.active

    def replace_sources(self, requests: tuple[SourceRequest, ...]) -> None:
        """Take other sources. If that in use is not among them, the first is next."""
        super().replace_sources(requests)
        if self.run is not None and self.run.request.url != self.request().url:
            self.choose(0)

    def source_named(self, name: bytes) -> SourceRequest:
        """How a source is asked for a segment; if it is not known any more, as the primary is."""
        listed = next((each for each in self._requests if source_name(each.url) == name), None)
        return _as_intermittent(listed or self._known_sources.get(name) or self._requests[0])

    async def with_slot(self, request: SourceRequest, deadline: float) -> SourceRequest:
        """
        How a source is asked for a segment, with the stream's slot. If nobody has watched the stream, there is none
        yet. If its source is of another account by now, what is kept of the last one can be had, and no more.

        :raises SourceError: if there is no slot and none becomes free in time.
        """
        if request.account is None:
            return request
        if not self.active or self._opening is not None:
            self.resume()
            await self.current_run(deadline)
        try:
            return attrs.evolve(request, slot=self._slot.get_held(request.account))
        except SourceError:
            last = self._known_sources.get(source_name(request.url))
            if last is None:
                raise
            return last

    def probe(self, index: int) -> Deferred[None] | None:
        """Look whether another source has a playlist, if there is room. In its own account a stream has that always."""
        request, run = self.request(index), self.run
        if run is None or not has_room(self._slot, request, run.request):
            return None
        slot = self._slot.acquire_second(request.account)
        return self._check_source(attrs.evolve(request, slot=slot)).addBoth(release_slot, slot)

    # the course

    def request(self, index: int | None = None) -> SourceRequest:
        """How a source is asked for the stream: that in use or next, if no other."""
        return _as_intermittent(super().request(index))

    def _open_source(self, request: SourceRequest, step: Dial) -> None:
        opening = Deferred.fromCoroutine(self._begin(request))
        on_failure(opening, self._slot_refused, log, "asking for leave to ask a source failed")
        if not opening.called:
            self._opening = opening

    async def _begin(self, request: SourceRequest) -> None:
        slot = await self._slot.acquire(request.account)
        self._opening = None
        self._changes += self._last not in (None, request.url)
        self._last = request.url
        self.run = SourceRun(attrs.evolve(request, slot=slot), self._changes)
        name = source_name(request.url)
        self._known_sources[name] = self.run.request
        self._known_sources.move_to_end(name)
        if len(self._known_sources) > MAX_KNOWN_SOURCES:
            self._known_sources.popitem(last=False)
        self._fire_waiting(None)

    def _slot_refused(self, error: SourceError) -> None:
        self._opening = None
        self.source_ended(error)

    def _close_source(self) -> None:
        super()._close_source()
        self.run = self._backoff_until = None
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.cancel()
        review, self._review = self._review, None
        if review is not None:
            review.close()

    def _source_closed(self, effect: Backoff | AskResolver | GiveUp | Idle) -> None:
        if isinstance(effect, Backoff):
            self._backoff_until = self._clock.seconds() + effect.seconds
        elif isinstance(effect, (GiveUp, Idle)):
            self._slot.release(isinstance(effect, Idle))

    def _sources_exhausted(self, error: SourceError) -> None:
        self._stop_error = error
        self._fire_waiting(error)

    def _seconds_delivered(self) -> float:
        return self._clock.seconds() - self._streaming_since if self._failover.state is FailoverState.STREAMING else 0.0

    # who waits

    def _wait_for_run(self, deadline: float) -> Deferred[None]:
        """Fires when there is a source to ask, or fails."""
        waiting: Deferred[None] = Deferred(lambda one: self._waiting.remove(one))
        self._waiting.append(waiting)
        left = max(0.0, deadline - self._clock.seconds())
        return waiting.addTimeout(left, self._clock, onTimeoutCancel=self._wait_timed_out)

    def _wait_timed_out(self, result: object, seconds: float) -> None:
        raise self._wait_error()

    def _wait_error(self) -> SourceError:
        return self._stop_error or self.error or SourceError(Reason.FIRST_BYTE_TIMEOUT, "no source answers in time")

    def _fire_waiting(self, error: SourceError | None) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if error is None:
                each.callback(None)
            else:
                each.errback(error)
