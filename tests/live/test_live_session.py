"""The live session: phases, stops, chosen sources, failures and the resolver."""

from __future__ import annotations

from typing import Any

import pytest
from fakes import Dial, FakeBody, Programme
from session_rig import SessionRig, requests_of
from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, globalLogPublisher

from m3uproxy.core.failover.machine import FailoverPolicy
from m3uproxy.core.failover.resolver import ResolverAnswer
from m3uproxy.core.http.source_request import SourceRequest
from m3uproxy.errors import Reason
from m3uproxy.streams.monitor_rules import MonitorRules

INTERVAL = 0.04
SILENCE = 3.0


class LiveRig(SessionRig):
    """A session whose sources deliver a programme."""

    def __init__(self, sources: int = 1, policy: FailoverPolicy | None = None, **options: Any) -> None:
        default = FailoverPolicy(laps=2, backoff=1, start=19, total=30, connect=4, first_byte=6)
        rules = MonitorRules(options.get("silence", SILENCE), None)
        super().__init__(requests_of(sources), policy or default, rules, options.get("resolver", False), INTERVAL)
        self.programme = Programme()

    def flow(self, body: FakeBody, seconds: float = 0.0) -> None:
        """Deliver some video now, and more every 200 ms, at the pace of its timestamps."""
        body.bring(self.programme.group())
        self.clock.advance(0)
        for _ in range(round(seconds * 5)):
            body.bring(self.programme.group())
            self.pass_time(0.2)

    def playing(self, seconds: float = 0.0) -> FakeBody:
        """Start the session, and let the source deliver."""
        self.session.start()
        body = self.dialler.last.answer()
        self.flow(body, seconds)
        return body

    def stop(self) -> Deferred[None]:
        stopped = self.session.stop()
        assert self.clock.getDelayedCalls() == []
        assert not self.session.active
        return stopped


def replaced(rig: LiveRig) -> list[tuple[int, int | None, str]]:
    """Return for each failure the source, the next one, and the answer of the resolver."""
    return [(change.source, change.target, str(change.answer)) for change in rig.history.replaced]


NAMED = ResolverAnswer("http://named/")
OTHER = ResolverAnswer("http://other/")
NONE = ResolverAnswer()
SILENT = ResolverAnswer(problem="it is silent")

PHASES = ["dialling", "head", "flowing", "paused", "waiting for the old socket", "resting"]


def reach(rig: LiveRig, phase: str) -> FakeBody | None:
    """Bring a session to a phase, and return the body whose socket is open, if any."""
    rig.session.start()
    if phase == "dialling":
        return None
    if phase == "resting":
        for _ in rig.session._requests:
            rig.dialler.last.fail()
        assert rig.session.active
        return None
    body = rig.dialler.last.answer()
    if phase == "head":
        return body
    body.bring(rig.programme.group())
    if phase == "flowing":
        rig.clock.advance(0)
        rig.clock.advance(INTERVAL)
    elif phase == "paused":
        rig.clock.advance(0)
    else:
        rig.clock.advance(0)
        rig.session.choose(rig.session.index + 1)
        assert len(rig.dialler.dials) == 1
    return body


# the way of a byte


def test_starts_at_once_and_delivers() -> None:
    rig = LiveRig()
    assert not rig.session.active
    rig.session.start()
    assert rig.session.active
    assert rig.dialler.urls == ["http://s0/"]
    body = rig.dialler.last.answer()
    rig.flow(body, 3)
    assert len(rig.sink.bodies) == 1
    assert rig.sink.bodies[0]
    assert (rig.history.moves, rig.history.replaced) == ([], [])
    assert rig.session.error is None
    rig.stop()
    body.vanish()


def test_start_again_is_harmless() -> None:
    rig = LiveRig()
    for _ in range(50):
        rig.session.start()
    body = rig.dialler.last.answer()
    rig.session.start()
    rig.flow(body)
    rig.session.start()
    assert len(rig.dialler.dials) == 1
    rig.stop()


def test_limits_of_the_dial_come_from_the_policy() -> None:
    rig = LiveRig(2)
    rig.session.start()
    limits = rig.dialler.last.timeouts
    assert (limits.connect, limits.first_byte, limits.total) == (4, 6, 9.5)
    rig.stop()


# stopping


@pytest.mark.parametrize("phase", PHASES)
def test_stop_leaves_nothing_behind(phase: str) -> None:
    rig = LiveRig(2)
    body = reach(rig, phase)
    stopped = rig.stop()
    if body is None:
        assert stopped.called
    else:
        assert body.closed
        assert not stopped.called
        body.vanish()
        assert stopped.called
    rig.clock.advance(100)
    assert len(rig.dialler.dials) <= 2
    assert not any(dial.pending for dial in rig.dialler.dials)
    assert rig.sink.errors == []


@pytest.mark.parametrize("phase", PHASES)
def test_start_behind_a_stop_waits_for_the_old_socket(phase: str) -> None:
    rig = LiveRig(2)
    body = reach(rig, phase)
    rig.session.stop()
    dials = len(rig.dialler.dials)
    rig.session.start()
    if body is not None:
        assert len(rig.dialler.dials) == dials
        body.vanish()
    if phase == "resting":
        rig.clock.advance(1)
    assert len(rig.dialler.dials) == dials + 1
    rig.flow(rig.dialler.last.answer(), 1)
    rig.stop()


def test_stop_twice_and_before_start() -> None:
    rig = LiveRig()
    assert rig.stop().called
    body = rig.playing()
    first, second = rig.session.stop(), rig.session.stop()
    body.vanish()
    assert first.called
    assert second.called


def test_stop_inside_the_sink() -> None:
    rig = LiveRig()
    rig.sink.on_bytes = lambda: rig.session.stop() and None
    body = rig.playing()
    assert body.closed
    assert rig.clock.getDelayedCalls() == []
    assert len(rig.history.replaced) == 0
    assert rig.session.error is None


def test_data_after_stop_are_dropped() -> None:
    rig = LiveRig()
    body = rig.playing()
    before = list(rig.sink.bodies)
    rig.session.stop()
    body.bring_anyway(rig.programme.group())
    rig.clock.advance(1)
    assert rig.sink.bodies == before
    body.vanish()


# failing


def test_a_refused_dial_tries_the_next_then_rests_then_gives_up() -> None:
    rig = LiveRig(2)
    rig.session.start()
    rig.dialler.last.fail(Reason.REFUSED)
    rig.dialler.last.fail(Reason.DNS)
    assert rig.dialler.urls == ["http://s0/", "http://s1/"]
    rig.clock.advance(0.99)
    assert len(rig.dialler.dials) == 2
    rig.clock.advance(0.01)
    rig.dialler.last.fail(Reason.REFUSED)
    rig.dialler.last.fail(Reason.BAD_HEAD)
    assert [error.reason for error in rig.sink.errors] == [Reason.BAD_HEAD]
    assert len(rig.history.replaced) == 4
    assert rig.history.moves == [1, 0, 1]
    assert rig.clock.getDelayedCalls() == []
    assert not rig.session.active
    assert rig.session.error is not None


def test_redial_waits_for_the_old_socket() -> None:
    rig = LiveRig()
    body = rig.playing(2)
    rig.pass_time(SILENCE)
    assert body.closed
    assert len(rig.dialler.dials) == 1
    body.vanish()
    assert len(rig.dialler.dials) == 2
    rig.stop()


def test_closed_source_is_redialled_at_once() -> None:
    rig = LiveRig(2)
    rig.session.start()
    for _ in range(20):
        body = rig.dialler.last.answer()
        rig.flow(body, 2)
        body.end()
        assert rig.dialler.last.at == rig.clock.seconds()
        assert rig.session.index == 0
    assert rig.history.moves == []
    rig.stop()


def test_source_with_one_packet_is_not_redialled_in_a_loop() -> None:
    rig = LiveRig(policy=FailoverPolicy(laps=5, backoff=1, total=0))

    def one_packet(dial: Dial) -> None:
        body = FakeBody()

        def deliver() -> None:
            body.bring(rig.programme.group())
            body.end()

        rig.clock.callLater(0.001, deliver)
        rig.clock.callLater(0, dial.answer, body)

    rig.dialler.script = one_packet
    rig.session.start()
    for _ in range(5000):
        rig.clock.advance(0.002)
    assert 4 <= len(rig.dialler.dials) <= 6
    gaps = [b.at - a.at for a, b in zip(rig.dialler.dials, rig.dialler.dials[1:], strict=False)]
    assert min(gaps) >= 1
    assert len(rig.sink.errors) == 1
    assert rig.clock.getDelayedCalls() == []


def test_dials_that_fail_at_once_do_not_recurse_without_bound() -> None:
    rig = LiveRig(300)
    rig.dialler.script = lambda dial: dial.fail(Reason.BAD_HEAD)
    rig.session.start()
    assert len(rig.dialler.dials) == 300
    rig.clock.advance(1)
    assert len(rig.dialler.dials) == 600
    assert [error.reason for error in rig.sink.errors] == [Reason.BAD_HEAD]


def test_an_unexpected_failure_of_the_dialler_counts_as_one(caplog: Any) -> None:
    rig = LiveRig(2)
    rig.session.start()
    rig.dialler.last.deferred.errback(ZeroDivisionError("x"))
    assert rig.dialler.urls == ["http://s0/", "http://s1/"]
    assert rig.session.error is not None
    assert rig.session.error.reason is Reason.INTERNAL
    rig.stop()


# silence


def test_stalled_after_three_seconds() -> None:
    rig = LiveRig()
    body = rig.playing(5)
    at = rig.clock.seconds()
    while not body.closed and rig.clock.seconds() < at + 60:
        rig.pass_time(0.01)
    assert rig.clock.seconds() - at == pytest.approx(SILENCE - 0.2, abs=0.15), "the last picture came before"
    assert rig.session.error is not None
    assert rig.session.error.reason is Reason.STALLED
    rig.stop()


def test_each_packet_counts_against_silence() -> None:
    rig = LiveRig()
    body = rig.playing()
    for _ in range(20):
        rig.pass_time(2.8)
        body.bring(rig.programme.picture(size=4000))
    assert not body.closed
    rig.stop()


def test_bytes_without_packets_count_as_silence() -> None:
    """A source may continue with a web page, zeros, or wrongly decrypted data."""
    rig = LiveRig()
    body = rig.playing(5)
    for _ in range(50):
        if body.closed:
            break
        body.bring(bytes(4000))
        rig.pass_time(0.1)
    assert body.closed
    assert rig.session.error is not None
    assert rig.session.error.reason is Reason.STALLED
    body.vanish()
    rig.stop()


def test_a_late_reactor_is_not_a_silent_source() -> None:
    """After a suspended machine or a long reactor turn, the bytes are in the kernel and come right after the timer."""
    rig = LiveRig()
    body = rig.playing(1)
    rig.clock.advance(60)
    assert not body.closed
    rig.flow(body, 10)
    assert not body.closed
    rig.clock.advance(60)
    rig.pass_time(0.6)
    assert body.closed
    rig.stop()


def test_no_silence_limit() -> None:
    rig = LiveRig(silence=0)
    body = rig.playing()
    rig.clock.pump([1.0] * 1000)
    assert not body.closed
    rig.stop()


# a body that is no video


@pytest.mark.parametrize(
    ("bring", "reason"),
    [(b"<html>login</html>", Reason.NOT_VIDEO), (bytes(70_000), Reason.NOT_TRANSPORT_STREAM)],
)
def test_no_video_moves_on_at_once(bring: bytes, reason: Reason) -> None:
    rig = LiveRig(2)
    rig.session.start()
    body = rig.dialler.last.answer()
    body.bring(bring)
    rig.clock.advance(0)
    assert body.closed
    assert rig.session.error is not None
    assert rig.session.error.reason is reason
    assert len(rig.dialler.dials) == 1
    body.vanish()
    assert rig.dialler.urls[-1] == "http://s1/"
    rig.stop()


@pytest.mark.parametrize("trickle", [False, True])
def test_a_head_without_a_body_fails_within_the_first_byte_limit(trickle: bool) -> None:
    rig = LiveRig(2)
    rig.session.start()
    body = rig.dialler.last.answer()
    for _ in range(59):
        rig.clock.advance(0.1)
        if trickle:
            body.bring(b"\0")
    assert not body.closed
    rig.clock.advance(0.11)
    assert body.closed
    assert rig.session.error is not None
    assert rig.session.error.reason is Reason.FIRST_BYTE_TIMEOUT
    body.vanish()
    assert rig.dialler.urls[-1] == "http://s1/"
    rig.stop()


def test_a_slow_dial_leaves_less_for_the_first_packet() -> None:
    rig = LiveRig(2)
    rig.session.start()
    rig.clock.advance(9.0)
    body = rig.dialler.last.answer()
    rig.clock.advance(0.51)
    assert body.closed
    rig.stop()


def test_the_budget_before_the_first_byte_holds_whatever_sources_do() -> None:
    rig = LiveRig(3, FailoverPolicy(laps=1000, backoff=0.5, start=19, total=60, connect=4, first_byte=6))

    def slow(dial: Dial) -> None:
        rig.clock.callLater(dial.timeouts.total, lambda: dial.pending and dial.fail(Reason.CONNECT_TIMEOUT))

    rig.dialler.script = slow
    rig.session.start()
    while not rig.sink.errors and rig.clock.seconds() < 100:
        rig.clock.advance(0.05)
    assert rig.clock.seconds() <= 19.1
    assert rig.clock.getDelayedCalls() == []


def test_socket_that_never_closes_does_not_extend_an_outage() -> None:
    """The wait for ``close()`` has a limit, in the session or in the dialler."""
    rig = LiveRig(2)
    body = rig.playing(2)
    rig.session.choose(1)
    assert body.closed
    rig.clock.pump([0.5] * 200)
    assert rig.sink.errors or len(rig.dialler.dials) > 1, "waits for ever"


# switching


@pytest.mark.parametrize("phase", PHASES)
def test_switch_in_each_phase(phase: str) -> None:
    rig = LiveRig(4)
    body = reach(rig, phase)
    rig.session.choose(3)
    assert rig.session.index == 3
    if body is not None:
        assert body.closed
        assert all(not dial.pending for dial in rig.dialler.dials)
        body.vanish()
    assert rig.dialler.urls[-1] == "http://s3/"
    assert rig.history.moves[-1] == 3
    assert sum(dial.pending for dial in rig.dialler.dials) == 1
    rig.flow(rig.dialler.last.answer(), 1)
    assert rig.session.active
    rig.stop()


def test_switch_while_idle_only_chooses() -> None:
    rig = LiveRig(3)
    rig.session.choose(2)
    assert rig.dialler.dials == []
    assert rig.history.moves == [2]
    rig.session.start()
    assert rig.dialler.urls == ["http://s2/"]
    rig.stop()


def test_switch_wraps_round() -> None:
    rig = LiveRig(2)
    rig.playing()
    rig.session.choose(rig.session.index + 2)
    assert rig.session.index == 0
    assert rig.history.moves == []
    rig.stop()


def test_cancelled_dial_is_not_a_failure() -> None:
    rig = LiveRig(2)
    rig.session.start()
    first = rig.dialler.last
    rig.session.choose(1)
    assert first.cancelled
    assert len(rig.history.replaced) == 0
    rig.stop()


# other sources


def test_replaced_sources_serve_the_next_dial() -> None:
    rig = LiveRig(2)
    body = rig.playing(2)
    new = tuple(SourceRequest(f"http://new{n}/", "agent", (), True) for n in range(3))
    rig.session.replace_sources(new)
    assert not body.closed
    body.end()
    assert rig.dialler.urls[-1] == "http://new0/"
    rig.dialler.last.fail()
    rig.dialler.last.fail()
    assert rig.dialler.urls[-2:] == ["http://new1/", "http://new2/"]
    rig.stop()


def test_fewer_sources_lead_back_to_the_primary() -> None:
    rig = LiveRig(3)
    rig.session.choose(2)
    body = rig.playing(2)
    rig.session.replace_sources(requests_of(1))
    assert rig.session.index == 0
    body.end()
    assert rig.dialler.urls[-1] == "http://s0/"
    rig.stop()


def test_fewer_sources_while_a_dial_waits_for_the_old_socket() -> None:
    rig = LiveRig(3)
    body = rig.playing(2)
    rig.session.choose(2)
    rig.session.replace_sources(requests_of(1))
    body.vanish()
    assert len(rig.history.replaced) == 0
    assert rig.session.error is None
    assert rig.dialler.urls[-1] == "http://s0/"
    rig.stop()


def test_at_most_one_socket_at_any_time() -> None:
    """In any order of events, there is no second dial or body while another one is open."""
    import random

    for seed in range(60):
        rng = random.Random(seed)
        rig = LiveRig(3, FailoverPolicy(laps=1000, backoff=0.3, start=500, total=0))
        bodies: list[FakeBody] = []
        for _ in range(80):
            step = rng.choice(
                ["start", "stop", "switch", "answer", "fail", "bring", "end", "vanish", "wait", "replace"]
            )
            dial = rig.dialler.dials[-1] if rig.dialler.dials else None
            body = bodies[-1] if bodies and not bodies[-1].gone else None
            if step == "start":
                rig.session.start()
            elif step == "stop":
                rig.session.stop()
            elif step == "switch":
                rig.session.choose(rng.randrange(5))
            elif step == "replace":
                rig.session.replace_sources(requests_of(3))
            elif step == "answer" and dial is not None and dial.pending:
                bodies.append(dial.answer())
            elif step == "fail" and dial is not None and dial.pending:
                dial.fail()
            elif step == "bring" and body is not None:
                body.bring(rig.programme.group())
            elif step == "end" and body is not None:
                body.end()
            elif step == "vanish" and body is not None and body.closed:
                body.vanish()
            elif step == "wait":
                # A socket that is closed is gone within a second; the session waits no longer.
                if body is not None and body.closed:
                    body.vanish()
                rig.clock.advance(rng.choice([0, 0.04, 0.4, 3.1]))
            open_sockets = sum(not body.gone for body in bodies) + sum(dial.pending for dial in rig.dialler.dials)
            assert open_sockets <= 1, f"seed {seed} after {step}"
        rig.stop()
        for body in bodies:
            if not body.gone:
                body.vanish()
        assert rig.clock.getDelayedCalls() == []


# a resolver


def asking(rig: LiveRig) -> LiveRig:
    """Let the primary fail, so that the session waits for the resolver."""
    rig.session.start()
    rig.dialler.last.fail()
    assert rig.session.asking_resolver
    return rig


def test_nothing_is_dialled_while_the_resolver_is_asked() -> None:
    rig = asking(LiveRig(2, resolver=True))
    ((error, seconds),) = rig.resolver.asked
    assert (error.reason, seconds) == (Reason.REFUSED, 9.5)
    assert len(rig.history.replaced) == 0, "not known yet what follows"
    assert len(rig.dialler.dials) == 1
    assert rig.clock.getDelayedCalls() == []
    rig.stop()


def test_named_source_is_dialled_and_counted() -> None:
    rig = asking(LiveRig(2, resolver=True))
    rig.session.resolver_answered(NAMED)
    assert rig.dialler.urls == ["http://s0/", "http://named/"]
    assert replaced(rig) == [(0, 1, "named by the resolver")]
    assert rig.history.moves == [1]
    assert (rig.session.index, rig.session.request().url) == (1, "http://named/")
    rig.dialler.last.fail()
    rig.session.resolver_answered(OTHER)
    assert rig.dialler.urls[2:] == ["http://other/"]
    assert replaced(rig)[1:] == [(1, 2, "named by the resolver")]
    assert (rig.session.index, rig.session.request(-1).url) == (2, "http://named/")
    rig.flow(rig.dialler.last.answer(), 2)
    rig.stop()


def test_a_named_source_that_ran_well_is_redialled_without_a_question() -> None:
    rig = asking(LiveRig(resolver=True))
    rig.session.resolver_answered(NAMED)
    body = rig.dialler.last.answer()
    rig.flow(body, 2)
    body.end()
    assert rig.dialler.urls[1:] == ["http://named/", "http://named/"]
    assert len(rig.resolver.asked) == 1
    rig.stop()


def test_the_resolver_names_none() -> None:
    rig = asking(LiveRig(3, resolver=True))
    rig.session.resolver_answered(NONE)
    assert rig.sink.errors == []
    assert replaced(rig) == [(0, 1, "the resolver named no source")]
    assert rig.dialler.urls == ["http://s0/", "http://s1/"]
    rig.stop()


def test_one_warning_for_one_outage() -> None:
    rig = LiveRig(2, FailoverPolicy(laps=3, backoff=1, start=19, total=30))
    warnings: list[Any] = []

    def observe(event: Any) -> None:
        if event["log_level"] is LogLevel.warn:
            warnings.append(event)

    globalLogPublisher.addObserver(observe)
    try:
        rig.session.start()
        rig.dialler.script = lambda dial: dial.fail(Reason.REFUSED)
        rig.dialler.last.fail()
        rig.pass_time(3)
    finally:
        globalLogPublisher.removeObserver(observe)
    assert len(rig.dialler.dials) == 6
    assert len(rig.sink.errors) == 1
    assert len(warnings) == 1


def test_failed_resolver_continues_with_the_list() -> None:
    rig = asking(LiveRig(2, resolver=True))
    rig.session.resolver_answered(SILENT)
    assert rig.dialler.urls == ["http://s0/", "http://s1/"]
    assert replaced(rig) == [(0, 1, "the resolver failed: it is silent")]
    rig.stop()


def test_the_socket_of_the_failed_source_is_gone_before_the_named_one_is_dialled() -> None:
    rig = LiveRig(resolver=True)
    body = rig.playing(0.5)
    rig.pass_time(SILENCE + INTERVAL)
    assert rig.session.asking_resolver
    assert body.closed
    rig.session.resolver_answered(NAMED)
    assert len(rig.dialler.dials) == 1
    body.vanish()
    assert rig.dialler.urls[1:] == ["http://named/"]
    rig.stop()


def test_stop_and_switch_while_asking() -> None:
    rig = asking(LiveRig(2, resolver=True))
    cancelled = rig.resolver.cancelled
    rig.stop()
    assert rig.resolver.cancelled == cancelled + 1
    rig = asking(LiveRig(2, resolver=True))
    cancelled = rig.resolver.cancelled
    rig.session.choose(1)
    assert rig.resolver.cancelled == cancelled + 1
    assert rig.dialler.urls[1:] == ["http://s1/"]
    rig.stop()


def test_replaced_sources_follow_the_resolver_of_the_registration() -> None:
    rig = LiveRig(2)
    rig.session.start()
    rig.resolver.available = True
    rig.session.replace_sources(requests_of(2))
    rig.dialler.last.fail()
    assert rig.session.asking_resolver
    rig.resolver.available = False
    rig.session.replace_sources(requests_of(1))
    rig.session.resolver_answered(NAMED)
    rig.dialler.last.fail()
    assert not rig.session.asking_resolver
    assert rig.session.active
    rig.stop()


def requests_with_own_hosts(count: int) -> tuple[SourceRequest, ...]:
    """Return requests that allow a standby connection: uncounted, each with its own host."""
    return tuple(SourceRequest(f"http://s{n}/", "agent", (), True) for n in range(count))


def test_chosen_source_is_dialled_after_a_full_lap() -> None:
    """The outage has no change of source left, but the API has chosen one."""
    rig = LiveRig(2, FailoverPolicy(laps=1, backoff=1, start=19, total=30, connect=4, first_byte=6, max_changes=1))
    rig.session.replace_sources(requests_with_own_hosts(2))
    rig.session.start()
    rig.dialler.last.fail()
    body = rig.dialler.last.answer()
    rig.flow(body, 0.3)
    rig.session.choose(0)
    body.end()
    assert rig.session.active
    assert (len(rig.dialler.dials), rig.session.index) == (4, 0)
    rig.flow(rig.dialler.last.answer(), 0.3)
    assert len(rig.sink.bodies[-1]) > 0
    assert rig.sink.errors == []
    rig.stop()


@pytest.mark.parametrize(("urls", "index"), [("s0 s2", 1), ("s0 s1", 0), ("s2 s1 s0", 0)])
def test_sources_may_be_replaced_while_a_standby_is_open(urls: str, index: int) -> None:
    rig = LiveRig(3)
    rig.session.replace_sources(requests_with_own_hosts(3))
    rig.playing(2)
    rig.session.choose(2)
    dial = rig.dialler.last
    rig.session.replace_sources(tuple(SourceRequest(f"http://{name}/", "agent", (), True) for name in urls.split()))
    if not dial.cancelled:
        rig.flow(dial.answer(), 0.3)
        rig.pass_time(0.1)
    assert dial.cancelled == ("s2" not in urls)
    assert rig.session.index == index
    assert rig.session.sources.in_use
    rig.stop()
