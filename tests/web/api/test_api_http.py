"""HTTP of the answers: compression, caching, pipelining."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.web.responses import GZIP_FROM, accepts_gzip


@pytest.fixture
def full(web):
    """Return a web rig with a listing well over the limit of compression."""
    for number in range(10):
        web.register(f"http://provider.example/live/{number}.ts")
    return web


@pytest.mark.parametrize(
    "accepted",
    [
        "gzip",
        "GZIP",
        "deflate, gzip;q=0.5, br",
        "gzip;q=1.0",
        "gzip ; q=0.001",
        "*",
        "identity;q=0.5, *;q=0.1",
        "x-gzip",
        "br;q=1.0, gzip; q=0.8, *;q=0.1",
    ],
)
def test_large_answers_are_compressed(full, accepted):
    plain = full.call("GET", "/streams")
    answer = full.call("GET", "/streams", headers={"Accept-Encoding": accepted})
    assert answer.headers["Content-Encoding"] == "gzip"
    assert len(answer.body) < len(plain.body) / 4
    assert int(answer.headers["Content-Length"]) == len(answer.body)
    assert json.loads(gzip.decompress(answer.body)) == plain.json
    assert "Accept-Encoding" in answer.headers.get_all("Vary")


@pytest.mark.parametrize(
    "accepted", ["", "identity", "deflate, br", "gzip;q=0", "gzip;q=0.000, *", "*;q=0", "gzip;q=x", "gzip;q=2", "gzipp"]
)
def test_answers_are_plain_without_accept_encoding(full, accepted):
    answer = full.call("GET", "/streams", headers={"Accept-Encoding": accepted} if accepted else {})
    assert "Content-Encoding" not in answer.headers
    assert len(answer.json["streams"]) == 10
    assert "Accept-Encoding" in answer.headers.get_all("Vary")


@pytest.mark.parametrize(
    "header", ['"gzip"', 'gzip;q="1"', "gzip;x=1", "gzip;q=1e-3", "gzip;q=0, gzip", "x-gzip;q=0, *"]
)
def test_accept_encoding_in_doubt_means_no_gzip(header):
    assert not accepts_gzip(header)


def test_two_header_lines_are_one_list(full):
    wire = full.connect()
    wire.send(b"GET /streams HTTP/1.1\r\nHost: a\r\nAccept-Encoding: br\r\nAccept-Encoding: gzip\r\n\r\n")
    assert wire.answer().headers["Content-Encoding"] == "gzip"
    wire.lose()


def test_small_answers_are_not_compressed(web):
    answer = web.call("GET", "/streams", headers={"Accept-Encoding": "gzip"})
    assert len(answer.body) < GZIP_FROM
    assert "Content-Encoding" not in answer.headers


def test_large_errors_are_compressed(web):
    answer = web.call(
        "POST", "/streams", json={"url": "x", "metadata": {"a": ["x" * 2000]}}, headers={"Accept-Encoding": "gzip"}
    )
    assert (answer.status, answer.headers["Content-Encoding"]) == (422, "gzip")
    assert len(json.loads(gzip.decompress(answer.body))["detail"]) == 2


def test_head_has_the_compressed_length(full):
    headers = {"Accept-Encoding": "gzip"}
    get, head = (full.call(method, "/streams", headers=headers) for method in ("GET", "HEAD"))
    assert head.headers["Content-Encoding"] == "gzip"
    assert head.headers["Content-Length"] == str(len(get.body))


def test_images_are_not_compressed(web):
    answer = web.call("GET", "/static/logo.png", headers={"Accept-Encoding": "gzip"})
    assert len(answer.body) > GZIP_FROM
    assert "Content-Encoding" not in answer.headers


@given(st.text(max_size=30))
def test_any_accept_encoding_is_parsed(header):
    assert accepts_gzip(header) in (True, False)


@pytest.mark.parametrize("path", ["/streams", "/health", "/streams/x", "/openapi.json"])
def test_answers_must_not_be_cached(web, path):
    assert web.call("GET", path).headers["Cache-Control"] == "no-store"


def test_several_requests_on_one_connection(full):
    wire = full.connect()
    for _ in range(3):
        wire.send(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.answer().status == 200
        wire.send(b"OPTIONS /health HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.answer().status == 204
        wire.send(b"HEAD /streams HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n")
        assert wire.answer("HEAD").body == b""
        wire.send(b"PUT /streams HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde")
        assert wire.answer().status == 405
    wire.lose()


@pytest.mark.parametrize(
    "content_type",
    ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "multipart/form-data", "text/plain", ""],
)
def test_body_is_json_with_any_content_type(web, content_type):
    answer = web.call("POST", "/streams", json={"url": "http://a/live/1.ts"}, headers={"Content-Type": content_type})
    assert answer.status == 200
