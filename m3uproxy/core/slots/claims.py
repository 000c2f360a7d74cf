"""Those who hold or wait for slots of providers' accounts, in order of arrival; see :mod:`.slots`."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from .accounts import Account
from .viewer_identity import ViewerIdentity


@attrs.define(eq=False)
class SlotRequest:
    """
    One that waits (until ``deadline``) or holds a slot.

    ``heir`` gets the slot when this is over; ``without`` is since when there is no socket, ``lapsed`` for too long.
    """

    token: int
    account: Account
    stream: str
    viewer: ViewerIdentity | None
    deadline: float
    waiting: bool = True
    done: bool = False
    sockets: int = 0
    without: float = 0.0
    lapsed: bool = False
    heir: SlotRequest | None = None

    @property
    def is_idle(self) -> bool:
        """Holds a slot and has no socket, which may be for a moment only."""
        return not (self.waiting or self.sockets or self.lapsed or self.account.now_and_then)


class SlotRequests:
    """All of them, by token."""

    def __init__(self) -> None:
        """There is none."""
        self._next = 1
        self._known: dict[int, SlotRequest] = {}

    def __iter__(self) -> Iterator[SlotRequest]:
        return iter(self._known.values())

    def get(self, token: int) -> SlotRequest | None:
        """The one of that token, unless it is over."""
        return self._known.get(token)

    def make(
        self, account: Account, stream: str, viewer: ViewerIdentity | None, now: float, deadline: float
    ) -> SlotRequest:
        """Another, which waits."""
        claim = SlotRequest(self._next, account, stream, viewer, deadline, without=now)
        self._next += 1
        self._known[claim.token] = claim
        return claim

    def forget(self, claim: SlotRequest) -> None:
        """It is over."""
        self._known.pop(claim.token, None)
        self.disinherit(claim)

    # who waits, and for what

    def queue(self, name: str | None = None) -> Iterator[SlotRequest]:
        """Those who wait (for the account of that name, if any), in order of arrival."""
        return (claim for claim in self if claim.waiting and name in (None, claim.account.name))

    def is_heir(self, heir: SlotRequest) -> bool:
        """Whether another's slot will be its own."""
        return any(claim.heir is heir for claim in self)

    def disinherit(self, heir: SlotRequest) -> None:
        """It waits for nobody's slot any more."""
        self._leave_to(heir, None)

    def pass_over(self, claim: SlotRequest, other: SlotRequest) -> None:
        """``other`` inherits what ``claim`` waited to inherit, and ``claim`` is over."""
        self._leave_to(claim, other)
        self.forget(claim)

    def _leave_to(self, heir: SlotRequest, other: SlotRequest | None) -> None:
        for claim in self:
            if claim.heir is heir:
                claim.heir = other

    # what is taken

    def sockets(self, name: str) -> int:
        """Sockets open now to the account of that name."""
        return sum(claim.sockets for claim in self if claim.account.name == name)

    def taken(self, name: str) -> int:
        """Slots that cannot be given out; a holder of two sockets at once has two."""
        holders = (claim for claim in self if not claim.waiting and claim.account.name == name)
        return sum(max(0 if claim.lapsed else 1, claim.sockets) for claim in holders)

    def has_room(self, account: Account) -> bool:
        """Whether a slot is free, whoever waits for it."""
        return account.limit is None or self.taken(account.name) < account.limit

    def row(self, account: Account) -> dict[str, object]:
        """For statistics."""
        return {
            "provider": account.name,
            "max_connections": account.limit,
            "open_connections": self.sockets(account.name),
            "slots_taken": self.taken(account.name),
            "waiting": sum(1 for _ in self.queue(account.name)),
        }
