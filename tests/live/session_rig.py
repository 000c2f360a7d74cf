"""A live session whose sources, sink, resolver and history are under the test's control."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timezone

import attrs
from fakes import FakeDialler, FakeResolverPort
from twisted.internet.task import Clock
from zope.interface import implementer

from m3uproxy.core.failover.machine import FailoverPolicy
from m3uproxy.core.failover.resolver import ResolverAnswer
from m3uproxy.core.failover.timeline import SourceLabel
from m3uproxy.core.http.source_request import SourceRequest
from m3uproxy.core.ingest.media_progress import MediaProgress
from m3uproxy.core.ingest.ts_parser import PacketObserver, TsParser
from m3uproxy.core.programme import BodyNature
from m3uproxy.core.slots.accounts import Account
from m3uproxy.core.slots.slot_table import SlotTable
from m3uproxy.core.stream_kind import StreamKind
from m3uproxy.errors import SourceError
from m3uproxy.interfaces import IStreamSink
from m3uproxy.live.read_scheduler import ReadScheduler
from m3uproxy.live.session import LiveSession
from m3uproxy.live.source_connection import LiveUpstream
from m3uproxy.settings import Settings
from m3uproxy.streams.context import StreamContext
from m3uproxy.streams.failover_history import FailoverHistory
from m3uproxy.streams.monitor_rules import MonitorRules
from m3uproxy.streams.spec import StreamSpec
from m3uproxy.upstream.slots import SlotAllocator

#: An account that allows one connection.
ONE = Account("one", 1)


@implementer(IStreamSink)
class RecordingSink:
    """Keeps the bytes of each body apart, and counts media as the broadcaster does."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.parser = TsParser()
        self.bodies: list[bytearray] = []
        self.errors: list[SourceError] = []
        self.programmes: list[SourceError] = []
        self.on_bytes: Callable[[], None] = lambda: None
        self.waiting = self.is_full = False
        self.media = 0.0
        self.natures: list[BodyNature] = []

    def source_changed(self, nature: BodyNature = BodyNature.LIVE) -> None:
        self.natures.append(nature)
        self.parser.next_source(self.clock.seconds())
        self.bodies.append(bytearray())

    def bytes_received(self, data: bytes) -> None:
        self.parser.feed(data, self.clock.seconds())
        self.bodies[-1] += data
        self.on_bytes()

    @property
    def progress(self) -> MediaProgress:
        return self.parser.media

    def flush(self) -> None:
        self.parser.flush(self.clock.seconds())

    def observe(self, observer: PacketObserver | None) -> None:
        self.parser.observer = observer

    def programme_ended(self, error: SourceError) -> None:
        self.programmes.append(error)

    def sources_exhausted(self, error: SourceError) -> None:
        self.errors.append(error)


@attrs.frozen
class RecordedChange:
    """One event of the history; sources by position."""

    time: float
    source: int
    target: int | None
    error: SourceError | None
    answer: ResolverAnswer | None = None


def utc_now() -> datetime:
    return datetime.now(timezone.utc)


class RecordingHistory(FailoverHistory):
    """A history whose events are kept for the test."""

    def __init__(self, clock: Clock) -> None:
        super().__init__("stream", clock, utc_now)
        self._seconds = clock.seconds
        self.moves: list[int] = []
        self.replaced: list[RecordedChange] = []
        self.left: list[RecordedChange] = []
        self.ignored: list[RecordedChange] = []

    def source_moved(self, source: SourceLabel) -> None:
        super().source_moved(source)
        self.moves.append(source.index)

    def source_replaced(
        self,
        source: SourceLabel,
        target: SourceLabel | None,
        error: SourceError,
        ran: float,
        answer: ResolverAnswer | None = None,
    ) -> None:
        super().source_replaced(source, target, error, ran, answer)
        index = None if target is None else target.index
        self.replaced.append(RecordedChange(self._seconds(), source.index, index, error, answer))

    def source_left(self, source: SourceLabel, target: SourceLabel, error: SourceError | None, ran: float) -> None:
        replaced = len(self.replaced)
        super().source_left(source, target, error, ran)
        del self.replaced[replaced:]
        self.left.append(RecordedChange(self._seconds(), source.index, target.index, error))

    def fault_ignored(self, source: SourceLabel, error: SourceError, ran: float) -> None:
        super().fault_ignored(source, error, ran)
        self.ignored.append(RecordedChange(self._seconds(), source.index, source.index, error))


@attrs.frozen
class RigContext(StreamContext):
    """A context with the requests and rules of a test instead of those that follow from settings."""

    rig: SessionRig

    def requests(self, spec: StreamSpec) -> tuple[SourceRequest, ...]:
        return self.rig.requests

    def monitor_rules(self, spec: StreamSpec) -> MonitorRules:
        return self.rig.rules

    def live_policy(self, spec: StreamSpec) -> FailoverPolicy:
        return self.rig.policy


class SessionRig:
    """The stream ``stream`` with a session that is not started."""

    id = "stream"
    kind = StreamKind.LIVE
    expected_kind: StreamKind | None = None
    is_segmented = False
    spec = StreamSpec("http://s0/", "agent")

    def __init__(
        self,
        requests: Sequence[SourceRequest],
        policy: FailoverPolicy | None = None,
        rules: MonitorRules | None = None,
        has_resolver: bool = False,
        interval: float = 0.06,
        began: float = 0.0,
    ) -> None:
        self.clock = Clock()
        self.clock.advance(began)
        self.requests, self.policy = tuple(requests), policy or FailoverPolicy()
        self.rules = rules or MonitorRules(3.0, None)
        self.dialler = FakeDialler(self.clock)
        self.sink, self.history = RecordingSink(self.clock), RecordingHistory(self.clock)
        self.resolver = FakeResolverPort()
        self.resolver.available = has_resolver
        self.slots = SlotAllocator(self.clock, SlotTable(), lambda _: None)
        context = RigContext(self.clock, utc_now, self.slots, Settings(), None, self)
        upstream = LiveUpstream(self.clock, self.dialler, ReadScheduler(self.clock, interval))
        self.session = LiveSession(context, upstream, self, self.sink, random=lambda: 0.5)

    def pass_time(self, seconds: float) -> None:
        """Advance the clock in turns of 2 ms, like a reactor with little to do."""
        self.clock.pump([0.002] * round(seconds / 0.002))

    def vanish_all(self) -> None:
        """Report the sockets of all bodies as closed."""
        for dial in self.dialler.dials:
            if dial.body is not None and not dial.body.gone:
                dial.body.vanish()


def requests_of(count: int, account: Account | None = ONE) -> tuple[SourceRequest, ...]:
    """Return requests for the sources ``http://s0/``, ``http://s1/``… of one account."""
    return tuple(SourceRequest(f"http://s{n}/", "agent", (), True, account) for n in range(count))
