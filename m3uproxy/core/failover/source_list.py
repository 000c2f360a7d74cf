"""The sources of one stream: their order, the state of each, and the sources that a resolver named.

The *home* source comes first: the primary, or the source that an operator or the application chose. The sources
behind it follow, wrapping round. Quarantined sources are tried last, but are not excluded.

Sources that a resolver named are not in the list. Their indices are -1 and -2 in turn, so that the one that is left is
still known while the next is dialled. People and applications see a *position* instead: the position of the source
before, plus one.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence

import attrs

from .causes import CONTENT_CAUSES, CausePolicy, FailureCause

#: Named sources that are accepted within one lap. Then there is a backoff, as after a lap over the list.
MAX_NAMED_PER_LAP = 20
#: Seconds of delivery after which a source's earlier failures no longer lengthen its quarantine.
FORGIVE_AFTER = 60.0
#: Seconds for which a source with a content fault is no better place than another one.
AVOID_AFTER_CONTENT_FAULT = 600.0


@attrs.define
class SourceState:
    """
    The history of one source: failures and quarantine. Times are monotonic seconds.

    :ivar key: identity of the source, whatever its index: its URL.
    :ivar account: the provider account, None if unknown.
    :ivar quarantined_until: end of the quarantine.
    :ivar not_before: time before which the provider must not be asked for the source again.
    :ivar recent_failures: failures that count for the length of the next quarantine.
    :ivar delivering_since: time from which the source has delivered, if it is in use and has settled.
    """

    key: Hashable
    account: Hashable | None
    quarantined_until: float = float("-inf")
    not_before: float = float("-inf")
    recent_failures: int = 0
    failures: int = 0
    failed_at: float = float("-inf")
    cause: FailureCause | None = None
    delivering_since: float | None = None

    def start_quarantine(self, policy: CausePolicy, now: float, factor: float) -> None:
        """Start a quarantine. If a longer one is running, keep it."""
        self.recent_failures += 1
        seconds = min(policy.longest, policy.cool_down * 2.0 ** min(self.recent_failures - 1, 30))
        self.hold_until(now + seconds * factor)

    def hold_until(self, end: float) -> None:
        """Keep the source in quarantine until a time at least, without a failure."""
        self.quarantined_until = max(self.quarantined_until, end)

    def wait_until(self, end: float) -> None:
        """Do not ask the provider before a time."""
        self.not_before = max(self.not_before, end)
        self.hold_until(end)

    def end_quarantine(self) -> None:
        """Leave quarantine now."""
        self.quarantined_until = float("-inf")

    def failed(self, cause: FailureCause, now: float) -> None:
        """Record a failure, for statistics and failback."""
        self.failures += 1
        self.failed_at = now
        self.cause = cause

    def left(self, now: float) -> None:
        """Take note that the source is no longer in use. If it ran long enough, forget its earlier failures."""
        since, self.delivering_since = self.delivering_since, None
        if since is not None and now - since >= FORGIVE_AFTER:
            self.recent_failures = 0

    def forgive(self) -> None:
        """Leave quarantine and forget earlier failures, except in the statistics."""
        self.quarantined_until = self.failed_at = float("-inf")
        self.recent_failures = 0

    def is_free(self, at: float) -> bool:
        """Return whether the source is out of quarantine at a time."""
        return self.quarantined_until <= at

    def quarantine(self, now: float) -> float:
        """Return the seconds of quarantine left, 0 for none."""
        return max(0.0, self.quarantined_until - now)

    def report(self, now: float) -> dict[str, object]:
        """Return the statistics of the source, for JSON."""
        return {
            "failures": self.failures,
            "last_cause": self.cause.value if self.cause else None,
            "quarantine_seconds": round(self.quarantine(now), 1),
        }


def source_states(keys: Sequence[Hashable], accounts: Sequence[Hashable | None]) -> list[SourceState]:
    """
    Return a fresh state for each source.

    :param accounts: the account of each source; may be shorter than ``keys``.
    :raises ValueError: if there is no source.
    """
    if not keys:
        raise ValueError("a stream has at least one source")
    known = list(accounts) + [None] * (len(keys) - len(accounts))
    return [SourceState(key, account) for key, account in zip(keys, known, strict=False)]


@attrs.define
class _NamedSource:
    state: SourceState
    position: int


class NamedSources:
    """The last two sources that a resolver named, and the URLs that it named in the present lap."""

    def __init__(self) -> None:
        self._known: dict[int, _NamedSource] = {}
        self._urls_in_lap: set[str] = set()
        self._last = -2

    def add(self, url: str, position: int, used: int = 0) -> int:
        """
        Add a source in the place of the last but one.

        :param used: index of the source in use. If that is a named source, it stays: the last one was never used.
        :return: the index of the new source.
        """
        self._last = -3 - (used if used < 0 else self._last)
        self._known[self._last] = _NamedSource(SourceState(url, None), position)
        return self._last

    def state_of(self, index: int) -> SourceState:
        """Return the state of a named source; its key is its URL."""
        return self._known[index].state

    def position(self, index: int) -> int:
        """Return the number of sources before a named one."""
        return self._known[index].position

    def indices(self) -> tuple[int, ...]:
        """Return the indices of the named sources that are known."""
        return tuple(self._known)

    def is_over(self, url: str) -> bool:
        """Return whether naming a URL ends the lap: it was named in this lap, or :data:`MAX_NAMED_PER_LAP` were."""
        return url in self._urls_in_lap or len(self._urls_in_lap) >= MAX_NAMED_PER_LAP

    def record(self, url: str) -> None:
        """Record that a URL was named in this lap."""
        self._urls_in_lap.add(url)

    def new_lap(self) -> None:
        """Begin a lap in which every URL may be named again."""
        self._urls_in_lap.clear()


class SourceList:
    """
    The sources in their order, with the state of each.

    :ivar home: index of the source that comes first.
    """

    def __init__(self, keys: Sequence[Hashable], accounts: Sequence[Hashable | None], named: NamedSources) -> None:
        """
        Initialise a list of sources without history; for the parameters see :class:`.sources.Sources`.

        :raises ValueError: if there is no source.
        """
        self._states = source_states(keys, accounts)
        self._named = named
        self.home = 0

    def __len__(self) -> int:
        return len(self._states)

    def order(self) -> list[int]:
        """Return the indices, the best source first. A named source is among them only if it was chosen."""
        if self.home < 0:
            return [self.home, *range(len(self))]
        return [*range(self.home, len(self)), *range(self.home)]

    def state_of(self, index: int) -> SourceState:
        """Return the state of a source."""
        return self._states[index] if index >= 0 else self._named.state_of(index)

    def share_quarantine(self, index: int) -> list[int]:
        """
        Extend the quarantine of a source to the others of its account. If the account is unknown, do nothing.

        :return: the indices of the others.
        """
        shared = self.state_of(index)
        if shared.account is None:
            return []
        others = [
            other for other, state in enumerate(self._states) if other != index and state.account == shared.account
        ]
        for other in others:
            state = self._states[other]
            state.quarantined_until = max(state.quarantined_until, shared.quarantined_until)
            state.not_before = max(state.not_before, shared.not_before)
        return others

    def key(self, index: int) -> Hashable:
        """Return the identity of a source, which stays when the list is replaced; see :meth:`index_of`."""
        return self.state_of(index).key

    def index_of(self, key: Hashable) -> int | None:
        """Return the present index of the source with a key; None if it is gone."""
        indices = (*range(len(self)), *self._named.indices())
        return next((index for index in indices if self.key(index) == key), None)

    def wrapped(self, index: int) -> int:
        """Return an index within the list: beyond the end it wraps round, a negative one stays."""
        return index % len(self) if index >= 0 else index

    def position(self, index: int) -> int:
        """Return the position of a source for people: its index, or for a named one the number of sources before."""
        return index if index >= 0 else self._named.position(index)

    def next_after(self, index: int) -> int | None:
        """
        Return the index of the next source, wrapping round.

        :return: 0 for a named source; None if the list has no other source.
        """
        if index < 0:
            return 0
        return (index + 1) % len(self) if len(self) > 1 else None

    def add_named(self, url: str, position: int, used: int) -> int:
        """Add a source that a resolver named and return its index. The source in use is never replaced."""
        index = self._named.add(url, position, used)
        if self.home == index:
            self.home = 0
        return index

    def replace(self, keys: Sequence[Hashable], accounts: Sequence[Hashable | None]) -> dict[int, int]:
        """
        Replace the sources. A source that stays keeps its state.

        :return: the new index of each source that stays, by the old one.
        """
        before = self._states
        old = {state.key: state for state in before}
        fresh = source_states(keys, accounts)
        self._states = [
            attrs.evolve(old[state.key], account=state.account) if state.key in old else state for state in fresh
        ]
        places = {state.key: index for index, state in reversed(list(enumerate(self._states)))}
        moved = {index: places[state.key] for index, state in enumerate(before) if state.key in places}
        moved.update({named: named for named in (-1, -2)})
        self.home = moved.get(self.home, 0)
        return moved

    # choosing

    def pick(self, among: Sequence[int], tried: Collection[int], at: float) -> int | None:
        """
        Return the source to try at a time.

        :param among: indices of the sources that are allowed, in order.
        :param tried: indices of the sources that this lap has tried.
        :return: None if the lap is over. A quarantined source is tried only if no source is out of quarantine.
        """
        left = [index for index in among if index not in tried]
        if self._any_free(among, at) and not self._any_free(left, at):
            return None
        return self.soonest_free(left, at)

    def soonest_free(self, among: Sequence[int], now: float) -> int | None:
        """Return the first source out of quarantine, else the one that leaves it soonest; None if there is none."""
        return min(among, key=lambda index: max(now, self.state_of(index).quarantined_until), default=None)

    def better_than(self, index: int, now: float, failure_free: float) -> int | None:
        """
        Return the best source that comes before another one and is healthy.

        :param index: index of the other one.
        :param failure_free: seconds for which the better source must not have failed.
        """
        order = self.order()
        before = order[: order.index(index)] if index in order else order
        return next((better for better in before if self._is_failure_free(better, now, failure_free)), None)

    def best_backup(self, used: int, now: float) -> int | None:
        """Return the best source but the one in use that is out of quarantine and had no content fault lately."""
        others = (index for index in self.order() if index != used)
        return next((index for index in others if self._is_healthy(index, now)), None)

    def _any_free(self, among: Sequence[int], at: float) -> bool:
        return any(self.state_of(index).is_free(at) for index in among)

    def _is_failure_free(self, index: int, now: float, seconds: float) -> bool:
        state = self.state_of(index)
        return state.is_free(now) and state.failed_at + seconds <= now

    def _is_healthy(self, index: int, now: float) -> bool:
        state = self.state_of(index)
        avoided = state.cause in CONTENT_CAUSES and now - state.failed_at < AVOID_AFTER_CONTENT_FAULT
        return state.is_free(now) and not avoided
