"""Standby connections: make before break.

The source in use plays on while another one is dialled. The data of the standby connection are buffered. It is ready
when they contain a random access point, or after :data:`MAX_WAIT`. Then the session closes the source in use, takes
over the connection, and passes the buffered data on. So players wait neither for the dial nor for a random access
point.

A second connection is also opened to probe a backup.

Providers count connections. If the limit of the account is known, a free slot is required. If it is unknown, the other
source must have another host, because one connection too many may cost the one in use.
"""

from __future__ import annotations

from typing import Protocol
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from ..core.failover.machine import FailoverPolicy
from ..core.http.source_request import DialTimeouts, SourceRequest
from ..core.ingest.detect import DetectingParser
from ..core.ingest.media_progress import MediaProgress
from ..core.ingest.parser import Format
from ..core.ingest.ts_parser import PacketObserver
from ..core.programme import BodyNature
from ..errors import SourceError, StoredError
from ..interfaces import IStreamSink
from ..log import make_logger
from ..timers import Timer
from ..upstream.body_probe import probe_source
from ..upstream.slots import Slot, StreamSlot
from .source_connection import LiveUpstream, SourceConnection

log = make_logger()

#: Seconds and bytes that a random access point is awaited. After that the splice waits for it.
MAX_WAIT = 12.0
MAX_BUFFER = 8 << 20
#: Bytes of a transport stream that are kept before its first media.
MAX_LEAD = 1 << 20


@implementer(IStreamSink)
class StandbyBuffer:
    """
    The sink of a standby connection.

    :ivar ready: whether the data contain a random access point, or fill the buffer.
    """

    #: Data are passed on as they come: the sooner there is a random access point, the better.
    waiting = True
    is_full = False
    media = 0.0

    def __init__(self) -> None:
        self._parser = DetectingParser()
        self._pieces: list[bytes] = []
        self._size = 0
        self.ready = False

    def source_changed(self, nature: BodyNature = BodyNature.LIVE) -> None:
        """Do nothing: there is only one body."""

    def bytes_received(self, data: bytes) -> None:
        """Keep the bytes, and search them for a random access point."""
        self._pieces.append(data)
        self._size += len(data)
        while self._size > MAX_LEAD and self._parser.format is Format.TS and not self.progress.size:
            self._size -= len(self._pieces.pop(0))
        chunks = self._parser.feed(data, 0.0) + self._parser.flush(0.0)
        if any(chunk.access for chunk in chunks) or (self._size >= MAX_BUFFER and self.progress.size):
            self.ready = True

    @property
    def progress(self) -> MediaProgress:
        """The media so far."""
        return self._parser.media

    def flush(self) -> None:
        """Do nothing: the bytes are kept until the takeover."""

    def observe(self, observer: PacketObserver | None) -> None:
        """Do nothing: content is checked after the takeover."""

    def programme_ended(self, error: SourceError) -> None:
        """Do nothing: only a session calls it."""

    def sources_exhausted(self, error: SourceError) -> None:
        """Do nothing: only a session calls it."""

    def drain(self) -> bytes:
        """Return the data, and empty the buffer."""
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


class StandbyOwner(Protocol):
    """The session of a standby connection."""

    @property
    def stream_id(self) -> str:
        """Id of the stream, for the log."""

    def standby_ready(self, standby: StandbyConnection) -> None:
        """Take over the connection with :meth:`StandbyConnection.hand_over`, or close it."""

    def standby_failed(self, standby: StandbyConnection, error: SourceError) -> None:
        """Continue without the connection, which is closed."""


class StandbyConnection:
    """
    A connection to a source that is to replace the one in use.

    :ivar index: index of the source.
    :ivar fault: the fault of the source in use; None if it has none.
    :ivar chosen: whether the API chose the source.
    """

    why = StoredError()

    def __init__(
        self,
        upstream: LiveUpstream,
        index: int,
        slot: Slot | None,
        owner: StandbyOwner,
        fault: SourceError | None = None,
        chosen: bool = False,
    ) -> None:
        """
        Make a connection that is not dialled.

        :param slot: its own slot; None if connections are not counted.
        """
        self._upstream = upstream
        self._slot = slot
        self._owner = owner
        self._buffer = StandbyBuffer()
        self._connection: SourceConnection | None = None
        self._takeover = Timer(upstream.clock)
        self._is_ready = False
        self.index = index
        self.fault = fault
        self.chosen = chosen

    @property
    def has_started(self) -> bool:
        """True after the first media."""
        return self._connection is not None and self._connection.has_started

    @property
    def stream_id(self) -> str:
        """Id of the stream, for the log."""
        return self._owner.stream_id

    def open(self, request: SourceRequest, timeouts: DialTimeouts) -> None:
        """Dial. The owner may get the result before this method returns."""
        self._connection = SourceConnection(self._upstream, self._buffer, self, self._slot)
        self._connection.open(request, timeouts)

    def close(self) -> None:
        """Close the connection and release its slot. Safe to call twice, and after :meth:`hand_over`."""
        self._takeover.cancel()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close().addErrback(self._close_failed)
        slot, self._slot = self._slot, None
        if slot is not None:
            slot.release()

    def hand_over(self) -> tuple[SourceConnection, Slot | None, bytes]:
        """Return the connection, its slot and the buffered data. They belong to the caller then."""
        assert self._connection is not None
        self._takeover.cancel()
        connection, slot = self._connection, self._slot
        self._connection = self._slot = None
        return connection, slot, self._buffer.drain()

    # BodyReaderOwner

    def source_started(self) -> None:
        """Wait for a random access point, for :data:`MAX_WAIT` at most."""
        self._takeover.set(MAX_WAIT, self._notify_ready)
        self.data_received()

    def data_received(self) -> None:
        """If the buffer is ready, tell the owner in another reactor turn, because the reader is at work in this one."""
        if self.has_started and self._buffer.ready and not self._is_ready:
            self._is_ready = True
            self._takeover.set(0, self._notify_ready)

    def reading_held(self) -> None:
        """Do nothing: a buffer is never full."""

    def discontinuity(self) -> None:
        """Do nothing: the buffered data are spliced when they are passed on."""

    def source_ended(self, error: SourceError) -> None:
        """Close the connection and tell the owner."""
        self.close()
        self._owner.standby_failed(self, error)

    # inside

    def _notify_ready(self) -> None:
        self._owner.standby_ready(self)

    def _close_failed(self, failure: Failure) -> None:
        log.failure("stream {stream}: closing a standby connection failed", failure=failure, stream=self.stream_id)


class Standby:
    """
    The second connection of a session: a standby connection, or a probe.

    :ivar connection: the standby connection; None if there is none.
    """

    def __init__(self, upstream: LiveUpstream, slot: StreamSlot, policy: FailoverPolicy, owner: StandbyOwner) -> None:
        self._upstream = upstream
        self._slot = slot
        self._timeouts = DialTimeouts(policy.connect, policy.first_byte, policy.connect + policy.first_byte, False)
        self._patient_timeouts = DialTimeouts(policy.connect, policy.start, policy.start, False)
        self._owner = owner
        self.connection: StandbyConnection | None = None

    @property
    def chosen(self) -> int | None:
        """Index of the standby source if the API chose it, else None."""
        return self.connection.index if self.connection is not None and self.connection.chosen else None

    def open(
        self,
        index: int,
        request: SourceRequest,
        used: SourceRequest,
        fault: SourceError | None = None,
        chosen: bool = False,
        patient: bool = False,
    ) -> bool:
        """
        Open a standby connection. A previous one is closed.

        :param used: the request for the source in use.
        :param fault: the fault of the source in use; None if it has none.
        :param chosen: whether the API chose the source.
        :param patient: whether the source is awaited for as long as a player waits.
        :return: False if no second connection may be opened.
        """
        self.close()
        if not can_open_second(self._slot, request, used):
            return False
        slot = self._slot.acquire_second(request.account)
        self.connection = StandbyConnection(self._upstream, index, slot, self._owner, fault, chosen)
        self.connection.open(request, self._patient_timeouts if patient else self._timeouts)
        return True

    def probe(self, request: SourceRequest, used: SourceRequest) -> Deferred[None] | None:
        """
        Probe a source (:func:`m3uproxy.upstream.body_probe.probe_source`).

        :return: None if no second connection may be opened, or a standby connection is open.
        """
        if self.connection is not None or not can_open_second(self._slot, request, used):
            return None
        slot = self._slot.acquire_second(request.account)
        return probe_source(self._upstream.clock, self._upstream.dialler, request, self._timeouts, slot)

    def sources_replaced(self, before: tuple[SourceRequest, ...], after: tuple[SourceRequest, ...]) -> None:
        """Take over the new index of the standby source. If it is in the list no longer, close the connection."""
        connection = self.connection
        if connection is None or connection.index < 0:
            return
        request = before[connection.index]
        if request in after:
            connection.index = after.index(request)
        else:
            self.close()

    def close(self) -> None:
        """Close the standby connection. Safe to call if there is none."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close()


def can_open_second(slot: StreamSlot, request: SourceRequest, used: SourceRequest) -> bool:
    """
    Return whether a second connection may be opened.

    :param request: the request for the other source.
    :param used: the request for the source in use.
    """
    if request.account is not None:
        return slot.has_free_slot(request.account)
    return urlsplit(request.url).hostname != urlsplit(used.url).hostname
