"""Fetching over real sockets: what is sent, over which connection, and what an answer means."""

from __future__ import annotations

import pytest_twisted
from fetching import fetching
from scripted import head

__all__ = ["fetching"]


def answer(body: bytes, *lines: str, status: str = "200 OK") -> bytes:
    return head(status, f"Content-Length: {len(body)}", *lines) + body


@pytest_twisted.ensureDeferred
async def test_one_connection_serves_one_request_after_another(fetching):
    provider = await fetching.provider(answer(b"0123456789abcdef" * 2))
    for n in range(4):
        assert await fetching.get(provider.url(f"/seg{n}.ts?s=a%2Bb%3D")) == b"0123456789abcdef" * 2
    assert len(provider.connections) == 1
    lines = provider.connections[0].received.decode().split("\r\n")
    assert [line for line in lines if line.startswith("GET")] == [
        f"GET /seg{n}.ts?s=a%2Bb%3D HTTP/1.1" for n in range(4)
    ]
    assert fetching.lines.count() == fetching.sockets.open == 1
