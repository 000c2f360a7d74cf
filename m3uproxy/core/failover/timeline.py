"""The last decisions about a stream's source: what an operator reads when a viewer complains.

A decision is noted when it is taken. What it cost is known only later, when the next source is on the wire, so the
entry is completed then. URLs are redacted on the way in: nothing that is kept here is a secret.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from datetime import datetime, timezone
from math import isfinite

import attrs

from ..http.redact import redact

#: Decisions that are kept of each stream.
MAX_DECISIONS = 200
#: Characters of a cause that are kept.
_LONGEST = 200

Value = float | int | str | bool


@attrs.frozen
class SourceLabel:
    """
    A source as people know it.

    :ivar index: in the list, 0 for the primary; of one that a resolver named, how many were before it. Two sources of
        one host may look the same once their URLs are redacted.
    """

    index: int
    url: str

    def __str__(self) -> str:
        return f"{self.index} {self.url}"


@attrs.frozen
class Outcome:
    """
    What a change of source cost.

    :ivar lost_bytes: of the old source, received and never sent (torn units), None if unknown.
    :ivar lost_ms: of video that no viewer will see; 0 for an exact continuation.
    :ivar bridged_ms: for how long nothing came, while viewers lived on what the ring held.
    """

    lost_bytes: int | None = None
    lost_ms: float | None = None
    bridged_ms: float | None = None


@attrs.frozen
class Decision:
    """
    One change of source, or the end of trying.

    :ivar number: counts a stream's decisions from 1; gaps at the front say what has been let go.
    :ivar time: of day, UTC.
    :ivar source: what was left, redacted; None at a start.
    :ivar target: what was chosen, redacted; None for none.
    :ivar measured: what the decision rests on, by name, with the unit in it (``silent_ms``).
    """

    number: int
    time: datetime
    source: SourceLabel | None
    target: SourceLabel | None
    cause: str
    measured: Mapping[str, Value]
    outcome: Outcome = Outcome()

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "number": self.number,
            "time": self.time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "from": self.source.url if self.source else None,
            "from_index": self.source.index if self.source else None,
            "to": self.target.url if self.target else None,
            "to_index": self.target.index if self.target else None,
            "cause": self.cause,
            "measured": dict(self.measured),
            **attrs.asdict(self.outcome),
        }

    def line(self) -> str:
        """The same as one line for the log, without the time, which the log has."""
        values = dict(self.measured)
        values.update({name: value for name, value in attrs.asdict(self.outcome).items() if value is not None})
        shown = ", ".join(f"{name} {_shown(value)}" for name, value in values.items())
        text = f"source {self.source or 'none'} -> {self.target or 'none'}: {self.cause}"
        return f"{text} ({shown})" if shown else text


class Timeline:
    """The last :data:`MAX_DECISIONS` decisions of one stream, oldest first."""

    def __init__(self, kept: int = MAX_DECISIONS) -> None:
        self._decisions: deque[Decision] = deque(maxlen=kept)
        self._next = 1

    def __len__(self) -> int:
        return len(self._decisions)

    def record(
        self,
        time: datetime,
        source: SourceLabel | None,
        target: SourceLabel | None,
        cause: str,
        measured: Mapping[str, Value] = {},
    ) -> Decision:
        """
        Note a decision.

        :param time: aware; kept as UTC.
        :param source: what is left, its URL as it is; redacted here, as is ``target``.
        :param measured: numbers that are none (infinite, not a number) are left out: JSON has no word for them.
        :param cause: free of secrets (the text of a :class:`m3uproxy.errors.SourceError` is).
        :raises ValueError: if ``time`` is naive: what is read later must not depend on the machine's time zone.
        """
        if time.tzinfo is None:
            raise ValueError("a time without a zone")
        decision = Decision(
            self._next,
            time.astimezone(timezone.utc),
            _redacted(source),
            _redacted(target),
            " ".join(cause.split())[:_LONGEST],
            {name: _rounded(value) for name, value in measured.items() if not _is_none(value)},
        )
        self._next += 1
        self._decisions.append(decision)
        return decision

    def record_outcome(self, number: int, outcome: Outcome) -> Decision | None:
        """Add what the decision of that number cost; the decision, or None if it has been let go."""
        for place, decision in enumerate(self._decisions):
            if decision.number == number:
                whole = attrs.evolve(decision, outcome=outcome)
                self._decisions[place] = whole
                return whole
        return None

    def entries(self) -> list[dict[str, object]]:
        """For JSON, oldest first."""
        return [decision.as_dict() for decision in self._decisions]


def _redacted(place: SourceLabel | None) -> SourceLabel | None:
    return attrs.evolve(place, url=redact(place.url)) if place is not None else None


def _shown(value: Value) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _is_none(value: Value) -> bool:
    return isinstance(value, float) and not isfinite(value)


def _rounded(value: Value) -> Value:
    return round(value, 3) if isinstance(value, float) else value
