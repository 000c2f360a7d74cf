"""Files of any size that need no storage.

``/movie/…``, ``/series/…``, ``/timeshift/…`` and ``/file/…`` are files, whatever their name. Their content is
pseudo-random. Every 4096 bytes it holds its own offset, so that a test detects misplaced bytes.
"""

from __future__ import annotations

import hashlib
import re
from email.utils import formatdate
from functools import lru_cache

import attrs

from m3uproxy.provider.answers import SERVER, Answer, page
from m3uproxy.provider.file_faults import FileFaults
from m3uproxy.provider.heads import render_head
from m3uproxy.provider.requests import Request

#: Bytes from an offset in the content to the next one.
STAMPED = 4096
_BLOCKS = 64
_STAMP = 16
#: Modification time of all files: 2026-01-01 00:00:00 UTC, a minute later for each seed.
_MODIFIED = 1_767_225_600
_RANGE = re.compile(r"bytes=(?:(\d+)-(\d*)|-(\d+))")


def file_name(path: str) -> str | None:
    """Return the name of the file at a path: the last segment without extension. Return None for other paths."""
    parts = path.split("/")
    if len(parts) < 3 or parts[0] or parts[1] not in ("movie", "series", "timeshift", "file") or not parts[-1]:
        return None
    return parts[-1].rpartition(".")[0] or parts[-1]


@lru_cache(maxsize=16)
def _pattern(name: str, seed: int) -> list[bytes]:
    """Return the blocks between the offsets, which repeat."""
    size = STAMPED - _STAMP
    data = hashlib.shake_128(f"{name} {seed}".encode()).digest(_BLOCKS * size)
    return [data[place : place + size] for place in range(0, len(data), size)]


def content(name: str, seed: int, first: int, stop: int) -> bytes:
    """Return the content of a file from byte ``first`` up to ``stop``."""
    pattern = _pattern(name, seed)
    begin = first // STAMPED
    blocks = range(begin, -(-stop // STAMPED))
    parts = [part for block in blocks for part in (b"%016x" % (block * STAMPED), pattern[block % _BLOCKS])]
    return b"".join(parts)[first - begin * STAMPED : stop - begin * STAMPED]


@attrs.frozen
class File:
    """A file as a request sees it.

    :ivar data: stored content; None: generated content.
    """

    name: str
    faults: FileFaults
    data: bytes | None = attrs.field(default=None, repr=False)

    @property
    def size(self) -> int:
        """Size in bytes."""
        return self.faults.size if self.data is None else len(self.data)

    @property
    def etag(self) -> str:
        """ETag header, empty if the file has none."""
        given = self.faults.etag
        if given == "none":
            return ""
        own = f'"{self.name}-{self.size}-{self.faults.seed}"'
        return {"strong": own, "weak": f"W/{own}"}.get(given, f'"{given}"')

    @property
    def modified(self) -> str:
        """Last-Modified header, empty if the file has none."""
        return formatdate(_MODIFIED + 60 * self.faults.seed, usegmt=True) if self.faults.modified else ""

    def read(self, first: int, stop: int) -> bytes:
        """Return the bytes from ``first`` up to ``stop``."""
        if self.data is not None:
            return self.data[first:stop]
        return content(self.name, self.faults.seed, first, stop)


@attrs.frozen
class FileAnswer:
    """A head and the range of the file that follows it."""

    answer: Answer
    first: int = 0
    stop: int = 0


def file_answer(request: Request, file: File) -> FileAnswer:
    """Return the answer to a request for a file."""
    faults = file.faults
    status = (faults.head_status if request.method == "HEAD" else None) or faults.status
    if status is not None:
        return FileAnswer(page(status))
    if faults.html:
        return FileAnswer(page(200))
    range_header = request.header("Range")
    if range_header is None or not faults.ranges or faults.chunked or not _may_be_partial(request, file):
        return _whole(file)
    span = _span(range_header, file)
    if span is None:
        return _whole(file)
    if span[0] >= span[1]:
        headers = [SERVER, ("Content-Range", f"bytes */{file.size}"), ("Content-Length", "0")]
        return FileAnswer(Answer(render_head(416, headers)))
    first, stop = span
    about = [("Content-Range", f"bytes {first}-{stop - 1}/{file.size}"), ("Content-Length", str(stop - first))]
    return FileAnswer(Answer(render_head(206, [*_common_headers(file), *about])), first, stop)


def _may_be_partial(request: Request, file: File) -> bool:
    condition = request.header("If-Range")
    return condition is None or (condition == file.etag and condition[:1] == '"') or condition == file.modified


def _span(range_header: str, file: File) -> tuple[int, int] | None:
    match = _RANGE.fullmatch(range_header)
    if match is None:
        return None
    first, last, suffix = match.groups()
    if suffix:
        return max(0, file.size - int(suffix)), file.size
    stop = min(int(last) + 1, file.size) if last else file.size
    if file.faults.most:
        stop = min(stop, int(first) + file.faults.most)
    return int(first), stop


def _whole(file: File) -> FileAnswer:
    if file.faults.chunked:
        headers = [*_common_headers(file), ("Transfer-Encoding", "chunked")]
    else:
        headers = [*_common_headers(file), ("Content-Length", str(file.size))]
    return FileAnswer(Answer(render_head(200, headers)), 0, file.size)


def _common_headers(file: File) -> list[tuple[str, str]]:
    headers = [
        SERVER,
        ("Content-Type", "application/octet-stream"),
        ("Accept-Ranges", "bytes" if file.faults.ranges else "none"),
        ("ETag", file.etag),
        ("Last-Modified", file.modified),
    ]
    return [pair for pair in headers if pair[1]]
