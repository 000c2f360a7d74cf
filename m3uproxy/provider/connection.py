"""One connection of a client: read a request, answer it, and read on if the answer left the connection open."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from m3uproxy.provider.answers import Answer, Wanted, media_answer, page
from m3uproxy.provider.control import PAGES
from m3uproxy.provider.delivery import Delivery
from m3uproxy.provider.faults import BadFault, Faults, make_faults
from m3uproxy.provider.files import file_name
from m3uproxy.provider.film import Film
from m3uproxy.provider.playout import Playout, Wire
from m3uproxy.provider.requests import MAX_HEAD, BadRequest, MediaPath, Request, media_path, split_head
from m3uproxy.provider.station import Channel, Station, Tally


class Connection(Protocol):
    """Serves one client. A raw protocol: no web server would let these answers out.

    :param lost: called with this object when the socket is gone.
    """

    def __init__(self, station: Station, peer: IAddress | None, lost: Callable[[Connection], None]) -> None:
        self._station = station
        self._lost = lost
        self._peer = f"{getattr(peer, 'host', '?')}:{getattr(peer, 'port', '?')}"
        self._buffer = b""
        self._delivery: Delivery | None = None
        self._playout: Playout | None = None
        self._channel: Channel | None = None
        self._slots: list[Tally] = []
        self._film: Film | None = None

    @property
    def _wire(self) -> Wire:
        return cast(Wire, self.transport)

    def connectionMade(self) -> None:
        """Count the socket; turn it away if all are."""
        self._station.sockets.opened()
        set_no_delay = getattr(self.transport, "setTcpNoDelay", None)
        if set_no_delay is not None:
            set_no_delay(True)
        if self._station.refuses():
            self._wire.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        """Collect a request head; while an answer is under way a little of the next one may wait."""
        self._buffer += data
        if len(self._buffer) > 2 * MAX_HEAD:
            self._wire.abortConnection()
        elif self._delivery is None and self._film is None:
            self._read()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Free all that was taken."""
        now = self._station.uptime()
        self._station.sockets.closed(now)
        if self._delivery is not None:
            self._delivery.stop()
        if self._playout is not None:
            self._playout.stop()
        if self._film is not None:
            self._film.stop()
        for tally in self._slots:
            tally.closed(now)
        self._slots = []
        if self._channel is not None and self._playout in self._channel.bodies:
            self._channel.bodies.remove(self._playout)
        self._lost(self)

    def drop(self) -> None:
        """Reset the connection."""
        self._wire.abortConnection()

    def _read(self) -> None:
        try:
            request, self._buffer = split_head(self._buffer)
        except BadRequest:
            self._deliver(page(400), make_faults(), closes=True)
            return
        if request is not None:
            self._answer(request)

    def _answer(self, request: Request) -> None:
        media = media_path(request.path)
        name = file_name(request.path)
        self._station.note(request, media.channel if media else name, self._peer)
        if name is not None:
            self._answer_file(request, name)
        elif media is not None:
            self._answer_media(request, media)
        elif request.path in PAGES:
            self._deliver(PAGES[request.path](self._station, request), make_faults(), request.closes)
        else:
            self._deliver(page(404), make_faults(), request.closes)

    def _answer_media(self, request: Request, media: MediaPath) -> None:
        tallies = self._station.tallies(media)
        for tally in tallies:
            tally.requests += 1
        try:
            faults = self._station.faults_for(request, media)
        except BadFault as error:
            self._deliver(page(400, detail=str(error)), make_faults(), request.closes)
            return
        if faults.refuse == "1":
            self._wire.abortConnection()
            return
        answer = media_answer(Wanted(self._station, request, media, faults))
        if request.method == "HEAD":
            answer = Answer(answer.head, closes=answer.closes)
        if answer.streams:
            self._admit(media, faults, tallies)
        self._deliver(answer, faults, request.closes)

    def _answer_file(self, request: Request, name: str) -> None:
        def done(closes: bool) -> None:
            self._film = None
            if closes:
                self._wire.loseConnection()
            elif self._buffer:
                self._read()

        self._film = Film(self._station, self._wire, request, name, done)
        self._film.start()

    def _admit(self, media: MediaPath, faults: Faults, tallies: list[Tally]) -> None:
        self._slots = tallies
        for tally in tallies:
            tally.opened()
        self._channel = self._station.channel(media.channel)
        broadcast = self._station.broadcast(media.ending)
        self._playout = Playout(self._station, self._wire, faults, self._channel, tallies, broadcast)

    def _deliver(self, answer: Answer, faults: Faults, closes: bool) -> None:
        def done() -> None:
            self._delivery = None
            if closes or answer.closes:
                self._wire.loseConnection()
            elif self._buffer:
                self._read()

        self._delivery = Delivery(
            self._station.clock, self._wire, answer, faults, begin_stream=self._begin_stream, done=done
        )
        self._delivery.start()

    def _begin_stream(self) -> None:
        if self._playout is not None and self._channel is not None:
            self._channel.bodies.append(self._playout)
            self._playout.start()
