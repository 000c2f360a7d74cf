"""What a title is given to go by, and what it knows."""

from __future__ import annotations

import attrs

from ..core.failover.machine import FailoverPolicy
from ..core.http.representation import Representation
from ..interfaces import IDialler
from ..upstream.slots import SlotAllocator


@attrs.frozen
class VodLimits:
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
class VodUpstream:
    """How providers are reached: by what, by which rules, and by whose leave."""

    dialler: IDialler
    policy: FailoverPolicy
    slots: SlotAllocator


@attrs.frozen
class KnownFile:
    """What a file is, by which source, and since when (seconds)."""

    edition: Representation
    url: str = attrs.field(repr=False)
    at: float
