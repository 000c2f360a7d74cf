"""The source monitor: silence, trickles, content faults, trends, failback and probes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fakes import Dial, FakeBody
from faulty_stream import STEP, TV, FaultySource
from session_rig import SessionRig, requests_of

from m3uproxy.core.failover.machine import FailoverPolicy
from m3uproxy.core.health.content import HealthLimits
from m3uproxy.core.http.source_request import SourceRequest
from m3uproxy.core.mpegts.packets import null_packet
from m3uproxy.core.slots.accounts import Account
from m3uproxy.errors import Reason, SourceError
from m3uproxy.streams.monitor_rules import MonitorRules


class MonitorRig(SessionRig):
    """A session whose sources deliver the stream of a :class:`FaultySource`."""

    def __init__(
        self, sources: int = 1, may_probe: bool = False, failback: float = 0.0, resolver: bool = False, **rules: Any
    ) -> None:
        account = None if may_probe else Account("one", 1)
        policy = FailoverPolicy(failback=failback)
        super().__init__(requests_of(sources, account), policy, MonitorRules(**rules), resolver, began=1000)
        self.resolver.account = account
        self.body = FakeBody()
        self.source = FaultySource()

    def play(self, seconds: float = 0.0) -> MonitorRig:
        """Let the dialled source answer and deliver a healthy stream."""
        self.session.start()
        self.body = self.dialler.last.answer()
        self.source = FaultySource()
        return self.run(max(seconds, STEP))

    def run(self, seconds: float) -> MonitorRig:
        """Let the body deliver for some seconds. After a closed body, the next one delivers."""
        for number in range(round(seconds / STEP)):
            if self.body.closed:
                self.move_on()
            self.body.bring((self.source.tables() if number % 10 == 0 else b"") + self.source.unit())
            self.clock.advance(STEP)
        return self

    def wait(self, seconds: float) -> MonitorRig:
        """Advance the clock while no data come."""
        self.clock.pump([0.02] * round(seconds / 0.02))
        return self

    def move_on(self) -> None:
        """Let the socket of the closed body close, and the next source answer."""
        assert self.body.closed
        self.body.vanish()
        self.body = self.dialler.last.answer()
        self.source = FaultySource()

    def finish(self) -> None:
        self.session.stop()
        self.clock.advance(0)
        assert self.clock.getDelayedCalls() == []
        assert self.sink.parser.observer is None
        assert self.session.monitor is None


BREAK: dict[str, Callable[[FaultySource], None]] = {
    "video gone": lambda source: setattr(source, "video", False),
    "picture frozen": lambda source: setattr(source, "frozen", True),
    "scrambled": lambda source: setattr(source, "scrambled", True),
    "transport errors": lambda source: setattr(source, "damaged", 2),
    "continuity errors": lambda source: setattr(source, "skip", True),
    "low bitrate": lambda source: setattr(source, "size", 300),
}
ALL_ON = HealthLimits(continuity=0.01, bitrate=62_500)


# faults in what comes


def test_a_healthy_source_is_left_alone() -> None:
    rig = MonitorRig(2, limits=ALL_ON, leave_suspect=True, failback=30).play(300)
    assert (rig.history.replaced, rig.history.left, rig.history.ignored) == ([], [], [])
    assert rig.session.monitor is not None
    condition = rig.session.monitor.snapshot
    assert condition is not None
    assert condition.fault is None
    assert condition.bytes_received > 300 * 90_000
    assert rig.session.monitor.ran == pytest.approx(300, abs=0.2)
    rig.finish()


@pytest.mark.parametrize("fault", BREAK)
def test_fault_switches_to_the_backup(fault: str) -> None:
    rig = MonitorRig(2, limits=ALL_ON).play(20)
    BREAK[fault](rig.source)
    rig.run(25)
    [change] = rig.history.left
    assert change.error is not None
    assert fault in str(change.error)
    assert change.target == 1
    assert rig.session.index == 1
    assert rig.session.sources.quarantine(0, rig.clock.seconds()) > 0
    rig.run(30)
    assert rig.dialler.urls == ["http://s0/", "http://s1/"]
    assert rig.history.ignored == []
    rig.finish()


@pytest.mark.parametrize("fault", BREAK)
def test_fault_without_a_backup_is_recorded_once(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("m3uproxy.live.monitor.RECORD_AGAIN", 100)
    rig = MonitorRig(1, limits=ALL_ON).play(20)
    BREAK[fault](rig.source)
    rig.run(90)
    assert not rig.body.closed
    [change] = rig.history.ignored
    assert fault in str(change.error)
    assert rig.session.monitor is not None
    assert rig.session.monitor.snapshot is not None
    assert rig.session.monitor.snapshot.fault == fault
    rig.run(70)
    assert len(rig.history.ignored) == 2
    rig.finish()


@pytest.mark.parametrize("fault", BREAK)
def test_a_resolver_is_asked_before_a_backup(fault: str) -> None:
    rig = MonitorRig(2, limits=ALL_ON, resolver=True).play(20)
    BREAK[fault](rig.source)
    rig.run(90)
    assert not rig.body.closed
    [error] = rig.resolver.faults
    assert fault in str(error)
    assert (rig.history.left, rig.history.ignored) == ([], [])
    rig.session.switch_to(rig.session.sources.add_named("http://named/"), error)
    assert rig.body.closed
    rig.run(30)
    assert rig.dialler.urls == ["http://s0/", "http://named/"]
    assert (rig.history.left[0].target, rig.session.index) == (1, 1)
    rig.finish()


def test_lasting_fault_switches_to_a_backup_that_left_quarantine() -> None:
    rig = MonitorRig(2).play(20)
    rig.session.sources.source_list.state_of(1).quarantined_until = rig.clock.seconds() + 30
    rig.source.video = False
    rig.run(20)
    assert len(rig.history.ignored) == 1
    rig.run(30)
    assert [change.target for change in rig.history.left] == [1]
    rig.finish()


def test_two_sources_with_the_same_fault_do_not_take_turns() -> None:
    rig = MonitorRig(2).play(20)
    rig.source.video = False
    rig.run(6)
    assert rig.session.index == 1
    rig.source.video = False
    rig.run(400)
    assert len(rig.history.left) == 1
    assert len(rig.history.ignored) == 1
    assert not rig.body.closed
    rig.finish()


def test_disabled_content_checks_observe_nothing() -> None:
    rig = MonitorRig(2, limits=None).play(5)
    assert rig.sink.parser.observer is None
    rig.source.video = False
    rig.run(60)
    assert rig.history.left == []
    assert rig.session.monitor is not None
    assert rig.session.monitor.snapshot is None
    rig.finish()


def test_failing_content_check_does_not_harm_the_stream(caplog: Any) -> None:
    rig = MonitorRig(2).play(1)
    assert rig.session.monitor is not None
    rig.session.monitor._health.packets_received = None  # type: ignore[assignment, method-assign, union-attr]
    rig.run(5)
    assert rig.sink.parser.observer is None
    assert not rig.body.closed
    rig.finish()


def test_next_body_restarts_the_content_checks() -> None:
    """Samples of one body do not count for the next one, even from the same source."""
    rig = MonitorRig(1).play(20)
    rig.source.video = False
    rig.run(4)
    rig.body.end()
    rig.body = rig.dialler.last.answer()
    rig.run(4)
    assert rig.history.ignored == []
    rig.finish()


def test_content_is_checked_again_after_a_discontinuity() -> None:
    rig = MonitorRig(1).play(20)
    rig.body.consumer.discontinuity()
    rig.source = FaultySource()
    rig.run(4)
    assert rig.session.monitor is not None
    condition = rig.session.monitor.snapshot
    assert condition is not None
    assert 0 < condition.bytes_received < 10 * 90_000
    assert rig.session.monitor.ran == pytest.approx(24, abs=0.3)
    assert rig.history.replaced == []
    rig.finish()


def test_fault_is_acted_on_after_the_packets_are_sent() -> None:
    """A fast source delivers several chunks between two calls of ``data_received``."""
    rig = MonitorRig(2).play(20)
    watch, look = rig.session.monitor, rig.sink.parser.observer
    assert watch is not None
    assert look is not None
    rig.source.video = False
    while watch._fault is None:
        rig.clock.rightNow += STEP
        look(rig.clock.seconds(), rig.source.unit(), TV)
    look(rig.clock.seconds(), rig.source.unit(), TV)
    assert not rig.body.closed
    watch.data_received()
    assert rig.body.closed
    rig.finish()


# silence


def test_silence_is_a_stall_without_a_backup() -> None:
    for sources in (1, 2):
        rig = MonitorRig(sources).play(20)
        rig.wait(2.9)
        assert not rig.body.closed
        rig.wait(0.3)
        assert rig.body.closed
        assert "stalled" in str(rig.history.replaced[0].error)
        rig.finish()


@pytest.mark.parametrize("limits", [HealthLimits(), None])
def test_first_burst_extends_the_silence_timeout(limits: HealthLimits | None) -> None:
    """Six seconds of video come at once, then nothing for six seconds."""
    rig = MonitorRig(1, limits=limits).play()
    for _ in range(4):
        if rig.body.closed:
            break
        rig.body.bring(rig.source.tables() + b"".join(rig.source.unit() for _ in range(150)))
        rig.wait(6)
    assert not rig.body.closed
    rig.finish()


@pytest.mark.parametrize("before", [0, 60])
@pytest.mark.parametrize("limits", [HealthLimits(), None])
def test_a_trickle_does_not_keep_a_dead_source_alive(before: float, limits: HealthLimits | None) -> None:
    rig = MonitorRig(1, limits=limits).play(before)
    packets = rig.source.unit()
    for number in range(60):
        if rig.body.closed:
            break
        at = number * 188 % len(packets)
        rig.body.bring(packets[at : at + 188])
        rig.wait(0.5)
    assert rig.body.closed
    [change] = rig.history.replaced
    assert str(change.error).startswith("stalled: a trickle of ")
    assert change.target == 0
    assert rig.clock.seconds() - 1000 - before < 17.5
    rig.finish()


def test_padding_does_not_hide_a_trickle() -> None:
    rig = MonitorRig(1).play(20)
    packets = rig.source.unit()
    for number in range(600):
        if rig.body.closed:
            break
        at = number * 188 % len(packets)
        rig.body.bring(null_packet() * 100 + (packets[at : at + 188] if number % 10 == 0 else b""))
        rig.wait(0.06)
    assert rig.body.closed
    assert str(rig.history.replaced[0].error).startswith("stalled: a trickle of ")
    rig.finish()


KEPT_ALIVE: dict[str, Callable[[FaultySource], bytes]] = {
    "padding": lambda source: null_packet() * 7,
    "tables": lambda source: source.tables(),
    "zeros": lambda source: bytes(1316),
    "line ends": lambda source: b"\r\n",
}


@pytest.mark.parametrize("kind", KEPT_ALIVE)
def test_bytes_without_media_start_no_source(kind: str) -> None:
    """The source counts as silent: first the timeout of the first byte, then the backup."""
    rig = MonitorRig(2)
    rig.session.start()
    rig.body = rig.dialler.last.answer()
    for _ in range(63):
        assert not rig.session.sources.report(rig.clock.seconds())[0]["failures"]
        rig.body.bring(KEPT_ALIVE[kind](rig.source))
        rig.wait(0.1)
        if rig.body.closed:
            break
    assert rig.body.closed
    assert rig.history.replaced[0].error is not None
    assert rig.history.replaced[0].error.reason in (Reason.FIRST_BYTE_TIMEOUT, Reason.NOT_TRANSPORT_STREAM)
    assert rig.session.monitor is None
    rig.move_on()
    assert rig.session.index == 1
    rig.run(1)
    assert rig.session.index == 1
    assert rig.session.sources.quarantine(0, rig.clock.seconds()) > 0
    rig.finish()


@pytest.mark.parametrize("kind", KEPT_ALIVE)
def test_bytes_without_media_are_silence(kind: str) -> None:
    rig = MonitorRig(2).play(20)
    began = rig.clock.seconds()
    while not rig.body.closed and rig.clock.seconds() < began + 20:
        rig.body.bring(KEPT_ALIVE[kind](rig.source))
        rig.wait(0.1)
    assert rig.clock.seconds() - began == pytest.approx(3, abs=0.4)
    assert str(rig.history.replaced[0].error).startswith("stalled: no picture or sound for 3.")
    rig.finish()


def test_bursts_between_padding_are_no_silence() -> None:
    """Padding fills the pauses between bursts of 8 s."""
    rig = MonitorRig(1).play()
    for _ in range(3):
        rig.body.bring(rig.source.tables() + b"".join(rig.source.unit() for _ in range(200)))
        for _ in range(80):
            rig.body.bring(null_packet() * 7)
            rig.wait(0.1)
    assert not rig.body.closed
    rig.finish()


def test_body_may_pause_as_long_as_it_says() -> None:
    """A playlist of one segment is joined: the next segment may be late."""
    rig = MonitorRig(1)
    rig.session.start()
    rig.body = FakeBody()
    rig.body.expected_pause = 10.0
    rig.dialler.last.answer(rig.body)
    rig.run(20).wait(12.8)
    assert not rig.body.closed
    rig.wait(0.4)
    assert rig.body.closed
    rig.finish()


def test_exact_silence_holds_for_bursts_too() -> None:
    rig = MonitorRig(1, silence=2, exact=True).play()
    rig.body.bring(rig.source.tables() + b"".join(rig.source.unit() for _ in range(200)))
    rig.wait(1.9)
    assert not rig.body.closed
    rig.wait(0.3)
    assert rig.body.closed
    rig.finish()


def test_pauses_are_known_when_the_source_is_dialled_again() -> None:
    """The picture has no timestamps that advance, so only the pauses show that the source delivers in bursts."""
    rig = MonitorRig(1, limits=None).play()
    rig.source.frozen = True
    for _ in range(3):
        rig.body.bring(rig.source.tables() + rig.source.unit() * 9)
        rig.wait(2.6)
    rig.body.end()
    rig.clock.advance(0)
    rig.move_on()
    rig.source.frozen = True
    rig.body.bring(rig.source.tables() + rig.source.unit() * 9)
    rig.wait(4.8)
    assert not rig.body.closed
    rig.finish()


# suspicion


def worsening(rig: MonitorRig) -> None:
    """Deliver with growing pauses and lost packets."""
    for period in range(8):
        if rig.history.left:
            return
        for _ in range(6):
            rig.run(9.5 - 0.3 * period)
            rig.wait(0.5 + 0.3 * period)


@pytest.mark.parametrize(("leave", "sources"), [(False, 2), (True, 1), (True, 2)])
def test_suspect_source_is_left_if_the_setting_says_so(leave: bool, sources: int) -> None:
    rig = MonitorRig(sources, leave_suspect=leave).play(240)
    worsening(rig)
    assert bool(rig.history.left) == (leave and sources == 2)
    assert bool(rig.history.ignored) == (leave and sources == 1)
    if rig.history.left:
        assert "about to fail" in str(rig.history.left[0].error)
    elif rig.session.monitor is not None:
        assert "growing" in " ".join(rig.session.monitor.signs)
    rig.finish()


# a better source


def on_backup(rig: MonitorRig) -> MonitorRig:
    """Let the primary stall, so that the backup plays."""
    return rig.play(5).wait(3.2).run(1)


def test_no_failback_unless_it_is_wanted() -> None:
    rig = on_backup(MonitorRig(2)).run(300)
    assert rig.session.index == 1
    assert rig.history.left == []
    rig.finish()


def test_failback_after_both_have_been_calm() -> None:
    rig = on_backup(MonitorRig(2, failback=200))
    began = rig.clock.seconds()
    while not rig.history.left and rig.clock.seconds() < began + 600:
        rig.run(10)
    [change] = rig.history.left
    assert rig.session.index == 0
    assert (change.error, change.target) == (None, 0)
    assert 200 <= change.time - began + 1 <= 260
    rig.run(300)
    assert (rig.session.index, len(rig.history.left)) == (0, 1)
    assert rig.session.sources.quarantine(1, rig.clock.seconds()) == 0
    rig.finish()


def test_failed_failback_returns_and_waits() -> None:
    rig = on_backup(MonitorRig(2, failback=100)).run(100)
    while not rig.body.closed:
        rig.run(STEP)
    rig.body.vanish()
    assert rig.dialler.last.request.url == "http://s0/"
    rig.dialler.last.fail(Reason.REFUSED)
    rig.body = rig.dialler.last.answer()
    rig.run(90)
    assert rig.session.index == 1
    assert len(rig.history.left) == 1
    rig.run(120)
    assert len(rig.history.left) == 2
    rig.finish()


# probing


def test_backups_are_probed_only_if_the_setting_says_so() -> None:
    for rig in (MonitorRig(2), MonitorRig(2, may_probe=False, probe=True), MonitorRig(1, probe=True, may_probe=True)):
        rig.play(300)
        assert rig.dialler.urls == ["http://s0/"]
        rig.finish()


def test_probe_closes_after_the_first_media() -> None:
    rig = MonitorRig(2, probe=True, may_probe=True).play(61)
    probe = rig.dialler.last
    assert probe.request.url == "http://s1/"
    body = probe.answer()
    source = FaultySource()
    body.bring(source.tables() + null_packet() * 50)
    assert not body.closed
    body.bring(source.unit())
    assert body.closed
    body.vanish()
    rig.run(60)
    assert len(rig.dialler.dials) == 3
    assert rig.session.index == 0
    rig.finish()
    assert rig.dialler.last.cancelled


def test_failed_probe_quarantines_the_backup() -> None:
    rig = MonitorRig(3, probe=True, may_probe=True).play(61)
    rig.dialler.last.fail(Reason.NOT_VIDEO)
    assert rig.session.sources.quarantine(1, rig.clock.seconds()) > 0
    assert rig.history.replaced == []
    rig.wait(3.2)
    rig.body.vanish()
    assert rig.dialler.last.request.url == "http://s2/"
    rig.finish()


@pytest.mark.parametrize("well", [False, True])
@pytest.mark.parametrize(("after", "place"), [([0, 2, 1], 2), ([1, 0, 2], 0), ([0, 2], None)])
def test_probe_result_counts_for_the_probed_source(well: bool, after: list[int], place: int | None) -> None:
    """The list of sources may change during a probe."""
    rig = MonitorRig(3, probe=True, may_probe=True).play(61)
    probe, now = rig.dialler.last, rig.clock.seconds()
    sources = rig.session.sources
    assert probe.request.url == "http://s1/"
    rig.session.replace_sources(tuple(SourceRequest(f"http://s{n}/", "agent", (), True, None) for n in after))
    if well:
        for index in range(len(after)):
            sources.source_list.state_of(index).quarantined_until = now + 100
        probe.answer().bring(FaultySource().unit())
    else:
        probe.fail(Reason.NOT_VIDEO)
    changed = [index for index in range(len(after)) if (sources.quarantine(index, now) == 0) is well]
    assert changed == ([] if place is None else [place])
    rig.finish()


@pytest.mark.parametrize("phase", ["dialling", "waiting for a packet"])
def test_a_probe_ends_with_the_body_that_is_watched(phase: str) -> None:
    rig = MonitorRig(2, probe=True, may_probe=True).play(61)
    probe = rig.dialler.last
    body = probe.answer() if phase != "dialling" else None
    rig.body.end()
    assert probe.cancelled == (phase == "dialling")
    assert body is None or body.closed
    rig.finish()


def test_hanging_probe_is_single_and_times_out() -> None:
    rig = MonitorRig(2, probe=True, may_probe=True).play(61)
    body = rig.dialler.last.answer()
    rig.run(5.9)
    assert not body.closed
    rig.run(0.2)
    assert body.closed
    assert rig.session.sources.quarantine(1, rig.clock.seconds()) > 0
    assert len(rig.dialler.dials) == 2
    rig.finish()


def test_probes_do_not_pile_up() -> None:
    rig = MonitorRig(2, probe=True, may_probe=True).play(400)
    assert sum(dial.pending for dial in rig.dialler.dials) == 1
    rig.finish()


def answer_html(dial: Dial) -> FakeBody:
    body = dial.answer()
    body.bring(b"<html>login</html>")
    return body


def answer_nothing(dial: Dial) -> FakeBody:
    body = dial.answer()
    body.end(SourceError(Reason.RESET))
    return body


@pytest.mark.parametrize("answer", [answer_html, answer_nothing])
def test_probe_rejects_a_backup_that_is_no_stream(answer: Callable[[Dial], FakeBody]) -> None:
    rig = MonitorRig(2, probe=True, may_probe=True).play(61)
    body = answer(rig.dialler.last)
    assert body.closed
    assert rig.session.sources.quarantine(1, rig.clock.seconds()) > 0
    rig.finish()


def test_no_reviews() -> None:
    rig = MonitorRig(2, probe=True, may_probe=True, leave_suspect=True, failback=10, interval=0).play(300)
    assert rig.dialler.urls == ["http://s0/"]
    rig.finish()
