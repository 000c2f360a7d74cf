"""The sources of one stream in their order, and what is known of each.

The *home* source comes first (the primary, or the one that somebody chose), then those behind it, wrapping round.
Those that a resolver named (:mod:`.guests`) are in no list, and have negative indices.

How one source of a stream has behaved, and whether it stands in quarantine for that.

The sources that a resolver named: in no list, each good for as long as it is in use.

They have the indices -1 and -2, in turn, so that the one that is left is still known while the next is dialled.
What people and applications see instead is a *position*: one more than that of the source before.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence

import attrs

from .causes import OF_WHAT_CAME, CausePolicy, FailureCause

#: Guests that are taken in within one lap; after that there is a rest, as after a lap over the list.
MOST = 20


@attrs.define
class _Guest:
    standing: SourceState
    position: int


class NamedSources:
    """At most two of them, and the names of those that came within the present lap."""

    def __init__(self) -> None:
        self._known: dict[int, _Guest] = {}
        self._came: set[str] = set()
        self._last = -2

    def take_in(self, url: str, position: int, used: int = 0) -> int:
        """
        A new one, in the place of the last but one.

        :param used: index of the source in use. If that is a guest, it stays: the last one was never in its place.
        :return: its index.
        """
        self._last = -3 - (used if used < 0 else self._last)
        self._known[self._last] = _Guest(SourceState(url, None), position)
        return self._last

    def standing(self, index: int) -> SourceState:
        """How one has behaved. Its key is its URL."""
        return self._known[index].standing

    def position(self, index: int) -> int:
        """How many sources came before it."""
        return self._known[index].position

    def indices(self) -> tuple[int, ...]:
        """Of those that are known."""
        return tuple(self._known)

    def came(self, url: str) -> bool:
        """Whether it was here in this lap, or so many were that it is over."""
        return url in self._came or len(self._came) >= MOST

    def note(self, url: str) -> None:
        """It comes now."""
        self._came.add(url)

    def new_lap(self) -> None:
        """All may come again."""
        self._came.clear()


#: Seconds of delivery after which a source's earlier failures are forgotten.
CALM = 60.0


@attrs.define
class SourceState:
    """How one source has behaved. ``since`` is when it began to deliver, if it is in use and has settled."""

    key: Hashable
    account: Hashable | None
    until: float = float("-inf")
    strikes: int = 0
    failures: int = 0
    failed_at: float = float("-inf")
    cause: FailureCause | None = None
    since: float | None = None

    def punish(self, treatment: CausePolicy, now: float, factor: float) -> None:
        """Into quarantine; a longer one that is running stays."""
        self.strikes += 1
        seconds = min(treatment.longest, treatment.cool_down * 2.0 ** min(self.strikes - 1, 30))
        self.until = max(self.until, now + seconds * factor)

    def note(self, cause: FailureCause, now: float) -> None:
        """Remember a failure, for statistics and failback."""
        self.failures += 1
        self.failed_at = now
        self.cause = cause

    def left(self, now: float) -> None:
        """It is no longer in use."""
        since, self.since = self.since, None
        if since is not None and now - since >= CALM:
            self.strikes = 0

    def forgive(self) -> None:
        """Out of quarantine; what went before no longer counts."""
        self.until = self.failed_at = float("-inf")
        self.strikes = 0

    def is_free(self, at: float) -> bool:
        """Whether it is out of quarantine at that time."""
        return self.until <= at

    def quarantine(self, now: float) -> float:
        """Seconds for which it stays behind others; 0 if it does not."""
        return max(0.0, self.until - now)

    def report(self, now: float) -> dict[str, object]:
        """For statistics."""
        return {
            "failures": self.failures,
            "last_cause": self.cause.value if self.cause else None,
            "quarantine_seconds": round(self.quarantine(now), 1),
        }


def source_states(keys: Sequence[Hashable], accounts: Sequence[Hashable | None]) -> list[SourceState]:
    """
    One for each source, of which nothing is known.

    :param accounts: may be shorter than ``keys``.
    :raises ValueError: if there is no source.
    """
    if not keys:
        raise ValueError("a stream has at least one source")
    known = list(accounts) + [None] * (len(keys) - len(accounts))
    return [SourceState(key, account) for key, account in zip(keys, known, strict=False)]


#: Seconds for which a source that was left for what it brought is no better place than another.
GRUDGE = 600.0


class SourceList:
    """
    See the module's text.

    :ivar home: index of the source that comes first.
    """

    def __init__(self, keys: Sequence[Hashable], accounts: Sequence[Hashable | None], guests: NamedSources) -> None:
        """
        Sources of which nothing is known yet; for the parameters see :class:`.sources.Sources`.

        :raises ValueError: if there is none.
        """
        self._listed = source_states(keys, accounts)
        self._guests = guests
        self.home = 0

    def __len__(self) -> int:
        return len(self._listed)

    def order(self) -> list[int]:
        """The indices, the best first. A guest is among them only if somebody chose it."""
        if self.home < 0:
            return [self.home, *range(len(self))]
        return [*range(self.home, len(self)), *range(self.home)]

    def standing(self, index: int) -> SourceState:
        """How one has behaved."""
        return self._listed[index] if index >= 0 else self._guests.standing(index)

    def share_quarantine(self, index: int) -> list[int]:
        """
        The others in the list that share its account, if that is known, stay in quarantine as long as it does.

        :return: their indices.
        """
        shared = self.standing(index)
        if shared.account is None:
            return []
        others = [other for other, one in enumerate(self._listed) if other != index and one.account == shared.account]
        for other in others:
            self._listed[other].until = max(self._listed[other].until, shared.until)
        return others

    def key(self, index: int) -> Hashable:
        """What tells one from the others, whatever its index will be; see :meth:`index_of`."""
        return self.standing(index).key

    def index_of(self, key: Hashable) -> int | None:
        """Where the source of that key stands by now; None if it is gone."""
        indices = (*range(len(self)), *self._guests.indices())
        return next((index for index in indices if self.key(index) == key), None)

    def place(self, index: int) -> int:
        """Beyond the end of the list it begins anew; those that a resolver named stand before it."""
        return index % len(self) if index >= 0 else index

    def position(self, index: int) -> int:
        """A source as people know it: its index in the list, or how many came before it."""
        return index if index >= 0 else self._guests.position(index)

    def one_on(self, index: int) -> int | None:
        """Behind a source in the list, which is a ring; its first for one that is in none. None if alone."""
        if index < 0:
            return 0
        return (index + 1) % len(self) if len(self) > 1 else None

    def take_in(self, url: str, position: int, used: int) -> int:
        """A resolver named a source: its index. Whoever had that before is forgotten; the one in use is not."""
        index = self._guests.take_in(url, position, used)
        if self.home == index:
            self.home = 0
        return index

    def replace(self, keys: Sequence[Hashable], accounts: Sequence[Hashable | None]) -> dict[int, int]:
        """
        Other sources; those that stay keep their standing.

        :return: the new index of each that stays, by the old one.
        """
        before = self._listed
        old = {standing.key: standing for standing in before}
        fresh = source_states(keys, accounts)
        self._listed = [attrs.evolve(old[one.key], account=one.account) if one.key in old else one for one in fresh]
        places = {standing.key: index for index, standing in reversed(list(enumerate(self._listed)))}
        moved = {index: places[standing.key] for index, standing in enumerate(before) if standing.key in places}
        moved.update({guest: guest for guest in (-1, -2)})
        self.home = moved.get(self.home, 0)
        return moved

    # which is the best

    def pick(self, among: Sequence[int], tried: Collection[int], at: float) -> int | None:
        """
        The source of some to try at that time, in order.

        :return: None if all were tried that are to be tried: one in quarantine is not, while another is out of it.
        """
        left = [index for index in among if index not in tried]
        if self._any_free(among, at) and not self._any_free(left, at):
            return None
        return self.soonest(left, at)

    def soonest(self, among: Sequence[int], now: float) -> int | None:
        """The first of some that is out of quarantine, or else that which leaves it soonest. None of none."""
        return min(among, key=lambda index: max(now, self.standing(index).until), default=None)

    def better(self, than: int, now: float, calm: float) -> int | None:
        """The best source before that one that is well, and has not failed for ``calm`` seconds."""
        order = self.order()
        before = order[: order.index(than)] if than in order else order
        return next((index for index in before if self._is_calm(index, now, calm)), None)

    def spare(self, beside: int, now: float) -> int | None:
        """The best source but that one that is well, and does not bring what another was left for."""
        others = (index for index in self.order() if index != beside)
        return next((index for index in others if self._is_well(index, now)), None)

    def _any_free(self, among: Sequence[int], at: float) -> bool:
        return any(self.standing(index).is_free(at) for index in among)

    def _is_calm(self, index: int, now: float, calm: float) -> bool:
        standing = self.standing(index)
        return standing.is_free(now) and standing.failed_at + calm <= now

    def _is_well(self, index: int, now: float) -> bool:
        standing = self.standing(index)
        grudge = standing.cause in OF_WHAT_CAME and now - standing.failed_at < GRUDGE
        return standing.is_free(now) and not grudge
