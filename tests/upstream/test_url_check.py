"""Asking whether a URL answers: one request, and nothing left behind."""

import socket

import pytest
import pytest_twisted
from scripted_provider import CLOSE, RESET, head, redirect
from twisted.internet.defer import CancelledError
from zope.interface.verify import verifyObject

from m3uproxy.core.http.outbound_policy import OutboundPolicy
from m3uproxy.errors import Reason, SourceError
from m3uproxy.interfaces import IUrlChecker
from m3uproxy.upstream.url_check import UrlChecker


@pytest.fixture
def checker(bench):
    checker = UrlChecker(bench.reactor, bench.sockets, user_agent="Probe/1")
    verifyObject(IUrlChecker, checker)
    return checker


async def fails(checker, url, timeout=2.0) -> SourceError:
    with pytest.raises(SourceError) as caught:
        await checker.status(url, timeout)
    assert checker.sockets.open == 0
    assert "s3cret" not in str(caught.value)
    return caught.value


class TestAnswers:
    @pytest.mark.parametrize("status", [200, 204, 206, 301, 302, 304, 401, 403, 404, 429, 500, 503, 599])
    @pytest_twisted.ensureDeferred
    async def test_every_status_is_returned(self, bench, checker, status):
        provider = await bench.provider(head(f"{status} x", "Location: /b", "Content-Length: 20"))
        assert await checker.status(provider.url("/a?b=%2B"), 2) == status
        assert bench.sockets.open == 0
        assert [request.split(b"\r\n")[0] for request in provider.requests] == [b"GET /a?b=%2B HTTP/1.1"]
        assert provider.headers()["user-agent"] == "Probe/1"

    @pytest.mark.parametrize(
        "steps",
        [
            [head(), *[b"x" * 100_000] * 20],
            [head("200 OK", "Content-Length: 3") + b"abc"],
            [head("200 OK", "Transfer-Encoding: chunked"), b"3\r\nabc\r\n"],
            [head("200 OK", "Content-Encoding: gzip"), b"none"],
            [head(), CLOSE],
            [head(), RESET],
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_body_is_dropped(self, bench, checker, errors, steps):
        provider = await bench.provider(*steps)
        lost = provider.sees("lost")
        assert await checker.status(provider.url(), 2) == 200
        assert bench.sockets.open == 0
        await lost
        assert errors == []

    @pytest_twisted.ensureDeferred
    async def test_redirect_is_not_followed(self, bench, checker):
        other = await bench.provider(head())
        provider = await bench.provider(redirect(other.url()))
        assert await checker.status(provider.url(), 2) == 302
        assert other.connections == []


class TestFailures:
    @pytest.mark.parametrize(
        "url",
        [
            "",
            "x",
            "/s3cret",
            "tv.example/up",
            "s3cret:80/up",
            "ftp://s3cret/",
            "http://",
            "http:///s3cret",
            "http://u:s3cret@/",
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_invalid_url(self, bench, checker, url):
        error = await fails(checker, url)
        assert error.reason is Reason.UNREACHABLE
        assert error.detail.startswith("the URL has ")

    @pytest_twisted.ensureDeferred
    async def test_missing_scheme_is_named(self, bench, checker):
        assert (await fails(checker, "tv.example/up")).detail == "the URL has no scheme, http:// or https://"

    @pytest_twisted.ensureDeferred
    async def test_refused_connection(self, checker):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            error = await fails(checker, f"http://127.0.0.1:{taken.getsockname()[1]}/s3cret")
        assert error.reason is Reason.REFUSED

    @pytest_twisted.ensureDeferred
    async def test_forbidden_addresses(self, bench, checker, names):
        names.known.update(metadata=["169.254.169.254"], inside=["127.0.0.1"])
        for url in ("http://2852039166/", "https://[::ffff:a9fe:a9fe]/", "http://metadata.test/"):
            assert (await fails(checker, url)).reason is Reason.FORBIDDEN
        strict = UrlChecker(bench.reactor, bench.sockets, OutboundPolicy("never"))
        for url in ("http://127.1/", "http://inside.test/"):
            assert "PRIVATE_UPSTREAMS" in (await fails(strict, url)).detail
        assert names.connected == []

    @pytest.mark.parametrize(
        ("steps", "reason"),
        [([CLOSE], Reason.BAD_HEAD), ([RESET], Reason.RESET), ([b"<html>\r\n\r\n"], Reason.BAD_HEAD)],
    )
    @pytest_twisted.ensureDeferred
    async def test_response_that_is_not_http(self, bench, checker, errors, steps, reason):
        provider = await bench.provider(*steps)
        assert (await fails(checker, provider.url("/s3cret"))).reason is reason
        assert errors == []

    @pytest.mark.parametrize("steps", [[b""], [b"HTTP/1.1 200 OK\r\n"]])
    @pytest_twisted.ensureDeferred
    async def test_silent_server_times_out(self, bench, checker, steps):
        provider = await bench.provider(*steps)
        error = await fails(checker, provider.url("/s3cret"), 0.05)
        assert (error.reason, error.detail) == (Reason.FIRST_BYTE_TIMEOUT, "no answer after 0.05 s in all")

    @pytest_twisted.ensureDeferred
    async def test_look_up_that_never_ends_times_out(self, checker, names):
        names._answer = lambda receiver, addresses, port: None
        assert (await fails(checker, "http://tv.test/s3cret", 0.05)).reason is Reason.DNS

    @pytest_twisted.ensureDeferred
    async def test_certificates_are_verified(self, bench, checker, tls):
        provider = await bench.provider(head(), tls=tls)
        assert (await fails(checker, provider.url("/s3cret", "localhost"))).reason is Reason.TLS
        assert provider.requests == []


class TestCancelling:
    async def cancel(self, bench, asking):
        asking.cancel()
        with pytest.raises(CancelledError):
            await asking
        await bench.turns(0)
        assert bench.sockets.open == 0

    @pytest_twisted.ensureDeferred
    async def test_while_looking_up(self, bench, checker, names):
        await self.cancel(bench, checker.status("http://tv.test/", 2))

    @pytest_twisted.ensureDeferred
    async def test_while_connecting(self, bench, checker):
        provider = await bench.provider(head())
        await self.cancel(bench, checker.status(provider.url(), 2))
        assert provider.requests == []

    @pytest.mark.parametrize("scheme", ["http", "https"])
    @pytest_twisted.ensureDeferred
    async def test_while_waiting(self, bench, checker, scheme):
        provider = await bench.provider(b"HTTP/1.1 200 OK\r\n")
        opened = provider.sees("open")
        asking = checker.status(f"{scheme}://127.0.0.1:{provider.port}/", 2)
        await opened
        await bench.turns()
        lost = provider.sees("lost")
        await self.cancel(bench, asking)
        await lost
