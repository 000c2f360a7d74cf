"""Acquiring, waiting for and releasing slots on a Clock."""

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
INTERMITTENT = Account("acme", 1, intermittent=True)
ANN = ViewerIdentity("192.0.2.1", "VLC", client_id="ann")
BOB = ViewerIdentity("192.0.2.2", "VLC", client_id="bob")


class NotingAllocator(SlotAllocator):
    """An allocator that notes the streams that must release their slot."""

    def __init__(self, wait_limit: float = 3.0) -> None:
        self.clock = Clock()
        self.ended: list[str] = []
        super().__init__(self.clock, SlotTable(wait_limit), self.ended.append)

    def granted(self, account: Account, stream: str, viewer: ViewerIdentity | None = None) -> Slot:
        """Return a slot that is granted at once."""
        request = self.request(account, stream, viewer)
        assert request.called
        return slot_of(request)


def slot_of(request: Deferred[Slot]) -> Slot:
    found: list[Slot] = []
    request.addCallback(found.append)
    return found[0]


def error_of(request: Deferred[Slot]) -> BaseException:
    found: list[BaseException] = []
    request.addErrback(lambda failure: found.append(failure.value))
    return found[0]


def test_free_slot_is_granted_at_once_and_counted_by_its_sockets() -> None:
    allocator = NotingAllocator()
    slot = allocator.granted(TWO, "s")
    assert slot.socket_opened()
    assert allocator.table.open_sockets("beta") == 1
    slot.release()
    assert allocator.table.open_sockets("beta") == 1
    slot.socket_closed()
    assert allocator.table.open_sockets("beta") == 0
    assert not slot.socket_opened()
    assert allocator.clock.getDelayedCalls() == []


def test_waiting_request_is_granted_when_the_socket_has_closed() -> None:
    allocator = NotingAllocator()
    first = allocator.granted(ONE, "a")
    first.socket_opened()
    request = allocator.request(ONE, "b", ANN)
    allocator.clock.advance(2.9)
    first.release()
    assert not request.called
    first.socket_closed()
    slot_of(request).release()
    assert allocator.clock.getDelayedCalls() == []


def test_request_that_waits_too_long_is_refused_with_the_reason() -> None:
    allocator = NotingAllocator()
    first = allocator.granted(ONE, "a")
    first.socket_opened()
    request = allocator.request(ONE, "b", ANN)
    allocator.viewer_joined("a", BOB)
    allocator.clock.advance(2.9)
    assert not request.called
    allocator.clock.advance(0.1)
    error = error_of(request)
    assert isinstance(error, SourceError)
    assert error.reason is Reason.NO_SLOT
    assert "'acme' allows 1 connection" in str(error)
    first.release()
    first.socket_closed()
    assert allocator.clock.getDelayedCalls() == []


def test_later_deadline_does_not_move_an_earlier_one() -> None:
    allocator = NotingAllocator()
    first = allocator.granted(ONE, "a")
    first.socket_opened()
    allocator.viewer_joined("a", BOB)
    early = allocator.request(ONE, "b")
    allocator.clock.advance(1)
    late = allocator.request(ONE, "c")
    allocator.clock.advance(2)
    assert isinstance(error_of(early), SourceError)
    assert not late.called
    allocator.clock.advance(1)
    assert isinstance(error_of(late), SourceError)


def test_cancelled_request_leaves_the_queue() -> None:
    allocator = NotingAllocator()
    first = allocator.granted(ONE, "a")
    first.socket_opened()
    allocator.viewer_joined("a", BOB)
    request, behind = allocator.request(ONE, "b"), allocator.request(ONE, "c")
    request.cancel()
    assert isinstance(error_of(request), CancelledError)
    first.release()
    first.socket_closed()
    assert slot_of(behind).account == ONE
    assert allocator.table.report()["granted"] == 2


def test_changing_stream_ends_the_old_stream_and_takes_its_slot() -> None:
    allocator = NotingAllocator()
    allocator.viewer_joined("old", ANN)
    old = allocator.granted(ONE, "old", ANN)
    old.socket_opened()
    allocator.viewer_joined("new", ANN)
    request = allocator.request(ONE, "new", ANN)
    assert allocator.ended == ["old"]
    assert not request.called
    allocator.viewer_left("old", ANN)
    old.release()
    old.socket_closed()
    assert slot_of(request).socket_opened()


def test_stream_of_another_viewer_is_not_ended() -> None:
    allocator = NotingAllocator()
    allocator.viewer_joined("old", BOB)
    allocator.granted(ONE, "old", BOB).socket_opened()
    allocator.viewer_joined("new", ANN)
    request = allocator.request(ONE, "new", ANN)
    assert allocator.ended == []
    allocator.viewer_left("old", BOB)
    assert allocator.ended == ["old"], "its last viewer has left"
    request.addErrback(lambda _: None)
    request.cancel()


def test_stop_leaves_no_timer() -> None:
    allocator = NotingAllocator()
    allocator.granted(ONE, "a")
    assert len(allocator.clock.getDelayedCalls()) == 1
    allocator.stop()
    assert allocator.clock.getDelayedCalls() == []
    allocator.stop()


class TestStreamSlot:
    """The slot of one stream."""

    def acquire(self, stream_slot: StreamSlot, account: Account | None) -> Slot | None:
        asked = Deferred.fromCoroutine(stream_slot.acquire(account))
        found: list[Slot | None] = []
        asked.addCallback(found.append)
        return found[0]

    def test_no_slot_is_needed_without_an_account(self) -> None:
        allocator = NotingAllocator()
        assert self.acquire(StreamSlot(allocator, "s"), None) is None
        assert allocator.table.report()["granted"] == 0

    def test_next_dial_keeps_the_slot_unless_the_account_differs(self) -> None:
        allocator = NotingAllocator()
        stream_slot = StreamSlot(allocator, "s")
        slot = self.acquire(stream_slot, ONE)
        assert self.acquire(stream_slot, ONE) is slot
        other = self.acquire(stream_slot, TWO)
        assert other is not None
        assert other.account == TWO
        assert allocator.has_free_slot(ONE, "s")
        stream_slot.release()
        stream_slot.release()
        assert allocator.clock.getDelayedCalls() == []

    def test_second_slot_is_free_within_the_limit(self) -> None:
        allocator = NotingAllocator()
        stream_slot = StreamSlot(allocator, "s")
        self.acquire(stream_slot, TWO)
        assert allocator.has_free_slot(TWO, "s")
        self.acquire(stream_slot, ONE)
        assert not allocator.has_free_slot(ONE, "s")
        stream_slot.release()


@pytest.mark.parametrize("wait_limit", [0.0, 1.0])
def test_request_waits_for_the_configured_time(wait_limit: float) -> None:
    allocator = NotingAllocator(wait_limit)
    allocator.viewer_joined("a", BOB)
    allocator.granted(ONE, "a").socket_opened()
    request = allocator.request(ONE, "b")
    allocator.clock.advance(wait_limit)
    assert isinstance(error_of(request), SourceError)


def test_intermittent_account_keeps_the_slot_without_a_socket() -> None:
    allocator = NotingAllocator()
    stream_slot = StreamSlot(allocator, "s")
    found: list[Slot | None] = []
    Deferred.fromCoroutine(stream_slot.acquire(INTERMITTENT)).addCallback(found.append)
    allocator.clock.advance(600)
    assert not allocator.has_free_slot(ONE, "t")
    (slot,) = found
    assert slot is not None
    assert slot.socket_opened()
    slot.socket_closed()
    allocator.clock.advance(600)
    assert not allocator.has_free_slot(ONE, "s")
    stream_slot.release()
    assert allocator.has_free_slot(ONE, "s")
    assert allocator.clock.getDelayedCalls() == []


def test_callback_runs_before_the_next_request_is_granted() -> None:
    allocator = NotingAllocator()
    slot = allocator.granted(ONE, "a")
    waiting = allocator.request(ONE, "b")
    calls: list[tuple[bool, bool, bool]] = []
    slot.before_release(lambda abort: calls.append((abort, slot.held, waiting.called)))
    assert slot.held
    slot.release(abort=True)
    assert calls == [(True, False, False)]
    slot.release()
    assert len(calls) == 1
    slot_of(waiting).release()
    assert allocator.clock.getDelayedCalls() == []


def shared(allocator: NotingAllocator, stream: str) -> Deferred[Slot]:
    return allocator.request(INTERMITTENT, stream)


def test_parts_of_a_stream_share_the_slot_of_an_intermittent_account() -> None:
    allocator = NotingAllocator()
    first = slot_of(shared(allocator, "s"))
    assert allocator.has_free_slot(INTERMITTENT, "s")
    assert not allocator.has_free_slot(ONE, "s")
    assert not allocator.has_free_slot(INTERMITTENT, "other")
    assert slot_of(shared(allocator, "s")) is first
    assert not shared(allocator, "other").called
    first.release(abort=True)
    assert first.held
    first.release()
    assert not first.held
    assert not allocator.has_free_slot(INTERMITTENT, "s")
    allocator.clock.advance(3)
    assert allocator.table.report()["granted"] == 2


def test_waiting_parts_of_a_stream_are_granted_together() -> None:
    allocator = NotingAllocator()
    other = allocator.granted(ONE, "other")
    asked = [shared(allocator, "s") for _ in range(3)]
    asked[1].cancel()
    assert isinstance(error_of(asked[1]), CancelledError)
    other.release()
    first, third = slot_of(asked[0]), slot_of(asked[2])
    assert first is third
    assert allocator.table.report()["providers"][0]["waiting"] == 0
    first.release()
    assert first.held
    third.release()
    assert allocator.has_free_slot(ONE, "s")
    assert allocator.clock.getDelayedCalls() == []


def test_held_slot_is_returned_only_for_its_account() -> None:
    allocator = NotingAllocator()
    stream_slot = StreamSlot(allocator, "s")
    assert stream_slot.get_held(None) is None
    with pytest.raises(SourceError, match="no connection to provider 'acme' now"):
        stream_slot.get_held(ONE)
    Deferred.fromCoroutine(stream_slot.acquire(ONE))
    assert isinstance(stream_slot.get_held(ONE), Slot)
    with pytest.raises(SourceError, match="'beta'"):
        stream_slot.get_held(TWO)
    stream_slot.release()
    with pytest.raises(SourceError, match="'acme'"):
        stream_slot.get_held(ONE)
    assert allocator.clock.getDelayedCalls() == []


# callbacks that request, release and cancel


def taken(allocator: SlotAllocator) -> object:
    rows = allocator.report(())["providers"]
    assert isinstance(rows, list)
    return {row["provider"]: row["slots_taken"] for row in rows}


def idle_allocator(account: Account, count: int) -> NotingAllocator:
    """Return an allocator whose slots are taken by streams without sockets. They expire in the same moment."""
    allocator = NotingAllocator(wait_limit=100)
    for number in range(count):
        allocator.granted(account, f"idle{number}")
    return allocator


def test_request_granted_together_with_another_is_cancelled_by_it() -> None:
    allocator = idle_allocator(TWO, 2)
    first, second, third = (allocator.request(TWO, name) for name in ("a", "b", "c"))
    second.addErrback(lambda failure: failure.trap(CancelledError))
    slots: list[Slot] = []

    def cancel_second(slot: Slot) -> None:
        slots.append(slot)
        second.cancel()

    first.addCallback(cancel_second)
    third.addCallback(slots.append)
    allocator.clock.advance(60)
    assert [slot.stream for slot in slots] == ["a", "c"]
    for slot in slots:
        slot.release()
    allocator.clock.advance(60)
    assert taken(allocator) == {"beta": 0}


def test_callback_releases_its_slot_and_requests_another() -> None:
    allocator = idle_allocator(TWO, 2)
    again: list[Deferred[Slot]] = []
    held: list[Slot] = []

    def release(slot: Slot) -> None:
        slot.release()
        again.append(allocator.request(TWO, "a"))

    allocator.request(TWO, "a").addCallback(release)
    allocator.request(TWO, "b").addCallback(held.append)
    allocator.clock.advance(60)
    assert [slot.stream for slot in held] == ["b"]
    assert slot_of(again[0]).stream == "a"
    assert taken(allocator) == {"beta": 2}


def test_part_of_a_stream_cancels_another_part_that_shares_its_slot() -> None:
    allocator = NotingAllocator(wait_limit=100)
    other = allocator.granted(ONE, "other")
    first, second = allocator.request(INTERMITTENT, "s"), allocator.request(INTERMITTENT, "s")
    third = allocator.request(INTERMITTENT, "s")
    second.addErrback(lambda failure: failure.trap(CancelledError))
    slots: list[Slot] = []

    def cancel_second(slot: Slot) -> None:
        slots.append(slot)
        second.cancel()

    first.addCallback(cancel_second)
    third.addCallback(slots.append)
    other.release()
    assert slots[0] is slots[1]
    slots[0].release()
    assert taken(allocator) == {"acme": 1}
    slots[1].release()
    assert taken(allocator) == {}


def test_first_part_of_a_stream_is_cancelled_before_its_answer() -> None:
    allocator = idle_allocator(TWO, 2)
    account = Account("beta", 2, intermittent=True)
    before = allocator.request(TWO, "before")
    first, second = allocator.request(account, "s"), allocator.request(account, "s")
    first.addErrback(lambda failure: failure.trap(CancelledError))
    before.addCallback(lambda slot: first.cancel())
    slots: list[Slot] = []
    second.addCallback(slots.append)
    allocator.clock.advance(60)
    assert slots[0].held
    assert slots[0].socket_opened()
    slots[0].socket_closed()
    slots[0].release()
    assert not slots[0].held


def test_refused_request_cancels_another_one() -> None:
    allocator = NotingAllocator()
    allocator.granted(ONE, "a").socket_opened()
    first, second = allocator.request(ONE, "b"), allocator.request(ONE, "c")
    errors: list[BaseException] = []
    first.addErrback(lambda failure: second.cancel())
    second.addErrback(lambda failure: errors.append(failure.value))
    allocator.clock.advance(3)
    assert [type(error) for error in errors] == [CancelledError]
    assert taken(allocator) == {"acme": 1}


def test_stream_that_fails_to_yield_does_not_affect_the_request() -> None:
    allocator = NotingAllocator()
    allocator.ended = None  # type: ignore[assignment]

    def fail(stream: str) -> None:
        slot.release()
        raise ZeroDivisionError

    allocator._yield_slot = fail
    allocator.viewer_joined("a", ANN)
    slot = allocator.granted(ONE, "a", ANN)
    allocator.viewer_joined("b", ANN)
    assert slot_of(allocator.request(ONE, "b", ANN)).stream == "b"


def test_failure_to_close_connections_does_not_keep_the_slot() -> None:
    allocator = NotingAllocator()
    slot = allocator.granted(ONE, "a")
    slot.before_release(lambda abort: 1 / 0)
    slot.release()
    assert taken(allocator) == {}
