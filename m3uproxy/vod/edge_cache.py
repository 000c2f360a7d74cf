"""Cache of the beginning and the end of files: players read the first and the last megabytes repeatedly.

A player reads them to find the container's index. Bytes that a session reads are cached for the next request and for
other players. Each file has at most :data:`HEAD_BYTES` from its beginning and :data:`TAIL_BYTES` up to its end. All
files together have a limit; the least recently used files are evicted first.
"""

from __future__ import annotations

from collections import OrderedDict

import attrs

#: Bytes cached of the beginning and of the end of a file. The index of a film of three hours has one or two megabytes.
HEAD_BYTES = 2_097_152
TAIL_BYTES = 4_194_304
#: Bytes returned by one read.
READ_BYTES = 262_144


@attrs.define
class _CachedEdges:
    """Cached bytes of one file: ``head`` from offset 0 on, ``tail`` from offset ``tail_at`` on."""

    head: bytearray = attrs.field(factory=bytearray)
    tail: bytearray = attrs.field(factory=bytearray)
    tail_at: int = 0

    @property
    def size(self) -> int:
        return len(self.head) + len(self.tail)


class EdgeCache:
    """Cache of the first and last bytes of all files, by stream id."""

    def __init__(self, limit: int) -> None:
        """
        Initialise an empty cache.

        :param limit: bytes over all files; 0 disables the cache.
        """
        self._limit = limit
        self._files: OrderedDict[str, _CachedEdges] = OrderedDict()
        self.size = 0

    def store(self, stream_id: str, length: int | None, offset: int, data: memoryview) -> None:
        """Store bytes of a file, as far as they belong to its edges.

        :param length: bytes of the file; if it is unknown (None), only the beginning is cached.
        :param offset: offset of ``data`` in the file.
        """
        in_tail = length is not None and offset + len(data) > max(HEAD_BYTES, length - TAIL_BYTES)
        if not self._limit or (offset >= HEAD_BYTES and not in_tail):
            return
        edges = self._files.setdefault(stream_id, _CachedEdges())
        before = edges.size
        if offset <= len(edges.head) < HEAD_BYTES:
            edges.head += data[len(edges.head) - offset : HEAD_BYTES - offset]
        if in_tail and length is not None:
            _extend_tail(edges, max(HEAD_BYTES, length - TAIL_BYTES), offset, data)
        self.size += edges.size - before
        self._files.move_to_end(stream_id)
        self._evict()

    def read(self, stream_id: str, offset: int) -> memoryview | None:
        """Return up to :data:`READ_BYTES` cached bytes from an offset on; None if that offset is not cached."""
        edges = self._files.get(stream_id)
        if edges is None:
            return None
        if offset < len(edges.head):
            found = bytes(edges.head[offset : offset + READ_BYTES])
        elif edges.tail_at <= offset < edges.tail_at + len(edges.tail):
            place = offset - edges.tail_at
            found = bytes(edges.tail[place : place + READ_BYTES])
        else:
            return None
        self._files.move_to_end(stream_id)
        return memoryview(found)

    def remove(self, stream_id: str) -> None:
        """Remove a file: the stream was removed, or its source has another file now."""
        edges = self._files.pop(stream_id, None)
        if edges is not None:
            self.size -= edges.size

    def _evict(self) -> None:
        while self.size > self._limit:
            self.remove(next(iter(self._files)))


def _extend_tail(edges: _CachedEdges, begin: int, offset: int, data: memoryview) -> None:
    """Append bytes that follow the cached tail. If there is a gap between them, start a new tail."""
    if offset < begin:
        data, offset = data[begin - offset :], begin
    end = edges.tail_at + len(edges.tail)
    if not edges.tail_at <= offset <= end:
        edges.tail, edges.tail_at, end = bytearray(), offset, offset
    edges.tail += data[max(0, end - offset) :]
