"""Who takes part when a file is sent: the response that needs it, and the title that knows of it.

What a title is given to go by, and what it knows.
"""

from __future__ import annotations

from typing import Protocol

import attrs

from ..core.failover.machine import FailoverPolicy
from ..core.http.byte_ranges import ByteRange
from ..core.http.representation import Representation
from ..core.http.source_request import SourceRequest
from ..errors import SourceError
from ..interfaces import IDialler
from ..upstream.slots import SlotAllocator


class ByteConsumer(Protocol):
    """Who is fed."""

    @property
    def position(self) -> int | None:
        """Offset of the next byte that it needs; None while it does not know."""

    @property
    def proof(self) -> bytes:
        """The last bytes before ``position`` that it was given: what another body must repeat."""

    @property
    def wants(self) -> bool:
        """Whether it takes bytes now."""

    def take(self, data: memoryview) -> int:
        """Bytes from ``position`` on, never none.

        :return: how many were of use.
        """


class RangeConsumer(ByteConsumer, Protocol):
    """A response that needs a file, or what is said of it."""

    @property
    def wanted(self) -> ByteRange | None:
        """What to ask for as long as ``position`` is not known; None asks only about the file."""

    @property
    def edition(self) -> Representation | None:
        """The file that it is a part of; None while it does not know."""

    @property
    def url(self) -> str:
        """The source's that ``edition`` is from."""

    @property
    def begun(self) -> bool:
        """Whether the player knows of ``edition``, so that no other file will do."""

    def try_otherwise(self, error: SourceError) -> bool:
        """Whether to ask the same source again at once: for ``wanted``, which has become something else."""

    def found(self, edition: Representation, url: str) -> None:
        """What the file is. Only as long as it has not begun. It may let the line go from within."""

    def complete(self) -> None:
        """A file of unknown length has come to its end."""

    def failed(self, error: SourceError) -> None:
        """Nothing more comes."""


class VodFile(Protocol):
    """What a line is a line to."""

    @property
    def requests(self) -> tuple[SourceRequest, ...]:
        """One for each source, in order."""

    def passed(self, edition: Representation | None, offset: int, data: memoryview) -> None:
        """Some bytes of the file passed."""

    def confirmed(self, edition: Representation, url: str, index: int) -> None:
        """The source of that index delivers the file that ``url`` is."""

    def source_failed(self, error: SourceError, left: int, chosen: int | None, ran: float) -> None:
        """See :meth:`m3uproxy.live.session.Observer.source_failed`."""


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
