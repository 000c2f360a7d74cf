"""Everything that playlists name, fetched once for all who ask.

Whoever asks for the same URL, with the same headers and for the same range, gets the same download: the one that is
under way, or one that is kept and young enough. How young, the caller says: a playlist is good for a part of its target
duration, a segment for as long as it is kept. What is kept is bounded in bytes over all streams, and in seconds; what
was used longest ago goes first. Failures are not kept, statuses such as 404 for a moment, so that fifty players who
miss the same segment ask once.
"""

from __future__ import annotations

from collections import Counter
from functools import partial

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ..core.http.byte_ranges import ByteRange, ContentRange
from ..core.http.source_request import DialTimeouts, SourceRequest
from ..errors import Reason, SourceError
from ..log import make_logger
from ..settings import Settings
from .cache import CacheEntry, CacheKey, ResponseCache
from .download import Download
from .fetched_resource import FetchedResource
from .http_client import ProviderHttpClient, ResourceRequest

log = make_logger()

#: Seconds for which what nobody asks for is kept.
RETENTION = 60.0
#: Seconds for which a status such as 404 is kept.
ERROR_MAX_AGE = 1.0
#: Bytes: a part that begins no further than this behind what has arrived of the whole is waited for.
WAIT_AHEAD_BYTES = 1_048_576
#: What is fetched ahead at a time.
MAX_PREFETCHES = 4
#: What is under way from one source, beyond which no more is begun for those who may be refused.
MAX_REQUESTS_PER_SOURCE = 256
_HOUR = 3600.0


class Fetcher:
    """Fetches, and keeps for a while."""

    def __init__(self, clock: IReactorTime, http_client: ProviderHttpClient, settings: Settings) -> None:
        """Begin with nothing."""
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
        """Bytes that are kept, arriving or being read."""
        return self._cache.size

    @property
    def count(self) -> int:
        """What is kept or under way, in answers of providers."""
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
        Ask for something.

        :param byte_range: for a part of it. A whole that is there is cut; else the provider is asked for the part.
        :param max_age: seconds since the provider answered, up to which what is kept will do.
        :param extra_timeout: seconds that the provider may take longer than usual, for a request that it is to hold
            until there is something new.
        :param refusable: whether it is something that players may ask for in any number: parts, segments. They must
            not keep a source so busy that its playlists wait.
        :return: a Deferred that fires when the first bytes are there, with whatever status the provider answered. It
            may be cancelled, which disturbs nobody else. It fails with :class:`m3uproxy.errors.SourceError`; with
            ``FULL`` that is our fault and not the source's.
        """
        if self._stopped:
            return fail(SourceError(Reason.STOPPING))
        download = self._find_whole(request, byte_range, max_age) if byte_range is not None else None
        if download is None:
            download = self._find((request, byte_range), max_age)
        if download is None:
            if refusable and self._running[request.source] >= MAX_REQUESTS_PER_SOURCE:
                return fail(SourceError(Reason.FULL, "players ask for too much of this stream at a time"))
            if not self._cache.make_room(request.source):
                return fail(SourceError(Reason.FULL, "players hold too much of this stream at a time"))
            download = self._start_download(request, byte_range, extra_timeout)
        waiting: Deferred[FetchedResource] = download.wait_open().addCallback(self._as_requested, request, byte_range)
        return waiting

    def prefetch(self, request: ResourceRequest, byte_range: ByteRange | None, max_age: float) -> None:
        """Fetch something that will be requested soon. Not if much is fetched ahead already."""
        if self._prefetches >= MAX_PREFETCHES or self._stopped:
            return
        self._prefetches += 1
        fetched: Deferred[None] = self.fetch(request, byte_range, max_age).addCallback(FetchedResource.wait_complete)
        fetched.addErrback(lambda failure: log.debug("not fetched ahead: {error}", error=failure.value))
        fetched.addCallback(self._prefetch_ended)

    def stop(self) -> None:
        """Give up what is under way, forget all, for good."""
        self._stopped = True
        for key, entry in self._cache:
            entry.download.close()
            self._cache.remove(key)
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
            self._sweep_timer = None

    # Purse

    def reserve(self, size: int) -> bool:
        """See :class:`m3uproxy.hls.download.Purse`."""
        return self._cache.reserve(size, self._settings.hls_cache_bytes, self._clock.seconds())

    def release(self, size: int) -> None:
        """See :class:`m3uproxy.hls.download.Purse`."""
        self._cache.size -= size

    # what is kept

    def _find(self, key: CacheKey, max_age: float) -> Download | None:
        """What is under way or young enough."""
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
        good_for = max_age if download.status < 400 else min(max_age, ERROR_MAX_AGE)
        return self._clock.seconds() - download.opened_at < good_for

    def _find_whole(self, request: ResourceRequest, byte_range: ByteRange, max_age: float) -> Download | None:
        """The whole, if it is there or will soon be as far as the part."""
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
        download = Download(self._clock, self, silence, settings.hls_resource_bytes, ended)
        self._cache.put(key, CacheEntry(download, self._clock.seconds()))
        self._running[request.source] += 1
        if self._sweep_timer is None:
            self._sweep_timer = self._clock.callLater(RETENTION, self._sweep)
        timeouts = DialTimeouts(
            settings.default_connection_timeout,
            settings.first_byte_timeout + extra_timeout,
            settings.start_timeout + extra_timeout,
        )
        response = self._http_client.get(request, byte_range.header if byte_range is not None else None, timeouts)
        download.start(response, byte_range is not None)
        return download

    def _download_ended(self, key: CacheKey, download: Download) -> None:
        """Failures are not kept."""
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
        """What nobody has asked for in a while goes, and nothing runs when nothing is kept."""
        self._sweep_timer = None
        now = self._clock.seconds()
        for key, entry in self._cache:
            if entry.is_idle and entry.used_at + RETENTION <= now:
                self._cache.remove(key)
        if len(self._cache):
            self._sweep_timer = self._clock.callLater(RETENTION / 4, self._sweep)

    # what is given

    def _as_requested(
        self, download: Download, request: ResourceRequest, byte_range: ByteRange | None
    ) -> FetchedResource | Deferred[FetchedResource]:
        """A download, held for a caller, as requested."""
        if byte_range is None or download.status != 200:
            return FetchedResource(download, download.range, download.status, self._settings)
        self._store_as_whole(download, request, byte_range)
        if download.length is None:
            return download.wait_complete().addCallback(self._as_requested, request, byte_range)
        span = byte_range.within(download.length)
        part = None if span is None else ContentRange(span, download.length)
        return FetchedResource(download, part, 416 if part is None else 206, self._settings)

    def _store_as_whole(self, download: Download, request: ResourceRequest, byte_range: ByteRange) -> None:
        """The provider was asked for a part and sends all: the next part is cut from it."""
        part, whole = (request, byte_range), (request, None)
        entry = self._cache.get(part)
        if entry is not None and entry.download is download and self._cache.get(whole) is None:
            self._cache.pop(part)
            self._cache.put(whole, entry)

    def _prefetch_ended(self, _: object) -> None:
        self._prefetches -= 1
