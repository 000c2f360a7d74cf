"""Turns to ask an account that has too many connections: one request at a time, however many streams wait.

A provider that has refused a request as one connection too many is asked again after 0.5, 1, 2, 3 s and so on, or when
its Retry-After is over. All streams of the account wait in one queue for that. When a request is accepted, the next one
is sent at once. After :data:`LONGEST_TURN` seconds without an answer, the next one is sent, too. The account need not
be configured: it is known by its credentials (:func:`m3uproxy.core.slots.accounts.account_queue`).
"""

from __future__ import annotations

from collections import deque
from functools import partial

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from ..core.failover.causes import busy_delay
from ..core.http.source_request import SourceRequest
from ..core.slots.account_usage import AccountUsage
from ..errors import Reason, SourceError, StoredError
from ..timers import Timer

#: Seconds after the first refusal for which a status of several meanings keeps the meaning that it had then. A player
#: waits no longer than that.
SAME_MEANING = 20.0
#: Seconds after which an account that no stream asks is no longer considered full.
FORGET_AFTER = 10.0
#: Seconds after which the others no longer wait for an answer. Refusals come soon; a source that is slow does not.
LONGEST_TURN = 5.0
#: Full accounts above which those that are full no longer are forgotten.
MAX_FULL = 1000


@attrs.frozen
class Turn:
    """
    The permission to ask an account.

    :ivar exclusive: whether the other streams wait for the answer.
    """

    account: str
    exclusive: bool = False


class _FullAccount:
    """An account that refused a request as one connection too many."""

    error = StoredError()

    def __init__(self, clock: IReactorTime) -> None:
        self.since = clock.seconds()
        self.refusals = 0
        self.next_at = 0.0
        self.asker: Turn | None = None
        self.asked_until = 0.0
        self.waiting: deque[Deferred[None]] = deque()
        self.timer = Timer(clock)

    @property
    def free_at(self) -> float:
        """The time of the next request."""
        return max(self.next_at, self.asked_until)

    def begin_turn(self, now: float) -> None:
        """Note that a request is sent. The others wait for its answer."""
        self.asker, self.asked_until = None, now + LONGEST_TURN

    def end_turn(self, turn: Turn) -> None:
        """Note the answer to a request. If it came late, another one may be under way."""
        if turn is self.asker:
            self.asker, self.asked_until = None, 0.0

    def is_free(self, now: float) -> bool:
        """Return whether a request may be sent now."""
        return not self.waiting and now >= self.free_at

    def is_over(self, now: float) -> bool:
        """Return whether no stream waits, and none has asked for some time."""
        return self.is_free(now) and now >= self.next_at + FORGET_AFTER

    def refusal(self, now: float) -> SourceError:
        """Return the last refusal. The rest of its Retry-After is left: time has passed since the answer."""
        error = self.error or SourceError(Reason.BUSY)
        if error.retry_after is not None:
            error.retry_after = max(0.0, self.next_at - now)
        return error

    def refused(self, error: SourceError, now: float, counts: bool) -> None:
        """
        Note a refusal.

        :param counts: whether the request was sent after the refusal before. Only then does the delay grow.
        """
        self.error = error
        if counts:
            self.next_at = now + busy_delay(self.refusals)
            self.refusals += 1
        self.next_at = max(self.next_at, now + (error.retry_after or 0.0))


class AccountTurns:
    """
    The queues of all accounts.

    :ivar usage: the connections of this proxy that providers may count.
    """

    def __init__(self, clock: IReactorTime) -> None:
        """Start without a full account."""
        self._clock = clock
        self._full: dict[str, _FullAccount] = {}
        self.usage = AccountUsage()

    async def wait(self, account: str, patient: bool | None) -> Turn:
        """
        Wait until the account may be asked. The caller calls :meth:`answered` with the turn.

        :param patient: False to fail if the account must not be asked now; None to ask it at any time.
        :raises SourceError: the last refusal.
        """
        if patient is None:
            return Turn(account)
        full, now = self._known(account), self._clock.seconds()
        if full is None:
            return Turn(account)
        if not full.is_free(now):
            if not patient:
                raise full.refusal(now)
            waiting: Deferred[None] = Deferred(partial(self._leave_queue, full))
            full.waiting.append(waiting)
            self._set_timer(full)
            await waiting
        full.begin_turn(self._clock.seconds())
        full.asker = Turn(account, exclusive=True)
        return full.asker

    def has_too_many(self, request: SourceRequest, apart_from: str | None = None) -> bool:
        """
        Return whether the provider may count another connection of this proxy to the account of a request.

        :param apart_from: a user whose own connections are no reason to refuse it.
        """
        now, full = self._clock.seconds(), self._full.get(request.queue_key)
        was_refused = full is not None and now - full.since < SAME_MEANING
        return was_refused or self.usage.is_counted(request.account_key, now, apart_from)

    def refusal(self, account: str) -> SourceError | None:
        """Return the last refusal of an account that is full."""
        full = self._full.get(account)
        return None if full is None else full.refusal(self._clock.seconds())

    def answered(self, turn: Turn, error: SourceError | None) -> None:
        """
        Note the answer of the provider.

        :param error: the failure of the request, for whatever cause; None if it was accepted.
        """
        now, full = self._clock.seconds(), self._full.get(turn.account)
        if full is not None:
            full.end_turn(turn)
        if error is not None and error.reason is Reason.BUSY:
            full = full or self._add(turn.account)
            full.refused(error, now, turn.exclusive or now >= full.next_at)
        elif full is not None and error is None:
            full.refusals, full.next_at = 0, now
        if full is not None:
            self._set_timer(full)
            self._known(turn.account)

    def stop(self) -> None:
        """Cancel all timers. The requests that wait are cancelled by their owners."""
        for full in self._full.values():
            full.timer.cancel()
        self._full.clear()

    def _known(self, account: str) -> _FullAccount | None:
        """Return the state of an account that is full. Forget it if that was long ago, or if it has room again."""
        full, now = self._full.get(account), self._clock.seconds()
        if full is not None and (full.is_over(now) or (full.is_free(now) and not full.refusals)):
            del self._full[account]
            return None
        return full

    def _add(self, account: str) -> _FullAccount:
        if len(self._full) >= MAX_FULL:
            for other in list(self._full):
                self._known(other)
        full = self._full[account] = _FullAccount(self._clock)
        return full

    def _set_timer(self, full: _FullAccount) -> None:
        """If a stream waits, call the first one at the next time."""
        if full.waiting:
            full.timer.set(max(0.0, full.free_at - self._clock.seconds()), lambda: self._call_next(full))
        else:
            full.timer.cancel()

    def _leave_queue(self, full: _FullAccount, waiting: Deferred[None]) -> None:
        full.waiting.remove(waiting)
        self._set_timer(full)

    def _call_next(self, full: _FullAccount) -> None:
        if full.waiting:
            full.begin_turn(self._clock.seconds())
            full.waiting.popleft().callback(None)
            self._set_timer(full)
