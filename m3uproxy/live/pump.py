"""The sender of a live stream to one player: a position in the ring and the player's socket.

A pump is the ``IPushProducer`` of its player's transport. It has one of five states:

==========  =========================================================================================
waiting     nothing is sent yet, not even the head; an error status can still be sent
draining    there are blocks between its position and the live edge; it sends until the socket is
            full, then waits for ``resumeProducing``
at the edge all blocks are sent; the broadcaster sends each new block when it comes
finishing   the programme has ended; it sends the last blocks, which it holds, then ends the response
gone        the player left, or was disconnected
==========  =========================================================================================

If a player is so slow that its next block has left the ring, the pump finishes the block that is partly sent and
continues where a new player would start. A slow player affects only itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Protocol

from twisted.internet.interfaces import IPushProducer, IReactorTime
from zope.interface import implementer

from ..core.ring import Block, Ring
from ..downstream.socket_writer import SocketWriter
from ..errors import Reason, SourceError
from ..interfaces import IPump
from ..log import make_logger
from ..timers import Timer

log = make_logger()


class PumpState(Enum):
    """The states in the module's table."""

    WAITING = "waiting"
    DRAINING = "draining"
    EDGE = "at the edge"
    FINISHING = "finishing"
    GONE = "gone"


_SENDING = (PumpState.DRAINING, PumpState.FINISHING)


class PumpSource(Protocol):
    """The broadcaster, as a pump knows it."""

    ring: Ring

    @property
    def preamble(self) -> bytes:
        """Bytes that each player gets first, once."""

    def join(self) -> int | None:
        """Return the number of the block to start at; None if there is none yet."""

    def opening(self, number: int) -> bytes:
        """Return the tables that a player gets before block ``number``, from which on it is sent the stream."""

    def started(self, pump: Pump) -> None:
        """Note that ``pump`` has its first block."""

    def caught_up(self, pump: Pump) -> None:
        """Send each new block to ``pump``, which is at the live edge."""

    def detach(self, pump: Pump) -> None:
        """Remove ``pump``."""


class LiveResponse(Protocol):
    """The HTTP response of one player."""

    writer: SocketWriter

    def begin(self, pump: Pump) -> None:
        """Make ``pump`` the producer of the transport. Called first, so that a full buffer pauses the pump."""

    def head(self) -> bytes:
        """Return the response head. It is sent with the first block."""

    def refuse(self, error: SourceError) -> None:
        """Answer with an error. Nothing has been sent."""

    def finish(self) -> None:
        """End the response cleanly. All bytes have been sent."""

    def abort(self) -> None:
        """Abort the connection, so that no player takes it for the end of the stream. Something has been sent."""


@implementer(IPushProducer, IPump)
class Pump:
    """The sender to one player.

    :ivar state: see the module's table.
    :ivar skips: how often the player was too slow and blocks were skipped.
    :ivar blocked_since: time since which the socket has taken nothing; None if it takes data.
    """

    def __init__(
        self,
        clock: IReactorTime,
        response: LiveResponse,
        source: PumpSource,
        evict_laggards: bool,
        closed: Callable[[], None],
        client_id: str,
        stream_id: str,
    ) -> None:
        """
        Make a pump that waits for its first block.

        :param evict_laggards: disconnect a player that is too slow, instead of skipping blocks.
        :param closed: called once, at the end.
        :param client_id: for the log, as is ``stream_id``.
        """
        self._clock = clock
        self._response = response
        self._writer = response.writer
        self._source = source
        self._evict_laggards = evict_laggards
        self._closed = closed
        self._client_id = client_id
        self._stream_id = stream_id
        self.state = PumpState.WAITING
        self.skips = 0
        self.blocked_since: float | None = None
        self._next = 0
        self._rest: memoryview | bytes = b""
        self._sent = 0
        self._edge_from = 0
        self._last_blocks: deque[bytes] = deque()
        self._start_timer = Timer(clock)

    # for the stream and the broadcaster

    @property
    def bytes_sent(self) -> int:
        """Bytes that the kernel (or TLS) has taken, without the response head."""
        at_edge = self._source.ring.position - self._edge_from if self.state is PumpState.EDGE else 0
        return self._sent + at_edge

    @property
    def send(self) -> Callable[[bytes], int]:
        """The writer's ``send``, for the broadcaster's loop over all pumps at the edge."""
        return self._writer.send

    @property
    def backlog(self) -> int:
        """Bytes in the ring that the player has not got."""
        ring = self._source.ring
        if self.state is not PumpState.DRAINING or self._next >= ring.next:
            return 0
        return ring.position - ring[max(self._next, ring.first)].position

    @property
    def next_block(self) -> int:
        """Number of the next block to send, while the pump drains."""
        return self._next

    def set_start_timeout(self, seconds: float, last_error: Callable[[], SourceError | None]) -> None:
        """
        Refuse the player if nothing could be sent in time.

        :param last_error: returns the last failure of a source, for the response.
        """

        def expired() -> None:
            self.close(
                last_error() or SourceError(Reason.FIRST_BYTE_TIMEOUT, f"no block within {seconds:g} s (START_TIMEOUT)")
            )

        if self.state is PumpState.WAITING:
            self._start_timer.set(seconds, expired)

    # IPump

    def try_to_start(self) -> None:
        """Send the head and the first block, if the ring has a block to start at."""
        place = self._source.join() if self.state is PumpState.WAITING else None
        if place is None:
            return
        self._start_timer.cancel()
        self.state = PumpState.DRAINING
        self._source.started(self)
        self._next = place
        opening = self._source.preamble + self._source.opening(place)
        self._sent = len(opening)
        if self._writer.start(self._response.head() + opening):
            self.blocked_since = self._clock.seconds()
        else:
            self._drain()

    def fell_behind(self, block: Block, number: int, taken: int) -> None:
        """Leave the edge and drain: the socket took only ``taken`` bytes of ``block``."""
        self._sent += block.position - self._edge_from + taken
        self.state = PumpState.DRAINING
        self._next = number + 1
        self._rest = memoryview(block.data)[taken:]
        self._wait_for_socket()

    def failed(self, block: Block, error: OSError) -> None:
        """Disconnect the player: its socket failed at ``block``."""
        self._sent += block.position - self._edge_from
        self.state = PumpState.DRAINING
        self.abort(f"send failed: {error}")

    def finish(self, error: SourceError) -> None:
        """Send the rest of the stream, then end the response. A player that got no byte is refused."""
        self.try_to_start()
        if self.state is PumpState.EDGE:
            self._finished()
        elif self.state is PumpState.DRAINING:
            ring = self._source.ring
            self._last_blocks.extend(ring[n].data for n in range(max(self._next, ring.first), ring.next))
            self.state = PumpState.FINISHING
        else:
            self.close(error)

    def close(self, error: SourceError) -> None:
        """Refuse the player if nothing was sent, else disconnect it: there are no more blocks."""
        if self.state is PumpState.WAITING:
            self._end()
            self._response.refuse(error)
        else:
            self.abort(str(error))

    def abort(self, reason: str) -> None:
        """Disconnect the player at once. ``reason`` is for the log."""
        if self.state is not PumpState.GONE:
            log.info(
                "client {client!r:.80} of stream {stream} disconnected: {reason}",
                stream=self._stream_id,
                client=self._client_id,
                reason=reason,
            )
            self._end()
            self._response.abort()

    # IPushProducer, called by the transport; each may come twice and from inside a write

    def pauseProducing(self) -> None:
        """Note that the transport's buffer is full."""
        self._writer.paused()

    def resumeProducing(self) -> None:
        """Send on: the transport, or the socket, takes more."""
        self._writer.resumed()
        if self.state in _SENDING:
            self._drain()

    def stopProducing(self) -> None:
        """End: the player has closed its connection."""
        self._end()

    # draining

    def _drain(self) -> None:
        """Send until the live edge is reached or the socket is full."""
        try:
            while self._rest or self._load():
                taken = self._writer.send(self._rest)
                self._sent += taken
                self._rest = self._rest[taken:] if taken < len(self._rest) else b""
                self.blocked_since = None
                if self._rest:
                    break
        except BlockingIOError:
            pass
        except OSError as error:
            self.abort(f"send failed: {error}")
        if self.state not in _SENDING:
            return
        if self._rest:
            self._wait_for_socket()
        elif self.state is PumpState.FINISHING:
            self._finished()
        else:
            self._reach_edge()

    def _load(self) -> bool:
        """Load the next block to send.

        :return: False at the live edge.
        """
        if self.state is PumpState.FINISHING:
            self._rest = self._last_blocks.popleft() if self._last_blocks else b""
            return bool(self._rest)
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
        """Load the block that a new player would start with, because the next one has left the ring; or disconnect."""
        if self._evict_laggards:
            self.abort("too slow: its next block has left the buffer")
            return False
        ring = self._source.ring
        place = self._source.join()
        number = ring.first if place is None else place
        (log.debug if self.skips else log.info)(
            "client {client!r:.80} of stream {stream} too slow: skipped to block {n}",
            stream=self._stream_id,
            client=self._client_id,
            n=number,
        )
        self.skips += 1
        self._rest = self._source.opening(number) + ring[number].data
        self._next = number + 1
        return True

    def _wait_for_socket(self) -> None:
        """Wait until the socket takes more. The loaded block is kept, even if it leaves the ring: no packet is cut."""
        if self.blocked_since is None:
            self.blocked_since = self._clock.seconds()
        self._writer.wait()

    def _reach_edge(self) -> None:
        self.state = PumpState.EDGE
        self.blocked_since = None
        self._edge_from = self._source.ring.position
        self._source.caught_up(self)

    # the end

    def _finished(self) -> None:
        log.info(
            "client {client!r:.80} of stream {stream}: the programme has ended",
            stream=self._stream_id,
            client=self._client_id,
        )
        self._end()
        self._response.finish()

    def _end(self) -> None:
        if self.state is PumpState.GONE:
            return
        self._sent = self.bytes_sent
        self.state = PumpState.GONE
        self._start_timer.cancel()
        self._rest = b""
        self._last_blocks.clear()
        self._source.detach(self)
        self._closed()
