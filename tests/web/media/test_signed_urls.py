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


class WallClock:
    """A settable time of day."""

    now = 1_800_000_000.5

    def __call__(self) -> float:
        return self.now


class FakeRequest:
    def __init__(self, url: str) -> None:
        self.args = parse_qs(urlsplit(url).query.encode(), keep_blank_values=True)


@pytest.fixture
def wall():
    return WallClock()


@pytest.fixture
def web(wall):
    web = guarded(wall=wall, lifetime=60)
    yield web
    assert web.clock.getDelayedCalls() == []


def status(web, path, method="GET"):
    """Return the status of an immediate response; 0 without one."""
    wire = web.connect()
    wire.send(f"{method} {path} HTTP/1.1\r\nHost: tv\r\n\r\n".encode())
    data = wire.take()
    wire.lose()
    return int(data.split()[1]) if data else 0


def test_the_api_returns_signed_urls(wall):
    url = SignedUrls(KEY, 60, wall).sign("/stream/abc")
    path, _, query = url.partition("?")
    assert path == "/stream/abc"
    fields = parse_qs(query)
    assert fields["expires"] == ["1800000060"]
    assert len(fields["signature"][0]) == 32
    assert int(fields["signature"][0], 16)


def test_prefixes_and_other_parameters_keep_the_signature_valid(web, wall):
    name = web.register()
    url = SignedUrls(KEY, 60, wall).sign(f"/stream/{name}")
    for each in (url, f"/m3u-proxy{url}", f"{url}&username=u&client_id=c", url.replace("?", "?username=u&")):
        assert status(web, each, "HEAD") == 200
        assert status(web, each) == 0, "the player waits for the provider"
    assert len(web.dialler.dials) == 4


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_unsigned_requests_are_refused(web, wall, method):
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


def test_the_refusal_is_json_readable_for_web_pages(web):
    answer = web.ask(path="/stream/nothing")
    assert answer.status == 403
    assert isinstance(answer.detail, str)
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


def test_unsigned_requests_cannot_probe_for_streams(web, wall):
    assert status(web, "/stream/unknown") == 403
    assert status(web, SignedUrls(KEY, 60, wall).sign("/stream/unknown")) == 404


def test_a_signature_expires(web, wall):
    name = web.register()
    url = SignedUrls(KEY, 60, wall).sign(f"/stream/{name}")
    wall.now = 1_800_000_059.9
    assert status(web, url, "HEAD") == 200
    wall.now = 1_800_000_060.0
    assert status(web, url, "HEAD") == 403
    assert "expired" in web.ask(path=url).detail


def test_a_response_continues_after_expiry(web, wall):
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


def test_preflights_need_no_signature(web):
    answer = web.ask("OPTIONS", "/stream/x", Origin="http://tv", Access_Control_Request_Method="GET")
    assert answer.status == 200


def test_signatures_are_ignored_when_disabled():
    web = guarded()
    assert status(web, f"/stream/{web.register()}?expires=1&signature=x", "HEAD") == 200


@given(st.binary(), st.binary())
def test_invalid_bytes_are_refused(expires, signature):
    request = FakeRequest("")
    request.args = {b"expires": [expires], b"signature": [signature]}
    with pytest.raises(HTTPError) as caught:
        SignedUrls(KEY, 60, WallClock()).check(request, "abc")
    assert caught.value.status == 403


@given(st.text("0123456789abcdef", min_size=1), st.text("0123456789abcdef", min_size=1))
def test_a_signature_is_for_one_stream(one, other):
    signed_urls = SignedUrls(KEY, 60, WallClock())
    request = FakeRequest(signed_urls.sign(f"/stream/{one}"))
    signed_urls.check(request, one)
    if one != other:
        with pytest.raises(HTTPError):
            signed_urls.check(request, other)
