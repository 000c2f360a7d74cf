"""The fetcher of playlists, segments and keys: each is requested from the provider once for all players.

Requests for the same URL, with the same headers and the same range, share one download: the one under way, or a cached
one that is young enough. The caller states the maximum age: half the reload interval for a playlist, the whole
retention for a segment. The cache is bounded in bytes over all streams (HLS_CACHE_BYTES), and in seconds; the entry
that was used longest ago is removed first. Failures are not cached. Error statuses such as 404 are cached for
a moment, so that fifty players that miss the same segment cause one request.
"""

from __future__ import annotations

from collections import Counter
from functools import partial

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ..core.body_kind import BodyKind, body_kind, kind_mismatch
from ..core.hls.playlist import begins_playlist
from ..core.hls.resource_check import ResourceCheck
from ..core.http.byte_ranges import ByteRange, ContentRange
from ..core.http.redact import redact
from ..core.http.source_request import DialTimeouts, SourceRequest
from ..errors import Reason, SourceError
from ..log import make_logger
from ..settings import Settings
from ..upstream.opened_bodies import OpenedBodies
from .cache import CacheEntry, CacheKey, ResponseCache
from .download import Download
from .fetched_resource import FetchedResource
from .http_client import ProviderHttpClient, ResourceRequest, response_of
from .playlist_worker import PlaylistWorker

log = make_logger()

#: Seconds after the last request for which a download stays in the cache.
RETENTION = 60.0
#: Maximum age of an error status such as 404, in seconds.
ERROR_MAX_AGE = 1.0
#: If a range begins at most this many bytes behind the end of a whole body under way, that body is waited for.
WAIT_AHEAD_BYTES = 1_048_576
#: Prefetches under way at a time.
MAX_PREFETCHES = 4
#: Downloads under way from one source, above which refusable requests fail.
MAX_REQUESTS_PER_SOURCE = 256
#: The silence timeout if LIVE_CHUNK_TIMEOUT_SECONDS is off, in seconds.
_HOUR = 3600.0


class Fetcher:
    """
    The single-flight client and its cache. It provides :class:`m3uproxy.hls.download.MemoryBudget`.

    :ivar playlists: the worker for the playlists that are fetched.
    :ivar opened: bodies that a session of another kind has opened.
    """

    def __init__(self, clock: IReactorTime, http_client: ProviderHttpClient, settings: Settings) -> None:
        """Initialise a fetcher with an empty cache."""
        self.playlists = PlaylistWorker(clock)
        self.opened = OpenedBodies(clock)
        self._clock = clock
        self._http_client = http_client
        self._settings = settings
        self._cache = ResponseCache()
        self._running: Counter[SourceRequest] = Counter()
        self._prefetches = 0
        self._sweep_timer: IDelayedCall | None = None
        self._stopped = False

    @property
    def size(self) -> int:
        """Bytes of all bodies in memory."""
        return self._cache.size

    @property
    def count(self) -> int:
        """The number of downloads in the cache, those under way included."""
        return len(self._cache)

    def fetch(
        self,
        request: ResourceRequest,
        byte_range: ByteRange | None = None,
        max_age: float = 0.0,
        extra_timeout: float = 0.0,
        refusable: bool = False,
    ) -> Deferred[FetchedResource]:
        """
        Fetch a resource, from the cache or from the provider.

        :param byte_range: the range to fetch, None for the whole. It is cut from the whole resource if that is cached
            or under way; else the provider is asked for the range.
        :param max_age: maximum age of a cached response, in seconds since the provider answered.
        :param extra_timeout: seconds added to the timeouts, for a request that the provider blocks until there is a
            new segment or part.
        :param refusable: True for resources that players may request in any number: segments and ranges. They must not
            keep a source so busy that its playlists wait.
        :return: a Deferred that fires when the first bytes have come, with any status of the provider. It may be
            cancelled, which does not affect other requests. It fails with :class:`m3uproxy.errors.SourceError`; the
            reason ``FULL`` is a limit of this proxy and no fault of the source.
        """
        if self._stopped:
            return fail(SourceError(Reason.STOPPING))
        download = self._find_whole(request, byte_range, max_age) if byte_range is not None else None
        if download is None:
            download = self._find((request, byte_range), max_age)
        if download is None:
            if refusable and self._running[request.source] >= MAX_REQUESTS_PER_SOURCE:
                too_many = f"limit reached: {MAX_REQUESTS_PER_SOURCE} requests to this source are under way"
                return fail(SourceError(Reason.FULL, too_many))
            if not self._cache.make_room(request.source):
                return fail(SourceError(Reason.FULL, "the HLS cache has no entry left for this source"))
            download = self._start_download(request, byte_range, extra_timeout)
        waiting: Deferred[FetchedResource] = download.wait_open().addCallback(self._as_requested, request, byte_range)
        return waiting

    def knows(self, request: ResourceRequest) -> bool:
        """Return whether a resource is in the cache, or being fetched."""
        return self._cache.get((request, None)) is not None

    def check_kind(self, resource: FetchedResource, request: ResourceRequest) -> None:
        """
        Check that the first playlist of a source is not another kind of stream.

        :raises KindMismatch: if it is one. Its body is kept open for the session that plays it.
        """
        if request.url != request.source.url or begins_playlist(resource.first_bytes):
            return
        facts = resource.facts(request.url)
        kind = None if facts is None else body_kind(facts)
        if facts is None or kind is None or kind is BodyKind.PLAYLIST:
            return
        error = kind_mismatch(facts, kind)
        body = resource.detach(error)
        if body is not None:
            self.opened.keep(request.source, body)
        raise error

    def prefetch(self, request: ResourceRequest, byte_range: ByteRange | None, max_age: float) -> None:
        """Fetch a resource that will be requested soon, unless :data:`MAX_PREFETCHES` are under way."""
        if self._prefetches >= MAX_PREFETCHES or self._stopped:
            return
        self._prefetches += 1
        fetched: Deferred[None] = self.fetch(request, byte_range, max_age).addCallback(FetchedResource.wait_complete)
        url = redact(request.url)
        fetched.addErrback(lambda failure: log.debug("prefetch of {url} failed: {error}", url=url, error=failure.value))
        fetched.addCallback(self._prefetch_ended)

    def stop(self) -> None:
        """Close all downloads and empty the cache. Later requests fail."""
        self._stopped = True
        self.playlists.stop()
        self.opened.stop()
        for key, entry in self._cache:
            entry.download.close()
            self._cache.remove(key)
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
            self._sweep_timer = None

    # MemoryBudget

    def reserve(self, size: int) -> bool:
        """See :meth:`m3uproxy.hls.download.MemoryBudget.reserve`."""
        return self._cache.reserve(size, self._settings.hls_cache_bytes, self._clock.seconds())

    def release(self, size: int) -> None:
        """See :meth:`m3uproxy.hls.download.MemoryBudget.release`."""
        self._cache.size -= size

    # cache

    def _find(self, key: CacheKey, max_age: float) -> Download | None:
        """Return a download that is under way or young enough. A cached one that is too old is removed."""
        entry = self._cache.get(key)
        if entry is None:
            return None
        if entry.download.over and not self._is_young(entry.download, max_age):
            self._cache.remove(key)
            return None
        self._cache.mark_used(key, self._clock.seconds())
        return entry.download

    def _is_young(self, download: Download, max_age: float) -> bool:
        assert download.opened_at is not None
        limit = max_age if download.status < 400 else min(max_age, ERROR_MAX_AGE)
        return self._clock.seconds() - download.opened_at < limit

    def _find_whole(self, request: ResourceRequest, byte_range: ByteRange, max_age: float) -> Download | None:
        """Return the download of the whole resource, if it has the range or will have it soon."""
        whole = self._find((request, None), max_age)
        if whole is None or whole.over:
            return whole
        span = byte_range.within(whole.length) if whole.is_open and whole.length is not None else None
        return whole if span is not None and span.first <= whole.buffer.size + WAIT_AHEAD_BYTES else None

    def _start_download(self, request: ResourceRequest, byte_range: ByteRange | None, extra_timeout: float) -> Download:
        settings = self._settings
        key = (request, byte_range)
        silence = settings.live_chunk_timeout_seconds or _HOUR
        ended = partial(self._download_ended, key)
        check = ResourceCheck(request.kind, request.url)
        download = Download(self._clock, self, silence, settings.hls_resource_bytes, ended, check)
        self._cache.put(key, CacheEntry(download, self._clock.seconds()))
        self._running[request.source] += 1
        if self._sweep_timer is None:
            self._sweep_timer = self._clock.callLater(RETENTION, self._sweep)
        patience = request.source.patience if request.kind is None else None
        timeouts = DialTimeouts(
            settings.default_connection_timeout,
            settings.first_byte_timeout + extra_timeout + (patience or 0.0),
            settings.start_timeout + extra_timeout,
            None if patience is None else patience > 0,
        )
        opened = self.opened.take(request.source) if request.url == request.source.url and byte_range is None else None
        if opened is not None:
            response = succeed(response_of(opened))
        else:
            response = self._http_client.get(request, byte_range.header if byte_range is not None else None, timeouts)
        download.start(response, byte_range is not None)
        return download

    def _download_ended(self, key: CacheKey, download: Download) -> None:
        """Count a download as ended. If it has failed, remove it from the cache."""
        source = key[0].source
        self._running[source] -= 1
        if not self._running[source]:
            del self._running[source]
        if download.error is not None:
            for each in (key, (key[0], None)):
                entry = self._cache.get(each)
                if entry is not None and entry.download is download:
                    self._cache.pop(each)
            download.removed_from_cache()

    def _sweep(self) -> None:
        """Remove the entries past their retention. The timer runs only while the cache has entries."""
        self._sweep_timer = None
        now = self._clock.seconds()
        for key, entry in self._cache:
            if entry.is_idle and entry.used_at + RETENTION <= now:
                self._cache.remove(key)
        if len(self._cache):
            self._sweep_timer = self._clock.callLater(RETENTION / 4, self._sweep)

    # responses

    def _as_requested(
        self, download: Download, request: ResourceRequest, byte_range: ByteRange | None
    ) -> FetchedResource | Deferred[FetchedResource]:
        """Return a download as requested: whole, or the range. The caller holds the download."""
        if byte_range is None or download.status != 200:
            return FetchedResource(download, download.range, download.status, self._settings)
        self._store_as_whole(download, request, byte_range)
        if download.length is None:
            return download.wait_complete().addCallback(self._as_requested, request, byte_range)
        span = byte_range.within(download.length)
        part = None if span is None else ContentRange(span, download.length)
        return FetchedResource(download, part, 416 if part is None else 206, self._settings)

    def _store_as_whole(self, download: Download, request: ResourceRequest, byte_range: ByteRange) -> None:
        """Cache a download as the whole resource: the provider ignored the range. Later ranges are cut from it."""
        part, whole = (request, byte_range), (request, None)
        entry = self._cache.get(part)
        if entry is not None and entry.download is download and self._cache.get(whole) is None:
            self._cache.pop(part)
            self._cache.put(whole, entry)

    def _prefetch_ended(self, _: object) -> None:
        self._prefetches -= 1
