"""What a fetcher has under way and what it keeps, within bounds.

Bounded are the bytes of all bodies together, the number of entries (one that is a few bytes takes some thousand all the
same: its URL, its headers), and the same number for each source: who asks for every part of one file by itself must not
drive out what others watch. What was used longest ago goes first, and only what nobody waits for or reads.

What is read cannot go, but its reader may: a player that has paused in the middle of a segment, or reads it drop by
drop, holds all of it. While there is memory nobody minds. When there is none, the choice is between that player, who
asks again when it goes on, and all who wait for the segment that is arriving now.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

import attrs

from ..core.http.byte_ranges import ByteRange
from ..core.http.source_request import SourceRequest
from .download import Download
from .http_client import ResourceRequest

#: Entries of all sources together, and of one: a minute of a low latency stream with ten variants.
MAX_ENTRIES = 8192
MAX_ENTRIES_PER_SOURCE = 2048
#: Seconds that a reader may be paused, and that it may be at one download that is complete, while memory is short.
MAX_PAUSE = 5.0
MAX_READING = 120.0

CacheKey = tuple[ResourceRequest, ByteRange | None]


@attrs.define(eq=False)
class CacheEntry:
    """What is kept, or under way."""

    download: Download
    used_at: float

    @property
    def is_idle(self) -> bool:
        """Whether it may go."""
        return self.download.over and not self.download.is_held


class ResponseCache:
    """Entries by key; those used last are last."""

    def __init__(self) -> None:
        """
        Nothing.

        :ivar size: bytes that are kept, arriving or being read.
        """
        self._entries: OrderedDict[CacheKey, CacheEntry] = OrderedDict()
        self._by_source: dict[SourceRequest, OrderedDict[CacheKey, CacheEntry]] = {}
        self.size = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[tuple[CacheKey, CacheEntry]]:
        """A copy: what is found may be forgotten."""
        return iter(list(self._entries.items()))

    def get(self, key: CacheKey) -> CacheEntry | None:
        """The entry, without using it."""
        return self._entries.get(key)

    def mark_used(self, key: CacheKey, now: float) -> None:
        """Somebody asks for it."""
        entry = self._entries[key]
        entry.used_at = now
        self._entries.move_to_end(key)
        self._by_source[key[0].source].move_to_end(key)

    def put(self, key: CacheKey, entry: CacheEntry) -> None:
        """One more; make room before."""
        self._entries[key] = entry
        self._by_source.setdefault(key[0].source, OrderedDict())[key] = entry

    def pop(self, key: CacheKey) -> CacheEntry | None:
        """One less. Who holds its download may read on."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            entries = self._by_source[key[0].source]
            del entries[key]
            if not entries:
                del self._by_source[key[0].source]
        return entry

    def remove(self, key: CacheKey) -> None:
        """The same, and newcomers will not find it."""
        entry = self.pop(key)
        if entry is not None:
            entry.download.removed_from_cache()

    def make_room(self, source: SourceRequest) -> bool:
        """Make room for one more entry of a source, if there is any to be made."""
        of_source = self._by_source.get(source, OrderedDict())
        return self._has_room_for_one(MAX_ENTRIES_PER_SOURCE, of_source) and self._has_room_for_one(
            MAX_ENTRIES, self._entries
        )

    def _has_room_for_one(self, most: int, entries: OrderedDict[CacheKey, CacheEntry]) -> bool:
        return len(entries) < most or self._remove_oldest(entries)

    def reserve(self, size: int, limit: int, now: float) -> bool:
        """
        Memory for some bytes more.

        :param limit: bytes of all.
        :return: whether there is.
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
        """Of those that nobody waits for or reads; whether there was one."""
        oldest = next((key for key, entry in entries.items() if entry.is_idle), None)
        if oldest is not None:
            self.remove(oldest)
        return oldest is not None

    def _remove_slow(self, size: int, limit: int, now: float) -> None:
        """Those whose readers all take their time."""
        for key, entry in self:
            if self.size + size <= limit:
                return
            if entry.download.over and entry.download.abort_slow_readers(now - MAX_PAUSE, now - MAX_READING):
                self.remove(key)
