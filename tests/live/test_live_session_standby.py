"""Standby connections: the next source is opened before the one in use is closed."""

from __future__ import annotations

import pytest
from fakes import FakeBody, Programme
from session_rig import SessionRig

from m3uproxy.core.http.source_request import SourceRequest
from m3uproxy.core.mpegts.packets import null_packet
from m3uproxy.core.slots.accounts import Account
from m3uproxy.errors import Reason, SourceError
from m3uproxy.live.standby_connection import MAX_WAIT

TWO = Account("two", 2)
DARK = SourceError(Reason.CONTENT, "no picture")


class StandbyRig(SessionRig):
    """A session that plays its first source."""

    def __init__(self, account: Account | None = TWO, sources: int = 3, hosts: str = "abc") -> None:
        urls = [f"http://{hosts[n]}/{n}" for n in range(sources)]
        super().__init__([SourceRequest(url, "agent", (), True, account) for url in urls])
        self.programme = Programme()
        self.session.start()
        self.first = self.dialler.last.answer()
        self.play(self.first, 2)

    def play(self, body: FakeBody, seconds: float) -> None:
        for _ in range(round(seconds * 10)):
            body.bring(self.programme.group())
            self.pass_time(0.1)

    def answer_standby(self) -> FakeBody:
        """Answer the last dial."""
        return self.dialler.last.answer()

    def sockets(self) -> int:
        return self.slots.table.open_sockets("two")

    def finish(self) -> None:
        self.session.stop()
        self.vanish_all()
        assert self.clock.getDelayedCalls() == []
        assert self.slots.table.report()["providers"] == []


def test_the_old_source_plays_until_the_new_one_has_an_access_point() -> None:
    rig = StandbyRig()
    rig.session.choose(1)
    assert (rig.session.index, rig.history.moves) == (1, [1])
    second = rig.answer_standby()
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
    assert rig.history.moves == [1]
    assert rig.history.replaced == rig.history.left == []
    assert len(rig.dialler.dials) == 2
    rig.finish()


@pytest.mark.parametrize("lead", [null_packet() * 700, Programme().tables() * 300])
def test_standby_without_media_is_not_ready(lead: bytes) -> None:
    """Padding or tables alone, more than the buffer holds: the source in use plays on."""
    rig = StandbyRig()
    rig.session.choose(1)
    second = rig.answer_standby()
    for _ in range(58):
        second.bring(lead)
        rig.play(rig.first, 0.1)
    assert not rig.first.closed
    standby = rig.session._standby.connection
    assert standby is not None
    assert not standby.has_started
    assert standby._buffer._size < 2 << 20
    second.bring(rig.programme.group() + rig.programme.picture())
    rig.clock.pump([0.002] * 50)
    assert rig.first.closed
    rig.play(second, 3)
    assert len(rig.dialler.dials) == 2
    rig.finish()


def test_burst_before_the_takeover_is_no_silence_after_it() -> None:
    """The next source brings ten seconds before it takes over, then pauses for eight."""
    rig = StandbyRig()
    rig.session.choose(1)
    second = rig.answer_standby()
    second.bring(b"".join(rig.programme.group() for _ in range(50)))
    rig.clock.pump([0.002] * 50)
    assert rig.first.closed
    rig.first.vanish()
    rig.pass_time(8)
    assert not second.closed
    rig.play(second, 1)
    assert len(rig.dialler.dials) == 2
    rig.finish()


def test_chosen_source_becomes_the_home_source() -> None:
    rig = StandbyRig()
    rig.session.choose(2)
    rig.play(second := rig.answer_standby(), 70)
    rig.first.vanish()
    second.end(SourceError(Reason.STALLED))
    assert rig.dialler.urls[-1] == "http://a/0", "behind the last comes the first"
    rig.dialler.last.fail()
    assert rig.session.index == 1
    rig.finish()


@pytest.mark.parametrize("account", [Account("one", 1), None])
def test_without_a_second_connection_the_old_one_is_closed_first(account: Account | None) -> None:
    rig = StandbyRig(account, hosts="aaa")
    rig.session.choose(1)
    assert rig.first.closed
    assert len(rig.dialler.dials) == 1
    rig.first.vanish()
    assert rig.dialler.urls == ["http://a/0", "http://a/1"]
    rig.finish()


def test_uncounted_connections_allow_a_second_host() -> None:
    rig = StandbyRig(None)
    rig.session.choose(1)
    assert not rig.first.closed
    assert rig.dialler.urls == ["http://a/0", "http://b/1"]
    rig.finish()


def test_failed_chosen_source_is_replaced() -> None:
    rig = StandbyRig()
    rig.session.choose(1)
    rig.dialler.last.fail()
    assert rig.first.closed, "the API chose another source"
    rig.first.vanish()
    assert rig.dialler.urls[-1] == "http://b/1"
    rig.dialler.last.fail()
    assert rig.dialler.urls[-1] == "http://c/2"
    rig.finish()


def test_failed_standby_of_a_better_source_changes_nothing() -> None:
    rig = StandbyRig()
    rig.session.switch_to(1, None)
    assert (rig.session.index, rig.history.moves) == (0, [])
    rig.dialler.last.fail()
    assert not rig.first.closed
    assert rig.session.sources.quarantine(1, rig.clock.seconds()) > 0
    rig.play(rig.first, 5)
    assert rig.history.left == []
    rig.finish()


@pytest.mark.parametrize("error", [None, DARK])
def test_better_source_takes_over_by_standby(error: SourceError | None) -> None:
    rig = StandbyRig()
    rig.session.switch_to(1, error)
    rig.session.switch_to(2, error)
    assert len(rig.dialler.dials) == 2, "one at a time"
    rig.play(rig.answer_standby(), 1)
    assert rig.first.closed
    assert [(change.source, change.target, change.error) for change in rig.history.left] == [(0, 1, error)]
    assert rig.history.moves == [1]
    assert (rig.session.sources.quarantine(0, rig.clock.seconds()) > 0) == (error is not None)
    rig.finish()


def test_the_old_source_breaks_while_the_new_one_has_no_access_point() -> None:
    rig = StandbyRig()
    rig.session.choose(1)
    second = rig.answer_standby()
    second.bring(rig.programme.group()[188 * 4 :])
    rig.clock.pump([0.002] * 50)
    rig.first.end(SourceError(Reason.RESET))
    assert [(change.source, change.target) for change in rig.history.replaced] == [(0, 1)]
    assert [change.error.reason for change in rig.history.replaced if change.error] == [Reason.RESET]
    assert len(rig.sink.bodies) == 2
    rig.play(second, 2)
    assert not second.closed
    assert len(rig.dialler.dials) == 2
    rig.finish()


@pytest.mark.parametrize("chosen", [True, False])
def test_the_old_source_breaks_while_the_new_one_is_dialled(chosen: bool) -> None:
    rig = StandbyRig()
    if chosen:
        rig.session.choose(1)
    else:
        rig.session.switch_to(1, None)
    dial = rig.dialler.last
    rig.first.end(SourceError(Reason.ENDED))
    assert dial.cancelled
    assert rig.dialler.urls[-1] == ("http://b/1" if chosen else "http://a/0"), "who ran well is redialled"
    rig.play(rig.answer_standby(), 1)
    assert rig.session.index == int(chosen)
    rig.finish()


def test_each_choice_replaces_the_standby_before() -> None:
    rig = StandbyRig()
    for index in (1, 2, 0):
        rig.session.choose(index)
        assert rig.session.index == index
    assert rig.dialler.urls == ["http://a/0", "http://b/1", "http://c/2"]
    assert [dial.cancelled for dial in rig.dialler.dials[1:]] == [True, True]
    assert not rig.first.closed
    rig.play(rig.first, 3)
    assert rig.history.moves == [1, 2, 0]
    rig.finish()


@pytest.mark.parametrize("stage", ["dialling", "head", "flowing"])
@pytest.mark.parametrize("how", ["stop", "other sources"])
def test_stop_during_standby_leaves_nothing(stage: str, how: str) -> None:
    rig = StandbyRig()
    rig.session.choose(1)
    if stage != "dialling":
        second = rig.answer_standby()
    if stage == "flowing":
        second.bring(rig.programme.group()[188 * 4 :])
        rig.clock.pump([0.002] * 50)
    if how == "stop":
        rig.session.stop()
    else:
        rig.session.replace_sources((SourceRequest("http://x/0", "agent", (), True, TWO),))
        rig.clock.advance(MAX_WAIT)
    rig.finish()


def test_same_sources_keep_the_standby() -> None:
    rig = StandbyRig()
    rig.session.choose(1)
    rig.session.replace_sources(rig.session._requests)
    rig.play(rig.answer_standby(), 1)
    assert rig.first.closed
    assert rig.session.index == 1
    rig.finish()


def test_standby_takes_over_without_an_access_point_after_a_timeout() -> None:
    rig = StandbyRig()
    rig.session.choose(1)
    second = rig.answer_standby()
    for _ in range(int(MAX_WAIT * 2) + 2):
        second.bring(rig.programme.picture())
        rig.play(rig.first, 0.5)
    assert rig.first.closed
    assert len(rig.sink.bodies) == 2
    rig.finish()
