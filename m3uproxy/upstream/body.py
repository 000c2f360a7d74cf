"""Reads one body on the shared tick and judges its first bytes."""

from __future__ import annotations

from typing import Protocol

from zope.interface import implementer

from ..core.sniff import HEAD, complaint
from ..errors import SourceError
from ..interfaces import IBodyConsumer, IOpenBody, IStreamSink
from .tick import ENOUGH, Tick


class Owner(Protocol):
    """Who wants to know how a body fares."""

    def flowing(self) -> None:
        """The first packet of the body has been recognised."""

    def heard(self) -> None:
        """Bytes came; called once a turn, so it should do next to nothing."""

    def ended(self, error: SourceError) -> None:
        """The body is over, or is no video. Nothing follows."""


@implementer(IBodyConsumer)
class BodyReader:
    """From an open body to the sink, in pieces as large as one reactor turn brings.

    Keeps its owner informed until ``close()``.
    """

    def __init__(self, body: IOpenBody, sink: IStreamSink, tick: Tick, owner: Owner) -> None:
        self._body = body
        self._sink = sink
        self._tick = tick
        self._owner = owner
        self._pieces: list[bytes] = []
        self._head = b""
        self._proven = False
        self._over = False
        self.received = 0

    def start(self) -> None:
        """Take the body."""
        self._sink.source_changed()
        self._body.deliver(self)

    def close(self) -> None:
        """Stop reading, for good; closing the body itself is the owner's."""
        self._over = True
        self._pieces.clear()
        self._tick.forget(self)

    def body_received(self, data: bytes) -> None:
        """Keep the piece until the turn is over. Also called while paused (chunked, TLS)."""
        if self._over:
            return
        self._pieces.append(data)
        self.received += len(data)
        self._tick.has_read(self)

    def body_ended(self, error: SourceError) -> None:
        """Hand on what is left, then tell how the body ended."""
        if self._over:
            return
        self._pass_on()
        if not self._over:
            self.close()
            self._owner.ended(error)

    def settle(self) -> bool:
        """Hand on what this turn brought; pause unless the source is fast."""
        size = self._pass_on()
        if self._over or size >= ENOUGH:
            return False
        self._sink.flush()
        self._body.pause()
        return True

    def tick(self) -> None:
        """Read on."""
        if not self._over:
            self._body.resume()

    def _pass_on(self) -> int:
        pieces, self._pieces = self._pieces, []
        if not pieces:
            return 0
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._owner.heard()
        packets = self._sink.bytes_received(data)
        if not self._proven:
            self._judge(data, packets)
        return len(data)

    def _judge(self, data: bytes, packets: int) -> None:
        """Video, not video, or not to be told yet."""
        if packets:
            self._proven = True
            self._owner.flowing()
            return
        self._head = (self._head + data)[:HEAD]
        error = complaint(self._head, self.received, self._body.content_type)
        if error is not None:
            self.close()
            self._owner.ended(error)
