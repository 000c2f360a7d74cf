"""How body bytes go onto the wire: as they are, in chunks (RFC 9112, 7.1), compressed (RFC 9110, 8.4.1.3)."""

from __future__ import annotations

import zlib
from typing import Protocol

from m3uproxy.provider.faults import Faults

#: What ``bad_chunk`` sends where a chunk's size should stand.
BAD_CHUNK = b"zz\r\n"


class Framing(Protocol):
    """One way to send a body."""

    def encode(self, data: bytes) -> bytes:
        """Wire bytes of some more of the body (never none)."""

    def end(self) -> bytes:
        """Wire bytes of a clean end."""


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

    def __init__(self, within: Framing) -> None:
        self._within = within
        self._deflate = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)

    def encode(self, data: bytes) -> bytes:
        """Compressed, up to the last byte given."""
        packed = self._deflate.compress(data) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return self._within.encode(packed)

    def end(self) -> bytes:
        """The checksum and length, and the end of what it is in."""
        return self._within.encode(self._deflate.flush()) + self._within.end()


_FRAMINGS: dict[str, type[Identity] | type[Chunked]] = {
    "close": Identity,
    "chunked": Chunked,
    "chunked_cut": ChunkedCut,
    "none": Identity,
}


def make_framing(faults: Faults) -> Framing:
    """The framing that the faults ask for."""
    framing: Framing = _FRAMINGS[faults.framing]()
    return Gzip(framing) if faults.gzip else framing


def framing_headers(faults: Faults) -> list[tuple[str, str]]:
    """The headers that announce it."""
    headers = []
    if faults.framing not in ("close", "none"):
        headers.append(("Transfer-Encoding", "chunked"))
    if faults.length is not None:
        headers.append(("Content-Length", str(faults.length)))
    if faults.gzip:
        headers.append(("Content-Encoding", "gzip"))
    return headers
