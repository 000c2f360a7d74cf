"""Programmes over real sockets: bodies that end, at most two requests, and players at their own pace."""

from __future__ import annotations

import re

import pytest
import pytest_twisted
from fakes import Programme
from scripted_provider import CLOSE, RESET, ScriptedProvider, head
from twisted.internet.error import ConnectionDone, ConnectionLost

CHUNKED = head("200 OK", "Transfer-Encoding: chunked", "Content-Type: video/mp2t")
PLAIN = head("200 OK", "Content-Type: video/mp2t")
LAST_CHUNK = b"0\r\n\r\n"


def programme(seconds: int, name: bytes = b"A", size: int = 4000) -> list[bytes]:
    """Return a programme in parts of one second."""
    made = Programme(name)
    return [made.group(25, size) for _ in range(seconds)]


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest_twisted.async_yield_fixture
async def origin(rig):
    """Yield a provider whose answers the test writes, by path."""
    provider = ScriptedProvider(rig.reactor, "origin", [])
    await provider.listen()
    yield provider
    await provider.stop()


def asked(origin: ScriptedProvider) -> list[str]:
    """Return the path of each request."""
    return [request.split(b" ")[1].decode() for request in origin.requests]


@pytest.mark.parametrize("framing", ["close", "chunked"])
@pytest_twisted.ensureDeferred
async def test_paced_catch_up_without_a_length_plays_once(rig, origin, framing):
    parts = programme(40)
    steps = [PLAIN, *parts, CLOSE] if framing == "close" else [CHUNKED, *map(chunk, parts), LAST_CHUNK]
    origin.answers["/catchup/7.ts"] = steps
    player = await rig.play(rig.register(origin.url("/catchup/7.ts")))
    await rig.until(lambda: player.closed, 8)
    assert isinstance(player.reason, ConnectionDone)
    assert player.body == b"".join(parts)
    assert asked(origin) == ["/catchup/7.ts"] * 2
    await rig.until(lambda: not origin.connections[-1].transport.connected, 1)


@pytest_twisted.ensureDeferred
async def test_fast_programme_is_complete_for_a_slow_player(rig, origin):
    """The player reads at three times real time, which leaves the ring of one second far behind the provider."""
    await rig.start(send_buffer=16_384, ring_seconds=1, join_seconds=0.5)
    data = b"".join(programme(80))
    origin.answers["/catchup/7.ts"] = [CHUNKED + chunk(data) + LAST_CHUNK]
    player = await rig.play(rig.register(origin.url("/catchup/7.ts")), window=65_536)
    while not player.closed:
        size = len(player.body)
        await rig.until_bytes(player, size + 200_000)
        if not player.closed:
            player.transport.pauseProducing()
            await rig.sleep(0.03)
            player.transport.resumeProducing()
    assert isinstance(player.reason, ConnectionDone)
    assert len(player.body) == len(data)
    assert player.body == data


@pytest.mark.parametrize("end", ["reset", "in mid-chunk", "before the length"])
@pytest_twisted.ensureDeferred
async def test_programme_that_breaks_off_is_never_complete(rig, origin, end):
    parts = programme(10)
    first = head("200 OK", "Content-Length: 10000000") if end == "before the length" else CHUNKED
    pieces = parts if end == "before the length" else [chunk(part) for part in parts]
    last = {"reset": [RESET], "in mid-chunk": [b"ffff\r\nG", CLOSE], "before the length": [CLOSE]}[end]
    origin.answers["/catchup/7.ts"] = [first, *pieces, *last]
    player = await rig.play(rig.register(origin.url("/catchup/7.ts")))
    await rig.until(lambda: player.closed, 8)
    assert isinstance(player.reason, ConnectionLost)
    numbers = [int(number) for number in re.findall(rb"A(\d{8})\.", player.body)]
    assert numbers == sorted(numbers), "no picture twice"
    assert len(asked(origin)) <= 3


@pytest_twisted.ensureDeferred
async def test_clip_in_place_of_a_channel_moves_on_to_the_backup(rig, origin):
    clip = b"".join(programme(50, b"C", 200))
    origin.answers["/live/full.ts"] = [PLAIN, clip, CLOSE]
    origin.answers["/live/b.ts"] = [PLAIN, *programme(200, b"B")]
    player = await rig.play(rig.register(origin.url("/live/full.ts"), origin.url("/live/b.ts")))
    await rig.until(lambda: b"B00000100." in player.body, 8, "the backup plays")
    assert not player.closed
    assert asked(origin)[-1] == "/live/b.ts"
    assert asked(origin).count("/live/full.ts") <= 2
    assert player.body.count(b"C00000100.") == clip.count(b"C00000100."), "played once"
