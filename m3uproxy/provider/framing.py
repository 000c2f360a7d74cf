"""How body bytes go onto the transport: as they are, in chunks (RFC 9112, 7.1), compressed (RFC 9110, 8.4.1.3)."""

from __future__ import annotations

import zlib
from typing import Protocol

from m3uproxy.provider.faults import Faults

#: What ``bad_chunk`` sends where a chunk's size should stand.
BAD_CHUNK = b"zz\r\n"


class Framing(Protocol):
    """One way to send a body."""

    def encode(self, data: bytes) -> bytes:
        """Transport bytes of some more of the body (never none)."""

    def end(self) -> bytes:
        """Transport bytes of a clean end."""


class Identity:
    """The connection's end is the body's end."""

    def encode(self, data: bytes) -> bytes:
        """As they are."""
        return data

    def end(self) -> bytes:
        """Nothing."""
        return b""


class Chunked:
    """A chunk for each write."""

    def encode(self, data: bytes) -> bytes:
        """One chunk."""
        return b"%x\r\n%b\r\n" % (len(data), data)

    def end(self) -> bytes:
        """The last chunk, without trailers."""
        return b"0\r\n\r\n"


class ChunkedCut(Chunked):
    """Chunks, and an end in the middle of one."""

    def end(self) -> bytes:
        """A chunk of 4096 bytes of which two come."""
        return b"1000\r\nGG"


class Gzip:
    """A gzip stream that is flushed with each write, so that it can be decoded as it comes."""

    def __init__(self, inner: Framing) -> None:
        self._inner = inner
        self._deflate = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)

    def encode(self, data: bytes) -> bytes:
        """Compressed, up to the last byte given."""
        packed = self._deflate.compress(data) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return self._inner.encode(packed)

    def end(self) -> bytes:
        """The checksum and length, and the end of what it is in."""
        return self._inner.encode(self._deflate.flush()) + self._inner.end()


class IcyMetadata:
    """Radio with a block of text behind each so many bytes: its length in units of 16, then the text and zeros."""

    TEXT = b"StreamTitle='A song';"

    def __init__(self, inner: Framing, interval: int) -> None:
        self._inner = inner
        self._interval = self._left = interval
        self._blocks = 0

    def encode(self, data: bytes) -> bytes:
        """With the blocks that are due in it; every other one says that the title is the same."""
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
        """Of what it is in."""
        return self._inner.end()


_FRAMINGS: dict[str, type[Identity] | type[Chunked]] = {
    "close": Identity,
    "chunked": Chunked,
    "chunked_cut": ChunkedCut,
    "none": Identity,
}


def make_framing(faults: Faults) -> Framing:
    """The framing that the faults ask for."""
    framing: Framing = _FRAMINGS[faults.framing]()
    framing = Gzip(framing) if faults.gzip else framing
    return IcyMetadata(framing, faults.metaint) if faults.metaint else framing


def framing_headers(faults: Faults) -> list[tuple[str, str]]:
    """The headers that announce it."""
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
