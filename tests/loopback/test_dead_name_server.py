"""Streams whose name server is dead do not keep others from being dialled."""

from __future__ import annotations

import socket
import threading

import pytest_twisted
from twisted.internet.task import deferLater

from m3uproxy.upstream.name_resolver import NameResolver


@pytest_twisted.async_yield_fixture
async def dead_names(monkeypatch):
    """Resolve names as the daemon does. Look-ups of ``*.dead.test`` hang until the test and its rig are over."""
    from twisted.internet import reactor

    release = threading.Event()
    real = socket.getaddrinfo
    asked: list[str] = []

    def getaddrinfo(host, *more, **named):
        asked.append(host)
        if host.endswith("dead.test"):
            release.wait(20)
            raise socket.gaierror(-3, "Temporary failure in name resolution")
        return real("127.0.0.1", *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    resolver = NameResolver(reactor)
    before = reactor.installNameResolver(resolver)
    yield asked
    release.set()
    while resolver._threads:
        await deferLater(reactor, 0.01)
    reactor.installNameResolver(before)


@pytest_twisted.ensureDeferred
async def test_streams_of_one_dead_name_and_of_many(dead_names, rig):
    def url(host: str, number: object) -> str:
        return rig.provider.url(f"/live/{number}.ts?burst=2").replace("127.0.0.1", host)

    hosts = ["cdn.dead.test"] * 20 + [f"{n}.dead.test" for n in range(50)]
    for number, host in enumerate(hosts):
        await rig.play(rig.register(url(host, number), url("backup.dead.test", number)))
    good = await rig.play(rig.register(url("tv.test", "good")))
    await rig.until(lambda: good.raw, 2)
    assert good.status == 200, good.raw
    assert dead_names.count("cdn.dead.test") == 1
    await rig.until(lambda: "backup.dead.test" in dead_names)
    again = await rig.play(rig.register(url("tv.test", "other")))
    await rig.until(lambda: again.raw, 2)
    assert again.status == 200
