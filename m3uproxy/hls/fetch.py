"""Everything that playlists name, fetched once for all who ask.

Whoever asks for the same URL, with the same headers and for the same range, gets the same download: the one that is
under way, or one that is kept and young enough. How young, the caller says: a playlist is good for a part of its target
duration, a segment for as long as it is kept. What is kept is bounded in bytes over all streams, and in seconds; what
was used longest ago goes first. Failures are not kept, statuses such as 404 for a moment, so that fifty players who
miss the same segment ask once.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial

import attrs
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ..errors import Reason, SourceError
from ..log import make_logger
from ..settings import Settings
from ..upstream.dial import DialLimits
from .asking import IAsker, Wanted
from .byte_range import ByteRange, ContentRange
from .download import Download
from .resource import Resource

log = make_logger()

#: Seconds for which what nobody asks for is kept.
KEEP = 60.0
#: Seconds for which a status such as 404 is kept.
KEEP_ERROR = 1.0
#: Bytes: a part that begins no further than this behind what has arrived of the whole is waited for.
NEAR = 1_048_576
#: What is fetched ahead at a time.
MOST_AHEAD = 4
_HOUR = 3600.0

Key = tuple[Wanted, ByteRange | None]


@attrs.define
class _Entry:
    """What is kept, or under way."""

    download: Download
    used_at: float


class Fetcher:
    """Fetches, and keeps for a while."""

    def __init__(self, clock: IReactorTime, asker: IAsker, settings: Settings) -> None:
        """Begin with nothing."""
        self._clock = clock
        self._asker = asker
        self._settings = settings
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()
        self._size = 0
        self._ahead = 0
        self._sweeping: IDelayedCall | None = None
        self._stopped = False

    @property
    def size(self) -> int:
        """Bytes that are kept, arriving or being read."""
        return self._size

    def fetch(
        self, wanted: Wanted, byte_range: ByteRange | None = None, max_age: float = 0.0, patience: float = 0.0
    ) -> Deferred[Resource]:
        """
        Ask for something.

        :param byte_range: for a part of it. A whole that is there is cut; else the provider is asked for the part.
        :param max_age: seconds since the provider answered, up to which what is kept will do.
        :param patience: seconds that the provider may take longer than usual, for a request that it is to hold until
            there is something new.
        :return: a Deferred that fires when the first bytes are there, with whatever status the provider answered. It
            may be cancelled, which disturbs nobody else. It fails with :class:`m3uproxy.errors.SourceError`.
        """
        if self._stopped:
            return fail(SourceError(Reason.STOPPING))
        download = self._cut_from(wanted, byte_range, max_age) if byte_range is not None else None
        if download is None:
            download = self._find((wanted, byte_range), max_age) or self._begin(wanted, byte_range, patience)
        waiting: Deferred[Resource] = download.wait().addCallback(self._resource, wanted, byte_range)
        return waiting

    def fetch_ahead(self, wanted: Wanted, byte_range: ByteRange | None, max_age: float) -> None:
        """Fetch something that will be asked for soon. Not if much is fetched ahead already."""
        if self._ahead >= MOST_AHEAD or self._stopped:
            return
        self._ahead += 1
        fetched: Deferred[None] = self.fetch(wanted, byte_range, max_age).addCallback(Resource.arrive)
        fetched.addErrback(lambda failure: log.debug("not fetched ahead: {error}", error=failure.value))
        fetched.addCallback(self._was_ahead)

    def stop(self) -> None:
        """Give up what is under way, forget all, for good."""
        self._stopped = True
        for entry in list(self._entries.values()):
            entry.download.stop()
        for key in list(self._entries):
            self._forget(key)
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None

    # Purse

    def take(self, size: int) -> bool:
        """See :class:`m3uproxy.hls.download.Purse`."""
        limit = self._settings.hls_cache_bytes
        for key, entry in list(self._entries.items()):
            if self._size + size <= limit:
                break
            if entry.download.over and not entry.download.is_held:
                self._forget(key)
        if self._size + size > limit:
            return False
        self._size += size
        return True

    def give_back(self, size: int) -> None:
        """See :class:`m3uproxy.hls.download.Purse`."""
        self._size -= size

    # what is kept

    def _find(self, key: Key, max_age: float) -> Download | None:
        """What is under way or young enough."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.download.over and not self._is_young(entry.download, max_age):
            self._forget(key)
            return None
        entry.used_at = self._clock.seconds()
        self._entries.move_to_end(key)
        return entry.download

    def _is_young(self, download: Download, max_age: float) -> bool:
        assert download.opened_at is not None
        good_for = max_age if download.status < 400 else min(max_age, KEEP_ERROR)
        return self._clock.seconds() - download.opened_at < good_for

    def _cut_from(self, wanted: Wanted, byte_range: ByteRange, max_age: float) -> Download | None:
        """The whole, if it is there or will soon be as far as the part."""
        whole = self._find((wanted, None), max_age)
        if whole is None or whole.over:
            return whole
        span = byte_range.within(whole.length) if whole.is_open and whole.length is not None else None
        return whole if span is not None and span[0] <= whole.body.size + NEAR else None

    def _begin(self, wanted: Wanted, byte_range: ByteRange | None, patience: float) -> Download:
        settings = self._settings
        key = (wanted, byte_range)
        silence = settings.live_chunk_timeout_seconds or _HOUR
        ended = partial(self._ended, key)
        download = Download(self._clock, self, silence, settings.hls_resource_bytes, ended)
        self._entries[key] = _Entry(download, self._clock.seconds())
        if self._sweeping is None:
            self._sweeping = self._clock.callLater(KEEP, self._sweep)
        limits = DialLimits(
            settings.default_connection_timeout,
            settings.first_byte_timeout + patience,
            settings.start_timeout + patience,
        )
        asked = self._asker.ask(wanted, byte_range.header if byte_range is not None else None, limits)
        download.begin(asked, byte_range is not None)
        return download

    def _ended(self, key: Key, download: Download) -> None:
        """Failures are not kept."""
        if download.error is not None:
            for each in (key, (key[0], None)):
                entry = self._entries.get(each)
                if entry is not None and entry.download is download:
                    del self._entries[each]
            download.forget()

    def _forget(self, key: Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            entry.download.forget()

    def _sweep(self) -> None:
        """What nobody has asked for in a while goes, and nothing runs when nothing is kept."""
        self._sweeping = None
        now = self._clock.seconds()
        for key, entry in list(self._entries.items()):
            if entry.download.over and not entry.download.is_held and entry.used_at + KEEP <= now:
                self._forget(key)
        if self._entries:
            self._sweeping = self._clock.callLater(KEEP / 4, self._sweep)

    # what is given

    def _resource(
        self, download: Download, wanted: Wanted, byte_range: ByteRange | None
    ) -> Resource | Deferred[Resource]:
        """A download, held for one who asked for it, as what was asked for."""
        if byte_range is None or download.status != 200:
            return Resource(download, download.range, download.status, self._settings)
        self._is_whole(download, wanted, byte_range)
        if download.length is None:
            return download.complete().addCallback(self._resource, wanted, byte_range)
        span = byte_range.within(download.length)
        part = None if span is None else ContentRange(*span, download.length)
        return Resource(download, part, 416 if part is None else 206, self._settings)

    def _is_whole(self, download: Download, wanted: Wanted, byte_range: ByteRange) -> None:
        """The provider was asked for a part and sends all: the next part is cut from it."""
        entry = self._entries.get((wanted, byte_range))
        if entry is not None and entry.download is download and (wanted, None) not in self._entries:
            self._entries[wanted, None] = self._entries.pop((wanted, byte_range))

    def _was_ahead(self, _: object) -> None:
        self._ahead -= 1
