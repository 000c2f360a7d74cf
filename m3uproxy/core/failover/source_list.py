"""The sources of one stream in their order, and what is known of each.

The *home* source comes first (the primary, or the one that somebody chose), then those behind it, wrapping round.
Those that a resolver named (:mod:`.guests`) are in no list, and have negative indices.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence

import attrs

from .causes import OF_WHAT_CAME
from .guests import NamedSources
from .standing import SourceState, source_states

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
