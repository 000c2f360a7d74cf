"""Look-ups of names: shared, remembered, and with threads left for names that answer."""

from __future__ import annotations

import socket
import threading
import time

import pytest
import pytest_twisted
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IHostnameResolver, IHostResolution, IResolutionReceiver
from twisted.internet.task import Clock, deferLater
from zope.interface import implementer
from zope.interface.verify import verifyObject

from m3uproxy.upstream import name_resolver
from m3uproxy.upstream.name_resolver import (
    FAILURE_MEMORY,
    MAX_NAMES,
    MAX_WAITING,
    QUEUE_TIME,
    LastOutcome,
    NameResolver,
)

V4 = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0))
V6 = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::1", 0, 0, 2))


class ThreadlessReactor(Clock):
    def callFromThread(self, call, *arguments, **named) -> None:
        call(*arguments, **named)


@implementer(IResolutionReceiver)
class Receiver:
    def __init__(self) -> None:
        self.addresses = []
        self.complete = 0

    def resolutionBegan(self, resolutionInProgress) -> None:
        verifyObject(IHostResolution, resolutionInProgress)

    def addressResolved(self, address) -> None:
        self.addresses.append(address)

    def resolutionComplete(self) -> None:
        self.complete += 1


class Rig:
    """A resolver whose threads run when the test lets them."""

    def __init__(self, monkeypatch) -> None:
        self.clock = ThreadlessReactor()
        self.threads = []
        self.no_threads = False
        self.looked_up = []
        self.known = {}
        monkeypatch.setattr(socket, "getaddrinfo", self._getaddrinfo)
        self.resolver = NameResolver(self.clock, self._start)

    def _start(self, run) -> None:
        if self.no_threads:
            raise RuntimeError("can't start new thread")
        self.threads.append(run)

    def _getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):
        self.looked_up.append(host)
        answer = self.known.get(host, socket.gaierror(-2, "Name or service not known"))
        if isinstance(answer, Exception):
            raise answer
        return answer

    def ask(self, name: str, port: int = 80, **more) -> Receiver:
        receiver = Receiver()
        receiver.resolution = self.resolver.resolveHostName(receiver, name, port, **more)
        return receiver

    def run(self) -> None:
        threads, self.threads = self.threads, []
        for thread in threads:
            thread()

    def take_threads(self, count: int, kind: str = "dead") -> list[Receiver]:
        """Ask for as many different names, whose look-ups hang."""
        return [self.ask(f"{n}.{kind}.test") for n in range(count)]


@pytest.fixture
def rig(monkeypatch):
    rig = Rig(monkeypatch)
    verifyObject(IHostnameResolver, rig.resolver)
    yield rig
    rig.run()
    while rig.threads:
        rig.run()
    assert rig.clock.getDelayedCalls() == []
    assert rig.resolver._under_way == {}
    assert rig.resolver._threads == 0


def test_addresses_with_the_port_of_each_request(rig):
    rig.known["tv.test"] = [V4, V6]
    first, second = rig.ask("tv.test", 80), rig.ask("TV.test", 8080)
    only_v4 = rig.ask("tv.test", 1, addressTypes=[IPv4Address], transportSemantics="UDP")
    assert (first.complete, len(rig.threads)) == (0, 1)
    rig.run()
    assert first.addresses == [IPv4Address("TCP", "192.0.2.1", 80), IPv6Address("TCP", "fe80::1", 80, 0, 2)]
    assert [address.port for address in second.addresses] == [8080, 8080]
    assert only_v4.addresses == [IPv4Address("UDP", "192.0.2.1", 1)]
    assert (first.complete, second.complete, only_v4.complete) == (1, 1, 1)
    assert rig.looked_up == ["tv.test"]


def test_addresses_are_not_remembered(rig):
    rig.known["tv.test"] = [V4]
    for _ in range(3):
        assert rig.ask("tv.test").complete == 0
        rig.run()
    assert rig.looked_up == ["tv.test"] * 3


def test_all_requests_for_a_dead_name_share_a_thread(rig):
    waiting = [rig.ask("dead.test") for _ in range(50)]
    assert len(rig.threads) == 1
    rig.run()
    assert [(each.complete, each.addresses) for each in waiting] == [(1, [])] * 50


def test_cancelling_affects_no_other_request(rig):
    rig.known["tv.test"] = [V4]
    given_up, waiting = rig.ask("tv.test"), rig.ask("tv.test")
    given_up.resolution.cancel()
    rig.run()
    assert (given_up.complete, given_up.addresses) == (0, [])
    assert (waiting.complete, len(waiting.addresses)) == (1, 1)


@pytest.mark.parametrize("problem", [socket.gaierror(-3, "try again"), OSError(24, "files"), UnicodeError("label")])
def test_failure_is_remembered_for_seconds(rig, problem):
    rig.known["dead.test"] = problem
    rig.ask("dead.test")
    rig.run()
    rig.clock.advance(FAILURE_MEMORY - 0.1)
    assert rig.ask("dead.test").complete == 1
    assert rig.threads == []
    rig.clock.advance(0.2)
    rig.known["dead.test"] = [V4]
    again = rig.ask("dead.test")
    rig.run()
    assert len(again.addresses) == 1


def test_unexpected_failure_is_logged_and_answered(rig, errors):
    rig.known["odd.test"] = ValueError("embedded null byte")
    waiting = rig.ask("odd.test")
    rig.run()
    assert waiting.complete == 1
    assert len(errors) == 1


def test_receiver_that_fails_keeps_no_other_from_its_answer(rig, errors):
    bad, good = rig.ask("tv.test"), rig.ask("tv.test")
    bad.resolutionComplete = lambda: 1 / 0
    rig.run()
    assert good.complete == 1
    assert len(errors) == 1


def test_many_dead_names_leave_threads_for_a_new_one(rig):
    rig.take_threads(100)
    rig.known["tv.test"] = [V4]
    rig.ask("tv.test")
    assert len(rig.threads) == 101


def test_endless_dead_names_leave_threads_for_one_that_answered(rig):
    rig.known["tv.test"] = [V4]
    rig.ask("tv.test")
    rig.run()
    dead = rig.take_threads(LastOutcome.NEW.value + 10)
    assert len(rig.threads) == LastOutcome.NEW.value
    rig.ask("tv.test")
    assert len(rig.threads) == LastOutcome.NEW.value + 1
    rig.threads.pop()()
    assert len(rig.threads) == LastOutcome.NEW.value
    rig.run()
    rig.run()
    assert all(each.complete == 1 for each in dead)


def test_names_that_failed_leave_threads_for_new_ones(rig):
    count = LastOutcome.FAILED.value + 10
    rig.take_threads(count)
    rig.run()
    rig.clock.advance(FAILURE_MEMORY)
    rig.take_threads(count)
    assert len(rig.threads) == LastOutcome.FAILED.value
    rig.ask("tv.test")
    assert len(rig.threads) == LastOutcome.FAILED.value + 1


def test_name_that_recovered_gets_its_turn_among_dead_ones(rig):
    names = LastOutcome.FAILED.value
    rig.ask("tv.test")
    rig.take_threads(names)
    rig.run()
    rig.clock.advance(FAILURE_MEMORY)
    rig.take_threads(names)
    rig.known["tv.test"] = [V4]
    early = rig.ask("tv.test")
    early.resolution.cancel()
    rig.clock.advance(20)
    rig.threads.pop(0)()
    rig.threads.pop()()
    assert rig.ask("tv.test").complete == 0
    assert len(rig.threads) == names, "a name that answered waits for none"
    assert early.complete == 0


def test_look_up_waits_for_a_thread_for_a_limited_time(rig):
    rig.take_threads(LastOutcome.NEW.value)
    waiting, same = rig.ask("late.test"), rig.ask("late.test")
    rig.clock.advance(QUEUE_TIME - 0.1)
    assert waiting.complete == 0
    rig.clock.advance(0.2)
    assert (waiting.complete, same.complete, waiting.addresses) == (1, 1, [])
    assert "late.test" not in rig.looked_up


def test_requests_that_wait_are_limited(rig):
    rig.take_threads(LastOutcome.NEW.value)
    names = [rig.ask(f"{n}.late.test") for n in range(MAX_WAITING + 1)]
    assert [name.complete for name in names] == [0] * MAX_WAITING + [1]
    same = [rig.ask("0.dead.test") for _ in range(MAX_WAITING)]
    assert [each.complete for each in same] == [0] * (MAX_WAITING - 1) + [1]
    rig.clock.advance(QUEUE_TIME)


def test_no_more_threads(rig):
    rig.no_threads = True
    assert rig.ask("tv.test").complete == 1
    rig.no_threads = False
    rig.take_threads(LastOutcome.NEW.value)
    late = [rig.ask(f"{n}.late.test") for n in range(100)]
    rig.no_threads = True
    rig.threads.pop()()
    assert all(each.complete == 1 for each in late)


def test_remembered_names_are_limited(rig):
    for n in range(MAX_NAMES + 5):
        rig.known[f"{n}.test"] = [V4] if n % 2 else OSError()
        rig.ask(f"{n}.test")
        rig.run()
    for memory in (rig.resolver._failed, rig.resolver._answered):
        assert len(memory._entries) <= MAX_NAMES


@pytest_twisted.ensureDeferred
async def test_threads_of_the_resolver(monkeypatch):
    from twisted.internet import reactor

    release = threading.Event()
    real = socket.getaddrinfo

    def getaddrinfo(host, *more, **named):
        if host.endswith("dead.test"):
            release.wait(10)
            raise socket.gaierror(-3, "Temporary failure in name resolution")
        return real("127.0.0.1", *more, **named)

    monkeypatch.setattr(name_resolver.socket, "getaddrinfo", getaddrinfo)
    resolver = NameResolver(reactor)
    dead = [Receiver() for _ in range(60)]
    for number, receiver in enumerate(dead):
        resolver.resolveHostName(receiver, f"{number}.dead.test", 80)
    began = time.monotonic()
    alive = Receiver()
    resolver.resolveHostName(alive, "tv.test", 80)
    while not alive.complete:
        await deferLater(reactor, 0.01)
    assert time.monotonic() - began < 2
    assert alive.addresses == [IPv4Address("TCP", "127.0.0.1", 80)]
    hung = [thread for thread in threading.enumerate() if thread.name == "look-up"]
    assert len(hung) == 60
    assert all(thread.daemon for thread in hung), "the process would wait for them"
    release.set()
    while not all(receiver.complete for receiver in dead):
        await deferLater(reactor, 0.01)
