"""The whole state table of failover, and its limits."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.core.failover.causes import status_error
from m3uproxy.core.failover.machine import (
    SETTLED_AFTER,
    AskResolver,
    Backoff,
    Dial,
    FailoverMachine,
    FailoverPolicy,
    FailoverState,
    Finish,
    GiveUp,
    Idle,
)
from m3uproxy.core.failover.resolver import ResolverAnswer
from m3uproxy.core.failover.source_list import MAX_NAMED_PER_LAP
from m3uproxy.core.failover.sources import Sources
from m3uproxy.errors import Reason, SourceError

BROKEN = SourceError(Reason.REFUSED)
CLOSED = SourceError(Reason.ENDED)
OVER = SourceError(Reason.PROGRAMME_ENDED)
A, B = ResolverAnswer("http://a/"), ResolverAnswer("http://b/")
NONE, SILENT = ResolverAnswer(), ResolverAnswer(problem="no answer")


def make_machine(policy: FailoverPolicy, sources: int, has_resolver: bool = False) -> FailoverMachine:
    return FailoverMachine(policy, Sources(range(sources), policy.rules, lambda: 0.5), lambda: has_resolver)


def machine_in_state(state: FailoverState, policy: FailoverPolicy | None = None, sources: int = 2) -> FailoverMachine:
    """Return a machine that reached ``state`` at time 0 by the shortest path."""
    machine = make_machine(policy or FailoverPolicy(), sources)
    if state is not FailoverState.IDLE:
        machine.start(0)
    if state is FailoverState.STREAMING:
        machine.started(0)
    if state is FailoverState.BACKING_OFF:
        for _ in range(sources):
            machine.failed(0, BROKEN)
    if state is FailoverState.ASKING_RESOLVER:
        machine.has_resolver = lambda: True
        machine.failed(0, BROKEN)
    assert machine.state is state
    return machine


def send_event(machine: FailoverMachine, event: str) -> Any:
    answer = {"named": A, "none": NONE, "unanswered": SILENT}.get(event)
    if answer is not None:
        return machine.resolver_answered(0, answer)
    if event == "over":
        return machine.programme_ended(0, OVER, 0, short=False)
    arguments = {"failed": (0, BROKEN), "switched": (0, 1), "left_for": (0, 1)}.get(event, (0,))
    return getattr(machine, event)(*arguments)


I, D, F, R, Q = (  # noqa: E741
    FailoverState.IDLE,
    FailoverState.DIALLING,
    FailoverState.STREAMING,
    FailoverState.BACKING_OFF,
    FailoverState.ASKING_RESOLVER,
)


@pytest.mark.parametrize(
    ("state", "event", "effect", "then"),
    [
        (I, "start", Dial, D),
        (I, "started", None, I),
        (I, "failed", None, I),
        (I, "backoff_over", None, I),
        (I, "stop", None, I),
        (I, "switched", None, I),
        (D, "start", None, D),
        (D, "started", None, F),
        (D, "failed", Dial, D),
        (D, "backoff_over", None, D),
        (D, "stop", Idle, I),
        (D, "switched", Dial, D),
        (F, "start", None, F),
        (F, "started", None, F),
        (F, "failed", Dial, D),
        (F, "backoff_over", None, F),
        (F, "stop", Idle, I),
        (F, "switched", Dial, D),
        (R, "start", None, R),
        (R, "started", None, R),
        (R, "failed", None, R),
        (R, "backoff_over", Dial, D),
        (R, "stop", Idle, I),
        (R, "switched", Dial, D),
        (I, "over", None, I),
        (D, "over", Finish, I),
        (F, "over", Finish, I),
        (R, "over", None, R),
        (Q, "over", None, Q),
        (I, "left_for", None, I),
        (D, "left_for", None, D),
        (F, "left_for", Dial, D),
        (R, "left_for", None, R),
        (Q, "left_for", None, Q),
        *((state, event, None, state) for state in (I, D, F, R) for event in ("named", "none", "unanswered")),
        (Q, "start", None, Q),
        (Q, "started", None, Q),
        (Q, "failed", None, Q),
        (Q, "backoff_over", None, Q),
        (Q, "named", Dial, D),
        (Q, "none", Dial, D),
        (Q, "unanswered", Dial, D),
        (Q, "stop", Idle, I),
        (Q, "switched", Dial, D),
    ],
)
def test_state_table(state: FailoverState, event: str, effect: type | None, then: FailoverState) -> None:
    machine = machine_in_state(state)
    result = send_event(machine, event)
    assert type(result) is (effect or type(None))
    assert machine.state is then


def streaming(sources: int, has_resolver: bool = False) -> FailoverMachine:
    machine = make_machine(FailoverPolicy(), sources, has_resolver)
    machine.start(0)
    machine.started(0)
    return machine


def test_end_of_a_programme_is_no_failure_and_the_next_start_begins_anew() -> None:
    machine = streaming(2)
    assert machine.programme_ended(90, OVER, 90, short=False) == Finish(OVER)
    assert machine.sources.report(90)[0]["failures"] == 0
    assert machine.sources.quarantine(0, 90) == 0
    dial = machine.start(91)
    assert isinstance(dial, Dial)
    assert dial.index == 0


def test_short_programme_is_a_failure_while_another_source_is_left() -> None:
    machine = streaming(2)
    dial = machine.programme_ended(50, OVER, 50, short=True)
    assert isinstance(dial, Dial)
    assert dial.index == 1
    assert machine.sources.report(50)[0]["last_cause"] == "a programme, not a channel"
    assert machine.started(51) is None


def test_short_programme_ends_the_players_if_no_other_source_is_left() -> None:
    assert streaming(1).programme_ended(8, OVER, 8, short=True) == Finish(OVER)


def test_short_programmes_of_two_sources_end_the_players() -> None:
    machine = streaming(2)
    assert isinstance(machine.programme_ended(50, OVER, 50, short=True), Dial)
    machine.started(51)
    assert machine.programme_ended(90, OVER, 39, short=True) == Finish(OVER)


def test_source_that_failed_before_a_short_programme_is_not_left() -> None:
    machine = make_machine(FailoverPolicy(), 2)
    machine.start(0)
    machine.failed(1, BROKEN)
    machine.started(2)
    assert machine.index == 1
    assert machine.programme_ended(50, OVER, 48, short=True) == Finish(OVER)


def test_players_end_cleanly_if_the_sources_behind_a_short_programme_fail() -> None:
    machine = streaming(3)
    for index in (1, 2):
        dial = machine.programme_ended(50, OVER, 50, short=True) if index == 1 else machine.failed(51, BROKEN)
        assert isinstance(dial, Dial)
        assert dial.index == index
    assert isinstance(machine.failed(52, BROKEN), Finish)
    assert machine.state is I


@pytest.mark.parametrize("answer", [NONE, SILENT])
def test_players_end_cleanly_if_the_resolver_has_no_source_behind_a_short_programme(answer: ResolverAnswer) -> None:
    machine = streaming(1, has_resolver=True)
    assert isinstance(machine.programme_ended(50, OVER, 50, short=True), AskResolver)
    assert isinstance(machine.resolver_answered(51, answer), Finish)


def test_source_behind_a_short_programme_may_fail_later() -> None:
    machine = streaming(2)
    machine.programme_ended(50, OVER, 50, short=True)
    machine.started(51)
    assert isinstance(machine.failed(100, CLOSED, ran=49), Dial)


def test_leaving_for_a_better_source_is_a_failure_only_with_an_error() -> None:
    machine = machine_in_state(F, sources=3)
    dial = machine.left_for(50, 2)
    assert isinstance(dial, Dial)
    assert dial.index == 2
    assert machine.sources.quarantine(0, 50) == 0
    assert machine.error is None
    machine.started(51)
    why = SourceError(Reason.CONTENT, "video gone")
    assert isinstance(machine.left_for(100, 1, why), Dial)
    assert machine.sources.quarantine(2, 100) == 30
    assert machine.error == why


def test_lap_over_all_sources_then_backoff_then_next_lap() -> None:
    machine = make_machine(FailoverPolicy(laps=2, backoff=1), 3)
    effects = [machine.start(0)]
    effects += [machine.failed(0.1 * n, BROKEN) for n in range(1, 4)]
    assert [getattr(effect, "index", None) for effect in effects] == [0, 1, 2, None]
    assert effects[-1] == Backoff(1)
    effects = [machine.backoff_over(1.3)]
    effects += [machine.failed(1.3, BROKEN) for _ in range(3)]
    assert [getattr(effect, "index", None) for effect in effects] == [0, 1, 2, None]
    assert effects[-1] == GiveUp(BROKEN)
    assert machine.state is I


def test_source_that_ran_well_is_redialled_at_once() -> None:
    machine = machine_in_state(F)
    effect = machine.failed(100, CLOSED, SETTLED_AFTER)
    assert isinstance(effect, Dial)
    assert effect.index == 0


def test_source_that_stops_at_once_is_followed_by_the_next() -> None:
    machine = machine_in_state(F)
    effect = machine.failed(100, BROKEN, SETTLED_AFTER / 2)
    assert isinstance(effect, Dial | GiveUp)
    machine = machine_in_state(F)
    effect = machine.failed(0.5, BROKEN, SETTLED_AFTER / 2)
    assert isinstance(effect, Dial)
    assert effect.index == 1


def test_source_that_closes_every_two_seconds_is_redialled_for_ever() -> None:
    machine = make_machine(FailoverPolicy(), 2)
    machine.start(0)
    now = 0.0
    for _ in range(10_000):
        machine.started(now + 0.1)
        now += 2.1
        effect = machine.failed(now, CLOSED, 2.0)
        assert isinstance(effect, Dial)
        assert effect.index == 0


@pytest.mark.parametrize("sources", [1, 2, 5])
def test_source_with_one_packet_is_dialled_once_a_lap(sources: int) -> None:
    """While no time passes, each source is dialled once at most."""
    machine = make_machine(FailoverPolicy(laps=10, total=0), sources)
    effect: Any = machine.start(0)
    dials, backoffs, now = 0, 0, 0.0
    while not isinstance(effect, GiveUp):
        if isinstance(effect, Backoff):
            assert dials == sources
            assert effect.seconds == 1.0
            now, dials, backoffs = now + effect.seconds, 0, backoffs + 1
            effect = machine.backoff_over(now)
            continue
        dials += 1
        machine.started(now)
        effect = machine.failed(now, BROKEN, 0.0)
    assert backoffs == 9


def test_give_up_has_the_last_error_and_a_new_start_forgets_it() -> None:
    machine = make_machine(FailoverPolicy(laps=1), 1)
    machine.start(0)
    last = SourceError(Reason.BAD_STATUS, status=500)
    assert machine.failed(1, last) == GiveUp(last)
    assert machine.error == last
    machine.start(2)
    assert machine.error is None
    assert not machine.sent


def test_no_free_slot_gives_up_before_the_first_byte_and_backs_off_during_playback() -> None:
    full = SourceError(Reason.NO_SLOT, "one connection")
    waiting = machine_in_state(FailoverState.DIALLING)
    assert isinstance(waiting.failed(3, full), Dial)
    assert waiting.failed(6, full) == GiveUp(full)
    playing = machine_in_state(FailoverState.STREAMING)
    playing.failed(10, CLOSED, ran=10)
    assert isinstance(playing.failed(10, full), Dial)
    assert isinstance(playing.failed(13, full), Backoff)


@pytest.mark.parametrize("reason", [Reason.FULL, Reason.STOPPING, Reason.UNUSED, Reason.DELETED, Reason.NO_SLOT])
def test_streaming_source_is_redialled_after_a_failure_of_the_proxy(reason: Reason) -> None:
    machine = machine_in_state(FailoverState.STREAMING, sources=3)
    machine.has_resolver = lambda: True
    assert machine.failed(10, SourceError(reason), ran=10) == Backoff(1.0)
    effect = machine.backoff_over(11)
    assert isinstance(effect, Dial)
    assert effect.index == 0
    machine.started(11)
    assert [row["failures"] for row in machine.sources.report(11)] == [0, 0, 0]
    assert [row["quarantine_seconds"] for row in machine.sources.report(11)] == [0, 0, 0]


@pytest.mark.parametrize(("sent", "limit"), [(False, 20), (True, 30)])
def test_lasting_failure_of_the_proxy_ends_the_outage_in_time(sent: bool, limit: float) -> None:
    machine = machine_in_state(FailoverState.STREAMING if sent else FailoverState.DIALLING, sources=3)
    full = SourceError(Reason.FULL)
    now, dials, effect = 0.0, 0, machine.failed(0, full)
    while not isinstance(effect, GiveUp):
        assert isinstance(effect, Backoff)
        now += effect.seconds
        effect = machine.backoff_over(now)
        if isinstance(effect, Dial):
            dials += 1
            assert effect.index == 0
            effect = machine.failed(now, full)
    assert effect.error == full
    assert limit - 2 <= now <= limit
    assert dials >= limit - 2


def test_fault_of_the_proxy_does_not_lengthen_the_next_quarantine() -> None:
    machine = machine_in_state(FailoverState.STREAMING)
    machine.failed(10, SourceError(Reason.FULL), ran=10)
    machine.backoff_over(11)
    machine.failed(11, SourceError(Reason.STALLED))
    assert machine.sources.quarantine(0, 11) == 10


@pytest.mark.parametrize("backoff", [0.0, 1.0])
def test_outage_during_playback_lasts_its_time_limit_with_few_dials(backoff: float) -> None:
    machine = make_machine(FailoverPolicy(laps=3, backoff=backoff, total=30), 1)
    machine.start(0)
    machine.started(0)
    now, asked, effect = 10.0, 0, machine.failed(10, CLOSED, 10)
    while not isinstance(effect, GiveUp):
        if isinstance(effect, Backoff):
            now += effect.seconds
            effect = machine.backoff_over(now)
        else:
            asked += 1
            effect = machine.failed(now, BROKEN)
    assert 36 - 4 < now < 40
    assert 8 <= asked <= 16


def test_source_chosen_while_idle_is_dialled_at_the_next_start() -> None:
    machine = make_machine(FailoverPolicy(), 3)
    assert machine.switched(0, 5) is None
    effect = machine.start(1)
    assert isinstance(effect, Dial)
    assert effect.index == 2


def test_switch_has_fresh_limits() -> None:
    machine = make_machine(FailoverPolicy(start=20), 1)
    machine.start(0)
    effect = machine.switched(19, 0)
    assert isinstance(effect, Dial)
    assert effect.total == 20


def test_first_lap_during_playback_is_quick_while_another_source_is_left() -> None:
    def times(effect: Any) -> tuple[float, float, float]:
        assert isinstance(effect, Dial)
        return effect.connect, effect.first_byte, effect.total

    machine = machine_in_state(FailoverState.STREAMING, FailoverPolicy(quick=2, connect=4, first_byte=6, backoff=1))
    assert times(machine.failed(100, CLOSED, ran=60)) == (2, 2, 2)  # redialled
    assert times(machine.failed(102, BROKEN)) == (4, 20, 20)  # the only one left gets what is left
    assert isinstance(machine.failed(104, BROKEN), Backoff)
    assert times(machine.backoff_over(105)) == (4, 6, 12.5)  # the second lap is not quick
    alone = machine_in_state(FailoverState.STREAMING, FailoverPolicy(quick=2, connect=4, first_byte=6), sources=1)
    assert times(alone.failed(100, CLOSED, ran=60)) == (4, 20, 20)


def test_dial_timeouts_are_shares_of_the_time_left() -> None:
    machine = make_machine(FailoverPolicy(start=20, connect=4, first_byte=6), 4)
    assert machine.start(0) == Dial(0, 4, 5, 5)
    assert machine.failed(0.5, BROKEN) == Dial(1, 4, 6, 6.5)
    assert machine.failed(17, BROKEN) == Dial(2, 1.5, 1.5, 1.5)
    assert machine.failed(17, BROKEN) == Dial(3, 3, 3, 3, patient=True)


def test_only_source_is_awaited_until_the_end() -> None:
    machine = make_machine(FailoverPolicy(start=19, connect=4, first_byte=6), 1)
    assert machine.start(0) == Dial(0, 4, 19, 19, patient=True)


def test_longer_start_limit_is_used_in_full() -> None:
    machine = make_machine(FailoverPolicy(start=57, total=90, connect=4, first_byte=6), 1)
    assert machine.start(0) == Dial(0, 4, 57, 57, patient=True)


def test_slow_source_gets_the_time_that_a_refusing_backup_does_not_need() -> None:
    machine = make_machine(FailoverPolicy(start=19, connect=4, first_byte=6), 2)
    assert machine.start(0) == Dial(0, 4, 6, 9.5)
    assert machine.failed(6, SourceError(Reason.FIRST_BYTE_TIMEOUT)) == Dial(1, 4, 13, 13, patient=True)
    assert machine.failed(6.1, BROKEN) == Backoff(1)
    effect = machine.backoff_over(7.1)
    assert isinstance(effect, Dial)
    assert (effect.index, effect.patient) == (0, True)
    assert effect.total == pytest.approx(11.9)


# statuses of providers

BUSY, RETRY_IN_EIGHT, RETRY_IN_SIXTY = status_error(458), status_error(429, False, 8), status_error(429, False, 60)


def run_outage(
    machine: FailoverMachine, error: SourceError, effect: Any, now: float = 0.0
) -> tuple[list[float], float]:
    """Let every dial fail at once. Return the times of the dials, and of the end."""
    dials: list[float] = []
    while not isinstance(effect, GiveUp):
        if isinstance(effect, Backoff):
            now += effect.seconds
            effect = machine.backoff_over(now)
        elif isinstance(effect, AskResolver):
            effect = machine.resolver_answered(now, NONE)
        else:
            dials.append(now)
            effect = machine.failed(now, error)
    assert effect.error == error
    return dials, now


def test_account_with_too_many_connections_is_asked_until_the_start_limit() -> None:
    machine = make_machine(FailoverPolicy(start=19, laps=1), 1)
    dials, _ = run_outage(machine, BUSY, machine.start(0))
    assert dials == [0, 0.5, 1.5, 3.5, 6.5, 9.5, 12.5, 15.5, 18.5]


def test_too_many_connections_end_by_laps_if_time_does_not_end_the_outage() -> None:
    machine = make_machine(FailoverPolicy(total=0, laps=3), 1)
    machine.start(0)
    machine.started(0)
    dials, _ = run_outage(machine, BUSY, machine.failed(10, CLOSED, ran=10), 10)
    assert len(dials) == 3


def test_other_source_is_tried_before_a_busy_account_is_asked_again() -> None:
    machine = make_machine(FailoverPolicy(start=19), 2)
    machine.start(0)
    effect = machine.failed(0, BUSY)
    assert isinstance(effect, Dial)
    assert effect.index == 1
    assert machine.failed(0.1, BROKEN) == Backoff(0.5)


def test_retry_after_is_obeyed() -> None:
    machine = make_machine(FailoverPolicy(start=19), 1)
    dials, _ = run_outage(machine, RETRY_IN_EIGHT, machine.start(0))
    assert dials == [0, 8, 16]


def test_retry_after_of_any_status_is_obeyed_until_the_start_limit() -> None:
    machine = make_machine(FailoverPolicy(start=19, laps=2, backoff=1), 1)
    dials, _ = run_outage(machine, status_error(503, False, 5), machine.start(0))
    assert dials == [0, 5, 10, 15]


def test_laps_count_if_time_does_not_end_the_outage_or_the_provider_says_no_more_when_to_ask() -> None:
    machine = make_machine(FailoverPolicy(total=0, laps=3), 1)
    machine.start(0)
    machine.started(0)
    dials, _ = run_outage(machine, status_error(503, False, 5), machine.failed(10, CLOSED, ran=10), 10)
    assert len(dials) == 3
    machine = make_machine(FailoverPolicy(start=19, laps=2), 1)
    machine.start(0)
    effect = machine.failed(0, status_error(503, False, 5))
    assert effect == Backoff(5)
    dials, _ = run_outage(machine, BROKEN, machine.backoff_over(5), 5)
    assert len(dials) == 2


@pytest.mark.parametrize("sources", [1, 2])
def test_source_with_a_retry_after_beyond_the_limit_is_not_asked_again(sources: int) -> None:
    machine = make_machine(FailoverPolicy(start=19, laps=2), sources)
    machine.start(0)
    effect: Any = machine.failed(0, RETRY_IN_SIXTY)
    if sources == 2:
        assert effect.index == 1
        dials, _ = run_outage(machine, BROKEN, effect)
        assert dials == [0, 0.5, 1.5]
        assert machine.sources.report(1.5)[0]["failures"] == 1
    else:
        assert effect == GiveUp(RETRY_IN_SIXTY)


def test_start_while_the_provider_must_not_be_asked_is_refused() -> None:
    machine = make_machine(FailoverPolicy(start=19, laps=2), 1)
    machine.start(0)
    machine.failed(0, RETRY_IN_SIXTY)
    effect = machine.start(10)
    assert isinstance(effect, GiveUp)
    assert (effect.error.player_status, effect.error.retry_after) == (503, 50)
    assert machine.start(45) == Backoff(15)
    assert isinstance(machine.backoff_over(60), Dial)


@pytest.mark.parametrize(("status", "asked"), [(401, 2), (403, 2), (404, 1), (410, 1), (500, 3), (503, 3)])
def test_number_of_requests_for_each_status(status: int, asked: int) -> None:
    machine = make_machine(FailoverPolicy(start=19, laps=3), 1)
    dials, _ = run_outage(machine, status_error(status), machine.start(0))
    assert len(dials) == asked


def test_source_that_has_delivered_may_be_missing_for_longer() -> None:
    machine = make_machine(FailoverPolicy(total=30), 1)
    machine.start(0)
    machine.started(0)
    dials, ended = run_outage(machine, status_error(404), machine.failed(10, CLOSED, ran=10), 10)
    assert 8 <= len(dials) <= 16
    assert ended > 34


def test_missing_backup_is_not_asked_again_during_playback() -> None:
    machine = make_machine(FailoverPolicy(total=30), 2)
    machine.start(0)
    machine.started(0)
    machine.failed(10, SourceError(Reason.STALLED), ran=10)
    assert machine.index == 1
    assert isinstance(machine.failed(10, status_error(404)), Dial)
    assert machine.index == 0
    run_outage(machine, BROKEN, machine.failed(11, BROKEN), 11)
    assert machine.sources.report(50)[1]["failures"] == 1


def test_each_outage_begins_once() -> None:
    machine = machine_in_state(FailoverState.DIALLING)
    assert machine.begins_outage(0)
    machine.failed(0, BROKEN)
    assert not machine.begins_outage(0)
    machine.started(1)
    assert not machine.begins_outage(0.5)
    assert machine.begins_outage(60)
    machine.failed(61, CLOSED, ran=60)
    assert not machine.begins_outage(0)


@pytest.mark.parametrize(("start", "total", "sent", "limit"), [(20, 30, False, 20), (40, 30, False, 30)])
def test_lower_limit_counts_before_the_first_byte(start: float, total: float, sent: bool, limit: float) -> None:
    machine = make_machine(FailoverPolicy(start=start, total=total, connect=99, first_byte=99), 2)
    effect = machine.start(0)
    assert isinstance(effect, Dial)
    assert effect.total == limit / 2
    assert isinstance(machine.failed(limit, BROKEN), GiveUp)


def test_no_dial_with_too_little_time_replaces_the_last_error() -> None:
    machine = make_machine(FailoverPolicy(start=1.0), sources=3)
    machine.start(0)
    assert isinstance(machine.failed(0.5, BROKEN), Dial)
    assert machine.failed(0.85, BROKEN) == GiveUp(BROKEN)


def test_backoff_beyond_the_limit_gives_up() -> None:
    machine = make_machine(FailoverPolicy(start=20, backoff=5), 1)
    machine.start(0)
    assert machine.failed(14, BROKEN) == Backoff(5)
    machine = make_machine(FailoverPolicy(start=20, backoff=5), 1)
    machine.start(0)
    assert machine.failed(15, BROKEN) == GiveUp(BROKEN)


# a simulation of sources on a simulated clock


@attrs.define
class OutageSimulation:
    """A session on simulated time. Dials take the drawn time, up to their timeout."""

    machine: FailoverMachine
    now: float = 0.0
    dials: list[float] = attrs.field(factory=list)
    answers: Iterator[tuple[ResolverAnswer, float]] = attrs.field(factory=lambda: iter(()))

    def until_given_up(self, effect: Any, draws: Any) -> float:
        """
        Carry out effects until the machine gives up. Return the time.

        :param draws: for each dial the seconds until it fails or streams, and the seconds of delivery (None: it fails).
        """
        while not isinstance(effect, GiveUp):
            if isinstance(effect, Backoff):
                self.now += effect.seconds
                effect = self.machine.backoff_over(self.now)
                continue
            if isinstance(effect, AskResolver):
                answer, seconds = next(self.answers, (SILENT, 10.0))
                late = seconds > effect.seconds
                self.now += effect.seconds if late else seconds
                effect = self.machine.resolver_answered(self.now, SILENT if late else answer)
                continue
            assert isinstance(effect, Dial)
            assert len(self.dials) < 10_000, "endless"
            self.dials.append(self.now)
            wait, delivers = next(draws, (effect.total, None))
            self.now += min(wait, effect.total)
            if delivers is not None and wait < effect.total:
                self.machine.started(self.now)
                self.now += delivers
            effect = self.machine.failed(self.now, BROKEN, delivers or 0.0)
        return self.now


policies = st.builds(
    FailoverPolicy,
    laps=st.integers(1, 50),
    backoff=st.floats(0.01, 10),
    start=st.floats(1, 60),
    total=st.one_of(st.just(0.0), st.floats(1, 90)),
    connect=st.floats(0.1, 60),
    first_byte=st.floats(0.1, 60),
)
waits = st.lists(st.one_of(st.floats(0, 1), st.floats(0, 200)), max_size=60)


def max_laps(policy: FailoverPolicy) -> float:
    """Return the laps that a policy allows: during playback one in each half second of the total limit."""
    return policy.laps + 1 + policy.total / 0.5


@given(policies, st.integers(1, 60), waits)
def test_outage_before_the_first_byte_ends_within_the_start_limit(
    policy: FailoverPolicy, sources: int, waits: list[float]
) -> None:
    simulation = OutageSimulation(make_machine(policy, sources), now=1000.0)
    effect = simulation.machine.start(simulation.now)
    ended = simulation.until_given_up(effect, ((wait, None) for wait in waits))
    assert ended - 1000.0 <= policy.start + 1e-6
    assert len(simulation.dials) <= policy.laps * sources


@given(policies, st.integers(1, 60), waits)
def test_outage_during_playback_ends_within_the_total_limit(
    policy: FailoverPolicy, sources: int, waits: list[float]
) -> None:
    simulation = OutageSimulation(make_machine(policy, sources), now=5000.0)
    simulation.machine.start(0)
    simulation.machine.started(1)
    effect = simulation.machine.failed(5000.0, BROKEN, 3000.0)
    ended = simulation.until_given_up(effect, ((wait, None) for wait in waits))
    if policy.total:
        assert ended - 5000.0 <= policy.total + 1e-6
    else:
        assert ended - 5000.0 <= policy.laps * (sources * max(20.0, policy.start) + policy.backoff)
    assert len(simulation.dials) <= max_laps(policy) * sources


@given(policies, st.integers(1, 8), st.lists(st.tuples(st.floats(0, 20), st.floats(0, 0.99)), max_size=60))
def test_short_runs_do_not_extend_an_outage(
    policy: FailoverPolicy, sources: int, runs: list[tuple[float, float]]
) -> None:
    """Sources that deliver briefly and stop: only the last delivery may exceed the limit."""
    simulation = OutageSimulation(make_machine(policy, sources))
    ended = simulation.until_given_up(simulation.machine.start(0), iter(runs))
    longest = max(20.0, policy.start) + SETTLED_AFTER
    limit = max(policy.start, policy.total) if policy.total else policy.laps * (sources * longest + policy.backoff)
    assert ended <= max(limit, policy.start) + SETTLED_AFTER + 1e-6
    assert len(simulation.dials) <= max_laps(policy) * sources
    longest = max((sum(1 for at in simulation.dials if at == begin) for begin in simulation.dials), default=0)
    assert longest <= sources


@given(st.integers(1, 5), st.data())
def test_index_is_always_valid(sources: int, data: st.DataObject) -> None:
    machine = make_machine(FailoverPolicy(backoff=0.5), sources)
    now = 0.0
    for event in data.draw(
        st.lists(
            st.sampled_from(["start", "started", "failed", "ran", "backoff_over", "stop", "switched"]), max_size=40
        )
    ):
        now += 0.3
        if event == "failed":
            effect: Any = machine.failed(now, BROKEN)
        elif event == "ran":
            effect = machine.failed(now, BROKEN, 5)
        elif event == "switched":
            effect = machine.switched(now, data.draw(st.integers(0, 20)))
        else:
            effect = getattr(machine, event)(now)
        assert 0 <= machine.index < sources
        if isinstance(effect, Dial):
            assert effect.index == machine.index
            assert machine.state is D
        if isinstance(effect, Backoff):
            assert machine.state is R
        if isinstance(effect, GiveUp | Idle):
            assert machine.state is I


# a resolver


def machine_asking_resolver(policy: FailoverPolicy | None = None, sources: int = 1) -> FailoverMachine:
    """Return a machine whose primary has failed and whose resolver is asked."""
    machine = make_machine(policy or FailoverPolicy(start=20, total=30), sources, has_resolver=True)
    machine.start(0)
    assert isinstance(machine.failed(0, BROKEN), AskResolver)
    return machine


def test_named_source_is_dialled_next_at_the_next_position() -> None:
    machine = make_machine(FailoverPolicy(start=20), 3, has_resolver=True)
    machine.start(0)
    assert machine.failed(1, BROKEN) == AskResolver(9.5)
    assert machine.state is Q
    effect = machine.resolver_answered(2, A)
    assert isinstance(effect, Dial)
    assert (machine.sources.named_url(effect.index), machine.sources.position) == ("http://a/", 1)
    assert isinstance(machine.failed(3, BROKEN), AskResolver)
    effect = machine.resolver_answered(4, B)
    assert isinstance(effect, Dial)
    assert (machine.sources.named_url(effect.index), machine.sources.position) == ("http://b/", 2)


def test_source_that_ran_well_is_redialled_without_the_resolver() -> None:
    machine = make_machine(FailoverPolicy(), 2, has_resolver=True)
    machine.start(0)
    machine.started(0)
    effect = machine.failed(100, CLOSED, ran=60)
    assert isinstance(effect, Dial)
    assert effect.index == 0
    assert isinstance(machine.failed(101, BROKEN), AskResolver), "the redial failed"
    machine.resolver_answered(101, A)
    machine.started(101)
    effect = machine.failed(200, CLOSED, ran=60)
    assert isinstance(effect, Dial)
    assert machine.sources.named_url(effect.index) == "http://a/", "the same holds for a named source"


def test_resolver_without_a_source_leads_to_the_list_and_is_asked_again_each_lap() -> None:
    machine = machine_asking_resolver(sources=3)
    dials = [machine.resolver_answered(0, NONE), machine.failed(0, BROKEN)]
    assert [getattr(effect, "index", None) for effect in dials] == [1, 2]
    assert machine.failed(0, BROKEN) == Backoff(1)
    effect = machine.backoff_over(1)
    assert isinstance(effect, Dial)
    assert effect.index == 0
    assert isinstance(machine.failed(1, BROKEN), AskResolver), "a new lap"


def test_source_in_use_and_then_the_primary_follow_a_resolver_without_a_source() -> None:
    machine = machine_asking_resolver()
    machine.resolver_answered(0, A)
    machine.started(0)
    assert isinstance(machine.failed(60, SourceError(Reason.STALLED), ran=60), AskResolver)
    assert machine.sources.position == 1, "the index that the resolver is told"
    effect = machine.resolver_answered(60, NONE)
    assert isinstance(effect, Dial)
    assert machine.sources.named_url(effect.index) == "http://a/"
    effect = machine.failed(61, BROKEN)
    assert isinstance(effect, Dial)
    assert (effect.index, machine.sources.position, effect.patient) == (0, 0, True)
    assert isinstance(machine.failed(62, BROKEN), Backoff)
    machine.backoff_over(63)
    assert isinstance(machine.failed(63, BROKEN), AskResolver)
    assert machine.sources.position == 0


def test_slow_source_is_awaited_once_the_resolver_has_named_none() -> None:
    machine = make_machine(FailoverPolicy(start=19, connect=4, first_byte=6), 1, has_resolver=True)
    assert machine.start(0) == Dial(0, 4, 6, 9.5)
    machine.failed(6, SourceError(Reason.FIRST_BYTE_TIMEOUT))
    assert machine.resolver_answered(6, NONE) == Backoff(1)
    assert machine.backoff_over(7) == Dial(0, 4, 12, 12, patient=True)


def test_resolver_without_a_source_lets_the_outage_last_its_time() -> None:
    machine = machine_asking_resolver(FailoverPolicy(total=30))
    machine.resolver_answered(0, A)
    machine.started(0)
    dials, ended = run_outage(machine, BROKEN, machine.failed(60, BROKEN, ran=60), 60)
    assert ended > 84
    assert len(dials) >= 8


def test_unanswered_resolver_is_not_asked_again_in_that_outage() -> None:
    machine = machine_asking_resolver(FailoverPolicy(laps=2, backoff=1), sources=3)
    effects = [machine.resolver_answered(1, SILENT)]
    effects += [machine.failed(1, BROKEN) for _ in range(2)]
    assert [getattr(effect, "index", None) for effect in effects] == [1, 2, None]
    assert effects[-1] == Backoff(1)
    assert isinstance(machine.backoff_over(2), Dial)
    machine.started(3)
    assert isinstance(machine.failed(10, CLOSED, ran=5), Dial)
    assert isinstance(machine.failed(10, BROKEN), AskResolver), "a fresh outage"


def test_unanswered_resolver_without_a_list_retries_the_primary() -> None:
    machine = machine_asking_resolver(FailoverPolicy(laps=2, backoff=1))
    assert machine.resolver_answered(1, SILENT) == Backoff(1)
    effect = machine.backoff_over(2)
    assert isinstance(effect, Dial)
    assert effect.index == 0
    assert machine.failed(2, BROKEN) == GiveUp(BROKEN)


@pytest.mark.parametrize(("failed", "seconds"), [(0, 10), (2, 9), (19, 0.5)])
def test_resolver_timeout_is_half_of_the_time_left_up_to_ten_seconds(failed: float, seconds: float) -> None:
    machine = make_machine(FailoverPolicy(start=20), 2, has_resolver=True)
    machine.start(0)
    assert machine.failed(failed, BROKEN) == AskResolver(seconds)


def test_resolver_is_not_asked_after_the_limit() -> None:
    machine = make_machine(FailoverPolicy(start=20), 2, has_resolver=True)
    machine.start(0)
    assert machine.failed(20, BROKEN) == GiveUp(BROKEN)


def test_dial_leaves_time_for_a_named_source() -> None:
    machine = make_machine(FailoverPolicy(start=20, total=30, quick=2), 1, has_resolver=True)
    assert machine.start(0) == Dial(0, 4, 6, 10)
    machine.started(1)
    assert machine.failed(100, CLOSED, ran=60) == Dial(0, 2, 2, 2)


def test_source_named_twice_ends_the_lap_and_laps_are_limited() -> None:
    machine = machine_asking_resolver(FailoverPolicy(laps=3, backoff=1, total=0, start=99))
    effects: list[Any] = []
    now = 0.0
    while not effects or not isinstance(effects[-1], GiveUp):
        assert len(effects) < 100, "endless"
        effects.append(machine.resolver_answered(now, A))
        if isinstance(effects[-1], Backoff):
            now += effects[-1].seconds
            effects.append(machine.backoff_over(now))
        machine.failed(now, BROKEN)
    assert [type(effect) for effect in effects] == [Dial, Backoff, Dial, Backoff, Dial, GiveUp]


def test_naming_the_failed_source_ends_the_lap() -> None:
    sources = Sources([A.url], FailoverPolicy().rules, lambda: 0.5)
    machine = FailoverMachine(FailoverPolicy(backoff=1), sources, lambda: True)
    machine.start(0)
    machine.failed(0, BROKEN)
    assert machine.resolver_answered(0, A) == Backoff(1)


def test_resolver_with_endless_sources_is_limited_per_lap() -> None:
    machine = machine_asking_resolver(FailoverPolicy(laps=3, backoff=1, total=0, start=1e9))
    now, dials, effect = 0.0, 0, machine.resolver_answered(0, ResolverAnswer("http://0/"))
    for number in itertools.count(1):
        if isinstance(effect, GiveUp):
            break
        if isinstance(effect, Backoff):
            now += effect.seconds
            effect = machine.backoff_over(now)
        dials += 1
        machine.failed(now, BROKEN)
        effect = machine.resolver_answered(now, ResolverAnswer(f"http://{number}/"))
    assert dials == 3 * MAX_NAMED_PER_LAP
    assert now == 2.0


def test_limit_of_changes_holds_for_named_sources() -> None:
    machine = machine_asking_resolver(FailoverPolicy(max_changes=2, laps=2))
    machine.resolver_answered(0, A)
    assert isinstance(machine.failed(0, BROKEN), AskResolver)
    machine.resolver_answered(0, B)
    effect = machine.failed(0, BROKEN)
    assert isinstance(effect, Backoff), "not asked, because no change is allowed"
    effect = machine.backoff_over(effect.seconds)
    assert isinstance(effect, Dial)
    assert machine.sources.named_url(effect.index) == "http://b/"


def test_new_start_begins_at_the_primary() -> None:
    machine = machine_asking_resolver(sources=2)
    machine.resolver_answered(0, A)
    machine.started(0)
    machine.stop(100)
    assert machine.sources.position == 1, "still shown"
    effect = machine.start(200)
    assert isinstance(effect, Dial)
    assert (effect.index, machine.sources.position) == (0, 0)


def test_chosen_named_source_is_dialled_at_the_next_start() -> None:
    machine = make_machine(FailoverPolicy(), 2, has_resolver=True)
    assert machine.switched(0, machine.sources.add_named("http://a/")) is None
    effect = machine.start(1)
    assert isinstance(effect, Dial)
    assert machine.sources.named_url(effect.index) == "http://a/"
    machine.failed(1, BROKEN)
    effect = machine.resolver_answered(1, SILENT)
    assert isinstance(effect, Dial)
    assert effect.index == 0, "the list follows the named source"


def test_named_source_in_use_is_never_replaced() -> None:
    """Each new one is opened as a standby; the one in use continues if that fails."""
    machine = machine_asking_resolver(sources=2)
    machine.resolver_answered(0, A)
    machine.started(0)
    indices = [machine.sources.add_named(f"http://{name}/") for name in "cde"]
    assert machine.index not in indices
    assert machine.sources.named_url(machine.index) == A.url
    assert machine.sources.named_url(indices[-1]) == "http://e/"


def test_chosen_named_source_is_forgotten_after_two_others() -> None:
    machine = make_machine(FailoverPolicy(), 2, has_resolver=True)
    machine.switched(0, machine.sources.add_named("http://a/"))
    machine.start(0)
    for answer in (B, ResolverAnswer("http://c/")):
        machine.failed(0, BROKEN)
        machine.resolver_answered(0, answer)
    machine.stop(0)
    effect = machine.start(1)
    assert isinstance(effect, Dial)
    assert effect.index == 0


def test_late_answer_has_no_effect() -> None:
    machine = machine_asking_resolver(sources=2)
    machine.switched(1, 1)
    assert machine.resolver_answered(2, A) is None
    assert (machine.state, machine.index) == (D, 1)


def test_replaced_list_keeps_the_named_source() -> None:
    machine = machine_asking_resolver(sources=2)
    machine.resolver_answered(0, A)
    machine.started(0)
    assert machine.sources.replace(["x", "y", "z"])
    assert (machine.sources.named_url(machine.index), machine.sources.position) == ("http://a/", 1)
    assert isinstance(machine.failed(100, CLOSED, ran=60), Dial)
    assert machine.sources.named_url(machine.index) == "http://a/"


def test_named_source_is_reported_while_current() -> None:
    machine = machine_asking_resolver(sources=2)
    machine.resolver_answered(0, A)
    shown = machine.sources.report(1)
    assert [(one["index"], one["in_use"], one["failures"]) for one in shown] == [
        (0, False, 1),
        (1, False, 0),
        (1, True, 0),
    ]
    machine.switched(2, 1)
    assert [(one["index"], one["in_use"]) for one in machine.sources.report(2)] == [(0, False), (1, True)]


# all short histories, with a resolver and without


class MachineHistory:
    """A machine with the invariants that hold after every event."""

    def __init__(self, sources: int, has_resolver: bool) -> None:
        policy = FailoverPolicy(laps=2, backoff=1, start=20, total=30)
        self.machine = make_machine(policy, sources, has_resolver)
        self.now = 1000.0

    def send_event(self, event: Callable[[FailoverMachine, float], Any]) -> None:
        self.now += 0.25
        before = self.machine.state
        effect = event(self.machine, self.now)
        state, machine = self.machine.state, self.machine
        if effect is None:
            assert state is before or (before, state) == (D, F)
        else:
            assert {Dial: D, Backoff: R, AskResolver: Q, GiveUp: I, Idle: I}[type(effect)] is state
        if isinstance(effect, Dial):
            assert effect.index == machine.index
            assert 0 < effect.total <= 20
        if isinstance(effect, AskResolver):
            assert machine.has_resolver()
            assert 0 < effect.seconds <= 10
        assert machine.sources.in_use == (state in (D, F, R))
        assert machine.sources.position >= 0
        assert -2 <= machine.index < len(machine.sources)
        if machine.index >= 0:
            assert machine.sources.position == machine.index
        else:
            assert machine.sources.named_url(machine.index) in (A.url, B.url)


EVENTS: list[Callable[[FailoverMachine, float], Any]] = [
    lambda machine, now: machine.start(now),
    lambda machine, now: machine.started(now),
    lambda machine, now: machine.failed(now, BROKEN),
    lambda machine, now: machine.failed(now, CLOSED, 60.0),
    lambda machine, now: machine.backoff_over(now),
    lambda machine, now: machine.resolver_answered(now, A),
    lambda machine, now: machine.resolver_answered(now, B),
    lambda machine, now: machine.resolver_answered(now, NONE),
    lambda machine, now: machine.resolver_answered(now, SILENT),
    lambda machine, now: machine.stop(now),
    lambda machine, now: machine.switched(now, 1),
    lambda machine, now: machine.left_for(now, 0, BROKEN),
    lambda machine, now: machine.switched(now, machine.sources.add_named("http://a/")),
]


@pytest.mark.exhaustive
@pytest.mark.parametrize("has_resolver", [False, True])
@pytest.mark.parametrize("first", EVENTS)
def test_every_history_of_five_events(first: Callable[[FailoverMachine, float], Any], has_resolver: bool) -> None:
    for rest in itertools.product(EVENTS, repeat=4):
        history = MachineHistory(2, has_resolver)
        for event in (first, *rest):
            history.send_event(event)


@given(st.integers(1, 4), st.booleans(), st.lists(st.sampled_from(EVENTS), max_size=60))
def test_long_histories(
    sources: int, has_resolver: bool, events: list[Callable[[FailoverMachine, float], Any]]
) -> None:
    history = MachineHistory(sources, has_resolver)
    for event in events:
        history.send_event(event)


resolver_answers = st.sampled_from([A, B, ResolverAnswer("http://c/"), NONE, SILENT])


@given(policies, st.integers(1, 8), waits, st.lists(st.tuples(resolver_answers, st.floats(0, 30)), max_size=60))
def test_outage_with_a_resolver_ends_within_the_start_limit(
    policy: FailoverPolicy, sources: int, waits: list[float], answers: list[tuple[ResolverAnswer, float]]
) -> None:
    simulation = OutageSimulation(make_machine(policy, sources, has_resolver=True), now=1000.0)
    simulation.answers = iter(answers)
    ended = simulation.until_given_up(simulation.machine.start(simulation.now), ((wait, None) for wait in waits))
    assert ended - 1000.0 <= policy.start + 1e-6
    assert len(simulation.dials) <= policy.laps * (sources + MAX_NAMED_PER_LAP)
