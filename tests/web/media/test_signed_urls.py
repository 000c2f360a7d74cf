"""Player URLs that are signed and expire."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from fakes import Programme
from gate_rig import guarded
from hypothesis import given
from hypothesis import strategies as st

from m3uproxy.web.media.signed_urls import SignedUrls
from m3uproxy.web.responses import HTTPError

KEY = b"k" * 32


class Wall:
    """A time of day that a test sets."""

    now = 1_800_000_000.5

    def __call__(self) -> float:
        return self.now


class Asked:
    def __init__(self, url: str) -> None:
        self.args = parse_qs(urlsplit(url).query.encode(), keep_blank_values=True)


@pytest.fixture
def wall():
    return Wall()


@pytest.fixture
def web(wall):
    web = guarded(wall=wall, lifetime=60)
    yield web
    assert web.clock.getDelayedCalls() == []


def status(web, path, method="GET"):
    """Of an answer that comes at once; 0 if none does."""
    wire = web.connect()
    wire.send(f"{method} {path} HTTP/1.1\r\nHost: tv\r\n\r\n".encode())
    data = wire.take()
    wire.lose()
    return int(data.split()[1]) if data else 0


def test_a_signed_url(wall):
    url = SignedUrls(KEY, 60, wall).sign("/stream/abc")
    path, _, query = url.partition("?")
    assert path == "/stream/abc"
    fields = parse_qs(query)
    assert fields["expires"] == ["1800000060"]
    assert len(fields["signature"][0]) == 32
    assert int(fields["signature"][0], 16)


def test_it_lets_in_with_any_prefix_and_more_parameters(web, wall):
    name = web.register()
    url = SignedUrls(KEY, 60, wall).sign(f"/stream/{name}")
    for each in (url, f"/m3u-proxy{url}", f"{url}&username=u&client_id=c", url.replace("?", "?username=u&")):
        assert status(web, each, "HEAD") == 200
        assert status(web, each) == 0, "the player waits for the provider"
    assert len(web.dialler.dials) == 4


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_without_one_nobody_comes_in(web, wall, method):
    name = web.register()
    other = SignedUrls(KEY, 60, wall).sign("/stream/other").partition("?")[2]
    stranger = SignedUrls(b"x" * 32, 60, wall).sign(f"/stream/{name}").partition("?")[2]
    good = SignedUrls(KEY, 60, wall).sign(f"/stream/{name}").partition("?")[2]
    expires, signature = (field.partition("=")[2] for field in good.split("&"))
    for query in (
        "",
        other,
        stranger,
        f"expires={expires}",
        f"signature={signature}",
        f"expires=1900000000&signature={signature}",
        f"expires={expires}&signature=",
        f"expires={expires}&signature={signature[:-1]}",
        f"expires={expires}&signature={signature.upper()}",
        f"expires=%20{expires}&signature={signature}",
        f"expires=0{expires}&signature={signature}",
        f"{good}&signature=x",
        "expires=x&signature=%ff",
    ):
        assert status(web, f"/stream/{name}?{query}", method) == 403, query
    assert web.dialler.dials == []
    assert web.registry.get(name).clients() == []


def test_the_refusal_is_json_that_a_page_may_read(web):
    answer = web.ask(path="/stream/nothing")
    assert answer.status == 403
    assert isinstance(answer.detail, str)
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


def test_what_there_is_is_told_only_to_those_who_have_one(web, wall):
    assert status(web, "/stream/unknown") == 403
    assert status(web, SignedUrls(KEY, 60, wall).sign("/stream/unknown")) == 404


def test_it_expires(web, wall):
    name = web.register()
    url = SignedUrls(KEY, 60, wall).sign(f"/stream/{name}")
    wall.now = 1_800_000_059.9
    assert status(web, url, "HEAD") == 200
    wall.now = 1_800_000_060.0
    assert status(web, url, "HEAD") == 403
    assert "expired" in web.ask(path=url).detail


def test_who_is_in_stays_in(web, wall):
    name = web.register()
    wire = web.connect()
    wire.send(f"GET {SignedUrls(KEY, 60, wall).sign(f'/stream/{name}')} HTTP/1.1\r\nHost: tv\r\n\r\n".encode())
    web.dialler.last.answer()
    wall.now += 3600
    stream = web.registry.get(name)
    stream.broadcaster.bytes_received(Programme().group(5, 4000))
    stream.broadcaster.flush()
    assert wire.take().startswith(b"HTTP/1.1 200 OK")
    assert len(stream.clients()) == 1
    wire.lose()


def test_preflights_need_none(web):
    answer = web.ask("OPTIONS", "/stream/x", Origin="http://tv", Access_Control_Request_Method="GET")
    assert answer.status == 200


def test_off_it_is_not_looked_at():
    web = guarded()
    assert status(web, f"/stream/{web.register()}?expires=1&signature=x", "HEAD") == 200


@given(st.binary(), st.binary())
def test_no_bytes_get_in(expires, signature):
    asked = Asked("")
    asked.args = {b"expires": [expires], b"signature": [signature]}
    with pytest.raises(HTTPError) as caught:
        SignedUrls(KEY, 60, Wall()).check(asked, "abc")
    assert caught.value.status == 403


@given(st.text("0123456789abcdef", min_size=1), st.text("0123456789abcdef", min_size=1))
def test_a_ticket_is_for_one_stream(one, other):
    tickets = SignedUrls(KEY, 60, Wall())
    asked = Asked(tickets.sign(f"/stream/{one}"))
    tickets.check(asked, one)
    if one != other:
        with pytest.raises(HTTPError):
            tickets.check(asked, other)
