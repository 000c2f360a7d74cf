"""The segment pacer, with a consumer that interferes from within its own write."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from m3uproxy.errors import Reason, SourceError
from m3uproxy.hls.as_ts.aes128 import Aes128Decryptor
from m3uproxy.hls.as_ts.segment_pacer import SegmentPacer


class FakeReader:
    """A reader that the test feeds. It tells its end once, as the real one does."""

    def __init__(self, write: Callable[[bytes], None], ended: Callable[[SourceError | None], None]) -> None:
        self.write, self._ended = write, ended
        self.over = self.paused = False

    def start(self) -> None:
        pass

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False

    def stopProducing(self) -> None:
        self.end(SourceError(Reason.UNUSED))

    def end(self, error: SourceError | None) -> None:
        if not self.over:
            self.over = True
            self._ended(error)


class PacerRig:
    """A pacer at full speed, whose consumer cancels the delivery from within a write."""

    length = None

    def __init__(self, cancel_at: int = 1, decryptor: Aes128Decryptor | None = None) -> None:
        self.clock = Clock()
        self.has_room = True
        self.written: list[bytes] = []
        self.results: list[object] = []
        self.cancel_at = cancel_at
        pacer = SegmentPacer(self.clock, 0.0, 0.0, 0, lambda: self.has_room, self.write)
        self.done: Deferred[None] = pacer.start(self, decryptor)
        self.done.addBoth(lambda result: self.results.append(result.value if isinstance(result, Failure) else result))

    def deliver(self, write, ended) -> FakeReader:
        self.reader = FakeReader(write, ended)
        return self.reader

    def write(self, data: bytes) -> None:
        self.written.append(data)
        if len(self.written) == self.cancel_at:
            self.done.cancel()

    def check_cancelled(self, *written: bytes) -> None:
        assert self.written == list(written)
        assert self.results == [SourceError(Reason.UNUSED, "the delivery was cancelled")]
        assert self.reader.over
        assert self.clock.getDelayedCalls() == []
        self.has_room = True
        self.reader.write(b"late")
        self.clock.advance(1)
        assert self.written == list(written)


def test_cancelled_from_within_the_write_of_new_data() -> None:
    rig = PacerRig()
    rig.reader.write(b"abc")
    rig.check_cancelled(b"abc")


def test_cancelled_from_within_the_write_of_the_timer() -> None:
    rig = PacerRig()
    rig.has_room = False
    rig.reader.write(b"abc")
    rig.has_room = True
    rig.clock.advance(0.1)
    rig.check_cancelled(b"abc")


@pytest.mark.parametrize("error", [None, SourceError(Reason.TRUNCATED)])
def test_cancelled_from_within_the_write_at_the_end_of_the_segment(error: SourceError | None) -> None:
    rig = PacerRig()
    rig.has_room = False
    rig.reader.write(b"abc")
    rig.has_room = True
    rig.reader.end(error)
    rig.check_cancelled(b"abc")


def test_cancelled_from_within_the_write_of_the_last_encrypted_block() -> None:
    key, iv = b"k" * 16, bytes(16)
    cipher = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    rig = PacerRig(decryptor=Aes128Decryptor(key, iv))
    rig.reader.write(cipher.update(b"0123456789" + bytes([6] * 6)))
    rig.reader.end(None)
    rig.check_cancelled(b"0123456789")


def test_cancelled_after_the_end_of_the_segment_but_before_its_time() -> None:
    rig = PacerRig(cancel_at=0)
    rig.has_room = False
    rig.reader.write(b"abc")
    rig.reader.end(None)
    rig.done.cancel()
    rig.check_cancelled()


def test_delivery_that_is_not_cancelled_fires_once() -> None:
    rig = PacerRig(cancel_at=0)
    rig.reader.write(b"abc")
    rig.reader.end(None)
    rig.clock.advance(1)
    assert rig.written == [b"abc"]
    assert rig.results == [None]
    assert rig.clock.getDelayedCalls() == []
