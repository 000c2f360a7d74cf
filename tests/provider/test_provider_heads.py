"""Response heads, byte for byte."""

import pytest

from m3uproxy.provider.heads import ODDITIES, render_head

PLAIN = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Type: video/mp2t\r\n"
HEADERS = [("Server", "x"), ("Content-Type", "video/mp2t")]
REST = PLAIN.partition(b"\r\n")[2]


def test_head_without_oddities():
    assert render_head(200, HEADERS) == PLAIN + b"\r\n"


def test_unregistered_status_has_no_reason():
    assert render_head(458, []) == b"HTTP/1.1 458\r\n\r\n"


EXACT = {
    "icy": b"ICY 200 OK\r\n" + REST + b"\r\n",
    "http1": b"HTTP/1 200 OK\r\n" + REST + b"\r\n",
    "http10": b"HTTP/1.0 200 OK\r\n" + REST + b"\r\n",
    "lower": b"http/1.1 200 ok\r\n" + REST + b"\r\n",
    "no_reason": b"HTTP/1.1 200\r\n" + REST + b"\r\n",
    "spaces": b"HTTP/1.1   200  OK\r\n" + REST + b"\r\n",
    "text_status": b"HTTP/1.1 OK OK\r\n" + REST + b"\r\n",
    "bare": b"HTTP/1.1 200 OK\r\n\r\n",
    "folded_first": b"HTTP/1.1 200 OK\r\n continued: from nothing\r\n" + REST + b"\r\n",
    "folded": PLAIN + b"X-Folded: one\r\n\ttwo\r\n\r\n",
    "no_colon": PLAIN + b"this line has no colon\r\n\r\n",
    "empty_name": PLAIN + b": a value without a name\r\n\r\n",
    "space_name": PLAIN + b"X Powered By: panel\r\n\r\n",
    "space_colon": PLAIN + b"Server : x\r\n\r\n",
    "latin1": PLAIN + b"X-Operator: T\xe9l\xe9\r\n\r\n",
    "nul": PLAIN + b"X-Nul: a\0b\r\n\r\n",
    "identity": PLAIN + b"Transfer-Encoding: identity\r\n\r\n",
    "two_lengths": PLAIN + b"Content-Length: 1000\r\nContent-Length: 2000\r\n\r\n",
    "bad_length": PLAIN + b"Content-Length: -1\r\n\r\n",
    "long_line": PLAIN + b"X-Long: " + b"a" * 20_000 + b"\r\n\r\n",
    "leading_lines": b"\r\n\r\n" + PLAIN + b"\r\n",
    "continue": b"HTTP/1.1 100 Continue\r\n\r\n" + PLAIN + b"\r\n",
    "early_hints": b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + PLAIN + b"\r\n",
    "lf": PLAIN.replace(b"\r\n", b"\n") + b"\n",
    "missing": b"",
}
SIZES = {"many": (8_000, 20_000), "huge": (1_000_000, 1_100_000), "endless": (10_000_000, 11_000_000)}


@pytest.mark.parametrize("name", EXACT)
def test_oddity(name):
    assert render_head(200, HEADERS, [name]) == EXACT[name]


@pytest.mark.parametrize("name", SIZES)
def test_big_heads(name):
    head = render_head(200, HEADERS, [name])
    assert SIZES[name][0] < len(head) < SIZES[name][1]
    assert head.startswith(PLAIN)
    assert head.endswith(b"\r\n\r\n")


def test_every_oddity_is_tested():
    assert set(EXACT) | set(SIZES) == set(ODDITIES)


def test_oddities_combine():
    head = render_head(200, HEADERS, ["lf", "continue", "icy", "space_colon"])
    assert head == b"HTTP/1.1 100 Continue\n\nICY 200 OK\nServer: x\nContent-Type: video/mp2t\nServer : x\n\n"
