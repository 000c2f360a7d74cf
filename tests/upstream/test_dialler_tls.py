"""Providers behind TLS: certificates, handshakes that fail, peers that do not say goodbye."""

import socket
import ssl
import threading

import pytest
import pytest_twisted
from scripted_provider import CLOSE, RESET, TIMEOUTS, BodyRecorder, head, redirect
from twisted.internet.defer import Deferred
from twisted.internet.ssl import (
    Certificate,
    optionsForClientTLS,
    trustRootFromCertificates,
)

from m3uproxy.core.http.source_request import DialTimeouts, SourceRequest
from m3uproxy.errors import Reason, SourceError
from m3uproxy.upstream import connection as endpoints

VIDEO = b"G" * 188


@pytest.fixture
def trusted(pem, monkeypatch):
    """Have the system trust the certificate."""
    root = trustRootFromCertificates([Certificate.loadPEM(pem)])
    monkeypatch.setattr(endpoints, "optionsForClientTLS", lambda host: optionsForClientTLS(host, root))


@pytest.mark.usefixtures("trusted")
class TestTrusted:
    @pytest_twisted.ensureDeferred
    async def test_trusted_certificate(self, bench, tls):
        provider = await bench.provider(head("200 OK", "Content-Length: 188"), VIDEO, tls=tls)
        (await bench.dial(provider.url("/a", "localhost"))).deliver(body := BodyRecorder())
        await body.over
        assert (body.data, body.error.reason) == (VIDEO, Reason.ENDED)
        assert tls.names == [b"localhost"]
        assert bench.sockets.peak == 1

    @pytest_twisted.ensureDeferred
    async def test_certificate_for_another_host(self, bench, tls, errors):
        provider = await bench.provider(head(), tls=tls)
        error = await bench.fails(provider.url("/", "127.0.0.1"))
        assert error.reason is Reason.TLS
        assert "another host" in error.detail
        assert "VERIFY_TLS" in error.detail
        assert not errors

    @pytest.mark.parametrize(("last", "reason"), [(CLOSE, Reason.ENDED), (RESET, Reason.RESET)])
    @pytest_twisted.ensureDeferred
    async def test_ends_have_different_reasons(self, bench, tls, errors, last, reason):
        provider = await bench.provider(head(), VIDEO, last, tls=tls)
        (await bench.dial(provider.url("/a", "localhost"))).deliver(body := BodyRecorder())
        await body.over
        assert (body.data, body.error.reason) == (VIDEO, reason)
        assert not errors

    @pytest_twisted.ensureDeferred
    async def test_redirect_from_https_to_http_carries_no_secrets(self, bench, tls):
        plain = await bench.provider(head())
        provider = await bench.provider(redirect(plain.url("/", "localhost")), tls=tls)
        await (await bench.dial(provider.url("/", "localhost"), ("X-Token", "t"))).close()
        assert "x-token" in provider.headers()
        assert "x-token" not in plain.headers()
        assert bench.sockets.peak == 1


@pytest_twisted.ensureDeferred
async def test_untrusted_certificate(bench, tls, errors):
    provider = await bench.provider(head(), tls=tls)
    error = await bench.fails(provider.url("/", "localhost"))
    assert error.reason is Reason.TLS
    assert error.detail.startswith("certificate verify failed (verify_tls ")
    assert "VERIFY_TLS" in error.detail
    assert not errors


@pytest.mark.parametrize(("host", "names"), [("localhost", [b"localhost"]), ("127.0.0.1", [None])])
@pytest_twisted.ensureDeferred
async def test_stream_without_verification(bench, tls, host, names):
    provider = await bench.provider(head(), tls=tls)
    await (await bench.dial(provider.url("/", host), verify_tls=False)).close()
    assert tls.names == names


@pytest.mark.parametrize(
    ("host", "elsewhere", "is_opened"),
    [("localhost", True, True), ("127.0.0.1", True, False), ("127.0.0.1", False, True)],
)
@pytest_twisted.ensureDeferred
async def test_a_redirect_takes_no_exemption_to_another_host(bench, tls, host, elsewhere, is_opened):
    provider = await bench.provider(head(), tls=tls)
    plain = await bench.provider(redirect(provider.url("/", host)))
    request = SourceRequest(plain.url("/", "localhost"), "VLC", (), False, verify_tls_elsewhere=elsewhere)
    dialling = bench.dialler.dial(request, TIMEOUTS)
    if is_opened:
        await (await dialling).close()
        return
    with pytest.raises(SourceError) as refused:
        await dialling
    assert refused.value.reason is Reason.TLS
    assert bench.sockets.open == 0


@pytest.mark.parametrize(("last", "reason"), [(CLOSE, Reason.BAD_HEAD), (RESET, Reason.RESET)])
@pytest_twisted.ensureDeferred
async def test_failure_after_the_handshake_is_no_tls_error(bench, tls, last, reason):
    provider = await bench.provider(b"HTTP/1.1 200 OK", last, tls=tls)
    error = await bench.fails(provider.url(), verify_tls=False)
    assert error.reason is reason


@pytest_twisted.ensureDeferred
async def test_pausing(bench, tls):
    provider = await bench.provider(head(), VIDEO * 20_000, CLOSE, tls=tls)
    opened = await bench.dial(provider.url(), verify_tls=False)
    opened.deliver(body := BodyRecorder())
    await body.has(1)
    opened.pause()
    await bench.turns(0.05)
    held = len(body.data)
    assert held < 188 * 20_000
    opened.resume()
    await body.over
    assert body.data == VIDEO * 20_000


@pytest.mark.parametrize("steps", [[CLOSE], [RESET], [b"HTTP/1.1 400 Bad Request\r\n\r\n"]])
@pytest_twisted.ensureDeferred
async def test_peer_without_tls(bench, errors, steps):
    provider = await bench.provider()
    hello = provider.sees("open")
    dialling = bench.dial(provider.url().replace("http:", "https:"), timeouts=DialTimeouts(1, 1, 2))
    await hello
    script = list(steps)
    provider.connections[0].dataReceived = lambda data: provider.connections[0].play(script)
    with pytest.raises(Exception, match="tls") as caught:
        await dialling
    assert caught.value.reason is Reason.TLS
    assert not errors


@pytest_twisted.ensureDeferred
async def test_silent_handshake_times_out(bench):
    provider = await bench.provider()
    url = provider.url().replace("http:", "https:")
    error = await bench.fails(url, timeouts=DialTimeouts(1, 0.05, 2))
    assert error.reason is Reason.FIRST_BYTE_TIMEOUT


@pytest.mark.parametrize("when", ["body", "complete", "untaken", "redirect"])
@pytest_twisted.ensureDeferred
async def test_peer_that_never_closes(bench, pem, tmp_path, when):
    """If a server answers and then neither reads nor closes, our socket closes at once."""
    answers = {
        "body": head() + VIDEO,
        "complete": head("200 OK", "Content-Length: 188") + VIDEO,
        "untaken": head("200 OK", "Content-Length: 188") + VIDEO,
        "redirect": head("302 x", "Content-Length: 5"),
    }
    (tmp_path / "pem").write_bytes(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pem")
    answered, done = Deferred(), threading.Event()

    def serve():
        with listening.accept()[0] as plain, context.wrap_socket(plain, server_side=True) as secure:
            secure.recv(65536)
            secure.sendall(answers[when])
            done.wait(5)
        bench.reactor.callFromThread(answered.callback, None)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        dialling = bench.dial(f"https://127.0.0.1:{listening.getsockname()[1]}/", verify_tls=False)
        try:
            if when == "redirect":
                with pytest.raises(Exception, match="redirect"):
                    await dialling
            else:
                opened = await dialling
            if when in {"body", "complete"}:
                opened.deliver(body := BodyRecorder())
                await (body.has(188) if when == "body" else body.over)
            if when == "body":
                await opened.close()
                assert body.ends == 1
            await bench.turns()
            assert bench.sockets.open == 0
        finally:
            done.set()
        await answered
        thread.join()
