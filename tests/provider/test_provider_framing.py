"""Framings of a body: a reader gets back the original bytes."""

import zlib

from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.provider.faults import Faults
from m3uproxy.provider.framing import framing_headers, make_framing

pieces = st.lists(st.binary(min_size=1, max_size=300), max_size=8)


def unchunk(data):
    """Decode chunks strictly. Return the body and the bytes after the last chunk, None if the last chunk is missing."""
    body = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        if not size:
            return body, None
        length = int(size, 16)
        if length == 0:
            assert data.startswith(b"\r\n")
            return body, data[2:]
        if len(data) < length + 2:
            return body, None
        body, end, data = body + data[:length], data[length : length + 2], data[length + 2 :]
        assert end == b"\r\n"


@given(pieces)
def test_close_delimited(parts):
    framing = make_framing(Faults())
    assert b"".join(map(framing.encode, parts)) + framing.end() == b"".join(parts)
    assert framing_headers(Faults()) == []


@given(pieces)
def test_chunked(parts):
    framing = make_framing(Faults(framing="chunked"))
    assert unchunk(b"".join(map(framing.encode, parts)) + framing.end()) == (b"".join(parts), b"")


@given(pieces)
def test_chunked_cut(parts):
    framing = make_framing(Faults(framing="chunked_cut"))
    assert unchunk(b"".join(map(framing.encode, parts)) + framing.end()) == (b"".join(parts), None)


@given(pieces)
def test_gzip_decodes_as_it_arrives(parts):
    framing, inflate = make_framing(Faults(gzip=True)), zlib.decompressobj(16 + zlib.MAX_WBITS)
    for part in parts:
        assert inflate.decompress(framing.encode(part)) == part
    inflate.decompress(framing.end())
    assert inflate.eof


def test_gzip_in_chunks_with_a_length():
    faults = Faults(framing="chunked", gzip=True, length=5)
    assert dict(framing_headers(faults)) == {
        "Transfer-Encoding": "chunked",
        "Content-Length": "5",
        "Content-Encoding": "gzip",
    }
    framing = make_framing(faults)
    body, rest = unchunk(framing.encode(b"abc") + framing.end())
    assert (zlib.decompress(body, 16 + zlib.MAX_WBITS), rest) == (b"abc", b"")
