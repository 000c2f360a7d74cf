"""What was fetched: a playlist, a segment, a key, or a part of one, for one who asked for it.

It must be read, sent or closed, once: until then it takes memory. One without a body need not be.

Steering manifests and asset lists on their way to a player: see :mod:`m3uproxy.core.hls.json_manifests`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from twisted.internet.defer import Deferred, succeed

from ..core.hls.json_manifests import MAX_BYTES, BadManifest, rewrite_manifest
from ..core.hls.uri_rewriter import ResourceKind, RewriteUri
from ..core.http.byte_ranges import ContentRange
from ..errors import Reason, SourceError
from ..settings import Settings
from .download import Download
from .download_reader import READER_GONE, DownloadReader

#: Headers that are not sent on as they come: they say what the provider sent, which may be more than we send.
_RANGE_HEADERS = frozenset({"Content-Range"})
#: What a provider may call what it sends. A browser that opens a segment must not run it as a page of ours.
_MEDIA_TYPE = re.compile(
    r"(?:(?:audio|video)/[\w.+-]+|image/(?:avif|gif|jpeg|png|webp)|text/(?:plain|vtt)"
    r"|application/(?:json|mp4|octet-stream|vnd\.apple\.mpegurl|x-mpegurl))(?:\s*;[^,]*)?",
    re.ASCII | re.IGNORECASE,
)


class FetchedResource:
    """A download, or a part of it.

    :ivar status: as the provider has it: 200, 206, or an error's, which has no body here.
    :ivar headers: the provider's, those that a player needs, by their usual names (``Content-Type`` of media, ``ETag``,
        ``Last-Modified``, ``Cache-Control``, ``Date``, ``Retry-After``), and ``Content-Range`` of what this is.
    :ivar length: bytes that :meth:`send_to` will send; None if nobody knows yet.
    """

    def __init__(self, download: Download, part: ContentRange | None, status: int, settings: Settings) -> None:
        """
        Make one of a download that is held for it.

        :param part: what it is of the whole; None for all of it, or nothing.
        :param status: 416 for a part that the whole does not have.
        """
        headers = {name: value for name, value in download.headers.items() if name not in _RANGE_HEADERS}
        if not _MEDIA_TYPE.fullmatch(headers.get("Content-Type", "").strip()):
            headers.pop("Content-Type", None)
        if part is not None:
            headers["Content-Range"] = part.header
        self.status = status
        self.headers: Mapping[str, str] = headers
        self.length = download.length if part is None else len(part.span)
        if status != download.status and part is None:
            self.headers, self.length = {"Content-Range": f"bytes */{download.length}"}, 0
        self._download = download
        self._settings = settings
        first = 0 if part is None or download.range is not None else part.span.first
        self._start, self._stop = first, None if self.length is None else first + self.length
        self._consumed = self._released = False
        if self.length == 0:
            self._release()

    @property
    def final_url(self) -> str:
        """Where the redirects led; relative URIs are relative to it."""
        assert self._download.response is not None
        return self._download.response.final_url

    @property
    def public(self) -> bool:
        """Whether it came from outside; what is fetched because it says so is ``led_by_public``."""
        assert self._download.response is not None
        return self._download.response.public

    @property
    def age(self) -> float:
        """Seconds since the provider answered."""
        assert self._download.opened_at is not None
        return self._download.clock.seconds() - self._download.opened_at

    @property
    def first_bytes(self) -> bytes:
        """The first bytes, as far as they are there: at least 16, or all."""
        buffer, stop = self._download.buffer, self._start + 512
        return buffer.read(self._start, min(stop, buffer.size, stop if self._stop is None else self._stop))

    def close(self) -> None:
        """Nobody wants it. Harmless when it was read or sent."""
        if not self._consumed:
            self._consumed = True
            self._release()

    def _release(self) -> None:
        if not self._released:
            self._released = True
            self._download.release()

    def when_complete(self, ended: Callable[[SourceError | None], None]) -> None:
        """Have ``ended`` called when the provider has sent all of it, or failed to; at once if that is so already."""
        download = self._download

        def notify() -> None:
            if download.over:
                download.unsubscribe(notify)
                ended(download.error)

        download.subscribe(notify)
        notify()

    def wait_complete(self) -> Deferred[None]:
        """Have it fetched to its end, and kept; fires when it is, or fails."""
        if self._released:
            return succeed(None)
        self._consumed = self._released = True
        return self._download.wait_complete().addCallback(lambda download: download.release())

    def deliver(self, write: Callable[[bytes], None], ended: Callable[[SourceError | None], None]) -> DownloadReader:
        """
        Hand on the body, from now on; pause and resume what is returned.

        :param write: takes some bytes; see :class:`m3uproxy.hls.download_reader.DownloadReader`.
        :param ended: called once, with None if the body is complete.
        """
        assert not self._consumed, "it was read, sent or closed before"
        self._consumed = True

        def over(error: SourceError | None) -> None:
            self._release()
            ended(error)

        max_pause = self._settings.viewer_stall_timeout
        return DownloadReader(self._download, self._start, self._stop, max_pause, write, over)

    def read_all(self, limit: int) -> Deferred[bytes]:
        """
        The whole body.

        :param limit: bytes; more is an error.
        :return: a Deferred that may be cancelled; it fails with :class:`m3uproxy.errors.SourceError`.
        """
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
                error = SourceError(Reason.TOO_LARGE, f"more than {limit} bytes")
            if error is None:
                result.callback(b"".join(pieces))
            elif error is not READER_GONE:  # if it was cancelled, that is what it fails with: nobody let anybody down
                result.errback(error)

        reader = self.deliver(write, ended)
        result: Deferred[bytes] = Deferred(lambda _: reader.stopProducing())
        reader.start()
        return result


async def read_manifest(resource: FetchedResource, kind: ResourceKind, rewrite_uri: RewriteUri) -> bytes:
    """
    All of one, as a player gets it.

    :raises SourceError: if it does not come, or is something else.
    """
    url = resource.final_url
    body = await resource.read_all(MAX_BYTES)
    try:
        return rewrite_manifest(body, kind, url, rewrite_uri)
    except BadManifest as why:
        raise SourceError(Reason.NOT_VIDEO, f"the provider sent {why} as {kind.value}") from None
