"""Interfaces and values of the VOD package: the consumers of a session, the stream of a session, limits.

Read from top to bottom to follow a byte: a :class:`ByteConsumer` accepts bytes of the file. A :class:`RangeConsumer`
also says which part of which file it needs. The session reports bytes and failures to a :class:`VodFile`.
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
from ..upstream.opened_bodies import OpenedBodies
from .edge_cache import EdgeCache


class ByteConsumer(Protocol):
    """The receiver of the bytes that a file reader reads."""

    @property
    def position(self) -> int | None:
        """Offset of the next byte needed; None as long as the file is unknown."""

    @property
    def last_bytes(self) -> bytes:
        """The last bytes accepted before ``position``. Another body must repeat them, as proof of the same file."""

    @property
    def can_accept(self) -> bool:
        """True while bytes are needed; False while the player is paused, and after the end."""

    def accept(self, data: memoryview) -> int:
        """Take bytes of the file from ``position`` on.

        :param data: at least one byte.
        :return: the number of bytes used.
        """


class RangeConsumer(ByteConsumer, Protocol):
    """A consumer of one range of a file, or of the file's headers: the session dials for it."""

    @property
    def requested(self) -> ByteRange | None:
        """The range to request as long as ``position`` is unknown; None for a HEAD request."""

    @property
    def representation(self) -> Representation | None:
        """The file that the range is a part of; None as long as it is unknown."""

    @property
    def url(self) -> str:
        """URL of the source that ``representation`` was read from."""

    @property
    def started(self) -> bool:
        """True from the headers of ``representation`` on: no other file is acceptable then."""

    def retry_differently(self, error: SourceError) -> bool:
        """Return whether to request from the same source again at once, because ``requested`` has changed."""

    def file_known(self, representation: Representation, url: str) -> None:
        """Set the file. Called only before ``started``. The consumer may release the session from within."""

    def file_ended(self) -> None:
        """End a file of unknown length: its body has ended."""

    def sources_failed(self, error: SourceError) -> None:
        """End with the failure of the last source: the session does not dial again."""


class VodFile(Protocol):
    """The stream that a session reads from."""

    @property
    def id(self) -> str:
        """Id of the stream, for log lines."""

    @property
    def requests(self) -> tuple[SourceRequest, ...]:
        """The requests of the sources, in order."""

    @property
    def has_served(self) -> bool:
        """True if a player has got bytes of the file, so that the stream stays one of files."""

    def bytes_read(self, representation: Representation | None, offset: int, data: memoryview) -> None:
        """Cache bytes of the file that a session has read."""

    def media_known(self, media_type: str) -> None:
        """Note the media type of the file, by its first bytes."""

    def source_confirmed(self, representation: Representation, url: str, index: int) -> None:
        """Note that the source with this index delivers the file.

        :param url: the URL that ``representation`` was read from.
        """

    def source_failed(self, error: SourceError, left: int, chosen: int | None, ran: float) -> None:
        """Note a failure.

        :param left: index of the source that failed.
        :param chosen: index of the source that is dialled next; None if the session gives up.
        :param ran: seconds from the start of the body to its last byte.
        """


@attrs.frozen
class VodLimits:
    """
    Timeouts, in seconds.

    :ivar silence: time without a byte, while bytes are needed, after which a source counts as stalled.
    :ivar pause: time for which a player may read nothing.
    :ivar start: time within which a player gets a response.
    """

    silence: float
    pause: float
    start: float


@attrs.frozen
class VodUpstream:
    """The way to providers, the bodies that other streams have opened, and the cache of bytes."""

    dialler: IDialler
    opened: OpenedBodies
    policy: FailoverPolicy
    edge_cache: EdgeCache


@attrs.frozen
class KnownFile:
    """A file that a source has confirmed.

    :ivar url: the source's URL.
    :ivar confirmed_at: time of the last confirmation, in seconds of the reactor's clock.
    """

    representation: Representation
    url: str = attrs.field(repr=False)
    confirmed_at: float
