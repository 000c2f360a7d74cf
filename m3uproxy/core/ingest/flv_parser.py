"""FLV: tags of one body after another as blocks that begin at key pictures.

A player that begins is sent the header of a file first, and before its block the metadata and what configures its
decoders, at the time of the block: a tag like any other, so that one that skips ahead may get it again.
"""

from __future__ import annotations

from .flv_splice import FlvSplicer
from .flv_tags import AUDIO, FlvReader, FlvTag, FlvTagUse
from .parser import BufferedParser, Chunk

#: Flags of a file's header: sound, and pictures.
_SOUND_ONLY, _BOTH = 4, 5


class FlvParser(BufferedParser):
    """See :class:`m3uproxy.core.ingest.parser.Part`."""

    def __init__(self) -> None:
        super().__init__()
        self._joint = FlvSplicer()
        self._flags = 0
        self._begin()

    def _begin(self) -> None:
        self._tags = FlvReader()

    @property
    def packets(self) -> int:
        """Tags recognised in the present body."""
        return self._tags.count

    @property
    def preamble(self) -> bytes:
        """The header of a file, and the length of the tag before the first one: there is none."""
        return b"FLV\x01" + bytes([self._flags]) + b"\0\0\0\x09\0\0\0\0"

    def flush(self, now: float) -> list[Chunk]:
        """All whole tags."""
        if not self._size:
            return []
        pieces = self._gathered()
        tags = self._tags.feed(b"".join(pieces))
        self._flags = self._tags.flags or self._flags
        return self._cut(tags, now)

    def next_source(self, now: float) -> list[Chunk]:
        """A tag that is not whole is dropped."""
        cuts = self.flush(now)
        self._joint.next_source()
        self._begin()
        return cuts

    def _cut(self, tags: list[FlvTag], now: float) -> list[Chunk]:
        runs: list[tuple[bytes, bool, list[bytes]]] = []
        for tag in tags:
            sent, report = self._joint.take(tag, now)
            if report is not None:
                self._reports.append(report)
            access = self._is_access(tag, bool(runs))
            if sent and (access or not runs):
                runs.append((self._joint.opening(), access, []))
            if sent:
                runs[-1][2].extend(sent)
        return [Chunk(b"".join(run), opening, access) for opening, access, run in runs]

    def _is_access(self, tag: FlvTag, within: bool) -> bool:
        """A key picture; of a stream without pictures any sound, which need not begin more blocks than there are."""
        if self._joint.has_video or self._flags & _BOTH != _SOUND_ONLY:
            return tag.use is FlvTagUse.KEY
        return tag.kind == AUDIO and not within
