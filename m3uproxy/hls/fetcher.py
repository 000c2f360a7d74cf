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

from ..core.http.byte_ranges import SingleContentRange, SingleRange
from ..core.http.source_request import DialTimeouts, SourceRequest
from ..errors import Reason, SourceError
from ..log import make_logger
from ..settings import Settings
from .cache import CacheEntry, Key, ResponseCache
from .download import Download
from .fetched_resource import FetchedResource
from .http_client import ProviderHttpClient, ResourceRequest

log = make_logger()

#: Seconds for which what nobody asks for is kept.
KEEP = 60.0
#: Seconds for which a status such as 404 is kept.
KEEP_ERROR = 1.0
#: Bytes: a part that begins no further than this behind what has arrived of the whole is waited for.
NEAR = 1_048_576
#: What is fetched ahead at a time.
MOST_AHEAD = 4
#: What is under way from one source, beyond which no more is begun for those who may be refused.
MOST_UNDER_WAY = 256
_HOUR = 3600.0


class Fetcher:
    """Fetches, and keeps for a while."""

    def __init__(self, clock: IReactorTime, asker: ProviderHttpClient, settings: Settings) -> None:
        """Begin with nothing."""
        self._clock = clock
        self._asker = asker
        self._settings = settings
        self._kept = ResponseCache()
        self._under_way: Counter[SourceRequest] = Counter()
        self._ahead = 0
        self._sweeping: IDelayedCall | None = None
        self._stopped = False

    @property
    def size(self) -> int:
        """Bytes that are kept, arriving or being read."""
        return self._kept.size

    @property
    def count(self) -> int:
        """What is kept or under way, in answers of providers."""
        return len(self._kept)

    def fetch(
        self,
        wanted: ResourceRequest,
        byte_range: SingleRange | None = None,
        max_age: float = 0.0,
        patience: float = 0.0,
        refusable: bool = False,
    ) -> Deferred[FetchedResource]:
        """
        Ask for something.

        :param byte_range: for a part of it. A whole that is there is cut; else the provider is asked for the part.
        :param max_age: seconds since the provider answered, up to which what is kept will do.
        :param patience: seconds that the provider may take longer than usual, for a request that it is to hold until
            there is something new.
        :param refusable: whether it is something that players may ask for in any number: parts, segments. They must
            not keep a source so busy that its playlists wait.
        :return: a Deferred that fires when the first bytes are there, with whatever status the provider answered. It
            may be cancelled, which disturbs nobody else. It fails with :class:`m3uproxy.errors.SourceError`; with
            ``FULL`` that is our fault and not the source's.
        """
        if self._stopped:
            return fail(SourceError(Reason.STOPPING))
        download = self._cut_from(wanted, byte_range, max_age) if byte_range is not None else None
        if download is None:
            download = self._find((wanted, byte_range), max_age)
        if download is None:
            if refusable and self._under_way[wanted.source] >= MOST_UNDER_WAY:
                return fail(SourceError(Reason.FULL, "players ask for too much of this stream at a time"))
            if not self._kept.has_room(wanted.source):
                return fail(SourceError(Reason.FULL, "players hold too much of this stream at a time"))
            download = self._begin(wanted, byte_range, patience)
        waiting: Deferred[FetchedResource] = download.wait().addCallback(self._resource, wanted, byte_range)
        return waiting

    def fetch_ahead(self, wanted: ResourceRequest, byte_range: SingleRange | None, max_age: float) -> None:
        """Fetch something that will be asked for soon. Not if much is fetched ahead already."""
        if self._ahead >= MOST_AHEAD or self._stopped:
            return
        self._ahead += 1
        fetched: Deferred[None] = self.fetch(wanted, byte_range, max_age).addCallback(FetchedResource.arrive)
        fetched.addErrback(lambda failure: log.debug("not fetched ahead: {error}", error=failure.value))
        fetched.addCallback(self._was_ahead)

    def stop(self) -> None:
        """Give up what is under way, forget all, for good."""
        self._stopped = True
        for key, entry in self._kept:
            entry.download.stop()
            self._kept.forget(key)
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None

    # Purse

    def take(self, size: int) -> bool:
        """See :class:`m3uproxy.hls.download.Purse`."""
        return self._kept.take(size, self._settings.hls_cache_bytes, self._clock.seconds())

    def give_back(self, size: int) -> None:
        """See :class:`m3uproxy.hls.download.Purse`."""
        self._kept.size -= size

    # what is kept

    def _find(self, key: Key, max_age: float) -> Download | None:
        """What is under way or young enough."""
        entry = self._kept.get(key)
        if entry is None:
            return None
        if entry.download.over and not self._is_young(entry.download, max_age):
            self._kept.forget(key)
            return None
        self._kept.use(key, self._clock.seconds())
        return entry.download

    def _is_young(self, download: Download, max_age: float) -> bool:
        assert download.opened_at is not None
        good_for = max_age if download.status < 400 else min(max_age, KEEP_ERROR)
        return self._clock.seconds() - download.opened_at < good_for

    def _cut_from(self, wanted: ResourceRequest, byte_range: SingleRange, max_age: float) -> Download | None:
        """The whole, if it is there or will soon be as far as the part."""
        whole = self._find((wanted, None), max_age)
        if whole is None or whole.over:
            return whole
        span = byte_range.within(whole.length) if whole.is_open and whole.length is not None else None
        return whole if span is not None and span[0] <= whole.body.size + NEAR else None

    def _begin(self, wanted: ResourceRequest, byte_range: SingleRange | None, patience: float) -> Download:
        settings = self._settings
        key = (wanted, byte_range)
        silence = settings.live_chunk_timeout_seconds or _HOUR
        ended = partial(self._ended, key)
        download = Download(self._clock, self, silence, settings.hls_resource_bytes, ended)
        self._kept.put(key, CacheEntry(download, self._clock.seconds()))
        self._under_way[wanted.source] += 1
        if self._sweeping is None:
            self._sweeping = self._clock.callLater(KEEP, self._sweep)
        limits = DialTimeouts(
            settings.default_connection_timeout,
            settings.first_byte_timeout + patience,
            settings.start_timeout + patience,
        )
        asked = self._asker.ask(wanted, byte_range.header if byte_range is not None else None, limits)
        download.begin(asked, byte_range is not None)
        return download

    def _ended(self, key: Key, download: Download) -> None:
        """Failures are not kept."""
        source = key[0].source
        self._under_way[source] -= 1
        if not self._under_way[source]:
            del self._under_way[source]
        if download.error is not None:
            for each in (key, (key[0], None)):
                entry = self._kept.get(each)
                if entry is not None and entry.download is download:
                    self._kept.pop(each)
            download.forget()

    def _sweep(self) -> None:
        """What nobody has asked for in a while goes, and nothing runs when nothing is kept."""
        self._sweeping = None
        now = self._clock.seconds()
        for key, entry in self._kept:
            if entry.is_idle and entry.used_at + KEEP <= now:
                self._kept.forget(key)
        if len(self._kept):
            self._sweeping = self._clock.callLater(KEEP / 4, self._sweep)

    # what is given

    def _resource(
        self, download: Download, wanted: ResourceRequest, byte_range: SingleRange | None
    ) -> FetchedResource | Deferred[FetchedResource]:
        """A download, held for one who asked for it, as what was asked for."""
        if byte_range is None or download.status != 200:
            return FetchedResource(download, download.range, download.status, self._settings)
        self._is_whole(download, wanted, byte_range)
        if download.length is None:
            return download.complete().addCallback(self._resource, wanted, byte_range)
        span = byte_range.within(download.length)
        part = None if span is None else SingleContentRange(*span, download.length)
        return FetchedResource(download, part, 416 if part is None else 206, self._settings)

    def _is_whole(self, download: Download, wanted: ResourceRequest, byte_range: SingleRange) -> None:
        """The provider was asked for a part and sends all: the next part is cut from it."""
        part, whole = (wanted, byte_range), (wanted, None)
        entry = self._kept.get(part)
        if entry is not None and entry.download is download and self._kept.get(whole) is None:
            self._kept.pop(part)
            self._kept.put(whole, entry)

    def _was_ahead(self, _: object) -> None:
        self._ahead -= 1
