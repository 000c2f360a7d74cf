"""Which addresses are dialled, judged at the moment of connecting. Nothing here leaves the machine."""

import socket

import pytest
import pytest_twisted
from scripted_provider import head, redirect
from twisted.internet.error import DNSLookupError
from twisted.internet.protocol import Factory

from m3uproxy.core.http.outbound_policy import AddressKind, OutboundPolicy, address_kind
from m3uproxy.core.http.redirects import Location
from m3uproxy.core.http.source_request import DialTimeouts
from m3uproxy.errors import Reason
from m3uproxy.upstream.connection import ProviderConnection
from m3uproxy.upstream.dialler import Dialler

NOTATIONS = [
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "0xA9.254.43518",
    "169.254.169.254.",
    "[::ffff:169.254.169.254]",
    "[::FFFF:a9fe:a9fe]",
    "[64:ff9b::a9fe:a9fe]",
    "[2002:a9fe:a9fe::1]",
    "[fe80::1]",
    "[fd00:ec2::254]",
    "0.0.0.0",
    "0",
    "[::]",
    "255.255.255.255",
    "224.0.0.1",
]
#: ``::1`` plays a public host, 127.0.0.1 a private one.
OUTSIDE = "::1"


def pretend(address: str) -> AddressKind:
    return AddressKind.PUBLIC if address == OUTSIDE else address_kind(address)


def allow(bench, private: str) -> None:
    bench.dialler = Dialler(bench.reactor, bench.sockets, OutboundPolicy(private, pretend))


async def opens(bench, url):
    await (await bench.dial(url)).close()


async def forbidden(bench, url):
    error = await bench.fails(url)
    assert error.reason is Reason.FORBIDDEN, error
    assert error.player_status == 502
    assert bench.sockets.open == 0
    return error.detail


class TestAddresses:
    @pytest.mark.parametrize("host", NOTATIONS)
    @pytest.mark.parametrize("scheme", ["http", "https"])
    @pytest_twisted.ensureDeferred
    async def test_stream_url(self, bench, names, errors, scheme, host):
        for private in ("api", "always", "never"):
            allow(bench, private)
            assert "never connected to" in await forbidden(bench, f"{scheme}://{host}:1/s3cret")
        assert (names.asked, names.connected, errors) == ([], [], [])

    @pytest.mark.parametrize("host", NOTATIONS)
    @pytest_twisted.ensureDeferred
    async def test_redirect_target(self, bench, names, host):
        provider = await bench.provider(redirect(f"http://{host}/latest/meta-data/"))
        for private in ("api", "always"):
            allow(bench, private)
            assert "never connected to" in await forbidden(bench, provider.url())
        assert (names.asked, names.connected) == ([], ["127.0.0.1"] * 2)

    @pytest_twisted.ensureDeferred
    async def test_address_that_the_look_up_returns_is_checked(self, bench, monkeypatch):
        """If an odd notation reaches the look-up, the resulting address is checked."""
        monkeypatch.setattr(bench.reactor, "connectTCP", lambda host, *_, **__: pytest.fail(f"a packet for {host}"))
        for host in ("0xa9fea9fe", "2852039166", "0251.0376.43518"):
            location = Location("http", host, 80, "/")
            connection = ProviderConnection(bench.reactor, bench.sockets, location, True, lambda: None)
            with pytest.raises(DNSLookupError):
                await connection.endpointForURI(None).connect(Factory())
            assert connection.problem.reason is Reason.FORBIDDEN


class TestNames:
    @pytest.mark.parametrize(
        "answer", ["169.254.169.254", "169.254.169.254 fe80::1", "::ffff:169.254.169.254", "0.0.0.0"]
    )
    @pytest_twisted.ensureDeferred
    async def test_name_of_a_forbidden_address(self, bench, names, errors, answer):
        names.known["metadata"] = [answer]
        provider = await bench.provider(redirect("http://metadata.test/"))
        assert "never connected to" in await forbidden(bench, "http://metadata.test/s3cret")
        assert "never connected to" in await forbidden(bench, "https://metadata.test/s3cret")
        assert "never connected to" in await forbidden(bench, provider.url())
        assert (names.connected, errors) == (["127.0.0.1"], [])

    @pytest.mark.parametrize("answer", ["169.254.169.254 127.0.0.1", "127.0.0.1 fe80::1"])
    @pytest_twisted.ensureDeferred
    async def test_only_allowed_addresses_are_tried(self, bench, names, answer):
        names.known["tv"] = [answer]
        provider = await bench.provider(head())
        await opens(bench, provider.url(host="tv.test"))
        assert names.connected == ["127.0.0.1"]
        assert provider.headers()["host"] == f"tv.test:{provider.port}"

    @pytest_twisted.ensureDeferred
    async def test_failure_of_an_allowed_address_is_the_reason(self, bench, names):
        names.known["tv"] = ["169.254.169.254 127.0.0.1", "127.0.0.1 169.254.169.254"]
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            for _ in range(2):
                error = await bench.fails(f"http://tv.test:{taken.getsockname()[1]}/")
                assert error.reason is Reason.REFUSED

    @pytest_twisted.ensureDeferred
    async def test_name_without_an_address_is_a_dns_error(self, bench, names):
        assert (await bench.fails("http://tv.test/")).reason is Reason.DNS

    @pytest_twisted.ensureDeferred
    async def test_checked_address_is_connected_to(self, bench, names):
        """A name cannot change its address between the check and the connection: both use one look-up."""
        names.known["rebound"] = ["127.0.0.1", "169.254.169.254"]
        provider = await bench.provider(head())
        provider.answers["/a"] = [redirect("/b")]
        await opens(bench, provider.url("/c", host="rebound.test"))
        assert names.asked == ["rebound.test"]
        names.asked.clear()
        await forbidden(bench, provider.url("/a", host="rebound.test"))
        assert names.asked == ["rebound.test"] * 2
        assert names.connected == ["127.0.0.1"] * 2

    @pytest_twisted.ensureDeferred
    async def test_look_up_that_never_ends_times_out(self, bench, names):
        names._answer = lambda receiver, addresses, port: None
        error = await bench.fails("http://tv.test/", timeouts=DialTimeouts(0.05, 1, 1))
        assert error.reason is Reason.DNS


class TestPrivateAddresses:
    """Loopback and private networks: by setting, and by the host that redirects to them."""

    @pytest.mark.parametrize(
        ("private", "entry", "redirected", "led_in"),
        [("api", True, True, False), ("always", True, True, True), ("never", False, False, False)],
    )
    @pytest_twisted.ensureDeferred
    async def test_setting_for_private_addresses(self, bench, names, private, entry, redirected, led_in):
        allow(bench, private)
        inside, outside = await bench.provider(head()), await bench.provider(head(), ipv6=True)
        inside.answers["/out"] = [redirect(outside.url(host="[::1]"))]
        inside.answers["/in"] = [redirect("/")]
        outside.answers["/out"] = [redirect("/")]
        outside.answers["/in"] = [redirect(inside.url())]
        names.known["inside"] = ["127.0.0.1"]
        outside.answers["/name"] = [redirect(inside.url(host="inside.test"))]
        outside.answers["/odd"] = [redirect(inside.url(host="0x7f.1"))]
        outside.answers["/mapped"] = [redirect(inside.url(host="[::ffff:127.0.0.1]"))]
        outside.answers["/round"] = [redirect(inside.url("/out"))]
        for url, allowed in [
            (inside.url(), entry),
            (inside.url(host="inside.test"), entry),
            (inside.url("/in"), redirected),
            (inside.url("/out"), entry),
            (outside.url(host="[::1]"), True),
            (outside.url("/out", host="[::1]"), True),
            (outside.url("/in", host="[::1]"), led_in),
            (outside.url("/name", host="[::1]"), led_in),
            (outside.url("/odd", host="[::1]"), led_in),
            (outside.url("/round", host="[::1]"), led_in),
        ]:
            if allowed:
                await opens(bench, url)
            else:
                assert "PRIVATE_UPSTREAMS" in await forbidden(bench, url), url
        if not led_in:
            await forbidden(bench, outside.url("/mapped", host="[::1]"))

    @pytest_twisted.ensureDeferred
    async def test_last_redirecting_host_decides(self, bench, names):
        """From a private host to a public one and back to a private one."""
        allow(bench, "api")
        inside, outside = await bench.provider(head()), await bench.provider(ipv6=True)
        inside.answers["/a"] = [redirect(outside.url(host="[::1]"))]
        outside.answers["*"] = [redirect(inside.url("/b"))]
        assert "a public host led to" in await forbidden(bench, inside.url("/a"))
        assert [request.split()[1] for request in inside.requests] == [b"/a"]

    @pytest_twisted.ensureDeferred
    async def test_private_address_of_a_public_name_is_not_tried(self, bench, names):
        """A public host redirects to a name with both kinds of address: only the public one is tried."""
        allow(bench, "api")
        outside = await bench.provider(head(), ipv6=True)
        names.known["both"] = ["127.0.0.1 ::1"]
        outside.answers["/a"] = [redirect(outside.url("/b", host="both.test"))]
        await opens(bench, outside.url("/a", host="[::1]"))
        assert names.connected == ["::1", "::1"]

    @pytest_twisted.ensureDeferred
    async def test_default_policy(self, bench):
        assert Dialler(bench.reactor, bench.sockets).outbound == OutboundPolicy("api", address_kind)
