"""Provider slots: limit, queue, takeover; all short histories, and long ones in a simulation of sockets."""

from __future__ import annotations

import itertools
from typing import Any

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from m3uproxy.core.slots.accounts import Account
from m3uproxy.core.slots.slot_table import IDLE_TIMEOUT, Granted, Refused, SlotEffect, SlotTable, Takeover, Wait
from m3uproxy.core.slots.viewer_identity import ViewerIdentity

ONE = Account("acme", 1)
ANN, BOB, CAT = (ViewerIdentity(f"10.0.0.{n}", "player") for n in range(3))


def token_of_grant(effect: SlotEffect) -> int:
    assert isinstance(effect, Granted)
    return effect.token


def hold_slot(slots: SlotTable, stream: str, viewer: ViewerIdentity, account: Account = ONE) -> int:
    """Request a slot for a stream with one viewer and open a socket. Return the token."""
    slots.viewer_joined(stream, viewer)
    token = token_of_grant(slots.request(0, account, stream, viewer))
    assert slots.socket_opened(token)
    return token


# viewer identity


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (ViewerIdentity("a", "x"), ViewerIdentity("a", "x"), True),
        (ViewerIdentity("a", "x"), ViewerIdentity("a", "y"), False),
        (ViewerIdentity("a", "x"), ViewerIdentity("b", "x"), False),
        (ViewerIdentity("a", "x", "ann"), ViewerIdentity("b", "y", "ann"), True),
        (ViewerIdentity("a", "x", "ann"), ViewerIdentity("a", "x", "bob"), False),
        (ViewerIdentity("a", "x", "ann"), ViewerIdentity("a", "x"), True),
        (ViewerIdentity("a", "x", "ann", "1"), ViewerIdentity("b", "y", "bob", "1"), True),
        (ViewerIdentity("a", "x", "ann", "1"), ViewerIdentity("a", "x", "ann", "2"), False),
        (ViewerIdentity("a", "x", "ann", "1"), ViewerIdentity("b", "y", "ann"), True),
        (ViewerIdentity("a", "x", None, "1"), ViewerIdentity("a", "x", "ann"), True),
        (ViewerIdentity("a", "x", "", ""), ViewerIdentity("b", "x", "", ""), False),
    ],
)
def test_same_viewer(one: ViewerIdentity, other: ViewerIdentity, same: bool) -> None:
    assert one.is_same(other) is same
    assert other.is_same(one) is same


# limits and counting


def test_account_without_a_limit_grants_and_counts_all() -> None:
    slots = SlotTable()
    tokens = [token_of_grant(slots.request(0, Account("any"), f"s{n}")) for n in range(100)]
    for token in tokens:
        slots.socket_opened(token)
    assert slots.open_sockets("any") == 100


def test_accounts_do_not_share_slots() -> None:
    slots = SlotTable()
    token_of_grant(slots.request(0, ONE, "s1"))
    token_of_grant(slots.request(0, Account("other", 1), "s2"))


def test_slot_is_free_after_release_and_socket_close() -> None:
    slots = SlotTable()
    token = hold_slot(slots, "s1", ANN)
    assert isinstance(slots.request(0, ONE, "s2", BOB), Wait)
    assert slots.release(0, token) == []
    assert slots.socket_closed(0, token) == [Granted(2)]
    slots = SlotTable()
    token = hold_slot(slots, "s1", ANN)
    assert isinstance(slots.request(0, ONE, "s2", BOB), Wait)
    assert slots.socket_closed(0, token) == [], "between two hops, or before a redial"
    assert slots.release(0, token) == [Granted(2)]


def test_released_slot_without_a_socket_is_free() -> None:
    slots = SlotTable()
    slots.viewer_joined("s1", ANN)
    token = token_of_grant(slots.request(0, ONE, "s1"))
    assert isinstance(slots.request(0, ONE, "s2"), Wait)
    assert slots.release(1, token) == [Granted(2)]


def test_hops_and_redials_keep_the_slot() -> None:
    slots = SlotTable()
    token = hold_slot(slots, "s1", ANN)
    for _ in range(5):
        slots.socket_closed(0, token)
        assert not slots.has_free_slot(ONE)
        assert slots.socket_opened(token)
    assert slots.open_sockets("acme") == 1


def test_two_sockets_of_a_holder_take_two_slots() -> None:
    slots = SlotTable()
    account = Account("acme", 2)
    token = hold_slot(slots, "s1", ANN, account)
    slots.socket_opened(token)
    assert not slots.has_free_slot(account)
    slots.socket_closed(0, token)
    assert slots.has_free_slot(account)


def test_socket_without_a_slot_is_refused() -> None:
    slots = SlotTable()
    token = hold_slot(slots, "s1", ANN)
    waiting = slots.request(0, ONE, "s2", BOB)
    assert isinstance(waiting, Wait)
    assert not slots.socket_opened(waiting.token)
    slots.release(0, token)
    assert not slots.socket_opened(token)
    assert not slots.socket_opened(999)
    assert slots.socket_closed(0, 999) == slots.release(0, 999) == []


def test_expired_slot_does_not_lock_the_account() -> None:
    slots = SlotTable()
    token = hold_slot(slots, "s1", ANN)
    slots.socket_closed(10, token)
    assert slots.next_deadline() == 10 + IDLE_TIMEOUT
    assert slots.tick(10 + IDLE_TIMEOUT - 0.1) == []
    assert not slots.has_free_slot(ONE)
    slots.tick(10 + IDLE_TIMEOUT)
    assert slots.has_free_slot(ONE)
    assert slots.next_deadline() is None
    assert slots.socket_opened(token), "an expired holder may use a free slot again"
    assert not slots.has_free_slot(ONE)


def test_expired_slot_granted_to_another_request_is_refused() -> None:
    slots = SlotTable()
    token = hold_slot(slots, "s1", ANN)
    slots.socket_closed(10, token)
    slots.tick(10 + IDLE_TIMEOUT)
    other = slots.request(100, ONE, "s2", BOB)
    assert isinstance(other, Granted)
    assert not slots.socket_opened(token)
    assert slots.socket_opened(other.token)
    slots.socket_closed(101, other.token)
    slots.release(101, other.token)
    assert slots.socket_opened(token)


def test_slot_with_an_open_socket_never_expires() -> None:
    slots = SlotTable()
    hold_slot(slots, "s1", ANN)
    slots.tick(1e9)
    assert not slots.has_free_slot(ONE)


# the queue


def test_queue_is_served_in_order() -> None:
    slots = SlotTable(takeover=False)
    token = hold_slot(slots, "s0", ANN)
    waits = [slots.request(0, ONE, f"s{n}", BOB) for n in range(1, 4)]
    assert [type(wait) for wait in waits] == [Wait, Wait, Wait]
    slots.release(1, token)
    assert slots.socket_closed(1, token) == [Granted(2)]
    assert slots.release(1, 2) == [Granted(3)]
    assert slots.release(1, 3) == [Granted(4)]


def test_no_request_passes_the_queue() -> None:
    slots = SlotTable()
    token = hold_slot(slots, "s1", ANN)
    slots.request(0, ONE, "s2", BOB)
    slots.request(0, ONE, "s3", CAT)
    slots.release(0, 2)
    slots.release(0, token)
    assert slots.socket_closed(0, token) == [Granted(3)]


def test_no_request_passes_a_waiting_request_with_a_lower_limit() -> None:
    """Streams may state different limits for one account."""
    slots = SlotTable()
    wide = Account("acme", 3)
    hold_slot(slots, "s1", ANN, wide)
    token = hold_slot(slots, "s2", ANN, wide)
    assert isinstance(slots.request(0, Account("acme", 2), "s3", BOB), Wait)
    assert not slots.has_free_slot(wide)
    assert isinstance(slots.request(0, wide, "s4", CAT), Wait)
    assert slots.socket_closed(0, token) == []
    assert slots.release(0, token) == [Granted(3), Granted(4)]


def test_successor_obeys_its_limit() -> None:
    slots = SlotTable()
    wide = Account("acme", 2)
    old = hold_slot(slots, "s1", ANN, wide)
    other = hold_slot(slots, "s2", BOB, wide)
    slots.viewer_joined("s3", ANN)
    assert isinstance(slots.request(0, ONE, "s3", ANN), Takeover)
    slots.release(0, old)
    assert slots.socket_closed(0, old) == []
    slots.release(0, other)
    assert slots.socket_closed(0, other) == [Granted(3)]


def test_granted_request_no_longer_inherits() -> None:
    slots = SlotTable()
    account = Account("acme", 2)
    hold_slot(slots, "s1", ANN, account)
    other = hold_slot(slots, "s2", BOB, account)
    for stream in ("s3", "s4"):
        slots.viewer_joined(stream, ANN)
    assert slots.request(0, account, "s3", ANN) == Takeover(3, "s1", 3)
    slots.release(0, other)
    assert slots.socket_closed(0, other) == [Granted(3)]
    assert slots.request(0, account, "s4", ANN) == Takeover(4, "s1", 3)


def test_later_request_of_a_viewer_takes_over() -> None:
    slots = SlotTable()
    hold_slot(slots, "s1", CAT)
    for stream, viewer in (("s2", ANN), ("s2", BOB), ("s3", ANN)):
        slots.viewer_joined(stream, viewer)
    assert isinstance(slots.request(0, ONE, "s2", ANN), Wait)
    assert isinstance(slots.request(0, ONE, "s3", ANN), Wait)
    assert slots.viewer_left(1, "s9", BOB) == []
    assert slots.viewer_left(1, "s2", BOB) == [Takeover(3, "s2", 3)]


def test_refusal_after_the_deadline_names_account_and_limit() -> None:
    slots = SlotTable(wait_limit=3)
    hold_slot(slots, "s1", ANN)
    wait = slots.request(10, ONE, "s2", BOB)
    assert wait == Wait(2, 13)
    assert slots.next_deadline() == 13
    assert slots.tick(12.9) == []
    assert slots.tick(13) == [Refused(2, "provider 'acme' allows 1 connection, all in use")]
    assert slots.tick(14) == []
    assert slots.report()["refused"] == 1


def test_cancelled_request_is_not_granted() -> None:
    slots = SlotTable()
    token = hold_slot(slots, "s1", ANN)
    wait = slots.request(0, ONE, "s2", BOB)
    assert isinstance(wait, Wait)
    slots.release(0, wait.token)
    slots.release(0, token)
    assert slots.socket_closed(0, token) == []


# takeover


def test_viewer_that_changes_channel_takes_over_its_slot() -> None:
    slots = SlotTable()
    old = hold_slot(slots, "s1", ANN)
    slots.viewer_joined("s2", ANN)
    assert slots.request(1, ONE, "s2", ANN) == Takeover(2, "s1", 4)
    assert slots.release(1, old) == []
    assert slots.socket_closed(1, old) == [Granted(2)]


def test_takeover_passes_the_queue() -> None:
    slots = SlotTable()
    old = hold_slot(slots, "s1", ANN)
    assert isinstance(slots.request(0, ONE, "s3", BOB), Wait)
    slots.viewer_joined("s2", ANN)
    assert isinstance(slots.request(1, ONE, "s2", ANN), Takeover)
    slots.release(1, old)
    assert slots.socket_closed(1, old) == [Granted(3)]


def test_stream_with_other_viewers_is_not_taken_over_until_they_leave() -> None:
    slots = SlotTable()
    hold_slot(slots, "s1", ANN)
    slots.viewer_joined("s1", BOB)
    slots.viewer_joined("s2", ANN)
    assert slots.request(0, ONE, "s2", ANN) == Wait(2, 3)
    assert slots.viewer_left(1, "s1", BOB) == [Takeover(2, "s1", 3)]
    assert slots.viewer_left(1, "s1", BOB) == []


def test_lingering_stream_is_taken_over_by_any_request() -> None:
    slots = SlotTable()
    hold_slot(slots, "s1", ANN)
    slots.viewer_left(1, "s1", ANN)
    assert slots.request(1, ONE, "s2", BOB) == Takeover(2, "s1", 4)
    slots = SlotTable()
    hold_slot(slots, "s1", ANN)
    slots.viewer_left(1, "s1", ANN)
    assert slots.request(1, ONE, "s2") == Takeover(2, "s1", 4)


@pytest.mark.parametrize("asker", [BOB, None])
def test_no_takeover_by_other_viewers(asker: ViewerIdentity | None) -> None:
    slots = SlotTable()
    hold_slot(slots, "s1", ANN)
    assert isinstance(slots.request(0, ONE, "s2", asker), Wait)


def test_no_takeover_if_switched_off() -> None:
    slots = SlotTable(takeover=False)
    hold_slot(slots, "s1", ANN)
    assert isinstance(slots.request(0, ONE, "s2", ANN), Wait)


def test_stream_does_not_take_over_itself() -> None:
    slots = SlotTable()
    hold_slot(slots, "s1", ANN)
    assert isinstance(slots.request(0, ONE, "s1", ANN), Wait)


def test_no_takeover_of_another_account_or_a_released_slot() -> None:
    slots = SlotTable()
    hold_slot(slots, "s1", ANN, Account("other", 1))
    old = hold_slot(slots, "s2", BOB)
    slots.release(0, old)
    assert isinstance(slots.request(0, ONE, "s3", ANN), Wait)
    assert isinstance(slots.request(0, ONE, "s4", BOB), Wait)


def test_second_channel_change_replaces_the_first() -> None:
    slots = SlotTable()
    old = hold_slot(slots, "s1", ANN)
    for stream in ("s2", "s3"):
        slots.viewer_joined(stream, ANN)
    assert slots.request(0, ONE, "s2", ANN) == Takeover(2, "s1", 3)
    assert slots.request(0.5, ONE, "s3", ANN) == Takeover(3, "s2", 3.5)
    slots.release(1, old)
    assert slots.socket_closed(1, old) == [Granted(3)]
    assert slots.release(1, 2) == []


def test_cancelled_successor_leaves_the_slot_to_the_queue() -> None:
    slots = SlotTable()
    old = hold_slot(slots, "s1", ANN)
    slots.request(0, ONE, "s3", BOB)
    slots.viewer_joined("s2", ANN)
    slots.request(0, ONE, "s2", ANN)
    slots.release(1, 3)
    slots.release(1, old)
    assert slots.socket_closed(1, old) == [Granted(2)]


def test_report() -> None:
    slots = SlotTable()
    hold_slot(slots, "s1", ANN)
    slots.request(0, ONE, "s2", BOB)
    report = slots.report([Account("zeta", 5)])
    assert report["providers"] == [
        {"provider": "acme", "max_connections": 1, "open_connections": 1, "slots_taken": 1, "waiting": 1},
        {"provider": "zeta", "max_connections": 5, "open_connections": 0, "slots_taken": 0, "waiting": 0},
    ]
    assert (report["granted"], report["waited"]) == (1, 1)


def test_two_hundred_channel_changes_that_open_the_new_stream_first() -> None:
    slots = SlotTable()
    sockets, tokens, now = 0, {}, 0.0
    previous: str | None = None
    for change in range(200):
        stream, now = f"s{change * 7 % 50}", now + 1
        slots.viewer_joined(stream, ANN)
        answer = slots.request(now, ONE, stream, ANN)
        if isinstance(answer, Takeover):
            assert answer.stream == previous
            old = tokens.pop(answer.stream)
            slots.viewer_left(now, answer.stream, ANN)
            effects = slots.release(now, old)
            sockets -= 1
            effects += slots.socket_closed(now + 0.05, old)
            assert effects == [Granted(answer.token)]
        else:
            assert isinstance(answer, Granted)
        assert slots.socket_opened(answer.token)
        sockets += 1
        assert sockets == 1
        tokens[stream], previous = answer.token, stream
    assert slots.report()["refused"] == 0


# a simulation of streams, players and sockets


@attrs.define
class Holder:
    token: int
    stream: str
    account: Account
    viewer: ViewerIdentity
    state: str  # "waiting", "granted", "open", "closing"
    asked: float
    passed: bool = False


class SlotSimulation:
    """Streams, players and sockets that use a slot table. Checks the invariants with its own counts."""

    def __init__(self, wait_limit: float = 3.0) -> None:
        self.slots = SlotTable(wait_limit)
        self.wait_limit = wait_limit
        self.now = 0.0
        self.holders: dict[int, Holder] = {}

    def request(self, stream: str, viewer: ViewerIdentity, account: Account) -> None:
        if any(holder.stream == stream and holder.state != "closing" for holder in self.holders.values()):
            return
        self.slots.viewer_joined(stream, viewer)
        free = self.slots.has_free_slot(account)
        effect = self.slots.request(self.now, account, stream, viewer)
        assert isinstance(effect, Granted) == free
        self.holders[effect.token] = Holder(effect.token, stream, account, viewer, "waiting", self.now)
        self.carry_out([effect])

    def carry_out(self, effects: list[SlotEffect]) -> None:
        for effect in effects:
            holder = self.holders.get(effect.token)
            assert holder is not None, "an effect for a request that is over"
            assert holder.state == "waiting"
            if isinstance(effect, Granted):
                self.check_order(holder)
                holder.state = "granted"
            elif isinstance(effect, Refused):
                assert self.now >= holder.asked + self.wait_limit
                assert holder.account.name in effect.why
                self.slots.viewer_left(self.now, holder.stream, holder.viewer)
                del self.holders[effect.token]
            elif isinstance(effect, Takeover):
                holder.passed = True
                self.end(effect.stream, holder)
        self.check()

    def check_order(self, served: Holder) -> None:
        if served.passed:
            return
        for holder in self.holders.values():
            if holder.state == "waiting" and holder.account == served.account and not holder.passed:
                assert holder.token >= served.token, "a waiting request was passed"

    def end(self, stream: str, successor: Holder) -> None:
        """End a stream by takeover: it must have no other viewer, or be ending already."""
        streams = [holder for holder in self.holders.values() if holder.stream == stream and holder.state != "closing"]
        if not streams:
            return
        ended = streams[0]
        assert ended.viewer.is_same(successor.viewer)
        assert ended.account == successor.account
        self.leave(ended)

    def leave(self, holder: Holder) -> None:
        """Remove the player and its session. An open socket closes later."""
        was, holder.state = holder.state, "closing"
        if was != "open":
            del self.holders[holder.token]
        effects = self.slots.viewer_left(self.now, holder.stream, holder.viewer)
        self.carry_out(effects + self.slots.release(self.now, holder.token))

    def open(self, holder: Holder) -> None:
        holder.state = "open"
        assert self.slots.socket_opened(holder.token)
        self.check()

    def lose(self, holder: Holder) -> None:
        """Close the socket by the provider. The session redials."""
        holder.state = "granted"
        self.carry_out(self.slots.socket_closed(self.now, holder.token))

    def close(self, holder: Holder) -> None:
        del self.holders[holder.token]
        self.carry_out(self.slots.socket_closed(self.now, holder.token))

    def tick(self, seconds: float) -> None:
        self.now += seconds
        self.carry_out(self.slots.tick(self.now))
        waiting = [holder for holder in self.holders.values() if holder.state == "waiting"]
        assert all(holder.asked + self.wait_limit > self.now for holder in waiting), "waits longer than the limit"

    def by_state(self, *states: str) -> list[Holder]:
        return [holder for holder in self.holders.values() if holder.state in states]

    def check(self) -> None:
        for account in {holder.account for holder in self.holders.values()}:
            own = [holder for holder in self.holders.values() if holder.account == account]
            taken = [holder for holder in own if holder.state != "waiting"]
            sockets = [holder for holder in own if holder.state in ("open", "closing")]
            assert account.limit is None or len(taken) <= account.limit, "over the limit"
            assert self.slots.open_sockets(account.name) == len(sockets)

    def check_no_request_waits_beside_a_free_slot(self) -> None:
        for holder in self.by_state("waiting"):
            taken = [
                other for other in self.holders.values() if other.account == holder.account and other.state != "waiting"
            ]
            assert holder.account.limit is not None
            assert len(taken) >= holder.account.limit, "waits beside a free slot"

    def wind_down(self) -> None:
        """Remove all players. No slot stays taken."""
        while self.holders:
            for holder in list(self.holders.values()):
                if self.holders.get(holder.token) is not holder:
                    continue
                self.close(holder) if holder.state == "closing" else self.leave(holder)
        assert self.slots.report()["providers"] == []
        assert self.slots.next_deadline() is None


def _first(simulation: SlotSimulation, action: Any, *states: str) -> None:
    holders = simulation.by_state(*states)
    if holders:
        action(simulation, holders[0])


HISTORY: list[Any] = [
    lambda simulation: simulation.request("s1", ANN, ONE),
    lambda simulation: simulation.request("s2", ANN, ONE),
    lambda simulation: simulation.request("s3", BOB, ONE),
    lambda simulation: simulation.request("s4", CAT, ONE),
    lambda simulation: _first(simulation, SlotSimulation.open, "granted"),
    lambda simulation: _first(simulation, SlotSimulation.close, "closing"),
    lambda simulation: _first(simulation, SlotSimulation.leave, "open", "granted"),
    lambda simulation: _first(simulation, SlotSimulation.leave, "waiting"),
    lambda simulation: _first(simulation, SlotSimulation.lose, "open"),
    lambda simulation: simulation.tick(2),
]


@pytest.mark.exhaustive
@pytest.mark.parametrize("first", HISTORY[:4])  # the others have no effect before the first request
def test_every_history_of_five_events(first: Any) -> None:
    for rest in itertools.product(HISTORY, repeat=4):
        simulation = SlotSimulation()
        for step in (first, *rest):
            step(simulation)
            simulation.check_no_request_waits_beside_a_free_slot()
        simulation.wind_down()


class SlotWorld(RuleBasedStateMachine):
    """Long histories, several accounts, viewers that share an address."""

    accounts = (ONE, Account("beta", 2), Account("free", None))
    viewers = (ANN, BOB, CAT, ViewerIdentity("10.0.0.9", "player", "dan"), ViewerIdentity("10.0.0.8", "box", "dan"))

    @initialize(wait_limit=st.sampled_from([0.5, 3.0]))
    def begin(self, wait_limit: float) -> None:
        self.simulation = SlotSimulation(wait_limit)

    @rule(stream=st.integers(0, 9), viewer=st.sampled_from(viewers), account=st.sampled_from(accounts))
    def request(self, stream: int, viewer: ViewerIdentity, account: Account) -> None:
        self.simulation.request(f"s{stream}", viewer, account)

    @precondition(lambda self: self.simulation.by_state("granted"))
    @rule(data=st.data())
    def open(self, data: st.DataObject) -> None:
        self.simulation.open(data.draw(st.sampled_from(self.simulation.by_state("granted"))))

    @precondition(lambda self: self.simulation.by_state("open"))
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        self.simulation.lose(data.draw(st.sampled_from(self.simulation.by_state("open"))))

    @precondition(lambda self: self.simulation.by_state("closing"))
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        self.simulation.close(data.draw(st.sampled_from(self.simulation.by_state("closing"))))

    @precondition(lambda self: self.simulation.by_state("open", "granted", "waiting"))
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        self.simulation.leave(data.draw(st.sampled_from(self.simulation.by_state("open", "granted", "waiting"))))

    @rule(seconds=st.floats(0, 5))
    def tick(self, seconds: float) -> None:
        self.simulation.tick(seconds)

    @invariant()
    def nobody_waits_in_vain(self) -> None:
        if hasattr(self, "simulation"):
            self.simulation.check_no_request_waits_beside_a_free_slot()

    def teardown(self) -> None:
        if hasattr(self, "simulation"):
            self.simulation.wind_down()


TestSlotWorld = SlotWorld.TestCase
TestSlotWorld.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
