"""Which source is next, and when: each cause, each state and event, and all short histories."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.core.failover.budget import MAX_BACKOFF
from m3uproxy.core.failover.causes import CAUSE_POLICIES, FailureCause, cause_of
from m3uproxy.core.failover.source_list import AVOID_AFTER_CONTENT_FAULT, FORGIVE_AFTER
from m3uproxy.core.failover.sources import Choice, FailoverRules, Sources
from m3uproxy.errors import Reason, SourceError, bad_status

EVEN = 0.5  # a "random" number that leaves rests and cool-downs as they are


def sources(count: int = 3, *accounts: str, random: Callable[[], float] = lambda: EVEN, **rules: float) -> Sources:
    return Sources([f"http://host/{n}" for n in range(count)], FailoverRules(**rules), random, accounts)  # type: ignore[arg-type]


def begun(*arguments: object, **rules: object) -> Sources:
    made = sources(*arguments, **rules)  # type: ignore[arg-type]
    made.begin_outage(0)
    return made


def index_of(choice: Choice | None) -> int:
    assert choice is not None
    return choice.index


def ran(made: Sources, now: float, cause: FailureCause, seconds: float = 5) -> None:
    """The source in use has run well until now."""
    made.settled(made.current, now - seconds)
    made.failed(made.current, cause, now)


# causes


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_cause_and_every_cause_a_treatment(reason: Reason) -> None:
    assert cause_of(SourceError(reason)) in CAUSE_POLICIES
    assert set(CAUSE_POLICIES) == set(FailureCause)


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (401, FailureCause.REFUSED),
        (403, FailureCause.REFUSED),
        (404, FailureCause.REFUSED),
        (410, FailureCause.REFUSED),
        (429, FailureCause.BUSY),
        (458, FailureCause.BUSY),
        (503, FailureCause.BUSY),
        (509, FailureCause.BUSY),
        (500, FailureCause.BROKEN),
        (502, FailureCause.BROKEN),
        (204, FailureCause.BROKEN),
    ],
)
def test_statuses(status: int, cause: FailureCause) -> None:
    assert cause_of(bad_status(status)) is cause


@pytest.mark.parametrize("cause", [cause for cause in FailureCause if cause is not FailureCause.NO_SLOT])
def test_the_cool_down_doubles_up_to_its_end(cause: FailureCause) -> None:
    made = sources(1)
    treatment = CAUSE_POLICIES[cause]
    for strike in range(20):
        made.begin_outage(0)
        assert made.next(strike * 10_000)
        made.failed(0, cause, strike * 10_000)
        expected = min(treatment.longest, treatment.cool_down * 2**strike)
        assert made.quarantine(0, strike * 10_000) == expected


def test_a_longer_quarantine_stays() -> None:
    made = begun(2)
    made.probed(1, FailureCause.REFUSED, 0)
    made.probed(1, FailureCause.ENDED, 1)
    assert made.quarantine(1, 1) == 29


def test_who_ran_for_long_starts_with_a_short_cool_down_again() -> None:
    made = begun(1)
    for at in (0, 100):
        made.begin_outage(at)
        made.next(at)
        made.failed(0, FailureCause.STALLED, at)
    assert made.quarantine(0, 100) == 20
    made.begin_outage(200)
    made.next(200)
    ran(made, 200 + FORGIVE_AFTER, FailureCause.STALLED, FORGIVE_AFTER)
    assert made.quarantine(0, 200 + FORGIVE_AFTER) == 10
    made.next(300)
    ran(made, 310, FailureCause.STALLED, FORGIVE_AFTER - 1)
    assert made.quarantine(0, 310) == 20


def test_who_ran_for_long_and_was_left_is_forgiven_too() -> None:
    made = begun(2)
    for at in (0, 100):
        made.begin_outage(at)
        made.next(at)
        made.failed(0, FailureCause.STALLED, at)
    made.begin_outage(200)
    made.next(200)
    made.settled(0, 200)
    made.left(200 + FORGIVE_AFTER)
    assert not made.in_use
    made.begin_outage(300)
    made.next(300)
    made.failed(0, FailureCause.STALLED, 300)
    assert made.quarantine(0, 300) == 10
    assert made.next(300) == Choice(1), "what it ran before was another run"


def test_a_strict_stream_has_its_own_cool_down_for_stalls() -> None:
    made = begun(1, stall_cool_down=400)
    made.next(0)
    made.failed(0, FailureCause.STALLED, 0)
    assert made.quarantine(0, 0) == 400
    made.begin_outage(0)
    made.next(500)
    made.failed(0, FailureCause.ENDED, 500)
    assert made.quarantine(0, 500) == 4


# one outage


def test_each_source_once_then_a_rest_then_again_until_the_laps_are_over() -> None:
    made = begun(3, laps=2, backoff=1)
    choices, firsts = [], []
    for _ in range(7):
        choice = made.next(0)
        firsts.append((made.first_lap, made.untried))
        choices.append(choice and (choice.index, choice.delay))
        made.failed(made.current, FailureCause.UNREACHABLE, 0)
    assert choices == [(0, 0), (1, 0), (2, 0), (0, 1), (1, 0), (2, 0), None]
    assert made.next(100) is None
    assert firsts == [(True, 3), (True, 2), (True, 1), (False, 3), (False, 2), (False, 1), (False, 3)]


def test_rests_grow_and_end_growing() -> None:
    made = begun(1, laps=50, backoff=1, backoff_growth=1.5)
    rests = []
    for _ in range(20):
        choice = made.next(0)
        assert choice
        rests.append(choice.delay)
        made.failed(0, FailureCause.UNREACHABLE, 0)
    assert rests[:4] == [0, 1, 1.5, 2.25]
    assert rests[-1] == MAX_BACKOFF


@given(st.floats(0, 1, exclude_max=True))
def test_jitter(number: float) -> None:
    made = begun(1, random=lambda: number, backoff=10, jitter=0.2)
    made.next(0)
    made.failed(0, FailureCause.BROKEN, 0)
    assert 4 <= made.quarantine(0, 0) <= 6
    choice = made.next(0)
    assert choice
    assert 8 <= choice.delay <= 12
    assert choice.delay == pytest.approx(10 * (0.8 + 0.4 * number))


@pytest.mark.parametrize("cause", [FailureCause.ENDED, FailureCause.OURS])
def test_who_ran_well_is_redialled_at_once(cause: FailureCause) -> None:
    made = begun(3)
    made.next(0)
    ran(made, 10, cause)
    assert made.next(10) == Choice(0)
    made.failed(0, cause, 10.1)
    assert index_of(made.next(10.1)) == 1, "a redial that brings nothing goes to the next"


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
def test_what_will_happen_again_is_left_at_once(cause: FailureCause) -> None:
    made = begun(3)
    made.next(0)
    ran(made, 10, cause)
    assert made.next(10) == Choice(1)


def test_the_only_source_is_redialled_at_once_whatever_it_did() -> None:
    made = begun(1)
    made.next(0)
    ran(made, 10, FailureCause.STALLED)
    assert made.next(10) == Choice(0)


def test_a_source_that_ran_well_has_a_fresh_budget() -> None:
    made = begun(1, laps=3)
    for at in range(0, 10_000, 100):
        for _ in range(2):
            assert made.next(at)
            made.failed(0, FailureCause.ENDED, at)
        assert made.next(at)
        ran(made, at + 50, FailureCause.ENDED)


def test_one_outage_is_told_twice_and_burns_one_source() -> None:
    made = begun(3)
    made.next(0)
    made.failed(0, FailureCause.STALLED, 10)
    before = made.report(10)
    made.failed(0, FailureCause.ENDED, 10)
    assert made.report(10) == before
    assert made.next(10) == Choice(1)
    made.failed(0, FailureCause.ENDED, 10.1)
    assert made.next(10.2) == Choice(1)
    assert made.quarantine(1, 10.2) == 0


def test_what_is_told_of_another_source_changes_nothing() -> None:
    made = begun(2)
    made.next(0)
    before = made.report(1)
    made.failed(1, FailureCause.REFUSED, 1)
    made.settled(1, 0)
    assert made.report(1) == before
    assert made.in_use


def test_the_order_starts_from_home_not_from_the_last() -> None:
    made = begun(4)
    made.next(0)
    made.failed(0, FailureCause.UNREACHABLE, 0)
    assert index_of(made.next(0)) == 1
    ran(made, 3600, FailureCause.STALLED, 3600)
    assert index_of(made.next(3600)) == 0


def test_a_source_in_quarantine_comes_last_and_the_soonest_first() -> None:
    made = begun(3)
    made.next(0)
    made.failed(0, FailureCause.REFUSED, 0)  # until 30
    made.next(0)
    made.failed(1, FailureCause.STALLED, 0)  # until 10
    made.next(0)
    ran(made, 5, FailureCause.STALLED)  # until 15
    assert index_of(made.next(5)) == 1
    made.failed(1, FailureCause.UNREACHABLE, 5)  # second strike: until 10
    assert index_of(made.next(5)) == 2
    made.failed(2, FailureCause.REFUSED, 5)
    assert index_of(made.next(5)) == 0


def test_a_busy_account_is_not_asked_by_another_name() -> None:
    made = begun(3, "one", "one", "two")
    made.next(0)
    made.failed(0, FailureCause.BUSY, 0)
    assert index_of(made.next(0)) == 2
    made.failed(2, FailureCause.UNREACHABLE, 0)
    choice = made.next(0)
    assert choice
    assert choice.delay == 3, "a provider needs seconds to notice that a connection is gone"


def test_sources_of_unknown_accounts_do_not_share_a_fate() -> None:
    made = begun(3)
    made.next(0)
    made.failed(0, FailureCause.BUSY, 0)
    assert index_of(made.next(0)) == 1
    assert made.quarantine(1, 0) == made.quarantine(2, 0) == 0


def test_no_slot_of_ours_is_no_fault_of_the_source() -> None:
    made = begun(1)
    for at in range(5):
        made.begin_outage(at)
        made.next(at)
        made.failed(0, FailureCause.NO_SLOT, at)
    assert made.quarantine(0, 4) == 3


@pytest.mark.parametrize(("moves", "indices"), [(0, [0, 1, 2, 3, 0, 1]), (1, [0, 1, 1, 1]), (2, [0, 1, 2, 2, 2])])
def test_moves_are_limited(moves: int, indices: list[int]) -> None:
    made = begun(4, max_changes=moves, laps=3)
    seen = []
    while (choice := made.next(0)) and len(seen) < 6:
        seen.append(choice.index)
        made.failed(choice.index, FailureCause.UNREACHABLE, 0)
    assert seen == indices


def test_a_start_is_no_move() -> None:
    made = begun(3, max_changes=1)
    made.next(0)
    made.failed(0, FailureCause.UNREACHABLE, 0)
    assert index_of(made.next(0)) == 1
    made.begin_outage(100)
    assert index_of(made.next(100)) == 0
    made.failed(0, FailureCause.UNREACHABLE, 100)
    assert index_of(made.next(100)) == 1


def test_a_player_that_comes_again_and_again_is_slowed_down() -> None:
    made = begun(2, laps=1)
    for at in (0, 0):
        made.next(at)
        made.failed(made.current, FailureCause.REFUSED, at)
    assert made.next(0) is None
    assert made.retry_after(0) == 30
    made.begin_outage(0.5)
    assert made.next(0.5) == Choice(0, 1)
    made.begin_outage(29.8)
    choice = made.next(29.8)
    assert choice
    assert choice.delay == pytest.approx(0.2)
    made.begin_outage(31)
    assert made.next(31) == Choice(0)


# choosing, probing, going back


def test_a_chosen_source_is_next_and_home_and_forgiven() -> None:
    made = begun(3)
    made.next(0)
    made.probed(2, FailureCause.REFUSED, 0)
    made.chosen(5, 1)
    assert made.next(1) == Choice(2)
    made.failed(2, FailureCause.ENDED, 1)
    assert index_of(made.next(1)) == 0
    made.begin_outage(100)
    assert index_of(made.next(100)) == 2


def test_hundred_steps_are_hundred_moves() -> None:
    made = begun(4, max_changes=1)
    made.next(0)
    for step in range(1, 101):
        made.chosen(made.current + 1, step)
        assert index_of(made.next(step)) == step % 4


def test_a_probe_counts_for_the_probed_only() -> None:
    made = begun(3)
    made.next(0)
    made.settled(0, 0)
    made.probed(1, FailureCause.BROKEN, 5)
    assert made.best_backup(5) == 2
    made.probed(1, None, 6)
    assert made.best_backup(6) == 1
    made.probed(0, FailureCause.BROKEN, 6)
    assert made.quarantine(0, 6) == 0, "the source in use is judged by what it delivers"
    assert made.next(6) == Choice(0)


def test_no_spare_while_all_others_are_in_quarantine() -> None:
    made = begun(2)
    made.next(0)
    made.probed(1, FailureCause.REFUSED, 0)
    assert made.best_backup(1) is None
    assert made.best_backup(30) == 1


@pytest.mark.parametrize("cause", [FailureCause.CONTENT, FailureCause.LOW_BITRATE, FailureCause.SUSPECT])
def test_where_all_show_the_same_nobody_goes_round(cause: FailureCause) -> None:
    made = begun(2)
    made.next(0)
    ran(made, 10, cause)
    assert made.next(10) == Choice(1)
    made.settled(1, 11)
    assert made.quarantine(0, 100) == 0
    assert made.best_backup(100) is None
    assert made.best_backup(10 + AVOID_AFTER_CONTENT_FAULT) == 0
    assert made.probe_target(100) == 0


def test_a_spare_that_failed_otherwise_is_one_again() -> None:
    made = begun(2)
    made.next(0)
    ran(made, 10, FailureCause.STALLED)
    made.next(10)
    assert made.best_backup(100) == 0


def test_the_backup_to_probe_is_the_one_that_would_be_next() -> None:
    made = begun(4)
    made.next(0)
    assert made.probe_target(0) == 1
    made.probed(1, FailureCause.REFUSED, 0)
    assert made.probe_target(0) == 2
    made.probed(2, FailureCause.BUSY, 0)
    made.probed(3, FailureCause.UNUSABLE, 0)
    assert made.probe_target(0) == 2, "in quarantine for the shortest time"
    assert begun(1).probe_target(0) is None


def test_leaving_for_another_makes_it_no_home() -> None:
    made = begun(3, failback=100)
    made.next(0)
    made.settled(0, 0)
    made.left_for(2, 10)
    assert made.next(10) == Choice(2)
    made.settled(2, 10)
    assert made.quarantine(0, 10) == 0
    assert made.preferred(110) == 0
    made.failed(2, FailureCause.STALLED, 120)
    assert made.next(120) == Choice(0)


def test_leaving_for_one_that_fails_goes_on_with_the_others() -> None:
    made = begun(3)
    made.next(0)
    made.settled(0, 0)
    made.left_for(2, 10)
    made.next(10)
    made.failed(2, FailureCause.REFUSED, 11)
    assert made.next(11) == Choice(0)


def test_taking_over_is_no_failure() -> None:
    made = begun(3)
    made.next(0)
    made.settled(0, 0)
    made.took_over(1, 60)
    assert made.current == 1
    assert made.quarantine(0, 60) == 0
    ran(made, 70, FailureCause.ENDED)
    assert made.next(70) == Choice(1)


def test_failback_is_off_unless_wanted() -> None:
    made = begun(2)
    made.next(0)
    made.failed(0, FailureCause.ENDED, 0)
    made.next(0)
    made.settled(1, 0)
    assert made.preferred(1e6) is None


def test_failback_waits_until_both_have_been_calm() -> None:
    made = begun(3, failback=100)
    made.next(0)
    made.failed(0, FailureCause.UNREACHABLE, 0)
    made.next(0)
    assert made.preferred(500) is None, "not before it runs"
    made.settled(1, 50)
    assert made.preferred(149) is None
    assert made.preferred(151) == 0
    made.probed(0, FailureCause.UNREACHABLE, 151)
    assert made.preferred(250) is None, "it failed again"
    assert made.preferred(252) == 0
    made.took_over(0, 252)
    assert made.preferred(1000) is None, "there is nothing better"


def test_failback_never_leaves_a_chosen_source() -> None:
    made = begun(3, failback=10)
    made.next(0)
    made.chosen(1, 0)
    made.next(0)
    made.settled(1, 0)
    assert made.preferred(1000) is None


def test_replaced_sources_keep_their_standing() -> None:
    made = begun(3)
    made.next(0)
    made.failed(0, FailureCause.REFUSED, 0)
    made.next(0)
    made.settled(1, 0)
    assert made.replace(["http://host/1", "http://new", "http://host/0"])
    assert made.current == 0
    assert made.in_use
    assert [made.quarantine(index, 0) for index in range(3)] == [0, 0, 30]
    ran(made, 10, FailureCause.ENDED)
    assert made.next(10) == Choice(0)


def test_a_source_that_is_replaced_while_in_use() -> None:
    made = begun(3)
    made.next(0)
    assert not made.replace(["http://new", "http://host/1"])
    assert not made.in_use
    made.failed(0, FailureCause.ENDED, 1)
    assert made.report(1)[0]["failures"] == 0
    assert made.next(1) == Choice(0)


def test_without_sources() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Sources([], FailoverRules(), lambda: EVEN)
    with pytest.raises(ValueError, match="at least one"):
        sources().replace([])


def test_report_shows_no_key() -> None:
    made = begun(2)
    made.next(0)
    made.failed(0, FailureCause.BUSY, 0)
    assert made.report(1) == [
        {"index": 0, "in_use": False, "failures": 1, "last_cause": "too many connections", "quarantine_seconds": 4},
        {"index": 1, "in_use": False, "failures": 0, "last_cause": None, "quarantine_seconds": 0},
    ]


# every state and event

STATES = ["new", "dialled", "settled", "failed", "redial", "spent"]
EVENTS = ["begin", "next", "settled", "failed", "other failed", "probed", "chose", "took_over", "leave_for", "replace"]


def in_state(state: str) -> Sources:
    made = sources(2, laps=1)
    if state == "new":
        return made
    made.begin_outage(0)
    made.next(0)
    if state in ("settled", "redial"):
        made.settled(0, -5)
    if state in ("failed", "spent"):
        made.failed(0, FailureCause.UNREACHABLE, 0)
    if state == "redial":
        made.failed(0, FailureCause.ENDED, 0)
    if state == "spent":
        made.next(0)
        made.failed(1, FailureCause.UNREACHABLE, 0)
    return made


def tell(made: Sources, event: str) -> None:
    {
        "begin": lambda: made.begin_outage(1),
        "next": lambda: made.next(1),
        "settled": lambda: made.settled(made.current, 0),
        "failed": lambda: made.failed(made.current, FailureCause.BROKEN, 1),
        "other failed": lambda: made.failed(1 - made.current, FailureCause.BROKEN, 1),
        "probed": lambda: made.probed(1, FailureCause.BROKEN, 1),
        "chose": lambda: made.chosen(1, 1),
        "took_over": lambda: made.took_over(1, 1),
        "leave_for": lambda: made.left_for(1, 1),
        "replace": lambda: made.replace(["http://host/0", "http://host/1"]),
    }[event]()


#: state -> for each event, what ``next`` says after it (2 s after the state was entered).
EXPECTED = {
    "new": [0, 0, 0, 0, 0, 0, 1, 1, 1, 0],
    "dialled": [0, 0, 0, 1, 0, 0, 1, 1, 1, 0],
    "settled": [0, 0, 0, 1, 0, 0, 1, 1, 1, 0],
    "failed": [1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
    "redial": [0, 0, 0, 0, 0, 0, 1, 1, 1, 0],
    "spent": [0, None, None, None, None, None, 1, 1, 1, None],
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("event", EVENTS)
def test_state_and_event(state: str, event: str) -> None:
    made = in_state(state)
    tell(made, event)
    choice = made.next(1)
    expected = EXPECTED[state][EVENTS.index(event)]
    assert (choice and choice.index) == expected


# every history of up to five events


class World:
    """Carries events out and checks what must always hold, by a count of its own."""

    def __init__(self) -> None:
        self.made = sources(3, "one", "one", "two", laps=2, backoff=1)
        self.now = 0.0
        self.tried: set[int] = set()
        self.dials = 0
        self.expect: int | None = None
        self.fresh()

    def fresh(self) -> None:
        self.tried, self.dials, self.spent = set(), 0, False

    def next(self) -> None:
        before, was_in_use = self.made.report(self.now), self.made.in_use
        choice = self.made.next(self.now)
        if choice is None:
            assert self.dials >= 2, "the budget was spent before two laps"
            self.spent = True
            return
        assert not self.spent, "spent, and yet on it goes"
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
            assert all(left), "in quarantine, while another is not"
            others = [left[index] for index in range(3) if index not in self.tried]
            assert left[choice.index] <= min(others) + 0.05, "not the soonest"

    def failed(self, cause: FailureCause) -> None:
        if cause is FailureCause.BUSY and self.made.in_use and self.made.current < 2:
            self.tried |= {0, 1}
        self.made.failed(self.made.current, cause, self.now)
        again = self.made.report(self.now)
        self.made.failed(self.made.current, cause, self.now)
        assert self.made.report(self.now) == again

    def ran(self, cause: FailureCause) -> None:
        if not self.made.in_use:
            return
        self.fresh()
        self.now += 5
        ran(self.made, self.now, cause)
        self.expect = self.made.current if CAUSE_POLICIES[cause].redial else None

    def begin(self) -> None:
        self.fresh()
        self.expect = None
        self.made.begin_outage(self.now)

    def chose(self) -> None:
        self.fresh()
        self.expect = 1
        self.made.chosen(1, self.now)

    def probed(self) -> None:
        self.made.probed(2, FailureCause.REFUSED, self.now)

    def wait(self) -> None:
        self.now += 20


STEPS: list[Callable[[World], None]] = [
    World.begin,
    World.next,
    lambda world: world.failed(FailureCause.UNREACHABLE),
    lambda world: world.failed(FailureCause.BUSY),
    lambda world: world.failed(FailureCause.REFUSED),
    lambda world: world.ran(FailureCause.ENDED),
    lambda world: world.ran(FailureCause.STALLED),
    World.chose,
    World.probed,
    World.wait,
]


@pytest.mark.exhaustive
@pytest.mark.parametrize("first", STEPS)
def test_every_history_of_five_events(first: Callable[[World], None]) -> None:
    for rest in itertools.product(STEPS, repeat=4):
        world = World()
        for step in (first, *rest):
            step(world)
        world.next()


@given(st.lists(st.sampled_from(STEPS), max_size=60))
def test_long_histories(steps: list[Callable[[World], None]]) -> None:
    world = World()
    for step in steps:
        step(world)
    world.next()


@given(st.integers(1, 6), st.lists(st.tuples(st.sampled_from(list(FailureCause)), st.floats(0, 100)), max_size=60))
def test_an_outage_ends(count: int, failures: list[tuple[FailureCause, float]]) -> None:
    made = begun(count, laps=3)
    now, dials = 0.0, 0
    for cause, passes in failures:
        if made.next(now) is None:
            break
        dials += 1
        now += passes
        made.failed(made.current, cause, now)
    assert dials <= 3 * count
    if len(failures) > 3 * count:
        assert made.next(now) is None
