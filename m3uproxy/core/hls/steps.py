"""Work on large playlists in steps, so that the caller can do other work between them.

All players of the proxy share one thread. A playlist of a day needs a third of a second of it, in which live video
would stand still. So the functions for large playlists are generators that yield after a few milliseconds of work. The
work is estimated from lines and characters, since there is no clock here.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")

#: A generator that yields between two steps, and returns the result.
Steps = Generator[None, None, T]

#: Weight of a step. One unit is a short line, or :data:`CHARACTERS` characters of a long one: a few microseconds.
MAX_WEIGHT = 1000
CHARACTERS = 64


def run_steps(steps: Steps[T]) -> T:
    """Carry out all steps and return the result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
