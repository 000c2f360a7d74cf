"""Make before break: a source that is opened beside the one in use, which plays on until this one can take over.

A candidate is dialled and read like any source, but what it brings is kept. When a random access point is among it (or
it has been waited for long enough), it is ready: the session closes the source that it has, takes over the candidate's
reader, and has what was kept passed on first. So players wait neither for a dial nor for a keyframe.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from ..core.formats.any_intake import AnyIntake
from ..core.intake import Look
from ..core.kind import has_extension
from ..errors import Reason, SourceError
from ..interfaces import IDialler, IOpenBody, IStreamSink
from ..log import make_logger
from .body import BodyReader
from .dial import DialLimits, SourceRequest
from .slots import Slot
from .tick import Tick

log = make_logger()

#: Seconds and bytes that a random access point is waited for; then it is the splice that waits.
PATIENCE = 12.0
LARGEST = 8 << 20


@implementer(IStreamSink)
class Antechamber:
    """
    Keeps what a body brings.

    :ivar ready: whether there is a place among it to begin at, or as much as is kept.
    """

    #: Read it as it comes: the sooner there is an access point the better.
    waiting = True

    def __init__(self) -> None:
        self._intake = AnyIntake()
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

    def watch(self, look: Look | None) -> None:
        """Nobody watches before it takes over."""

    def gave_up(self, error: SourceError) -> None:
        """Nobody gives up here."""

    def take(self) -> bytes:
        """All that came."""
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


class Owner(Protocol):
    """Who wants a candidate."""

    def took(self, candidate: Candidate) -> None:
        """It can take over: :meth:`Candidate.release` it, or close it."""

    def lost(self, candidate: Candidate, error: SourceError) -> None:
        """It failed, and is closed."""


class Candidate:
    """
    One source on its way in.

    :ivar index: which source it is.
    :ivar slot: its own, if connections are counted; done with when the candidate is closed, not when it is released.
    :ivar proven: whether it has brought a packet.
    """

    def __init__(self, clock: IReactorTime, tick: Tick, index: int, slot: Slot | None, owner: Owner) -> None:
        """Nothing is opened yet."""
        self._clock = clock
        self._tick = tick
        self._owner = owner
        self._kept = Antechamber()
        self._dialling: Deferred[None] | None = None
        self._body: IOpenBody | None = None
        self._reader: BodyReader | None = None
        self._timer: IDelayedCall | None = None
        self._is_ready = False
        self.index = index
        self.slot = slot
        self.proven = False

    def start(self, dialler: IDialler, request: SourceRequest, limits: DialLimits) -> None:
        """Dial. The owner is told what comes of it, perhaps at once."""
        dialling = Deferred.fromCoroutine(self._open(dialler, request, limits))
        dialling.addErrback(self._dial_failed)
        if not dialling.called:
            self._dialling = dialling

    def close(self) -> None:
        """Drop it. Safe at any time."""
        self._set_timer(None)
        dialling, self._dialling = self._dialling, None
        if dialling is not None:
            dialling.cancel()
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()
        body, self._body = self._body, None
        if body is not None:
            body.close()
        if self.slot is not None:
            self.slot.done()

    def release(self) -> tuple[IOpenBody, BodyReader, bytes]:
        """Give up what there is: the body, who reads it, and what it has brought so far. It must be proven."""
        assert self._body is not None
        assert self._reader is not None
        self._set_timer(None)
        body, reader = self._body, self._reader
        self._body = self._reader = self.slot = None
        return body, reader, self._kept.take()

    async def _open(self, dialler: IDialler, request: SourceRequest, limits: DialLimits) -> None:
        body = await dialler.dial(request, limits, self.slot)
        self._dialling = None
        self._body = body
        if body.length is not None and not has_extension(request.url):
            raise SourceError(Reason.NOT_LIVE, f"{body.length} bytes")
        self._reader = BodyReader(body, self._kept, self._tick, self)
        self._set_timer(limits.first_byte, self._unproven)
        self._reader.start()

    def _dial_failed(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, CancelledError):
            return
        self._dialling = None
        if not isinstance(error, SourceError):
            log.failure("opening a source beside another failed unexpectedly", failure=failure)
            error = SourceError(Reason.INTERNAL, type(error).__name__)
        self.ended(error)

    def _unproven(self) -> None:
        self.ended(SourceError(Reason.FIRST_BYTE_TIMEOUT, "the head came, but no packet"))

    def _set_timer(self, seconds: float | None, then: Callable[[], None] | None = None) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        if seconds is not None and then is not None:
            self._timer = self._clock.callLater(seconds, then)

    # the reader's owner

    def flowing(self) -> None:
        """It delivers."""
        self.proven = True
        self._set_timer(PATIENCE, self._take_over)
        self.heard()

    def heard(self) -> None:
        """More came. The reader is told to go elsewhere in a turn of its own."""
        if self.proven and self._kept.ready and not self._is_ready:
            self._is_ready = True
            self._set_timer(0, self._take_over)

    def ended(self, error: SourceError) -> None:
        """It is over, or no video."""
        self.close()
        self._owner.lost(self, error)

    def _take_over(self) -> None:
        self._timer = None
        self._owner.took(self)
