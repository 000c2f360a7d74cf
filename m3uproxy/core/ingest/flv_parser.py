"""The parser of FLV: tags of one body after another in, chunks that begin at key frames out.

Each player first gets an FLV file header. Its first block is preceded by the metadata and the decoder configuration,
with the time of that block. These tags are ordinary tags, so a player that skips ahead may get them again.
"""

from __future__ import annotations

from .flv_splice import FlvSplicer
from .flv_tags import AUDIO, FlvReader, FlvTag, FlvTagUse
from .media_progress import MediaProgress
from .parser import BufferedParser, Chunk

#: Flags of a file header: audio, and the mask of audio and video.
_AUDIO_FLAG, _TRACK_FLAGS = 4, 5


class FlvParser(BufferedParser):
    """A :class:`m3uproxy.core.ingest.parser.StreamParser` for FLV."""

    def __init__(self) -> None:
        super().__init__()
        self._splicer = FlvSplicer()
        self._flags = 0
        self._reset_source()

    def _reset_source(self) -> None:
        self._reader = FlvReader()

    @property
    def media(self) -> MediaProgress:
        """The pictures and the sound of the current body."""
        return self._reader.media

    @property
    def preamble(self) -> bytes:
        """The FLV file header and the length of the tag before the first one, which is 0."""
        return b"FLV\x01" + bytes([self._flags]) + b"\0\0\0\x09\0\0\0\0"

    def flush(self, now: float) -> list[Chunk]:
        """Return all whole tags."""
        if not self._size:
            return []
        pieces = self._take_pieces()
        tags = self._reader.feed(b"".join(pieces), now)
        self._flags = self._reader.flags or self._flags
        return self._chunks(tags, now)

    def next_source(self, now: float) -> list[Chunk]:
        """Start the next body and drop an incomplete tag."""
        chunks = self.flush(now)
        self._splicer.next_source()
        self._reset_source()
        return chunks

    def _chunks(self, tags: list[FlvTag], now: float) -> list[Chunk]:
        groups: list[tuple[bytes, bool, list[bytes]]] = []
        for tag in tags:
            output, report = self._splicer.splice(tag, now)
            if report is not None:
                self._reports.append(report)
            access = self._is_access(tag, bool(groups))
            if access and len(output) > 1:
                # A player that joins here has the configuration already.
                groups.append((self._splicer.join_tags(), False, output[:-1]))
                output = output[-1:]
            if output and (access or not groups):
                groups.append((self._splicer.join_tags(), access, []))
            if output:
                groups[-1][2].extend(output)
        return [Chunk(b"".join(data), psi, access) for psi, access, data in groups]

    def _is_access(self, tag: FlvTag, has_group: bool) -> bool:
        """Return True for a key frame.

        In a stream without video, return True for audio, but start only one chunk with it.
        """
        if self._splicer.has_video or self._flags & _TRACK_FLAGS != _AUDIO_FLAG:
            return tag.use is FlvTagUse.KEY
        return tag.kind == AUDIO and not has_group
