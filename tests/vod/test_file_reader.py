"""How often a provider is read: seldom, and yet as fast as it sends."""

from __future__ import annotations

import pytest
from fakes import FakeBody
from twisted.internet.task import Clock

from m3uproxy.core.http.representation import Representation
from m3uproxy.vod.file_reader import FileReader
from m3uproxy.vod.range_request import OpenedRange

#: Bytes that a provider may send before a paused receiver has read any.
WINDOW = 65_536


class Sponge:
    """Takes everything."""

    last_bytes = b""
    can_accept = True

    def __init__(self) -> None:
        self.position = 0
        self.pieces = 0

    def accept(self, data) -> int:
        self.position += len(data)
        self.pieces += 1
        return len(data)


class Owner:
    def bytes_read(self, reader, offset, data) -> None:
        """All is well."""

    def read_failed(self, reader, error) -> None:
        raise AssertionError(error)


def received(megabits: float, seconds: float = 5.0) -> tuple[float, float]:
    """The share of what the provider could send that was taken, and the pieces it came in, for each second."""
    clock, body, sponge = Clock(), FakeBody(status=206), Sponge()
    reader = FileReader(clock, OpenedRange(body, 0, None, Representation()), Representation(), 10.0, Owner())
    reader.start(sponge)
    body.bring(bytes(300_000))  # what is not kept waiting
    begin, step = sponge.position, 0.001
    for _ in range(int(seconds / step)):
        room = WINDOW - len(body.held)
        body.bring(bytes(max(0, min(room, int(megabits * 1e6 / 8 * step)))))
        clock.advance(step)
    reader.close()
    assert clock.getDelayedCalls() == []
    return (sponge.position - begin) / (megabits * 1e6 / 8 * seconds), sponge.pieces / seconds


@pytest.mark.parametrize("megabits", [2, 8, 20, 50, 100, 400])
def test_a_provider_is_read_as_fast_as_it_sends(megabits):
    share, _ = received(megabits)
    assert share > 0.95


@pytest.mark.parametrize(("megabits", "most"), [(2, 60), (8, 60), (20, 120), (50, 450)])
def test_it_is_read_seldom(megabits, most):
    """Instead of a thousand times a second."""
    _, pieces = received(megabits)
    assert pieces <= most
