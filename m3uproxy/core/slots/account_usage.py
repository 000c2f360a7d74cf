"""Connections of this proxy that providers may count, by account. Pure; the clock is a parameter.

A provider notices some seconds late that a connection is closed. Until then it counts it, and may refuse another one
with a status that also has other meanings. So the meaning of such a status follows from what this proxy has had open.

A connection that the provider refused is not counted by it, and neither is a redirect.
"""

from __future__ import annotations

import attrs

#: Seconds for which a provider may count a connection after its end.
COUNTED_AFTER_END = 10.0
#: Accounts above which ended connections of all accounts are forgotten.
MAX_ACCOUNTS = 1000


@attrs.define(eq=False)
class CountedConnection:
    """
    A connection that a provider may count.

    :ivar user: the stream or source that the connection is for.
    :ivar ended_at: time of its end in monotonic seconds; None while it is open.
    """

    user: str
    ended_at: float | None = None

    def is_counted(self, now: float) -> bool:
        """Return whether the provider may count it."""
        return self.ended_at is None or now - self.ended_at < COUNTED_AFTER_END


class AccountUsage:
    """The connections of all accounts. Parameters named ``now`` are monotonic seconds."""

    def __init__(self) -> None:
        self._accounts: dict[str, list[CountedConnection]] = {}

    def begin(self, account: str, user: str, now: float) -> CountedConnection:
        """Note an open connection. The caller ends or withdraws it."""
        connection = CountedConnection(user)
        if len(self._accounts) >= MAX_ACCOUNTS:
            for other in list(self._accounts):
                self._forget_uncounted(other, now)
        self._forget_uncounted(account, now)
        self._accounts.setdefault(account, []).append(connection)
        return connection

    def end(self, connection: CountedConnection, now: float) -> None:
        """Note the end of a connection. A second call has no effect."""
        if connection.ended_at is None:
            connection.ended_at = now

    def withdraw(self, account: str, connection: CountedConnection) -> None:
        """Forget a connection that the provider has refused."""
        connections = self._accounts.get(account, [])
        if connection in connections:
            connections.remove(connection)

    def used(self, account: str, user: str, now: float) -> None:
        """Note one of many short connections of a user, such as those for segments."""
        known = next((each for each in self._accounts.get(account, []) if each.user == user), None)
        known = known or self.begin(account, user, now)
        known.ended_at = now

    def is_counted(self, account: str, now: float, apart_from: str | None = None) -> bool:
        """
        Return whether the provider may count a connection of this proxy.

        :param apart_from: a user whose own connections are no reason to refuse it.
        """
        connections = self._accounts.get(account, ())
        return any(each.is_counted(now) and each.user != apart_from for each in connections)

    def _forget_uncounted(self, account: str, now: float) -> None:
        """Forget the connections of an account that no provider counts any more."""
        counted = [each for each in self._accounts.pop(account, ()) if each.is_counted(now)]
        if counted:
            self._accounts[account] = counted
