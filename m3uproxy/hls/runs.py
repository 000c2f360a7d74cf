"""Which source an HLS stream is on, and since when.

The rules are those of live streams (:mod:`m3uproxy.core.sources`). What differs is that nothing flows: a source is in
use while its playlists come. A :class:`Run` is the time between two choices; whoever asks for something notes the run,
so that of fifty requests that fail together one counts, and none counts against a source that came later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import random
from typing import Any

import attrs
from twisted.internet.task import deferLater

from ..core.cause import cause_of
from ..core.sources import Rules, Sources
from ..errors import Reason, SourceError

#: Told of each failure: the error, the index that is left, the one that is chosen, or None for none.
Failed = Callable[[SourceError, int, "int | None"], None]


@attrs.frozen(eq=False)
class Run:
    """
    A source in use.

    :ivar change: how many changes of source there were before.
    :ivar not_before: seconds of the clock: before that the source must not be asked.
    """

    index: int
    change: int
    not_before: float


class Runs:
    """The source in use, one after another."""

    def __init__(self, clock: Any, urls: Sequence[str], rules: Rules, failed: Failed) -> None:
        """
        Nothing is in use.

        :param urls: of the sources, in order of preference.
        """
        self._clock = clock
        self._sources = Sources(urls, rules, random)
        self._failed = failed
        self._change = 0
        self._settled: Run | None = None
        self.run: Run | None = None
        self.error: SourceError | None = None

    @property
    def index(self) -> int:
        """Of the source in use, or of the one that was last."""
        return self._sources.current

    def report(self) -> list[dict[str, object]]:
        """How each source has behaved, in order."""
        return self._sources.report(self._clock.seconds())

    async def take(self, deadline: float) -> Run:
        """
        The source to ask, once it may be asked.

        :raises SourceError: if that will not be before the deadline; it is the last failure.
        """
        while True:
            if self.run is None:
                self._sources.begin(self._clock.seconds())
                self._choose()
            run, now = self.run, self._clock.seconds()
            if run is None or max(now, run.not_before) >= deadline:
                raise self.error or SourceError(Reason.FIRST_BYTE_TIMEOUT, "no source answers in time")
            if run.not_before <= now:
                return run
            await deferLater(self._clock, run.not_before - now)

    def delivers(self, run: Run) -> bool:
        """
        A source has answered as it should.

        :return: whether it is the first time in this run.
        """
        if run is not self.run or run is self._settled:
            return False
        self._settled = run
        self._sources.settled(run.index, self._clock.seconds())
        return True

    def fails(self, run: Run, error: SourceError) -> bool:
        """
        A source has not.

        :return: whether there is one to ask: the next, or the one that was chosen since.
        """
        if run is self.run:
            self.error = error
            self._sources.failed(run.index, cause_of(error), self._clock.seconds())
            self._choose()
            self._failed(error, run.index, None if self.run is None else self.run.index)
        return self.run is not None

    def chose(self, index: int) -> None:
        """Somebody chose a source."""
        before = self._sources.current
        self._sources.chose(index, self._clock.seconds())
        if self.run is None:
            self._change += index != before
        else:
            self._choose(before)

    def rest(self) -> None:
        """Nobody wants the stream any more."""
        if self.run is not None:
            self._sources.left(self._clock.seconds())
            self.run = None

    def replace(self, urls: Sequence[str]) -> None:
        """Other sources. If that in use is not among them, the next request begins with the first.

        If it is, it may have another index, and what was asked under the old one is asked again.
        """
        run = self.run
        if not self._sources.replace(urls):
            self._change += 1
            self.run = None
        elif run is not None and run.index != self.index:
            self.run = attrs.evolve(run, index=self.index)
            self._settled = self.run if self._settled is run else self._settled

    def _choose(self, before: int | None = None) -> None:
        before = self._sources.current if before is None else before
        now = self._clock.seconds()
        choice = self._sources.next(now)
        if choice is None:
            self.run = None
            return
        self._change += choice.index != before
        self.run = Run(choice.index, self._change, now + choice.delay)
