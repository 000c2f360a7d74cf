"""The sources that a resolver named: in no list, each good for as long as it is in use.

They have the indices -1 and -2, in turn, so that the one that is left is still known while the next is dialled.
What people and applications see instead is a *position*: one more than that of the source before.
"""

from __future__ import annotations

import attrs

from .standing import SourceState

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
