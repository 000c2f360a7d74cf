"""A request for a file: from its faults to the last byte of its body."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall

from m3uproxy.provider.answers import page
from m3uproxy.provider.faults import BadFault
from m3uproxy.provider.file_faults import file_faults
from m3uproxy.provider.file_sender import FileSender
from m3uproxy.provider.files import File, FileAnswer, file_answer
from m3uproxy.provider.requests import Request
from m3uproxy.provider.station import Station, Tally


class FileResponse:
    """The response to a request for a file.

    :param done: called when the response is complete. Its argument is whether to close the connection.
    """

    def __init__(
        self, station: Station, transport: Any, request: Request, name: str, done: Callable[[bool], None]
    ) -> None:
        self._station = station
        self._transport = transport
        self._request = request
        self._name = name
        self._done = done
        self._tallies: list[Tally] = [station.viewers, station.channel(name).tally]
        self._is_counted = False
        self._delayed_call: IDelayedCall | None = None
        self._sender: FileSender | None = None

    def start(self) -> None:
        """Send the response, or reset the connection."""
        for tally in self._tallies:
            tally.requests += 1
        try:
            faults = file_faults(self._request.query, self._station.count_use(self._request.target))
        except BadFault as error:
            self._send(FileAnswer(page(400, detail=str(error))), None)
            return
        file = File(self._name, faults, self._station.files.get(self._name))
        if faults.refuse:
            self._transport.abortConnection()
        elif faults.limit is not None and self._tallies[1].current >= faults.limit:
            self._send(FileAnswer(page(458)), file)
        else:
            self._count_body()
            self._delayed_call = self._station.clock.callLater(
                faults.delay, self._send, file_answer(self._request, file), file
            )

    def stop(self) -> None:
        """Stop sending, because the connection is closed."""
        if self._delayed_call is not None and self._delayed_call.active():
            self._delayed_call.cancel()
        if self._sender is not None:
            self._sender.stop()
        self._uncount_body()

    def _count_body(self) -> None:
        self._is_counted = True
        for tally in self._tallies:
            tally.opened()

    def _uncount_body(self) -> None:
        if self._is_counted:
            self._is_counted = False
            for tally in self._tallies:
                tally.closed(self._station.uptime())

    def _send(self, part: FileAnswer, file: File | None) -> None:
        self._delayed_call = None
        self._transport.write(part.answer.head)
        if self._request.method == "HEAD":
            self._complete()
        elif part.answer.body or part.first >= part.stop or file is None:
            self._transport.write(part.answer.body)
            self._complete()
        else:
            clock = self._station.clock
            self._sender = FileSender(clock, self._transport, file, part, self._tallies, self._complete)
            self._sender.start()

    def _complete(self) -> None:
        self._uncount_body()
        self._done(self._request.closes)
