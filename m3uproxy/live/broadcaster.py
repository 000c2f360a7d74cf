"""The broadcaster: one source, one ring, many players.

The broadcaster is the sink of the session. It starts the session for the first player and stops it after the last one.
In between it appends blocks to the ring, and sends each block, as the same ``bytes`` object, to all players at the live
edge. The other players read the ring at their own pace (:mod:`m3uproxy.live.pump`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from ..core.ingest.detect import DetectingParser
from ..core.ingest.media_progress import MediaProgress
from ..core.ingest.parser import Chunk, Format
from ..core.ingest.ts_parser import PacketObserver
from ..core.mpegts.packets import has_packets_of, null_packet
from ..core.mpegts.packets import pid as pid_of
from ..core.mpegts.psi_tables import begins_with_tables
from ..core.programme import BodyNature
from ..core.ring import Block, Ring
from ..core.slots.viewer_identity import ViewerIdentity
from ..core.splice.plan import SpliceKind
from ..core.splice.splicer import SpliceReport
from ..errors import SourceError, StoredError
from ..interfaces import IBlockConsumer, IStreamSink
from ..log import make_logger
from .pump import Pump, PumpState
from .read_gate import ReadGate
from .session import LiveSession

log = make_logger()

#: Filler while no data come: null packets (ISO/IEC 13818-1, 2.4.1), as many as are usual in one datagram.
_NULLS = 7 * null_packet()
#: Seconds of media from which on their bitrate is known.
_MIN_MEASURED = 1.0
#: Seconds without a block after which filler is sent.
_BRIDGE = 1.0
#: Bytes of the sent media that a new source is compared with. During the comparison they are in memory twice.
MAX_OVERLAP_BYTES = 16 << 20
#: Splices with other codecs or another format. New players must start after them.
_INCOMPATIBLE = (SpliceKind.CODEC_CHANGE, SpliceKind.FORMAT_CHANGE)


@attrs.frozen
class JoinTiming:
    """
    Times in seconds.

    :ivar join_back: distance from the live edge at which a player starts.
    :ivar join_wait: time for which a player waits for a better random access point.
    :ivar linger: time for which the source stays open after the last player.
    :ivar stall: time after which a player that takes nothing is disconnected.
    :ivar pause: the same for a programme, which players may pause.
    """

    join_back: float = 3.0
    join_wait: float = 2.0
    linger: float = 0.0
    stall: float = 120.0
    pause: float = 14_400.0


@implementer(IStreamSink)
class Broadcaster:
    """Sends one stream to many players, and to the HLS muxer.

    :ivar ring: the last seconds of the stream.
    :ivar session: the provider side.
    """

    _close_error = StoredError()

    def __init__(
        self,
        clock: IReactorTime,
        ring: Ring,
        timing: JoinTiming,
        make_session: Callable[[IStreamSink], LiveSession],
        source_joined: Callable[[SpliceReport], None] = lambda _: None,
        carry_on: bool = False,
    ) -> None:
        """
        Make a broadcaster without players.

        :param make_session: returns the session that this sink belongs to.
        :param source_joined: called with the splice of each source before any of its bytes are sent. It disconnects
            players that cannot take other codecs.
        :param carry_on: whether some players can: then the new codecs are announced.
        """
        self._clock = clock
        self._timing = timing
        self._source_joined = source_joined
        self._carry_on = carry_on
        self._pumps: dict[Pump, None] = {}
        self._waiting: dict[Pump, None] = {}
        self._edge: dict[Pump, Callable[[bytes], int]] = {}
        self._muxer: IBlockConsumer | None = None
        self._senders: tuple[tuple[Pump, Callable[[bytes], int]], ...] | None = None
        self._linger_timer: IDelayedCall | None = None
        self._is_over = False
        self._first_block: int | None = None
        self._body_began = 0
        self.ring = ring
        self._gate = ReadGate(ring)
        self._parser = self._new_parser()
        self.session = make_session(self)

    @property
    def players(self) -> int:
        """Number of connected players."""
        return len(self._pumps)

    @property
    def waiting(self) -> bool:
        """True while a player or the muxer waits for its first block."""
        return bool(self._waiting) or (self._muxer is not None and self._muxer.waiting)

    @property
    def is_full(self) -> bool:
        """True if a programme must not be read now, because its players have enough to send."""
        if self._muxer is None and len(self._edge) == len(self._pumps):
            return False
        return self._gate.is_closed(self._pumps, self._muxer, self._clock.seconds())

    @property
    def media(self) -> float:
        """Seconds of media in the present body; 0 while unknown."""
        return self._gate.media

    @property
    def served(self) -> bool:
        """True if a player or the muxer has its first block."""
        has_muxed = self._muxer is not None and not self._muxer.waiting
        return has_muxed or len(self._waiting) < len(self._pumps)

    @property
    def format(self) -> Format | None:
        """Format of the sent stream; None if nothing was sent."""
        return self._parser.format

    @property
    def preamble(self) -> bytes:
        """Bytes that each player gets first, once."""
        return self._parser.preamble

    # players and muxer

    def attach(self, pump: Pump, viewer: ViewerIdentity | None = None) -> None:
        """
        Add a player. The first one starts the session, in the same reactor turn.

        :param viewer: identity of the player, whose own slot on another stream may be taken over.
        """
        if self._close_error is not None:
            pump.close(self._close_error)
            return
        self._cancel_linger()
        self._pumps[pump] = None
        self._waiting[pump] = None
        pump.try_to_start()
        self.session.start(viewer)

    def detach(self, pump: Pump) -> None:
        """Remove a player. After the last one the source is closed, at once or after the linger time."""
        self._waiting.pop(pump, None)
        self._remove_from_edge(pump)
        if self._pumps.pop(pump, self) is not self:
            self._close_if_unused()

    def attach_muxer(self, muxer: IBlockConsumer, viewer: ViewerIdentity | None = None) -> None:
        """Attach the muxer. It receives the blocks in the ring, then each new block."""
        if self._close_error is not None:
            muxer.stream_ended(self._close_error)
            return
        self._cancel_linger()
        self._muxer = muxer
        place = self.ring.join_point(self._clock.seconds(), math.inf, math.inf)
        for number in range(self.ring.next if place is None else place, self.ring.next):
            muxer.block_received(self.ring[number])
        self.session.start(viewer)

    def detach_muxer(self) -> None:
        """Detach the muxer. Safe to call if there is none."""
        muxer, self._muxer = self._muxer, None
        if muxer is not None:
            self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._pumps or self._muxer is not None:
            return
        if self._timing.linger and self.session.active:
            self._linger_timer = self._clock.callLater(self._timing.linger, self._close)
        else:
            self._close()

    def join(self) -> int | None:
        """
        Return the number of the block at which a new player starts; None if there is none yet.

        A body that begins with its tables and a random access point is played from its first byte on, a programme as
        long as the ring has it. Between the bursts of a source, the player gets all that lasts until the next burst.
        """
        ring, back, size_ahead = self.ring, self._timing.join_back, self._size_ahead()
        has_begin = ring.size > 0 and self._first_block == ring.first
        if has_begin and self._gate.is_programme:
            back, size_ahead = math.inf, 0
        place = ring.join_point(self._clock.seconds(), back, self._timing.join_wait, size_ahead)
        if place is None:
            return ring.first if self._is_over and ring.size else None
        return ring.first if has_begin and self._is_beginning(place) else place

    def opening(self, number: int) -> bytes:
        """Return the tables that a player gets before block ``number``, from which on it is sent the stream."""
        block = self.ring[number]
        if self.format is not Format.TS:
            return b"" if number == self._first_block and not block.access else block.psi
        begins = begins_with_tables(block.data, block.psi, may_follow=self._gate.is_programme)
        return b"" if begins else block.psi

    def _is_beginning(self, place: int) -> bool:
        """Return whether the body can be played from its first byte on, instead of block ``place``.

        It begins with its tables then, and its first picture begins block ``place``.
        """
        if self.format is not Format.TS:
            return self._gate.is_programme
        before, main = range(self.ring.first, place), pid_of(self.ring[place].data, 0)
        shows_pictures = any(has_packets_of(self.ring[number].data, main) for number in before)
        return not shows_pictures and not self.opening(self.ring.first)

    def _size_ahead(self) -> int:
        """Return the bytes before the live edge that a player needs if the source delivers in bursts; else 0."""
        # With one random access point, there is no choice of a place.
        ahead = self.session.ahead if self.ring.access_points > 1 else None
        seconds = 0.0 if ahead is None else self._parser.media.seconds
        if ahead is None or seconds < _MIN_MEASURED:
            return 0
        return int((ahead + self._timing.join_back) * (self.ring.position - self._body_began) / seconds)

    def started(self, pump: Pump) -> None:
        """Note that ``pump`` has its first block."""
        self._waiting.pop(pump, None)

    def caught_up(self, pump: Pump) -> None:
        """Send each new block to ``pump``, which is at the live edge."""
        self._edge[pump] = pump.send
        self._senders = None

    def abort_stalled(self) -> None:
        """Disconnect the players whose socket has taken nothing for the stall time."""
        now = self._clock.seconds()
        for pump in tuple(self._pumps):
            pausing = self._gate.is_programme or pump.state is PumpState.FINISHING
            limit = self._timing.pause if pausing else self._timing.stall
            if pump.blocked_since is not None and pump.blocked_since <= now - limit:
                pump.abort(f"took nothing for {limit:g} s")

    def bridge(self) -> None:
        """Send filler to the players at the live edge while no data come, so that they do not time out."""
        now = self._clock.seconds()
        if self.format is not Format.TS:
            return
        if self._edge and self.session.active and self.ring.silence(now) >= _BRIDGE:
            self._send_to_edge(self.ring.append_filler(_NULLS, now))

    def close(self, error: SourceError) -> Deferred[None]:
        """
        Disconnect all players and close the source, for good.

        :return: a Deferred that fires when the provider's socket has closed.
        """
        self._close_error = error
        self._close_pumps(error)
        return self._close()

    def reset(self, error: SourceError) -> None:
        """Disconnect all players and close the source now, without the linger time. New players are served again."""
        self._close_pumps(error, (PumpState.FINISHING,))
        self._close()

    # IStreamSink

    def source_changed(self, nature: BodyNature = BodyNature.LIVE) -> None:
        """Begin another body. If no player has started, clear the ring, so that none starts in the old body."""
        self._pass_on(self._parser.next_source(self._clock.seconds()))
        muxer_started = self._muxer is not None and not self._muxer.waiting
        if self.waiting and len(self._waiting) == len(self._pumps) and not muxer_started:
            self.ring.clear()
        self._gate.source_changed(nature)
        self._body_began = self.ring.position
        self._first_block = None if self.ring.size else self.ring.next

    def bytes_received(self, data: bytes) -> None:
        """Parse bytes of the body. While a player waits for its first block, flush at once."""
        self._pass_on(self._parser.feed(data, self._clock.seconds()))
        if self.waiting:
            self.flush()

    @property
    def progress(self) -> MediaProgress:
        """The media that the current body has brought, also those that were not sent."""
        return self._parser.media

    def flush(self) -> None:
        """Send the data that the parser holds back."""
        self._pass_on(self._parser.flush(self._clock.seconds()))

    def observe(self, observer: PacketObserver | None) -> None:
        """Show the packets of the body to ``observer``, as they came."""
        self._parser.observe(observer)

    def programme_ended(self, error: SourceError) -> None:
        """Send the rest of the programme, and end each player when it has all bytes. Later players start it anew."""
        self._cancel_linger()
        self._is_over = True
        for chunk in self._parser.finish(self._clock.seconds()):
            self._append(chunk)
        for pump in tuple(self._pumps):
            pump.finish(error)
        if self._muxer is not None:
            self._muxer.programme_ended()
        self._clear()

    def sources_exhausted(self, error: SourceError) -> None:
        """Disconnect all players: no source delivers. Players that have the rest of a programme keep it."""
        self._cancel_linger()
        self._close_pumps(error, (PumpState.FINISHING,))
        self._clear()

    # inside

    def _new_parser(self) -> DetectingParser:
        return DetectingParser(lambda: self.ring.tail(MAX_OVERLAP_BYTES), self._carry_on)

    def _pass_on(self, chunks: Iterable[Chunk]) -> None:
        for report in self._parser.take_reports():
            if report.kind in _INCOMPATIBLE:
                self.ring.clear()
            self._source_joined(report)
        self._publish(chunks)

    def _publish(self, chunks: Iterable[Chunk]) -> None:
        for chunk in chunks:
            if not self.session.active:
                # The last player was lost at the previous block, and the session is stopped.
                return
            self._append(chunk)

    def _append(self, chunk: Chunk) -> None:
        block = self.ring.append(chunk, self._clock.seconds())
        self._gate.block_received(block)
        self._send_to_edge(block)
        if self._muxer is not None:
            self._muxer.block_received(block)
        for pump in tuple(self._waiting):
            pump.try_to_start()

    def _send_to_edge(self, block: Block) -> None:
        """Send a block to all players at the edge. This is the hot loop: one ``send`` a player if it takes all."""
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
            self._remove_from_edge(pump)
            pump.fell_behind(block, self.ring.next - 1, taken)
            self._gate.player_fell_behind(self.ring.next)
        for pump, problem in lost:
            pump.failed(block, problem)

    def _remove_from_edge(self, pump: Pump) -> None:
        if self._edge.pop(pump, None) is not None:
            self._senders = None

    def _close_pumps(self, error: SourceError, spared: tuple[PumpState, ...] = ()) -> None:
        for pump in tuple(self._pumps):
            if pump.state not in spared:
                pump.close(error)
        if self._muxer is not None:
            self._muxer.stream_ended(error)

    def _close(self) -> Deferred[None]:
        self._cancel_linger()
        self._clear()
        return self.session.stop()

    def _clear(self) -> None:
        """Clear ring and parser: players that come later start with another body."""
        self._is_over = False
        self._parser = self._new_parser()
        self._first_block = None
        self.ring.clear()
        self._gate.source_changed(BodyNature.LIVE)

    def _cancel_linger(self) -> None:
        linger_timer, self._linger_timer = self._linger_timer, None
        if linger_timer is not None and linger_timer.active():
            linger_timer.cancel()
