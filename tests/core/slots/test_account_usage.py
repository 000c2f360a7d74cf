"""Connections that a provider may count."""

from __future__ import annotations

from m3uproxy.core.slots.account_usage import COUNTED_AFTER_END, MAX_ACCOUNTS, AccountUsage


def test_open_and_recently_ended_connections_are_counted() -> None:
    usage = AccountUsage()
    assert not usage.is_counted("a", 0)
    connection = usage.begin("a", "one", 0)
    assert usage.is_counted("a", 1000)
    assert not usage.is_counted("b", 1000)
    usage.end(connection, 1000)
    usage.end(connection, 1005)
    assert usage.is_counted("a", 1000 + COUNTED_AFTER_END - 0.1)
    assert not usage.is_counted("a", 1000 + COUNTED_AFTER_END)


def test_refused_connection_is_not_counted() -> None:
    usage = AccountUsage()
    usage.withdraw("a", usage.begin("a", "one", 0))
    assert not usage.is_counted("a", 0)


def test_own_short_connections_are_no_reason_to_refuse_a_user() -> None:
    usage = AccountUsage()
    for now in (0, 5, 10):
        usage.used("a", "one", now)
    assert usage.is_counted("a", 19)
    assert not usage.is_counted("a", 19, apart_from="one")
    assert not usage.is_counted("a", 20)


def test_old_connections_are_forgotten() -> None:
    usage = AccountUsage()
    for number in range(3 * MAX_ACCOUNTS):
        usage.used(str(number), "one", number)
        usage.end(usage.begin("busy", "one", number), number)
    assert len(usage._accounts) <= MAX_ACCOUNTS + 1
    assert len(usage._accounts["busy"]) <= COUNTED_AFTER_END + 1
