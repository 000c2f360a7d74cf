"""The provider side of a live stream.

A session has at most one of: a connection to a source, with the wait for its slot (:mod:`.current_connection`); a
backoff; a question to the resolver. While a source streams, and if a second connection may be opened, the session may
have a standby connection (:mod:`.standby_connection`) that replaces the one in use without a gap.
"""

from __future__ import annotations

from collections.abc import Callable
from random import random
from typing import Protocol

import attrs
from twisted.internet.defer import Deferred

from ..core.body_kind import KindMismatch
from ..core.failover.causes import FailureCause, cause_of
from ..core.failover.machine import AskResolver, Backoff, Dial, FailoverState, Finish, GiveUp, Idle
from ..core.health.silence import RhythmMemory
from ..core.http.source_request import SourceRequest
from ..core.programme import SHORT_PROGRAMME
from ..core.slots.viewer_identity import ViewerIdentity
from ..core.stream_kind import StreamKind, has_file_hint, likely_kind
from ..errors import Reason, SourceError, StoredError
from ..interfaces import IStreamSink
from ..streams.context import StreamContext
from ..streams.failover_driver import DrivenStream, FailoverDriver
from .body_comparison import BodyComparison, EndedBody
from .current_connection import CurrentConnection
from .monitor import SourceMonitor
from .source_connection import LiveUpstream, SourceConnection
from .standby_connection import Standby, StandbyConnection


class SharedStream(DrivenStream, Protocol):
    """The stream of a live session."""

    @property
    def kind(self) -> StreamKind:
        """Kind of stream: that of its sources."""

    @property
    def expected_kind(self) -> StreamKind | None:
        """The kind of stream that a source must send; None if players have media, so that the kind stays."""

    @property
    def is_segmented(self) -> bool:
        """True if all players of the stream play it as HLS."""


class LiveSession(FailoverDriver):
    """
    The failover driver of a live stream. It keeps a connection open while the stream has players.

    :ivar monitor: monitors the streaming source; None if none streams.
    """

    _overdue = StoredError()
    #: A source that is a file, while others are tried.
    _file = StoredError()

    def __init__(
        self,
        context: StreamContext,
        upstream: LiveUpstream,
        stream: SharedStream,
        sink: IStreamSink,
        random: Callable[[], float] = random,
    ) -> None:
        """
        Make an idle session.

        :param sink: the consumer of the sources' bytes.
        """
        policy = context.live_policy(stream.spec)
        super().__init__(context, stream, policy, random)
        self._live = stream
        self._sink = BodyComparison(sink, self)
        self._current = CurrentConnection(
            self._clock, self._slot, lambda slot: SourceConnection(upstream, self._sink, self, slot), self
        )
        self._standby = Standby(upstream, self._slot, policy, self)
        self._rhythms = RhythmMemory()
        self.monitor: SourceMonitor | None = None

    def start(self, viewer: ViewerIdentity | None = None) -> None:
        """Start the stream, with the beginning of a programme. Safe to call if it is started."""
        if not self.active:
            self._sink.reset()
        super().start(viewer)

    def stop(self) -> Deferred[None]:
        """
        Stop the stream: close the provider's connection now.

        :return: a Deferred that fires when the socket has closed.
        """
        self._carry_out(self._failover.stop(self._clock.seconds()))
        return self._current.closed()

    def replace_sources(self, requests: tuple[SourceRequest, ...]) -> None:
        """Take over a new list of sources; see :meth:`.failover_driver.FailoverDriver.replace_sources`."""
        self._standby.sources_replaced(self._requests, requests)
        super().replace_sources(requests)

    # FailoverDriver

    @property
    def ahead(self) -> float | None:
        """Seconds of media by which the streaming source is ahead of real time; None if it delivers evenly."""
        return None if self.monitor is None else self.monitor.ahead

    @property
    def has_standby(self) -> bool:
        """True while a standby connection is open."""
        return self._standby.connection is not None

    @property
    def _target(self) -> int:
        chosen = self._standby.chosen
        return self._failover.index if chosen is None else chosen

    def _open_chosen(self, index: int) -> None:
        """Open the chosen source as standby. If no second connection may be opened, switch at once."""
        if self._standby.chosen is not None and index == self._failover.index:
            self._standby.close()
        elif not self._open_standby(index, chosen=True):
            super()._open_chosen(index)

    def request(self, index: int | None = None) -> SourceRequest:
        """Return the request for a source; by default for the one in use, or the next one."""
        request = super().request(index)
        return request.as_hls() if self._live.kind is StreamKind.HLS else request

    def _open_source(self, request: SourceRequest, step: Dial) -> None:
        live = self._live
        request = attrs.evolve(request, expected=live.expected_kind, segmented=live.is_segmented)
        self._sink.expect(request.url)
        self._current.open(request, step.timeouts)

    def _close_source(self) -> None:
        super()._close_source()
        self._overdue = None
        monitor, self.monitor = self.monitor, None
        if monitor is not None:
            monitor.close()
        self._standby.close()
        self._current.close()

    def _source_closed(self, effect: Backoff | AskResolver | GiveUp | Finish | Idle) -> None:
        self._slot.release()

    def _sources_exhausted(self, error: SourceError) -> None:
        self._sink.sources_exhausted(error)

    def _programme_over(self, error: SourceError) -> None:
        self._sink.programme_ended(error)

    def _seconds_delivered(self) -> float:
        monitor = self.monitor
        return monitor.ran if monitor is not None and self._failover.state is FailoverState.STREAMING else 0.0

    # BodyReaderOwner

    def source_started(self) -> None:
        """Monitor the source, which has delivered its first media."""
        self._slot.viewer = self._file = None
        self._carry_out(self._failover.started(self._clock.seconds()))
        self._start_monitor()

    def data_received(self) -> None:
        """Tell the monitor that media came. A second dial of the same source that has not started is given up."""
        if self._standby.connection is not None:
            self._source_delivers()
        if self.monitor is not None:
            self.monitor.data_received()

    def reading_held(self) -> None:
        """Tell the monitor that the source is not read now."""
        if self.monitor is not None:
            self.monitor.reading_held()

    def discontinuity(self) -> None:
        """Tell the monitor that timestamps may be others from now on."""
        if self.monitor is not None:
            self.monitor.discontinuity()

    def source_ended(self, error: SourceError, cause: FailureCause | None = None) -> None:
        """
        Continue after the end of the source. The clean end of a programme is none of a live stream.

        A standby connection that has started replaces it now, ready or not. A chosen one that has not started is
        dialled again. If a silent source is being dialled a second time, the end waits for the outcome of that dial.
        """
        if isinstance(error, KindMismatch) and self._changes_kind(error):
            return
        if self._plays_file():
            return
        standby = self._standby.connection
        if error.reason is Reason.STALLED and standby is not None and self._is_second_dial(standby):
            self._overdue = error
            return
        is_over = error.reason is Reason.PROGRAMME_ENDED
        if standby is None or not (standby.has_started or standby.chosen) or (is_over and not standby.chosen):
            self._body_ended(error)
            return
        self._source_failed(error, self._seconds_delivered(), self._failover.index)
        if standby.has_started:
            self._source_replaced(standby.index)
            self._replace_by(standby, error)
        else:
            self._failover.left_for(self._clock.seconds(), standby.index, error)
            self._carry_out_after_failure(self._failover.switched(self._clock.seconds(), standby.index))

    def _body_ended(self, error: SourceError) -> None:
        """Continue after the end of the body in use: a programme that has ended, or a failure."""
        ran, streaming = self._seconds_delivered(), self._failover.state is FailoverState.STREAMING
        if self._sink.body_ended(error, ran):
            return
        if error.reason is Reason.PROGRAMME_ENDED:
            self._programme_ended(error, self._sink.media or ran)
        else:
            broken = streaming and self._current.has_length
            super().source_ended(error, FailureCause.PROGRAMME if broken else None)

    def _programme_ended(self, error: SourceError, seconds: float) -> None:
        """
        End the players cleanly, or go on with another source if the programme may be a clip in place of a channel.

        :param seconds: seconds of media.
        """
        index, ran = self._failover.index, self._seconds_delivered()
        short = seconds < SHORT_PROGRAMME and not has_file_hint(self.request().url)
        effect = self._failover.programme_ended(self._clock.seconds(), error, ran, short)
        if isinstance(effect, Finish):
            self._carry_out(effect)
        else:
            self._source_failed(error, ran, index)
            self._carry_out_after_failure(effect)

    def programme_repeated(self, before: EndedBody) -> None:
        """End the players: the source sends the programme from its beginning again. One that broke off is a failure."""
        if before.error.reason is Reason.ENDED:
            detail = "the provider sends it from the beginning again"
            self._programme_ended(SourceError(Reason.PROGRAMME_ENDED, detail), before.seconds)
        else:
            detail = "a programme, which the provider sends from the beginning again"
            super().source_ended(SourceError(before.error.reason, detail), FailureCause.PROGRAMME)

    def _changes_kind(self, error: KindMismatch) -> bool:
        """
        End the session because a source sends another kind of stream, which then replaces this one.

        A live stream may have a backup that is live. Then a file is a failure: providers send clips in place of a
        channel that is down. If no other source delivers, the file is played.
        """
        if self._prefers_live(error):
            self._file = error
            return False
        self._history.kind_found(self.label(self._failover.index), error)
        self._end_with(error)
        return True

    def _prefers_live(self, error: KindMismatch) -> bool:
        is_surprise = error.kind is StreamKind.VOD and likely_kind(error.url) is not StreamKind.VOD
        return is_surprise and self.sources.others_left() > 0

    def _plays_file(self) -> bool:
        """If the last source that was left to try has failed, end the session with the file that was found."""
        file = self._file
        if file is None or self._live.expected_kind is None or self.sources.others_left() > 0:
            return False
        self._end_with(file)
        return True

    def _end_with(self, error: SourceError) -> None:
        self._file = None
        self._carry_out(self._failover.stop(self._clock.seconds()))
        self._sink.sources_exhausted(error)

    def _start_monitor(self) -> None:
        rhythm = self._rhythms.of(self.request(self._failover.index).url)
        rules = self._monitor_rules().with_pause(self._current.expected_pause)
        self.monitor = SourceMonitor(self._clock, self._sink, self._failover, rules, self, rhythm)

    # MonitorOwner

    def switch_to(self, index: int, error: SourceError | None) -> None:
        """
        Leave the streaming source for a better one: by a standby connection if possible, else at once.

        :param error: the fault of the streaming source; None if it has none.
        """
        if self.has_standby:
            return
        if self._open_standby(index, error):
            self._history.source_leaving(self.label(self._failover.index), error)
        else:
            super().switch_to(index, error)

    def fault_found(self, error: SourceError) -> None:
        """Ask the resolver about a fault. Without a resolver, the source stays in use."""
        if self._resolver.available:
            self._resolver.report_fault(error)
        else:
            self.stay(error)

    def source_silent(self, error: SourceError) -> None:
        """
        Prepare for the end of the silent source.

        The resolver is asked for another one. Without a resolver, or if it names none, the same source is dialled a
        second time.
        """
        self._overdue = None
        self._history.source_silent(self.label(self._failover.index), error)
        if self._resolver.available:
            self._resolver.report_fault(error)
        else:
            self._dial_beside(error)

    def stay(self, error: SourceError) -> None:
        """Record a fault of the streaming source. If it is still silent, dial it a second time."""
        super().stay(error)
        if error.reason is Reason.STALLED and self.monitor is not None and self.monitor.awaits_media:
            self._dial_beside(error)

    def _dial_beside(self, error: SourceError) -> None:
        """Dial the silent source a second time, if a slot is free. A programme is not dialled: it would begin anew."""
        if not self.has_standby and not self._current.is_programme:
            index = self._failover.index
            self._standby.open(index, self.request(index), self.request(), error, patient=True)

    def _is_second_dial(self, standby: StandbyConnection) -> bool:
        return standby.index == self._failover.index and not standby.has_started

    def _source_delivers(self) -> None:
        standby = self._standby.connection
        if standby is not None and self._is_second_dial(standby):
            self._overdue = None
            self._standby.close()

    def probe(self, index: int) -> Deferred[None] | None:
        """Probe another source; None if no second connection may be opened."""
        return self._standby.probe(self.request(index), self.request())

    # StandbyOwner

    def _open_standby(self, index: int, fault: SourceError | None = None, chosen: bool = False) -> bool:
        if self._failover.state is not FailoverState.STREAMING or index == self._failover.index:
            return False
        return self._standby.open(index, self.request(index), self.request(), fault, chosen)

    def standby_ready(self, standby: StandbyConnection) -> None:
        """Replace the connection in use."""
        if not standby.chosen:
            left, target = self.label(self._failover.index), self.label(standby.index)
            self._history.source_left(left, target, standby.fault, self._seconds_delivered())
        self._replace_by(standby, standby.fault)

    def standby_failed(self, standby: StandbyConnection, error: SourceError) -> None:
        """Keep the source in use, unless the API chose the other one: then switch to that."""
        self._history.standby_failed(self.label(standby.index), error)
        self._standby.close()
        overdue, self._overdue = self._overdue, None
        if overdue is not None:
            self._body_ended(overdue)
        elif standby.chosen:
            self._carry_out(self._failover.switched(self._clock.seconds(), standby.index))
        else:
            self._failover.sources.probed(standby.index, cause_of(error), self._clock.seconds())

    def _replace_by(self, standby: StandbyConnection, error: SourceError | None) -> None:
        connection, slot, buffered = standby.hand_over()
        self._sink.body_ended(error or SourceError(Reason.UNUSED), self._seconds_delivered())
        self._close_source()
        self._current.replace_by(connection, slot)
        self._failover.took_over(self._clock.seconds(), standby.index, error, standby.chosen)
        self._announce()
        connection.move(self._sink, self)
        self._sink.expect(self.request().url)
        self._sink.source_changed(connection.nature)
        if self._current.is_current(connection):
            self._start_monitor()
            self._sink.bytes_received(buffered)
