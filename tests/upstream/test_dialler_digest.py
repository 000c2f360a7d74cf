"""Digest authentication of dials and of checked URLs, over real sockets."""

import pytest
import pytest_twisted
from digest_provider import demand_digest, with_user
from scripted_provider import TIMEOUTS, head, redirect

from m3uproxy.core.http.source_request import SourceRequest
from m3uproxy.upstream.url_check import UrlChecker


@pytest.mark.parametrize("algorithm", ["", "MD5", "MD5-sess", "SHA-256", "SHA-256-sess"])
@pytest.mark.parametrize("qop", ["auth", "auth,auth-int", ""])
@pytest_twisted.ensureDeferred
async def test_a_challenge_is_answered(bench, algorithm, qop):
    provider = await bench.provider()
    demand_digest(provider, head(), algorithm=algorithm, qop=qop)
    opened = await bench.dial(with_user(provider.url("/stream/1?profile=pass&x=%2B,a")))
    assert opened.status == 200
    assert "@" not in opened.final_url
    await opened.close()
    assert (len(provider.requests), bench.sockets.peak, bench.sockets.open) == (2, 1, 0)


@pytest_twisted.ensureDeferred
async def test_a_nonce_is_used_until_it_is_stale(bench):
    provider = await bench.provider()
    answers = demand_digest(provider, head())
    for _ in range(3):
        await (await bench.dial(with_user(provider.url("/1")))).close()
    assert (answers.counts, len(provider.requests)) == (["00000001", "00000002", "00000003"], 4)
    answers.nonce = "n/2="
    await (await bench.dial(with_user(provider.url("/2")))).close()
    assert (answers.counts[3:], len(provider.requests)) == (["00000001"], 6)


@pytest_twisted.ensureDeferred
async def test_heads_of_films_are_authorised(bench):
    provider = await bench.provider()
    demand_digest(provider, head("200 OK", "Content-Length: 5"))
    request = SourceRequest(with_user(provider.url("/1.mkv")), "VLC", (), True, method="HEAD")
    opened = await bench.dialler.dial(request, TIMEOUTS)
    assert opened.status == 200
    await opened.close()
    assert [request.split(b" ")[0] for request in provider.requests] == [b"HEAD"] * 2


@pytest.mark.parametrize("userinfo", ["tv:wrong", "nobody:pw"])
@pytest_twisted.ensureDeferred
async def test_a_wrong_password_is_tried_once(bench, userinfo):
    provider = await bench.provider()
    demand_digest(provider, head())
    error = await bench.fails(with_user(provider.url(), userinfo))
    assert (error.status, len(provider.requests)) == (401, 2)


@pytest_twisted.ensureDeferred
async def test_without_a_password_the_status_stands(bench):
    provider = await bench.provider()
    demand_digest(provider, head())
    assert (await bench.fails(provider.url())).status == 401
    assert len(provider.requests) == 1


@pytest_twisted.ensureDeferred
async def test_no_other_host_sees_user_or_response(bench):
    other = await bench.provider()
    demand_digest(other, head())
    provider = await bench.provider()
    demand_digest(provider, redirect(other.url("/", "localhost")))
    assert (await bench.fails(with_user(provider.url()))).status == 401
    assert len(other.requests) == 1
    assert "authorization" not in other.headers()


@pytest_twisted.ensureDeferred
async def test_a_redirect_on_the_same_host_is_authorised(bench):
    provider = await bench.provider()
    answers = demand_digest(provider, head())
    answers["/a"] = [redirect("/b")]
    opened = await bench.dial(with_user(provider.url("/a")))
    assert opened.final_url == provider.url("/b")
    await opened.close()
    assert len(provider.requests) == 3


@pytest_twisted.ensureDeferred
async def test_a_checked_url_is_authorised(bench):
    provider = await bench.provider()
    demand_digest(provider, head())
    checker = UrlChecker(bench.reactor, bench.sockets)
    assert await checker.status(with_user(provider.url()), 2) == 200
    assert await checker.status(with_user(provider.url(), "tv:wrong"), 2) == 401
    assert bench.sockets.open == 0
