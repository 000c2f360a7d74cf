"""The fetcher over real sockets: requests, connections, responses, redirects."""

from __future__ import annotations

import gc
import gzip
import weakref

import pytest
import pytest_twisted
from certificates import new_certificate
from digest_provider import demand_digest, with_user
from fetching import fetching
from scripted_provider import CLOSE, RESET, BodyRecorder, head, redirect
from twisted.internet.defer import CancelledError, gatherResults
from twisted.internet.ssl import Certificate, KeyPair, PrivateCertificate
from zope.interface.verify import verifyObject

from m3uproxy.core.http.byte_ranges import ByteRange
from m3uproxy.core.http.outbound_policy import AddressKind, OutboundPolicy, address_kind
from m3uproxy.core.http.source_request import DialTimeouts
from m3uproxy.errors import Reason, SourceError
from m3uproxy.interfaces import IResponseBody

__all__ = ["fetching"]

DATA = b"0123456789abcdef" * 2


def answer(body: bytes, *lines: str, status: str = "200 OK") -> bytes:
    return head(status, f"Content-Length: {len(body)}", *lines) + body


async def fails(deferred) -> SourceError:
    with pytest.raises(SourceError) as caught:
        await deferred
    return caught.value


class TestConnections:
    @pytest_twisted.ensureDeferred
    async def test_connection_serves_one_request_after_another(self, fetching):
        provider = await fetching.provider(answer(DATA))
        for n in range(4):
            assert await fetching.get(provider.url(f"/seg{n}.ts?s=a%2Bb%3D")) == DATA
        assert len(provider.connections) == 1
        assert [each.split(b" ")[1] for each in provider.requests] == [b"/seg%d.ts?s=a%%2Bb%%3D" % n for n in range(4)]
        assert fetching.pool.count() == fetching.sockets.open == 1
        assert "connection" not in provider.headers()

    @pytest_twisted.ensureDeferred
    async def test_each_response_head_is_repaired(self, fetching):
        provider = await fetching.provider(head("200", "no colon", "Server : x", "Content-Length: 32") + DATA)
        for n in range(3):
            assert await fetching.get(provider.url(f"/{n}")) == DATA
        assert len(provider.connections) == 1

    @pytest_twisted.ensureDeferred
    async def test_keep_alive_over_tls(self, fetching):
        pem = b"".join(new_certificate())
        options = PrivateCertificate.fromCertificateAndKeyPair(Certificate.loadPEM(pem), KeyPair.load(pem, 1)).options()
        provider = await fetching.provider(answer(DATA), tls=options)
        for n in range(3):
            assert await fetching.get(provider.url(f"/{n}", host="localhost"), verify_tls=False) == DATA
        assert len(provider.connections) == 1
        error = await fails(fetching.get(provider.url("/", host="localhost")))
        assert error.reason is Reason.TLS

    @pytest_twisted.ensureDeferred
    async def test_digest_authentication_keeps_connection_and_nonce(self, fetching):
        provider = await fetching.provider()
        answers = demand_digest(provider, answer(DATA))
        entry = with_user(provider.url("/1.m3u8"))
        for n in range(3):
            assert await fetching.get(provider.url(f"/{n}.ts"), entry=entry) == DATA
        assert len(provider.requests) == 4, "one challenge"
        assert answers.counts == ["00000001", "00000002", "00000003"]
        assert len(provider.connections) == 1

    @pytest.mark.parametrize(
        "steps",
        [
            (head("200 OK", "Content-Length: 32", "Connection: close"), DATA, CLOSE),
            (head("200 OK", "Content-Length: 32"), DATA, CLOSE),
            (head("200 OK"), DATA, CLOSE),
            (answer(DATA, "Connection: Close"), CLOSE),
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_closed_connection_is_replaced(self, fetching, steps):
        provider = await fetching.provider(*steps)
        for n in range(3):
            assert await fetching.get(provider.url(f"/{n}")) == DATA
            await fetching.turns(0.05)
        assert len(provider.connections) == 3
        assert fetching.sockets.peak == 1

    @pytest_twisted.ensureDeferred
    async def test_connection_closed_while_the_request_is_sent_is_replaced(self, fetching):
        provider = await fetching.provider(answer(DATA))
        assert await fetching.get(provider.url("/a")) == DATA
        provider.connections[0].play = lambda steps: provider.connections[0].transport.abortConnection()
        assert await fetching.get(provider.url("/b")) == DATA
        assert len(provider.connections) == 2

    @pytest_twisted.ensureDeferred
    async def test_connection_is_replaced_only_once(self, fetching):
        provider = await fetching.provider(answer(DATA))
        assert await fetching.get(provider.url("/a")) == DATA
        provider.answers["*"] = [RESET]
        error = await fails(fetching.get(provider.url("/b")))
        assert error.reason is Reason.RESET
        assert len(provider.connections) == 2

    @pytest_twisted.ensureDeferred
    async def test_unsolicited_data_closes_an_idle_connection(self, fetching):
        provider = await fetching.provider(answer(DATA), head("408 Request Timeout"))
        assert await fetching.get(provider.url("/a")) == DATA
        await fetching.turns(0.05)
        assert fetching.sockets.open == fetching.pool.count() == 0
        assert await fetching.get(provider.url("/b")) == DATA

    @pytest_twisted.ensureDeferred
    async def test_ended_body_does_not_affect_the_released_connection(self, fetching):
        provider = await fetching.provider(answer(DATA))
        limits = DialTimeouts(1, 1, 2)
        opened = await fetching.http_client.get(fetching.request(provider.url("/a")), None, limits)
        verifyObject(IResponseBody, opened.body)
        opened.body.deliver(body := BodyRecorder())
        await body.over
        provider.answers["*"] = [head("200 OK", "Content-Length: 32"), DATA[:16], DATA[16:]]
        getting = fetching.get_later(provider.url("/b"))
        opened.body.pause()
        assert opened.body.read(True) == 0
        await opened.body.close()
        opened.body.resume()
        assert await getting == DATA
        assert len(provider.connections) == 1

    @pytest_twisted.ensureDeferred
    async def test_undelivered_body_is_closed(self, fetching):
        provider = await fetching.provider(head("200 OK", "Content-Length: 32"), DATA[:16])
        opened = await fetching.http_client.get(fetching.request(provider.url("/a")), None, DialTimeouts(1, 1, 2))
        await opened.body.close()
        assert fetching.sockets.open == fetching.pool.count() == 0

    @pytest_twisted.ensureDeferred
    async def test_idle_connection_is_closed_after_a_time(self, fetching):
        await fetching.renew(idle_timeout=0.05)
        provider = await fetching.provider(answer(DATA))
        await fetching.get(provider.url("/a"))
        assert fetching.sockets.open == 1
        await fetching.turns(0.2)
        assert fetching.sockets.open == fetching.pool.count() == 0

    @pytest_twisted.ensureDeferred
    async def test_connections_to_a_host_are_limited_and_requests_wait(self, fetching):
        await fetching.renew(per_host=2)
        provider = await fetching.provider(head("200 OK", "Content-Length: 32"), DATA[:16], DATA[16:])
        bodies = await gatherResults([fetching.get_later(provider.url(f"/{n}")) for n in range(7)])
        assert bodies == [DATA] * 7
        assert len(provider.connections) == fetching.sockets.peak == 2

    @pytest_twisted.ensureDeferred
    async def test_waiting_request_can_be_cancelled_and_times_out(self, fetching):
        await fetching.renew(per_host=1, start_timeout=1, live_chunk_timeout_seconds=10)
        provider = await fetching.provider(head("200 OK", "Content-Length: 1000"), DATA)
        slow = await fetching.fetcher.fetch(fetching.request(provider.url("/slow")))
        gone = fetching.fetcher.fetch(fetching.request(provider.url("/gone")))
        gone.cancel()
        await fails_with(gone, CancelledError)
        error = await fails(fetching.get(provider.url("/late")))
        assert error.reason is Reason.NO_SLOT
        assert [each.split(b" ")[1] for each in provider.requests] == [b"/slow"]
        slow.close()

    @pytest_twisted.ensureDeferred
    async def test_closed_connection_makes_room_for_a_waiting_request(self, fetching):
        await fetching.renew(per_host=1)
        provider = await fetching.provider(head("200 OK", "Content-Length: 1000000"), DATA)
        provider.answers["/b"] = [answer(DATA)]
        slow = await fetching.fetcher.fetch(fetching.request(provider.url("/a")))
        waiting = fetching.get_later(provider.url("/b"))
        slow.close()
        assert await waiting == DATA
        assert fetching.sockets.peak == 1

    @pytest_twisted.ensureDeferred
    async def test_stop_fails_waiting_requests(self, fetching):
        await fetching.renew(per_host=1)
        provider = await fetching.provider(head("200 OK", "Content-Length: 1000"), DATA)
        reading = await fetching.fetcher.fetch(fetching.request(provider.url("/a")))
        waiting = fetching.fetcher.fetch(fetching.request(provider.url("/b")))
        await fetching.pool.stop()
        reading.close()
        assert (await fails(waiting)).reason is Reason.STOPPING
        assert (await fails(fetching.get(provider.url("/c")))).reason is Reason.STOPPING


async def fails_with(deferred, kind):
    with pytest.raises(kind):
        await deferred


class TestResponses:
    @pytest.mark.parametrize("status", ["403 Forbidden", "404 Not Found", "503 Busy"])
    @pytest_twisted.ensureDeferred
    async def test_error_status_keeps_the_connection(self, fetching, status):
        provider = await fetching.provider(answer(b"x" * 1000, status=status))
        for n in range(2):
            resource = await fetching.fetcher.fetch(fetching.request(provider.url(f"/{n}")))
            assert (resource.status, resource.length) == (int(status[:3]), 0)
            assert await resource.read_all(10) == b""
        assert len(provider.connections) == 1

    @pytest.mark.parametrize(
        "steps",
        [
            (head("404 Not Found", "Content-Length: 100000000"), b"x" * 1000),
            (head("404 Not Found"), b"x" * 1000),
            (head("404 Not Found", "Content-Length: 1000"), b"x"),
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_endless_error_page_is_cut_off(self, fetching, steps):
        provider = await fetching.provider(*steps)
        resource = await fetching.fetcher.fetch(fetching.request(provider.url("/")))
        assert resource.status == 404
        await fetching.turns()
        assert fetching.sockets.open == 0

    @pytest_twisted.ensureDeferred
    async def test_headers_for_players_are_passed_on(self, fetching):
        lines = ["Content-Type: video/mp2t", 'ETag: "x"', "Set-Cookie: a=b", "X-Other: 1", "Connection: keep-alive"]
        provider = await fetching.provider(answer(DATA, *lines))
        resource = await fetching.fetcher.fetch(fetching.request(provider.url("/a")))
        assert resource.headers == {"Content-Type": "video/mp2t", "ETag": '"x"'}
        assert resource.final_url == provider.url("/a")
        assert not resource.public
        resource.close()

    @pytest_twisted.ensureDeferred
    async def test_range_is_requested(self, fetching):
        provider = await fetching.provider(answer(DATA[4:8], "Content-Range: bytes 4-7/32", status="206 Partial"))
        resource = await fetching.fetcher.fetch(fetching.request(provider.url("/a")), ByteRange(4, 7))
        assert provider.headers()["range"] == "bytes=4-7"
        assert (resource.status, resource.headers["Content-Range"]) == (206, "bytes 4-7/32")
        assert await resource.read_all(10) == DATA[4:8]

    async def fetch_and_close(self, fetching, url):
        """Fetch a resource without reading it, and return a weak reference to its download."""
        resource = await fetching.fetcher.fetch(fetching.request(url))
        resource.close()
        return weakref.ref(resource._download)

    @pytest_twisted.ensureDeferred
    async def test_resource_is_freed_when_the_cache_removes_it(self, fetching):
        """Thousands of resources that only the garbage collector frees would make its runs longer than 50 ms."""
        provider = await fetching.provider(answer(DATA))
        gc.disable()
        try:
            download = await self.fetch_and_close(fetching, provider.url("/a.ts"))
            await fetching.turns(0.01)
            assert download() is not None
            fetching.fetcher.stop()
            assert download() is None
        finally:
            gc.enable()

    @pytest_twisted.ensureDeferred
    async def test_chunked_body_is_decoded(self, fetching):
        provider = await fetching.provider(
            head("200 OK", "Transfer-Encoding: chunked"),
            b"10\r\n" + DATA[:16] + b"\r\n",
            b"10\r\n" + DATA[16:] + b"\r\n0\r\n\r\n",
        )
        for n in range(2):
            assert await fetching.get(provider.url(f"/{n}")) == DATA
        assert len(provider.connections) == 1

    @pytest_twisted.ensureDeferred
    async def test_gzip_bomb_is_too_large(self, fetching):
        bomb = gzip.compress(b"#EXTM3U\n" + bytes(30_000_000))
        provider = await fetching.provider(answer(bomb, "Content-Encoding: gzip"))
        error = await fails(fetching.get(provider.url("/a.m3u8")))
        assert error.reason is Reason.NOT_VIDEO
        assert fetching.fetcher.size == fetching.fetcher.count == 0

    @pytest_twisted.ensureDeferred
    async def test_unrequested_gzip_is_decoded(self, fetching):
        packed = gzip.compress(DATA * 100)
        provider = await fetching.provider(answer(packed, "Content-Encoding: gzip"))
        assert "accept-encoding" not in str(provider.requests)
        for n in range(2):
            assert await fetching.get(provider.url(f"/{n}")) == DATA * 100
        assert len(provider.connections) == 1
        provider.answers["*"] = [answer(packed[:-12], "Content-Encoding: gzip")]
        assert (await fails(fetching.get(provider.url("/cut")))).reason is Reason.TRUNCATED

    @pytest.mark.parametrize(
        ("steps", "reason"),
        [
            ((head("200 OK", "Content-Length: 1000"), DATA, CLOSE), Reason.TRUNCATED),
            ((head("200 OK", "Content-Length: 1000"), DATA, RESET), Reason.RESET),
            ((head("200 OK"), DATA, RESET), Reason.RESET),
            ((head("200 OK", "Transfer-Encoding: chunked"), b"20\r\n" + DATA, CLOSE), Reason.TRUNCATED),
            ((head("200 OK", "Transfer-Encoding: chunked"), b"20\r\n" + DATA + b"\r\nzz\r\n"), Reason.TRUNCATED),
            ((head("200 OK", "Content-Length: 1000"), DATA), Reason.STALLED),
            ((head("200 OK", "Content-Length: 1000"),), Reason.STALLED),
            ((b"nonsense\r\n\r\n",), Reason.BAD_HEAD),
            ((CLOSE,), Reason.BAD_HEAD),
            ((), Reason.FIRST_BYTE_TIMEOUT),
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_provider_faults_become_source_errors(self, fetching, steps, reason):
        provider = await fetching.provider(b"")
        provider.answers["*"] = list(steps)
        assert (await fails(fetching.get(provider.url("/a")))).reason is reason
        await fetching.turns()
        assert fetching.sockets.open == 0


class TestRedirects:
    @pytest_twisted.ensureDeferred
    async def test_redirect_keeps_both_connections(self, fetching):
        there = await fetching.provider(answer(DATA))
        rig = await fetching.provider(redirect(there.url("/there?x=%2B")))
        for n in range(3):
            resource = await fetching.fetcher.fetch(fetching.request(rig.url(f"/{n}")))
            assert resource.final_url == there.url("/there?x=%2B")
            assert await resource.read_all(100) == DATA
        assert (len(rig.connections), len(there.connections)) == (1, 1)

    @pytest_twisted.ensureDeferred
    async def test_relative_redirect_uses_the_same_connection(self, fetching):
        provider = await fetching.provider(answer(DATA))
        provider.answers["/a/b"] = [redirect("../c?y")]
        assert await fetching.get(provider.url("/a/b")) == DATA
        assert len(provider.connections) == 1
        assert provider.requests[1].startswith(b"GET /c?y ")

    @pytest_twisted.ensureDeferred
    async def test_missing_redirect_body_costs_a_moment(self, fetching):
        provider = await fetching.provider(answer(DATA))
        provider.answers["/a"] = [head("302 Found", "Location: /b", "Content-Length: 20")]
        assert await fetching.get(provider.url("/a")) == DATA
        assert len(provider.connections) == 2

    @pytest_twisted.ensureDeferred
    async def test_redirect_loop_fails(self, fetching):
        provider = await fetching.provider(redirect("/a"))
        assert (await fails(fetching.get(provider.url("/a")))).reason is Reason.REDIRECT_LOOP


class TestHeaders:
    @pytest_twisted.ensureDeferred
    async def test_stream_headers_go_only_to_allowed_hosts(self, fetching):
        provider = await fetching.provider(answer(DATA))
        entry = provider.url("/a.m3u8").replace("//", "//user:pass@")
        await fetching.get(provider.url("/seg.ts"), entry=entry, headers=(("X-Key", "secret"), ("Cookie", "c=d")))
        sent = provider.headers()
        assert (sent["x-key"], sent["cookie"], sent["user-agent"]) == ("secret", "c=d", "VLC/3.0")
        assert sent["authorization"] == "Basic dXNlcjpwYXNz"
        assert not {"referer", "origin"} & {*sent}
        other = provider.url("/seg.ts", host="localhost")
        await fetching.get(
            other, entry=entry, headers=(("X-Key", "secret"), ("Cookie", "c=d"), ("Referer", "http://r/"))
        )
        sent = provider.headers()
        assert not {"x-key", "cookie", "authorization"} & {*sent}
        assert sent["referer"] == "http://r/"
        assert sent["host"] == f"localhost:{provider.port}"

    @pytest_twisted.ensureDeferred
    async def test_playlist_cookies_are_sent_with_its_segments(self, fetching):
        provider = await fetching.provider(answer(DATA, "Set-Cookie: pass=1; Path=/"))
        entry = provider.url("/a.m3u8")
        await fetching.get(entry)
        await fetching.get(provider.url("/seg.ts"), entry=entry)
        assert provider.headers()["cookie"] == "pass=1"
        await fetching.get(provider.url("/seg2.ts"), entry=provider.url("/other.m3u8"))
        assert "cookie" not in provider.headers()

    @pytest_twisted.ensureDeferred
    async def test_invalid_url_fails(self, fetching):
        for url in ("ftp://x/y", "http://", "seg.ts"):
            assert (await fails(fetching.get(url, entry="http://127.0.0.1/"))).reason is Reason.UNREACHABLE


class TestOutbound:
    """127.0.0.1 stands for a private host, ``::1`` for a public one."""

    @staticmethod
    def pretend(address):
        return AddressKind.PUBLIC if address == "::1" else address_kind(address)

    @pytest_twisted.ensureDeferred
    async def test_public_playlist_must_not_lead_to_private_addresses(self, fetching):
        await fetching.renew(outbound=OutboundPolicy("api", self.pretend))
        outside = await fetching.provider(answer(DATA), ipv6=True)
        inside = await fetching.provider(answer(DATA))
        playlist = await fetching.fetcher.fetch(fetching.request(outside.url("/a.m3u8", host="[::1]")))
        assert playlist.public
        playlist.close()
        error = await fails(fetching.get(inside.url("/seg.ts"), led_by_public=True))
        assert error.reason is Reason.FORBIDDEN
        assert inside.requests == []
        assert await fetching.get(outside.url("/seg.ts", host="[::1]"), led_by_public=True) == DATA
        assert len(outside.connections) == 1

    @pytest_twisted.ensureDeferred
    async def test_public_playlist_must_not_use_an_open_private_connection(self, fetching):
        await fetching.renew(outbound=OutboundPolicy("api", self.pretend))
        inside = await fetching.provider(answer(DATA))
        assert await fetching.get(inside.url("/a")) == DATA
        error = await fails(fetching.get(inside.url("/b"), led_by_public=True))
        assert error.reason is Reason.FORBIDDEN
        assert len(inside.requests) == 1

    @pytest_twisted.ensureDeferred
    async def test_public_redirect_must_not_lead_to_private_addresses(self, fetching):
        await fetching.renew(outbound=OutboundPolicy("api", self.pretend))
        inside = await fetching.provider(answer(DATA))
        outside = await fetching.provider(redirect(inside.url("/")), ipv6=True)
        error = await fails(fetching.get(outside.url("/a", host="[::1]")))
        assert error.reason is Reason.FORBIDDEN
        assert inside.requests == []

    @pytest_twisted.ensureDeferred
    async def test_cloud_metadata_address_is_always_refused(self, fetching):
        error = await fails(fetching.get("http://169.254.169.254/latest/"))
        assert error.reason is Reason.FORBIDDEN
