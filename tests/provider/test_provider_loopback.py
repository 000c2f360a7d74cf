"""The provider on real sockets."""

import socket
from itertools import pairwise

import pytest
import pytest_twisted
from decoding import decode
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import CannotListenError, ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater

from m3uproxy.provider import Provider
from m3uproxy.provider.clip import PACKET, load_clip


class Client(Protocol):
    """A client that collects the received bytes and the reason of its end."""

    def __init__(self):
        self.data = b""
        self.ended = Deferred()

    def dataReceived(self, data):
        self.data += data

    def connectionLost(self, reason):
        self.ended.callback(reason.type)

    @property
    def body(self):
        return self.data.partition(b"\r\n\r\n")[2]


def wait(seconds):
    return deferLater(reactor, seconds, lambda: None)


async def eventually(condition):
    for _ in range(400):
        if condition():
            return
        await wait(0.01)
    raise AssertionError("timeout")


async def ask(provider, target, host="127.0.0.1"):
    number = provider.port.getHost().port
    kind = TCP4ClientEndpoint if host == "127.0.0.1" else HostnameEndpoint
    client = await connectProtocol(kind(reactor, host, number), Client())
    client.transport.write(f"GET {target} HTTP/1.1\r\nHost: {host}:{number}\r\n\r\n".encode())
    return client


@pytest.fixture
def provider():
    pytest_twisted.blockon(wait(0))  # the reactor adds its own readers in its first iteration
    before = set(reactor.getReaders()) | set(reactor.getWriters()), set(reactor.getDelayedCalls())
    made = Provider(reactor)
    pytest_twisted.blockon(made.listen())
    yield made
    pytest_twisted.blockon(made.stop())
    pytest_twisted.blockon(wait(0.02))
    assert set(reactor.getReaders()) | set(reactor.getWriters()) <= before[0]
    assert set(reactor.getDelayedCalls()) <= before[1]
    assert made.station.sockets.current == made.station.viewers.current == 0


@pytest_twisted.ensureDeferred
async def test_two_viewers_receive_the_same_stream(provider):
    one = await ask(provider, "/live/a.ts")
    two = await ask(provider, "/live/user/pass/2")
    await wait(1)
    assert min(len(one.body), len(two.body)) > 20_000
    late, early = sorted((one.body, two.body), key=len)
    assert late[:PACKET] in early
    first = early.index(late[:PACKET])
    assert early[first : first + 20_000] == late[:20_000]
    assert provider.station.viewers.peak == 2


@pytest.mark.media
@pytest_twisted.ensureDeferred
async def test_received_stream_decodes(provider):
    client = await ask(provider, "/live/a.ts?rate=0&close=3M")
    assert await client.ended is ConnectionDone
    clip = load_clip().data
    first_picture = clip[3 * PACKET + 60 : 4 * PACKET]
    start = client.body.index(first_picture) - 3 * PACKET - 60
    seen = decode(client.body[start : start + 3 * len(clip)])
    assert seen.complaints == []
    assert len(seen.pictures) == 600
    assert {later - sooner for sooner, later in pairwise(seen.pictures)} == {3600}


@pytest_twisted.ensureDeferred
async def test_close_and_reset_deliver_all_earlier_bytes(provider):
    closed = await ask(provider, "/live/a.ts?burst=2&close=70001")
    reset = await ask(provider, "/live/a.ts?burst=2&reset=70001")
    assert await closed.ended is ConnectionDone
    assert await reset.ended is ConnectionLost
    assert len(closed.body) == len(reset.body) == 70_001


@pytest_twisted.ensureDeferred
async def test_refusals_at_request_connect_and_closed_port(provider):
    assert await (await ask(provider, "/live/a.ts?refuse=1")).ended is ConnectionLost
    provider.control("*", "refuse=accept&times=1")
    assert await (await ask(provider, "/live/a.ts")).ended is ConnectionLost
    number = provider.port.getHost().port
    await provider.close_port()
    with pytest.raises(ConnectionRefusedError):
        await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", number), Client())
    await provider.listen(port=number)
    assert (await ask(provider, "/live/a.ts")).connected


@pytest_twisted.ensureDeferred
async def test_redirect_to_the_other_host_is_reachable(provider):
    client = await ask(provider, "/live/a.ts?redirect=other")
    await eventually(lambda: client.body)
    location = client.data.decode().split("Location: ")[1].split("\r\n")[0]
    assert location.startswith(f"http://localhost:{provider.port.getHost().port}/live/a.ts?")
    other = await ask(provider, "/" + location.split("/", 3)[3], "localhost")
    await eventually(lambda: other.body)
    assert other.data.startswith(b"HTTP/1.1 200 OK")
    assert provider.station.sockets.current == 2  # the first one is still open


@pytest_twisted.ensureDeferred
async def test_paused_client_costs_no_memory(provider):
    provider.station.max_lag = 2_000_000
    client = await ask(provider, "/live/a.ts?rate=0")
    await eventually(lambda: client.body)
    client.transport.pauseProducing()
    sizes = [0]
    while not sizes[-1] or sizes[-1] != sizes[-2]:  # until the kernel's buffers are full
        sizes.append(provider.channel("a").tally.octets)
        await wait(0.25)
        assert sizes[-1] < 30_000_000
    paced = await ask(provider, "/live/b.ts?rate=500")
    paced.transport.pauseProducing()
    await eventually(lambda: provider.channel("b").tally.total and not provider.channel("b").tally.current)


@pytest_twisted.ensureDeferred
async def test_stop_closes_all_connections_and_can_be_repeated(provider):
    targets = ["", "?hang=head", "?hang=body", "?delay=9", "?slow_head=9", "?stall=0", "?rate=0", "?redirect=same"]
    clients = [await ask(provider, f"/live/a.ts{query}") for query in targets]
    idle = await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", provider.port.getHost().port), Client())
    await eventually(lambda: provider.station.sockets.current == len(targets) + 1)
    both = provider.stop(), provider.stop()
    for stopped in both:
        await stopped
    for client in [*clients, idle]:
        assert await client.ended is ConnectionLost


@pytest_twisted.ensureDeferred
async def test_port_in_use_is_an_error(provider):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        second = Provider(reactor)
        with pytest.raises(CannotListenError):
            await second.listen(port=other.getsockname()[1])
        with pytest.raises(RuntimeError):
            second.url()
        await second.stop()


def test_url(provider):
    number = provider.port.getHost().port
    assert provider.url() == f"http://127.0.0.1:{number}/live/demo.ts"
    assert provider.url("/live/a.ts?x=1", "localhost") == f"http://localhost:{number}/live/a.ts?x=1"
