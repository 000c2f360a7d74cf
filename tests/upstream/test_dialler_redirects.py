"""Chains of redirects over real sockets."""

import pytest
import pytest_twisted
from scripted_provider import CLOSE, BodyRecorder, head, redirect
from twisted.internet.defer import CancelledError

from m3uproxy.core.http.redirects import MAX_REDIRECTS
from m3uproxy.core.http.source_request import DialTimeouts
from m3uproxy.errors import Reason

VIDEO = b"G" * 188


async def opens(bench, url, *headers):
    opened = await bench.dial(url, *headers)
    await opened.close()
    return opened.final_url


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest_twisted.ensureDeferred
async def test_each_status_is_followed(bench, status):
    provider = await bench.provider(head())
    provider.answers["/a"] = [head(f"{status} x", "Location: /b?s=%2B%2f", "Content-Length: 0")]
    assert await opens(bench, provider.url("/a")) == provider.url("/b?s=%2B%2f")
    assert provider.requests[1].startswith(b"GET /b?s=%2B%2f HTTP")


@pytest.mark.parametrize("status", [300, 304, 305, 306])
@pytest_twisted.ensureDeferred
async def test_other_statuses_are_not_followed(bench, status):
    provider = await bench.provider(head(f"{status} x", "Location: /b", "Content-Length: 0"))
    error = await bench.fails(provider.url("/a"))
    assert (error.reason, error.status, len(provider.requests)) == (Reason.BAD_STATUS, status, 1)


@pytest_twisted.ensureDeferred
async def test_relative_redirect_after_one_to_another_host(bench):
    a, b = await bench.provider(head()), await bench.provider(head())
    a.answers["/a"] = [redirect(b.url("/x"))]
    b.answers["/x"] = [redirect("/live")]
    assert await opens(bench, a.url("/a")) == b.url("/live")
    assert (len(a.requests), len(b.requests)) == (1, 2)


@pytest.mark.parametrize(
    "steps",
    [
        [head("302 x", "Location: %s", "Content-Length: 20")],
        [head("302 x", "Location: %s", "Content-Length: 20"), b"x" * 20],
        [head("302 x", "Location: %s", "Content-Length: 20") + b"x" * 20],
        [head("302 x", "Location: %s"), b"<html>"],
        [head("302 x", "Location: %s"), b"<html>", CLOSE],
        [head("302 x", "Location: %s", "Content-Length: 0")],
        [head("302 x", "Location: %s", "Transfer-Encoding: chunked"), b"5\r\n"],
    ],
)
@pytest_twisted.ensureDeferred
async def test_redirecting_socket_closes_before_the_next_opens(bench, steps):
    a, b = await bench.provider(), await bench.provider(head(), VIDEO, CLOSE)
    a.answers["*"] = [s.replace(b"%s", b.url("/live").encode()) if s is not CLOSE else s for s in steps]
    opened = await bench.dial(a.url("/a"))
    assert bench.events[:4] == ["A open", "A asked /a", "A lost /a", "B open"]
    assert bench.sockets.peak == 1
    opened.deliver(body := BodyRecorder())
    await body.over
    assert body.data == VIDEO


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (redirect("/a"), Reason.REDIRECT_LOOP),
        (redirect("/b"), Reason.REDIRECT_LOOP),
        (head("302 x"), Reason.BAD_REDIRECT),
        (redirect(""), Reason.BAD_REDIRECT),
        (redirect("ftp://x/"), Reason.BAD_REDIRECT),
        (redirect("http://:1/"), Reason.BAD_REDIRECT),
    ],
)
@pytest_twisted.ensureDeferred
async def test_invalid_redirects(bench, answer, reason):
    provider = await bench.provider(answer)
    assert (await bench.fails(provider.url("/a"))).reason is reason
    assert len(provider.requests) <= 2


@pytest_twisted.ensureDeferred
async def test_number_of_redirects_is_limited(bench):
    provider = await bench.provider(head())
    for number in range(MAX_REDIRECTS + 1):
        provider.answers[f"/{number}"] = [redirect(f"/{number + 1}")]
    assert await opens(bench, provider.url("/1")) == provider.url(f"/{MAX_REDIRECTS + 1}")
    assert (await bench.fails(provider.url("/0"))).reason is Reason.REDIRECT_LOOP


@pytest_twisted.ensureDeferred
async def test_cookie_reaches_the_next_hop_and_is_no_loop(bench):
    provider = await bench.provider(head())

    provider.answers["/a"] = [redirect("/b", "Set-Cookie: sid=1; Path=/", "Set-Cookie: bad=\u00e9")]
    provider.answers["/b"] = [redirect("/c")]
    await opens(bench, provider.url("/a"), ("Cookie", "own=2"))
    assert [provider.headers(n).get("cookie") for n in range(3)] == ["own=2", "own=2; sid=1", "own=2; sid=1"]


@pytest_twisted.ensureDeferred
async def test_redirect_to_itself_with_a_new_cookie(bench):
    provider = await bench.provider(redirect("/a", "Set-Cookie: sid=1; Path=/"))
    assert (await bench.fails(provider.url("/a"))).reason is Reason.REDIRECT_LOOP
    assert [provider.headers(n).get("cookie") for n in range(2)] == [None, "sid=1"]


@pytest_twisted.ensureDeferred
async def test_each_dial_has_a_cookie_jar_of_its_own(bench):
    provider = await bench.provider(head("200 OK", "Set-Cookie: sid=1; Path=/"))
    await opens(bench, provider.url("/a"))
    await opens(bench, provider.url("/a"))
    assert "cookie" not in provider.headers()


@pytest_twisted.ensureDeferred
async def test_secrets_stay_on_their_host(bench):
    provider = await bench.provider(head())
    provider.answers["/a"] = [redirect("/b", "Set-Cookie: sid=1; Path=/")]
    provider.answers["/b"] = [redirect(provider.url("/c", host="localhost"))]
    secrets = (("Authorization", "Bearer t"), ("X-Token", "t"), ("Cookie", "own=2"), ("Accept-Language", "de"))
    await opens(bench, provider.url("/a"), *secrets)
    assert provider.headers(1)["x-token"] == "t"
    sent = provider.headers(2)
    assert set(sent) == {
        "host",
        "connection",
        "user-agent",
        "accept",
        "accept-language",
        "referer",
        "origin",
    }
    assert sent["referer"] == provider.url("/")


@pytest_twisted.ensureDeferred
async def test_userinfo_is_sent_as_basic_authentication(bench):
    provider = await bench.provider(head())
    provider.answers["/a"] = [redirect(f"http://v:q@localhost:{provider.port}/b")]
    url = provider.url("/a").replace("://", "://u:p@")
    assert "@" not in await opens(bench, url)
    assert [provider.headers(n)["authorization"] for n in range(2)] == ["Basic dTpw", "Basic djpx"]


@pytest_twisted.ensureDeferred
async def test_total_timeout_covers_all_hops(bench):
    provider = await bench.provider()
    for number in range(9):
        provider.answers[f"/{number}"] = [b"HTTP/1.1 302 x\r\n", b"", redirect(f"/{number + 1}")[16:]]
    error = await bench.fails(provider.url("/0"), timeouts=DialTimeouts(1, 1, 0.06))
    assert "in all" in error.detail
    assert 1 < len(provider.requests) < 9


@pytest_twisted.ensureDeferred
async def test_cancel_at_a_later_hop(bench):
    provider = await bench.provider(b"HTTP/1.1 ")
    provider.answers["/a"] = [redirect("/b")]
    asked = provider.sees("asked /b")
    dialling = bench.dial(provider.url("/a"))
    await asked
    lost = provider.sees("lost /b")
    dialling.cancel()
    with pytest.raises(CancelledError):
        await dialling
    await lost
