"""From players' requests for ``/stream/<id>`` to what the provider is asked, on a clock."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from origin import Origin, media
from twisted.internet.task import Clock
from zope.interface import implementer

from m3uproxy.errors import Reason, SourceError
from m3uproxy.hls.fetch import Fetcher
from m3uproxy.hls.join_dial import JoinDialler
from m3uproxy.interfaces import ISeamConsumer
from m3uproxy.settings import Settings
from m3uproxy.upstream.dial import DialLimits, SourceRequest

A = "http://a.example/live/index.m3u8"
LIMITS = DialLimits(5.0, 5.0, 9.0)


@implementer(ISeamConsumer)
class Consumer:
    def __init__(self) -> None:
        self.got: list[bytes | str] = []
        self.error: SourceError | None = None

    def body_received(self, data: bytes) -> None:
        self.got.append(data)

    def body_changed(self) -> None:
        self.got.append("seam")

    def body_ended(self, error: SourceError) -> None:
        assert self.error is None
        self.error = error

    @property
    def parts(self) -> list[bytes]:
        """Between seams."""
        parts = [b""]
        for one in self.got:
            if one == "seam":
                parts.append(b"")
            else:
                parts[-1] += one
        return parts


class Rig:
    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(100)
        self.origin = Origin()
        settings = Settings(_env_file=None)
        self.fetcher = Fetcher(self.clock, self.origin, settings)
        self.dialler = JoinDialler(self.clock, self.fetcher, None, settings)
        self.consumer = Consumer()

    def put(self, first: int, count: int, target: int = 4, more: str = "") -> None:
        names = [f"s{n}.ts" for n in range(first, first + count)]
        self.origin.put(A, media(*names, first=first, target=target, more=more))
        for n in range(first, first + count):
            self.origin.pages.setdefault(self.url(n), None)
            if self.origin.pages[self.url(n)] is None:
                self.origin.put(self.url(n), b"%03d" % n * 100)

    def url(self, n: int) -> str:
        return f"http://a.example/live/s{n}.ts"

    def dial(self):
        return self.dialler.dial(SourceRequest(A, "agent", (), True), LIMITS)

    def play(self):
        opened = []
        self.dial().addCallback(opened.append)
        opened[0].deliver(self.consumer)
        return opened[0]

    def wait(self, seconds: float) -> None:
        for _ in range(round(seconds * 20)):
            self.clock.advance(0.05)


@pytest.fixture
def rig():
    made = Rig()
    yield made
    made.fetcher.stop()
    assert made.clock.getDelayedCalls() == []
    assert made.fetcher.size == 0


def refused(dialled) -> SourceError:
    caught: list[SourceError] = []
    dialled.addErrback(lambda failure: caught.append(failure.value))
    return caught[0]


def test_the_first_segment_goes_at_once_and_others_as_they_play(rig) -> None:
    rig.put(1, 5)
    body = rig.play()
    assert rig.consumer.parts == [b"003" * 100]
    rig.wait(2)
    assert 300 + 100 < len(rig.consumer.parts[0]) < 300 + 200
    rig.wait(2.2)
    assert rig.consumer.parts[0].startswith(b"003" * 100 + b"004" * 100)
    rig.wait(4)
    assert rig.consumer.parts == [b"003" * 100 + b"004" * 100 + b"005" * 100]
    rig.put(2, 5)
    rig.wait(8)
    assert rig.consumer.parts[0].endswith(b"005" * 100 + b"006" * 100)
    assert [rig.origin.count(rig.url(n)) for n in range(1, 7)] == [0, 0, 1, 1, 1, 1]
    body.close()
    assert rig.consumer.error.reason is Reason.ENDED


def test_a_paused_body_is_read(rig) -> None:
    rig.put(1, 3)
    body = rig.play()
    body.pause()
    rig.wait(3)
    assert rig.consumer.parts == [b"001" * 100]
    size = body.read(True)
    assert 150 < size < 300
    assert len(rig.consumer.parts[0]) == 300 + size
    assert body.read(True) == 0
    rig.wait(2)
    body.resume()
    assert len(rig.consumer.parts[0]) > 600
    body.close()


def test_a_playlist_that_stands_still_is_a_stall(rig) -> None:
    rig.put(1, 3)
    rig.play()
    rig.wait(3 * 4 - 0.5)
    assert rig.consumer.error is None
    rig.wait(3)
    assert rig.consumer.error.reason is Reason.STALLED


def test_one_bad_segment_is_left_out_and_two_are_the_end(rig) -> None:
    rig.put(1, 5)
    rig.origin.put(rig.url(4), status=404)
    rig.play()
    rig.wait(5)
    assert rig.consumer.parts == [b"003" * 100, b"005" * 100]
    for n in (6, 7):
        rig.origin.put(rig.url(n), status=500)
    rig.put(3, 5)
    rig.wait(5)
    assert (rig.consumer.error.reason, rig.consumer.error.status) == (Reason.BAD_STATUS, 500)


def test_keys(rig) -> None:
    key = b"k" * 16
    clear = b"0123456789" * 30
    padded = clear + bytes([4]) * 4
    cipher = Cipher(algorithms.AES(key), modes.CBC((1).to_bytes(16, "big"))).encryptor()
    rig.put(1, 2)
    text = rig.origin.pages[A].body.decode().replace("#EXTINF", '#EXT-X-KEY:METHOD=AES-128,URI="/k"\n#EXTINF', 1)
    rig.origin.put(A, text)
    rig.origin.put(rig.url(1), cipher.update(padded))
    rig.origin.put(rig.url(2), b"x" * 100)
    rig.origin.put("http://a.example/k", key)
    body = rig.play()
    rig.wait(4.3)
    assert rig.consumer.parts[0].startswith(clear)
    assert rig.origin.count("http://a.example/k") == 1
    body.close()


@pytest.mark.parametrize(("more", "reason"), [("#EXT-X-ENDLIST", Reason.NOT_LIVE), ("", None)], ids=["ended", "live"])
def test_only_what_is_live_is_dialled(rig, more, reason) -> None:
    rig.put(1, 3, more=more)
    if reason is None:
        rig.play().close()
    else:
        assert refused(rig.dial()).reason is reason


def encrypted(rig, key: bytes) -> None:
    rig.put(1, 3)
    text = rig.origin.pages[A].body.decode().replace("#EXTINF", '#EXT-X-KEY:METHOD=AES-128,URI="/k"\n#EXTINF', 1)
    rig.origin.put(A, text)
    rig.origin.put("http://a.example/k", key)


@pytest.mark.parametrize(("key", "reason"), [(b"short", Reason.NOT_VIDEO), (b"k" * 16, Reason.TRUNCATED)])
def test_a_key_that_is_none_and_one_that_does_not_fit(rig, key, reason) -> None:
    encrypted(rig, key)
    rig.play()
    rig.wait(9)
    assert rig.consumer.error.reason is reason


def test_a_provider_that_does_not_answer(rig) -> None:
    rig.origin.put(A, silent=True)
    dialled = rig.dial()
    rig.wait(9.5)
    assert refused(dialled).reason is Reason.FIRST_BYTE_TIMEOUT
