"""The result of one fetch: a playlist, segment, key or manifest, or a part of one.

A resource with a body holds memory until it is read, delivered or closed, which must happen exactly once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import attrs
from twisted.internet.defer import Deferred, fail, succeed

from ..core.body_kind import BodyFacts
from ..core.hls.json_manifests import MAX_BYTES, BadManifest, rewrite_manifest
from ..core.hls.uri_rewriter import ResourceKind, RewriteUri
from ..core.http.byte_ranges import ContentRange
from ..errors import Reason, SourceError
from ..interfaces import IResponseBody
from ..settings import Settings
from .download import Download
from .download_reader import DownloadReader

#: Headers that describe the provider's response, which may be larger than the resource. They are computed again.
_RANGE_HEADERS = frozenset({"Content-Range"})
#: Media types that are passed on. A browser that opens a segment must not run it as a page of this server.
_MEDIA_TYPE = re.compile(
    r"(?:(?:audio|video)/[\w.+-]+|image/(?:avif|gif|jpeg|png|webp)|text/(?:plain|vtt)"
    r"|application/(?:json|mp4|octet-stream|vnd\.apple\.mpegurl|x-mpegurl))(?:\s*;[^,]*)?",
    re.ASCII | re.IGNORECASE,
)


class FetchedResource:
    """
    A download as one player requested it: the whole body, or a range of it.

    :ivar status: the provider's HTTP status: 200, 206, or an error status, which has no body; 416 if the whole body is
        shorter than the requested range.
    :ivar headers: the headers that a player needs: ``Content-Type`` of media, ``ETag``, ``Last-Modified``,
        ``Cache-Control``, ``Date``, ``Retry-After`` of the provider, and the ``Content-Range`` of this resource.
    :ivar length: bytes of the body, None if unknown.
    """

    def __init__(self, download: Download, part: ContentRange | None, status: int, settings: Settings) -> None:
        """
        Initialise a resource of a download, whose hold it takes over.

        :param part: the part of the whole body; None for the whole body, or for an unsatisfiable range.
        :param status: the HTTP status for the player; 416 for an unsatisfiable range.
        """
        headers = {name: value for name, value in download.headers.items() if name not in _RANGE_HEADERS}
        if not _MEDIA_TYPE.fullmatch(headers.get("Content-Type", "").strip()):
            headers.pop("Content-Type", None)
        if part is not None:
            headers["Content-Range"] = part.header
        self.status = status
        self.headers: Mapping[str, str] = headers
        cut = None if part is None or download.range is not None else part.span
        self.length = download.length if cut is None else len(cut)
        if status != download.status and part is None:
            self.headers, self.length = {"Content-Range": f"bytes */{download.length}"}, 0
        self._download = download
        self._settings = settings
        first = 0 if cut is None else cut.first
        self._start, self._stop = first, None if self.length is None else first + self.length
        self._consumed = self._released = False
        if self.length == 0:
            self._release()

    @property
    def final_url(self) -> str:
        """The URL after redirects, the base of relative URIs."""
        assert self._download.response is not None
        return self._download.response.final_url

    @property
    def error(self) -> SourceError:
        """The meaning of the provider's error status."""
        return self._download.status_error

    @property
    def public(self) -> bool:
        """True if a public host sent it. The URIs in it may then only lead to public hosts (``led_by_public``)."""
        assert self._download.response is not None
        return self._download.response.public

    @property
    def age(self) -> float:
        """Seconds since the download was opened."""
        assert self._download.opened_at is not None
        return self._download.clock.seconds() - self._download.opened_at

    @property
    def first_bytes(self) -> bytes:
        """The first bytes that have arrived: at least 16 if the body has as many, at most 512."""
        buffer, stop = self._download.buffer, self._start + 512
        return buffer.read(self._start, min(stop, buffer.size, stop if self._stop is None else self._stop))

    def facts(self, url: str) -> BodyFacts | None:
        """Return the facts about the body that decide its kind; None for an error status."""
        stated = self._download.stated
        return None if stated is None else attrs.evolve(stated, url=url, head=self.first_bytes)

    def detach(self, error: SourceError) -> IResponseBody | None:
        """Release the download, and return its open body; see :meth:`m3uproxy.hls.download.Download.detach`."""
        body = self._download.detach(error)
        self.close()
        return body

    def close(self) -> None:
        """Release the download unread. Safe to call at any time."""
        if not self._consumed:
            self._consumed = True
            self._release()

    def _release(self) -> None:
        if not self._released:
            self._released = True
            self._download.release()

    def when_complete(self, ended: Callable[[SourceError | None], None]) -> None:
        """
        Call ``ended`` when the download is over; at once if it is.

        :param ended: called with None if the provider has sent the whole body, else with the error.
        """
        download = self._download

        def notify() -> None:
            if download.over:
                download.unsubscribe(notify)
                ended(download.error)

        download.subscribe(notify)
        notify()

    def wait_complete(self) -> Deferred[None]:
        """Download the body to its end, so that the cache has it. The Deferred fires then, or fails."""
        if self._released:
            return succeed(None)
        self._consumed = self._released = True
        return self._download.wait_complete().addCallback(lambda download: download.release())

    def deliver(self, write: Callable[[bytes], None], ended: Callable[[SourceError | None], None]) -> DownloadReader:
        """
        Return a reader of the body; the caller starts it.

        :param write: takes bytes; see :class:`m3uproxy.hls.download_reader.DownloadReader`.
        :param ended: called once, with None if the body is complete, else with the error.
        """
        assert not self._consumed, "the resource was read, delivered or closed before"
        self._consumed = True

        def over(error: SourceError | None) -> None:
            self._release()
            ended(error)

        max_pause = self._settings.viewer_stall_timeout
        return DownloadReader(self._download, self._start, self._stop, max_pause, write, over)

    def read_all(self, limit: int) -> Deferred[bytes]:
        """
        Read the whole body.

        :param limit: maximum size in bytes; a larger body is an error.
        :return: a Deferred that may be cancelled; it fails with :class:`m3uproxy.errors.SourceError`.
        """
        too_large = SourceError(Reason.TOO_LARGE, f"more than {limit} bytes")
        if self.length is not None and self.length > limit:
            self.close()
            return fail(too_large)
        pieces: list[bytes] = []
        size = 0

        def write(data: bytes) -> None:
            nonlocal size
            size += len(data)
            pieces.append(data)
            if size > limit:
                pieces.clear()
                reader.stopProducing()

        def ended(error: SourceError | None) -> None:
            if size > limit:
                error = too_large
            if error is None:
                result.callback(self._download.buffer.join_all(pieces))
            elif error.reason is not Reason.UNUSED:  # else the Deferred was cancelled and has failed
                result.errback(error)

        reader = self.deliver(write, ended)
        result: Deferred[bytes] = Deferred(lambda _: reader.stopProducing())
        reader.start()
        return result


async def read_manifest(resource: FetchedResource, kind: ResourceKind, rewrite_uri: RewriteUri) -> bytes:
    """
    Read a steering manifest or an asset list (:mod:`m3uproxy.core.hls.json_manifests`), and rewrite its URIs.

    :param kind: the kind of manifest.
    :param rewrite_uri: returns the URI that players get for a URI of the provider.
    :return: the manifest as JSON.
    :raises SourceError: if the body does not arrive, or is no such manifest.
    """
    url = resource.final_url
    body = await resource.read_all(MAX_BYTES)
    try:
        return rewrite_manifest(body, kind, url, rewrite_uri)
    except BadManifest as why:
        raise SourceError(Reason.NOT_VIDEO, f"the provider sent {why} as {kind.value}") from None
