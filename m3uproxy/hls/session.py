"""The provider's side of an HLS stream: the source in use and its slot.

The failover rules are those of live streams. There is no connection that stays open: a source is in use as long as its
playlists come. A :class:`SourceRun` is the time between two changes of source. Each request notes its run, so that
fifty requests that fail together count as one failure, and a late failure does not count against the next source.

The stream holds one slot of its source's account, from the first playlist until it has no clients: a provider counts
viewers, not requests. The slot is kept during a backoff and while the resolver is asked, so that no other stream takes
it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred

from ..core.failover.machine import AskResolver, Backoff, Dial, FailoverPolicy, FailoverState, Finish, GiveUp, Idle
from ..core.hls.url_tokens import source_name
from ..core.http.source_request import SourceRequest
from ..core.slots.viewer_identity import ViewerIdentity
from ..errors import Reason, SourceError, StoredError
from ..live.standby_connection import can_open_second
from ..log import make_logger
from ..streams.context import StreamContext
from ..streams.failback import FailbackReview
from ..streams.failover_driver import DrivenStream, FailoverDriver
from ..upstream.slots import release_slot
from ..upstream.twisted_errors import on_failure
from ..waiting import WaitingRequests

log = make_logger()

#: Earlier sources whose segments players may still request.
MAX_KNOWN_SOURCES = 20


@attrs.define(eq=False)
class SourceRun:
    """
    The time in which one source is in use.

    :ivar request: the request for the source, with the slot of the stream.
    :ivar change: the number of changes of source before.
    """

    request: SourceRequest
    change: int


class HlsSession(FailoverDriver):
    """
    The failover driver of an HLS stream.

    :ivar run: the source in use. None before the first one, in a backoff, and while the session waits for a slot or the
        resolver.
    """

    _stop_error = StoredError()

    def __init__(
        self,
        context: StreamContext,
        stream: DrivenStream,
        policy: FailoverPolicy,
        check_source: Callable[[SourceRequest], Deferred[None]],
    ) -> None:
        """
        Initialise an idle session.

        :param check_source: fetches the playlist of a source.
        """
        super().__init__(context, stream, policy)
        self._check_source = check_source
        self._opening: Deferred[None] | None = None
        self._waiting: WaitingRequests[None] = WaitingRequests()
        self._known_sources: OrderedDict[bytes, SourceRequest] = OrderedDict()
        self._changes = 0
        self._streaming_since = self._reviewed_at = 0.0
        self._backoff_until: float | None = None
        self._review: FailbackReview | None = None
        self.run: SourceRun | None = None

    @property
    def has_no_alternative(self) -> bool:
        """True if there is one source and no resolver, so that failover is impossible."""
        return len(self._requests) == 1 and not self._resolver.available

    def start(self, viewer: ViewerIdentity | None = None) -> None:
        """Start the session for a viewer. Safe to call if it is active."""
        if not self.active:
            self._stop_error = None
        super().start(viewer)

    def resume(self) -> None:
        """
        Start the session for a player that goes on with an earlier playlist, but only if a slot is free.

        A player that has changed channel may still send requests for this stream. They must not wait for a slot and
        block its way back.

        :raises SourceError: if no slot is free.
        """
        account = self.request().account
        if not self.active and account is not None and not self._slot.has_free_slot(account):
            raise SourceError(Reason.NO_SLOT, f"provider {account.name!r} has no free connection for this stream")
        self.start()

    def stop(self, error: SourceError) -> None:
        """Stop the session and release its slot. Requests that wait for a source fail with ``error``."""
        self._stop_error = error
        self._carry_out(self._failover.stop(self._clock.seconds()))
        self._waiting.fail(error)

    async def current_run(self, deadline: float) -> SourceRun:
        """
        Return the source in use; wait until there is one.

        :param deadline: seconds of the clock.
        :raises SourceError: if there is no source until the deadline, or if the session stops.
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
        Note that a source has delivered a playlist. From time to time, start a review of the sources.

        :return: True if it is the first success of the run.
        """
        if run is not self.run:
            return False
        now = self._clock.seconds()
        if self._failover.state is FailoverState.DIALLING:
            self._slot.viewer = None
            self._streaming_since = self._reviewed_at = now
            self._review = FailbackReview(self._clock, self._failover, self)
            self._note_delivery(run)
            self._carry_out(self._failover.started(now))
            return True
        rules = self._monitor_rules()
        if self._review is not None and rules.interval and now - self._reviewed_at >= rules.interval:
            self._reviewed_at = now
            self._review.run(rules.probe)
        return False

    def _note_delivery(self, run: SourceRun) -> None:
        """From now on, the playlists of the source have the usual timeouts."""
        run.request = attrs.evolve(run.request, patience=None)
        self._known_sources[source_name(run.request.url)] = run.request

    def failed(self, run: SourceRun, error: SourceError) -> bool:
        """
        Note that a source has failed.

        :return: True if the session goes on: with the next source, or with one that was chosen meanwhile.
        """
        if run is self.run:
            self.run = None
            self.source_ended(error)
        return self.active

    def replace_sources(self, requests: tuple[SourceRequest, ...]) -> None:
        """Replace the sources. If the source in use is not among the new ones, switch to the primary."""
        super().replace_sources(requests)
        if self.run is not None and self.run.request.url != self.request().url:
            self.choose(0)

    def source_named(self, name: bytes) -> SourceRequest:
        """Return the request for a source by its name. For an unknown source, return that of the primary."""
        listed = next((each for each in self._requests if source_name(each.url) == name), None)
        return (listed or self._known_sources.get(name) or self._requests[0]).as_hls()

    async def with_slot(self, request: SourceRequest, deadline: float) -> SourceRequest:
        """
        Return the request for a segment of a source, with the slot of the stream.

        If the session is idle, it is started. If the stream is on another account by now, the request keeps its old
        slot: cached segments can then be served, but no new ones fetched.

        :param deadline: seconds of the clock.
        :raises SourceError: if there is no slot, and none becomes free until the deadline.
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
        """Probe a source that is not in use. Return None if there is no free connection for that."""
        request, run = self.request(index), self.run
        if run is None or not can_open_second(self._slot, request, run.request):
            return None
        slot = self._slot.acquire_second(request.account)
        return self._check_source(attrs.evolve(request, slot=slot)).addBoth(release_slot, slot)

    # FailoverDriver

    def request(self, index: int | None = None) -> SourceRequest:
        """Return the request for a source; by default for the one in use, or the next one."""
        return super().request(index).as_hls()

    def _open_source(self, request: SourceRequest, step: Dial) -> None:
        patience = step.timeouts.patience(self._context.settings.first_byte_timeout)
        opening = Deferred.fromCoroutine(self._begin(attrs.evolve(request, patience=patience)))
        on_failure(opening, self._slot_refused, log, "opening a source of an HLS stream failed")
        if not opening.called:
            self._opening = opening

    async def _begin(self, request: SourceRequest) -> None:
        slot = await self._slot.acquire(request.account)
        self._opening = None
        name = source_name(request.url)
        # The last one of the known sources is the one that was in use before.
        self._changes += next(reversed(self._known_sources), name) != name
        self.run = SourceRun(attrs.evolve(request, slot=slot), self._changes)
        self._known_sources[name] = self.run.request
        self._known_sources.move_to_end(name)
        if len(self._known_sources) > MAX_KNOWN_SOURCES:
            self._known_sources.popitem(last=False)
        self._waiting.succeed(None)

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

    def _source_closed(self, effect: Backoff | AskResolver | GiveUp | Finish | Idle) -> None:
        if isinstance(effect, Backoff):
            self._backoff_until = self._clock.seconds() + effect.seconds
        elif isinstance(effect, (GiveUp, Idle)):
            self._slot.release(isinstance(effect, Idle))

    def _sources_exhausted(self, error: SourceError) -> None:
        self._stop_error = error
        self._waiting.fail(error)

    def _seconds_delivered(self) -> float:
        return self._clock.seconds() - self._streaming_since if self._failover.state is FailoverState.STREAMING else 0.0

    # requests that wait for a source

    def _wait_for_run(self, deadline: float) -> Deferred[None]:
        """Return a Deferred that fires when a source may be in use; it fails at the deadline."""
        left = max(0.0, deadline - self._clock.seconds())
        return self._waiting.wait().addTimeout(left, self._clock, onTimeoutCancel=self._wait_timed_out)

    def _wait_timed_out(self, result: object, seconds: float) -> None:
        raise self._wait_error()

    def _wait_error(self) -> SourceError:
        return (
            self._stop_error
            or self.error
            or SourceError(Reason.FIRST_BYTE_TIMEOUT, "no source answered in time (START_TIMEOUT)")
        )
