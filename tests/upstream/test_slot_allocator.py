"""Waiting for slots, with a clock: who is answered, when, and that nothing is left behind."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from m3uproxy.core.slots.accounts import Account
from m3uproxy.core.slots.slot_table import SlotTable
from m3uproxy.core.slots.viewer_identity import ViewerIdentity
from m3uproxy.errors import Reason, SourceError
from m3uproxy.upstream.slots import Slot, SlotAllocator, StreamSlot

ONE = Account("acme", 1)
TWO = Account("beta", 2)
NOW_AND_THEN = Account("acme", 1, intermittent=True)
ANN = ViewerIdentity("192.0.2.1", "VLC", client_id="ann")
BOB = ViewerIdentity("192.0.2.2", "VLC", client_id="bob")


class Desk(SlotAllocator):
    """A desk whose orders to end a stream are noted."""

    def __init__(self, patience: float = 3.0) -> None:
        self.clock = Clock()
        self.vacated: list[str] = []
        super().__init__(self.clock, SlotTable(patience), self.vacated.append)

    def got(self, account: Account, stream: str, viewer: ViewerIdentity | None = None) -> Slot:
        """A slot that is there at once."""
        asking = self.ask(account, stream, viewer)
        assert asking.called
        return result(asking)


def result(asking: Deferred[Slot]) -> Slot:
    found: list[Slot] = []
    asking.addCallback(found.append)
    return found[0]


def refusal(asking: Deferred[Slot]) -> BaseException:
    found: list[BaseException] = []
    asking.addErrback(lambda failure: found.append(failure.value))
    return found[0]


def test_a_free_slot_is_given_at_once_and_counted_by_its_sockets() -> None:
    desk = Desk()
    slot = desk.got(TWO, "s")
    assert slot.opened()
    assert desk.slots.open_sockets("beta") == 1
    slot.done()
    assert desk.slots.open_sockets("beta") == 1
    slot.closed()
    assert desk.slots.open_sockets("beta") == 0
    assert not slot.opened()
    assert desk.clock.getDelayedCalls() == []


def test_who_waits_is_served_when_the_socket_is_gone_not_before() -> None:
    desk = Desk()
    first = desk.got(ONE, "a")
    first.opened()
    asking = desk.ask(ONE, "b", ANN)
    desk.clock.advance(2.9)
    first.done()
    assert not asking.called
    first.closed()
    result(asking).done()
    assert desk.clock.getDelayedCalls() == []


def test_who_waits_too_long_is_refused_with_the_reason() -> None:
    desk = Desk()
    first = desk.got(ONE, "a")
    first.opened()
    asking = desk.ask(ONE, "b", ANN)
    desk.joined("a", BOB)
    desk.clock.advance(2.9)
    assert not asking.called
    desk.clock.advance(0.1)
    error = refusal(asking)
    assert isinstance(error, SourceError)
    assert error.reason is Reason.NO_SLOT
    assert "'acme' allows 1 connection" in str(error)
    first.done()
    first.closed()
    assert desk.clock.getDelayedCalls() == []


def test_a_later_deadline_does_not_move_an_earlier_one() -> None:
    desk = Desk()
    first = desk.got(ONE, "a")
    first.opened()
    desk.joined("a", BOB)
    early = desk.ask(ONE, "b")
    desk.clock.advance(1)
    late = desk.ask(ONE, "c")
    desk.clock.advance(2)
    assert isinstance(refusal(early), SourceError)
    assert not late.called
    desk.clock.advance(1)
    assert isinstance(refusal(late), SourceError)


def test_a_cancelled_wait_leaves_the_queue() -> None:
    desk = Desk()
    first = desk.got(ONE, "a")
    first.opened()
    desk.joined("a", BOB)
    asking, behind = desk.ask(ONE, "b"), desk.ask(ONE, "c")
    asking.cancel()
    assert isinstance(refusal(asking), CancelledError)
    first.done()
    first.closed()
    assert result(behind).account == ONE
    assert desk.slots.report()["granted"] == 2


def test_who_zaps_has_his_old_stream_ended_and_gets_its_slot() -> None:
    desk = Desk()
    desk.joined("old", ANN)
    old = desk.got(ONE, "old", ANN)
    old.opened()
    desk.joined("new", ANN)
    asking = desk.ask(ONE, "new", ANN)
    assert desk.vacated == ["old"]
    assert not asking.called
    desk.left("old", ANN)
    old.done()
    old.closed()
    assert result(asking).opened()


def test_the_stream_of_somebody_else_is_not_ended() -> None:
    desk = Desk()
    desk.joined("old", BOB)
    desk.got(ONE, "old", BOB).opened()
    desk.joined("new", ANN)
    asking = desk.ask(ONE, "new", ANN)
    assert desk.vacated == []
    desk.left("old", BOB)
    assert desk.vacated == ["old"], "nobody is left who watches it"
    asking.addErrback(lambda _: None)
    asking.cancel()


def test_stopping_leaves_no_timer() -> None:
    desk = Desk()
    desk.got(ONE, "a")
    assert len(desk.clock.getDelayedCalls()) == 1
    desk.stop()
    assert desk.clock.getDelayedCalls() == []
    desk.stop()


class TestAdmission:
    """The slot of one stream."""

    def admitted(self, admission: StreamSlot, account: Account | None) -> Slot | None:
        asked = Deferred.fromCoroutine(admission.admit(account))
        found: list[Slot | None] = []
        asked.addCallback(found.append)
        return found[0]

    def test_without_an_account_nobody_is_asked(self) -> None:
        desk = Desk()
        assert self.admitted(StreamSlot(desk, "s"), None) is None
        assert desk.slots.report()["granted"] == 0

    def test_a_redial_keeps_it_and_another_account_takes_another(self) -> None:
        desk = Desk()
        admission = StreamSlot(desk, "s")
        slot = self.admitted(admission, ONE)
        assert self.admitted(admission, ONE) is slot
        other = self.admitted(admission, TWO)
        assert other is not None
        assert other.account == TWO
        assert desk.has_room(ONE, "s")
        admission.leave()
        admission.leave()
        assert desk.clock.getDelayedCalls() == []

    def test_room_beside_the_one_in_use(self) -> None:
        desk = Desk()
        admission = StreamSlot(desk, "s")
        self.admitted(admission, TWO)
        assert desk.has_room(TWO, "s")
        self.admitted(admission, ONE)
        assert not desk.has_room(ONE, "s")
        admission.leave()


@pytest.mark.parametrize("patience", [0.0, 1.0])
def test_patience_is_kept_to(patience: float) -> None:
    desk = Desk(patience)
    desk.joined("a", BOB)
    desk.got(ONE, "a").opened()
    asking = desk.ask(ONE, "b")
    desk.clock.advance(patience)
    assert isinstance(refusal(asking), SourceError)


def test_who_asks_now_and_then_keeps_the_slot_while_it_has_no_socket() -> None:
    desk = Desk()
    admission = StreamSlot(desk, "s")
    found: list[Slot | None] = []
    Deferred.fromCoroutine(admission.admit(NOW_AND_THEN)).addCallback(found.append)
    desk.clock.advance(600)
    assert not desk.has_room(ONE, "t")
    (slot,) = found
    assert slot is not None
    assert slot.opened()
    slot.closed()
    desk.clock.advance(600)
    assert not desk.has_room(ONE, "s")
    admission.leave()
    assert desk.has_room(ONE, "s")
    assert desk.clock.getDelayedCalls() == []


def test_what_is_open_on_a_slot_is_told_before_others_get_it() -> None:
    desk = Desk()
    slot = desk.got(ONE, "a")
    waiting = desk.ask(ONE, "b")
    told: list[tuple[bool, bool, bool]] = []
    slot.before_done(lambda at_once: told.append((at_once, slot.held, waiting.called)))
    assert slot.held
    slot.done(at_once=True)
    assert told == [(True, False, False)]
    slot.done()
    assert len(told) == 1
    result(waiting).done()
    assert desk.clock.getDelayedCalls() == []


def shared(desk: Desk, stream: str) -> Deferred[Slot]:
    return desk.ask(NOW_AND_THEN, stream)


def test_the_parts_of_a_stream_that_asks_now_and_then_have_one_slot_together() -> None:
    desk = Desk()
    first = result(shared(desk, "s"))
    assert desk.has_room(NOW_AND_THEN, "s")
    assert not desk.has_room(ONE, "s")
    assert not desk.has_room(NOW_AND_THEN, "other")
    assert result(shared(desk, "s")) is first
    assert not shared(desk, "other").called
    first.done(at_once=True)
    assert first.held
    first.done()
    assert not first.held
    assert not desk.has_room(NOW_AND_THEN, "s")
    desk.clock.advance(3)
    assert desk.slots.report()["granted"] == 2


def test_parts_that_wait_are_granted_together() -> None:
    desk = Desk()
    other = desk.got(ONE, "other")
    asked = [shared(desk, "s") for _ in range(3)]
    asked[1].cancel()
    assert isinstance(refusal(asked[1]), CancelledError)
    other.done()
    first, third = result(asked[0]), result(asked[2])
    assert first is third
    assert desk.slots.report()["providers"][0]["waiting"] == 0
    first.done()
    assert first.held
    third.done()
    assert desk.has_room(ONE, "s")
    assert desk.clock.getDelayedCalls() == []


def test_leave_that_there_is_already() -> None:
    desk = Desk()
    admission = StreamSlot(desk, "s")
    assert admission.held(None) is None
    with pytest.raises(SourceError, match="no connection to provider 'acme' now"):
        admission.held(ONE)
    Deferred.fromCoroutine(admission.admit(ONE))
    assert isinstance(admission.held(ONE), Slot)
    with pytest.raises(SourceError, match="'beta'"):
        admission.held(TWO)
    admission.leave()
    with pytest.raises(SourceError, match="'acme'"):
        admission.held(ONE)
    assert desk.clock.getDelayedCalls() == []
