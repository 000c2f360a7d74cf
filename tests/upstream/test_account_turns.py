"""Turns to ask an account that has too many connections."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from m3uproxy.core.failover.causes import status_error
from m3uproxy.core.http.source_request import SourceRequest
from m3uproxy.core.slots.accounts import Account
from m3uproxy.errors import Reason, SourceError
from m3uproxy.upstream.account_turns import FORGET_AFTER, LONGEST_TURN, MAX_FULL, AccountTurns, Turn

BUSY = status_error(458)
REQUEST = SourceRequest("http://h.tv/1.ts", "player", (), True, account=Account("a"))


class Asker:
    """A stream that waits for its turn, and notes when it got it."""

    def __init__(self, clock: Clock, turns: AccountTurns, patient: bool = True) -> None:
        self._turns = turns
        self.turn: Turn | None = None
        self.asked_at: float | None = None
        self.error: BaseException | None = None

        def begin(turn: Turn) -> None:
            self.turn, self.asked_at = turn, clock.seconds()

        def failed(failure) -> None:
            self.error = failure.value

        self.waiting = Deferred.fromCoroutine(turns.wait("a", patient)).addCallbacks(begin, failed)

    def answered(self, error: SourceError | None) -> None:
        assert self.turn is not None
        self._turns.answered(self.turn, error)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def turns(clock: Clock) -> AccountTurns:
    return AccountTurns(clock)


def pass_time(clock: Clock, seconds: float) -> None:
    clock.pump([0.05] * round(seconds / 0.05))


def test_account_that_is_not_full_is_asked_at_any_time(clock: Clock, turns: AccountTurns) -> None:
    askers = [Asker(clock, turns) for _ in range(5)]
    assert [asker.asked_at for asker in askers] == [0] * 5
    askers[0].answered(None)
    askers[1].answered(SourceError(Reason.REFUSED))
    assert Asker(clock, turns).asked_at == 0
    assert clock.getDelayedCalls() == []


def test_full_account_is_asked_by_one_at_growing_intervals(clock: Clock, turns: AccountTurns) -> None:
    Asker(clock, turns).answered(BUSY)
    times = []
    waiting = [Asker(clock, turns) for _ in range(8)]
    for _ in range(400):
        clock.advance(0.05)
        for asker in [asker for asker in waiting if asker.asked_at is not None]:
            times.append(round(clock.seconds(), 2))
            waiting.remove(asker)
            asker.answered(BUSY)
            waiting.append(Asker(clock, turns))
    assert times == pytest.approx([0.5, 1.5, 3.5, 6.5, 9.5, 12.5, 15.5, 18.5], abs=0.4)
    for asker in waiting:
        asker.waiting.cancel()
    pass_time(clock, 4)
    assert clock.getDelayedCalls() == []


def test_others_wait_for_the_answer_of_the_one_that_asks(clock: Clock, turns: AccountTurns) -> None:
    Asker(clock, turns).answered(BUSY)
    first, second = Asker(clock, turns), Asker(clock, turns)
    pass_time(clock, LONGEST_TURN)
    assert first.asked_at == pytest.approx(0.5, abs=0.1)
    assert second.asked_at is None
    first.answered(None)
    clock.advance(0)
    assert second.asked_at == clock.seconds(), "the account has room"
    second.answered(None)
    assert Asker(clock, turns).asked_at == clock.seconds()


def test_source_that_is_slow_to_answer_does_not_hold_up_the_others(clock: Clock, turns: AccountTurns) -> None:
    Asker(clock, turns).answered(BUSY)
    slow, second, third = (Asker(clock, turns) for _ in range(3))
    pass_time(clock, 0.5 + LONGEST_TURN + 0.1)
    assert slow.asked_at == pytest.approx(0.5, abs=0.1)
    assert second.asked_at == pytest.approx(0.5 + LONGEST_TURN, abs=0.2)
    slow.answered(BUSY)
    pass_time(clock, 2)
    assert third.asked_at is None, "the second one has no answer yet"
    second.answered(None)
    clock.advance(0)
    assert third.asked_at == clock.seconds()
    third.answered(None)
    assert clock.getDelayedCalls() == []


def test_request_at_the_next_time_makes_others_wait(clock: Clock, turns: AccountTurns) -> None:
    Asker(clock, turns).answered(BUSY)
    pass_time(clock, 0.6)
    first, second = Asker(clock, turns), Asker(clock, turns)
    pass_time(clock, 4)
    assert (first.asked_at is None, second.asked_at) == (False, None)
    first.answered(BUSY)
    pass_time(clock, 1.1)
    assert second.asked_at is not None


def test_answers_to_requests_sent_together_count_once(clock: Clock, turns: AccountTurns) -> None:
    for asker in [Asker(clock, turns) for _ in range(5)]:
        asker.answered(BUSY)
    later = Asker(clock, turns)
    pass_time(clock, 0.6)
    assert later.asked_at == pytest.approx(0.5, abs=0.1)


def test_retry_after_precedes_the_intervals(clock: Clock, turns: AccountTurns) -> None:
    Asker(clock, turns).answered(status_error(429, False, 8))
    later = Asker(clock, turns)
    pass_time(clock, 7.9)
    assert later.asked_at is None
    pass_time(clock, 0.2)
    assert later.asked_at == pytest.approx(8, abs=0.1)


def test_impatient_request_fails_with_the_last_refusal(clock: Clock, turns: AccountTurns) -> None:
    Asker(clock, turns).answered(BUSY)
    assert Asker(clock, turns, patient=False).error == BUSY
    pass_time(clock, 0.6)
    assert Asker(clock, turns, patient=False).asked_at == clock.seconds()


def test_stored_refusal_tells_the_rest_of_its_retry_after(clock: Clock, turns: AccountTurns) -> None:
    Asker(clock, turns).answered(status_error(429, False, 8))
    pass_time(clock, 5)
    for refusal in (Asker(clock, turns, patient=False).error, turns.refusal("a")):
        assert isinstance(refusal, SourceError)
        assert refusal.retry_after == pytest.approx(3)
    pass_time(clock, 5)
    refusal = turns.refusal("a")
    assert refusal is not None
    assert refusal.retry_after == 0


def test_failure_of_another_kind_lets_the_next_one_ask(clock: Clock, turns: AccountTurns) -> None:
    Asker(clock, turns).answered(BUSY)
    first, second = Asker(clock, turns), Asker(clock, turns)
    pass_time(clock, 0.6)
    first.answered(SourceError(Reason.CONNECT_TIMEOUT))
    clock.advance(0)
    assert second.asked_at == clock.seconds()


def test_cancelled_wait_leaves_the_queue(clock: Clock, turns: AccountTurns) -> None:
    Asker(clock, turns).answered(BUSY)
    first, second = Asker(clock, turns), Asker(clock, turns)
    first.waiting.cancel()
    assert isinstance(first.error, CancelledError)
    pass_time(clock, 0.6)
    assert second.asked_at == pytest.approx(0.5, abs=0.1)
    second.answered(BUSY)
    third = Asker(clock, turns)
    third.waiting.cancel()
    assert clock.getDelayedCalls() == []


def test_account_that_nobody_asks_is_forgotten(clock: Clock, turns: AccountTurns) -> None:
    Asker(clock, turns).answered(BUSY)
    pass_time(clock, FORGET_AFTER + 1)
    assert Asker(clock, turns).asked_at == clock.seconds()
    assert turns._full == {}


def test_status_keeps_its_meaning_for_as_long_as_a_player_waits(clock: Clock, turns: AccountTurns) -> None:
    turns.usage.used("a", "one", 0)
    assert turns.has_too_many(REQUEST)
    assert not turns.has_too_many(REQUEST, apart_from="one")
    pass_time(clock, 9)
    Asker(clock, turns).answered(BUSY)
    for _ in range(6):
        pass_time(clock, 3)
        assert turns.has_too_many(REQUEST), "the connection ended long ago"
        Asker(clock, turns).answered(BUSY)
    pass_time(clock, 3)
    assert not turns.has_too_many(REQUEST)


def test_accounts_that_were_full_are_forgotten(clock: Clock, turns: AccountTurns) -> None:
    for number in range(3 * MAX_FULL):
        turns.answered(Turn(str(number)), BUSY)
        clock.advance(1)
    assert len(turns._full) <= MAX_FULL


def test_stop_leaves_no_timer(clock: Clock, turns: AccountTurns) -> None:
    Asker(clock, turns).answered(BUSY)
    Asker(clock, turns)
    turns.stop()
    assert clock.getDelayedCalls() == []
