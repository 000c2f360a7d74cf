"""Repaired heads, parsed by Twisted's own client."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web._newclient import HTTP11ClientProtocol, Request
from twisted.web.http_headers import Headers

from m3uproxy.core.http.response_head import end_of_head, is_interim, repair_head
from m3uproxy.errors import Reason, SourceError


def parsed(head: bytes) -> "object | None":
    """Return Twisted's response to a head; None if Twisted refuses it."""
    protocol = HTTP11ClientProtocol()
    protocol.makeConnection(StringTransport())
    outcome: list[object] = []
    asked = protocol.request(Request(b"GET", b"/", Headers({b"host": [b"x"]}), None, persistent=False))
    asked.addCallbacks(outcome.append, lambda _: None)
    protocol.dataReceived(head)
    protocol.connectionLost(Failure(ConnectionDone()))
    return outcome[0] if outcome else None


REFUSED = {
    "ICY": b"ICY 200 OK\r\nContent-Type: video/mp2t\r\n\r\n",
    "HTTP/1": b"HTTP/1 200 OK\r\n\r\n",
    "HTTP alone": b"HTTP 200 OK\r\n\r\n",
    "blanks in the status line": b"HTTP/1.1  200   OK\r\n\r\n",
    "no colon": b"HTTP/1.1 200 OK\r\nfoobar\r\nContent-Type: a/b\r\n\r\n",
    "first line folded": b"HTTP/1.1 200 OK\r\n folded: 1\r\n\r\n",
    "identity": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
    "gzip, chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "a length that is none": b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
    "a long line": b"HTTP/1.1 200 OK\r\nSet-Cookie: " + b"a" * 17_000 + b"\r\nContent-Type: a/b\r\n\r\n",
    "a long folded line": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 17_000 + b"\r\n b\r\n\r\n",
    "a long reason": b"HTTP/1.1 200 " + b"a" * 17_000 + b"\r\n\r\n",
    "empty lines first": b"\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
}
#: Heads that Twisted 24.7 accepts and later versions refuse.
REFUSED_BY_SOME = {
    "blank in a name": b"HTTP/1.1 200 OK\r\nContent Type: a/b\r\n\r\n",
    "blank after a name": b"HTTP/1.1 200 OK\r\nServer : x\r\n\r\n",
    "no name": b"HTTP/1.1 200 OK\r\n: x\r\n\r\n",
}
TAKEN = {
    "plain": b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\n\r\n",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\n",
    "lower case": b"http/1.1 200 OK\r\n\r\n",
    "no reason": b"HTTP/1.1 200\r\n\r\n",
    "LF only": b"HTTP/1.1 200 OK\nContent-Type: a/b\n\n",
    "folded": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\tc\r\n\r\n",
    "NUL and CR in a value": b"HTTP/1.1 200 OK\r\nX: a\x00b\rc\r\n\r\n",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "a length": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    "bytes beyond ASCII": b"HTTP/1.1 200 OK\r\nX: \xff\xe9\r\nSet-Cookie: n=\xe9\r\n\r\n",
}


@pytest.mark.parametrize("name", REFUSED)
def test_repaired_head_is_accepted_where_twisted_refuses_it(name: str) -> None:
    assert parsed(REFUSED[name]) is None
    response = parsed(repair_head(REFUSED[name]))
    assert response is not None
    assert response.code == 200


@pytest.mark.parametrize("name", TAKEN)
def test_repaired_head_is_accepted_where_twisted_accepts_it(name: str) -> None:
    assert parsed(TAKEN[name]) is not None
    response = parsed(repair_head(TAKEN[name]))
    assert response is not None
    assert response.code == 200


@pytest.mark.parametrize("name", REFUSED_BY_SOME)
def test_repaired_head_is_accepted_where_some_versions_refuse_it(name: str) -> None:
    response = parsed(repair_head(REFUSED_BY_SOME[name]))
    assert response is not None
    assert response.code == 200


def lines(head: bytes) -> list[bytes]:
    return repair_head(head).split(b"\r\n")[:-2]


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"ICY 200 OK\r\nicy-name:x\r\n\r\n", [b"HTTP/1.0 200 OK", b"icy-name: x"]),
        (b"HTTP/1 404 Not Found\r\n\r\n", [b"HTTP/1.1 404 Not Found"]),
        (b"http/1.0 200\r\n\r\n", [b"HTTP/1.0 200 "]),
        (b"HTTP/2 302\nLocation:  /x \n\n", [b"HTTP/1.1 302 ", b"Location: /x"]),
        (b"HTTP/1.1 200 OK\r\nContent Type : a/b\r\n\r\n", [b"HTTP/1.1 200 OK", b"Content-Type: a/b"]),
        (b"HTTP/1.1 200 OK\r\n X: 1\r\n 2\r\n\r\n", [b"HTTP/1.1 200 OK", b"X: 1 2"]),
        (b"HTTP/1.1 200 OK\r\nX: a\x00\rb\r\n\r\n", [b"HTTP/1.1 200 OK", b"X: a b"]),
        (b"HTTP/1.1 200 OK\r\nSet-Cookie: a=\xe9\r\nSet-Cookie: b=1\r\n\r\n", [b"HTTP/1.1 200 OK", b"Set-Cookie: b=1"]),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: X-GZIP\r\n\r\n", [b"HTTP/1.1 200 OK", b"Content-Encoding: gzip"]),
        (b"HTTP/1.1 200 OK\r\nX-URL: http://a:80/?b=c:d\r\n\r\n", [b"HTTP/1.1 200 OK", b"X-URL: http://a:80/?b=c:d"]),
    ],
)
def test_repaired_lines(head: bytes, expected: list[bytes]) -> None:
    assert lines(head) == expected


@pytest.mark.parametrize(
    ("stated", "kept"),
    [
        (["Content-Length: 5"], [b"Content-Length: 5"]),
        (["Content-Length: 5", "content-length: 5"], [b"Content-Length: 5"]),
        (["Content-Length: 5, 5"], [b"Content-Length: 5"]),
        (["Content-Length: 5", "Content-Length: 6"], []),
        (["Content-Length: -1"], []),
        (["Content-Length: 0"], [b"Content-Length: 0"]),
        (["Content-Length: 2147483646"], [b"Content-Length: 2147483646"]),
        (["Content-Length: 2147483647"], []),
        (["Content-Length: 4294967295"], []),
        (["Content-Length: 9007199254740991"], []),
        (["Content-Length: 1000000000000"], [b"Content-Length: 1000000000000"]),
        (["Content-Length: 1000000000001"], []),
        (["Content-Length: +5"], []),
        (["Content-Length: \u0665"], []),
        (["Content-Length:"], []),
        (["Content-Length: " + "9" * 5000], []),
        (["Transfer-Encoding: Chunked"], [b"Transfer-Encoding: chunked"]),
        (["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], [b"Transfer-Encoding: chunked"]),
        (["Transfer-Encoding: chunked", "Content-Length: 5"], [b"Transfer-Encoding: chunked"]),
        (["Transfer-Encoding: identity", "Content-Length: 5"], [b"Content-Length: 5"]),
        (["Transfer-Encoding: chunked, foo", "Content-Length: 5"], []),
        (["Transfer-Encoding: gzip, chunked"], [b"Content-Encoding: gzip", b"Transfer-Encoding: chunked"]),
    ],
)
def test_framing_is_decided(stated: list[str], kept: list[bytes]) -> None:
    head = "\r\n".join(["HTTP/1.1 200 OK", *stated, "", ""]).encode()
    assert lines(head)[1:] == kept
    assert parsed(repair_head(head)) is not None


@pytest.mark.parametrize(
    "head",
    [
        b"<html>\r\n\r\n",
        b"\r\n\r\n",
        b"",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"GG 200 OK\r\n\r\n",
        b"HTTP/1.1 2000 x\r\n\r\n",
    ],
)
def test_missing_status_line_is_refused(head: bytes) -> None:
    with pytest.raises(SourceError) as caught:
        repair_head(head)
    assert caught.value.reason is Reason.BAD_HEAD


def test_interim_head_is_recognised() -> None:
    head = repair_head(b"HTTP/1.1 102 Processing\r\n\r\n")
    assert head == b"HTTP/1.1 102 Processing\r\n\r\n"
    assert is_interim(head)
    assert not is_interim(repair_head(b"HTTP/1.1 200 OK\r\n\r\n"))
    assert parsed(head + b"HTTP/1.1 200 OK\r\n\r\n").code == 200


@pytest.mark.parametrize(
    ("buffer", "end"),
    [
        (b"", -1),
        (b"HTTP/1.1 200 OK\r\n", -1),
        (b"HTTP/1.1 200 OK\r\n\r", -1),
        (b"HTTP/1.1 200 OK\r\n\r\nGG\n\n", 19),
        (b"HTTP/1.1 200 OK\n\nGG\r\n\r\n", 17),
        (b"HTTP/1.1 200 OK\n\r\nGG", 18),
        (b"\r\n\r\n", -1),
        (b"\r\n\r\nX\r\n\r\n", 9),
    ],
)
def test_end_of_head(buffer: bytes, end: int) -> None:
    assert end_of_head(buffer) == end


@given(st.lists(st.sampled_from([b"\r", b"\n", b"a", b"\r\n", b" "]), max_size=20).map(b"".join), st.data())
def test_end_is_found_wherever_segments_are_split(buffer: bytes, data: st.DataObject) -> None:
    whole = end_of_head(buffer)
    length = 0
    found = -1
    while found < 0 and length < len(buffer):
        searched = max(0, length - 3)
        length += data.draw(st.integers(1, len(buffer) - length))
        found = end_of_head(buffer[:length], searched)
    assert found == whole


LINE = st.binary(max_size=40) | st.sampled_from(
    [
        b"Content-Length: 5",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: x",
        b" folded",
        b"A B: c",
        b"Content-Length: 6",
    ]
)


@given(st.lists(LINE, max_size=8))
def test_any_head_with_a_status_line_is_accepted(headers: list[bytes]) -> None:
    head = b"\r\n".join([b"HTTP/1.1 200 OK", *headers, b"", b""])
    fixed = repair_head(head[: end_of_head(head)])
    assert parsed(fixed) is not None
    assert repair_head(fixed) == fixed


def test_length_of_0_is_ignored_in_front_of_a_body() -> None:
    head = b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n"
    assert b"Content-Length" not in repair_head(head % b"200 OK", ignore_zero=True)
    assert b"Content-Length: 0" in repair_head(head % b"302 Found", ignore_zero=True)
    assert b"Content-Length: 0" in repair_head(head % b"200 OK")
