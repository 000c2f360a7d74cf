"""The bounded cache of a fetcher: the downloads under way and the complete ones.

Three things are bounded: the bytes of all bodies, the number of entries, and the number of entries of each source. An
entry of a few bytes still takes some thousand bytes for its URL and headers. The bound for each source keeps a player
that requests every range of one file from evicting the segments of other streams. The entry that was used longest ago
is removed first, if no request waits for it and no reader reads it.

An entry cannot be removed while it is read, but its readers can be aborted. A player that has paused within a segment,
or reads it very slowly, holds all of its memory. If memory is short, such readers are aborted: they repeat their
request later, while all other players wait for the segment that is arriving now.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

import attrs

from ..core.http.byte_ranges import ByteRange
from ..core.http.source_request import SourceRequest
from .download import Download
from .http_client import ResourceRequest

#: Limits of the number of entries, of all sources and of one source. One source needs as many for a minute of a
#: low-latency stream with ten variants.
MAX_ENTRIES = 8192
MAX_ENTRIES_PER_SOURCE = 2048
#: If memory is short: seconds that a reader may be paused, and seconds that it may read one complete download.
MAX_PAUSE = 5.0
MAX_READING = 120.0

CacheKey = tuple[ResourceRequest, ByteRange | None]


@attrs.define(eq=False)
class CacheEntry:
    """
    A download in the cache, under way or complete.

    :ivar used_at: time of the last request for it (seconds of the clock).
    """

    download: Download
    used_at: float

    @property
    def is_idle(self) -> bool:
        """True if the entry may be removed."""
        return self.download.over and not self.download.is_held


class ResponseCache:
    """
    The entries by key, in the order of their last use.

    :ivar size: bytes of all bodies, those that arrive or are read included.
    """

    def __init__(self) -> None:
        self._entries: OrderedDict[CacheKey, CacheEntry] = OrderedDict()
        self._by_source: dict[SourceRequest, OrderedDict[CacheKey, CacheEntry]] = {}
        self.size = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[tuple[CacheKey, CacheEntry]]:
        """Iterate over a copy, since entries may be removed meanwhile."""
        return iter(list(self._entries.items()))

    def get(self, key: CacheKey) -> CacheEntry | None:
        """Return an entry, or None. The order of use stays."""
        return self._entries.get(key)

    def mark_used(self, key: CacheKey, now: float) -> None:
        """Note that an entry was requested."""
        entry = self._entries[key]
        entry.used_at = now
        self._entries.move_to_end(key)
        self._by_source[key[0].source].move_to_end(key)

    def put(self, key: CacheKey, entry: CacheEntry) -> None:
        """Add an entry. The caller must :meth:`make_room` before."""
        self._entries[key] = entry
        self._by_source.setdefault(key[0].source, OrderedDict())[key] = entry

    def pop(self, key: CacheKey) -> CacheEntry | None:
        """Take an entry out, or return None. Its download stays as it is."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            entries = self._by_source[key[0].source]
            del entries[key]
            if not entries:
                del self._by_source[key[0].source]
        return entry

    def remove(self, key: CacheKey) -> None:
        """Remove an entry. Its memory is released when no reader holds its download any more."""
        entry = self.pop(key)
        if entry is not None:
            entry.download.removed_from_cache()

    def make_room(self, source: SourceRequest) -> bool:
        """Make room for one more entry of a source. Return False if there is none."""
        of_source = self._by_source.get(source, OrderedDict())
        return self._has_room_for_one(MAX_ENTRIES_PER_SOURCE, of_source) and self._has_room_for_one(
            MAX_ENTRIES, self._entries
        )

    def _has_room_for_one(self, limit: int, entries: OrderedDict[CacheKey, CacheEntry]) -> bool:
        return len(entries) < limit or self._remove_oldest(entries)

    def reserve(self, size: int, limit: int, now: float) -> bool:
        """
        Reserve memory. If it is short, remove entries in the order of use, then abort slow readers.

        :param size: bytes to reserve.
        :param limit: bytes of all bodies together.
        :return: False if the memory is not available.
        """
        while self.size + size > limit and self._remove_oldest(self._entries):
            pass
        if self.size + size > limit:
            self._remove_slow(size, limit, now)
        if self.size + size > limit:
            return False
        self.size += size
        return True

    def _remove_oldest(self, entries: OrderedDict[CacheKey, CacheEntry]) -> bool:
        """Remove the entry that was used longest ago, of those that may be removed. Return False if there is none."""
        oldest = next((key for key, entry in entries.items() if entry.is_idle), None)
        if oldest is not None:
            self.remove(oldest)
        return oldest is not None

    def _remove_slow(self, size: int, limit: int, now: float) -> None:
        """Remove complete entries whose readers are all slow, until there is room for ``size`` bytes."""
        for key, entry in self:
            if self.size + size <= limit:
                return
            if entry.download.over and entry.download.abort_slow_readers(now - MAX_PAUSE, now - MAX_READING):
                self.remove(key)
