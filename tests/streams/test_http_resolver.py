"""The HTTP resolver over real sockets: one POST, a bounded answer, and no socket left open."""

import json
import socket

import pytest
import pytest_twisted
from scripted_provider import CLOSE, RESET, head, redirect
from twisted.internet.defer import CancelledError
from zope.interface.verify import verifyObject

from m3uproxy.core.failover.resolver import MAX_ANSWER_BYTES, ResolverAnswer, ResolverQuestion
from m3uproxy.core.http.outbound_policy import OutboundPolicy
from m3uproxy.interfaces import IResolver
from m3uproxy.streams.http_resolver import HttpResolver

QUESTION = ResolverQuestion("http://o.example/s3cret.ts", {"id": "7"}, 1, 404, "bad status: HTTP 404")
NAMED = b'{"next_url": "http://b.example/7.ts"}'


@pytest.fixture
def resolver(bench):
    resolver = HttpResolver(bench.reactor, bench.sockets, user_agent="Proxy/1", timeout=3)
    verifyObject(IResolver, resolver)
    return resolver


def answer(body: bytes, status: str = "200 OK", *lines: str) -> bytes:
    return head(status, f"Content-Length: {len(body)}", *lines) + body


async def problem(resolver, url: str) -> str:
    referral = await resolver.ask(url, QUESTION)
    assert resolver.sockets.open == 0
    assert referral.url is None
    assert "s3cret" not in str(referral)
    return referral.problem


@pytest_twisted.ensureDeferred
async def test_one_post_of_json(bench, resolver):
    provider = await bench.provider(answer(NAMED))
    assert await resolver.ask(provider.url("/resolve?a=%2B"), QUESTION) == ResolverAnswer("http://b.example/7.ts")
    assert bench.sockets.open == 0
    (request,) = provider.requests
    assert request.startswith(b"POST /resolve?a=%2B HTTP/1.1\r\n")
    sent, _, body = request.partition(b"\r\n\r\n")
    assert body == QUESTION.as_json()
    assert json.loads(body)["current_failover_index"] == 1
    lines = sent.decode().lower().split("\r\n")
    for line in (
        f"content-length: {len(body)}",
        "content-type: application/json",
        "accept: application/json",
        "user-agent: proxy/1",
        "connection: close",
    ):
        assert line in lines
    assert not any(line.startswith(("authorization", "cookie", "transfer-encoding")) for line in lines)


@pytest.mark.parametrize(
    "steps",
    [
        [head(), NAMED, CLOSE],
        [head("200 OK", "Transfer-Encoding: chunked"), b"25\r\n%s\r\n" % NAMED, b"0\r\n\r\n"],
        [head("201 Created", f"Content-Length: {len(NAMED)}"), *(NAMED[n : n + 1] for n in range(len(NAMED)))],
    ],
)
@pytest_twisted.ensureDeferred
async def test_answer_may_come_in_any_framing(bench, resolver, steps):
    provider = await bench.provider(*steps)
    assert await resolver.ask(provider.url(), QUESTION) == ResolverAnswer("http://b.example/7.ts")
    assert bench.sockets.open == 0


@pytest_twisted.ensureDeferred
async def test_resolver_may_name_no_source(bench, resolver):
    provider = await bench.provider(answer(b'{"next_url": null}'))
    assert await resolver.ask(provider.url(), QUESTION) == ResolverAnswer()


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ([answer(b'{"next_url": null}', "400 Bad Request")], "HTTP 400"),
        ([answer(b"", "500 Oops")], "HTTP 500"),
        ([answer(b"<html>s3cret")], "the answer is not JSON"),
        ([head("204 No Content")], "the answer is not JSON"),
        ([head("200 OK", "Content-Length: 99"), NAMED, CLOSE], "truncated: closed in the middle of the body"),
        ([head("200 OK", "Content-Length: 99"), NAMED, RESET], "connection reset"),
        ([CLOSE], "bad response head: closed without a complete response head"),
        ([RESET], "connection reset: before a complete response head"),
        ([b"s3cret\r\n\r\n"], "bad response head: the response does not begin with a status line"),
        ([head(), *[b" " * 30_000] * 9], f"truncated: an answer over {MAX_ANSWER_BYTES} bytes"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_useless_answers_of_a_resolver(bench, resolver, errors, steps, why):
    provider = await bench.provider(*steps)
    assert (await problem(resolver, provider.url("/s3cret"))) == why
    assert errors == []


@pytest_twisted.ensureDeferred
async def test_a_redirect_is_not_followed(bench, resolver):
    other = await bench.provider(answer(NAMED))
    provider = await bench.provider(redirect(other.url()))
    assert await problem(resolver, provider.url()) == "HTTP 302"
    assert other.connections == []


@pytest.mark.parametrize("steps", [[b""], [head("200 OK", "Content-Length: 99"), NAMED]])
@pytest_twisted.ensureDeferred
async def test_silence_of_the_resolver_times_out(bench, steps):
    resolver = HttpResolver(bench.reactor, bench.sockets, timeout=0.1)
    provider = await bench.provider(*steps)
    assert await problem(resolver, provider.url("/s3cret")) == "first byte timeout: no answer after 0.1 s in all"


@pytest_twisted.ensureDeferred
async def test_connection_refused(resolver):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/s3cret"
        assert await problem(resolver, url) == "refused: connection refused"


@pytest_twisted.ensureDeferred
async def test_addresses_that_are_not_allowed(bench, resolver, names):
    names.known.update(metadata=["169.254.169.254"], inside=["127.0.0.1"])
    for url in ("http://2852039166/", "http://metadata.test/s3cret"):
        assert (await problem(resolver, url)).startswith("address not allowed")
    strict = HttpResolver(bench.reactor, bench.sockets, OutboundPolicy("never"))
    assert "PRIVATE_UPSTREAMS" in await problem(strict, "http://inside.test/")
    assert names.connected == []


@pytest_twisted.ensureDeferred
async def test_certificates_are_verified(bench, resolver, tls):
    provider = await bench.provider(answer(NAMED), tls=tls)
    assert (await problem(resolver, provider.url("/s3cret", "localhost"))).startswith("tls: ")
    assert provider.requests == []


@pytest.mark.parametrize("steps", [[b""], [head("200 OK", "Content-Length: 99"), NAMED]])
@pytest_twisted.ensureDeferred
async def test_cancelling_closes_the_socket(bench, resolver, errors, steps):
    provider = await bench.provider(*steps)
    asked = provider.sees("asked")
    asking = resolver.ask(provider.url(), QUESTION)
    await asked
    await bench.turns(0.05)
    lost = provider.sees("lost")
    asking.cancel()
    with pytest.raises(CancelledError):
        await asking
    await lost
    await bench.turns(0)
    assert bench.sockets.open == 0
    assert errors == []
