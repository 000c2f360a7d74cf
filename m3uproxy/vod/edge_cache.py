"""The ends of files: players read the first and the last megabytes again and again, to find out what they play.

What passed on its way to one player is kept for the next, and for the same one's next request. Each file has at most
:data:`HEAD` bytes from its beginning on and :data:`TAIL` up to its end; all files together have a bound, beyond which
those that were asked for longest ago go.
"""

from __future__ import annotations

from collections import OrderedDict

import attrs

#: Bytes kept of the beginning and of the end of a file. An index of three hours of film has a megabyte or two.
HEAD = 2_097_152
TAIL = 4_194_304
#: Bytes given out at a time.
PIECE = 262_144


@attrs.define
class _File:
    """``head`` is from offset 0 on; ``tail`` from offset ``tail_at`` on."""

    head: bytearray = attrs.field(factory=bytearray)
    tail: bytearray = attrs.field(factory=bytearray)
    tail_at: int = 0

    @property
    def size(self) -> int:
        return len(self.head) + len(self.tail)


class EdgeCache:
    """The ends of all files, by name."""

    def __init__(self, limit: int) -> None:
        """
        Nothing is kept yet.

        :param limit: bytes over all files; 0 keeps none.
        """
        self._limit = limit
        self._files: OrderedDict[str, _File] = OrderedDict()
        self.size = 0

    def keep(self, name: str, length: int | None, offset: int, data: memoryview) -> None:
        """Some bytes of a file passed.

        :param length: of the file; of one whose length nobody knows, only the beginning is kept.
        """
        in_tail = length is not None and offset + len(data) > max(HEAD, length - TAIL)
        if not self._limit or (offset >= HEAD and not in_tail):
            return
        file = self._files.setdefault(name, _File())
        before = file.size
        if offset <= len(file.head) < HEAD:
            file.head += data[len(file.head) - offset : HEAD - offset]
        if in_tail and length is not None:
            _keep_tail(file, max(HEAD, length - TAIL), offset, data)
        self.size += file.size - before
        self._files.move_to_end(name)
        self._shrink()

    def read(self, name: str, offset: int) -> memoryview | None:
        """Bytes of a file from there on, as far as they are known; None if they are not."""
        file = self._files.get(name)
        if file is None:
            return None
        if offset < len(file.head):
            found = bytes(file.head[offset : offset + PIECE])
        elif file.tail_at <= offset < file.tail_at + len(file.tail):
            place = offset - file.tail_at
            found = bytes(file.tail[place : place + PIECE])
        else:
            return None
        self._files.move_to_end(name)
        return memoryview(found)

    def forget(self, name: str) -> None:
        """It is another file now, or none."""
        file = self._files.pop(name, None)
        if file is not None:
            self.size -= file.size

    def _shrink(self) -> None:
        while self.size > self._limit:
            self.forget(next(iter(self._files)))


def _keep_tail(file: _File, begin: int, offset: int, data: memoryview) -> None:
    """Add to the tail what follows it; what stands apart from it begins it anew."""
    if offset < begin:
        data, offset = data[begin - offset :], begin
    end = file.tail_at + len(file.tail)
    if not file.tail_at <= offset <= end:
        file.tail, file.tail_at, end = bytearray(), offset, offset
    file.tail += data[max(0, end - offset) :]
