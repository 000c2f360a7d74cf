"""Station lists over real sockets: followed like redirects, within the same limits."""

import pytest
import pytest_twisted
from scripted_provider import CLOSE, BodyRecorder, head, redirect

from m3uproxy.core.http.outbound_policy import AddressKind, OutboundPolicy
from m3uproxy.core.http.source_request import DialTimeouts
from m3uproxy.errors import Reason
from m3uproxy.upstream.dialler import Dialler

PLS = "audio/x-scpls"


def page(text, content_type=PLS, *lines):
    return head("200 OK", f"Content-Type: {content_type}", f"Content-Length: {len(text)}", *lines) + text.encode()


def pls(url):
    return f"[playlist]\nFile1={url}\nNumberOfEntries=1\n"


@pytest.mark.parametrize(
    ("target", "answer"),
    [
        ("/listen", page(pls("/live"))),
        ("/listen", page("#EXTM3U\n/live", "audio/x-mpegurl")),
        ("/listen.m3u", page("#EXTM3U\n#EXTINF:-1,x\nlive", "application/octet-stream")),
        ("/listen", page('<asx><entry><ref href="/live"/></entry></asx>', "video/x-ms-asf")),
        ("/listen.pls", head() + pls("/live").encode()),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_list_is_followed(bench, target, answer):
    provider = await bench.provider(head("404 Not Found"))
    provider.answers[target] = [answer[:30], answer[30:], CLOSE]
    provider.answers["/live"] = [head("200 OK", "Content-Type: audio/mpeg"), b"\xff\xfb"]
    opened = await bench.dial(provider.url(target), ("X-Key", "k"))
    assert (opened.final_url, opened.content_type) == (provider.url("/live"), "audio/mpeg")
    assert [provider.headers(number)["x-key"] for number in range(2)] == ["k", "k"]
    await opened.close()
    assert (bench.sockets.peak, bench.sockets.open) == (1, 0)


@pytest.mark.parametrize(
    ("target", "content_type", "text"),
    [
        ("/a", "application/vnd.apple.mpegurl", "#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:6,\n1.ts\n"),
        ("/a.m3u", "audio/x-mpegurl", "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n1.m3u8\n"),
        ("/a", "text/html", "<html><body>Too many connections</body></html>"),
        ("/a", "text/plain", "no"),
        ("/a.pls", "text/plain", ""),
        ("/a", "text/html", "G" * 188),
        ("/a.m3u", "audio/mpeg", "http://radio/"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_any_other_body_is_delivered_from_its_first_byte(bench, target, content_type, text):
    answer = page(text, content_type)
    provider = await bench.provider(answer[:-3], answer[-3:], CLOSE)
    opened = await bench.dial(provider.url(target))
    opened.deliver(body := BodyRecorder())
    await body.over
    assert (body.data, body.error.reason) == (text.encode(), Reason.ENDED)
    await opened.close()
    assert (len(provider.requests), bench.sockets.open) == (1, 0)


@pytest_twisted.ensureDeferred
async def test_a_body_that_is_silent_is_delivered_later(bench):
    provider = await bench.provider(head("200 OK", "Content-Type: text/html"), *[b""] * 20, b"G" * 188, CLOSE)
    opened = await bench.dial(provider.url(), timeouts=DialTimeouts(1, 0.05, 3))
    opened.deliver(body := BodyRecorder())
    await body.over
    assert body.data == b"G" * 188


@pytest.mark.parametrize("levels", [3, 4])
@pytest_twisted.ensureDeferred
async def test_lists_may_lead_to_each_other_three_times(bench, levels):
    provider = await bench.provider(head("200 OK", "Content-Type: audio/mpeg"), b"x")
    for number in range(levels):
        provider.answers[f"/{number}"] = [redirect(f"/{number}.pls")]
        provider.answers[f"/{number}.pls"] = [page(pls(f"/{number + 1}"))]
    if levels == 3:
        await (await bench.dial(provider.url("/0"))).close()
        return
    error = await bench.fails(provider.url("/0"))
    assert (error.reason, len(provider.requests)) == (Reason.REDIRECT_LOOP, 8)


@pytest_twisted.ensureDeferred
async def test_a_list_that_names_itself_is_a_loop(bench):
    provider = await bench.provider()
    provider.answers["*"] = [page(pls(provider.url("/a.pls")))]
    assert (await bench.fails(provider.url("/a.pls"))).reason is Reason.REDIRECT_LOOP
    assert len(provider.requests) == 1


@pytest_twisted.ensureDeferred
async def test_no_other_host_sees_secrets(bench):
    other = await bench.provider(head("200 OK", "Content-Type: audio/mpeg"))
    provider = await bench.provider(page(pls(other.url("/live", "localhost"))))
    await (await bench.dial(provider.url("/a.pls").replace("://", "://u:p@"), ("X-Key", "k"))).close()
    assert {"x-key", "authorization"} <= set(provider.headers())
    assert not {"x-key", "authorization"} & set(other.headers())


@pytest_twisted.ensureDeferred
async def test_a_public_list_leads_to_no_private_host(bench):
    other = await bench.provider(head())
    provider = await bench.provider(page(pls(other.url("/", "localhost"))))
    kinds = {"127.0.0.1": AddressKind.PRIVATE}
    first = iter([AddressKind.PUBLIC] * 3)
    policy = OutboundPolicy("api", lambda address: next(first, kinds.get(str(address), AddressKind.PRIVATE)))
    bench.dialler = Dialler(bench.reactor, bench.sockets, policy)
    assert (await bench.fails(provider.url("/a.pls"))).reason is Reason.FORBIDDEN
    assert other.requests == []


@pytest.mark.parametrize(
    "text", ["[playlist]\n", "[playlist]\nFile1=mms://a/", "#EXTM3U\n" + "#" * 70_000, "<!DOCTYPE asx><asx></asx>"]
)
@pytest_twisted.ensureDeferred
async def test_unusable_lists_are_errors(bench, text):
    provider = await bench.provider(page(text))
    assert (await bench.fails(provider.url())).reason is Reason.NOT_VIDEO
