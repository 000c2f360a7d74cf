"""``/stream/<id>`` as HTTP: methods, preflights, forms of the path, and input during playback."""

from __future__ import annotations

import pytest
from fakes import Programme
from gate_rig import guarded
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure


@pytest.fixture
def web():
    web = guarded()
    yield web
    assert web.clock.getDelayedCalls() == []


def playing(web, name):
    """Return a player that has received its first block."""
    wire = web.play(name)
    web.dialler.last.answer()
    stream = web.registry.get(name)
    feed(stream)
    assert wire.take().startswith(b"HTTP/1.1 200 OK\r\n")
    return wire, stream


def feed(stream):
    stream.broadcaster.bytes_received(Programme().group(5, 4000))
    stream.broadcaster.flush()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE", "BREW"])
@pytest.mark.parametrize("known", [True, False])
def test_other_methods_are_405(web, method, known):
    answer = web.ask(method, f"/stream/{web.register() if known else 'unknown'}")
    assert (answer.status, answer.detail) == (405, "Method Not Allowed")
    assert answer.headers["Allow"] == "GET, HEAD, OPTIONS"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_an_unknown_stream(web, method):
    answer = web.ask(method, "/stream/unknown")
    assert answer.status == 404
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert method == "HEAD" or answer.detail == "Stream not found."
    assert (answer.body == b"") == (method == "HEAD")


def test_head_has_the_headers_of_a_get(web):
    answer = web.ask("HEAD", f"/stream/{web.register()}", Range="bytes=0-")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "video/mp2t"
    assert answer.headers["Accept-Ranges"] == "none"
    assert "Content-Length" not in answer.headers
    assert web.dialler.dials == []


def test_options_without_preflight(web):
    answer = web.ask("OPTIONS", f"/stream/{web.register()}")
    assert answer.status == 200
    assert answer.headers["Allow"] == "GET, HEAD, OPTIONS"
    assert web.dialler.dials == []


@pytest.mark.parametrize("path", ["/stream/unknown", "/m3u-proxy/stream/unknown"])
@pytest.mark.parametrize("origin", ["https://player.example", "null"])
def test_preflight_of_any_page(web, path, origin):
    answer = web.ask("OPTIONS", path, Origin=origin, Access_Control_Request_Method="GET", host="tv.example")
    assert (answer.status, answer.body) == (200, b"OK")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Access-Control-Allow-Methods"] == "GET, HEAD, OPTIONS"
    assert answer.headers["Access-Control-Allow-Headers"] == "*"
    assert "Access-Control-Allow-Credentials" not in answer.headers


def test_a_slash_at_the_end(web):
    answer = web.ask("GET", "/m3u-proxy/stream/abc/?u=x", Origin="https://player.example", host="tv.example")
    assert (answer.status, answer.headers["Location"]) == (307, "../abc?u=x")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize("path", ["/stream/", "/stream", "/stream/a/b", "/stream/a//"])
def test_paths_similar_to_a_stream_pass_the_gate(web, path):
    assert web.ask(path=path, host="evil.example").status == 403


@pytest.mark.parametrize("target", ["http://proxy:8085/stream/{}", "http://evil.example/m3u-proxy/stream/{}?u=x"])
def test_an_absolute_target(web, target):
    assert web.ask("HEAD", target.format(web.register())).status == 200


def test_a_player_is_listed_from_its_request_until_it_disconnects(web):
    name = web.register()
    wire = web.play(name, "9.9.9.9", "?username=me")
    [client] = web.registry.get(name).clients()
    assert (client.ip_address, client.username) == ("9.9.9.9", "me")
    wire.lose()
    assert web.registry.get(name).clients() == []


def test_input_of_a_playing_client_is_discarded(web):
    """Twisted would buffer the input, pause reading at some size, and so miss the disconnection."""
    name = web.register()
    wire, stream = playing(web, name)
    for _ in range(100):
        wire.send(b"GET /streams HTTP/1.1\r\nHost: a\r\n\r\n" * 100)
    assert wire.transport.producerState == "producing"
    assert sum(map(len, wire.channel._dataBuffer)) == 0
    feed(stream)
    assert b"HTTP/1.1" not in wire.take()
    wire.channel.connectionLost(Failure(ConnectionDone()))
    assert stream.clients() == []
    assert web.api.asked == []


def test_input_sent_before_playback_is_discarded(web):
    name = web.register()
    wire = web.play(name)
    for _ in range(100):
        wire.send(b"GET /streams HTTP/1.1\r\nHost: a\r\n\r\n" * 100)
    assert wire.transport.producerState == "paused", "what is waiting has a bound"
    web.dialler.last.answer()
    feed(web.registry.get(name))
    assert wire.take().startswith(b"HTTP/1.1 200 OK\r\n")
    assert wire.transport.producerState == "producing"
    assert wire.channel._dataBuffer == []
    wire.lose()
    assert web.api.asked == []
