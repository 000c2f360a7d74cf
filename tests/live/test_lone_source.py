"""Silence of a source while the stream has no other one to go to."""

from __future__ import annotations

import pytest
from fakes import FakeBody, Programme
from session_rig import ONE, SessionRig

from m3uproxy.core.failover.resolver import ResolverAnswer
from m3uproxy.core.http.source_request import SourceRequest
from m3uproxy.core.slots.accounts import Account
from m3uproxy.errors import Reason
from m3uproxy.streams.monitor_rules import MonitorRules

TWO = Account("two", 2)


class LoneRig(SessionRig):
    """A session that has played one source for five seconds, after which the source is silent."""

    def __init__(
        self, account: Account | None = None, sources: int = 1, lone: float | None = 3, resolver: bool = False
    ) -> None:
        requests = [SourceRequest(f"http://a/{n}", "agent", (), True, account) for n in range(sources)]
        super().__init__(requests, None, MonitorRules(3.0, None, lone_silence=lone), resolver)
        self.programme = Programme()
        self.session.start()
        self.first = self.dialler.last.answer()
        self.play(self.first, 5)

    def play(self, body: FakeBody, seconds: float) -> None:
        for _ in range(round(seconds * 5)):
            body.bring(self.programme.group())
            self.pass_time(0.2)

    def seconds_until(self, condition) -> float:
        """Return the seconds of silence until a condition is true."""
        began = self.clock.seconds()
        while not condition():
            assert self.clock.seconds() < began + 60
            self.pass_time(0.02)
        return self.clock.seconds() - began + 0.2

    def finish(self) -> None:
        self.session.stop()
        self.vanish_all()
        assert self.clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("options", "seconds"),
    [
        ({}, 6),
        ({"account": ONE}, 6),
        ({"lone": 5}, 10),
        ({"lone": None}, 3),
        ({"sources": 2}, 3),
        ({"sources": 2, "account": ONE}, 3),
    ],
)
def test_silent_body_is_closed_after_twice_the_time_without_another_source(options: dict, seconds: float) -> None:
    rig = LoneRig(**options)
    assert rig.seconds_until(lambda: rig.first.closed) == pytest.approx(seconds, abs=0.2)
    assert len(rig.dialler.dials) == 1, "the socket is closed before the next dial"
    rig.first.vanish()
    assert rig.dialler.last.request.url == f"http://a/{rig.session.index}"
    assert [change.error.reason for change in rig.history.replaced] == [Reason.STALLED]
    rig.play(rig.dialler.last.answer(), 2)
    rig.finish()


def test_redialled_source_is_awaited() -> None:
    rig = LoneRig()
    rig.seconds_until(lambda: rig.first.closed)
    rig.first.vanish()
    rig.pass_time(15)
    assert rig.dialler.last.pending
    body = rig.dialler.last.answer()
    rig.play(body, 1)
    assert len(rig.dialler.dials) == 2
    rig.finish()


def test_source_that_delivers_again_in_time_stays() -> None:
    rig = LoneRig()
    for _ in range(4):
        rig.pass_time(5.5)
        rig.play(rig.first, 6)
    assert not rig.first.closed
    assert len(rig.dialler.dials) == 1
    rig.finish()


def test_second_connection_to_the_same_source_replaces_the_silent_one() -> None:
    rig = LoneRig(TWO)
    assert rig.seconds_until(lambda: len(rig.dialler.dials) == 2) == pytest.approx(3, abs=0.2)
    assert not rig.first.closed
    rig.pass_time(8)
    assert not rig.first.closed, "its dial is under way"
    second = rig.dialler.last.answer()
    rig.play(second, 1)
    assert rig.first.closed
    rig.first.vanish()
    assert rig.dialler.urls == ["http://a/0"] * 2
    assert len(rig.sink.bodies) == 2
    assert [(change.source, change.target) for change in rig.history.left] == [(0, 0)]
    assert rig.history.moves == []
    rig.play(second, 5)
    assert rig.slots.table.open_sockets("two") == 1
    rig.finish()


def test_second_dial_is_given_up_if_the_source_delivers_again() -> None:
    rig = LoneRig(TWO)
    rig.pass_time(4)
    dial = rig.dialler.last
    assert dial.pending
    rig.play(rig.first, 1)
    assert dial.cancelled
    assert not rig.first.closed
    assert rig.seconds_until(lambda: len(rig.dialler.dials) == 3) < 9, "it is silent again, and has paused before"
    rig.finish()


@pytest.mark.parametrize(("after", "closed"), [(1, False), (5, True)])
def test_refused_second_dial_leaves_the_silent_body_its_time(after: float, closed: bool) -> None:
    rig = LoneRig(TWO)
    rig.pass_time(3)
    rig.pass_time(after)
    rig.dialler.last.fail(Reason.BUSY)
    assert rig.first.closed is closed
    rig.seconds_until(lambda: rig.first.closed)
    rig.first.vanish()
    assert len(rig.dialler.dials) == 3
    rig.finish()


def test_switch_by_the_api_ends_the_wait_for_the_second_dial() -> None:
    rig = LoneRig(TWO)
    rig.pass_time(8)
    dial = rig.dialler.last
    rig.session.choose(0)
    assert dial.cancelled
    assert rig.first.closed
    rig.first.vanish()
    rig.play(rig.dialler.last.answer(), 2)
    assert rig.history.replaced == []
    rig.finish()


def test_resolver_is_asked_while_the_source_is_silent() -> None:
    rig = LoneRig(resolver=True)
    rig.pass_time(4)
    assert [error.reason for error in rig.resolver.faults] == [Reason.STALLED]
    assert not rig.first.closed
    rig.session.stay(rig.resolver.faults[0])
    rig.pass_time(2.5)
    assert rig.first.closed
    assert rig.session.asking_resolver
    rig.session.resolver_answered(ResolverAnswer())
    rig.first.vanish()
    assert rig.dialler.urls == ["http://a/0"] * 2
    rig.finish()


def test_resolver_that_names_none_lets_the_silent_source_be_dialled_a_second_time() -> None:
    rig = LoneRig(TWO, resolver=True)
    rig.pass_time(3.5)
    assert len(rig.dialler.dials) == 1, "the resolver is asked first"
    rig.session.stay(rig.resolver.faults[0])
    assert len(rig.dialler.dials) == 2
    assert not rig.first.closed
    second = rig.dialler.last.answer()
    rig.play(second, 1)
    assert rig.first.closed
    rig.first.vanish()
    assert rig.dialler.urls == ["http://a/0"] * 2
    rig.finish()


def test_late_answer_of_the_resolver_about_a_silence_that_is_over_has_no_effect() -> None:
    rig = LoneRig(TWO, resolver=True)
    rig.pass_time(3.5)
    rig.play(rig.first, 1)
    rig.session.stay(rig.resolver.faults[0])
    assert len(rig.dialler.dials) == 1
    rig.finish()
