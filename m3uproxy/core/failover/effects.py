"""What the table of failover tells a session to do; see :mod:`m3uproxy.core.failover.machine`."""

from __future__ import annotations

import attrs

from ...errors import SourceError


@attrs.frozen
class Dial:
    """Drop what there is and dial the source of that index; seconds allowed for each step."""

    index: int
    connect: float
    first_byte: float
    total: float


@attrs.frozen
class Backoff:
    """Drop what there is and wait that many seconds."""

    seconds: float


@attrs.frozen
class AskResolver:
    """Drop what there is and ask the resolver; its answer is of use for that many seconds."""

    seconds: float


@attrs.frozen
class GiveUp:
    """Drop what there is and tell the viewers."""

    error: SourceError


@attrs.frozen
class Idle:
    """Drop what there is."""


Effect = Dial | Backoff | AskResolver | GiveUp | Idle | None
