"""One source, one ring, many viewers.

The broadcaster is the session's sink. It opens the session for the first viewer and closes it behind the last;
between the two it appends blocks to the ring and sends each, as the same ``bytes`` object, to every viewer at the
live edge. Viewers that are not there look after themselves (:mod:`m3uproxy.live.pump`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from ..core.ingest.detect import DetectingParser
from ..core.ingest.parser import Chunk, Format
from ..core.ingest.ts_parser import PacketObserver
from ..core.mpegts.packets import null_packet
from ..core.ring import Block, Ring
from ..core.slots.viewer_identity import ViewerIdentity
from ..core.splice.plan import SpliceKind
from ..core.splice.splicer import SpliceReport
from ..errors import SourceError
from ..interfaces import IBlockConsumer, IStreamSink
from ..log import make_logger
from .pump import Pump
from .session import LiveSession

log = make_logger()

#: What is sent where nothing comes: null packets (ISO/IEC 13818-1, 2.4.1) as many as are usual in one datagram.
_NULLS = 7 * null_packet()
#: Seconds without a block after which that begins.
_BRIDGE = 1.0
#: Bytes of what was sent that a new source is compared with: it is held twice while that lasts.
LONGEST_OVERLAP = 16 << 20
#: What cannot be joined to what was sent: nobody who joins may begin before it.
_ANEW = (SpliceKind.CODEC_CHANGE, SpliceKind.FORMAT_CHANGE)


@attrs.frozen
class JoinTiming:
    """Seconds: how far back a viewer joins, how long to wait for a random access point, how long to linger."""

    join_back: float = 3.0
    join_wait: float = 2.0
    linger: float = 0.0
    stall: float = 120.0


@implementer(IStreamSink)
class Broadcaster:
    """Shares one stream among its viewers."""

    def __init__(
        self,
        clock: IReactorTime,
        ring: Ring,
        timing: JoinTiming,
        open_session: Callable[[IStreamSink], LiveSession],
        joined: Callable[[SpliceReport], None] = lambda _: None,
        carry_on: bool = False,
    ) -> None:
        """
        Make a broadcaster that nobody watches yet.

        :param joined: is told how each source was joined to what was sent, before anything of it is sent. If it has
            other codecs, ends those viewers that cannot take that.
        :param carry_on: whether there may be others: the new codecs are announced to them.
        """
        self._clock = clock
        self._timing = timing
        self._joined = joined
        self._carry_on = carry_on
        self._viewers: dict[Pump, None] = {}
        self._waiting: dict[Pump, None] = {}
        self._edge: dict[Pump, Callable[[bytes], int]] = {}
        self._muxer: IBlockConsumer | None = None
        self._senders: tuple[tuple[Pump, Callable[[bytes], int]], ...] | None = None
        self._lingering: IDelayedCall | None = None
        self._ended: SourceError | None = None
        self.ring = ring
        self._intake = self._new_intake()
        self.session = open_session(self)

    @property
    def viewers(self) -> int:
        """How many players are connected."""
        return len(self._viewers)

    @property
    def waiting(self) -> bool:
        """A viewer has not had its first block."""
        return bool(self._waiting) or (self._muxer is not None and self._muxer.waiting)

    @property
    def format(self) -> Format | None:
        """Of what is sent; None if nothing was."""
        return self._intake.format

    @property
    def preamble(self) -> bytes:
        """What a viewer is sent first, whatever it begins with."""
        return self._intake.preamble

    # viewers

    def attach(self, pump: Pump, viewer: ViewerIdentity | None = None) -> None:
        """A player arrived. The first one opens the source, in this very turn; ``viewer`` is who that is."""
        if self._ended is not None:
            pump.close(self._ended)
            return
        self._stop_lingering()
        self._viewers[pump] = None
        self._waiting[pump] = None
        pump.try_to_start()
        self.session.start(viewer)

    def detach(self, pump: Pump) -> None:
        """A player left. Behind the last one the source is closed, now or after lingering."""
        self._waiting.pop(pump, None)
        self._leaves_edge(pump)
        if self._viewers.pop(pump, self) is not self:
            self._close_behind_the_last()

    def attach_muxer(self, muxer: IBlockConsumer, viewer: ViewerIdentity | None = None) -> None:
        """Attach the muxer. It receives the blocks in the ring, then each new block."""
        if self._ended is not None:
            muxer.stream_ended(self._ended)
            return
        self._stop_lingering()
        self._muxer = muxer
        place = self.ring.join_point(self._clock.seconds(), math.inf, math.inf)
        for number in range(self.ring.next if place is None else place, self.ring.next):
            muxer.block_received(self.ring[number])
        self.session.start(viewer)

    def detach_muxer(self) -> None:
        """The muxer left. Harmless if there is none."""
        muxer, self._muxer = self._muxer, None
        if muxer is not None:
            self._close_behind_the_last()

    def _close_behind_the_last(self) -> None:
        if self._viewers or self._muxer is not None:
            return
        if self._timing.linger and self.session.active:
            self._lingering = self._clock.callLater(self._timing.linger, self._close)
        else:
            self._close()

    def join(self) -> int | None:
        """Where a viewer that arrives now starts, None while there is no good place."""
        return self.ring.join_point(self._clock.seconds(), self._timing.join_back, self._timing.join_wait)

    def started(self, pump: Pump) -> None:
        """``pump`` has its first block."""
        self._waiting.pop(pump, None)

    def caught_up(self, pump: Pump) -> None:
        """``pump`` takes part in each flush from now on."""
        self._edge[pump] = pump.send
        self._senders = None

    def abort_stalled(self) -> None:
        """Disconnect the viewers whose socket has taken nothing for too long."""
        limit = self._clock.seconds() - self._timing.stall
        for pump in tuple(self._viewers):
            if pump.blocked_since is not None and pump.blocked_since <= limit:
                pump.abort(f"took nothing for {self._timing.stall:g} s")

    def bridge(self) -> None:
        """Nothing comes, but will: keep the players that read at the live edge from giving up."""
        now = self._clock.seconds()
        if self.format is not Format.TS:
            return
        if self._edge and self.session.active and self.ring.silence(now) >= _BRIDGE:
            self._send_to_edge(self.ring.append_filler(_NULLS, now))

    def close(self, error: SourceError) -> Deferred[None]:
        """Disconnect all viewers and close the source, for good.

        :return: fires when the provider's socket is gone.
        """
        self._ended = error
        self._end_viewers(error)
        return self._close()

    def reset(self, error: SourceError) -> None:
        """Disconnect all viewers and close the source now, without lingering. Who comes then is served again."""
        self._end_viewers(error)
        self._close()

    # IStreamSink

    def source_changed(self) -> None:
        """Another body begins. As long as nobody has begun, what the last one left is no place to begin at."""
        self._take(self._intake.next_source(self._clock.seconds()))
        begun = self._muxer is not None and not self._muxer.waiting
        if self.waiting and len(self._waiting) == len(self._viewers) and not begun:
            self.ring.clear()

    def bytes_received(self, data: bytes) -> None:
        """Bytes of the body. While a viewer waits for its first block nothing waits for more."""
        self._take(self._intake.feed(data, self._clock.seconds()))
        if self.waiting:
            self.flush()

    def flush(self) -> int:
        """Send what waits for more."""
        self._take(self._intake.flush(self._clock.seconds()))
        return self._intake.packets

    def observe(self, observer: PacketObserver | None) -> None:
        """Show the packets of the body to ``observer``, as they came."""
        self._intake.observe(observer)

    def sources_exhausted(self, error: SourceError) -> None:
        """No source delivers: nothing more will come."""
        self._stop_lingering()
        self._end_viewers(error)
        self._forget()

    # inside

    def _new_intake(self) -> DetectingParser:
        return DetectingParser(lambda: self.ring.tail(LONGEST_OVERLAP), self._carry_on)

    def _take(self, cuts: Iterable[Chunk]) -> None:
        for report in self._intake.take_reports():
            if report.kind in _ANEW:
                self.ring.clear()
            self._joined(report)
        self._publish(cuts)

    def _publish(self, cuts: Iterable[Chunk]) -> None:
        for cut in cuts:
            if not self.session.active:
                # The last viewer was lost on the block before: this one belongs to nobody.
                return
            block = self.ring.append(cut, self._clock.seconds())
            self._send_to_edge(block)
            if self._muxer is not None:
                self._muxer.block_received(block)
            for pump in tuple(self._waiting):
                pump.try_to_start()

    def _send_to_edge(self, block: Block) -> None:
        """The hot loop: one ``send`` for each viewer at the edge, and nothing else for those that took all."""
        data, size = block.data, len(block.data)
        late: list[tuple[Pump, int]] = []
        lost: list[tuple[Pump, OSError]] = []
        if self._senders is None:
            self._senders = tuple(self._edge.items())
        for pump, send in self._senders:
            try:
                taken = send(data)
            except BlockingIOError:
                taken = 0
            except OSError as error:
                lost.append((pump, error))
                continue
            if taken != size:
                late.append((pump, taken))
        for pump, taken in late:
            self._leaves_edge(pump)
            pump.fell_behind(block, self.ring.next - 1, taken)
        for pump, problem in lost:
            pump.failed(block, problem)

    def _leaves_edge(self, pump: Pump) -> None:
        if self._edge.pop(pump, None) is not None:
            self._senders = None

    def _end_viewers(self, error: SourceError) -> None:
        for pump in tuple(self._viewers):
            pump.close(error)
        if self._muxer is not None:
            self._muxer.stream_ended(error)

    def _close(self) -> Deferred[None]:
        self._stop_lingering()
        self._forget()
        return self.session.stop()

    def _forget(self) -> None:
        """What the ring holds is of no use to anybody who comes later."""
        self._intake = self._new_intake()
        self.ring.clear()

    def _stop_lingering(self) -> None:
        lingering, self._lingering = self._lingering, None
        if lingering is not None and lingering.active():
            lingering.cancel()
