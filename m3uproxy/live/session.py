"""The provider side of a live stream.

A session has at most one of: a connection to a source, with the wait for its slot (:mod:`.current_connection`); a
backoff; a question to the resolver. While a source streams, and if a second connection may be opened, the session may
have a standby connection (:mod:`.standby_connection`) that replaces the one in use without a gap.
"""

from __future__ import annotations

from collections.abc import Callable
from random import random

from twisted.internet.defer import Deferred

from ..core.failover.causes import cause_of
from ..core.failover.machine import AskResolver, Backoff, Dial, FailoverState, GiveUp, Idle
from ..core.http.source_request import SourceRequest
from ..errors import SourceError
from ..interfaces import IStreamSink
from ..streams.context import StreamContext
from ..streams.failover_driver import DrivenStream, FailoverDriver
from .current_connection import CurrentConnection
from .monitor import SourceMonitor
from .source_connection import LiveUpstream, SourceConnection
from .standby_connection import Standby, StandbyConnection


class LiveSession(FailoverDriver):
    """
    The failover driver of a live stream. It keeps a connection open while the stream has players.

    :ivar monitor: monitors the streaming source; None if none streams.
    """

    def __init__(
        self,
        context: StreamContext,
        upstream: LiveUpstream,
        stream: DrivenStream,
        sink: IStreamSink,
        random: Callable[[], float] = random,
    ) -> None:
        """
        Make an idle session.

        :param sink: the consumer of the sources' bytes.
        """
        policy = context.live_policy(stream.spec)
        super().__init__(context, stream, policy, random)
        self._sink = sink
        self._current = CurrentConnection(
            self._clock, self._slot, lambda slot: SourceConnection(upstream, sink, self, slot), self
        )
        self._standby = Standby(upstream, self._slot, policy, self)
        self.monitor: SourceMonitor | None = None

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

    def _open_source(self, request: SourceRequest, step: Dial) -> None:
        self._current.open(request, step.timeouts)

    def _close_source(self) -> None:
        super()._close_source()
        monitor, self.monitor = self.monitor, None
        if monitor is not None:
            monitor.close()
        self._standby.close()
        self._current.close()

    def _source_closed(self, effect: Backoff | AskResolver | GiveUp | Idle) -> None:
        self._slot.release()

    def _sources_exhausted(self, error: SourceError) -> None:
        self._sink.sources_exhausted(error)

    def _seconds_delivered(self) -> float:
        monitor = self.monitor
        return monitor.ran if monitor is not None and self._failover.state is FailoverState.STREAMING else 0.0

    # BodyReaderOwner

    def source_started(self) -> None:
        """Monitor the source, which has delivered its first packet."""
        self._slot.viewer = None
        self._carry_out(self._failover.started(self._clock.seconds()))
        self._start_monitor()

    def data_received(self) -> None:
        """Tell the monitor that packets came."""
        if self.monitor is not None:
            self.monitor.data_received(self._current.received)

    def discontinuity(self) -> None:
        """Tell the monitor that timestamps may be others from now on."""
        if self.monitor is not None:
            self.monitor.discontinuity()

    def source_ended(self, error: SourceError) -> None:
        """
        Continue after the end of the source.

        A standby connection that has started replaces it now, ready or not. A chosen one that has not started is
        dialled again.
        """
        standby = self._standby.connection
        if standby is None or not (standby.has_started or standby.chosen):
            super().source_ended(error)
            return
        self._source_failed(error, self._seconds_delivered())
        if standby.has_started:
            self._source_replaced(standby.index)
            self._replace_by(standby, error)
        else:
            self._failover.left_for(self._clock.seconds(), standby.index, error)
            self._carry_out_after_failure(self._failover.switched(self._clock.seconds(), standby.index))

    def _start_monitor(self) -> None:
        self.monitor = SourceMonitor(self._clock, self._sink, self._failover, self._monitor_rules(), self)

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
        if standby.chosen:
            self._carry_out(self._failover.switched(self._clock.seconds(), standby.index))
        else:
            self._failover.sources.probed(standby.index, cause_of(error), self._clock.seconds())

    def _replace_by(self, standby: StandbyConnection, error: SourceError | None) -> None:
        connection, slot, buffered = standby.hand_over()
        self._close_source()
        self._current.replace_by(connection, slot)
        self._failover.took_over(self._clock.seconds(), standby.index, error, standby.chosen)
        self._announce()
        connection.move(self._sink, self)
        self._sink.source_changed()
        if self._current.is_current(connection):
            self._start_monitor()
            self._sink.bytes_received(buffered)
