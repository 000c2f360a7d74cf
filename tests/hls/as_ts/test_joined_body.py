"""Joined body of an HLS source on a clock: pacing, discontinuities, keys and failures."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hls_rig import Origin, OriginDialler, media
from twisted.internet.task import Clock
from zope.interface import implementer
from zope.interface.verify import verifyObject

from m3uproxy.core.http.source_request import DialTimeouts, SourceRequest
from m3uproxy.errors import Reason, SourceError
from m3uproxy.hls.as_ts.content_dialler import ContentDialler
from m3uproxy.hls.fetcher import Fetcher
from m3uproxy.interfaces import IDiscontinuityConsumer, IResponseBody
from m3uproxy.settings import Settings

A = "http://a.example/live/index.m3u8"
LIMITS = DialTimeouts(5.0, 5.0, 9.0)


@implementer(IDiscontinuityConsumer)
class RecordingConsumer:
    def __init__(self) -> None:
        self.got: list[bytes | str] = []
        self.error: SourceError | None = None

    def body_received(self, data: bytes) -> None:
        self.got.append(data)

    def discontinuity(self) -> None:
        self.got.append("discontinuity")

    def body_ended(self, error: SourceError) -> None:
        assert self.error is None
        self.error = error

    @property
    def parts(self) -> list[bytes]:
        """The data between discontinuities."""
        parts = [b""]
        for one in self.got:
            if one == "discontinuity":
                parts.append(b"")
            else:
                parts[-1] += one
        return parts


class JoinedBodyRig:
    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(100)
        self.origin = Origin()
        settings = Settings(_env_file=None)
        self.fetcher = Fetcher(self.clock, self.origin, settings)
        self.dialler = ContentDialler(self.clock, self.fetcher, OriginDialler(self.clock, self.origin), settings)
        self.consumer = RecordingConsumer()

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
    made = JoinedBodyRig()
    yield made
    made.fetcher.stop()
    assert made.clock.getDelayedCalls() == []
    assert made.fetcher.size == 0


def error_of(dialled) -> SourceError:
    caught: list[SourceError] = []
    dialled.addErrback(lambda failure: caught.append(failure.value))
    return caught[0]


def test_first_segment_is_sent_at_once_and_others_are_paced(rig) -> None:
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
    assert rig.consumer.error.reason is Reason.UNUSED


def test_short_segments_are_sent_at_once_up_to_the_burst(rig) -> None:
    rig.put(1, 9, target=1)
    body = rig.play()
    at_once = b"005" * 100 + b"006" * 100 + b"007" * 100
    assert rig.consumer.parts == [at_once]
    rig.wait(0.5)
    assert len(at_once) + 100 < len(rig.consumer.parts[0]) < len(at_once) + 200
    body.close()


def test_two_segments_of_a_short_window_are_held_in_reserve(rig) -> None:
    rig.put(1, 3, target=1)
    body = rig.play()
    assert rig.consumer.parts == [b"001" * 100]
    body.close()


def test_segment_of_unknown_length_is_paced_by_the_previous_one(rig) -> None:
    rig.put(1, 3)
    rig.origin.put(rig.url(2), b"002" * 100, endless=True)
    body = rig.play()
    rig.wait(2)
    assert 300 + 100 < len(rig.consumer.parts[0]) < 300 + 200
    rig.wait(2.2)
    assert len(rig.consumer.parts[0]) == 600
    body.close()


def test_only_listed_segment_is_paced(rig) -> None:
    rig.put(1, 1)
    body = rig.play()
    rig.wait(2)
    assert 100 < len(rig.consumer.parts[0]) < 200
    rig.put(2, 1)
    rig.wait(4)
    assert rig.consumer.parts[0].startswith(b"001" * 100 + b"002" * 20)
    body.close()


def test_request_time_does_not_reduce_the_rate(rig) -> None:
    """In each minute players get a minute of media, although each segment arrives a little late."""
    rig.put(1, 3, target=1)
    body = rig.play()
    for first in range(2, 62):
        rig.wait(1)
        rig.put(first, 3, target=1)
    assert 60 * 300 <= len(rig.consumer.parts[0]) <= 62 * 300
    body.close()


def test_hanging_playlist_does_not_delay_listed_segments(rig) -> None:
    rig.put(1, 5)
    body = rig.play()
    rig.origin.put(A, silent=True)
    rig.wait(8.5)
    assert rig.consumer.parts == [b"003" * 100 + b"004" * 100 + b"005" * 100]
    assert rig.origin.cancelled
    body.close()


def test_empty_segments_are_skipped_or_end_the_body(rig) -> None:
    rig.put(1, 5)
    rig.origin.put(rig.url(4))
    rig.play()
    rig.wait(5)
    assert rig.consumer.parts[-1] == b"005" * 100
    rig.origin.put(rig.url(6))
    rig.origin.put(rig.url(7))
    rig.put(3, 5)
    rig.wait(9)
    assert rig.consumer.error.reason is Reason.TRUNCATED


def test_paused_body_can_be_read(rig) -> None:
    rig.put(1, 3)
    body = rig.play()
    verifyObject(IResponseBody, body)
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


def test_playlist_without_new_segments_is_a_stall(rig) -> None:
    rig.put(1, 3)
    rig.play()
    rig.wait(3 * 4 - 0.5)
    assert rig.consumer.error is None
    rig.wait(3)
    assert rig.consumer.error.reason is Reason.STALLED


@pytest.mark.parametrize(("count", "pause"), [(1, 4), (2, 4), (3, 0), (5, 0)])
def test_short_playlist_may_pause_for_a_segment(rig, count, pause) -> None:
    rig.put(1, count)
    body = rig.play()
    assert body.expected_pause == pause
    body.close()


def test_segments_listed_ahead_are_no_stall(rig) -> None:
    """Five segments of 4 s are listed each 20 s: none is new for five target durations."""
    rig.put(1, 5)
    body = rig.play()
    for number in range(1, 4):
        rig.wait(11.5 if number == 1 else 22)
        assert rig.consumer.error is None
        rig.put(5 * number + 1, 5)
    rig.wait(22)
    assert rig.consumer.error is None
    assert rig.consumer.parts[0].endswith(b"020" * 50)
    body.close()


@pytest.mark.parametrize("status", [401, 403, 404, 410, 500])
def test_variant_whose_url_ends_is_looked_up_once(rig, status) -> None:
    def renew(session: int, first: int) -> None:
        rig.put(first, 5)
        rig.origin.put(f"{A}?s={session}", rig.origin.pages[A].body)
        rig.origin.put(A, f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nindex.m3u8?s={session}\n")

    renew(1, 1)
    rig.play()
    rig.wait(4)
    renew(2, 2)
    rig.origin.put(f"{A}?s=1", status=status)
    rig.wait(4)
    if status == 500:
        assert rig.consumer.error is None
        rig.wait(10)
        assert rig.consumer.error.status == 500
        return
    assert rig.origin.count(A) == 2
    rig.origin.put(f"{A}?s=2", status=status)
    rig.wait(12)
    assert rig.consumer.parts[0] == b"".join(b"%03d" % n * 100 for n in range(3, 7))
    assert rig.consumer.error.status == status


def test_one_failed_segment_is_skipped_and_two_end_the_body(rig) -> None:
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


def encrypted(clear: bytes, key: bytes, iv: int) -> bytes:
    padded = clear + bytes([16 - len(clear) % 16]) * (16 - len(clear) % 16)
    cipher = Cipher(algorithms.AES(key), modes.CBC(iv.to_bytes(16, "big"))).encryptor()
    return cipher.update(padded) + cipher.finalize()


def test_rotating_keys_with_and_without_iv(rig) -> None:
    stated, counted = '#EXT-X-KEY:METHOD=AES-128,URI="../k1",IV=0x0A', '#EXT-X-KEY:METHOD=AES-128,URI="k2"'
    clear = {n: b"%03d" % n * 111 for n in range(8, 12)}

    def put(first: int, *lines: str) -> None:
        rig.origin.put(A, media(first=first, target=4) + "\n".join(lines))

    put(8, stated, "#EXTINF:4,", "s8.ts", counted, "#EXTINF:4,", "s9.ts", "#EXTINF:4,", "s10.ts")
    first, second = b"1" * 16, b"2" * 16
    rig.origin.put("http://a.example/k1", first)
    rig.origin.put("http://a.example/live/k2", second)
    for n, key, iv in ((8, first, 10), (9, second, 9), (10, second, 10)):
        rig.origin.put(rig.url(n), encrypted(clear[n], key, iv))
    rig.origin.put(rig.url(11), clear[11])
    body = rig.play()
    rig.wait(4)
    put(10, counted, "#EXTINF:4,", "s10.ts", "#EXT-X-KEY:METHOD=NONE", "#EXTINF:4,", "s11.ts")
    rig.wait(9)
    assert rig.consumer.parts == [b"".join(clear.values())]
    assert rig.origin.count("http://a.example/live/k2") == 1
    body.close()


@pytest.mark.parametrize(("more", "reason"), [("#EXT-X-ENDLIST", Reason.NOT_LIVE), ("", None)], ids=["ended", "live"])
def test_only_live_playlists_are_dialled(rig, more, reason) -> None:
    rig.put(1, 3, more=more)
    if reason is None:
        rig.play().close()
    else:
        assert error_of(rig.dial()).reason is reason


def put_encrypted(rig, key: bytes) -> None:
    rig.put(1, 3)
    text = rig.origin.pages[A].body.decode().replace("#EXTINF", '#EXT-X-KEY:METHOD=AES-128,URI="/k"\n#EXTINF', 1)
    rig.origin.put(A, text)
    rig.origin.put("http://a.example/k", key)


@pytest.mark.parametrize(("key", "reason"), [(b"short", Reason.NOT_VIDEO), (b"k" * 16, Reason.TRUNCATED)])
def test_invalid_key_and_wrong_key(rig, key, reason) -> None:
    put_encrypted(rig, key)
    rig.play()
    rig.wait(9)
    assert rig.consumer.error.reason is reason


def test_provider_without_an_answer(rig) -> None:
    rig.origin.put(A, silent=True)
    dialled = rig.dial()
    rig.wait(9.5)
    assert error_of(dialled).reason is Reason.FIRST_BYTE_TIMEOUT


@pytest.mark.parametrize("reason", [Reason.FULL, Reason.NO_SLOT, Reason.STOPPING])
def test_segment_that_fails_in_this_proxy_is_not_skipped(rig, reason) -> None:
    rig.put(1, 6)
    rig.origin.put(rig.url(5), error=SourceError(reason))
    rig.play()
    rig.wait(6)
    assert rig.consumer.error == SourceError(reason)
    rig.origin.put(rig.url(5), b"005" * 100)
    rig.consumer = RecordingConsumer()
    body = rig.play()
    rig.wait(9)
    assert b"".join(rig.consumer.parts).startswith(b"004" * 100 + b"005" * 100)
    body.close()


def test_reload_that_fails_in_this_proxy_is_repeated_while_a_segment_is_listed(rig) -> None:
    rig.put(1, 5)
    body = rig.play()
    rig.wait(1)
    rig.origin.pages[A].error = SourceError(Reason.FULL)
    rig.wait(4)
    assert rig.consumer.error is None
    rig.put(1, 7)
    rig.wait(8)
    assert b"006" in rig.consumer.parts[0]
    body.close()
