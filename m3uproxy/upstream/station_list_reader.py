"""Reading of bodies that may be station lists; see :mod:`m3uproxy.core.http.station_list`."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from ..core.http.station_list import MAX_LIST_BYTES, is_other_body, station_url
from ..errors import Reason, SourceError
from ..interfaces import IResponseBody
from .body_collector import BodyCollector


class _ListCollector(BodyCollector):
    """The consumer of a body until it has ended, or is known to be no station list."""

    def __init__(self) -> None:
        super().__init__()
        self.data = b""

    def _collect(self, data: bytes) -> bool:
        self.data += data
        if is_other_body(self.data):
            return True
        if len(self.data) > MAX_LIST_BYTES:
            raise SourceError(Reason.NOT_VIDEO, f"the provider sent a station list over {MAX_LIST_BYTES} bytes")
        return False


async def read_station_url(body: IResponseBody, clock: IReactorTime, seconds: float) -> str | None:
    """
    Return the URL that a station list names; None for another body, which can still be delivered then.

    :param seconds: time after which the bytes that have come decide.
    :raises SourceError: for a list that cannot be used, or the error that the body ended with.
    """
    collector = _ListCollector()
    body.deliver(collector)
    try:
        await collector.done.addTimeout(seconds, clock, onTimeoutCancel=lambda *_: None)
    except SourceError as end:
        if end.reason is not Reason.ENDED:
            raise
    url = station_url(collector.data)
    if url is None:
        body.withdraw(collector.data)
    return url
