"""A second connection beside the one in use, where there is room for it: to replace it, or to look at a backup.

Providers count connections. Where somebody said how many an account allows, there is room if one is free. Where nobody
did, there is room only at another host: one connection too many may cost the one that works.

Make before break: a source that is opened beside the one in use, which plays on until this one can take over.

A candidate is dialled and read like any source, but what it brings is kept. When a random access point is among it (or
it has been waited for long enough), it is ready: the session closes the source that it has, takes over the candidate's
reader, and has what was kept passed on first. So players wait neither for a dial nor for a keyframe.
"""

from __future__ import annotations

from typing import Protocol
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred
from zope.interface import implementer

from ..core.failover.machine import FailoverPolicy
from ..core.http.source_request import DialTimeouts, SourceRequest
from ..core.ingest.detect import DetectingParser
from ..core.ingest.ts_parser import PacketObserver
from ..errors import SourceError
from ..interfaces import IStreamSink
from ..log import make_logger
from ..timers import Timer
from ..upstream.body_probe import probe_source
from ..upstream.slots import Slot, StreamSlot
from .source_connection import LiveUpstream, SourceConnection

log = make_logger()

#: Seconds and bytes that a random access point is waited for; then it is the splice that waits.
PATIENCE = 12.0
LARGEST = 8 << 20


@implementer(IStreamSink)
class StandbyBuffer:
    """
    Keeps what a body brings.

    :ivar ready: whether there is a place among it to begin at, or as much as is kept.
    """

    #: Read it as it comes: the sooner there is an access point the better.
    waiting = True

    def __init__(self) -> None:
        self._intake = DetectingParser()
        self._pieces: list[bytes] = []
        self._size = 0
        self.ready = False

    def source_changed(self) -> None:
        """There is but one."""

    def bytes_received(self, data: bytes) -> None:
        """Keep them, and look whether one can begin."""
        self._pieces.append(data)
        self._size += len(data)
        cuts = self._intake.feed(data, 0.0) + self._intake.flush(0.0)
        if any(cut.access for cut in cuts) or self._size >= LARGEST:
            self.ready = True

    def flush(self) -> int:
        """Packets so far."""
        return self._intake.packets

    def observe(self, observer: PacketObserver | None) -> None:
        """Nobody watches before it takes over."""

    def sources_exhausted(self, error: SourceError) -> None:
        """Nobody gives up here."""

    def take(self) -> bytes:
        """All that came."""
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


class StandbyOwner(Protocol):
    """Who wants a candidate."""

    def standby_ready(self, candidate: StandbyConnection) -> None:
        """It can take over: :meth:`StandbyConnection.release` it, or close it."""

    def standby_failed(self, candidate: StandbyConnection, error: SourceError) -> None:
        """It failed, and is closed."""


class StandbyConnection:
    """
    One source on its way in.

    :ivar index: which source it is.
    :ivar why: what is wrong with the source that it is to replace; None if nothing is.
    :ivar chosen: whether somebody chose it.
    """

    def __init__(
        self,
        upstream: LiveUpstream,
        index: int,
        slot: Slot | None,
        owner: StandbyOwner,
        why: SourceError | None = None,
        chosen: bool = False,
    ) -> None:
        """Nothing is opened yet. ``slot`` is its own, if connections are counted."""
        self._upstream = upstream
        self._slot = slot
        self._owner = owner
        self._kept = StandbyBuffer()
        self._feed: SourceConnection | None = None
        self._alarm = Timer(upstream.clock)
        self._is_ready = False
        self.index = index
        self.why = why
        self.chosen = chosen

    @property
    def proven(self) -> bool:
        """Whether it has brought a packet."""
        return self._feed is not None and self._feed.proven

    def open(self, request: SourceRequest, limits: DialTimeouts) -> None:
        """Dial. The owner is told what comes of it, perhaps at once."""
        self._feed = SourceConnection(self._upstream, self._kept, self, self._slot)
        self._feed.open(request, limits)

    def close(self) -> None:
        """Drop it. Safe at any time, and harmless when it is released."""
        self._alarm.cancel()
        feed, self._feed = self._feed, None
        if feed is not None:
            feed.close().addErrback(lambda failure: log.failure("closing a source failed", failure=failure))
        slot, self._slot = self._slot, None
        if slot is not None:
            slot.release()

    def release(self) -> tuple[SourceConnection, Slot | None, bytes]:
        """Give up what there is: the feed, its slot, and what it has brought so far."""
        assert self._feed is not None
        self._alarm.cancel()
        feed, slot = self._feed, self._slot
        self._feed = self._slot = None
        return feed, slot, self._kept.take()

    def _take_over(self) -> None:
        self._owner.standby_ready(self)

    # the feed's owner

    def source_started(self) -> None:
        """It delivers."""
        self._alarm.set(PATIENCE, self._take_over)
        self.data_received()

    def data_received(self) -> None:
        """More came. The reader is told to go elsewhere in a turn of its own."""
        if self.proven and self._kept.ready and not self._is_ready:
            self._is_ready = True
            self._alarm.set(0, self._take_over)

    def discontinuity(self) -> None:
        """What is kept is joined again when it is passed on."""

    def source_ended(self, error: SourceError) -> None:
        """It is over, or no video."""
        self.close()
        self._owner.standby_failed(self, error)


class Standby:
    """
    What one session has open beside its source.

    :ivar candidate: what is to replace it, if anything is.
    """

    def __init__(self, upstream: LiveUpstream, slot: StreamSlot, policy: FailoverPolicy, owner: StandbyOwner) -> None:
        self._upstream = upstream
        self._slot = slot
        self._limits = DialTimeouts(policy.connect, policy.first_byte, policy.connect + policy.first_byte)
        self._owner = owner
        self.candidate: StandbyConnection | None = None

    @property
    def chosen(self) -> int | None:
        """The index of what is to replace it, if somebody chose that."""
        return self.candidate.index if self.candidate is not None and self.candidate.chosen else None

    def open(
        self,
        index: int,
        request: SourceRequest,
        used: SourceRequest,
        why: SourceError | None = None,
        chosen: bool = False,
    ) -> bool:
        """
        Open a source that is to replace the one in use, instead of another that was to.

        :param used: the source in use.
        :return: False if there is no room for it.
        """
        self.close()
        if not has_room(self._slot, request, used):
            return False
        slot = self._slot.acquire_second(request.account)
        self.candidate = StandbyConnection(self._upstream, index, slot, self._owner, why, chosen)
        self.candidate.open(request, self._limits)
        return True

    def probe_source(self, request: SourceRequest, used: SourceRequest) -> Deferred[None] | None:
        """Look whether a source would deliver (:func:`.scout.probe_source`); None if there is no room for that."""
        if self.candidate is not None or not has_room(self._slot, request, used):
            return None
        slot = self._slot.acquire_second(request.account)
        return probe_source(self._upstream.clock, self._upstream.dialler, request, self._limits, slot)

    def sources_change(self, before: tuple[SourceRequest, ...], after: tuple[SourceRequest, ...]) -> None:
        """What is to replace the one in use may have another index among other sources, or is none of them any more."""
        candidate = self.candidate
        if candidate is None or candidate.index < 0:
            return
        request = before[candidate.index]
        if request in after:
            candidate.index = after.index(request)
        else:
            self.close()

    def close(self) -> None:
        """Nothing is to replace the source any more."""
        candidate, self.candidate = self.candidate, None
        if candidate is not None:
            candidate.close()


def has_room(admission: StreamSlot, request: SourceRequest, used: SourceRequest) -> bool:
    """Whether a source may be opened beside the one in use."""
    if request.account is not None:
        return admission.has_free_slot(request.account)
    return urlsplit(request.url).hostname != urlsplit(used.url).hostname
