"""Players over TLS: however a player ends, it is gone at once, and the provider's connection with the last one.

The players speak TLS by a memory BIO of the standard library, so that a test can end TLS, TCP, or a half of either.
"""

from __future__ import annotations

import re
import socket
import ssl
import struct

import pytest
import pytest_twisted
from certificates import new_certificate
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol

from m3uproxy.core.hls.segmenter import LiveSegment

SEND_BUFFER = 65_536
#: Bytes of body that a reading player waits for.
ENOUGH = 200_000
AT_ONCE = 0.7


class TlsPlayer(Protocol):
    """A player that ends its connection in the way of its name, and until then reads all or nothing."""

    def __init__(self, request: bytes, reads: bool = True, ciphers: str | None = None) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if ciphers:
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers(ciphers)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing)
        self._request: bytes | None = request
        self._reads = reads
        self.raw = b""
        self.closed = False
        self.error: ssl.SSLError | None = None

    def connectionMade(self) -> None:
        self.transport.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        self._step()

    def dataReceived(self, data: bytes) -> None:
        self._incoming.write(data)
        self._step()

    def connectionLost(self, reason) -> None:
        self.closed = True

    def ask(self, request: bytes) -> None:
        self._request = request
        self._step()

    def _step(self) -> None:
        try:
            self._tls.do_handshake()
            if self._request is not None:
                self._tls.write(self._request)
                self._request = None
            while data := self._tls.read(65_536):
                self.raw += data
                if not self._reads:
                    self.transport.pauseProducing()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self.error = error
        self.transport.write(self._outgoing.read())

    def close(self) -> None:
        self.transport.loseConnection()

    def close_notify(self) -> None:
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            pass
        self.transport.write(self._outgoing.read())

    def close_notify_and_close(self) -> None:
        self.close_notify()
        self.transport.loseConnection()

    def reset(self) -> None:
        self.transport.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.loseConnection()

    def half_close(self) -> None:
        self.transport.loseWriteConnection()

    def garbage(self) -> None:
        self.transport.write(b"these bytes are no TLS record at all")


WAYS = ["close", "close_notify", "close_notify_and_close", "reset", "half_close", "garbage"]


class TlsRig:
    """The loopback rig with a TLS port."""

    def __init__(self, rig, folder) -> None:
        self.rig = rig
        self._files = folder / "key.pem", folder / "cert.pem"
        self._players: list[TlsPlayer] = []

    async def start(self, **settings: object) -> None:
        for file, pem in zip(self._files, new_certificate(), strict=True):
            file.write_bytes(pem)
        key, certificate = self._files
        tls = f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={certificate}"
        await self.rig.start(listen=("tcp:0:interface=127.0.0.1", tls), send_buffer=SEND_BUFFER, **settings)

    async def ask(self, path: str, *headers: str, **options: object) -> TlsPlayer:
        request = "\r\n".join([f"GET {path} HTTP/1.1", "Host: proxy", *headers, "", ""])
        player = TlsPlayer(request.encode(), **options)
        port = self.rig.service.ports[1].port.getHost().port
        await connectProtocol(TCP4ClientEndpoint(self.rig.reactor, "127.0.0.1", port), player)
        self._players.append(player)
        return player

    @property
    def connections(self) -> list:
        return [*self.rig.service._site._connections]

    async def end(self, player: TlsPlayer, way: str) -> None:
        """End the player's connection, and wait until the proxy has closed it."""
        getattr(player, way)()
        await self.rig.until(lambda: not self.connections, AT_ONCE, f"the end of a player by {way}")

    async def until_full(self, player: TlsPlayer) -> None:
        """Wait until a player has much, or the proxy cannot send more to a player that reads nothing."""
        await self.rig.until(lambda: len(player.raw) > (ENOUGH if player._reads else 0))
        if not player._reads:
            await self.rig.until(lambda: any(connection._waitingForTransport for connection in self.connections))

    async def stop(self) -> None:
        for player in self._players:
            if not player.closed:
                player.transport.abortConnection()
        await self.rig.until(lambda: all(player.closed for player in self._players))


@pytest_twisted.async_yield_fixture
async def tls(rig, tmp_path):
    tls = TlsRig(rig, tmp_path)
    await tls.start()
    yield tls
    await tls.stop()


reading = pytest.mark.parametrize("reads", [True, False], ids=["reads", "reads-nothing"])


@pytest.mark.parametrize("way", WAYS)
@reading
@pytest_twisted.ensureDeferred
async def test_player_of_a_live_stream(tls, way, reads):
    stream = tls.rig.register("/live/x.ts?rate=40&burst=4")
    player = await tls.ask(f"/stream/{stream.id}", reads=reads)
    await tls.until_full(player)
    await tls.end(player, way)
    assert stream.clients() == []
    await tls.rig.until(lambda: tls.rig.open_upstreams() == 0, AT_ONCE, "the end of the provider's connection")


@pytest.mark.parametrize("way", WAYS)
@pytest_twisted.ensureDeferred
async def test_player_that_waits_for_its_first_block(tls, way):
    stream = tls.rig.register("/live/x.ts?fault=silent")
    player = await tls.ask(f"/stream/{stream.id}")
    await tls.rig.until(stream.clients)
    await tls.end(player, way)
    assert stream.clients() == []


@pytest.mark.parametrize("way", WAYS)
@reading
@pytest_twisted.ensureDeferred
async def test_player_of_a_film(tls, way, reads):
    stream = tls.rig.register("/movie/a.mp4?size=50000000")
    player = await tls.ask(f"/stream/{stream.id}", reads=reads)
    await tls.until_full(player)
    await tls.end(player, way)
    await tls.rig.until(lambda: tls.rig.provider.station.sockets.current == 0, AT_ONCE, "the provider's connection")


@pytest.mark.parametrize("way", WAYS)
@reading
@pytest_twisted.ensureDeferred
async def test_player_of_a_segment_of_a_live_stream(tls, way, reads, monkeypatch):
    # Segments as large as those of real channels: the clip has a low bitrate.
    monkeypatch.setattr(LiveSegment, "buffers", property(lambda segment: (bytes(1_000_000),) * 5))
    stream = tls.rig.register("/live/x.ts?rate=40&burst=4")
    playlist = await tls.rig.ask(f"/hls/{stream.id}/playlist.m3u8?client_id=me", version="1.0")
    await playlist.ended
    segment = re.search(rb"segment.ts\?\S+", playlist.raw)[0].decode()
    player = await tls.ask(f"/hls/{stream.id}/{segment}", reads=reads)
    await tls.until_full(player)
    await tls.end(player, way)


@pytest.mark.parametrize("way", WAYS)
@pytest_twisted.ensureDeferred
async def test_client_of_the_api_between_two_requests(tls, way):
    client = await tls.ask("/health")
    await tls.rig.until(lambda: b"\r\n\r\n" in client.raw)
    await tls.end(client, way)


@pytest.mark.parametrize("way", WAYS)
@pytest_twisted.ensureDeferred
async def test_client_that_ends_within_a_head(tls, way):
    client = await tls.ask("/health")
    await tls.rig.until(lambda: b"\r\n\r\n" in client.raw)
    client.ask(b"GET /health HTTP/1.1\r\nHo")
    await tls.rig.sleep(0.05)
    await tls.end(client, way)


@pytest_twisted.ensureDeferred
async def test_close_notify_between_two_requests_is_answered(tls):
    client = await tls.ask("/health")
    await tls.rig.until(lambda: b"\r\n\r\n" in client.raw)
    [connection] = tls.connections
    transport = connection.transport
    client.close_notify()
    await tls.rig.until(lambda: client.closed)
    transport.abortConnection()  # too late, and harmless
    assert client.error is None or isinstance(client.error, ssl.SSLZeroReturnError)
    client._incoming.write_eof()
    with pytest.raises(ssl.SSLZeroReturnError):  # without close_notify it would be SSLEOFError
        client._tls.read()


@pytest_twisted.ensureDeferred
async def test_failed_handshake_is_answered_with_an_alert(tls):
    client = await tls.ask("/health", ciphers="AES128-SHA")
    await tls.rig.until(lambda: client.closed and not tls.connections, AT_ONCE)
    assert "handshake failure" in str(client.error).lower()


@pytest_twisted.ensureDeferred
async def test_client_that_does_not_answer_close_notify(tls):
    await tls.start(request_timeout=1)
    client = await tls.ask("/health", "Connection: close")
    await tls.rig.until(lambda: b"\r\n\r\n" in client.raw)
    await tls.rig.until(lambda: not tls.connections, 3)


@pytest_twisted.ensureDeferred
async def test_send_buffer_bounds_the_kernel_of_tls_players(tls):
    stream = tls.rig.register("/live/x.ts?rate=40&burst=4")
    player = await tls.ask(f"/stream/{stream.id}", reads=False)
    await tls.until_full(player)
    [connection] = tls.connections
    handle = connection.transport.transport.getHandle()
    assert handle.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * SEND_BUFFER  # the kernel doubles it
    await tls.end(player, "close")
