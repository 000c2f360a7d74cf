"""Every request to a media resource is answered or its connection ended, whatever raises.

Each scenario is played once while all functions of the package that run are noted. Then it is played again for each of
these functions, which raises when it is called: in the resource, in a callback, in a coroutine, in a timer.
"""

from __future__ import annotations

import re
import sys
from http.client import HTTPException

import pytest
from fakes import FakeBody, Programme
from hls_rig import HlsRig, Page, media, uris
from wire import Answer, Wire

import m3uproxy
from m3uproxy.errors import Reason, SourceError
from m3uproxy.web.media.media_resource import MediaResource

HLS = "http://a.example/live/index.m3u8"
KEYED = media("a1.ts", more='#EXT-X-DATERANGE:ID="ad",X-ASSET-LIST="list.json"')
PACKAGE = m3uproxy.__path__[0]
#: What requests call. The rest either ends a request or stands below all of these.
INCLUDED = re.compile(r"/(?:web/media|hls|vod|live|downstream)/")


class OurOwnFault(Exception):
    """The exception that is injected."""


class Injector:
    """Notes the functions that are called, or raises in one of them."""

    def __init__(self, function: str = "") -> None:
        self.function = function
        self.called: dict[str, None] = {}

    def __enter__(self) -> Injector:
        self._before = sys.getprofile()
        sys.setprofile(self._called)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(self._before)

    def _called(self, frame, event, _) -> None:
        code = frame.f_code
        path = code.co_filename.removeprefix(PACKAGE)
        if event != "call" or not INCLUDED.match(path):
            return
        name = f"{path}:{code.co_firstlineno} {code.co_name}"
        self.called[name] = None
        if name == self.function:
            self.function = ""
            sys.setprofile(self._called)
            raise OurOwnFault(name)


class Scenario:
    """A request of a player, and what happens until it is answered."""

    resource = ""

    def __init__(self) -> None:
        self.rig = HlsRig(start_timeout=5.0)

    def prepare(self) -> str:
        """Do what players did before. Return the path."""
        raise NotImplementedError

    def events(self):
        """Return functions, one for each event after the request."""
        return ()

    def refuse(self, reason: Reason) -> None:
        """Refuse the dial under way, if there is one."""
        if self.rig.dialler.dials and self.rig.dialler.last.pending:
            self.rig.dialler.last.fail(reason)

    def answer_late(self, body: bytes) -> None:
        """Answer the request that waits at the provider, if there is one."""
        origin = self.rig.origin
        for waiting in origin.waiting:
            if not waiting.called:
                waiting.callback(origin.answer(Page(body), origin.requests[-1]))


class Live(Scenario):
    resource = "LiveResource"

    def prepare(self) -> str:
        return f"/stream/{self.rig.stream('http://a.example/live/1.ts').id}"

    def events(self):
        def answer():
            if self.rig.dialler.dials and self.rig.dialler.last.pending:
                self.rig.dialler.last.answer()

        def bring():
            body = self.rig.dialler.dials and self.rig.dialler.last.body
            if body and body.consumer:
                body.bring(Programme().group(10, 4000))

        return answer, bring


class LiveRefused(Live):
    def events(self):
        return (lambda: self.refuse(Reason.NOT_VIDEO),)


class LiveSilent(Live):
    def events(self):
        return ()


class MuxerPlaylist(Live):
    resource = "MuxerPlaylistResource"

    def prepare(self) -> str:
        stream = self.rig.stream("http://a.example/live/1.ts")
        return f"/hls/{stream.id}/playlist.m3u8?client_id=me"


class MuxerSegment(MuxerPlaylist):
    resource = "MuxerSegmentResource"

    def prepare(self) -> str:
        path = super().prepare()
        wire = self.rig.open(path)
        self.rig.dialler.last.answer()
        programme = Programme()
        for _ in range(8):
            self.rig.dialler.last.body.bring(programme.group(25, 4000))
            self.rig.wait(1)
        name = uris(wire.answer().body)[0]
        wire.lose()
        return f"{path.rpartition('/')[0]}/{name}"

    def events(self):
        return ()


class Film(Scenario):
    resource = "FileResource"

    def prepare(self) -> str:
        return f"/stream/{self.rig.stream('http://a.example/film.mp4').id}"

    def events(self):
        def answer():
            if self.rig.dialler.dials and self.rig.dialler.last.pending:
                self.rig.dialler.last.answer(FakeBody(), 2000)

        def bring():
            body = self.rig.dialler.dials and self.rig.dialler.last.body
            if body and body.consumer:
                body.bring(b"f" * 2000)

        return answer, bring


class FilmRefused(Film):
    def events(self):
        return (lambda: self.refuse(Reason.BAD_STATUS),)


class Playlist(Scenario):
    resource = "PlaylistResource"

    def prepare(self) -> str:
        self.rig.origin.put(HLS, KEYED)
        return f"/hls/{self.rig.stream(HLS).id}/playlist.m3u8?client_id=me"


class LatePlaylist(Playlist):
    def prepare(self) -> str:
        path = super().prepare()
        self.rig.origin.put(HLS, silent=True)
        return path

    def events(self):
        return (lambda: self.answer_late(KEYED.encode()),)


class LargePlaylist(Playlist):
    def prepare(self) -> str:
        path = super().prepare()
        self.rig.origin.put(HLS, media(*(f"a{n}.ts" for n in range(400))))
        return path


class NoPlaylist(Playlist):
    def prepare(self) -> str:
        path = super().prepare()
        self.rig.origin.put(HLS, error=SourceError(Reason.REFUSED))
        return path


class Segment(Playlist):
    resource = "SegmentResource"
    status = 200

    def prepare(self) -> str:
        playlist = self.rig.get(super().prepare()).body
        self.rig.origin.put("http://a.example/live/a1.ts", b"G" * 200_000, status=self.status)
        return uris(playlist)[0]


class MissingSegment(Segment):
    status = 404


class StrangeSegment(Segment):
    status = 884


class LateSegment(Segment):
    def prepare(self) -> str:
        path = super().prepare()
        self.rig.origin.put("http://a.example/live/a1.ts", silent=True)
        return path

    def events(self):
        return (lambda: self.answer_late(b"G" * 9000),)


class AssetList(Playlist):
    resource = "SegmentResource"

    def prepare(self) -> str:
        playlist = self.rig.get(super().prepare()).body.decode()
        self.rig.origin.put("http://a.example/live/list.json", '{"ASSETS":[{"URI":"x.m3u8"}]}')
        return re.search('X-ASSET-LIST="([^"]*)"', playlist)[1]


SCENARIOS = [each for kind in (Live, Film, Playlist) for each in (kind, *kind.__subclasses__())]
SCENARIOS += [each for kind in (MuxerPlaylist, Segment) for each in kind.__subclasses__()]


def is_answered(wire: Wire, method: str) -> bool:
    """Return whether a response is complete or under way, or the connection ended."""
    if wire.aborted or wire.closing:
        return True
    data = wire.take()
    if not data:
        return False
    try:
        Answer(data, method)
    except HTTPException:
        return b"Content-Length" not in data and b"chunked" not in data
    return True


def play(scenario: type[Scenario], method: str, function: str = "") -> tuple[bool, Injector]:
    """Play a scenario. Return whether the request was answered, and what was called."""
    played = scenario()
    path = played.prepare()
    wire = Wire(played.rig.site)

    def send() -> None:
        wire.send(f"{method} {path} HTTP/1.1\r\nHost: proxy\r\n\r\n".encode())

    def wait() -> None:
        for _ in range(40):
            try:
                played.rig.clock.advance(0.25)
            except OurOwnFault:  # as a reactor does, which logs it
                pass

    with Injector(function) as injector:
        for event in (send, *played.events()):
            try:
                event()
            except OurOwnFault:
                pass
            wait()
    if not wire.aborted and not wire.transport.value():
        for _ in range(40):
            wait()
    answered = is_answered(wire, method)
    wire.lose()
    played.rig.stop()
    return answered, injector


@pytest.mark.exhaustive
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_request_is_answered_whatever_raises(scenario) -> None:
    answered, injector = play(scenario, "GET")
    assert answered
    assert len(injector.called) > 20
    assert [each for each in injector.called if not play(scenario, "GET", each)[0]] == []


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "BREW"])
@pytest.mark.parametrize("scenario", [Live, Film, Playlist, Segment, MuxerPlaylist, MuxerSegment])
def test_other_methods_are_answered_whatever_raises(scenario, method) -> None:
    answered, injector = play(scenario, method)
    assert answered
    in_resource = [each for each in injector.called if each.startswith("/web/")]
    assert [each for each in in_resource if not play(scenario, method, each)[0]] == []


def test_all_media_resources_are_covered() -> None:
    resources = {each.__name__ for each in _leaves(MediaResource)}
    assert resources == {each.resource for each in SCENARIOS}


def _leaves(cls: type) -> list[type]:
    below = cls.__subclasses__()
    return [leaf for each in below for leaf in _leaves(each)] if below else [cls]
