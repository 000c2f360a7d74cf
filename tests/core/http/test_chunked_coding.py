"""Chunk framing as embedded servers write it, cut into reads at any byte, and as Twisted's decoder reads the result."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.web.http import _ChunkedTransferDecoder, _MalformedChunkedDataError

from m3uproxy.core.http.chunked_coding import MAX_SIZE_LINE, MAX_TRAILERS, ChunkedBody

PIECES = [b"G" * 188, b"x", b"0\r\n\r\n", b"\n" * 40]


def framed(size: str, end: bytes = b"\r\n", last: bytes = b"0\r\n\r\n") -> bytes:
    return b"".join(size.encode() % len(piece) + end + piece + end for piece in PIECES) + last


def decoded(*reads: bytes, closed: bool = False) -> tuple[bytes, bytes | None]:
    """Return the decoded body, and the bytes behind it; None if the body has not ended."""
    body, data, rest = ChunkedBody(), [], []
    decoder = _ChunkedTransferDecoder(data.append, rest.append)
    for read in reads:
        (rest.append if rest else decoder.dataReceived)(body.rewrite(read))
    if closed and (ending := body.close()):
        decoder.dataReceived(ending)
    return b"".join(data), b"".join(rest) if rest else None


@pytest.mark.parametrize(
    "size",
    [
        "%x",
        "%X",
        "%08x",
        "%020X",
        "%x  ",
        "%x\t",
        " %x",
        "\t%x \t",
        "%-8x",
        "%x;a=b",
        "%x ; a = b",
        '%x;a="b;c";d',
        "%x;",
        "%x;\x01\xff",
        "%x;" + "a" * 4000,
    ],
)
@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_sizes_that_players_accept(size: str, end: bytes) -> None:
    last = b"0" + end + end
    assert decoded(framed(size, end, last)) == (b"".join(PIECES), b"")


@pytest.mark.parametrize(
    "last",
    [
        b"0\r\n\r\n",
        b"000\r\n\r\n",
        b"0;x\n\n",
        b" 0 \r\nExpires: never\r\nX: y\r\n\r\n",
        b"0\r\n" + b"A: b\r\n" * 1000 + b"\n",
    ],
)
def test_last_chunks(last: bytes) -> None:
    assert decoded(framed("%x", last=last) + b"HTTP/1.1") == (b"".join(PIECES), b"HTTP/1.1")


@given(st.lists(st.integers(0, 400)), st.sampled_from(["%x", "%08X \t", "%x;a=b"]), st.sampled_from([b"\r\n", b"\n"]))
def test_any_cut_gives_the_same_body(cuts: list[int], size: str, end: bytes) -> None:
    whole = framed(size, end) + b"rest"
    marks = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    body, after = decoded(*(whole[start:stop] for start, stop in itertools.pairwise(marks)))
    assert (body, after) == (b"".join(PIECES), b"rest")


def test_one_read_is_one_chunk() -> None:
    rewritten = ChunkedBody().rewrite(framed("%x"))
    body = b"".join(PIECES)
    assert rewritten == b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


@pytest.mark.parametrize(
    "wrong",
    [
        b"zz\r\n",
        b"\r\n",
        b"-5\r\n",
        b"0x5\r\n",
        b"5 5\r\n",
        b"5,5\r\n",
        b"5\r5\r\n",
        b"f" * 16 + b"\r\n",
        b"5;" + b"a" * MAX_SIZE_LINE,
        b" " * (MAX_SIZE_LINE + 1),
        b"5\r\nabcdefg\r\n",
        b"0\r\n" + b"a" * (MAX_TRAILERS + 1),
        b"0\r\n" + b"aaaa: b\r\n" * 10_000,
    ],
)
def test_framing_errors_stay_errors(wrong: bytes) -> None:
    body = ChunkedBody()
    sent = body.rewrite(b"2\r\nab\r\n" + wrong)
    got: list[bytes] = []
    with pytest.raises(_MalformedChunkedDataError):
        _ChunkedTransferDecoder(got.append, got.append).dataReceived(sent)
    assert b"".join(got).startswith(b"ab")
    assert body.rewrite(b"2\r\nab\r\n") == b""
    assert body.close() == b""


def test_a_close_within_trailers_completes_the_body() -> None:
    assert decoded(b"2\r\nab\r\n0\r\n", closed=True) == (b"ab", b"")
    assert decoded(b"2\r\nab\r\n0\r\nX: y\r\n", closed=True) == (b"ab", b"")
    assert decoded(b"2\r\nab\r\n", closed=True) == (b"ab", None)
    assert decoded(b"5\r\nab", closed=True) == (b"ab", None)
    assert decoded(b"2\r\nab\r\n0\r\n\r\n", closed=True) == (b"ab", b"")
