"""One hop over real sockets: what is sent, what an answer means, how a body ends."""

import gzip
import socket
import zlib

import pytest
import pytest_twisted
from scripted_provider import CLOSE, RESET, BodyRecorder, head
from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater
from zope.interface.verify import verifyObject

from m3uproxy.core.http.source_request import DialTimeouts
from m3uproxy.errors import Reason, SourceError
from m3uproxy.interfaces import IBodyConsumer, IDialler, IResponseBody

VIDEO = b"G" * 188


class TestPlain:
    @pytest_twisted.ensureDeferred
    async def test_stream_is_delivered_and_ends(self, bench):
        provider = await bench.provider(head("200 OK", "Content-Type: Video/MP2T; x=y"), VIDEO, VIDEO, CLOSE)
        opened = await bench.dial(provider.url("/a"))
        assert (opened.content_type, opened.final_url) == ("video/mp2t", provider.url("/a"))
        assert bench.sockets.open == 1
        verifyObject(IResponseBody, opened)
        body = BodyRecorder()
        verifyObject(IBodyConsumer, body)
        opened.deliver(body)
        await body.over
        assert body.data == VIDEO * 2
        assert body.error.reason is Reason.ENDED
        assert (body.ends, bench.sockets.open) == (1, 0)
        opened.pause()
        opened.resume()
        await opened.close()
        await opened.close()
        verifyObject(IDialler, bench.dialler)

    @pytest.mark.parametrize("framing", ["Connection: close", f"Content-Length: {4 * 188}"])
    @pytest_twisted.ensureDeferred
    async def test_withdrawn_body_is_delivered_again_from_its_first_byte(self, bench, framing):
        """It is paused meanwhile. Bytes and an end that come all the same are kept."""
        provider = await bench.provider(head("200 OK", framing), VIDEO, VIDEO * 2, VIDEO, CLOSE)
        opened = await bench.dial(provider.url("/a"))
        first, again = BodyRecorder(), BodyRecorder()
        opened.deliver(first)
        await first.has(188)
        opened.withdraw(first.data)
        size = len(first.data)
        await deferLater(bench.reactor, 0.1, lambda: None)
        assert len(first.data) == size
        opened.deliver(again)
        await again.over
        assert again.data == VIDEO * 4
        assert again.error.reason is Reason.ENDED
        assert (first.ends, again.ends) == (0, 1)
        await opened.close()

    @pytest_twisted.ensureDeferred
    async def test_body_withdrawn_in_the_read_that_completes_it_keeps_its_end(self, bench):
        provider = await bench.provider(head("200 OK", "Content-Length: 188") + VIDEO)
        opened = await bench.dial(provider.url("/a"))
        first, again = BodyRecorder(), BodyRecorder()
        opened.deliver(first)
        await first.has(188)
        opened.withdraw(first.data)
        await deferLater(bench.reactor, 0.05, lambda: None)
        opened.deliver(again)
        await again.over
        assert (again.data, again.error.reason) == (VIDEO, Reason.ENDED)

    @pytest_twisted.ensureDeferred
    async def test_withdrawn_body_can_be_closed(self, bench):
        provider = await bench.provider(head("200 OK"), VIDEO)
        opened = await bench.dial(provider.url("/a"))
        first = BodyRecorder()
        opened.deliver(first)
        await first.has(188)
        opened.withdraw(first.data)
        await opened.close()
        assert (first.ends, bench.sockets.open) == (0, 0)

    @pytest_twisted.ensureDeferred
    async def test_request_headers(self, bench):
        provider = await bench.provider(head())
        await (await bench.dial(provider.url("/a"), ("x-own", "1"), ("ACCEPT", "video/*"))).close()
        assert provider.requests[0].startswith(b"GET /a HTTP/1.1\r\n")
        host = f"127.0.0.1:{provider.port}"
        assert provider.headers() == {
            "host": host,
            "connection": "close",
            "user-agent": "VLC/3.0",
            "accept": "video/*",
            "referer": f"http://{host}/",
            "origin": f"http://{host}",
            "x-own": "1",
        }

    @pytest.mark.parametrize(
        "target",
        [
            "/live//u/p/1.ts?s=%2B%2b+%3D&t=%7E~;a|b",
            "//live/1.ts",
            "/a?",
            "/a;",
            "/a;?x",
            "/%zz[]{}^`<>\"'\\",
            "/a/../b/./c",
            "/?x#fragment",
            "?x",
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_target_is_sent_byte_for_byte(self, bench, target):
        provider = await bench.provider(head())
        await (await bench.dial(provider.url(target))).close()
        sent = target.partition("#")[0]
        assert provider.requests[0].split(b"\r\n")[0].decode() == f"GET {'/' * sent.startswith('?')}{sent} HTTP/1.1"

    @pytest_twisted.ensureDeferred
    async def test_host_name_and_host_header(self, bench):
        provider = await bench.provider(head())
        await (await bench.dial(provider.url("/", host="localhost"), ("host", "other.example"))).close()
        assert provider.headers()["host"] == "other.example"

    @pytest_twisted.ensureDeferred
    async def test_ipv6(self, bench):
        provider = await bench.provider(head(), ipv6=True)
        await (await bench.dial(provider.url("/", host="[::1]"))).close()
        assert provider.headers()["host"] == f"[::1]:{provider.port}"

    @pytest_twisted.ensureDeferred
    async def test_malformed_heads_are_repaired(self, bench):
        odd = b"ICY 200 OK\r\nicy name: x\r\nno colon\r\nServer : x\r\nContent-Type:video/mp2t\r\n\r\n"
        provider = await bench.provider(b"HTTP/1.1 102 Wait\r\n\r\n" + odd[:9], odd[9:-1], odd[-1:] + VIDEO, CLOSE)
        opened = await bench.dial(provider.url())
        assert opened.content_type == "video/mp2t"
        opened.deliver(body := BodyRecorder())
        await body.over
        assert body.data == VIDEO

    @pytest_twisted.ensureDeferred
    async def test_keep_alive_is_set(self, bench):
        provider = await bench.provider(head())
        opened = await bench.dial(provider.url())
        assert opened._connection._socket.transport.getTcpKeepAlive()
        await opened.close()


class TestFailures:
    @pytest.mark.parametrize(
        ("status", "reason"),
        [
            (404, Reason.BAD_STATUS),
            (403, Reason.BAD_STATUS),
            (500, Reason.BAD_STATUS),
            (304, Reason.BAD_STATUS),
            (204, Reason.BAD_STATUS),
            (429, Reason.BUSY),
            (458, Reason.BUSY),
            (453, Reason.BUSY),
            (503, Reason.BAD_STATUS),
            (509, Reason.BUSY),
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_statuses(self, bench, status, reason):
        provider = await bench.provider(head(f"{status} x", "Content-Length: 20"))
        error = await bench.fails(provider.url())
        assert (error.reason, error.status) == (reason, status)

    @pytest.mark.parametrize("closed", [False, True])
    @pytest.mark.parametrize(("status", "reason"), [(403, Reason.BUSY), (503, Reason.BUSY), (404, Reason.BAD_STATUS)])
    @pytest_twisted.ensureDeferred
    async def test_status_beside_or_after_another_connection(self, bench, closed, status, reason):
        provider = await bench.provider()
        provider.answers["/live/u/p/1.ts"] = (head(), VIDEO)
        provider.answers["*"] = (head(f"{status} x", "Content-Length: 0"),)
        opened = await bench.dial(provider.url("/live/u/p/1.ts"))
        if closed:
            await opened.close()
        await self._fails_with(bench, provider.url("/live/u/p/2.ts"), reason)
        await self._fails_with(bench, provider.url("/live/other/p/2.ts"), Reason.BAD_STATUS)
        await opened.close()

    async def _fails_with(self, bench, url, reason):
        with pytest.raises(SourceError) as raised:
            await bench.dial(url)
        assert raised.value.reason is reason

    @pytest_twisted.ensureDeferred
    async def test_refusals_and_redirects_are_no_connections_that_count(self, bench):
        provider = await bench.provider()
        provider.answers["/a"] = (head("302 Found", f"Location: {provider.url('/b')}", "Content-Length: 0"),)
        provider.answers["/b"] = (head("403 Forbidden", "Content-Length: 0"),)
        for _ in range(2):
            assert (await bench.fails(provider.url("/a"))).reason is Reason.BAD_STATUS

    @pytest_twisted.ensureDeferred
    async def test_retry_after_is_read(self, bench):
        provider = await bench.provider(head("429 x", "Retry-After: 8", "Content-Length: 0"))
        assert (await bench.fails(provider.url())).retry_after == 8

    @pytest_twisted.ensureDeferred
    async def test_full_account_is_asked_by_one_dial_at_a_time(self, bench):
        provider = await bench.provider(head("458 x", "Content-Length: 0"))
        await bench.fails(provider.url())
        before = len(provider.requests)
        assert (await bench.fails(provider.url(), timeouts=DialTimeouts(3, 3, 3, False))).status == 458
        assert len(provider.requests) == before, "the account must not be asked yet"
        provider.answers["*"] = (head(), VIDEO)
        opened = await bench.dial(provider.url(), timeouts=DialTimeouts(3, 3, 3, True))
        await opened.close()

    @pytest_twisted.ensureDeferred
    async def test_dial_that_never_gets_its_turn_fails_with_the_refusal(self, bench):
        provider = await bench.provider(head("429 x", "Retry-After: 60", "Content-Length: 0"))
        await bench.fails(provider.url())
        before = len(provider.requests)
        error = await bench.fails(provider.url(), timeouts=DialTimeouts(3, 3, 0.1, True))
        assert (error.status, len(provider.requests)) == (429, before)

    @pytest_twisted.ensureDeferred
    async def test_partial_response_is_accepted(self, bench):
        provider = await bench.provider(head("206 Partial Content"))
        await (await bench.dial(provider.url())).close()

    @pytest_twisted.ensureDeferred
    async def test_refused_connection(self, bench):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            error = await bench.fails(f"http://127.0.0.1:{taken.getsockname()[1]}/s3cret")
        assert error.reason is Reason.REFUSED
        assert "s3cret" not in str(error)

    @pytest_twisted.ensureDeferred
    async def test_invalid_host_names(self, bench, errors):
        for host in ("a..b", "a" * 70, "m3uproxy-test.invalid"):
            error = await bench.fails(f"http://{host}/")
            assert error.reason is Reason.DNS
            assert "after" not in error.detail
        assert not errors

    @pytest.mark.parametrize(
        ("steps", "reason"),
        [
            ([b"<html>\r\n\r\n"], Reason.BAD_HEAD),
            ([b"G" * 66_000], Reason.BAD_HEAD),
            ([b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 11_000 + b"\r\n"], Reason.BAD_HEAD),
            ([b"HTTP/1.1 100 x\r\n\r\n" * 4_000], Reason.BAD_HEAD),
            ([CLOSE], Reason.BAD_HEAD),
            ([b"HTTP/1.1 200 OK\r\n", CLOSE], Reason.BAD_HEAD),
            ([RESET], Reason.RESET),
            ([b"HTTP/1.1 200 OK\r\n", RESET], Reason.RESET),
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_missing_head(self, bench, errors, steps, reason):
        provider = await bench.provider(*steps)
        error = await bench.fails(provider.url())
        assert error.reason is reason
        assert not errors

    @pytest_twisted.ensureDeferred
    async def test_silent_provider_times_out(self, bench):
        provider = await bench.provider(b"HTTP/1.1 200 OK\r\n")
        error = await bench.fails(provider.url(), timeouts=DialTimeouts(1, 0.05, 5))
        assert error.reason is Reason.FIRST_BYTE_TIMEOUT

    @pytest_twisted.ensureDeferred
    async def test_url_and_headers_that_cannot_be_sent(self, bench):
        assert (await bench.fails("rtmp://a/b")).reason is Reason.UNREACHABLE
        dialling = bench.dial("http://127.0.0.1/", ("bad name", "x"))
        with pytest.raises(Exception, match="header"):
            await dialling

    @pytest_twisted.ensureDeferred
    async def test_cancel_closes_the_socket(self, bench):
        provider = await bench.provider(b"HTTP/1.1 200 OK\r\n")
        asked, lost = provider.sees("asked"), provider.sees("lost")
        dialling = bench.dial(provider.url())
        await asked
        dialling.cancel()
        with pytest.raises(CancelledError):
            await dialling
        await lost

    @pytest_twisted.ensureDeferred
    async def test_dial_waits_for_the_socket_of_a_cancelled_dial(self, bench):
        provider = await bench.provider(b"HTTP/1.1 200 OK\r\n")
        asked = provider.sees("asked")
        dialling = bench.dial(provider.url())
        dialling.addErrback(lambda _: None)
        await asked
        provider.answers["*"] = [head()]
        dialling.cancel()
        await (await bench.dial(provider.url())).close()
        assert bench.sockets.peak == 1

    @pytest_twisted.ensureDeferred
    async def test_body_can_be_closed_before_delivery(self, bench):
        provider = await bench.provider(head(), *[VIDEO * 100] * 5)
        opened = await bench.dial(provider.url())
        opened.resume()
        lost = provider.sees("lost")
        await opened.close()
        assert bench.sockets.open == 0
        await lost


CHUNKED = head("200 OK", "Transfer-Encoding: chunked")
CHUNK = b"bc\r\n" + VIDEO + b"\r\n"


class TestEnds:
    @pytest.mark.parametrize(
        ("steps", "reason"),
        [
            ([head(), VIDEO, CLOSE], Reason.ENDED),
            ([head(), VIDEO, RESET], Reason.RESET),
            ([head("200 OK", "Content-Length: 188"), VIDEO], Reason.ENDED),
            ([head("200 OK", "Content-Length: 188") + VIDEO], Reason.ENDED),
            ([head("200 OK", "Content-Length: 189"), VIDEO, CLOSE], Reason.TRUNCATED),
            ([head("200 OK", "Content-Length: 189"), VIDEO, RESET], Reason.RESET),
            ([head("200 OK", "Content-Length: 2147483647"), VIDEO, CLOSE], Reason.ENDED),
            ([head("200 OK", "Content-Length: 0"), VIDEO, CLOSE], Reason.ENDED),
            ([CHUNKED, CHUNK, b"0\r\n\r\n"], Reason.ENDED),
            ([CHUNKED, CHUNK, CLOSE], Reason.TRUNCATED),
            ([CHUNKED, CHUNK, RESET], Reason.RESET),
            ([CHUNKED, CHUNK, b"zz\r\n"], Reason.TRUNCATED),
            ([CHUNKED + b"00BC \t;a=b\n", VIDEO + b"\n", b"0\n\n"], Reason.ENDED),
            ([CHUNKED, CHUNK, b"0\r\n", CLOSE], Reason.ENDED),
            ([head("200 OK", "Content-Encoding: gzip"), gzip.compress(VIDEO), CLOSE], Reason.ENDED),
            ([head("200 OK", "Content-Encoding: gzip"), gzip.compress(VIDEO), b"x", CLOSE], Reason.ENDED),
            ([CHUNKED, CHUNK[:50], CHUNK[50:], b"0\r\n\r\n"], Reason.ENDED),
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_ends_have_different_reasons(self, bench, errors, steps, reason):
        provider = await bench.provider(*steps)
        (await bench.dial(provider.url())).deliver(body := BodyRecorder())
        await body.over
        assert body.data == VIDEO
        assert body.error.reason is reason
        assert not errors

    @pytest_twisted.ensureDeferred
    async def test_damaged_gzip_ends(self, bench, errors):
        provider = await bench.provider(head("200 OK", "Content-Encoding: gzip"), b"\x1f\x8b" + VIDEO)
        (await bench.dial(provider.url())).deliver(body := BodyRecorder())
        await body.over
        assert body.error.reason is Reason.TRUNCATED
        assert not errors

    @pytest.mark.parametrize("coding", ["gzip", "deflate", "x-deflate", "br", "utf-8"])
    @pytest_twisted.ensureDeferred
    async def test_a_false_content_coding_is_ignored(self, bench, errors, coding):
        provider = await bench.provider(head("200 OK", f"Content-Encoding: {coding}"), VIDEO[:1], VIDEO[1:], CLOSE)
        (await bench.dial(provider.url())).deliver(body := BodyRecorder())
        await body.over
        assert (body.data, body.error.reason) == (VIDEO, Reason.ENDED)
        assert not errors

    @pytest.mark.parametrize("line", ["Content-Encoding: Deflate", "Transfer-Encoding: deflate, chunked"])
    @pytest.mark.parametrize("window", [15, -15, 31])
    @pytest_twisted.ensureDeferred
    async def test_deflate_is_decoded(self, bench, line, window):
        packer = zlib.compressobj(6, zlib.DEFLATED, window)
        packed = packer.compress(VIDEO) + packer.flush()
        sent = b"%x\r\n%b\r\n0\r\n\r\n" % (len(packed), packed) if "chunked" in line else packed
        provider = await bench.provider(head("200 OK", line), sent[:3], sent[3:], CLOSE)
        (await bench.dial(provider.url())).deliver(body := BodyRecorder())
        await body.over
        assert (body.data, body.error.reason) == (VIDEO, Reason.ENDED)

    @pytest_twisted.ensureDeferred
    async def test_close_ends_the_body(self, bench):
        provider = await bench.provider(head(), VIDEO)
        opened = await bench.dial(provider.url())
        opened.deliver(body := BodyRecorder())
        await body.has(188)
        await opened.close()
        assert (bench.sockets.open, body.ends, body.error.reason) == (0, 1, Reason.ENDED)

    @pytest_twisted.ensureDeferred
    async def test_exception_of_the_consumer_is_logged_and_closes(self, bench, errors):
        provider = await bench.provider(head(), VIDEO, VIDEO)
        lost = provider.sees("lost")
        (await bench.dial(provider.url())).deliver(body := BodyRecorder(choke=ZeroDivisionError("ours")))
        await body.over
        await lost
        assert (body.error.reason, body.pieces) == (Reason.INTERNAL, 1)
        assert errors[0]["log_failure"].type is ZeroDivisionError
        assert errors[0]["log_failure"].tb is not None


class TestPausing:
    @pytest.mark.parametrize(
        ("lines", "wrap"),
        [
            ((), lambda data: data),
            (("Content-Encoding: gzip",), lambda data: gzip.compress(data, 0)),
            (("Transfer-Encoding: chunked",), lambda data: b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data)),
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_pause_stops_and_resume_continues(self, bench, lines, wrap):
        video = VIDEO * 60_000
        sent = wrap(video)
        provider = await bench.provider(head("200 OK", *lines), sent[:1000], sent[1000:], CLOSE)
        opened = await bench.dial(provider.url())
        opened.deliver(body := BodyRecorder())
        await body.has(1)
        opened.pause()
        await bench.turns(0.05)
        held = len(body.data)
        assert held < len(video)
        await bench.turns(0.05)
        assert len(body.data) == held
        opened.resume()
        await body.over
        assert body.data == video

    @pytest_twisted.ensureDeferred
    async def test_pause_during_delivery_stops(self, bench):
        provider = await bench.provider(head() + VIDEO, VIDEO)
        opened = await bench.dial(provider.url())
        await bench.turns(0)  # the piece that came with the head waits now
        body = BodyRecorder()
        body.has(188).addCallback(lambda _: opened.pause())
        opened.deliver(body)
        await bench.turns(0.05)
        assert body.data == VIDEO
        more = body.has(376)
        opened.resume()
        await more
        await opened.close()
