"""One viewer: a place in the ring and a way to the player's socket.

A pump is the ``IPushProducer`` of its player's transport. It is in one of four states:

==========  =========================================================================================
waiting     nothing sent yet, not even the head; a status is still ours to choose
draining    between its place and the live edge there are blocks; it sends until the socket is full,
            then waits for ``resumeProducing``
at the edge it has all there is; the broadcaster sends it each new block as it comes
gone        the player left, or we ended it
==========  =========================================================================================

A pump that falls out of the ring finishes the packet in hand and goes on where a joiner would start. It never
slows anything but itself.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Protocol

from twisted.internet.interfaces import IPushProducer, IReactorTime
from zope.interface import implementer

from ..core.ring import Block, Ring
from ..downstream.socket_writer import SocketWriter
from ..errors import Reason, SourceError
from ..interfaces import IViewer
from ..log import make_logger
from ..timers import Timer

log = make_logger()


class PumpState(Enum):
    """See the module's docstring."""

    WAITING = "waiting"
    DRAINING = "draining"
    EDGE = "at the edge"
    GONE = "gone"


class PumpSource(Protocol):
    """What a pump needs of the broadcaster."""

    ring: Ring

    @property
    def preamble(self) -> bytes:
        """What every player is sent first, once."""

    def join(self) -> int | None:
        """The block to start at, None while there is none."""

    def started(self, pump: Pump) -> None:
        """``pump`` waits no more for its first block."""

    def caught_up(self, pump: Pump) -> None:
        """``pump`` is at the live edge."""

    def detach(self, pump: Pump) -> None:
        """``pump`` is gone."""


class LiveResponse(Protocol):
    """The response that a pump fills."""

    outlet: SocketWriter

    def begin(self, pump: Pump) -> None:
        """Make ``pump`` the producer of the transport; called before anything else, or a full buffer tells nobody."""

    def head(self) -> bytes:
        """The response head, sent with the first block."""

    def refuse(self, error: SourceError) -> None:
        """Nothing was sent: answer with an error."""

    def abort(self) -> None:
        """Something was sent: end the connection in a way that no player takes for a clean end."""


@implementer(IPushProducer, IViewer)
class Pump:
    """Pours a stream into one player's socket."""

    def __init__(
        self,
        clock: IReactorTime,
        answer: LiveResponse,
        source: PumpSource,
        evict_laggards: bool,
        gone: Callable[[], None],
    ) -> None:
        """
        Make a pump that waits.

        :param evict_laggards: disconnect, instead of skipping ahead, a viewer that falls out of the ring.
        :param gone: called once, whatever the reason.
        """
        self._clock = clock
        self._answer = answer
        self._outlet = answer.outlet
        self._source = source
        self._evict_laggards = evict_laggards
        self._gone = gone
        self.state = PumpState.WAITING
        self.skips = 0
        self.blocked_since: float | None = None
        self._next = 0
        self._rest: memoryview | bytes = b""
        self._sent = 0
        self._edge_from = 0
        self._start_timer = Timer(clock)

    # what it looks like from outside

    @property
    def bytes_sent(self) -> int:
        """Bytes that the kernel (or TLS) has taken, without the head."""
        at_edge = self._source.ring.position - self._edge_from if self.state is PumpState.EDGE else 0
        return self._sent + at_edge

    @property
    def send(self) -> Callable[[bytes], int]:
        """The outlet's own, for the broadcaster's loop over all viewers at the edge."""
        return self._outlet.send

    def wait_at_most(self, seconds: float, last_error: Callable[[], SourceError | None]) -> None:
        """Refuse the player when nothing has come after that long."""

        def give_up() -> None:
            self.close(last_error() or SourceError(Reason.FIRST_BYTE_TIMEOUT, "nothing to send in time"))

        if self.state is PumpState.WAITING:
            self._start_timer.set(seconds, give_up)

    # IViewer

    def try_to_start(self) -> None:
        """Send the head and the first block, if the ring has a place to join at."""
        place = self._source.join() if self.state is PumpState.WAITING else None
        if place is None:
            return
        self._start_timer.cancel()
        self.state = PumpState.DRAINING
        self._source.started(self)
        self._next = place
        opening = self._source.preamble + self._source.ring[place].psi
        self._sent = len(opening)
        if self._outlet.start(self._answer.head() + opening):
            self.blocked_since = self._clock.seconds()
        else:
            self._drain()

    def fell_behind(self, block: Block, number: int, taken: int) -> None:
        """At the edge, the socket took only ``taken`` bytes of ``block``: from now on it drains by itself."""
        self._sent += block.position - self._edge_from + taken
        self.state = PumpState.DRAINING
        self._next = number + 1
        self._rest = memoryview(block.data)[taken:]
        self._block()

    def failed(self, block: Block, error: OSError) -> None:
        """At the edge, the socket took nothing of ``block`` and never will."""
        self._sent += block.position - self._edge_from
        self.state = PumpState.DRAINING
        self.abort(f"send failed: {error}")

    def close(self, error: SourceError) -> None:
        """There will be no more blocks."""
        if self.state is PumpState.WAITING:
            self._leave()
            self._answer.refuse(error)
        else:
            self.abort(str(error))

    def abort(self, why: str) -> None:
        """Disconnect at once."""
        if self.state is not PumpState.GONE:
            log.info("viewer disconnected by us: {why}", why=why)
            self._leave()
            self._answer.abort()

    # IPushProducer, called by the transport; each may come twice and from inside a write

    def pauseProducing(self) -> None:
        """The transport has enough."""
        self._outlet.paused()

    def resumeProducing(self) -> None:
        """The transport, or the socket, takes more."""
        self._outlet.resumed()
        if self.state is PumpState.DRAINING:
            self._drain()

    def stopProducing(self) -> None:
        """The player is gone."""
        self._leave()

    # draining

    def _drain(self) -> None:
        """Send until the live edge is reached or the socket is full."""
        try:
            while self._rest or self._load():
                taken = self._outlet.send(self._rest)
                self._sent += taken
                self._rest = self._rest[taken:] if taken < len(self._rest) else b""
                self.blocked_since = None
                if self._rest:
                    break
        except BlockingIOError:
            pass
        except OSError as error:
            self.abort(f"send failed: {error}")
        if self.state is not PumpState.DRAINING:
            return
        if self._rest:
            self._block()
        else:
            self._at_edge()

    def _load(self) -> bool:
        """Put the next block in hand; False at the live edge."""
        ring = self._source.ring
        if self._next >= ring.next:
            return False
        if self._next < ring.first:
            if ring.first == ring.next:
                self._next = ring.next
                return False
            return self._skip()
        self._rest = ring[self._next].data
        self._next += 1
        return True

    def _skip(self) -> bool:
        """Out of the ring: put in hand what a joiner would start with, or leave."""
        if self._evict_laggards:
            self.abort("fell too far behind")
            return False
        ring = self._source.ring
        place = self._source.join()
        number = ring.first if place is None else place
        block = ring[number]
        (log.debug if self.skips else log.info)("viewer fell out of the buffer and goes on at block {n}", n=number)
        self.skips += 1
        self._rest = block.psi + block.data
        self._next = number + 1
        return True

    def _block(self) -> None:
        """The socket is full. What is in hand stays there, also when the ring lets go of it: no torn packet."""
        if self.blocked_since is None:
            self.blocked_since = self._clock.seconds()
        self._outlet.wait()

    def _at_edge(self) -> None:
        self.state = PumpState.EDGE
        self.blocked_since = None
        self._edge_from = self._source.ring.position
        self._source.caught_up(self)

    # the end

    def _leave(self) -> None:
        if self.state is PumpState.GONE:
            return
        self._sent = self.bytes_sent
        self.state = PumpState.GONE
        self._start_timer.cancel()
        self._rest = b""
        self._source.detach(self)
        self._gone()
