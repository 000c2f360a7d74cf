"""Allowed addresses for the whole proxy: by URL, by redirect, by name. No test leaves the machine."""

import json

import attrs
import pytest
import pytest_twisted
from loopback_rig import assert_whole_packets
from naming import FakeNameServer
from scripted_provider import ScriptedProvider, redirect

from m3uproxy.core.http.outbound_policy import AddressKind, OutboundPolicy, address_kind
from m3uproxy.upstream.dialler import Dialler

NOTATIONS = [
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "0xA9.0xFE.43518",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[64:ff9b::a9fe:a9fe]",
    "metadata.test",
    "mapped.test",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "0.0.0.0",
]
LIVE = "/live/u/p/1.ts?burst=1"


@pytest.fixture
def names():
    """Resolve ``metadata.test`` and ``mapped.test`` to the metadata service, ``inside.test`` to this machine."""
    from twisted.internet import reactor

    names = FakeNameServer(
        reactor, metadata=["169.254.169.254"], mapped=["::ffff:169.254.169.254"], inside=["127.0.0.1"]
    )
    names.known["localhost"] = ["127.0.0.1"]
    names.install()
    yield names
    names.remove()


@pytest_twisted.async_yield_fixture
async def redirector(rig):
    """Yield a server on ::1 that redirects to the URL given to ``lead``."""
    provider = ScriptedProvider(rig.reactor, "R", [])
    await provider.listen(ipv6=True)
    provider.lead = lambda url: provider.answers.update({"*": [redirect(url)]})
    yield provider
    await provider.stop()
    await rig.sleep(0.02)


async def refusal(rig, url: str) -> str:
    """Play a URL that must be refused; return the detail of the error."""
    player = await rig.play(rig.register(url))
    await rig.until(lambda: b"\r\n\r\n" in player.raw and player.body.endswith(b"}"))
    assert player.status == 502
    await rig.until(lambda: rig.service._sockets.open == 0)
    detail = json.loads(player.body)["detail"]
    assert "address not allowed" in detail
    assert "s3cret" not in detail
    return detail


async def plays(rig, url: str) -> None:
    player = await rig.play(rig.register(url))
    await rig.until_bytes(player, 50_000)
    assert player.status == 200
    assert_whole_packets(player.body)
    await player.leave()
    await rig.until(lambda: rig.service._sockets.open == 0)


def to_others(names) -> list[str]:
    return [address for address in names.connected if address not in {"127.0.0.1", "::1"}]


@pytest.mark.parametrize("host", NOTATIONS)
@pytest_twisted.ensureDeferred
async def test_url_of_the_metadata_service_is_refused(rig, names, host):
    await rig.start(stream_retry_attempts=1)
    assert "never connected to" in await refusal(rig, f"http://{host}:{rig.port}/latest/s3cret")
    assert to_others(names) == []


@pytest.mark.parametrize("host", NOTATIONS)
@pytest_twisted.ensureDeferred
async def test_redirect_to_the_metadata_service_is_refused(rig, names, redirector, host):
    await rig.start(stream_retry_attempts=1)
    redirector.lead(f"http://{host}/latest/s3cret")
    assert "never connected to" in await refusal(rig, redirector.url("/live/u/s3cret/1.ts", host="[::1]"))
    assert redirector.requests
    assert to_others(names) == []


@pytest_twisted.ensureDeferred
async def test_backup_is_played_if_the_primary_is_forbidden(rig, names):
    player = await rig.play(rig.register("http://metadata.test/1.ts", LIVE))
    await rig.until_bytes(player, 50_000)
    assert player.status == 200
    assert to_others(names) == []


@pytest.mark.parametrize(
    ("private", "entry", "led_by_public"),
    [("api", True, False), ("always", True, True), ("never", False, False)],
)
@pytest_twisted.ensureDeferred
async def test_private_networks_follow_the_setting(rig, names, redirector, private, entry, led_by_public):
    """::1 stands for a public host, 127.0.0.1 for a private one."""
    await rig.start(stream_retry_attempts=1)
    outbound = OutboundPolicy(
        private, lambda address: AddressKind.PUBLIC if address == "::1" else address_kind(address)
    )
    dialler = Dialler(rig.reactor, rig.service._sockets, outbound)
    factory = rig.registry._factory
    factory._live_upstream = attrs.evolve(factory._live_upstream, dialler=dialler)
    here = rig.provider.url(LIVE)
    for url in (here, here.replace("127.0.0.1", "inside.test"), here.replace("127.0.0.1", "0x7f.1")):
        if entry:
            await plays(rig, url)
        else:
            assert "PRIVATE_UPSTREAMS" in await refusal(rig, url)
        redirector.lead(url)
        if led_by_public:
            await plays(rig, redirector.url("/1.ts", host="[::1]"))
        else:
            assert "PRIVATE_UPSTREAMS" in await refusal(rig, redirector.url("/1.ts", host="[::1]"))
    if entry:
        await plays(rig, rig.provider.url(LIVE + "&redirect=other"))
    assert to_others(names) == []
