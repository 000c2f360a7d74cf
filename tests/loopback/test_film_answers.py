"""Files from servers with wrong HTTP responses, which are written out here."""

from __future__ import annotations

import gzip

import pytest
import pytest_twisted
from scripted_provider import ScriptedProvider, head
from test_vod import player_of

FILE = bytes(range(256)) * 400
LENGTH, ALL = f"Content-Length: {len(FILE)}", f"0-{len(FILE) - 1}/{len(FILE)}"


@pytest_twisted.async_yield_fixture
async def provider(rig):
    provider = ScriptedProvider(rig.reactor, "films", [])
    await provider.listen()
    yield provider
    await provider.stop()
    await rig.sleep(0.02)


def gzipped(status: str, *lines: str) -> bytes:
    body = gzip.compress(FILE)
    told = [line.replace("N", str(len(body))).replace("M", str(len(body) - 1)) for line in lines]
    return head(status, "Content-Encoding: gzip", f"Content-Length: {len(body)}", *told) + body


@pytest.mark.parametrize(
    ("answer", "known", "ranged"),
    [
        (head("206 Partial Content", LENGTH, f"Content-Range: bytes {ALL}") + FILE, True, "bytes"),
        (head("206 Partial Content", LENGTH, f"Content-Range: bytes={ALL}") + FILE, True, "bytes"),
        (head("206 Partial Content", LENGTH) + FILE, True, "none"),
        (head("200 OK", LENGTH, "Accept-Ranges: bytes") + FILE, True, "bytes"),
        (head("200 OK", LENGTH) + FILE, True, "none"),
        (gzipped("200 OK"), False, "none"),
        (gzipped("206 Partial Content", "Content-Range: bytes 0-M/N"), False, "none"),
    ],
    ids=["correct", "with an equals sign", "no Content-Range", "200 with ranges", "no ranges", "gzip", "range of gzip"],
)
@pytest_twisted.ensureDeferred
async def test_wrong_answers_are_played(rig, provider, answer, known, ranged):
    provider.answers["*"] = [answer]
    stream = rig.register(provider.url("/movie/u/p/1.mp4"))
    player = await player_of(rig, stream)
    status, headers, body = await player.ask(method="HEAD")
    assert (status, body) == (200, b"")
    assert headers.get("content-length") == (str(len(FILE)) if known else None)
    status, headers, body = await player.ask()
    assert (status, body) == (200, FILE)
    assert (headers.get("content-length"), headers["accept-ranges"]) == (str(len(FILE)) if known else None, ranged)
    assert all("range: bytes=0-" in request.decode().lower() for request in provider.requests if request[:3] == b"GET")
