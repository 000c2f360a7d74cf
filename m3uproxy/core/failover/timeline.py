"""The last decisions about a stream's source, for an operator whose viewer complains.

A decision is recorded when it is taken. Its cost is known only when the next source delivers; then the entry is
completed. URLs are redacted before they are stored, so that no entry holds a secret.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from datetime import datetime, timezone
from math import isfinite

import attrs

from ..http.redact import redact

#: Decisions kept for each stream.
MAX_DECISIONS = 200
#: Longest cause in characters.
_MAX_CAUSE_LENGTH = 200

Value = float | int | str | bool


@attrs.frozen
class SourceLabel:
    """
    The position and the URL of a source, for people.

    :ivar index: index in the list, 0 for the primary; for a source that a resolver named, the number of sources before
        it. Two sources of one host may look the same once their URLs are redacted.
    """

    index: int
    url: str

    def __str__(self) -> str:
        return f"{self.index} {self.url}"


@attrs.frozen
class Outcome:
    """
    The cost of a change of source; None for unknown values.

    :ivar lost_bytes: bytes of the old source that were received and never sent (incomplete units).
    :ivar lost_ms: milliseconds of video that no player receives; 0 for an exact continuation.
    :ivar bridged_ms: milliseconds without data, during which players were sent data from the ring.
    """

    lost_bytes: int | None = None
    lost_ms: float | None = None
    bridged_ms: float | None = None


@attrs.frozen
class Decision:
    """
    A change of source, or the decision to give up.

    :ivar number: number of the decision, from 1. Older decisions are dropped, so the first one shown may be higher.
    :ivar time: time of day, UTC.
    :ivar source: the source that was left, redacted; None at a start.
    :ivar target: the source that was chosen, redacted; None for none.
    :ivar measured: the measurements behind the decision; names contain the unit (``silent_ms``).
    """

    number: int
    time: datetime
    source: SourceLabel | None
    target: SourceLabel | None
    cause: str
    measured: Mapping[str, Value]
    outcome: Outcome = Outcome()

    def as_dict(self) -> dict[str, object]:
        """Return the decision for JSON."""
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

    def as_log_line(self) -> str:
        """Return the decision as one line for the log, without the time, which the log adds."""
        values = dict(self.measured)
        values.update({name: value for name, value in attrs.asdict(self.outcome).items() if value is not None})
        shown = ", ".join(f"{name} {_shown(value)}" for name, value in values.items())
        text = f"source {self.source or 'none'} -> {self.target or 'none'}: {self.cause}"
        return f"{text} ({shown})" if shown else text


class Timeline:
    """The last decisions of one stream, :data:`MAX_DECISIONS` by default, oldest first."""

    def __init__(self, max_decisions: int = MAX_DECISIONS) -> None:
        self._decisions: deque[Decision] = deque(maxlen=max_decisions)
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
        Record a decision.

        :param time: aware time; stored as UTC.
        :param source: the source that is left; its URL is redacted here, as is that of ``target``.
        :param cause: text free of secrets, such as that of a :class:`m3uproxy.errors.SourceError`.
        :param measured: measurements by name. Infinity and NaN are left out, because JSON has no notation for them.
        :raises ValueError: if ``time`` is naive; the record must not depend on the machine's time zone.
        """
        if time.tzinfo is None:
            raise ValueError("a time without a zone")
        decision = Decision(
            self._next,
            time.astimezone(timezone.utc),
            _redacted(source),
            _redacted(target),
            " ".join(cause.split())[:_MAX_CAUSE_LENGTH],
            {name: _rounded(value) for name, value in measured.items() if _has_json_form(value)},
        )
        self._next += 1
        self._decisions.append(decision)
        return decision

    def record_outcome(self, number: int, outcome: Outcome) -> Decision | None:
        """Add the cost of a decision and return the decision; None if it was dropped."""
        for index, decision in enumerate(self._decisions):
            if decision.number == number:
                complete = attrs.evolve(decision, outcome=outcome)
                self._decisions[index] = complete
                return complete
        return None

    def entries(self) -> list[dict[str, object]]:
        """Return the decisions for JSON, oldest first."""
        return [decision.as_dict() for decision in self._decisions]


def _redacted(label: SourceLabel | None) -> SourceLabel | None:
    return attrs.evolve(label, url=redact(label.url)) if label is not None else None


def _shown(value: Value) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _has_json_form(value: Value) -> bool:
    return not isinstance(value, float) or isfinite(value)


def _rounded(value: Value) -> Value:
    return round(value, 3) if isinstance(value, float) else value
