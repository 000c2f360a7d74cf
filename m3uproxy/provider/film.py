"""One request for a file: from its faults to the last byte of its body."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall

from m3uproxy.provider.answers import page
from m3uproxy.provider.faults import BadFault
from m3uproxy.provider.file_faults import file_faults
from m3uproxy.provider.files import File, FileAnswer, file_answer
from m3uproxy.provider.requests import Request
from m3uproxy.provider.sending import Sending
from m3uproxy.provider.station import Station, Tally


class Film:
    """Answers one request.

    :param wire: the transport.
    :param done: called with whether the connection is to be closed when the answer is complete.
    """

    def __init__(self, station: Station, wire: Any, request: Request, name: str, done: Callable[[bool], None]) -> None:
        self._station = station
        self._wire = wire
        self._request = request
        self._name = name
        self._done = done
        self._tallies: list[Tally] = [station.viewers, station.channel(name).tally]
        self._counts = False
        self._later: IDelayedCall | None = None
        self._sending: Sending | None = None

    def start(self) -> None:
        """Begin."""
        for tally in self._tallies:
            tally.requests += 1
        try:
            faults = file_faults(self._request.query, self._station.use(self._request.target))
        except BadFault as error:
            self._send(FileAnswer(page(400, detail=str(error))), None)
            return
        file = File(self._name, faults, self._station.files.get(self._name))
        if faults.refuse:
            self._wire.abortConnection()
        elif faults.limit is not None and self._tallies[1].current >= faults.limit:
            self._send(FileAnswer(page(458)), file)
        else:
            self._count()
            self._later = self._station.clock.callLater(
                faults.delay, self._send, file_answer(self._request, file), file
            )

    def stop(self) -> None:
        """The connection is gone."""
        if self._later is not None and self._later.active():
            self._later.cancel()
        if self._sending is not None:
            self._sending.stop()
        self._uncount()

    def _count(self) -> None:
        self._counts = True
        for tally in self._tallies:
            tally.opened()

    def _uncount(self) -> None:
        if self._counts:
            self._counts = False
            for tally in self._tallies:
                tally.closed(self._station.uptime())

    def _send(self, part: FileAnswer, file: File | None) -> None:
        self._later = None
        self._wire.write(part.answer.head)
        if self._request.method == "HEAD":
            self._complete()
        elif part.answer.body or part.first >= part.stop or file is None:
            self._wire.write(part.answer.body)
            self._complete()
        else:
            clock = self._station.clock
            self._sending = Sending(clock, self._wire, file, part, self._tallies, self._complete)
            self._sending.start()

    def _complete(self) -> None:
        self._uncount()
        self._done(self._request.closes)
