"""Framing of body bytes: unchanged, chunked (RFC 9112, 7.1) or compressed (RFC 9110, 8.4.1.3)."""

from __future__ import annotations

import zlib
from typing import Protocol

from m3uproxy.provider.faults import Faults

#: Sent by ``bad_chunk`` in place of a chunk size.
BAD_CHUNK = b"zz\r\n"


class Framing(Protocol):
    """A framing of a body."""

    def encode(self, data: bytes) -> bytes:
        """Return the wire bytes of the next bytes of the body. ``data`` is not empty."""

    def end(self) -> bytes:
        """Return the wire bytes of a regular end."""


class Identity:
    """A body that ends with the connection."""

    def encode(self, data: bytes) -> bytes:
        """Return the bytes unchanged."""
        return data

    def end(self) -> bytes:
        """Return no bytes."""
        return b""


class Chunked:
    """A body with a chunk per write."""

    def encode(self, data: bytes) -> bytes:
        """Return a chunk."""
        return b"%x\r\n%b\r\n" % (len(data), data)

    def end(self) -> bytes:
        """Return the last chunk, without trailers."""
        return b"0\r\n\r\n"


class ChunkedCut(Chunked):
    """A chunked body that ends within a chunk."""

    def end(self) -> bytes:
        """Return a chunk header of 4096 bytes and only two bytes of data."""
        return b"1000\r\nGG"


class Gzip:
    """A gzip stream, flushed with each write. A client can decode it as it arrives."""

    def __init__(self, inner: Framing) -> None:
        self._inner = inner
        self._deflate = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)

    def encode(self, data: bytes) -> bytes:
        """Return all bytes compressed and flushed, in the inner framing."""
        packed = self._deflate.compress(data) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return self._inner.encode(packed)

    def end(self) -> bytes:
        """Return checksum and length, and the end of the inner framing."""
        return self._inner.encode(self._deflate.flush()) + self._inner.end()


class IcyMetadata:
    """A radio body with ICY metadata.

    After each interval follows a block: its length in units of 16 bytes, then text padded with zeros.
    """

    TEXT = b"StreamTitle='A song';"

    def __init__(self, inner: Framing, interval: int) -> None:
        self._inner = inner
        self._interval = self._left = interval
        self._blocks = 0

    def encode(self, data: bytes) -> bytes:
        """Insert the blocks that are due. Every second block is empty: the title is unchanged."""
        out = b""
        while len(data) >= self._left:
            units = 0 if self._blocks % 2 else -(-len(self.TEXT) // 16)
            self._blocks += 1
            block = bytes([units]) + self.TEXT.ljust(units * 16, b"\0")[: units * 16]
            out, data = out + data[: self._left] + block, data[self._left :]
            self._left = self._interval
        self._left -= len(data)
        return self._inner.encode(out + data)

    def end(self) -> bytes:
        """Return the end of the inner framing."""
        return self._inner.end()


_FRAMINGS: dict[str, type[Identity] | type[Chunked]] = {
    "close": Identity,
    "chunked": Chunked,
    "chunked_cut": ChunkedCut,
    "none": Identity,
}


def make_framing(faults: Faults) -> Framing:
    """Return the framing that the faults select."""
    framing: Framing = _FRAMINGS[faults.framing]()
    framing = Gzip(framing) if faults.gzip else framing
    return IcyMetadata(framing, faults.metaint) if faults.metaint else framing


def framing_headers(faults: Faults) -> list[tuple[str, str]]:
    """Return the headers that announce the framing."""
    headers = []
    if faults.framing not in ("close", "none"):
        headers.append(("Transfer-Encoding", "chunked"))
    if faults.length is not None:
        headers.append(("Content-Length", str(faults.length)))
    if faults.gzip:
        headers.append(("Content-Encoding", "gzip"))
    if faults.metaint:
        headers.append(("icy-metaint", str(faults.metaint)))
    return headers
