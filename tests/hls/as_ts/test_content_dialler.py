"""The dialler of live streams: the first bytes of an answer decide how it is played."""

from __future__ import annotations

import pytest
from fakes import FakeBody, FakeDialler, Programme
from hls_rig import Origin, media
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock

from m3uproxy.core.body_kind import KindMismatch
from m3uproxy.core.http.source_request import DialTimeouts, SourceRequest
from m3uproxy.core.slots.accounts import Account
from m3uproxy.core.stream_kind import StreamKind
from m3uproxy.errors import Reason, SourceError
from m3uproxy.hls.as_ts.content_dialler import ContentDialler
from m3uproxy.hls.as_ts.joined_body import JoinedBody
from m3uproxy.hls.fetcher import Fetcher
from m3uproxy.settings import Settings

LIMITS = DialTimeouts(5.0, 5.0, 9.0)
TS = Programme().group()
MP4 = b"\0\0\0\x20ftypisom" + bytes(1000)
LIST = media("a.ts", "b.ts", "c.ts").encode()


class ContentRig:
    def __init__(self) -> None:
        self.clock = Clock()
        self.origin = Origin()
        settings = Settings(_env_file=None)
        self.fetcher = Fetcher(self.clock, self.origin, settings)
        self.source = FakeDialler(self.clock)
        self.dialler = ContentDialler(self.clock, self.fetcher, self.source, settings)
        self.results: list[object] = []

    def dial(self, url="http://p/1.ts", expected=None, account=None):
        self.request = SourceRequest(url, "agent", (), True, account, expected=expected)
        dialling = self.dialler.dial(self.request, LIMITS)
        dialling.addBoth(lambda result: self.results.append(getattr(result, "value", result)))
        return dialling

    def answer(self, data=b"", length=None, content_type="video/mp2t", **headers) -> FakeBody:
        body = FakeBody(content_type, self.request.url, headers={k.replace("_", "-"): v for k, v in headers.items()})
        body.place = len(data)
        self.source.last.answer(body, length)
        if data:
            body.bring(data)
        return body

    @property
    def reason(self) -> Reason:
        (error,) = self.results
        assert isinstance(error, SourceError)
        return error.reason


class Taker:
    def __init__(self) -> None:
        self.data = b""
        self.error = None

    def body_received(self, data: bytes) -> None:
        self.data += data

    def body_ended(self, error: SourceError) -> None:
        self.error = error


@pytest.fixture
def rig():
    rig = ContentRig()
    yield rig
    rig.fetcher.stop()
    assert rig.clock.getDelayedCalls() == []


@pytest.mark.parametrize("url", ["http://p/1.ts", "http://p/1.m3u8", "http://p/1.mp4"])
def test_live_stream_is_delivered_from_its_first_byte_over_the_same_connection(rig, url) -> None:
    rig.dial(url, StreamKind.LIVE)
    body = rig.answer()
    pieces = [TS[at : at + 100] for at in range(0, len(TS), 100)]
    while not rig.results:
        body.bring(pieces.pop(0))
    assert rig.results == [body]
    taker = Taker()
    body.deliver(taker)
    body.bring(b"".join(pieces))
    assert taker.data == TS
    assert rig.source.urls == [url]


@pytest.mark.parametrize(
    ("data", "length", "content_type", "reason"),
    [
        (b"<html>busy</html>", 17, "text/html", Reason.NOT_VIDEO),
        (b"\x01\x02" * 400, 800, "text/html", Reason.NOT_VIDEO),
        (b"\x01\x02" * 400, 800, "", Reason.NOT_LIVE),
        (MP4, 2000, "video/mp4", Reason.NOT_LIVE),
    ],
)
def test_unsuitable_body_is_refused_and_closed(rig, data, length, content_type, reason) -> None:
    rig.dial()
    body = rig.answer(data, length, content_type)
    if not rig.results and not body.closed:
        body.end()
    assert body.closed
    body.vanish()
    assert rig.reason is reason


def test_head_without_a_body_times_out(rig) -> None:
    rig.dial()
    body = rig.answer()
    rig.clock.advance(LIMITS.first_byte)
    assert body.closed
    body.vanish()
    assert rig.reason is Reason.FIRST_BYTE_TIMEOUT


def test_cancelling_closes_the_body(rig) -> None:
    dialling = rig.dial()
    body = rig.answer()
    dialling.cancel()
    assert body.closed
    assert isinstance(rig.results[0], CancelledError)


def test_body_that_ends_without_a_byte_is_passed_on_if_it_may_be_live(rig) -> None:
    rig.dial()
    body = rig.answer()
    body.end(SourceError(Reason.RESET))
    assert rig.results == [body]


@pytest.mark.parametrize(
    ("expected", "data", "length", "kind"),
    [
        (StreamKind.LIVE, LIST, len(LIST), StreamKind.HLS),
        (StreamKind.LIVE, TS, 50_000_000, StreamKind.VOD),
        (StreamKind.LIVE, MP4, None, StreamKind.VOD),
        (StreamKind.HLS, TS, None, StreamKind.LIVE),
        (StreamKind.HLS, TS, 50_000_000, StreamKind.VOD),
    ],
)
def test_another_kind_is_told_and_its_body_is_kept(rig, expected, data, length, kind) -> None:
    rig.dial("http://p/1.m3u8" if expected is StreamKind.HLS else "http://p/1.ts", expected)
    body = rig.answer(data, length)
    (error,) = rig.results
    assert isinstance(error, KindMismatch)
    assert (error.kind, error.url) == (kind, rig.request.url)
    assert rig.fetcher.opened.take(rig.request) is body
    taker = Taker()
    body.deliver(taker)
    assert taker.data == data


def test_kept_body_is_used_for_the_next_dial(rig) -> None:
    rig.dial("http://p/1.m3u8", StreamKind.HLS)
    body = rig.answer(TS)
    rig.dial("http://p/1.m3u8", StreamKind.LIVE)
    assert rig.results[1] is body
    assert len(rig.source.dials) == 1


def test_playlist_is_joined_after_its_socket_has_closed(rig) -> None:
    rig.dial()
    body = rig.answer(LIST, len(LIST))
    body.end()
    assert isinstance(rig.results[0], JoinedBody)
    assert rig.results[0].final_url == rig.request.url
    assert rig.origin.asked == []


def test_playlist_of_an_account_with_a_limit_is_fetched_over_the_pool(rig) -> None:
    rig.origin.put("http://p/1.m3u8", LIST.decode())
    rig.dial("http://p/1.m3u8", StreamKind.HLS, Account("one", 1))
    assert isinstance(rig.results[0], JoinedBody)
    assert rig.source.dials == []


def test_playlist_that_players_have_is_not_asked_for_again(rig) -> None:
    rig.origin.put("http://p/1.m3u8", LIST.decode())
    for _ in range(2):
        rig.dial("http://p/1.m3u8", StreamKind.HLS)
        if rig.source.dials and not rig.results:
            rig.answer(LIST, len(LIST)).end()
    assert isinstance(rig.results[0], JoinedBody)


def test_file_that_is_a_transport_stream_is_a_source(rig) -> None:
    rig.dial()
    body = rig.answer(TS, 50_000_000)
    assert rig.results == [body]
