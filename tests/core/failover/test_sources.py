"""The next source and its backoff: each cause, each state and event, and all short histories."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.core.failover.budget import MAX_BACKOFF
from m3uproxy.core.failover.causes import CAUSE_POLICIES, OWN_CAUSES, FailureCause, cause_of, is_own_fault, status_error
from m3uproxy.core.failover.source_list import AVOID_AFTER_CONTENT_FAULT, FORGIVE_AFTER
from m3uproxy.core.failover.sources import Choice, FailoverRules, Sources
from m3uproxy.errors import Reason, SourceError

EVEN = 0.5  # a "random" number that leaves backoffs and cool-downs as they are


def make_sources(count: int = 3, *accounts: str, random: Callable[[], float] = lambda: EVEN, **rules: float) -> Sources:
    return Sources([f"http://host/{n}" for n in range(count)], FailoverRules(**rules), random, accounts)  # type: ignore[arg-type]


def make_started_sources(*arguments: object, **rules: object) -> Sources:
    sources = make_sources(*arguments, **rules)  # type: ignore[arg-type]
    sources.begin_outage(0)
    return sources


def index_of(choice: Choice | None) -> int:
    assert choice is not None
    return choice.index


def fail_after_running(sources: Sources, now: float, cause: FailureCause, seconds: float = 5) -> None:
    """Let the source in use run well for ``seconds``, then fail."""
    sources.settled(sources.current, now - seconds)
    sources.failed(sources.current, cause, now)


# causes


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_cause_and_every_cause_a_policy(reason: Reason) -> None:
    assert cause_of(SourceError(reason)) in CAUSE_POLICIES
    assert set(CAUSE_POLICIES) == set(FailureCause)


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (401, FailureCause.REFUSED),
        (403, FailureCause.REFUSED),
        (451, FailureCause.REFUSED),
        (404, FailureCause.NOT_FOUND),
        (410, FailureCause.NOT_FOUND),
        (429, FailureCause.BUSY),
        (453, FailureCause.BUSY),
        (456, FailureCause.BUSY),
        (458, FailureCause.BUSY),
        (509, FailureCause.BUSY),
        (884, FailureCause.BUSY),
        (503, FailureCause.BROKEN),
        (500, FailureCause.BROKEN),
        (502, FailureCause.BROKEN),
        (204, FailureCause.BROKEN),
    ],
)
def test_cause_of_each_status(status: int, cause: FailureCause) -> None:
    assert cause_of(status_error(status)) is cause


@pytest.mark.parametrize(
    ("status", "busy"), [(401, True), (403, True), (503, True), (404, False), (500, False), (502, False), (458, True)]
)
def test_status_while_the_provider_may_count_a_connection(status: int, busy: bool) -> None:
    assert (cause_of(status_error(status, counted=True)) is FailureCause.BUSY) == busy


@pytest.mark.parametrize("cause", [cause for cause in FailureCause if cause not in OWN_CAUSES])
def test_cool_down_doubles_up_to_its_limit(cause: FailureCause) -> None:
    sources = make_sources(1)
    policy = CAUSE_POLICIES[cause]
    for failures in range(20):
        sources.begin_outage(0)
        assert sources.next(failures * 10_000)
        sources.failed(0, cause, failures * 10_000)
        expected = min(policy.longest, policy.cool_down * 2**failures)
        assert sources.quarantine(0, failures * 10_000) == expected


def test_longer_quarantine_stays() -> None:
    sources = make_started_sources(2)
    sources.probed(1, FailureCause.REFUSED, 0)
    sources.probed(1, FailureCause.ENDED, 1)
    assert sources.quarantine(1, 1) == 29


def test_long_run_resets_the_cool_down() -> None:
    sources = make_started_sources(1)
    for at in (0, 100):
        sources.begin_outage(at)
        sources.next(at)
        sources.failed(0, FailureCause.STALLED, at)
    assert sources.quarantine(0, 100) == 20
    sources.begin_outage(200)
    sources.next(200)
    fail_after_running(sources, 200 + FORGIVE_AFTER, FailureCause.STALLED, FORGIVE_AFTER)
    assert sources.quarantine(0, 200 + FORGIVE_AFTER) == 10
    sources.next(300)
    fail_after_running(sources, 310, FailureCause.STALLED, FORGIVE_AFTER - 1)
    assert sources.quarantine(0, 310) == 20


def test_long_run_resets_the_cool_down_of_a_source_that_was_left() -> None:
    sources = make_started_sources(2)
    for at in (0, 100):
        sources.begin_outage(at)
        sources.next(at)
        sources.failed(0, FailureCause.STALLED, at)
    sources.begin_outage(200)
    sources.next(200)
    sources.settled(0, 200)
    sources.left(200 + FORGIVE_AFTER)
    assert not sources.in_use
    sources.begin_outage(300)
    sources.next(300)
    sources.failed(0, FailureCause.STALLED, 300)
    assert sources.quarantine(0, 300) == 10
    assert sources.next(300) == Choice(1), "the earlier run does not count"


def test_strict_stream_has_its_own_cool_down_for_stalls() -> None:
    sources = make_started_sources(1, stall_cool_down=400)
    sources.next(0)
    sources.failed(0, FailureCause.STALLED, 0)
    assert sources.quarantine(0, 0) == 400
    sources.begin_outage(0)
    sources.next(500)
    sources.failed(0, FailureCause.ENDED, 500)
    assert sources.quarantine(0, 500) == 4


# one outage


def test_each_source_once_per_lap_with_backoffs_until_the_laps_are_over() -> None:
    sources = make_started_sources(3, laps=2, backoff=1)
    choices, firsts = [], []
    for _ in range(7):
        choice = sources.next(0)
        firsts.append((sources.first_lap, sources.others_left()))
        choices.append(choice and (choice.index, choice.delay))
        sources.failed(sources.current, FailureCause.UNREACHABLE, 0)
    assert choices == [(0, 0), (1, 0), (2, 0), (0, 1), (1, 0), (2, 0), None]
    assert sources.next(100) is None
    assert firsts == [(True, 2), (True, 1), (True, 0), (False, 2), (False, 1), (False, 0), (False, 2)]


def test_backoffs_grow_up_to_the_limit() -> None:
    sources = make_started_sources(1, laps=50, backoff=1, backoff_growth=1.5)
    backoffs = []
    for _ in range(20):
        choice = sources.next(0)
        assert choice
        backoffs.append(choice.delay)
        sources.failed(0, FailureCause.UNREACHABLE, 0)
    assert backoffs[:4] == [0, 1, 1.5, 2.25]
    assert backoffs[-1] == MAX_BACKOFF


@given(st.floats(0, 1, exclude_max=True))
def test_jitter_of_cool_down_and_backoff(number: float) -> None:
    sources = make_started_sources(1, random=lambda: number, backoff=10, jitter=0.2)
    sources.next(0)
    sources.failed(0, FailureCause.BROKEN, 0)
    assert 4 <= sources.quarantine(0, 0) <= 6
    choice = sources.next(0)
    assert choice
    assert 8 <= choice.delay <= 12
    assert choice.delay == pytest.approx(10 * (0.8 + 0.4 * number))


@pytest.mark.parametrize("cause", [FailureCause.ENDED, FailureCause.INTERNAL])
def test_source_that_ran_well_is_redialled_at_once(cause: FailureCause) -> None:
    sources = make_started_sources(3)
    sources.next(0)
    fail_after_running(sources, 10, cause)
    assert sources.next(10) == Choice(0)
    sources.failed(0, cause, 10.1)
    assert index_of(sources.next(10.1)) == 1, "a failed redial is followed by the next source"


@pytest.mark.parametrize(
    "cause",
    [
        FailureCause.STALLED,
        FailureCause.LOW_BITRATE,
        FailureCause.CONTENT,
        FailureCause.SUSPECT,
        FailureCause.NOT_VIDEO,
        FailureCause.BUSY,
    ],
)
def test_source_with_a_repeating_failure_is_left_at_once(cause: FailureCause) -> None:
    sources = make_started_sources(3)
    sources.next(0)
    fail_after_running(sources, 10, cause)
    assert sources.next(10) == Choice(1)


def test_only_source_is_redialled_at_once_after_any_failure() -> None:
    sources = make_started_sources(1)
    sources.next(0)
    fail_after_running(sources, 10, FailureCause.STALLED)
    assert sources.next(10) == Choice(0)


def test_source_that_ran_well_has_a_fresh_budget() -> None:
    sources = make_started_sources(1, laps=3)
    for at in range(0, 10_000, 100):
        for _ in range(2):
            assert sources.next(at)
            sources.failed(0, FailureCause.ENDED, at)
        assert sources.next(at)
        fail_after_running(sources, at + 50, FailureCause.ENDED)


def test_failure_reported_twice_counts_once() -> None:
    sources = make_started_sources(3)
    sources.next(0)
    sources.failed(0, FailureCause.STALLED, 10)
    before = sources.report(10)
    sources.failed(0, FailureCause.ENDED, 10)
    assert sources.report(10) == before
    assert sources.next(10) == Choice(1)
    sources.failed(0, FailureCause.ENDED, 10.1)
    assert sources.next(10.2) == Choice(1)
    assert sources.quarantine(1, 10.2) == 0


def test_report_about_another_source_has_no_effect() -> None:
    sources = make_started_sources(2)
    sources.next(0)
    before = sources.report(1)
    sources.failed(1, FailureCause.REFUSED, 1)
    sources.settled(1, 0)
    assert sources.report(1) == before
    assert sources.in_use


def test_order_starts_at_home() -> None:
    sources = make_started_sources(4)
    sources.next(0)
    sources.failed(0, FailureCause.UNREACHABLE, 0)
    assert index_of(sources.next(0)) == 1
    fail_after_running(sources, 3600, FailureCause.STALLED, 3600)
    assert index_of(sources.next(3600)) == 0


def test_quarantined_sources_come_last_and_the_shortest_quarantine_first() -> None:
    sources = make_started_sources(3)
    sources.next(0)
    sources.failed(0, FailureCause.REFUSED, 0)  # until 30
    sources.next(0)
    sources.failed(1, FailureCause.STALLED, 0)  # until 10
    sources.next(0)
    fail_after_running(sources, 5, FailureCause.STALLED)  # until 15
    assert index_of(sources.next(5)) == 1
    sources.failed(1, FailureCause.UNREACHABLE, 5)  # second failure: until 10
    assert index_of(sources.next(5)) == 2
    sources.failed(2, FailureCause.REFUSED, 5)
    assert index_of(sources.next(5)) == 0


def test_busy_account_quarantines_its_other_sources() -> None:
    sources = make_started_sources(3, "one", "one", "two")
    sources.next(0)
    sources.failed(0, FailureCause.BUSY, 0)
    assert index_of(sources.next(0)) == 2
    sources.failed(2, FailureCause.UNREACHABLE, 0)
    choice = sources.next(0)
    assert choice
    assert choice.delay == 0.5


def test_sources_of_unknown_accounts_share_no_quarantine() -> None:
    sources = make_started_sources(3)
    sources.next(0)
    sources.failed(0, FailureCause.BUSY, 0)
    assert index_of(sources.next(0)) == 1
    assert sources.quarantine(1, 0) == sources.quarantine(2, 0) == 0


def test_busy_source_is_not_asked_before_its_time() -> None:
    sources = make_started_sources(2, laps=9)
    asked: list[float] = []
    now = 0.0
    while now < 20:
        choice = sources.next(now)
        assert choice
        now += choice.delay
        if choice.index == 0:
            asked.append(now)
        sources.failed(choice.index, FailureCause.UNREACHABLE if choice.index else FailureCause.BUSY, now)
    waits = [after - before for before, after in itertools.pairwise(asked)]
    assert all(wait >= least for wait, least in zip(waits, (0.5, 1, 2, 3, 3, 3), strict=False))
    assert len(asked) >= 5


def test_missing_slot_does_not_lengthen_the_quarantine() -> None:
    sources = make_started_sources(1)
    for at in range(5):
        sources.begin_outage(at)
        sources.next(at)
        sources.failed(0, FailureCause.NO_SLOT, at)
    assert sources.quarantine(0, 4) == 3
    sources.failed(0, FailureCause.STALLED, 4)
    assert sources.report(4)[0] == {"index": 0, "in_use": False, "failures": 0, "last_cause": None} | {
        "quarantine_seconds": 3
    }


@pytest.mark.parametrize("cause", [FailureCause.OURS, FailureCause.NO_SLOT])
def test_probe_that_failed_in_this_proxy_is_no_failure_of_the_backup(cause: FailureCause) -> None:
    sources = make_started_sources(2)
    sources.next(0)
    sources.probed(1, cause, 0)
    assert sources.report(0)[1]["failures"] == 0
    assert sources.report(0)[1]["last_cause"] is None
    assert sources.quarantine(1, 0) == (3 if cause is FailureCause.NO_SLOT else 0)


def test_causes_of_this_proxy() -> None:
    own = {reason for reason in Reason if is_own_fault(SourceError(reason))}
    assert own == {Reason.FULL, Reason.NO_SLOT, Reason.STOPPING, Reason.DELETED, Reason.UNUSED}


@pytest.mark.parametrize(("max_changes", "indices"), [(0, [0, 1, 2, 3, 0, 1]), (1, [0, 1, 1, 1]), (2, [0, 1, 2, 2, 2])])
def test_changes_of_source_are_limited(max_changes: int, indices: list[int]) -> None:
    sources = make_started_sources(4, max_changes=max_changes, laps=3)
    seen = []
    while (choice := sources.next(0)) and len(seen) < 6:
        seen.append(choice.index)
        sources.failed(choice.index, FailureCause.UNREACHABLE, 0)
    assert seen == indices


def test_start_is_no_change_of_source() -> None:
    sources = make_started_sources(3, max_changes=1)
    sources.next(0)
    sources.failed(0, FailureCause.UNREACHABLE, 0)
    assert index_of(sources.next(0)) == 1
    sources.begin_outage(100)
    assert index_of(sources.next(100)) == 0
    sources.failed(0, FailureCause.UNREACHABLE, 100)
    assert index_of(sources.next(100)) == 1


def test_repeated_starts_are_slowed_down() -> None:
    sources = make_started_sources(2, laps=1)
    for at in (0, 0):
        sources.next(at)
        sources.failed(sources.current, FailureCause.REFUSED, at)
    assert sources.next(0) is None
    assert sources.retry_after(0) == 30
    sources.begin_outage(0.5)
    assert sources.next(0.5) == Choice(0, 1)
    sources.begin_outage(29.8)
    choice = sources.next(29.8)
    assert choice
    assert choice.delay == pytest.approx(0.2)
    sources.begin_outage(31)
    assert sources.next(31) == Choice(0)


# choosing, probing, failback


def test_chosen_source_is_next_and_home_and_forgiven() -> None:
    sources = make_started_sources(3)
    sources.next(0)
    sources.probed(2, FailureCause.REFUSED, 0)
    sources.chosen(5, 1)
    assert sources.next(1) == Choice(2)
    sources.failed(2, FailureCause.ENDED, 1)
    assert index_of(sources.next(1)) == 0
    sources.begin_outage(100)
    assert index_of(sources.next(100)) == 2


def test_chosen_sources_are_not_limited() -> None:
    sources = make_started_sources(4, max_changes=1)
    sources.next(0)
    for step in range(1, 101):
        sources.chosen(sources.current + 1, step)
        assert index_of(sources.next(step)) == step % 4


def test_probe_counts_for_the_probed_source_only() -> None:
    sources = make_started_sources(3)
    sources.next(0)
    sources.settled(0, 0)
    sources.probed(1, FailureCause.BROKEN, 5)
    assert sources.best_backup(5) == 2
    sources.probed(1, None, 6)
    assert sources.best_backup(6) == 1
    sources.probed(0, FailureCause.BROKEN, 6)
    assert sources.quarantine(0, 6) == 0, "the source in use is judged by what it delivers"
    assert sources.next(6) == Choice(0)


def test_no_backup_while_all_others_are_quarantined() -> None:
    sources = make_started_sources(2)
    sources.next(0)
    sources.probed(1, FailureCause.REFUSED, 0)
    assert sources.best_backup(1) is None
    assert sources.best_backup(30) == 1


@pytest.mark.parametrize("cause", [FailureCause.CONTENT, FailureCause.LOW_BITRATE, FailureCause.SUSPECT])
def test_source_with_a_content_fault_is_no_backup_for_ten_minutes(cause: FailureCause) -> None:
    sources = make_started_sources(2)
    sources.next(0)
    fail_after_running(sources, 10, cause)
    assert sources.next(10) == Choice(1)
    sources.settled(1, 11)
    assert sources.quarantine(0, 100) == 0
    assert sources.best_backup(100) is None
    assert sources.best_backup(10 + AVOID_AFTER_CONTENT_FAULT) == 0
    assert sources.probe_target(100) == 0


def test_source_with_another_failure_is_a_backup_after_quarantine() -> None:
    sources = make_started_sources(2)
    sources.next(0)
    fail_after_running(sources, 10, FailureCause.STALLED)
    sources.next(10)
    assert sources.best_backup(100) == 0


def test_probe_target_is_the_next_backup() -> None:
    sources = make_started_sources(4)
    sources.next(0)
    assert sources.probe_target(0) == 1
    sources.probed(1, FailureCause.REFUSED, 0)
    assert sources.probe_target(0) == 2
    sources.probed(2, FailureCause.BUSY, 0)
    sources.probed(3, FailureCause.UNUSABLE, 0)
    assert sources.probe_target(0) == 2, "the shortest quarantine"
    assert make_started_sources(1).probe_target(0) is None


def test_better_source_does_not_become_home() -> None:
    sources = make_started_sources(3, failback=100)
    sources.next(0)
    sources.settled(0, 0)
    sources.left_for(2, 10)
    assert sources.next(10) == Choice(2)
    sources.settled(2, 10)
    assert sources.quarantine(0, 10) == 0
    assert sources.preferred(110) == 0
    sources.failed(2, FailureCause.STALLED, 120)
    assert sources.next(120) == Choice(0)


def test_failure_of_the_better_source_continues_with_the_others() -> None:
    sources = make_started_sources(3)
    sources.next(0)
    sources.settled(0, 0)
    sources.left_for(2, 10)
    sources.next(10)
    sources.failed(2, FailureCause.REFUSED, 11)
    assert sources.next(11) == Choice(0)


def test_takeover_is_no_failure() -> None:
    sources = make_started_sources(3)
    sources.next(0)
    sources.settled(0, 0)
    sources.took_over(1, 60)
    assert sources.current == 1
    assert sources.quarantine(0, 60) == 0
    fail_after_running(sources, 70, FailureCause.ENDED)
    assert sources.next(70) == Choice(1)


def test_failback_is_off_by_default() -> None:
    sources = make_started_sources(2)
    sources.next(0)
    sources.failed(0, FailureCause.ENDED, 0)
    sources.next(0)
    sources.settled(1, 0)
    assert sources.preferred(1e6) is None


def test_failback_waits_until_both_sources_are_stable() -> None:
    sources = make_started_sources(3, failback=100)
    sources.next(0)
    sources.failed(0, FailureCause.UNREACHABLE, 0)
    sources.next(0)
    assert sources.preferred(500) is None, "not before it delivers"
    sources.settled(1, 50)
    assert sources.preferred(149) is None
    assert sources.preferred(151) == 0
    sources.probed(0, FailureCause.UNREACHABLE, 151)
    assert sources.preferred(250) is None, "it failed again"
    assert sources.preferred(252) == 0
    sources.took_over(0, 252)
    assert sources.preferred(1000) is None, "there is no better source"


def test_failback_never_leaves_a_chosen_source() -> None:
    sources = make_started_sources(3, failback=10)
    sources.next(0)
    sources.chosen(1, 0)
    sources.next(0)
    sources.settled(1, 0)
    assert sources.preferred(1000) is None


def test_replaced_sources_keep_their_state() -> None:
    sources = make_started_sources(3)
    sources.next(0)
    sources.failed(0, FailureCause.REFUSED, 0)
    sources.next(0)
    sources.settled(1, 0)
    assert sources.replace(["http://host/1", "http://new", "http://host/0"])
    assert sources.current == 0
    assert sources.in_use
    assert [sources.quarantine(index, 0) for index in range(3)] == [0, 0, 30]
    fail_after_running(sources, 10, FailureCause.ENDED)
    assert sources.next(10) == Choice(0)


def test_source_in_use_may_be_removed() -> None:
    sources = make_started_sources(3)
    sources.next(0)
    assert not sources.replace(["http://new", "http://host/1"])
    assert not sources.in_use
    sources.failed(0, FailureCause.ENDED, 1)
    assert sources.report(1)[0]["failures"] == 0
    assert sources.next(1) == Choice(0)


def test_empty_list_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Sources([], FailoverRules(), lambda: EVEN)
    with pytest.raises(ValueError, match="at least one"):
        make_sources().replace([])


def test_report_shows_no_key() -> None:
    sources = make_started_sources(2)
    sources.next(0)
    sources.failed(0, FailureCause.BROKEN, 0)
    assert sources.report(1) == [
        {"index": 0, "in_use": False, "failures": 1, "last_cause": "provider error", "quarantine_seconds": 4},
        {"index": 1, "in_use": False, "failures": 0, "last_cause": None, "quarantine_seconds": 0},
    ]


# every state and event

STATES = ["new", "dialled", "settled", "failed", "redial", "exhausted"]
EVENTS = [
    "begin_outage",
    "next",
    "settled",
    "failed",
    "other failed",
    "probed",
    "chosen",
    "took_over",
    "left_for",
    "replace",
]


def sources_in_state(state: str) -> Sources:
    sources = make_sources(2, laps=1)
    if state == "new":
        return sources
    sources.begin_outage(0)
    sources.next(0)
    if state in ("settled", "redial"):
        sources.settled(0, -5)
    if state in ("failed", "exhausted"):
        sources.failed(0, FailureCause.UNREACHABLE, 0)
    if state == "redial":
        sources.failed(0, FailureCause.ENDED, 0)
    if state == "exhausted":
        sources.next(0)
        sources.failed(1, FailureCause.UNREACHABLE, 0)
    return sources


def send_event(sources: Sources, event: str) -> None:
    {
        "begin_outage": lambda: sources.begin_outage(1),
        "next": lambda: sources.next(1),
        "settled": lambda: sources.settled(sources.current, 0),
        "failed": lambda: sources.failed(sources.current, FailureCause.BROKEN, 1),
        "other failed": lambda: sources.failed(1 - sources.current, FailureCause.BROKEN, 1),
        "probed": lambda: sources.probed(1, FailureCause.BROKEN, 1),
        "chosen": lambda: sources.chosen(1, 1),
        "took_over": lambda: sources.took_over(1, 1),
        "left_for": lambda: sources.left_for(1, 1),
        "replace": lambda: sources.replace(["http://host/0", "http://host/1"]),
    }[event]()


#: state -> for each event, the index of the next source after it (2 s after the state was entered).
EXPECTED = {
    "new": [0, 0, 0, 0, 0, 0, 1, 1, 1, 0],
    "dialled": [0, 0, 0, 1, 0, 0, 1, 1, 1, 0],
    "settled": [0, 0, 0, 1, 0, 0, 1, 1, 1, 0],
    "failed": [1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
    "redial": [0, 0, 0, 0, 0, 0, 1, 1, 1, 0],
    "exhausted": [0, None, None, None, None, None, 1, 1, 1, None],
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("event", EVENTS)
def test_state_and_event(state: str, event: str) -> None:
    sources = sources_in_state(state)
    send_event(sources, event)
    choice = sources.next(1)
    expected = EXPECTED[state][EVENTS.index(event)]
    assert (choice and choice.index) == expected


# every history of up to five events


class SourcesSimulation:
    """A session that uses the sources. Checks the invariants with its own counts."""

    def __init__(self) -> None:
        self.sources = make_sources(3, "one", "one", "two", laps=2, backoff=1)
        self.now = 0.0
        self.tried: set[int] = set()
        self.dials = 0
        self.expect: int | None = None
        self.fresh()

    def fresh(self) -> None:
        self.tried, self.dials, self.exhausted = set(), 0, False

    def next(self) -> None:
        before, was_in_use = self.sources.report(self.now), self.sources.in_use
        choice = self.sources.next(self.now)
        if choice is None:
            assert self.dials >= 2, "the budget was exhausted before two laps"
            self.exhausted = True
            return
        assert not self.exhausted, "a choice after the budget was exhausted"
        assert 0 <= choice.index < 3
        if was_in_use:
            assert choice.delay == 0
            return
        if choice.delay:
            self.tried = set()
        self.check(choice, [float(str(row["quarantine_seconds"])) for row in before])
        self.dials += 1
        assert self.dials <= 6, "more dials than laps allow"
        self.tried.add(choice.index)
        self.now += choice.delay
        self.expect = None

    def check(self, choice: Choice, quarantine: list[float]) -> None:
        assert choice.delay <= 3
        if self.expect is not None:
            assert choice == Choice(self.expect)
            return
        left = [max(0.0, seconds - choice.delay) for seconds in quarantine]
        if left[choice.index] > 0:
            assert all(left), "a quarantined source before a free one"
            others = [left[index] for index in range(3) if index not in self.tried]
            assert left[choice.index] <= min(others) + 0.05, "not the shortest quarantine"

    def failed(self, cause: FailureCause) -> None:
        if cause is FailureCause.BUSY and self.sources.in_use and self.sources.current < 2:
            self.tried |= {0, 1}
        self.sources.failed(self.sources.current, cause, self.now)
        again = self.sources.report(self.now)
        self.sources.failed(self.sources.current, cause, self.now)
        assert self.sources.report(self.now) == again

    def fail_after_running(self, cause: FailureCause) -> None:
        if not self.sources.in_use:
            return
        self.fresh()
        self.now += 5
        fail_after_running(self.sources, self.now, cause)
        self.expect = self.sources.current if CAUSE_POLICIES[cause].redial else None

    def begin(self) -> None:
        self.fresh()
        self.expect = None
        self.sources.begin_outage(self.now)

    def chosen(self) -> None:
        self.fresh()
        self.expect = 1
        self.sources.chosen(1, self.now)

    def probed(self) -> None:
        self.sources.probed(2, FailureCause.REFUSED, self.now)

    def wait(self) -> None:
        self.now += 20


STEPS: list[Callable[[SourcesSimulation], None]] = [
    SourcesSimulation.begin,
    SourcesSimulation.next,
    lambda simulation: simulation.failed(FailureCause.UNREACHABLE),
    lambda simulation: simulation.failed(FailureCause.BUSY),
    lambda simulation: simulation.failed(FailureCause.REFUSED),
    lambda simulation: simulation.fail_after_running(FailureCause.ENDED),
    lambda simulation: simulation.fail_after_running(FailureCause.STALLED),
    SourcesSimulation.chosen,
    SourcesSimulation.probed,
    SourcesSimulation.wait,
]


@pytest.mark.exhaustive
@pytest.mark.parametrize("first", STEPS)
def test_every_history_of_five_events(first: Callable[[SourcesSimulation], None]) -> None:
    for rest in itertools.product(STEPS, repeat=4):
        simulation = SourcesSimulation()
        for step in (first, *rest):
            step(simulation)
        simulation.next()


@given(st.lists(st.sampled_from(STEPS), max_size=60))
def test_long_histories(steps: list[Callable[[SourcesSimulation], None]]) -> None:
    simulation = SourcesSimulation()
    for step in steps:
        step(simulation)
    simulation.next()


#: Causes whose laps are counted. The time limit of the outage ends the redials after the other ones: a failure of the
#: proxy itself, and an account with too many connections.
_LAP_CAUSES = [cause for cause in FailureCause if cause not in {FailureCause.OURS, FailureCause.BUSY}]


@given(st.integers(1, 6), st.lists(st.tuples(st.sampled_from(_LAP_CAUSES), st.floats(0, 100)), max_size=60))
def test_an_outage_ends(count: int, failures: list[tuple[FailureCause, float]]) -> None:
    sources = make_started_sources(count, laps=3)
    now, dials = 0.0, 0
    for cause, passes in failures:
        if sources.next(now) is None:
            break
        dials += 1
        now += passes
        sources.failed(sources.current, cause, now)
    assert dials <= 3 * count
    if len(failures) > 3 * count:
        assert sources.next(now) is None
