"""Films from a provider whose answers are written out, as servers that get HTTP wrong write them."""

from __future__ import annotations

import gzip

import pytest
import pytest_twisted
from scripted_provider import Provider, head
from test_vod import player_of

FILM = bytes(range(256)) * 400
LENGTH, ALL = f"Content-Length: {len(FILM)}", f"0-{len(FILM) - 1}/{len(FILM)}"


@pytest_twisted.async_yield_fixture
async def provider(rig):
    provider = Provider(rig.reactor, "films", [])
    await provider.listen()
    yield provider
    await provider.stop()
    await rig.sleep(0.02)


def zipped(status: str, *lines: str) -> bytes:
    body = gzip.compress(FILM)
    told = [line.replace("N", str(len(body))).replace("M", str(len(body) - 1)) for line in lines]
    return head(status, "Content-Encoding: gzip", f"Content-Length: {len(body)}", *told) + body


@pytest.mark.parametrize(
    ("answer", "known", "ranged"),
    [
        (head("206 Partial Content", LENGTH, f"Content-Range: bytes {ALL}") + FILM, True, "bytes"),
        (head("206 Partial Content", LENGTH, f"Content-Range: bytes={ALL}") + FILM, True, "bytes"),
        (head("206 Partial Content", LENGTH) + FILM, True, "none"),
        (head("200 OK", LENGTH, "Accept-Ranges: bytes") + FILM, True, "bytes"),
        (head("200 OK", LENGTH) + FILM, True, "none"),
        (zipped("200 OK"), False, "none"),
        (zipped("206 Partial Content", "Content-Range: bytes 0-M/N"), False, "none"),
    ],
    ids=["right", "as Range", "no word on which", "the whole as such", "no parts", "zipped", "zipped part"],
)
@pytest_twisted.ensureDeferred
async def test_it_is_played(rig, provider, answer, known, ranged):
    provider.answers["*"] = [answer]
    stream = rig.register(provider.url("/movie/u/p/1.mp4"))
    player = await player_of(rig, stream)
    status, headers, body = await player.ask(method="HEAD")
    assert (status, body) == (200, b"")
    assert headers.get("content-length") == (str(len(FILM)) if known else None)
    status, headers, body = await player.ask()
    assert (status, body) == (200, FILM)
    assert (headers.get("content-length"), headers["accept-ranges"]) == (str(len(FILM)) if known else None, ranged)
    assert all("range: bytes=0-" in request.decode().lower() for request in provider.requests if request[:3] == b"GET")
