"""Those who play a live transport stream as HLS.

Players of HLS come and go; together they are one viewer of the stream, who takes every block and has it cut
(:mod:`m3uproxy.core.hls.segmenter`). It is there from the first player's first request until no player has asked for
anything for a while. So with nobody else watching the source is opened for the first of them, and closed behind the
last.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from urllib.parse import quote

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from ..core.hls.segmenter import TARGET_DURATION, LiveSegment, Segmenter
from ..core.ingest.parser import Format
from ..core.ring import Block
from ..core.splice.plan import SpliceKind
from ..core.splice.splicer import SpliceReport
from ..downstream.memory_producer import MemoryProducer
from ..errors import Reason, SourceError
from ..interfaces import IBlockConsumer
from ..live.stream import LiveStream
from ..log import make_logger
from ..settings import Settings
from ..streams.player import PlayerInfo
from ..upstream.slots import SlotAllocator
from .clients import HlsClient, HlsClients

log = make_logger()

#: Characters of a name that a player brings. It stands in every line of its playlists.
_LONGEST_NAME = 256
#: Seconds for which a silent player still counts.
LIFETIME = 3.0 * TARGET_DURATION
#: A source that was joined like this does not go on from what was sent.
_DISCONTINUITIES = (SpliceKind.PLAIN, SpliceKind.CODEC_CHANGE)


@implementer(IBlockConsumer)
class HlsMuxer:
    """The players of one live stream that play it as HLS."""

    def __init__(
        self,
        clock: IReactorTime,
        wall: Callable[[], datetime],
        stream: LiveStream,
        slots: SlotAllocator,
        settings: Settings,
    ) -> None:
        """Nobody plays yet."""
        self._clock = clock
        self._wall = wall
        self._stream = stream
        self._start_timeout = settings.start_timeout
        self._stall = settings.viewer_stall_timeout
        self.hls_clients = HlsClients(clock, wall, slots, stream.id)
        self._segmenter = Segmenter(settings.ring_bytes)
        self._waiting: dict[Deferred[None], IDelayedCall] = {}
        self._attached = self._started = False
        # The time of day at the beginning of the clock, asked once: a segment's date stays what it was.
        self._epoch = wall()
        self.bytes_served = self.segments_served = 0

    # what listings show, and what the API does

    def clients(self) -> list[HlsClient]:
        """Who plays, oldest first."""
        return self.hls_clients.all()

    def abort_client(self, client_id: str) -> int:
        """Forget a player and end what it is being sent.

        :return: how many there were of that name.
        """
        client = self.hls_clients.get(client_id)
        if client is None:
            return 0
        self._gone(client)
        self._detach_if_unused()
        return 1

    def run_housekeeping(self) -> None:
        """Let go of players that have been silent for too long, and behind the last of them of the stream."""
        for client in self.hls_clients.silent(LIFETIME):
            self._gone(client)
        self._detach_if_unused()

    # the broadcaster's viewer

    @property
    def waiting(self) -> bool:
        """No segment could be begun yet."""
        return not self._started

    def block_received(self, block: Block) -> None:
        """The next block of the stream."""
        if not self._attached:
            return
        if self._stream.broadcaster.format is not Format.TS:
            self.stream_ended(SourceError(Reason.NOT_TRANSPORT_STREAM, "nothing else is made into HLS"))
            return
        self._started = self._started or block.access
        self._segmenter.feed(block)
        if self._segmenter.has_segments:
            self._fire_waiting(None)

    def source_joined(self, report: SpliceReport) -> None:
        """A source follows another."""
        if report.kind is SpliceKind.FORMAT_CHANGE:
            self.stream_ended(SourceError(Reason.FORMAT, ", ".join(report.changed)))
        elif report.kind in _DISCONTINUITIES:
            self._segmenter.discontinue()

    def stream_ended(self, error: SourceError) -> None:
        """There will be no more blocks: who waits is told why, and nobody plays any more."""
        self._fire_waiting(error)
        for client in self.clients():
            self._gone(client)
        self._detach_if_unused()

    # what players ask for

    def name_of(self, player: PlayerInfo) -> str:
        """The name of a player, that it brought or that is made for it. Two that look the same are one."""
        brought = player.client_id or ""
        return brought if 0 < len(brought) <= _LONGEST_NAME else player.computed_id(self._stream.id)

    def known(self, player: PlayerInfo) -> HlsClient | None:
        """Who a player is, if it counts already."""
        return self.hls_clients.get(self.name_of(player))

    def client(self, player: PlayerInfo) -> HlsClient:
        """Who asks; it counts from now on."""
        name, known = self.name_of(player), self.known(player)
        client = self.hls_clients.register(name, player)
        self._stream.touch()
        if known is None:
            log.info("client {client!r:.80} plays stream {stream} as HLS", client=name, stream=self._stream.id)
        return client

    def playlist(self, client: HlsClient) -> Deferred[bytes]:
        """The playlist for a player, as soon as there is a segment.

        :return: a Deferred that fails with :class:`SourceError` if none comes in time; it may be cancelled.
        """

        def waits() -> None:
            """Nothing to end: it is answered in any case."""

        def answered(result: Failure | None) -> Failure | None:
            self.ends(client, waits)
            return result

        client.open_responses[waits] = None
        asked = self._first_segment().addBoth(answered).addCallback(lambda _: self._render_playlist(client))
        if not self._attached:
            self._attached = True
            self._epoch = self._wall() - timedelta(seconds=self._clock.seconds())
            self._stream.broadcaster.attach_muxer(self, client.player.viewer)
        return asked

    def segment(self, number: int) -> LiveSegment | None:
        """A segment, as long as it is kept."""
        return self._segmenter.segment(number)

    def send(
        self, segment: LiveSegment, client: HlsClient, write: Callable[[bytes], None], abort: Callable[[], None]
    ) -> MemoryProducer:
        """Hand a segment on to a player; start what is returned, and pause and resume it.

        :param abort: ends that, if the player has to go.
        """

        def written(data: bytes) -> None:
            client.bytes_served += len(data)
            self.bytes_served += len(data)
            write(data)

        def ended(complete: bool) -> bool:
            self.ends(client, abort)
            return complete

        client.open_responses[abort] = None
        client.segments_served += 1
        self.segments_served += 1
        producer = MemoryProducer(self._clock, segment.buffers, self._stall, written)
        producer.ended.addCallback(ended)
        return producer

    def ends(self, client: HlsClient, answer: Callable[[], None]) -> None:
        """It has its answer, or will not have it: its silence begins."""
        client.open_responses.pop(answer, None)
        client.active_at = self._clock.seconds()

    # inside

    def _render_playlist(self, client: HlsClient) -> bytes:
        name = quote(client.client_id, safe="")
        text = self._segmenter.playlist(
            lambda number: f"segment.ts?url={number}&client_id={name}",
            lambda moment: self._epoch + timedelta(seconds=moment),
        )
        return text.encode("ascii")

    def _first_segment(self) -> Deferred[None]:
        if self._segmenter.has_segments:
            return succeed(None)

        def cancelled(asked: Deferred[None]) -> None:
            self._waiting.pop(asked).cancel()

        def timed_out() -> None:
            del self._waiting[asked]
            error = self._stream.broadcaster.session.error
            asked.errback(error or SourceError(Reason.FIRST_BYTE_TIMEOUT, "nothing to send in time"))

        asked: Deferred[None] = Deferred(cancelled)
        self._waiting[asked] = self._clock.callLater(self._start_timeout, timed_out)
        return asked

    def _fire_waiting(self, error: SourceError | None) -> None:
        waiting, self._waiting = self._waiting, {}
        for asked, timer in waiting.items():
            timer.cancel()
            if error is None:
                asked.callback(None)
            else:
                asked.errback(error)

    def _gone(self, client: HlsClient) -> None:
        self.hls_clients.remove(client)
        self._stream.touch()
        log.info(
            "client {client!r:.80} left stream {stream} after {size} bytes",
            client=client.client_id,
            stream=self._stream.id,
            size=client.bytes_served,
        )

    def _detach_if_unused(self) -> None:
        if self._attached and not len(self.hls_clients):
            self._fire_waiting(SourceError(Reason.ENDED, "the player was disconnected"))
            self._attached = self._started = False
            self._segmenter.reset()
            self._stream.broadcaster.detach_muxer()


def muxer_of(stream: LiveStream) -> HlsMuxer:
    """Return the muxer that the stream was made with."""
    muxer = stream.muxer
    assert isinstance(muxer, HlsMuxer)
    return muxer
