"""``/hls/<id>/…`` of a live transport stream: the playlist and the segments of its muxer."""

# mypy: allow-untyped-calls

from __future__ import annotations

from twisted.web.server import NOT_DONE_YET, Request

from ...core.hls.segmenter import LiveSegment
from ...hls.clients import HlsClient
from ...hls.muxer import HlsMuxer, muxer_of
from ...live.stream import LiveStream
from ...settings import Settings
from ..responses import HTTPError, query_value
from .hls_page import HlsPage, check_query, playlist_body, send_from_memory


class _MuxerPage(HlsPage):
    """A page of a live stream that is segmented by its muxer."""

    def _stream(self, request: Request) -> LiveStream:
        entry = self._served_entry = self._registry.get(self._id)
        self._check_signature(request, muxer_of(entry).hls_clients if isinstance(entry, LiveStream) else None)
        if not isinstance(entry, LiveStream):
            raise HTTPError(404, "Stream not found.")
        return entry

    def _client(self, request: Request, stream: LiveStream) -> HlsClient:
        return self._register(request, stream, muxer_of(stream).hls_clients)


class MuxerPlaylistResource(_MuxerPage):
    """``playlist.m3u8``. The first request starts the source, and is answered when there is a segment."""

    async def _get(self, request: Request) -> bytes:
        stream = self._stream(request)
        return playlist_body(request, await muxer_of(stream).playlist(self._client(request, stream)))


class MuxerSegmentResource(_MuxerPage):
    """``segment.ts``, with the number of the segment as ``url``."""

    async def _get(self, request: Request) -> bytes | int:
        check_query(request)
        stream = self._stream(request)
        number = query_value(request, b"url") or ""
        is_number = number.isascii() and number.isdigit() and len(number) < 19
        segment = muxer_of(stream).segment(int(number)) if is_number else None
        if segment is None:
            raise HTTPError(404, "There is no such segment; it may have expired.")
        client = self._client(request, stream)
        _write_head(request, segment)
        if request.method == b"HEAD":
            return b""
        _send(request, muxer_of(stream), client, segment, self._settings)
        return NOT_DONE_YET


def _write_head(request: Request, segment: LiveSegment) -> None:
    request.setHeader(b"Content-Type", b"video/mp2t")
    request.setHeader(b"Content-Length", b"%d" % segment.size)
    request.setHeader(b"Accept-Ranges", b"none")
    request.setHeader(b"Cache-Control", b"no-cache")


def _send(request: Request, muxer: HlsMuxer, client: HlsClient, segment: LiveSegment, settings: Settings) -> None:
    send_from_memory(request, settings, lambda write, abort: muxer.send(segment, client, write, abort))
