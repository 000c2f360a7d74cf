"""Paths, prefixes, and limits of requests."""

from __future__ import annotations

import re

import pytest
from twisted.internet.task import Clock
from twisted.web.resource import Resource
from wire import Wire, call

from m3uproxy.web.http_channel import MAX_BODY, MAX_HEAD
from m3uproxy.web.site import REQUEST_TIMEOUT, Root, Site


class Echo(Resource):
    """A resource that answers with its name and the remaining path."""

    isLeaf = True

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def render_GET(self, request) -> bytes:
        return f"{self.name} {request.postpath} {request.prepath}".encode()

    def render_POST(self, request) -> bytes:
        return b"%d" % len(request.content.read())


class Broken(Resource):
    isLeaf = True

    def __init__(self, after_first_byte: bool) -> None:
        super().__init__()
        self.after_first_byte = after_first_byte

    def render(self, request) -> bytes:
        if self.after_first_byte:
            request.write(b"video")
        raise RuntimeError("our own fault")


@pytest.fixture
def clock():
    clock = Clock()
    yield clock
    assert clock.getDelayedCalls() == []


def site_of(clock, root_path="/m3u-proxy", api=None) -> Site:
    return Site(Root(root_path, Echo("media"), api or Echo("api")), clock)


@pytest.fixture
def site(clock) -> Site:
    return site_of(clock)


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/streams", "api [b'streams'] []"),
        ("/m3u-proxy/streams", "api [b'streams'] [b'm3u-proxy']"),
        ("/m3u-proxy/m3u-proxy/streams", "api [b'm3u-proxy', b'streams'] [b'm3u-proxy']"),
        ("/m3u-proxyx/streams", "api [b'm3u-proxyx', b'streams'] []"),
        ("/M3U-PROXY/streams", "api [b'M3U-PROXY', b'streams'] []"),
        ("/m3u-proxy/", "api [b''] [b'm3u-proxy']"),
        ("/", "api [b''] []"),
        ("/stream/abc", "media [b'abc'] [b'stream']"),
        ("/stream/abc?x=/y", "media [b'abc'] [b'stream']"),
        ("/m3u-proxy/stream/abc", "media [b'abc'] [b'm3u-proxy', b'stream']"),
        ("/stream", "api [b'stream'] []"),
        ("/stream/abc/def", "api [b'stream', b'abc', b'def'] []"),
        ("//", "api [b'', b''] []"),
    ],
)
def test_paths(site, path, answer):
    assert call(site, "GET", path).body.decode() == answer


@pytest.mark.parametrize(
    ("public", "path", "answer"),
    [
        ("/tv/x", "/tv/x/stream/abc", "media [b'abc'] [b'tv', b'x', b'stream']"),
        ("/tv/x", "/m3u-proxy/stream/abc", "media [b'abc'] [b'm3u-proxy', b'stream']"),
        ("/tv/x", "/tv/x/hls/abc/segment.ts", "media [b'abc', b'segment.ts'] [b'tv', b'x', b'hls']"),
        ("/tv/x", "/tv/stream/abc", "api [b'tv', b'stream', b'abc'] []"),
        ("/tv/x", "/tv/x/streams", "api [b'tv', b'x', b'streams'] []"),
        ("/hls", "/hls/abc/playlist.m3u8", "media [b'abc', b'playlist.m3u8'] [b'hls']"),
        ("/hls", "/hls/hls/abc/playlist.m3u8", "media [b'abc', b'playlist.m3u8'] [b'hls', b'hls']"),
        ("", "/stream/abc", "media [b'abc'] [b'stream']"),
    ],
)
def test_media_paths_may_begin_with_the_public_prefix(clock, public, path, answer):
    root = Root("/m3u-proxy", Echo("media"), Echo("api"), public_prefix=lambda: public)
    assert call(Site(root, clock), "GET", path).body.decode() == answer


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/m3u-proxy", "m3u-proxy/"),
        ("/m3u-proxy?a=b", "m3u-proxy/?a=b"),
        ("/streams/", "../streams"),
        ("/streams/?a=b/&c", "../streams?a=b/&c"),
        ("/m3u-proxy/streams/", "../streams"),
        ("/stream/a%20b/", "../a%20b"),
        # A location that begins with two slashes would name another host.
        ("//evil.example/", "../evil.example"),
    ],
)
def test_redirects_are_relative(site, path, location):
    answer = call(site, "GET", path)
    assert (answer.status, answer.headers["Location"]) == (307, location)


@pytest.mark.parametrize(
    ("target", "answer"),
    [
        ("http://proxy:8085/streams?a=b", "api [b'streams'] []"),
        ("HTTP://proxy/m3u-proxy/streams", "api [b'streams'] [b'm3u-proxy']"),
        ("https://user:word@proxy/stream/abc", "media [b'abc'] [b'stream']"),
        ("http://[::1]:8085/stream/abc?u=http://x/", "media [b'abc'] [b'stream']"),
        ("http://proxy", "api [b''] []"),
        ("http://proxy?a=b", "api [b''] []"),
        ("/http://proxy/streams", "api [b'http:', b'', b'proxy', b'streams'] []"),
    ],
)
def test_absolute_targets_are_routed_like_paths(site, target, answer):
    assert call(site, "GET", target).body.decode() == answer


def test_host_of_an_absolute_target_replaces_the_header(clock):
    class Host(Resource):
        isLeaf = True

        def render(self, request) -> bytes:
            return b"%r %r %r" % (request.requestHeaders.getRawHeaders(b"host"), request.uri, request.args)

    site = site_of(clock, api=Host())
    answer = call(site, "GET", "http://me:word@other:80/x?a=b&a=", headers={"Host": "second"})
    assert answer.body == b"[b'other:80'] b'/x?a=b&a=' {b'a': [b'b', b'']}"


@pytest.mark.parametrize("target", ["streams", "proxy:80", "?a=b", "ftp://proxy/streams", "http:/streams", "**"])
def test_an_invalid_target_is_refused(site, target):
    wire = Wire(site)
    wire.send(f"CONNECT {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert wire.answer().status == 400
    wire.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
    assert wire.answer().status == 200, "the connection is as good as before"
    wire.lose()


def test_options_of_the_whole_server(site):
    answer = call(site, "OPTIONS", "*")
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_form_fields_are_not_mixed_with_the_query(site, content_type):
    answer = call(site, "POST", "/x", body=b"a=b", headers={"Content-Type": content_type})
    assert (answer.status, answer.body) == (200, b"3")


def test_an_empty_prefix_routes_bare_paths_only(clock):
    site = site_of(clock, root_path="")
    assert call(site, "GET", "/streams").body == b"api [b'streams'] []"
    assert call(site, "GET", "/m3u-proxy/streams").body == b"api [b'm3u-proxy', b'streams'] []"


def test_a_prefix_of_several_segments(clock):
    site = site_of(clock, root_path="/a/b")
    assert call(site, "GET", "/a/b/streams").body == b"api [b'streams'] [b'a', b'b']"
    assert call(site, "GET", "/a/streams").body == b"api [b'a', b'streams'] []"
    assert call(site, "GET", "/a/b").headers["Location"] == "b/"


def test_a_path_that_is_not_text_is_not_found(site):
    answer = call(site, "GET", "/streams/%ff")
    assert (answer.status, answer.detail) == (404, "Not Found")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "BREW"])
def test_a_missing_method_is_405(site, method):
    answer = call(site, method, "/streams")
    assert answer.status == 405
    assert answer.detail == "Method Not Allowed"
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "POST"}


def test_an_unexpected_error_is_a_500_without_traceback(clock, flush_errors):
    answer = call(site_of(clock, api=Broken(False)), "GET", "/x")
    assert (answer.status, answer.detail) == (500, "Internal Server Error")
    assert len(flush_errors(RuntimeError)) == 1


def test_an_error_after_the_first_byte_aborts_the_connection(clock, flush_errors):
    wire = Wire(site_of(clock, api=Broken(True)))
    wire.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
    assert wire.aborted
    assert b"\r\n0\r\n\r\n" not in wire.take()
    wire.lose()
    assert len(flush_errors(RuntimeError)) == 1


def test_a_line_that_is_too_long_is_refused(site):
    wire = Wire(site)
    wire.send(b"GET /" + b"x" * MAX_HEAD + b" HTTP/1.1\r\n\r\n")
    answer = wire.answer()
    assert answer.status == 431
    assert str(MAX_HEAD) in answer.detail
    assert wire.closing
    wire.lose()


def test_an_endless_line_is_refused(site):
    wire = Wire(site)
    wire.send(b"x" * (MAX_HEAD + 2))
    assert wire.answer().status == 431
    wire.lose()


def test_a_head_that_is_too_long_is_refused(site):
    wire = Wire(site)
    wire.send(b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"y" * 1000) for n in range(20)) + b"\r\n")
    answer = wire.answer()
    assert answer.status == 431
    assert answer.raw.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
    wire.lose()


def test_many_short_lines_within_the_limit_are_accepted(site):
    wire = Wire(site)
    wire.send(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 1000 + b"\r\n")
    assert wire.answer().status == 200
    wire.lose()


@pytest.mark.parametrize(
    "rubbish",
    [b"\x16\x03\x01\x02\x00\r\n", b"hello\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"\x00\xff\r\n\r\n"],
)
def test_invalid_input_is_refused_once(site, rubbish):
    wire = Wire(site)
    wire.send(rubbish)
    wire.send(rubbish)
    answer = wire.answer()
    assert answer.status == 400
    assert answer.raw.count(b"HTTP/1.1") == 1
    wire.lose()


def test_requests_after_a_refusal_are_ignored(site):
    wire = Wire(site)
    wire.send(b"GET /" + b"x" * MAX_HEAD + b" HTTP/1.1\r\n\r\nGET /streams HTTP/1.1\r\nHost: a\r\n\r\n")
    assert wire.take().count(b"HTTP/1.1") == 1
    wire.lose()


def test_a_refused_client_that_keeps_sending_is_aborted(site):
    wire = Wire(site)
    wire.send(b"rubbish\r\n")
    for _ in range(9):
        assert not wire.aborted
        wire.send(b"x" * 1_000_000)
    assert wire.aborted
    wire.lose()


def test_a_refused_client_that_stays_is_aborted(site, clock):
    wire = Wire(site)
    wire.send(b"rubbish\r\n")
    clock.advance(1.9)
    assert not wire.aborted
    clock.advance(0.2)
    assert wire.aborted
    wire.lose()


def test_a_body_within_the_limit_is_accepted(site):
    assert call(site, "POST", "/x", body=b"x" * MAX_BODY).body == b"%d" % MAX_BODY


def test_a_large_content_length_is_refused_at_once(site):
    wire = Wire(site)
    wire.send(b"POST /x HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY + 1))
    answer = wire.answer()
    assert answer.status == 413
    assert str(MAX_BODY) in answer.detail
    wire.lose()


def test_a_chunked_body_over_the_limit_is_refused(site):
    wire = Wire(site)
    wire.send(b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    for _ in range(15):
        wire.send(chunk)
    assert wire.take() == b""
    wire.send(chunk)
    assert wire.answer().status == 413
    wire.lose()


def test_size_limits_apply_to_each_request(site):
    wire = Wire(site)
    for _ in range(5):
        wire.send(b"POST /x HTTP/1.1\r\nContent-Length: %d\r\nX: %s\r\n\r\n" % (MAX_BODY, b"y" * 9000))
        wire.send(b"z" * MAX_BODY)
        assert wire.answer().status == 200
    wire.lose()


def test_a_slow_head_does_not_extend_its_timeout(site, clock):
    wire = Wire(site)
    wire.send(b"GET / HTTP/1.1\r\n")
    for _ in range(REQUEST_TIMEOUT - 1):
        clock.advance(1)
        wire.send(b"X: y\r\n")
    assert not wire.aborted
    clock.advance(1.1)
    assert wire.aborted
    wire.lose()


def test_a_slow_body_does_not_extend_its_timeout(site, clock):
    wire = Wire(site)
    wire.send(b"POST /x HTTP/1.1\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(REQUEST_TIMEOUT):
        clock.advance(1)
        wire.send(b"x")
    clock.advance(0.1)
    assert wire.aborted
    wire.lose()


def test_the_timeout_starts_with_the_first_byte_of_a_request(site, clock):
    wire = Wire(site)
    clock.advance(REQUEST_TIMEOUT - 1)
    wire.send(b"GET /a HTTP/1.1\r\n")
    clock.advance(REQUEST_TIMEOUT - 1)
    wire.send(b"Host: a\r\n\r\n")
    assert wire.answer().status == 200
    clock.advance(REQUEST_TIMEOUT - 1)
    wire.send(b"GET /a HTTP/1.1\r\nHost: a\r\n")
    clock.advance(REQUEST_TIMEOUT - 1)
    assert not wire.aborted
    wire.send(b"\r\n")
    assert wire.answer().status == 200
    wire.lose()


def test_the_timeout_is_configurable(clock):
    site = Site(Root("", Echo("media"), Echo("api")), clock, request_timeout=2.5)
    idle, slow, late = Wire(site), Wire(site), Wire(site)
    slow.send(b"GET /x HTTP/1.1\r\n")
    late.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
    assert late.answer().status == 200
    clock.advance(2.4)
    assert not idle.aborted
    assert not slow.aborted
    assert not late.aborted
    clock.advance(0.2)
    assert idle.aborted
    assert slow.aborted
    assert late.aborted
    for wire in (idle, slow, late):
        wire.lose()


def test_an_idle_connection_is_closed(site, clock):
    wire = Wire(site)
    clock.advance(REQUEST_TIMEOUT + 0.1)
    assert wire.aborted
    wire.lose()


def test_no_access_log(site, clock, logged):
    site.startFactory()
    call(site, "GET", "/streams?api_token=geheim")
    site.stopFactory()
    assert not [event for event in logged if "geheim" in str(event)]


def test_close_closes_all_connections_and_waits_for_them(site, clock):
    wires = [Wire(site), Wire(site)]
    closed = site.close()
    assert all(wire.closing and not wire.aborted for wire in wires)
    wires[0].lose()
    assert not closed.called
    clock.advance(2.1)
    assert wires[1].aborted
    wires[1].lose()
    assert closed.called


def test_close_without_connections(site):
    assert site.close().called


def statuses(wire) -> list[int]:
    """Return the statuses of all responses since the last call."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", wire.take())]


class TestPipelining:
    """Pipelined requests: one for each reactor turn, and none before the client reads its responses."""

    REQUEST = b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n"

    def test_one_request_per_turn(self, web):
        wire = web.connect()
        wire.send(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n" * 5)
        assert statuses(wire) == [200]
        web.clock.advance(0)  # a test's clock takes all turns in one
        assert statuses(wire) == [200] * 4
        wire.lose()

    def test_requests_wait_while_responses_are_not_read(self, web):
        wire = web.connect()
        wire.send(self.REQUEST * 100)
        wire.channel.pauseProducing()  # as a transport does whose buffer is full
        assert statuses(wire) == [200]
        web.clock.advance(1)
        assert statuses(wire) == []
        wire.channel.resumeProducing()
        web.clock.advance(0)
        assert statuses(wire) == [200] * 99
        wire.lose()

    def test_a_client_that_never_reads_is_aborted(self, web):
        wire = web.connect()
        wire.send(self.REQUEST * 100)
        wire.channel.pauseProducing()
        web.clock.advance(0)
        web.clock.advance(REQUEST_TIMEOUT - 1)
        assert not wire.aborted
        web.clock.advance(2)
        assert wire.aborted
        wire.lose()

    def test_order_of_responses_and_later_requests(self, web):
        wire = web.connect()
        wire.send(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\nGET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n")
        wire.send(b"PUT /health HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        web.clock.advance(0)
        assert statuses(wire) == [200, 404, 405]
        wire.lose()
