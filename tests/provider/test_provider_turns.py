"""When the faults of a body happen."""

from m3uproxy.provider.faults import Faults, When
from m3uproxy.provider.turns import Turn, Turns


def test_by_octets_the_earliest_first_and_each_once():
    turns = Turns()
    turns.replace(Faults(garbage=When(octets=50), cut=When(octets=10), stall=When(octets=900)), now=0, sent=100)
    assert turns.take_by_octets(109) is None
    assert turns.take_by_octets(500) == Turn("cut", octets=110)
    assert turns.take_by_octets(500) == Turn("garbage", octets=150)
    assert turns.take_by_octets(999) is None
    assert turns.take_by_octets(1000) == Turn("stall", octets=1000)


def test_at_the_same_byte_in_the_order_of_the_table():
    turns = Turns()
    at_once = When(octets=0)
    turns.replace(Faults(close=at_once, garbage=at_once, cut=at_once), now=0, sent=0)
    assert [turns.take_by_octets(0).name for _ in range(3)] == ["garbage", "cut", "close"]


def test_by_time_from_now_on_and_replaced():
    turns = Turns()
    turns.replace(Faults(close=When(seconds=2), reset=When(octets=5)), now=10, sent=0)
    assert turns.take_by_time(11.9) is None
    assert turns.take_by_time(12) == Turn("close", seconds=12)
    assert turns.take_by_time(99) is None
    turns.replace(Faults(close_every=5), now=12.5, sent=0)
    assert turns.take_by_octets(99) is None
    assert turns.take_by_time(14.9) is None
    assert turns.take_by_time(15) == Turn("close", seconds=15)
