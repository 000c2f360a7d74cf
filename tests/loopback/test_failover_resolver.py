"""A failover resolver as a real HTTP server: its answers, its failures, playback meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import urlencode

import pytest
import pytest_twisted
import treq
from loopback_rig import assert_whole_packets
from secret_log_check import PASSWORD, SECRETS, TOKEN, USER
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.task import deferLater
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

PRIMARY, BACKUP, NAMED = "/live/a.ts?burst=2", "/live/b.ts?burst=1", "/live/c.ts?burst=1"


class ResolverResource(Resource):
    """A resolver with scripted answers that records its questions."""

    isLeaf = True

    def __init__(self, reactor) -> None:
        super().__init__()
        self._reactor = reactor
        self.questions: list[dict] = []
        self.paths: list[str] = []
        self.gone = 0
        self.status, self.body = 200, b'{"next_url": null}'
        #: Called before the answer; None for an answer that never comes.
        self.before: Callable[[], Deferred] | None = lambda: deferLater(self._reactor, 0)

    async def start(self) -> None:
        endpoint = TCP4ServerEndpoint(self._reactor, 0, interface="127.0.0.1")
        site = Site(self)
        site.log = lambda request: None
        self._port = await endpoint.listen(site)
        self.number = self._port.getHost().port

    async def stop(self) -> None:
        await maybeDeferred(self._port.stopListening)
        await deferLater(self._reactor, 0.05)

    def url(self, path: str = "/api/resolve") -> str:
        return f"http://127.0.0.1:{self.number}{path}"

    def names(self, url: str | None) -> None:
        self.body = json.dumps({"next_url": url}).encode()

    def render_POST(self, request) -> int:
        self.questions.append(json.loads(request.content.read()))
        self.paths.append(request.uri.decode())
        request.notifyFinish().addErrback(self._request_lost)
        if self.before is not None:
            self.before().addCallback(self._answer, request)
        return NOT_DONE_YET

    def _request_lost(self, _) -> None:
        self.gone += 1

    def _answer(self, _, request) -> None:
        if request.channel is not None:
            request.setResponseCode(self.status)
            request.setHeader(b"Connection", b"close")
            request.write(self.body)
            request.finish()


@pytest_twisted.async_yield_fixture
async def resolver(rig):
    resolver = ResolverResource(rig.reactor)
    await resolver.start()
    yield resolver
    await rig.service.stopService()
    await resolver.stop()


async def call(rig, method: str, path: str, **query: object):
    """Send a request to the API; return status and JSON."""
    url = f"http://127.0.0.1:{rig.port}{path}" + (f"?{urlencode(query)}" if query else "")
    agent = Agent(rig.reactor, pool=HTTPConnectionPool(rig.reactor, persistent=False))
    response = await treq.request(method, url, agent=agent)
    return response.code, await response.json()


def register(rig, resolver, *paths: str, **options: object):
    options = {"metadata": {"id": "7", "playlist_uuid": "p"}, "failover_resolver_url": resolver.url(), **options}
    return rig.register(*paths, **options)


async def plays(rig, player, channel: str) -> None:
    """Wait until a player receives video of a channel."""
    await rig.until(lambda: rig.provider.channel(channel).tally.current == 1, 8, f"{channel} is open")
    size = len(player.body)
    await rig.until_bytes(player, size + 30_000, 8)
    assert_whole_packets(player.body)
    assert player.status == 200


@pytest_twisted.ensureDeferred
async def test_source_from_the_resolver_is_played(rig, resolver):
    resolver.names(rig.provider.url(NAMED))
    stream = register(rig, resolver, PRIMARY + "&status=404", BACKUP, headers=(("X-Account", "mine"),))
    player = await rig.play(stream)
    await plays(rig, player, "c")
    assert resolver.questions == [
        {
            "current_url": rig.provider.url(PRIMARY + "&status=404"),
            "metadata": {"id": "7", "playlist_uuid": "p"},
            "current_failover_index": 0,
            "status_code": 404,
            "reason": "bad status: HTTP 404",
        }
    ]
    assert (stream.current_url, stream.source_index) == (rig.provider.url(NAMED), 1)
    assert rig.provider.channel("b").tally.total == 0, "the list is for when the resolver does not answer"


@pytest_twisted.ensureDeferred
async def test_null_from_the_resolver_leaves_the_own_sources(rig, resolver):
    player = await rig.play(register(rig, resolver, PRIMARY + "&status=404", BACKUP))
    await plays(rig, player, "b")
    assert len(resolver.questions) == 1
    lonely = await rig.play(register(rig, resolver, "/live/d.ts?status=404"))
    await rig.until(lambda: lonely.body.endswith(b"}"))
    assert lonely.status == 502


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b"oops"),
        (400, b'{"next_url": null, "error": "unknown"}'),
        (200, b"<html>"),
        (200, b"{}"),
        (200, b"x" * 99_999),
    ],
)
@pytest_twisted.ensureDeferred
async def test_failed_resolver_leaves_the_list(rig, resolver, status, body):
    resolver.status, resolver.body = status, body
    stream = register(rig, resolver, PRIMARY + "&status=404", BACKUP)
    await plays(rig, await rig.play(stream), "b")
    assert stream.source_index == 1


@pytest_twisted.ensureDeferred
async def test_refused_connection_to_the_resolver_leaves_the_list(rig, resolver):
    await resolver.stop()
    stream = register(rig, resolver, PRIMARY + "&status=404", BACKUP)
    await plays(rig, await rig.play(stream), "b")


@pytest_twisted.ensureDeferred
async def test_hanging_resolver_blocks_nothing_else(rig, resolver):
    resolver.before = None
    other = await rig.play(rig.register("/live/other.ts?burst=1"))
    stream = register(rig, resolver, PRIMARY + "&status=404", BACKUP)
    player = await rig.play(stream)
    await rig.until(lambda: resolver.questions)
    size = len(other.body)
    status, found = await call(rig, "GET", "/streams/by-metadata", field="id", value="7")
    assert (status, found["total_matching"]) == (200, 1)
    await rig.until_bytes(other, size + 30_000)
    assert stream.broadcaster.session.asking_resolver, "the question is still open"
    await plays(rig, player, "b")
    await rig.until(lambda: resolver.gone == 1, what="the question is taken back")


@pytest_twisted.ensureDeferred
async def test_resolver_may_call_the_api_before_it_answers(rig, resolver):
    """The editor counts the active streams before it answers."""
    counted = []

    async def count_active() -> None:
        await deferLater(rig.reactor, 0.3)
        counted.append((await call(rig, "GET", "/streams/by-metadata", field="playlist_uuid", value="p"))[1])

    resolver.before = lambda: Deferred.fromCoroutine(count_active())
    resolver.names(rig.provider.url(NAMED))
    player = await rig.play(register(rig, resolver, PRIMARY + "&status=404"))
    await plays(rig, player, "c")
    assert counted[0]["total_matching"] == 1


@pytest.mark.parametrize("fault", ["close", "reset", "stall"])
@pytest_twisted.ensureDeferred
async def test_resolver_is_asked_during_playback(rig, resolver, fault):
    resolver.names(rig.provider.url(NAMED))
    player = await rig.play(register(rig, resolver, PRIMARY))
    await rig.until_bytes(player, 30_000, 6)
    rig.provider.control("a", f"{fault}=1.2s&refuse=1")
    await plays(rig, player, "c")
    assert not player.closed
    assert len(resolver.questions) == 1


@pytest_twisted.ensureDeferred
async def test_source_that_ran_well_is_redialled_without_the_resolver(rig, resolver):
    player = await rig.play(register(rig, resolver, "/live/a.ts?burst=2&close=1.5s"))
    await rig.until(lambda: rig.provider.channel("a").tally.total >= 3, 10)
    assert resolver.questions == []
    assert not player.closed


@pytest_twisted.ensureDeferred
async def test_failover_by_the_api_during_playback(rig, resolver):
    waiting: Deferred = Deferred()
    resolver.before = lambda: waiting
    resolver.names(rig.provider.url(NAMED))
    stream = register(rig, resolver, PRIMARY)
    player = await rig.play(stream)
    await rig.until_bytes(player, 30_000, 6)
    asked = Deferred.fromCoroutine(call(rig, "POST", f"/streams/{stream.id}/failover"))
    await rig.until(lambda: resolver.questions)
    size = len(player.body)
    await rig.until_bytes(player, size + 60_000)
    assert not asked.called
    assert rig.provider.channel("a").tally.current == 1
    waiting.callback(None)
    status, answer = await asked
    assert (status, answer["new_url"], answer["failover_index"]) == (200, rig.provider.url(NAMED), 1)
    await plays(rig, player, "c")
    assert rig.provider.channel("a").tally.current == 0
    resolver.before = lambda: deferLater(rig.reactor, 0)
    resolver.names(None)
    assert (await call(rig, "POST", f"/streams/{stream.id}/failover"))[0] == 500
    await plays(rig, player, "c")
    assert resolver.questions[1]["current_failover_index"] == 1


@pytest.mark.parametrize("by_api", [False, True])
@pytest_twisted.ensureDeferred
async def test_stop_cancels_the_question(rig, resolver, by_api):
    resolver.before = None
    stream = register(rig, resolver, PRIMARY if by_api else PRIMARY + "&status=404")
    player = await rig.play(stream)
    if by_api:
        await rig.until_bytes(player, 30_000, 6)
        Deferred.fromCoroutine(call(rig, "POST", f"/streams/{stream.id}/failover")).addErrback(lambda _: None)
    await rig.until(lambda: resolver.questions)
    await rig.service.stopService()
    await rig.until(lambda: resolver.gone == 1)
    assert rig.service._sockets.open == 0


@pytest_twisted.ensureDeferred
async def test_forbidden_address_from_the_resolver_is_not_dialled(rig, resolver):
    resolver.names("http://169.254.169.254/latest/meta-data")
    stream = register(rig, resolver, PRIMARY + "&status=404", BACKUP)
    await plays(rig, await rig.play(stream), "b")


@pytest_twisted.ensureDeferred
async def test_log_holds_no_secret_of_the_resolver(rig, resolver, secret_log):
    before = len(secret_log.leaks)
    secret_log.lines.clear()
    named = rig.provider.url(f"/live/{USER}/{PASSWORD}/2.ts?token={TOKEN}&burst=1")
    resolver.names(named)
    secret = {"failover_resolver_url": resolver.url(f"/{PASSWORD}?key={TOKEN}"), "metadata": {"note": PASSWORD}}
    stream = register(rig, resolver, f"/live/{USER}/{PASSWORD}/1.ts?status=404", **secret)
    player = await rig.play(stream)
    await rig.until_bytes(player, 30_000, 8)
    assert resolver.paths == [f"/{PASSWORD}?key={TOKEN}"]
    assert stream.current_url == named
    resolver.status = 500
    await call(rig, "POST", f"/streams/{stream.id}/failover")
    assert any("resolver" in line for line in secret_log.lines)
    assert secret_log.leaks[before:] == []
    assert not any(secret in json.dumps(stream.history.entries()) for secret in SECRETS)
