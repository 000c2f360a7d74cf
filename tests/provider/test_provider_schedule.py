"""Schedule of the faults of a body."""

from m3uproxy.provider.faults import Faults, When
from m3uproxy.provider.schedule import FaultSchedule, ScheduledFault


def test_faults_by_octets_come_in_order_and_once():
    schedule = FaultSchedule()
    schedule.replace(Faults(garbage=When(octets=50), cut=When(octets=10), stall=When(octets=900)), now=0, sent=100)
    assert schedule.take_by_octets(109) is None
    assert schedule.take_by_octets(500) == ScheduledFault("cut", octets=110)
    assert schedule.take_by_octets(500) == ScheduledFault("garbage", octets=150)
    assert schedule.take_by_octets(999) is None
    assert schedule.take_by_octets(1000) == ScheduledFault("stall", octets=1000)


def test_faults_at_the_same_byte_follow_the_table():
    schedule = FaultSchedule()
    at_once = When(octets=0)
    schedule.replace(Faults(close=at_once, garbage=at_once, cut=at_once), now=0, sent=0)
    assert [schedule.take_by_octets(0).name for _ in range(3)] == ["garbage", "cut", "close"]


def test_faults_by_time_can_be_replaced():
    schedule = FaultSchedule()
    schedule.replace(Faults(close=When(seconds=2), reset=When(octets=5)), now=10, sent=0)
    assert schedule.take_by_time(11.9) is None
    assert schedule.take_by_time(12) == ScheduledFault("close", seconds=12)
    assert schedule.take_by_time(99) is None
    schedule.replace(Faults(close_every=5), now=12.5, sent=0)
    assert schedule.take_by_octets(99) is None
    assert schedule.take_by_time(14.9) is None
    assert schedule.take_by_time(15) == ScheduledFault("close", seconds=15)
