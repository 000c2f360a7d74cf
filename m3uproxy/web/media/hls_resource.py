"""``/hls/<id>/…``: playlists, and the resources that playlists refer to.

URLs in playlists are replaced by tokens (:mod:`m3uproxy.core.hls.url_tokens`). A request without a valid token is
refused. So players can only fetch resources that a playlist of the stream refers to.
"""

# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from ...core.body_kind import KindMismatch
from ...core.hls.delivery_directives import DeliveryDirectives
from ...core.hls.json_manifests import REWRITERS
from ...core.hls.playlist import begins_playlist
from ...core.hls.playlist_continuity import STALL_TARGET_DURATIONS
from ...core.hls.resource_types import media_type
from ...core.hls.uri_rewriter import ResourceKind
from ...core.hls.url_tokens import BadToken, TokenTarget
from ...core.http.byte_ranges import parse_single_range
from ...downstream.response_writer import ResponseWriter
from ...errors import Reason, SourceError
from ...hls.clients import HlsClient
from ...hls.download import ERROR_STATUSES
from ...hls.fetched_resource import FetchedResource
from ...hls.served_playlist import MAX_TARGET_DURATION, PlaylistCopy
from ...hls.stream import HlsStream
from ...hls.variant_map import NoSuchRendition, RenditionFailed
from ...live.stream import LiveStream
from ...registry import Registry
from ...settings import Settings
from ...streams.base import Stream
from ...vod.stream import VodStream
from ..access.own_url import path_prefix
from ..responses import HTTPError, query_value
from .hls_page import PLAYLIST, HlsPage, check_query, playlist_body, send_from_memory
from .media_resource import MediaResource, header
from .muxer_resource import MuxerPlaylistResource, MuxerSegmentResource
from .signed_urls import SignedUrls

_JSON = "application/json"
#: Playlists up to this size (bytes) are compressed and written at once. Larger ones are sent at the player's pace,
#: uncompressed: compression would take longer than it saves, and a paused player's connection would hold it all.
_SMALL_PLAYLIST = 65_536


class HlsResource(Resource):
    """The parent of all HLS pages, each below the id of its stream."""

    def __init__(self, registry: Registry, settings: Settings, signed_urls: SignedUrls | None = None) -> None:
        """
        Serve the streams of a registry.

        :param signed_urls: checks player URLs; None if they need no signature.
        """
        super().__init__()
        self._page_args = (registry, settings, signed_urls)

    def getChild(self, path: bytes, request: Request) -> Resource:
        """Return the page of a stream. For an unknown id its rendering answers 404."""
        return self._page(path.decode("ascii", "replace"), request.postpath == [b"playlist.m3u8"])

    def _page(self, name: str, is_playlist: bool) -> MediaResource:
        find_page = partial(self._page, name, is_playlist)
        if isinstance(self._page_args[0].get(name), LiveStream):
            return (MuxerPlaylistResource if is_playlist else MuxerSegmentResource)(*self._page_args, name, find_page)
        return (PlaylistResource if is_playlist else SegmentResource)(*self._page_args, name, find_page)


class _ProxiedPage(HlsPage):
    """A page of a stream whose source is HLS."""

    def _checked_stream(self, request: Request) -> HlsStream:
        entry = self._served_entry = self._registry.get(self._id)
        self._check_signature(request, entry.hls_clients if isinstance(entry, HlsStream) else None)
        return self._stream(request)

    def _stream(self, request: Request) -> HlsStream:
        entry = self._registry.get(self._id)
        if entry is None:
            raise HTTPError(404, "Stream not found.")
        if not isinstance(entry, HlsStream):
            raise self._file_error(request, entry)
        return entry

    def _file_error(self, request: Request, entry: Stream) -> HTTPError | KindMismatch:
        """
        Return the answer for a stream that is a file: a redirect to the file, which players recognise by its bytes.

        A file that may be a transport stream is dialled as a live stream, which can be cut into segments.
        """
        detail = "This stream is a file, which is not available as HLS. Play /stream/{id}."
        if request.path.rpartition(b"/")[2] != b"playlist.m3u8" or query_value(request, b"url"):
            return HTTPError(501, detail)
        if isinstance(entry, VodStream) and entry.may_be_segmented and not entry.has_served:
            return KindMismatch(Reason.OTHER_KIND, "a player asks for a playlist", url=entry.current_url)
        _, mark, query = request.uri.partition(b"?")
        return HTTPError(307, detail, {"Location": f"../../stream/{self._id}" + (mark + query).decode("latin-1")})

    def _target(self, request: Request) -> TokenTarget | None:
        """
        Return the requested resource; None for the stream's own playlist.

        :raises HTTPError: 403 if the token is not of this stream.
        """
        token = query_value(request, b"url")
        if not token:
            return None
        stream = self._stream(request)
        if token in stream.spec.sources:
            return None
        try:
            return stream.target(token)
        except BadToken:
            raise HTTPError(403, "This is not a URL of this stream.") from None

    def _client(self, request: Request, stream: HlsStream) -> HlsClient:
        return self._register(request, stream, stream.hls_clients)

    async def _playlist(
        self, request: Request, stream: HlsStream, target: TokenTarget | None, client: HlsClient
    ) -> bytes | int:
        prefix = path_prefix(request, self._settings)
        try:
            copy = await stream.playlist(target, _directives(request), client, prefix)
        except NoSuchRendition:
            raise HTTPError(404, "The source in use has no such rendition.") from None
        except RenditionFailed as failed:
            raise self._own_error(failed.error) from None
        return _send_playlist(request, stream, client, copy, self._settings)

    def _own_error(self, error: SourceError) -> HTTPError:
        """Return the error for the failure of one playlist: the status of the provider, if it sent one."""
        if error.status is None or error.status not in ERROR_STATUSES:
            return self._refusal(error)
        return HTTPError(error.status, f"The provider answers {error.status}.")

    async def _resource(
        self, request: Request, stream: HlsStream, target: TokenTarget, client: HlsClient
    ) -> bytes | int:
        """Send a segment, or an advertisement, which is a playlist if it begins like one."""
        resource = await stream.resource(target, parse_single_range(header(request, b"range")), client)
        with closing(resource):
            _check_status(resource)
            if target.kind is not ResourceKind.ASSET or not begins_playlist(resource.first_bytes):
                return _send(request, stream, client, target, resource, self._settings)
        return await self._playlist(request, stream, target, client)

    async def _manifest(self, request: Request, stream: HlsStream, target: TokenTarget, client: HlsClient) -> bytes:
        """Send a JSON manifest."""
        resource = await stream.resource(target, None, client)
        with closing(resource):
            _check_status(resource)
            prefix = path_prefix(request, self._settings)
            return playlist_body(request, await stream.manifest(resource, target, client, prefix), _JSON)


class PlaylistResource(_ProxiedPage):
    """``playlist.m3u8``: the stream's own playlist, or one that it refers to."""

    longest_wait = STALL_TARGET_DURATIONS * MAX_TARGET_DURATION

    async def _get(self, request: Request) -> bytes | int:
        stream, target = self._checked_stream(request), self._target(request)
        if target is not None and target.kind not in (ResourceKind.PLAYLIST, ResourceKind.ASSET):
            raise HTTPError(403, "This is not a playlist of this stream.")
        client = self._client(request, stream)
        if target is not None and target.kind is ResourceKind.ASSET:
            return await self._resource(request, stream, target, client)
        return await self._playlist(request, stream, target, client)


class SegmentResource(_ProxiedPage):
    """``segment.ts``: any other resource that a playlist refers to."""

    async def _get(self, request: Request) -> bytes | int:
        check_query(request)
        stream, target = self._checked_stream(request), self._target(request)
        if target is None or target.kind is ResourceKind.PLAYLIST:
            raise HTTPError(403, "This is not a segment of this stream.")
        client = self._client(request, stream)
        if target.kind in REWRITERS:
            return await self._manifest(request, stream, target, client)
        return await self._resource(request, stream, target, client)


def _directives(request: Request) -> DeliveryDirectives:
    """Return the delivery directives of a request (RFC 8216bis section 6.2.5.2). Invalid numbers are ignored."""
    values = [query_value(request, name) or "" for name in (b"_HLS_msn", b"_HLS_part")]
    sequence, part = (
        int(value) if value.isascii() and value.isdigit() and len(value) < 19 else None for value in values
    )
    return DeliveryDirectives(sequence, part if sequence is not None else None)


def _send_playlist(
    request: Request, stream: HlsStream, client: HlsClient, copy: PlaylistCopy, settings: Settings
) -> bytes | int:
    """Send a playlist, at once or at the player's pace."""
    if copy.size <= _SMALL_PLAYLIST:
        return playlist_body(request, copy.read())
    request.setHeader(b"Content-Type", PLAYLIST.encode())
    request.setHeader(b"Content-Length", b"%d" % copy.size)
    request.setHeader(b"Cache-Control", b"no-cache")
    if request.method == b"HEAD":
        return b""
    send_from_memory(request, settings, lambda write, abort: stream.send(copy, client, write, abort))
    return NOT_DONE_YET


def _check_status(resource: FetchedResource) -> None:
    """
    Pass on an error of the provider, with its Retry-After.

    :raises HTTPError: if there was one.
    """
    if resource.status >= 400 and resource.status != 416:
        later = resource.headers.get("Retry-After")
        headers = {} if later is None else {"Retry-After": later}
        raise HTTPError(resource.status, f"The provider answers {resource.status}.", headers)


def _send(
    request: Request,
    stream: HlsStream,
    client: HlsClient,
    target: TokenTarget,
    resource: FetchedResource,
    settings: Settings,
) -> int:
    """Send a segment, with the provider's status."""
    ending = request.path.rpartition(b"/")[2].partition(b".")[2].decode("latin-1")
    said = resource.headers.get("Content-Type", "")
    found = media_type(target.kind, target.url, ending, resource.first_bytes, said)
    resource.headers = {**resource.headers, "Content-Type": found}
    request.setHeader(b"Accept-Ranges", b"bytes")
    request.setHeader(b"Cache-Control", b"no-cache")
    transport: Any = request.transport

    def abort() -> None:
        transport.abortConnection()

    clients = stream.hls_clients
    clients.response_started(client, abort)
    request.notifyFinish().addBoth(lambda _: clients.response_ended(client, abort))
    if target.kind is ResourceKind.SEGMENT and request.method != b"HEAD":
        clients.segment_started(client)
    send_resource(request, resource, settings, lambda size: clients.bytes_sent(client, size))
    return NOT_DONE_YET


def send_resource(
    request: Request, resource: FetchedResource, settings: Settings, sent: Callable[[int], None] | None = None
) -> Deferred[SourceError | None]:
    """
    Answer a player: status, headers, and the body unless it is a HEAD request.

    A header set before stays if the provider's response has none of that name. If the body fails after the head, the
    connection is aborted, so that the response does not look complete.

    :param sent: called with the number of bytes of each piece of the body.
    :return: a Deferred that never fails: None if all was sent, ``UNUSED`` if the player disconnected, else the error.
    """
    request.setResponseCode(resource.status)
    for name, value in resource.headers.items():
        request.setHeader(name, value)
    if resource.length is not None:
        request.setHeader(b"Content-Length", b"%d" % resource.length)
    if request.method == b"HEAD":
        resource.close()
        request.finish()
        return succeed(None)
    return _send_body(request, resource, settings, sent)


def _send_body(
    request: Request, resource: FetchedResource, settings: Settings, sent: Callable[[int], None] | None
) -> Deferred[SourceError | None]:
    result: Deferred[SourceError | None] = Deferred()

    def write(data: bytes) -> None:
        writer.write(data)
        if sent is not None:
            sent(len(data))

    def end_response(error: SourceError | None) -> SourceError | None:
        if error is None:
            writer.finish()
        elif error.reason is not Reason.UNUSED:
            request.unregisterProducer()
            writer.abort()
        return error

    def failed(failure: Failure) -> SourceError:
        request.processingFailed(failure)
        return SourceError(Reason.INTERNAL)

    reader = resource.deliver(write, result.callback)
    request.notifyFinish().addBoth(lambda _: reader.stopProducing())
    writer = ResponseWriter(request, reader, settings.direct_write, settings.send_buffer)
    result.addCallback(end_response).addErrback(failed)
    reader.start()
    return result
