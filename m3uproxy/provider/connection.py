"""A client's connection: read a request, answer it, and read the next one if the connection stays open."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import attrs
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from m3uproxy.provider.answers import Answer, AnswerContext, media_answer, page
from m3uproxy.provider.control import PAGES
from m3uproxy.provider.delivery import Delivery
from m3uproxy.provider.faults import BadFault, Faults, make_faults
from m3uproxy.provider.file_response import FileResponse
from m3uproxy.provider.files import file_name
from m3uproxy.provider.hls.answers import hls_answer
from m3uproxy.provider.hls.options import HlsPath, hls_path
from m3uproxy.provider.hls.transfer import Transfer
from m3uproxy.provider.playout import Playout
from m3uproxy.provider.requests import MAX_HEAD, BadRequest, MediaPath, Request, media_path, split_head
from m3uproxy.provider.station import Channel, Station, Tally
from m3uproxy.provider.timed_producer import Transport


class Connection(Protocol):
    """A protocol that serves a client.

    It is a raw protocol, because an HTTP server would not send these malformed answers.

    :param connection_lost: called with this object after the socket has closed.
    """

    def __init__(self, station: Station, peer: IAddress | None, connection_lost: Callable[[Connection], None]) -> None:
        self._station = station
        self._connection_lost = connection_lost
        self._peer = f"{getattr(peer, 'host', '?')}:{getattr(peer, 'port', '?')}"
        self._buffer = b""
        self._delivery: Delivery | None = None
        self._body: Playout | Transfer | None = None
        self._channel: Channel | None = None
        self._tallies: list[Tally] = []
        self._file_response: FileResponse | None = None

    @property
    def _transport(self) -> Transport:
        return cast(Transport, self.transport)

    def connectionMade(self) -> None:
        """Count the socket. If the provider refuses connections, abort it."""
        self._station.sockets.opened()
        set_no_delay = getattr(self.transport, "setTcpNoDelay", None)
        if set_no_delay is not None:
            set_no_delay(True)
        if self._station.refuses():
            self._transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        """Read a request, or collect data until the current answer is sent.

        If more than 128 KiB are unread, reset the connection.
        """
        self._buffer += data
        if len(self._buffer) > 2 * MAX_HEAD:
            self._transport.abortConnection()
        elif self._delivery is None and self._file_response is None:
            self._read()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Release all counts and stop sending."""
        self._station.sockets.closed(self._station.uptime())
        if self._delivery is not None:
            self._delivery.stop()
        self._end_body()
        self._connection_lost(self)

    def _end_body(self) -> None:
        now = self._station.uptime()
        if self._body is not None:
            self._body.stop()
        if self._file_response is not None:
            self._file_response.stop()
        for tally in self._tallies:
            tally.closed(now)
        self._tallies = []
        if self._channel is not None and self._body in self._channel.bodies:
            self._channel.bodies.remove(self._body)
        self._body = None

    def abort(self) -> None:
        """Reset the connection."""
        self._transport.abortConnection()

    def _read(self) -> None:
        try:
            request, self._buffer = split_head(self._buffer)
        except BadRequest:
            self._deliver(page(400), make_faults(), closes=True)
            return
        if request is not None:
            self._answer(request)

    def _answer(self, request: Request) -> None:
        media, hls, name = media_path(request.path), hls_path(request.path), file_name(request.path)
        named = media or hls
        self._station.record(request, named.channel if named else name, self._peer)
        if name is not None:
            self._answer_file(request, name)
        elif media is not None:
            self._answer_media(request, media)
        elif hls is not None:
            self._answer_hls(request, hls)
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
            self._transport.abortConnection()
            return
        answer = media_answer(AnswerContext(self._station, request, media, faults), media.ending)
        if request.method == "HEAD":
            answer = Answer(answer.head, closes=answer.closes)
        if answer.streams:
            self._start_playout(media, faults, tallies)
        self._deliver(answer, faults, request.closes)

    def _answer_file(self, request: Request, name: str) -> None:
        def done(closes: bool) -> None:
            self._file_response = None
            if closes:
                self._transport.loseConnection()
            elif self._buffer:
                self._read()

        self._file_response = FileResponse(self._station, self._transport, request, name, done)
        self._file_response.start()

    def _answer_hls(self, request: Request, path: HlsPath) -> None:
        tallies = [*self._station.tallies(path), self._station.resource(request.path)]
        for tally in tallies:
            tally.requests += 1
        try:
            faults = self._station.faults_for(request, path, path.words)
            answer = hls_answer(self._station, request, path, faults)
        except BadFault as error:
            self._deliver(page(400, detail=str(error)), make_faults(), request.closes)
            return
        if faults.refuse == "1":
            self._transport.abortConnection()
            return
        head = answer.answer
        if request.method == "HEAD":
            head = Answer(head.head, closes=head.closes)
        faults = attrs.evolve(faults, delay=faults.delay + answer.hold)
        closes = request.closes or head.closes
        if head.streams and answer.body is not None:
            body = Transfer(
                self._station, self._transport, faults, tallies, answer.body, lambda: self._answer_sent(closes)
            )
            self._count_body(path.channel, tallies)
            self._body = body
        self._deliver(head, faults, closes)

    def _start_playout(self, media: MediaPath, faults: Faults, tallies: list[Tally]) -> None:
        channel, broadcast = self._count_body(media.channel, tallies), self._station.broadcast(media.ending)
        self._body = Playout(self._station, self._transport, faults, channel, tallies, broadcast)

    def _count_body(self, name: str, tallies: list[Tally]) -> Channel:
        """Count a body in all tallies and return its channel."""
        self._tallies = tallies
        for tally in tallies:
            tally.opened()
        self._channel = self._station.channel(name)
        return self._channel

    def _answer_sent(self, closes: bool) -> None:
        """End the body, then close the connection or read the next request."""
        self._end_body()
        self._delivery = None
        if closes:
            self._transport.loseConnection()
        elif self._buffer:
            self._read()

    def _deliver(self, answer: Answer, faults: Faults, closes: bool) -> None:
        self._delivery = Delivery(
            self._station.clock,
            self._transport,
            answer,
            faults,
            begin_stream=self._begin_stream,
            done=lambda: self._answer_sent(closes or answer.closes),
        )
        self._delivery.start()

    def _begin_stream(self) -> None:
        if self._body is not None and self._channel is not None:
            self._channel.bodies.append(self._body)
            self._body.start()
