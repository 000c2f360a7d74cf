"""A live transport stream, served as HLS.

HLS players come and go. To the broadcaster they are one viewer, the muxer, which receives every block and passes it to
the segmenter (:mod:`m3uproxy.core.hls.segmenter`). The muxer is attached from the first request of the first player
until no player has requested anything for some time. If no other player plays the stream, the source is therefore
opened for the first HLS player and closed after the last one.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import NoReturn
from urllib.parse import quote

from twisted.internet.defer import Deferred, succeed
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
from ..streams.context import StreamContext
from ..waiting import WaitingRequests
from .clients import HlsClient, HlsClients

#: Seconds of silence after which a client is removed.
LIFETIME = 3.0 * TARGET_DURATION
#: Seconds of segments that wait for the first client while a programme is not read.
_ENOUGH = 3.0 * TARGET_DURATION
#: Splices after which the timestamps do not continue: the next segment begins with EXT-X-DISCONTINUITY.
_DISCONTINUITIES = (SpliceKind.PLAIN, SpliceKind.CODEC_CHANGE)


@implementer(IBlockConsumer)
class HlsMuxer:
    """
    The segments of one live stream, and the clients that play them.

    :ivar hls_clients: the clients.
    """

    def __init__(self, context: StreamContext, stream: LiveStream) -> None:
        """Initialise a muxer that is attached at the first request."""
        settings = context.settings
        self._clock, self._wall = context.clock, context.wall
        self._stream = stream
        self._start_timeout = settings.start_timeout
        self._stall = settings.viewer_stall_timeout
        self.hls_clients = HlsClients(context.clock, context.wall, context.slots, stream.id, stream.touch)
        self._segmenter = Segmenter(settings.ring_bytes)
        self._waiting: WaitingRequests[None] = WaitingRequests()
        self._attached = self._started = False
        self._requested = -1
        # The time of day at second 0 of the clock. It is read once per attachment, so that the date of a segment
        # stays the same in all playlists.
        self._epoch = context.wall()

    # listings and API

    @property
    def bytes_served(self) -> int:
        """Bytes sent to all clients, removed ones included."""
        return self.hls_clients.bytes_served

    @property
    def segments_served(self) -> int:
        """Segments sent to all clients, removed ones included."""
        return self.hls_clients.segments_served

    def clients(self) -> list[HlsClient]:
        """Return the clients, oldest first."""
        return self.hls_clients.all()

    def abort_client(self, client_id: str) -> int:
        """
        Remove a client and abort its responses.

        :return: the number of clients of that name, 0 or 1.
        """
        client = self.hls_clients.get(client_id)
        if client is None:
            return 0
        self.hls_clients.remove(client)
        self._detach_if_unused()
        return 1

    def run_housekeeping(self) -> None:
        """Remove the clients that have been silent for too long. After the last one, detach from the broadcaster."""
        for client in self.hls_clients.silent(LIFETIME):
            self.hls_clients.remove(client)
        self._detach_if_unused()

    # memory

    def size_before(self, position: int) -> int:
        """Return the bytes that the segments hold of the stream before a position."""
        return self._segmenter.size_before(position)

    def set_share(self, share: int) -> None:
        """Limit the memory of the segments."""
        self._segmenter.set_share(share)

    # IBlockConsumer

    @property
    def waiting(self) -> bool:
        """True until a block with a random access point has come: no segment can begin before."""
        return not self._started

    @property
    def is_full(self) -> bool:
        """True if three target durations wait to be requested: players begin so far before the end (section 6.3.3)."""
        return self._segmenter.seconds_after(self._requested) >= _ENOUGH

    def block_received(self, block: Block) -> None:
        """Pass the next block of the stream to the segmenter. The players that wait get the first segment."""
        if not self._attached:
            return
        if self._stream.broadcaster.format is not Format.TS:
            self.stream_ended(SourceError(Reason.NOT_TRANSPORT_STREAM, "only transport streams are served as HLS"))
            return
        self._started = self._started or block.access
        self._segmenter.feed(block)
        if self._segmenter.has_segments:
            self._waiting.succeed(None)

    def source_joined(self, report: SpliceReport) -> None:
        """Begin a new part of the playlist if the new source does not continue the old one."""
        if report.kind is SpliceKind.FORMAT_CHANGE:
            self.stream_ended(SourceError(Reason.FORMAT, ", ".join(report.changed)))
        elif report.kind in _DISCONTINUITIES:
            self._segmenter.discontinue()

    def programme_ended(self) -> None:
        """
        End the playlist. Clients fetch the last segments, and new ones find the same playlist until all have left.

        Clients without a segment fail.
        """
        self._segmenter.finish()
        if not self._segmenter.has_segments:
            self.stream_ended(SourceError(Reason.PROGRAMME_ENDED))
            return
        self._waiting.succeed(None)
        self._attached = False
        self._stream.broadcaster.detach_muxer()

    def stream_ended(self, error: SourceError) -> None:
        """Fail the requests that wait for a segment, and remove all clients: there will be no more blocks."""
        self._waiting.fail(error)
        for client in self.clients():
            self.hls_clients.remove(client)
        self._detach_if_unused()

    # requests of players

    def playlist(self, client: HlsClient) -> Deferred[bytes]:
        """
        Return the playlist for a client, as soon as there is a segment. The first request attaches the muxer.

        :return: a Deferred that fails with :class:`SourceError` if no segment comes in time; it may be cancelled.
        """
        waited = self.hls_clients.wait_for(client, self._first_segment())
        response = waited.addCallback(lambda _: self._render_playlist(client))
        if not self._attached and not self._segmenter.is_over:
            self._attached = True
            self._epoch = self._wall() - timedelta(seconds=self._clock.seconds())
            self._stream.broadcaster.attach_muxer(self, client.player.viewer)
        return response

    def segment(self, number: int) -> LiveSegment | None:
        """Return a segment by its number, or None if there is no such segment (any more)."""
        return self._segmenter.segment(number)

    def send(
        self, segment: LiveSegment, client: HlsClient, write: Callable[[bytes], None], abort: Callable[[], None]
    ) -> MemoryProducer:
        """
        Return a producer that sends a segment to a client; the caller starts it.

        :param write: takes a piece of the segment.
        :param abort: aborts the response if the client is removed.
        """
        clients = self.hls_clients

        def written(data: bytes) -> None:
            client.bytes_served += len(data)
            clients.bytes_served += len(data)
            write(data)

        clients.segment_started(client)
        self._requested = max(self._requested, segment.number)
        return clients.send(client, segment.buffers, self._stall, written, abort)

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
        return self._waiting.wait().addTimeout(self._start_timeout, self._clock, onTimeoutCancel=self._timed_out)

    def _timed_out(self, result: object, seconds: float) -> NoReturn:
        error = self._stream.broadcaster.session.error
        raise error or SourceError(Reason.FIRST_BYTE_TIMEOUT, f"no segment within {seconds:g} s (START_TIMEOUT)")

    def _detach_if_unused(self) -> None:
        if (self._attached or self._segmenter.is_over) and not len(self.hls_clients):
            self._waiting.fail(SourceError(Reason.UNUSED, "the player was disconnected"))
            self._attached = self._started = False
            self._segmenter.reset()
            self._stream.broadcaster.detach_muxer()


def muxer_of(stream: LiveStream) -> HlsMuxer:
    """Return the muxer that a live stream was created with."""
    muxer = stream.muxer
    assert isinstance(muxer, HlsMuxer)
    return muxer
