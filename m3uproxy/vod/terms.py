"""What a title is given to go by, and what it knows."""

from __future__ import annotations

import attrs

from ..core.edition import Edition
from ..core.failover import Policy
from ..interfaces import IDialler
from ..upstream.slots import SlotDesk


@attrs.frozen
class Limits:
    """
    Seconds.

    :ivar silence: without a byte, while some are wanted, after which a source counts as stalled.
    :ivar pause: for which a player may take nothing.
    :ivar patience: within which a player is answered.
    """

    silence: float
    pause: float
    patience: float


@attrs.frozen
class Upstream:
    """How providers are reached: by what, by which rules, and by whose leave."""

    dialler: IDialler
    policy: Policy
    slots: SlotDesk


@attrs.frozen
class Known:
    """What a file is, by which source, and since when (seconds)."""

    edition: Edition
    url: str = attrs.field(repr=False)
    at: float
