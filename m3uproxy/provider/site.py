"""The provider as a whole: listens, and can be taken down again without a trace."""

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
    """A provider that plays a clip for ever, and misbehaves on command.

    :param reactor: listens.
    :param clock: tells the time and paces the streams; the reactor, unless a test says otherwise.
    :param origin: PCR, PTS and DTS begin this many ticks of 90 kHz later than in the clip.
    :param other_host: another name of this machine, for redirects to "another" host.
    :param max_lag: bytes that a viewer may be behind before it is reset.
    :param clip: what is played; the clip that comes with the package, unless a test says otherwise.
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
        """Begin to listen.

        :return: a Deferred, already fired, of the port; it fails with ``CannotListenError``.
        """

        def listen() -> IListeningPort:
            self.port = self._reactor.listenTCP(port, _Connections(self), interface=interface)
            return self.port

        return maybeDeferred(listen)

    def build(self, addr: IAddress | None) -> Protocol:
        """A protocol for a new connection."""
        connection = Connection(self.station, addr, self._connection_lost)
        self._open.add(connection)
        return connection

    def url(self, path: str = "/live/demo.ts", host: str | None = None) -> str:
        """An URL of this provider."""
        if self.port is None:
            raise RuntimeError("not listening")
        address = cast(Any, self.port.getHost())
        name = host or {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)
        return f"http://{f'[{name}]' if ':' in name else name}:{address.port}{path}"

    def channel(self, name: str) -> Channel:
        """A channel, with its ``tally`` and its ``given`` faults."""
        return self.station.channel(name)

    def control(self, channel: str, faults: str) -> int:
        """Do what ``/control?channel=CHANNEL&FAULTS`` does, for a test in the same process.

        :param faults: a query such as ``status=503&times=2``, or ``fault=none``.
        :return: the number of bodies under way that felt it.
        :raises BadFault: in words.
        """
        return set_faults(self.station, channel, parse_qsl(faults, keep_blank_values=True, strict_parsing=bool(faults)))

    def close_port(self) -> Deferred[None]:
        """Stop listening, so that connections are refused; what is open stays. :meth:`listen` opens it again."""
        port, self.port = self.port, None
        closed = maybeDeferred(port.stopListening) if port is not None else succeed(None)
        return closed.addCallback(lambda _: None)

    def stop(self) -> Deferred[None]:
        """Close the port and reset every connection.

        :return: a Deferred that fires when all sockets are all_closed. Nothing is left behind then.
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
