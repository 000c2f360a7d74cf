"""Parsing of requests and of their paths."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.provider.requests import MAX_HEAD, BadRequest, MediaPath, Request, media_path, split_head


def test_request_is_parsed():
    data = b"GET /live/a%20b.ts?close=5s&x= HTTP/1.1\r\nHost: here:1\r\nX-Y:  z \r\n\r\nmore"
    request, rest = split_head(data)
    assert rest == b"more"
    assert (request.method, request.path, request.version) == ("GET", "/live/a b.ts", "HTTP/1.1")
    assert request.query == [("close", "5s"), ("x", "")]
    assert request.headers == (("Host", "here:1"), ("X-Y", "z"))
    assert request.header("x-y") == "z"
    assert request.header("cookie") is None


@pytest.mark.parametrize(
    ("version", "connection", "closes"),
    [
        ("1.1", None, False),
        ("1.1", "close", True),
        ("1.1", "Keep-Alive", False),
        ("1.0", None, True),
        ("1.0", "keep-alive", False),
    ],
)
def test_closes_follows_version_and_connection_header(version, connection, closes):
    headers = () if connection is None else (("Connection", connection),)
    assert Request("GET", "/", f"HTTP/{version}", headers).closes is closes


@pytest.mark.parametrize(
    "head",
    [
        b"GET /\r\n\r\n",
        b"GET  / HTTP/1.1\r\n\r\n",
        b"GET x HTTP/1.1\r\n\r\n",
        b"GET / HTTP/2\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nname : x\r\n\r\n",
        b"GET / HTTP/1.1\r\n: x\r\n\r\n",
        b"\r\n\r\n",
        b"a" * (MAX_HEAD + 1),
    ],
)
def test_invalid_heads_are_rejected(head):
    with pytest.raises(BadRequest):
        split_head(head)


@given(st.binary(max_size=300), st.sampled_from([b"", b"\r\n\r\n", b" / HTTP/1.1\r\n\r\n"]))
def test_any_bytes_are_a_request_incomplete_or_rejected(data, end):
    try:
        request, rest = split_head(data + end)
    except BadRequest:
        return
    if request is None:
        assert rest == data + end


@given(st.integers(0, 60))
def test_request_in_two_pieces(cut):
    whole = b"GET /live/a.ts HTTP/1.1\r\nHost: a\r\nUser-Agent: b\r\n\r\n"
    first, rest = split_head(whole[:cut])
    assert (first is None) is (cut < len(whole))
    request, rest = split_head(rest + whole[cut:]) if first is None else (first, rest)
    assert request == split_head(whole)[0]
    assert rest == b""


@pytest.mark.parametrize(
    ("path", "media"),
    [
        ("/live/demo.ts", MediaPath("demo")),
        ("/live/user/pass/12.ts", MediaPath("12", "user")),
        ("/live/user/pass/12", MediaPath("12", "user")),
        ("/live/demo", None),
        ("/live/.ts", None),
        ("/live/user/pass/", None),
        ("/live//pass/1", None),
        ("/live/a/b/c/d.ts", None),
        ("/stats", None),
    ],
)
def test_media_paths(path, media):
    assert media_path(path) == media
