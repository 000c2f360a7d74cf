"""The pace of reading: few reads, at the full rate of the provider."""

from __future__ import annotations

import pytest
from fakes import FakeBody, Programme
from twisted.internet.task import Clock

from m3uproxy.core.http.representation import Representation
from m3uproxy.core.stream_kind import StreamKind
from m3uproxy.errors import Reason
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


class OwnerOfAnyKind(ReaderOwner):
    """The owner of a reader whose stream may become one of another kind."""

    may_change_kind = True

    def __init__(self) -> None:
        self.found = self.body = self.error = self.media_type = None

    def media_known(self, media_type) -> None:
        self.media_type = media_type

    def kind_found(self, reader, error, body) -> None:
        self.found, self.body = error, body

    def read_failed(self, reader, error) -> None:
        self.error = error
        reader.close()


def read_pieces(pieces: list[bytes], ends: bool = False) -> tuple[OwnerOfAnyKind, GreedyConsumer, FakeBody]:
    """Read a body of unknown length, which comes in pieces, for a stream that may be a film."""
    clock, body, consumer, owner = Clock(), FakeBody(), GreedyConsumer(), OwnerOfAnyKind()
    opened = OpenedRange(body, 0, None, Representation())
    reader = FileReader(clock, opened, Representation(), 10.0, owner, url="http://provider/film.mp4")
    reader.start(consumer)
    for piece in pieces:
        assert owner.found is None
        body.bring(piece)
        clock.advance(1)
    if ends:
        body.end()
    reader.close()
    assert clock.getDelayedCalls() == []
    return owner, consumer, body


def single_bytes(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def test_slow_playlist_is_recognised() -> None:
    owner, consumer, body = read_pieces(single_bytes(b"\xef\xbb\xbf#EXTM3U"))
    assert owner.found.kind is StreamKind.HLS
    assert consumer.position == 0
    assert body.held == b"\xef\xbb\xbf#EXTM3U"


def test_slow_live_stream_is_recognised() -> None:
    group = Programme().group()[:800]
    owner, consumer, _ = read_pieces([group[:1], group[1:300], group[300:]])
    assert owner.found.kind is StreamKind.LIVE
    assert consumer.position == 0


def test_slow_film_is_delivered_from_its_first_byte() -> None:
    film = b"\0\0\0\x18ftypisom" + bytes(1000)
    owner, consumer, _ = read_pieces([*single_bytes(film[:20]), film[20:]])
    assert (owner.found, owner.media_type) == (None, "video/mp4")
    assert consumer.position == len(film)


def test_file_that_ends_within_its_first_bytes_is_delivered() -> None:
    owner, consumer, _ = read_pieces(single_bytes(b"\0\0\0\x18ftypisom"), ends=True)
    assert (owner.error.reason, owner.media_type) == (Reason.ENDED, "video/mp4")
    assert consumer.position == 12
