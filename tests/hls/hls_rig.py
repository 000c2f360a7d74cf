"""A provider in memory, and a proxy that serves its playlists and segments, on a clock."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

import attrs
from fakes import Dial, FakeDialler, FakeResolver
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from wire import Answer as WireAnswer
from wire import Wire, call
from zope.interface import implementer

from m3uproxy.core.failover.causes import status_error
from m3uproxy.errors import Reason, SourceError
from m3uproxy.hls.as_ts.joined_body import raise_playlist_timeout
from m3uproxy.hls.fetcher import Fetcher
from m3uproxy.hls.http_client import ProviderResponse, ResourceRequest
from m3uproxy.interfaces import IResponseBody
from m3uproxy.registry import Registry
from m3uproxy.settings import Settings
from m3uproxy.streams.spec import StreamSpec
from m3uproxy.web.access.own_url import public_prefix
from m3uproxy.web.media.hls_resource import HlsResource
from m3uproxy.web.media.live_resource import StreamResource
from m3uproxy.web.media.signed_urls import SignedUrls
from m3uproxy.web.site import Root, Site


@implementer(IResponseBody)
class PageBody:
    """A body that arrives at once."""

    content_type = ""
    joined = False
    expected_pause = 0.0
    status = 200
    public = False
    encoded = False

    def __init__(self, data: bytes, final_url: str, endless: bool) -> None:
        self.data = data
        self.endless = endless
        self.length = None if endless else len(data)
        self.final_url = final_url
        self.closed = False

    def header(self, name: str) -> str:
        return ""

    def withdraw(self, start: bytes) -> None:
        self.data = start

    def deliver(self, consumer) -> None:
        if self.data:
            consumer.body_received(self.data)
        if not self.endless:
            consumer.body_ended(SourceError(Reason.ENDED))

    def pause(self) -> None:
        pass

    def resume(self) -> None:
        pass

    def read(self, deliver: bool) -> int:
        return 0

    def receive_window(self) -> int:
        return 65_536

    def close(self) -> Deferred[None]:
        self.closed = True
        return succeed(None)


@attrs.define
class Page:
    """A response of the provider."""

    body: bytes = b""
    status: int = 200
    final_url: str = ""
    public: bool = False
    error: SourceError | None = None
    headers: dict[str, str] = attrs.field(factory=dict)
    #: The provider never answers.
    silent: bool = False
    #: The body does not end.
    endless: bool = False


class Origin:
    """
    A provider that answers with the pages it was given.

    :ivar asked: the URLs of all requests.
    :ivar requests: the requests.
    """

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.asked: list[str] = []
        self.cancelled: list[str] = []
        self.waiting: list[Deferred[ProviderResponse]] = []
        self.requests = []
        self.limits = []

    def put(self, url: str, body: str | bytes = b"", **more) -> None:
        self.pages[url] = Page(body.encode() if isinstance(body, str) else body, **more)

    def get(self, request, byte_range, limits):
        self.asked.append(request.url)
        self.requests.append(request)
        self.limits.append(limits)
        page = self.pages.get(request.url, Page(status=404))
        if page.silent:
            self.waiting.append(Deferred(lambda _: self.cancelled.append(request.url)))
            return self.waiting[-1]
        if page.error is not None:
            answer: Deferred[ProviderResponse] = Deferred()
            answer.errback(page.error)
            return answer
        return succeed(self.answer(page, request, byte_range))

    def answer(self, page, request, byte_range=None) -> ProviderResponse:
        final = page.final_url or request.url
        status, body, headers = page.status, page.body, page.headers
        if byte_range is not None and status == 200:
            first, last = map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", byte_range).groups())
            headers = {**headers, "Content-Range": f"bytes {first}-{last}/{len(body)}"}
            status, body = 206, body[first : last + 1]
        opened = PageBody(body, final, page.endless) if status in {200, 206} else None
        return ProviderResponse(status, headers, final, page.public, opened)

    def count(self, url: str) -> int:
        return self.asked.count(url)


class OriginDialler:
    """Dials the pages of an origin."""

    def __init__(self, clock: Clock, origin: Origin) -> None:
        self.clock = clock
        self.origin = origin

    def dial(self, request, timeouts, slot=None):
        opened = self.origin.get(ResourceRequest(request.url, request), None, timeouts).addCallback(self._body)
        return opened.addTimeout(timeouts.total, self.clock, onTimeoutCancel=raise_playlist_timeout)

    def _body(self, response: ProviderResponse):
        if response.body is None:
            raise status_error(response.status)
        return response.body


def one_turn(clock: Clock) -> None:
    """Run one reactor turn. ``Clock.advance(0)`` would also run what is scheduled meanwhile."""
    for due in [each for each in clock.calls if each.getTime() <= clock.seconds()]:
        if due.active():
            clock.calls.remove(due)
            due.called = 1
            due.func(*due.args, **due.kw)


class HlsRig:
    """A registry between players and a provider."""

    def __init__(self, **settings) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.origin = Origin()
        self.settings = Settings.model_construct(
            **{**Settings(_env_file=None).model_dump(), "start_timeout": 10.0, "stream_retry_delay": 0.5, **settings}
        )
        self.fetcher = Fetcher(self.clock, self.origin, self.settings)
        key = b"k" * 32
        self.resolver = FakeResolver()
        self.dialler = FakeDialler(self.clock, self._answer_playlist)
        self.registry = Registry(self.clock, self.dialler, self.settings, key, self.wall, self.resolver, self.fetcher)
        tickets = None
        if self.settings.player_url_lifetime:
            tickets = SignedUrls(key, self.settings.player_url_lifetime, self.clock.seconds)
        self.tickets = tickets
        given = (self.registry, self.settings, tickets)
        resources = StreamResource(*given), None, None, HlsResource(*given)
        root = Root(self.settings.root_path, *resources, lambda: public_prefix(self.settings))
        self.site = Site(root, self.clock)
        self.registry.start()

    def _answer_playlist(self, dial: Dial) -> None:
        """Answer the dial of a page of the origin."""
        if dial.request.url in self.origin.pages:
            opened = OriginDialler(self.clock, self.origin).dial(dial.request, dial.timeouts)
            opened.addCallbacks(dial.deferred.callback, dial.deferred.errback)

    def wall(self) -> datetime:
        return datetime(2026, 11, 22, tzinfo=timezone.utc) + timedelta(seconds=self.clock.seconds())

    def stream(self, url: str = "http://a.example/live/index.m3u8", *failover: str, **more):
        return self.registry.register(StreamSpec(url, "agent", failover_urls=failover, **more))

    def get(self, path: str, method: str = "GET", **more) -> WireAnswer:
        return call(self.site, method, path, wait=self.finish_work, **more)

    def finish_work(self) -> None:
        """Run reactor turns without time, until no large playlist is processed."""
        while self.fetcher.playlists.is_busy:
            self.clock.advance(0)

    def play(self, stream, query: str = "client_id=me", **more) -> WireAnswer:
        return self.get(f"/hls/{stream.id}/playlist.m3u8?{query}", **more)

    def open(self, path: str, *headers: str) -> Wire:
        wire = Wire(self.site)
        wire.send("\r\n".join([f"GET {path} HTTP/1.1", "Host: proxy", *headers, "", ""]).encode())
        return wire

    def wait(self, seconds: float) -> None:
        for _ in range(round(seconds * 4)):
            self.clock.advance(0.25)

    def stop(self) -> None:
        self.registry.stop()
        self.fetcher.stop()
        self.site.close()


def media(*names: str, first: int = 0, target: int = 6, more: str = "") -> str:
    lines = ["#EXTM3U", f"#EXT-X-TARGETDURATION:{target}", f"#EXT-X-MEDIA-SEQUENCE:{first}"]
    for name in names:
        lines += [f"#EXTINF:{target}.0,", name]
    return "\n".join([*lines, more]) + "\n"


def uris(playlist: bytes) -> list[str]:
    """Return the URIs of a playlist, which a player requests next."""
    return [line for line in playlist.decode().splitlines() if line and not line.startswith("#")]
