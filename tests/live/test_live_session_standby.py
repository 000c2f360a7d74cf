"""Where there is room for two connections the next source is opened beside the one that flows, and then replaces it."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from fakes import FakeAdvisor, FakeBody, FakeDialler, Programme
from twisted.internet.task import Clock
from zope.interface import implementer

from m3uproxy.core.failover.machine import FailoverPolicy
from m3uproxy.core.failover.resolver import ResolverAnswer
from m3uproxy.core.http.source_request import SourceRequest
from m3uproxy.core.ingest.detect import DetectingParser
from m3uproxy.core.slots.accounts import Account
from m3uproxy.core.slots.slot_table import SlotTable
from m3uproxy.errors import Reason, SourceError
from m3uproxy.interfaces import IStreamSink
from m3uproxy.live.read_scheduler import ReadScheduler
from m3uproxy.live.session import LiveSession
from m3uproxy.live.standby_connection import PATIENCE
from m3uproxy.streams.monitor_rules import MonitorRules
from m3uproxy.upstream.slots import SlotAllocator, StreamSlot

TWO = Account("two", 2)
DARK = SourceError(Reason.CONTENT, "no picture")


@implementer(IStreamSink)
@attrs.define
class Sink:
    """Keeps each body apart."""

    waiting: bool = False
    bodies: list[bytes] = attrs.field(factory=list)
    errors: list[SourceError] = attrs.field(factory=list)
    intake: Any = attrs.field(factory=DetectingParser)

    def source_changed(self) -> None:
        self.intake.next_source(0.0)
        self.bodies.append(b"")

    def bytes_received(self, data: bytes) -> None:
        self.intake.feed(data, 0.0)
        self.bodies[-1] += data

    def flush(self) -> int:
        self.intake.flush(0.0)
        return int(self.intake.packets)

    def observe(self, observer: object) -> None:
        """Nothing is looked at here."""

    def gave_up(self, error: SourceError) -> None:
        self.errors.append(error)


@attrs.define
class Observer:
    """What the stream is told."""

    moves: list[int] = attrs.field(factory=list)
    failed: list[tuple[int, int | None, Reason]] = attrs.field(factory=list)
    left: list[tuple[int, int, SourceError | None]] = attrs.field(factory=list)

    def source_moved(self, index: int) -> None:
        self.moves.append(index)

    def source_failed(
        self, error: SourceError, left: int, chosen: int | None, ran: float, referral: ResolverAnswer | None
    ) -> None:
        self.failed.append((left, chosen, error.reason))

    def source_left(self, left: int, chosen: int, ran: float, error: SourceError | None) -> None:
        self.left.append((left, chosen, error))

    def source_doubted(self, error: SourceError, index: int, ran: float) -> None:
        raise AssertionError(error)


class Rig:
    """A session that plays its first source."""

    def __init__(self, account: Account | None = TWO, sources: int = 3, hosts: str = "abc") -> None:
        self.clock = Clock()
        self.dialler = FakeDialler(self.clock)
        self.sink, self.observer = Sink(), Observer()
        self.desk = SlotAllocator(self.clock, SlotTable(), lambda _: None)
        requests = [SourceRequest(f"http://{hosts[n]}/{n}", "agent", (), True, account) for n in range(sources)]
        self.session = LiveSession(
            self.clock,
            self.dialler,
            ReadScheduler(self.clock, 0.06),
            self.sink,
            tuple(requests),
            FailoverPolicy(),
            lambda: MonitorRules(3.0, None),
            self.observer,
            StreamSlot(self.desk, "stream"),
            FakeAdvisor(),
            random=lambda: 0.5,
        )
        self.programme = Programme()
        self.session.start()
        self.first = self.dialler.last.answer()
        self.play(self.first, 2)

    def play(self, body: FakeBody, seconds: float) -> None:
        for _ in range(round(seconds * 10)):
            body.bring(self.programme.group())
            self.clock.pump([0.002] * 50)

    def candidate(self) -> FakeBody:
        """The last dial is answered."""
        return self.dialler.last.answer()

    def sockets(self) -> int:
        return self.desk.table.open_sockets("two")

    def finish(self) -> None:
        self.session.stop()
        for dial in self.dialler.dials:
            if dial.body is not None and not dial.body.gone:
                dial.body.vanish()
        assert self.clock.getDelayedCalls() == []
        assert self.desk.table.report()["providers"] == []


def test_the_old_source_plays_until_the_new_one_has_an_access_point() -> None:
    rig = Rig()
    rig.session.switch(1)
    assert (rig.session.index, rig.observer.moves) == (1, [1])
    second = rig.candidate()
    middle = rig.programme.group()[188 * 4 :]
    second.bring(middle)
    rig.play(rig.first, 1)
    assert not rig.first.closed
    assert rig.sockets() == 2
    assert len(rig.sink.bodies) == 1
    group = rig.programme.group()
    second.bring(group + rig.programme.picture())
    rig.clock.pump([0.002] * 50)
    assert rig.first.closed
    assert rig.sink.bodies[1].startswith(middle + group)
    rig.first.vanish()
    assert rig.sockets() == 1
    rig.play(second, 5)
    assert rig.observer.moves == [1]
    assert rig.observer.failed == rig.observer.left == []
    assert len(rig.dialler.dials) == 2
    rig.finish()


def test_the_source_chosen_is_home_from_then_on() -> None:
    rig = Rig()
    rig.session.switch(2)
    rig.play(second := rig.candidate(), 70)
    rig.first.vanish()
    second.end(SourceError(Reason.STALLED))
    assert rig.dialler.urls[-1] == "http://a/0", "behind the last comes the first"
    rig.dialler.last.fail()
    assert rig.session.index == 1
    rig.finish()


@pytest.mark.parametrize("account", [Account("one", 1), None])
def test_without_room_the_old_one_is_closed_first(account: Account | None) -> None:
    rig = Rig(account, hosts="aaa")
    rig.session.switch(1)
    assert rig.first.closed
    assert len(rig.dialler.dials) == 1
    rig.first.vanish()
    assert rig.dialler.urls == ["http://a/0", "http://a/1"]
    rig.finish()


def test_where_nobody_counts_another_host_has_room() -> None:
    rig = Rig(None)
    rig.session.switch(1)
    assert not rig.first.closed
    assert rig.dialler.urls == ["http://a/0", "http://b/1"]
    rig.finish()


def test_a_chosen_source_that_fails_is_left_as_any_other() -> None:
    rig = Rig()
    rig.session.switch(1)
    rig.dialler.last.fail()
    assert rig.first.closed, "somebody wanted to be rid of it"
    rig.first.vanish()
    assert rig.dialler.urls[-1] == "http://b/1"
    rig.dialler.last.fail()
    assert rig.dialler.urls[-1] == "http://c/2"
    rig.finish()


def test_a_better_source_that_fails_changes_nothing() -> None:
    rig = Rig()
    rig.session.leave_for(1, None)
    assert (rig.session.index, rig.observer.moves) == (0, [])
    rig.dialler.last.fail()
    assert not rig.first.closed
    assert rig.session.sources.quarantine(1, rig.clock.seconds()) > 0
    rig.play(rig.first, 5)
    assert rig.observer.left == []
    rig.finish()


@pytest.mark.parametrize("error", [None, DARK])
def test_a_better_source_takes_over(error: SourceError | None) -> None:
    rig = Rig()
    rig.session.leave_for(1, error)
    rig.session.leave_for(2, error)
    assert len(rig.dialler.dials) == 2, "one at a time"
    rig.play(rig.candidate(), 1)
    assert rig.first.closed
    assert rig.observer.left == [(0, 1, error)]
    assert rig.observer.moves == [1]
    assert (rig.session.sources.quarantine(0, rig.clock.seconds()) > 0) == (error is not None)
    rig.finish()


def test_the_old_source_breaks_while_the_new_one_has_no_access_point() -> None:
    rig = Rig()
    rig.session.switch(1)
    second = rig.candidate()
    second.bring(rig.programme.group()[188 * 4 :])
    rig.clock.pump([0.002] * 50)
    rig.first.end(SourceError(Reason.RESET))
    assert rig.observer.failed == [(0, 1, Reason.RESET)]
    assert len(rig.sink.bodies) == 2
    rig.play(second, 2)
    assert not second.closed
    assert len(rig.dialler.dials) == 2
    rig.finish()


@pytest.mark.parametrize("chosen", [True, False])
def test_the_old_source_breaks_while_the_new_one_is_dialled(chosen: bool) -> None:
    rig = Rig()
    if chosen:
        rig.session.switch(1)
    else:
        rig.session.leave_for(1, None)
    dial = rig.dialler.last
    rig.first.end(SourceError(Reason.ENDED))
    assert dial.cancelled
    assert rig.dialler.urls[-1] == ("http://b/1" if chosen else "http://a/0"), "who ran well is redialled"
    rig.play(rig.candidate(), 1)
    assert rig.session.index == int(chosen)
    rig.finish()


def test_each_step_replaces_the_one_before_and_back_to_the_start_is_none() -> None:
    rig = Rig()
    for index in (1, 2, 0):
        rig.session.switch(index)
        assert rig.session.index == index
    assert rig.dialler.urls == ["http://a/0", "http://b/1", "http://c/2"]
    assert [dial.cancelled for dial in rig.dialler.dials[1:]] == [True, True]
    assert not rig.first.closed
    rig.play(rig.first, 3)
    assert rig.observer.moves == [1, 2, 0]
    rig.finish()


@pytest.mark.parametrize("stage", ["dialling", "head", "flowing"])
@pytest.mark.parametrize("how", ["stop", "other sources"])
def test_ends_amid_it_leave_nothing(stage: str, how: str) -> None:
    rig = Rig()
    rig.session.switch(1)
    if stage != "dialling":
        second = rig.candidate()
    if stage == "flowing":
        second.bring(rig.programme.group()[188 * 4 :])
        rig.clock.pump([0.002] * 50)
    if how == "stop":
        rig.session.stop()
    else:
        rig.session.replace_sources((SourceRequest("http://x/0", "agent", (), True, TWO),))
        rig.clock.advance(PATIENCE)
    rig.finish()


def test_the_same_sources_again_disturb_nothing() -> None:
    rig = Rig()
    rig.session.switch(1)
    rig.session.replace_sources(rig.session._requests)
    rig.play(rig.candidate(), 1)
    assert rig.first.closed
    assert rig.session.index == 1
    rig.finish()


def test_no_access_point_for_long_is_no_reason_to_stay() -> None:
    rig = Rig()
    rig.session.switch(1)
    second = rig.candidate()
    for _ in range(int(PATIENCE * 2) + 2):
        second.bring(rig.programme.picture())
        rig.play(rig.first, 0.5)
    assert rig.first.closed
    assert len(rig.sink.bodies) == 2
    rig.finish()
