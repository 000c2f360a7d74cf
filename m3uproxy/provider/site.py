"""The provider as a whole: listening, and a stop that leaves nothing behind."""

from __future__ import annotations

from typing import Any, cast
from urllib.parse import parse_qsl

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IAddress, IListeningPort, IReactorTCP, IReactorTime
from twisted.internet.protocol import Protocol, ServerFactory

from m3uproxy.provider.clip import Clip, load_clip
from m3uproxy.provider.connection import Connection
from m3uproxy.provider.control import set_faults
from m3uproxy.provider.station import Channel, Station
from m3uproxy.provider.timeline import Timeline


class _Connections(ServerFactory):
    noisy = False

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        return self._provider.build(addr)


class Provider:
    """A provider that plays a clip in a loop and simulates faults on command.

    :param reactor: opens the port.
    :param clock: time source of the streams; default: the reactor.
    :param origin: offset of PCR, PTS and DTS to those of the clip, in ticks of 90 kHz.
    :param other_host: another host name of this machine, for redirects to another host.
    :param max_lag: bytes that a viewer may be behind before its connection is reset.
    :param clip: content of all channels; default: the clip of the package.
    """

    def __init__(
        self,
        reactor: IReactorTCP,
        clock: IReactorTime | None = None,
        origin: int = 0,
        other_host: str = "localhost",
        max_lag: int = 4_000_000,
        clip: Clip | None = None,
    ) -> None:
        self._reactor = reactor
        timeline = Timeline(clip or load_clip(), origin)
        self.station = Station(clock or cast(IReactorTime, reactor), timeline, other_host, max_lag)
        self.port: IListeningPort | None = None
        self._open: set[Connection] = set()
        self._waiting: list[Deferred[None]] = []

    def listen(self, interface: str = "127.0.0.1", port: int = 0) -> Deferred[IListeningPort]:
        """Open the port.

        :return: a Deferred of the port, already fired. It fails with ``CannotListenError``.
        """

        def listen() -> IListeningPort:
            self.port = self._reactor.listenTCP(port, _Connections(self), interface=interface)
            return self.port

        return maybeDeferred(listen)

    def build(self, addr: IAddress | None) -> Protocol:
        """Return a protocol for a new connection."""
        connection = Connection(self.station, addr, self._connection_lost)
        self._open.add(connection)
        return connection

    def url(self, path: str = "/live/demo.ts", host: str | None = None) -> str:
        """Return a URL of this provider.

        :raises RuntimeError: the port is closed.
        """
        if self.port is None:
            raise RuntimeError("not listening")
        address = cast(Any, self.port.getHost())
        name = host or {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)
        return f"http://{f'[{name}]' if ':' in name else name}:{address.port}{path}"

    def channel(self, name: str) -> Channel:
        """Return a channel with its ``tally`` and its ``given`` faults."""
        return self.station.channel(name)

    def control(self, channel: str, faults: str) -> int:
        """Set faults, like ``/control?channel=CHANNEL&FAULTS``, from a test in the same process.

        :param faults: a query such as ``status=503&times=2``, or ``fault=none``.
        :return: number of current bodies that the faults were applied to.
        :raises BadFault: an unknown name or an invalid value.
        """
        return set_faults(self.station, channel, parse_qsl(faults, keep_blank_values=True, strict_parsing=bool(faults)))

    def close_port(self) -> Deferred[None]:
        """Close the port: new connections are refused, open ones stay. :meth:`listen` opens a port again."""
        port, self.port = self.port, None
        closed = maybeDeferred(port.stopListening) if port is not None else succeed(None)
        return closed.addCallback(lambda _: None)

    def stop(self) -> Deferred[None]:
        """Close the port and reset all connections.

        :return: a Deferred that fires when all sockets are closed. No delayed call is left then.
        """
        closed = self.close_port()
        for connection in list(self._open):
            connection.abort()
        all_closed: Deferred[None] = Deferred()
        self._waiting.append(all_closed)
        self._fire_if_all_closed()
        return closed.addCallback(lambda _: all_closed)

    def _connection_lost(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._fire_if_all_closed()

    def _fire_if_all_closed(self) -> None:
        while self._waiting and not self._open:
            self._waiting.pop().callback(None)
