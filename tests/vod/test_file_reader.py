"""The pace of reading: few reads, at the full rate of the provider."""

from __future__ import annotations

import pytest
from fakes import FakeBody
from twisted.internet.task import Clock

from m3uproxy.core.http.representation import Representation
from m3uproxy.vod.file_reader import FileReader
from m3uproxy.vod.range_request import OpenedRange

#: Bytes that a provider can send while the receiver is paused.
RECEIVE_WINDOW = 65_536


class GreedyConsumer:
    """A consumer that accepts all bytes."""

    last_bytes = b""
    can_accept = True

    def __init__(self) -> None:
        self.position = 0
        self.pieces = 0

    def accept(self, data) -> int:
        self.position += len(data)
        self.pieces += 1
        return len(data)


class ReaderOwner:
    may_change_kind = False

    def bytes_read(self, reader, offset, data) -> None:
        """Do nothing."""

    def read_failed(self, reader, error) -> None:
        raise AssertionError(error)


def read_share(megabits: float, seconds: float = 5.0) -> tuple[float, float]:
    """Return the share of the provider's rate that was read, and the pieces read per second."""
    clock, body, consumer = Clock(), FakeBody(status=206), GreedyConsumer()
    reader = FileReader(clock, OpenedRange(body, 0, None, Representation()), Representation(), 10.0, ReaderOwner())
    reader.start(consumer)
    body.bring(bytes(300_000))  # the beginning is read without pauses
    begin, step = consumer.position, 0.001
    for _ in range(int(seconds / step)):
        room = RECEIVE_WINDOW - len(body.held)
        body.bring(bytes(max(0, min(room, int(megabits * 1e6 / 8 * step)))))
        clock.advance(step)
    reader.close()
    assert clock.getDelayedCalls() == []
    return (consumer.position - begin) / (megabits * 1e6 / 8 * seconds), consumer.pieces / seconds


@pytest.mark.parametrize("megabits", [2, 8, 20, 50, 100, 400])
def test_a_provider_is_read_as_fast_as_it_sends(megabits):
    share, _ = read_share(megabits)
    assert share > 0.95


@pytest.mark.parametrize(("megabits", "most"), [(2, 60), (8, 60), (20, 120), (50, 450)])
def test_small_pieces_are_gathered(megabits, most):
    """Without gathering it would be a thousand pieces per second."""
    _, pieces = read_share(megabits)
    assert pieces <= most
